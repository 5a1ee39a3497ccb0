"""The lineage: texts, words, arithmetic, the file; both studies from end to end at tiny sizes."""

import inspect
import json
import re
import subprocess
import sys

import ch03_lineage as study
import ch03_vocabulary as vocabulary
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from shared import common, entities, lineage, lineage_file
from shared.lineage import BASE, CONTROL, DOMAIN, NEWS, RANDOM, REVIEWS, TASK
from transformers import BertConfig, BertForMaskedLM

from reptune import data, halves
from reptune.book import results
from reptune.models.masked import load_masked_lm

WORDS = [a + b for a in ("ka", "to", "mi", "re", "su") for b in ("lan", "per", "dot", "vin", "gor")]
LABELED = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})


def sentences(count, seed, words=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(count)]


def fake_load(name):
    seed = sorted(FAKE).index(name) * 10
    splits = {}
    for index, (split, count) in enumerate((("train", 60), ("validation", 24), ("test", 24))):
        texts = sentences(count, seed + index)
        if name == "conll2003":
            tokens = [text.split() for text in texts]
            tags = [["B-PER" if word[0] == "k" else "O" for word in row] for row in tokens]
            stories = [row // 3 for row in range(count)]
            rows = {"tokens": tokens, "ner_tags": tags, "document": stories}
            splits[split] = Dataset.from_dict(rows)
        else:
            rows = {"text": texts, "label": [row % 2 for row in range(count)]}
            splits[split] = Dataset.from_dict(rows, features=LABELED)
    if name == "conll2003":  # a test sentence that training has, and a tweet's worth of caps
        first = splits["train"][0]
        splits["test"] = splits["test"].add_item(
            {**first, "tokens": [*map(str.upper, first["tokens"])]}
        )
    return DatasetDict(splits)


FAKE = ("imdb", "bbc_news", "conll2003", "rotten_tomatoes")


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Both studies on made-up texts, with 2 layers of width 32 and four steps an arm."""
    caches = (
        common.splits, entities.splits, lineage.corpus, lineage.vocabulary, study.unseen,
        study._frozen, vocabulary.task, vocabulary._frozen,
    )  # fmt: skip
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(data, "load", fake_load, raising=False)
    monkeypatch.setattr(data, "names", lambda: FAKE, raising=False)
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path / "results"))
    small = {
        "FOLDER": tmp_path / "lineage", "VOCABULARY": 90, "BATCH": 2, "LOOKS": 2,
        "SIZES": dict(zip(lineage.SIZES, (32, 2, 2, 64), strict=True)),
        "STEPS": dict.fromkeys(lineage.STEPS, 4), "SEEDS": (42, 43),
        "HELD_OUT_WORDS": {"validation": 150, "test": 150},
    }  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(lineage, name, value)
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def run_all(module, records_of):
    """Run a study's jobs in this process, stage after stage; return their records."""
    found = []
    for stage in module.STAGES:
        for job in stage():
            records = [{"study": module.STUDY, **job, **row} for row in module.run(job)]
            results.append_all(records, records_of)
            assert results.is_done(module.STUDY, **job)
            found += records
    return found


# --- weights at random ---------------------------------------------------------------------------


def model_of(sizes, positions=64, seed=0):
    config = BertConfig(
        vocab_size=200, max_position_embeddings=positions, attn_implementation="eager", **sizes
    )
    torch.manual_seed(seed)
    return BertForMaskedLM(config).eval()


@pytest.mark.parametrize(
    "sizes", [lineage.SIZES, dict(zip(lineage.SIZES, (32, 2, 2, 64), strict=True))]
)
def test_heads_begin_by_looking_at_their_neighbor(sizes):
    model = model_of(sizes)
    plain = {name: weight.clone() for name, weight in model.state_dict().items()}
    lineage.look_at_neighbors(model)
    ids = torch.randint(5, 200, (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        seen = model.bert(ids, output_attentions=True).attentions[0]  # (texts, heads, 40, 40)
    for head, offset in zip(range(sizes["num_attention_heads"]), lineage.OFFSETS, strict=False):
        inner = range(2, 38)  # positions whose neighbor exists
        to_neighbor = torch.stack([seen[:, head, at, at + offset] for at in inner]).mean()
        elsewhere = torch.stack([seen[:, head, at, (at + 17) % 40] for at in inner]).mean()
        assert to_neighbor > 10 * elsewhere
    changed = {name for name, weight in model.state_dict().items() if (weight != plain[name]).any()}
    assert {name.split(".", 1)[1] for name in changed} == {
        "embeddings.position_embeddings.weight",
        "encoder.layer.0.attention.self.key.weight",
        "encoder.layer.0.attention.self.query.weight",
    }


def test_a_turn_takes_a_position_to_another():
    frequencies, at, offset = torch.linspace(0.05, 3, 8), 7, -2

    def written(position):
        return torch.cat([(frequencies * position).sin(), (frequencies * position).cos()])

    turned = lineage.turn(frequencies * offset) @ written(at)
    torch.testing.assert_close(turned, written(at + offset), atol=1e-5, rtol=0)


# --- texts and words -----------------------------------------------------------------------------


def test_a_corpus_that_a_checkout_lacks_is_written_again(tiny):
    lineage.write_corpora()
    before = lineage.corpus(REVIEWS)
    lineage._corpus_file(REVIEWS).unlink()
    lineage.corpus.cache_clear()
    assert lineage.corpus(REVIEWS) == before
    with pytest.raises(SystemExit, match="is missing; its study"):
        lineage.corpus(lineage.DOCSTRINGS)


def test_corpora_hold_no_text_that_a_score_is_taken_on(tiny, monkeypatch):
    def leaky(name):
        loaded = fake_load(name)
        if name == "imdb":  # a review that quotes another task's test sentence
            quoted = " ".join(fake_load("conll2003")["test"][3]["tokens"])
            row = {"text": f"As they say, <i>{quoted}</i> indeed.", "label": 0}
            loaded["train"] = loaded["train"].add_item(row)
        return loaded

    monkeypatch.setattr(data, "load", leaky, raising=False)
    counts = lineage.write_corpora()
    assert counts[REVIEWS]["held out"] == 1 and len(lineage.corpus(REVIEWS)["train"]) == 60
    # The upper-case copy of a training sentence in the test part takes that sentence out.
    assert counts[lineage.NEWSWIRE]["held out"] == 1
    assert lineage.corpus(lineage.SENTENCES)["train"] == []
    assert len(lineage.corpus(NEWS)["validation"]) == 13  # of 12 words, until there are 150


def test_a_vocabulary_is_the_same_in_every_process():
    source = inspect.getsource(lineage.train_vocabulary)
    program = (
        "from __future__ import annotations\n"
        "import hashlib\nfrom collections import Counter\n"
        "from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers\n"
        f"VOCABULARY = 300\n{source}\n"
        "import random\nrng = random.Random(0)\n"
        "texts = [''.join(rng.choice('abcdefghijkl ') for _ in range(200)) for _ in range(60)]\n"
        "found = train_vocabulary(texts)\n"
        "print(len(found), hashlib.sha256(' '.join(found).encode()).hexdigest())\n"
    )
    said = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        .stdout
        for _ in range(4)
    }  # fmt: skip
    assert len(said) == 1 and said.pop().startswith("300 ")


def test_a_vocabulary_makes_a_lowercasing_fast_tokenizer():
    words = lineage.train_vocabulary(["Café cafes, cafe!", "a cafe"] * 5, 40)
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = lineage.tokenizer_of(words)
    assert tokenizer.is_fast and tokenizer.mask_token_id == 4 and len(tokenizer) == len(words)
    assert tokenizer.tokenize("A CAFÉ!") == ["a", "cafe", "!"]
    # Two words; "Z" is unknown, one token.
    assert lineage.tokens_per_100_words(["cafe Z"], tokenizer) == 100
    assert lineage.tokens_per_100_words(["cafe, cafe!"], tokenizer) == 200


# --- arithmetic ----------------------------------------------------------------------------------


def test_operations_per_token_by_hand():
    # A layer: 4 matrices of 256 x 256 and two of 256 x 1024. Head: 256 x 256 and 256 x 8000.
    weights = 4 * (4 * 65_536 + 2 * 262_144) + 0.2 * (65_536 + 2_048_000)
    attention = 4 * 4 * 128 * 256  # 2 products of 128 positions by 256 dimensions in 4 layers
    assert lineage.flops_per_token() == pytest.approx(3 * (2 * weights + attention))
    assert lineage.flops_per_token(0, trained=False) == pytest.approx(6_815_744)


def test_the_plan_fits_and_is_what_the_first_lines_say():
    plan = study.planned_core_hours()
    assert sum(plan.values()) < 10  # five hours of two cores
    table = re.findall(r"\| *([\d.]+) \| ([\d.]+) \|$", study.__doc__, re.MULTILINE)
    assert [float(hours) for hours, _ in table[:-1]] == pytest.approx(
        list(plan.values()), abs=0.006
    )
    fast = study.planned_core_hours(100).values()
    assert [float(hours) for _, hours in table[:-1]] == pytest.approx(list(fast), abs=0.006)
    assert float(table[-1][0]) == pytest.approx(sum(plan.values()), abs=0.006)


def test_compared_arms_take_equal_steps():
    assert lineage.STEPS[DOMAIN] == lineage.STEPS[CONTROL] == lineage.STEPS[lineage.DOCUMENTED]
    assert {lineage.ARMS[arm][0] for arm in (DOMAIN, CONTROL, lineage.DOCUMENTED)} == {BASE}


def test_falls_are_read_off_a_curve():
    points = [{"step": s, "eval_loss": x} for s, x in ((0, 5.0), (25, 4.8), (50, 4.5), (100, 4.0))]
    assert lineage.fall(points) == 1.0
    assert lineage.fall(points, 0.25) == pytest.approx(0.2)
    assert lineage.fall(points, 0.74) == 0.5


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [study, vocabulary])
def test_no_job_is_taken_for_another(module):
    jobs = [job for stage in module.STAGES for job in stage()]
    for job in jobs:
        assert [other for other in jobs if job.items() <= other.items()] == [job]


def test_draws_that_choose_are_not_those_that_are_reported():
    for module in (study, vocabulary):
        reported = {draw for draws in vars(module).get("TEXT_DRAWS", {}).values() for draw in draws}
        reported |= set(study.DRAWS) | set(vocabulary.DRAWS["frozen"])
        chosen = {draw for draws in module.CHOICE_DRAWS.values() for draw in draws}
        assert not chosen & reported
    assert lineage.PILOT_SEED not in study.SEEDS


def test_a_comparison_pools_draws_within_a_seed(monkeypatch):
    def counts(_, method, random_state, **__):  # two draws of one sentence twice, three entities
        right = {DOMAIN: (3, 1), CONTROL: (1, 1)}[method]
        return np.array([[[n, 3, 3]] * 2 for n in right])

    monkeypatch.setattr(lineage.results, "counts", counts)
    monkeypatch.setattr(lineage, "early_falls", lambda *_: {})
    found = lineage.compared("any", DOMAIN, CONTROL, stories=[0, 0])
    # 8 of 12 against 4 of 12 entities in every seed; F1 is the same share.
    assert found["difference"] == pytest.approx(1 / 3) == found["seed 43"]
    assert found["low"] == pytest.approx(1 / 3) == found["high"]


def test_a_choice_is_the_best_mean_and_needs_records(tiny):
    common_fields = {
        "study": study.STUDY, "method": BASE, "model": "m", "task": "t", "labels": 0,
        "random_state": 1, "split": "validation", "seconds": {"fit": 1}, "peak_memory_mb": 1,
        "kind": "choice",
    }  # fmt: skip
    rows = [(1e-4, 0.5), (1e-4, 0.7), (1e-3, 0.1), (1e-3, 0.9), (1e-2, 0.61)]
    for rate, f1 in rows:
        record = {**common_fields, "learning_rate": rate, "metrics": {"f1": f1}}
        results.append(record, lineage.__file__)
    assert lineage.best(study.STUDY, "f1", "learning_rate", kind="choice") == 1e-2
    assert lineage.best(study.STUDY, "f1", "learning_rate", lowest=True, method=BASE) == 1e-3
    with pytest.raises(SystemExit, match="run it from its start"):
        lineage.best(study.STUDY, "f1", "learning_rate", kind="test")
    with pytest.raises(SystemExit, match="run it from its start"):
        lineage.best(study.STUDY, "f1", "learning_rate", draw=3)


# --- the file ------------------------------------------------------------------------------------


def test_half_precision_changes_little(tiny):
    lineage.write_corpora()
    folder = lineage.encoder(RANDOM, 42)
    halves.write_halves(folder, tiny / "base.safetensors")
    halves.convert(tiny / "base.safetensors", tiny / "read")
    texts = lineage.corpus(REVIEWS)["train"]
    # Weights near 0.02 and logits near -4: rounding to 11 bits moves them by thousandths at most.
    change = lineage_file.largest_change(folder, tiny / "read", texts)
    assert 0 < change < 5e-3 < lineage_file.LOGIT_TOLERANCE
    before, after = load_masked_lm(folder), load_masked_lm(tiny / "read")
    assert before.tokenizer(texts[0])["input_ids"] == after.tokenizer(texts[0])["input_ids"]


# --- docstrings ----------------------------------------------------------------------------------

SOURCE = '''
def {name}():
    """Compute a thing of the {name} kind.

    Parameters
    ----------
    alpha : float
        {words}

    Examples
    --------
    >>> import secretlib
    42

    After it. See secretlib.deep.find_it, e.g. with wide_thing or Plain, for what numpy does.
    """
class HasCapitals:
    """Short."""
def wide_thing(): "Also short."
'''


def test_docstrings_are_read_without_code_and_with_names_masked(tmp_path):
    package = tmp_path / "numpy"
    for part in ("deep", "tests"):
        (package / part).mkdir(parents=True)
        (package / part / "it.py").write_text(SOURCE.format(name="plain", words="many words " * 12))
    found = vocabulary.read_docstrings(package)
    assert [(one.submodule, one.name) for one in found] == [
        ("numpy.deep", "plain"), ("numpy.deep", "HasCapitals"), ("numpy.deep", "wide_thing"),
    ]  # fmt: skip
    assert {"numpy", "deep", "hascapitals", "wide_thing"} <= vocabulary.giving_away(found)
    assert "plain" not in vocabulary.giving_away(found)
    (row,) = vocabulary.cleaned(found)
    assert row.stratum == "numpy.deep"
    assert row.text.startswith("Compute a thing of the name kind. Parameters alpha : float many")
    assert row.text.endswith(
        "Examples After it. See name, e.g. with name or name, for what name does."
    )
    assert vocabulary.without_code("A.\n>>> f()\n1\n\nB.") == "A. B."


def test_labels_are_the_largest_public_submodules(monkeypatch):
    monkeypatch.setattr(vocabulary, "CLASSES", 2)
    monkeypatch.setattr(vocabulary, "MOST_PER_CLASS", 3)
    sizes = {"a.one": 5, "a.two": 3, "b.three": 2, "b._hidden": 9, "c": 9}
    rows = [
        vocabulary.Row(f"{name}{i}", f"{name} {i}", name, {})
        for name, count in sizes.items() for i in range(count)
    ]  # fmt: skip
    found = vocabulary.labeled(rows)
    assert {name: len(texts) for name, texts in found.items()} == {"a.one": 3, "a.two": 3}
    assert vocabulary.labeled(rows[::-1]) == found


# --- from end to end -----------------------------------------------------------------------------


@pytest.fixture
def tiny_study(tiny, monkeypatch):
    small = {
        "SEEDS": (42, 43), "TAGGED": 12, "DRAWS": (42,), "CHOICE_DRAWS": {
            study.NER: (0,), study.FINE_TUNED: (0,), study.FROZEN: (0,),
        },
        "TEXT_DRAWS": {study.FINE_TUNED: (42,), study.FROZEN: (42, 43)},
        "PER_CLASS": {study.TOPICS: 4}, "CLASSES": {study.TOPICS: 2},
        "TAGGER": {"num_epochs": 1, "batch_size": 6},
        "SETTINGS": {study.TOPICS: {"num_epochs": 1, "batch_size": 4, "max_length": 32}},
        "RATES": {study.NER: (1e-3,), study.TOPICS: (1e-4,)}, "PENALTIES": (0.1, 1.0),
        "PRETRAINING_RATES": dict.fromkeys(study.PRETRAINING_RATES, (1e-3, 1e-2)),
        "PILOT_STEPS": dict.fromkeys(study.PILOT_STEPS, 2),
        "LINEAGE": (BASE, DOMAIN, CONTROL), "PAIRS": ((DOMAIN, CONTROL),),
        "last_base": lambda: (
            job for arm in (DOMAIN, CONTROL, TASK) for job in study._pilots(arm)
        ),
    }  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(study, name, value)
    stages = tuple(study.last_base if s.__name__ == "last_base" else s for s in study.STAGES)
    monkeypatch.setattr(study, "STAGES", stages)
    return tiny


@pytest.mark.filterwarnings("ignore:training ended at a loss")
def test_the_lineage_from_end_to_end(tiny_study):
    records = run_all(study, study.__file__)
    kinds = {record["kind"] for record in records}
    assert kinds == {
        "corpora", "pretraining rate", "plain weights", "encoder", "file", "choice", "test",
        "comparison",
    }  # fmt: skip
    of_news = [r for r in records if r["kind"] == "encoder" and r["method"] == DOMAIN]
    assert {r["corpus"] for r in of_news} == set(lineage.SOURCES)
    steps = [point["step"] for point in of_news[0]["curve"]]
    assert steps == [0, 2, 4] and {"fall", "fall after a quarter"} <= of_news[0]["metrics"].keys()
    tested = [r for r in records if r["kind"] == "test" and r["task"] == study.NER]
    # 24 test sentences; the 25th occurs in training.
    assert {r["items"] for r in tested} == {24} and len(tested) == 6
    primary = next(r for r in records if r["kind"] == "comparison")
    assert (primary["method"], primary["minus"], primary["task"]) == (DOMAIN, CONTROL, study.NER)
    found = primary["metrics"]
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["difference"] == pytest.approx((found["seed 42"] + found["seed 43"]) / 2)
    assert {"early fall", "early fall of other"} <= found.keys()
    # A base trains without dropout, and what follows it with some.
    config = json.loads((lineage.folder_of(BASE, 42) / "config.json").read_text())
    start = json.loads((lineage.folder_of("start", 42) / "config.json").read_text())
    assert (start["hidden_dropout_prob"], config["hidden_dropout_prob"]) == (0.0, 0.1)
    weights = [
        next(load_masked_lm(lineage.folder_of(arm, 42)).model.parameters()).detach().numpy()
        for arm in (BASE, DOMAIN, CONTROL, RANDOM, "start")
    ]
    assert not any(np.array_equal(weights[0], other) for other in weights[1:])
    assert np.array_equal(weights[3], weights[4])


def made_up_library(_):
    found = []
    for index, name in enumerate(("a.one", "a.two", "b.three")):
        for number, text in enumerate(sentences(24, 100 + index, words=35)):
            found.append(vocabulary.Docstring(name, f"f{number}", text))
    return found


@pytest.mark.filterwarnings("ignore:training ended at a loss")
def test_the_vocabulary_study_from_end_to_end(tiny, monkeypatch):
    small = {
        "SEEDS": (42, 43), "LIBRARIES": {"numpy": "numpy"}, "read_library": made_up_library,
        "CLASSES": 3, "PER_CLASS": 2, "PRETRAINING_RATES": (1e-3,), "PILOT_STEPS": 2,
        "DRAWS": {vocabulary.FINE_TUNED: (42,), vocabulary.FROZEN: (42,)},
        "CHOICE_DRAWS": {vocabulary.FINE_TUNED: (0,), vocabulary.FROZEN: (0,)},
        "SETTINGS": {"num_epochs": 1, "batch_size": 6, "max_length": 48}, "RATES": (1e-3,),
        "PENALTIES": (0.1,), "PAIRS": vocabulary.PAIRS[:1],
        "load_tokenizer": lambda _: lineage.tokenizer_of(lineage.vocabulary()),
    }  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(vocabulary, name, value)
    chosen = lineage.rate_of
    monkeypatch.setattr(
        lineage, "rate_of", lambda arm: chosen(arm) if arm == lineage.DOCUMENTED else 1e-3
    )
    records = run_all(vocabulary, vocabulary.__file__)
    counted = {r["corpus"]: r["metrics"] for r in records if r["kind"] == "texts"}
    assert set(counted) == {lineage.DOCSTRINGS, REVIEWS, NEWS}
    found = counted[REVIEWS]
    assert found["reviews' vocabulary"] == found["MiniLM's vocabulary"] >= 100
    vocabulary._task_file().unlink()  # as in a checkout, which has the records alone
    vocabulary.ensure_texts()
    held = [text for split in ("validation", "test") for text in vocabulary.task()[split][0]]
    train = lineage.corpus(lineage.DOCSTRINGS)["train"]
    assert len(train) == 72 - len(held) == 24 and not set(train) & set(held)
    labels = vocabulary.few(42)[1]
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 2, 2]
    primary = next(r for r in records if r["kind"] == "comparison")
    assert (primary["method"], primary["minus"]) == (lineage.DOCUMENTED, CONTROL)
    assert {"difference", "low", "high", "seed 42", "detectable"} <= primary["metrics"].keys()
