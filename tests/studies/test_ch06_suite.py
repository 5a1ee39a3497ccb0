"""Chapter 6's suite: pairs, draws, a new head, intervals and verdicts, each kind of job."""

import hashlib
from collections import Counter
from dataclasses import replace

import ch06_suite as study
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from scipy.optimize import brentq
from scipy.special import expit
from shared import standard, suite
from shared.standard import CAUSAL, MINILM, PROMPT, STANDARD

from reptune import assets
from reptune.book import results
from reptune.cloze import collate, label_logits, load_prompt_model
from reptune.cloze.templates import Template, encode, word_ids
from reptune.metrics import intervals
from tests import tiny

TOPICS = ("business", "politics", "sports")
FIVE = Features({"text": Value("string"), "label": ClassLabel(names=list(TOPICS))})


# --- pairs and draws -----------------------------------------------------------------------------


def news(per_topic=24):
    """Articles whose title shares two words with their own opening, and one with their topic's."""
    rng = np.random.default_rng(0)
    rows = []
    for label, topic in enumerate(TOPICS):
        for number in range(per_topic):
            own = f"{topic}{number} unique{label}x{number}"
            filler = " ".join(f"word{n}" for n in rng.integers(0, 400, 30))
            rows.append({"text": f"{topic}  {own}\n\n{own} {topic} {filler}", "label": label})
    return Dataset.from_list(rows, features=FIVE)


def each_once(pairs, side):
    return max(Counter(pair[side] for pair in pairs).values()) == 1


def test_articles_are_kept_once_and_cut():
    part = news(4)
    twice = part.add_item({"text": "BUSINESS business0  unique0x0\nanother text", "label": 0})
    rows = suite.articles(twice)
    assert len(rows) == 12 and {row.content["text"] for row in rows} == {
        row.content["text"] for row in suite.articles(part)
    }
    assert all(len(row.content["text2"].split()) == suite.OPENING_WORDS for row in rows)


def test_titles_are_swapped_within_a_topic_and_each_text_occurs_once():
    rows = suite.articles(news())
    pairs = suite.title_pairs(rows)
    assert each_once(pairs, "text") and each_once(pairs, "text2")
    own = {row.content["text2"]: row.content["text"] for row in rows}
    topic = {row.content["text"]: row.stratum for row in rows}
    for pair in pairs:
        assert pair["label"] == (pair["text"] == own[pair["text2"]])
        assert topic[pair["text"]] == topic[own[pair["text2"]]]  # so no topic tells the label
    for stratum in ("0", "1", "2"):
        labels = [pair["label"] for pair in pairs if topic[pair["text"]] == stratum]
        assert sum(labels) == 12 == len(labels) / 2
    shuffled = [rows[index] for index in np.random.default_rng(1).permutation(len(rows))]
    again = suite.title_pairs(sorted(shuffled, key=lambda r: suite.order_of(r, suite.STUDY)))
    assert again == pairs


def test_negatives_are_the_most_similar_ones():
    def row(title, opening):
        return suite.Row("", title, "0", {"text": title, "text2": opening})

    # Rows 1, 3, 5 and 7 swap; 1 and 5 are about ships, 3 and 7 about bread.
    rows = [
        row("k0", "k0"), row("ship sea", "ship sails sea"), row("k2", "k2"),
        row("bread oven", "bread bakes oven"), row("k4", "k4"),
        row("sea ship port", "port of ship"),
        row("k6", "k6"), row("oven loaf", "loaf of bread in oven"),
    ]  # fmt: skip
    pairs = suite.title_pairs(rows)
    assert [pair["text"] for pair in pairs[1::2]] == [
        "sea ship port", "oven loaf", "ship sea", "bread oven",
    ]  # fmt: skip
    assert [pair["label"] for pair in pairs] == [1, 0] * 4


def test_grades_are_what_they_say():
    rows = suite.articles(news())
    pairs = suite.graded_pairs(rows)
    assert each_once(pairs, "text") and each_once(pairs, "text2")
    own = {row.content["text2"]: row for row in rows}
    giver = {row.content["text"]: row for row in rows}
    for pair in pairs:
        opening, title = own[pair["text2"]], giver[pair["text"]]
        same = opening.stratum == title.stratum
        assert pair["label"] == (2 if opening is title else 1 if same else 0)
    assert Counter(pair["label"] for pair in pairs) == {2: 36, 1: 18, 0: 18}


def test_neither_sentence_of_a_pair_tells_whether_they_agree():
    rows = [{"text": f"sentence {n}", "label": int(n >= 21)} for n in range(45)]
    pairs = suite.review_pairs(Dataset.from_list(rows))
    polarity = {row["text"]: row["label"] for row in rows}
    used = [pair[side] for pair in pairs for side in ("text", "text2")]
    assert len(set(used)) == len(used) == 40
    kinds = Counter((polarity[pair["text"]], polarity[pair["text2"]]) for pair in pairs)
    assert kinds == dict.fromkeys(((0, 0), (0, 1), (1, 0), (1, 1)), 5)
    for pair in pairs:
        assert pair["label"] == (polarity[pair["text"]] == polarity[pair["text2"]])
    assert suite.review_pairs(Dataset.from_list(rows[::-1])) == pairs


def pin(task):
    lines = [
        "\t".join(str(row.get(name, "")) for name in ("text", "text2", "label"))
        for part in suite.parts(task).values() for row in part
    ]  # fmt: skip
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("task", "sizes", "pinned"),
    [
        (suite.SENTIMENT, (6398, 1066), "4fba9f805a2a"),
        (suite.HEADLINES, (1434, 616), "750a42df7eb2"),
        (suite.ARTICLES, (1434, 616), "7c10fa0a2744"),
        (suite.AGREEMENT, (3196, 532), "7a1bbe41f604"),
        (suite.GRADES, (1434, 616), "c848e0e722e3"),
    ],
)
def test_the_real_tasks_are_the_pinned_ones(task, sizes, pinned):
    parts = suite.parts(task)
    assert (len(parts["train"]), len(parts["test"])) == sizes
    texts = [set(suite.joined(suite.inputs_of(part))) for part in parts.values()]
    assert not texts[0] & texts[1]
    assert set(parts["test"]["label"]) == set(range(suite.CLASSES[task]))
    assert pin(task) == pinned


def fake_task(classes, pair):
    """Made-up texts in the words of the tiny models; a few texts occur more than once."""

    def read():
        rng = np.random.default_rng(classes + pair)
        parts = {}
        for split, count in (("train", 210), ("test", 24)):
            rows = []
            for number in range(count):
                row = {"text": " ".join(rng.choice(tiny.WORDS, 3)), "label": number % classes}
                rows.append(row | ({"text2": " ".join(rng.choice(tiny.WORDS, 2))} if pair else {}))
            parts[split] = Dataset.from_list(rows)
        return parts

    return read


FAKE = {
    suite.SENTIMENT: (2, False), suite.HEADLINES: (3, False), suite.ARTICLES: (2, True),
    suite.AGREEMENT: (2, True), suite.GRADES: (3, True),
}  # fmt: skip


@pytest.fixture
def fake_tasks(monkeypatch):
    suite.parts.cache_clear()
    monkeypatch.setattr(suite, "READERS", {task: fake_task(*kind) for task, kind in FAKE.items()})
    monkeypatch.setattr(suite, "CLASSES", {task: classes for task, (classes, _) in FAKE.items()})
    yield
    suite.parts.cache_clear()


@pytest.mark.parametrize("task", FAKE)
def test_development_is_the_next_of_each_class(fake_tasks, task):
    (train, labels), (development, held) = suite.draw(task, 42)
    classes = suite.CLASSES[task]
    assert np.bincount(labels).tolist() == np.bincount(held).tolist() == [16] * classes
    pool = suite.parts(task)["train"]
    small, large = (set(suite.data.few_shot(pool, n, 42)["row"]) for n in (16, 32))
    inputs = suite.inputs_of(pool)
    rest = sorted(large - small)
    assert sorted(development) == sorted(inputs[row] for row in rest)
    assert sorted(train) == sorted(inputs[row] for row in small)
    # The draw of 32 is both, and nothing of it is among the unlabeled.
    assert sorted(suite.draw(task, 42, 32)[0][0]) == sorted([*train, *development])
    assert len(suite.unlabeled(task, 1000, 42)) == 210 - len(large)


# --- read off vectors and logits -----------------------------------------------------------------


def test_features_of_texts_and_of_pairs():
    vectors = {"a": [1.0, 2.0], "b": [3.0, 1.0]}

    def encode(texts):
        return np.array([vectors[text] for text in texts])

    assert suite.features(encode, ["b", "a"]).tolist() == [[3, 1], [1, 2]]
    assert suite.features(encode, [("a", "b")]).tolist() == [[1, 2, 3, 1, 2, 1, 3, 2]]


def test_a_bias_is_the_threshold_of_least_cross_entropy():
    logits = np.array([[0.0, 3.0], [0.0, 2.0], [0.0, 2.5], [0.0, 4.0]])
    labels = np.array([0, 0, 1, 1])
    # At the least the mean probability of class 1 is its share of the labels.
    threshold = brentq(lambda t: expit(logits[:, 1] - t).mean() - 0.5, 0, 5)
    biases = suite.class_biases(logits, labels)
    assert biases[0] - biases[1] == pytest.approx(threshold, abs=1e-3)
    assert biases.sum() == pytest.approx(0, abs=1e-9)


# --- a new head ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        MINILM: tiny.save_masked_lm(folder / "masked"),
        CAUSAL: tiny.save_causal_lm(folder / "causal"),
    }


@pytest.mark.parametrize("name", [MINILM, CAUSAL])
def test_a_new_head_with_the_words_rows_gives_the_label_logits(tiny_models, name):
    prompt_model = load_prompt_model(tiny_models[name])
    causal = prompt_model.causal
    template = Template("{text} it {mask}" if causal else "{text} {mask} .")
    kind = {"tokenizer": prompt_model.tokenizer, "causal": causal}
    ids = word_ids({0: "bad", 1: "good"}, [0, 1], template=template, **kind)
    prompts = [encode(template, text=text, limit=32, **kind) for text in tiny.TEXTS]
    batch = collate(prompt_model, prompts)
    with torch.inference_mode():
        expected = label_logits(prompt_model, batch, ids)
    new = standard.with_new_head(prompt_model, 2)
    with torch.no_grad():
        old = prompt_model.head.decoder
        new.head.decoder.weight.copy_(old.weight[ids])
        new.head.decoder.bias.copy_(old.bias[ids] if old.bias is not None else torch.zeros(2))
    # Of the language model's head, what comes before the output layer.
    whole = replace(new, head=new.head._replace(transform=prompt_model.head.transform))
    with torch.inference_mode():
        found = label_logits(whole, batch, np.arange(2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert {"new_head.decoder.weight", "new_head.decoder.bias"} <= {
        parameter for parameter, _ in prompt_model.model.named_parameters()
    }


def test_a_new_head_drops_states_in_training_alone(tiny_models):
    prompt_model = load_prompt_model(tiny_models[MINILM])
    head = standard.with_new_head(prompt_model, 2).head
    states = torch.ones(50, 16)
    assert torch.equal(head.transform(states), states)  # the model is in evaluation mode
    prompt_model.model.train()
    assert (head.transform(states) == 0).any()
    prompt_model.model.new_head.dropout = torch.nn.Identity()  # as the fast option replaces it
    assert torch.equal(head.transform(states), states)


@pytest.mark.parametrize(
    ("name", "texts", "expected", "index"),
    [
        (MINILM, ("a film", None), "[CLS] a film [SEP]", 0),
        (MINILM, ("a film", "very dull"), "[CLS] a film [SEP] very dull [SEP]", 0),
        (CAUSAL, ("a film", None), "a film", -1),
        (CAUSAL, ("a film", "very dull"), "a film\nvery dull", -1),
    ],
)
def test_plain_inputs(tiny_models, name, texts, expected, index):
    prompt_model = load_prompt_model(tiny_models[name])
    inputs = standard.PlainInputs(
        prompt_model, Template("{text} {mask}"), ["0", "1"],
        limit=32, per_class=0, examples=[], groups=[], seed=0,
    )  # fmt: skip
    (encoded,) = inputs.plain([texts])
    assert prompt_model.tokenizer.decode(encoded.input_ids) == expected
    assert encoded.mask == index % len(encoded.input_ids) and encoded.cut == 0
    inputs.limit = len(encoded.input_ids) - 1
    (shorter,) = inputs.plain([texts])
    assert len(shorter.input_ids) == inputs.limit and shorter.cut == 1


def test_equal_accuracies_are_told_apart_by_likelihood():
    classifier, targets = standard.Prompted(), np.array([0, 1])
    unsure, sure, wrong = (
        classifier._evaluate(np.array(logits), targets)["eval_score"]
        for logits in ([[1.0, 0], [0, 0.1]], [[2.0, 0], [0, 2.0]], [[9.0, 0], [0.1, 0]])
    )
    assert 0.5 < wrong < 1 < unsure < sure


def test_a_word_without_a_token_has_a_stand_in(tiny_models, monkeypatch):
    prompt_model = load_prompt_model(tiny_models[MINILM])
    template = Template("{text} {mask} .")
    monkeypatch.setattr(standard, "FALLBACKS", {"excellent": ("superb", "fine")})
    chosen = [
        standard.in_one_token(word, prompt_model, template)
        for word in ("good", "excellent", "missing", ("good", "fine"))
    ]
    assert chosen == ["good", "fine", "missing", ("good", "fine")]


# --- intervals and verdicts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "intervals", "expected"),
    [
        ("P1", [(0.01, 0.05), (0.001, 0.06)], "confirmed"),
        ("P1", [(0.01, 0.05), (-0.001, 0.06)], "undecided"),
        ("P2", [(-0.03, 0.019), (-0.04, 0.015)], "refuted"),
        ("P2", [(-0.03, 0.019), (-0.04, 0.02)], "undecided"),
        ("P2", [(0.001, 0.01), (0.002, 0.01)], "confirmed"),
        ("P3", [(-0.019, 0.01), (-0.015, 0.0)], "confirmed"),
        ("P3", [(-0.05, -0.001), (-0.01, -0.005)], "refuted"),
        ("P3", [(-0.03, 0.01), (-0.03, 0.01)], "undecided"),
        ("P4", [(-0.01, 0.015), (-0.01, 0.015)], "undecided"),
        ("P4", [(-0.01, 0.009), (-0.01, 0.005)], "refuted"),
    ],
)
def test_verdicts(name, intervals, expected):
    assert suite.verdict(name, intervals) == expected


def test_tasks_count_the_same_in_both_intervals():
    rng = np.random.default_rng(0)
    better = rng.random((5, 200)) < 0.8, rng.random((5, 200)) < 0.5
    same = rng.random((5, 30)) < 0.6
    found = suite.compared([better, (same, same)])
    difference = (better[0].mean() - better[1].mean()) / 2
    assert found["difference"] == pytest.approx(difference)
    by_draw = (better[0].mean(axis=1) - better[1].mean(axis=1)) / 2
    half = 2.776445 * by_draw.std(ddof=1) / np.sqrt(5)  # t with 4 degrees of freedom, 97.5%
    assert found["t_low"] == pytest.approx(difference - half, abs=1e-6)
    assert found["low_wide"] < found["low"] < difference < found["high"] < found["high_wide"]
    assert found["t_low_wide"] < found["t_low"] and found["t_high"] < found["t_high_wide"]
    assert found["detectable"] == pytest.approx(1.43 * (found["high"] - found["low"]) / 2)


def test_a_floor_is_not_above_chance(monkeypatch):
    monkeypatch.setattr(suite, "CLASSES", {"t": 2})
    floor, learned = np.tile([True, False], (2, 50)), np.tile([True, True, False], (2, 50))
    assert not suite.above_chance([floor, floor], "t")
    assert suite.above_chance([floor, learned], "t")


# --- what the pilots choose ----------------------------------------------------------------------


def pilot_record(method, model, rate, accuracy, likelihood, loss=0.1, task=suite.SENTIMENT):
    return {
        "study": suite.STUDY, "kind": "rate", "method": method, "model": model, "task": task,
        "labels": 32, "random_state": 0, "split": "development", "learning_rate": rate,
        "last_loss": loss, "seconds": {"fit": 1}, "peak_memory_mb": 1,
        "metrics": {"accuracy": accuracy, "log_likelihood": likelihood},
    }  # fmt: skip


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    return lambda *records: results.append_all(records, study.__file__)


def test_a_rate_is_the_best_mean_and_ties_go_by_likelihood(recorded):
    with pytest.raises(SystemExit, match="no rate was tried"):
        standard.chosen(PROMPT, CAUSAL)
    recorded(
        pilot_record(PROMPT, CAUSAL, 1e-5, 0.9, -0.1),
        pilot_record(PROMPT, CAUSAL, 1e-5, 0.5, -0.1, task=suite.HEADLINES),
        pilot_record(PROMPT, CAUSAL, 3e-5, 0.8, -0.9),
        pilot_record(PROMPT, CAUSAL, 3e-5, 0.7, -0.9, task=suite.HEADLINES),
        pilot_record(PROMPT, CAUSAL, 1e-4, 0.75, -0.3),
        pilot_record(STANDARD, CAUSAL, 1e-4, 0.99, 0),
    )
    assert standard.chosen(PROMPT, CAUSAL) == 1e-4
    assert standard.beyond_edge(PROMPT, CAUSAL) == 3e-4
    recorded(pilot_record(PROMPT, CAUSAL, 3e-5, 0.99, -0.9))
    assert standard.chosen(PROMPT, CAUSAL) == 3e-5
    assert standard.beyond_edge(PROMPT, CAUSAL) is None


@pytest.mark.parametrize(("package", "expected"), [(0.71, STANDARD), (0.72, standard.PACKAGE)])
def test_the_control_is_no_straw_man(recorded, package, expected):
    recorded(
        pilot_record(STANDARD, MINILM, 1e-4, 0.7, -0.5),
        pilot_record(standard.PACKAGE, MINILM, 1e-4, package, -0.5),
    )
    assert standard.control(MINILM) == expected
    assert standard.control(CAUSAL) == STANDARD


def test_a_head_that_learns_too_little_gets_more_steps(recorded):
    half = np.log(2) / 2
    recorded(
        pilot_record(STANDARD, CAUSAL, 1e-5, 0.5, -0.7, loss=1.5 * half),
        pilot_record(STANDARD, CAUSAL, 3e-5, 0.5, -0.7, loss=1.01 * half),
    )
    assert standard.num_steps(STANDARD, CAUSAL) == 120
    assert standard.num_steps(PROMPT, CAUSAL) == 60
    recorded(pilot_record(STANDARD, CAUSAL, 1e-4, 0.5, -0.7, loss=0.9 * half))
    assert standard.num_steps(STANDARD, CAUSAL) == 60


def test_articles_are_dropped_where_the_rest_took_too_long(recorded):
    record = pilot_record(PROMPT, CAUSAL, 1e-5, 0.5, -0.7)
    spent = {"kind": "test", "split": "test", "seconds": {"fit": 10_000, "predict": 700}}
    recorded({**record, **spent})
    assert study.causal_tasks() == suite.FOUR
    recorded({**record, **spent, "seconds": {"fit": 101, "predict": 0}})
    assert suite.ARTICLES not in study.causal_tasks() and len(study.causal_tasks()) == 3


# --- jobs ----------------------------------------------------------------------------------------


def test_no_job_is_taken_for_another(monkeypatch):
    monkeypatch.setattr(study, "models", lambda: list(standard.MODELS))
    monkeypatch.setattr(standard, "beyond_edge", lambda *_: 1.0)
    monkeypatch.setattr(standard, "control", lambda _: standard.PACKAGE)
    jobs = [job for stage in study.STAGES for job in stage()]
    for job in jobs:
        assert [other for other in jobs if job.items() <= other.items()] == [job]
    assert not set(study.DRAWS) & {d for own in standard.MODELS.values() for d in own.pilot_draws}


MASKED_WORDING = {
    task: suite.Wording(
        "{text} {mask} {text2}" if pair else "{text} {mask} .", ("bad", "good", "fine")[:classes]
    )
    for task, (classes, pair) in FAKE.items()
}
MASKED_WORDING[suite.GRADES] = suite.Wording("{text} {mask} {text2}", ("bad", "good"))
CAUSAL_WORDING = {
    task: suite.Wording(
        "{text} {text2} is {mask}" if pair else "{text} is {mask}", MASKED_WORDING[task].words
    )
    for task, (_, pair) in FAKE.items()
}


@pytest.fixture
def tiny_study(fake_tasks, recorded, tiny_models, monkeypatch, tmp_path):
    """The study on made-up texts, with two steps a fit, two draws and two or three tasks."""
    monkeypatch.setattr(assets, "resolve_model", lambda model: tiny_models.get(model, model))
    models = {
        name: replace(
            standard.MODELS[name], adapter=None, num_steps=2, evaluations=2, rates=(1e-3,),
            pilot_draws=(0,),
        )
        for name in (MINILM, CAUSAL)
    }  # fmt: skip
    single, pairs = (suite.SENTIMENT,), (suite.ARTICLES,)
    small = {
        suite: {
            "MASKED": MASKED_WORDING, "CAUSAL": CAUSAL_WORDING, "CALIBRATION": 8, "UNLABELED": 12,
            "SEVERAL": {suite.SENTIMENT: (("bad", "poor"), ("good", "fine"))},
        },
        standard: {
            "MODELS": models, "MIDDLE": 1, "encoder": lambda _: tiny_models[MINILM],
            "CHANGES": {standard.SHOWN: {"per_class": 1}, standard.LONG_PROMPT: {"num_steps": 3}},
        },
        intervals: {"NUM_RESAMPLES": 200},
        study: {
            "MODELS": models, "DRAWS": [42, 43], "FOLDER": tmp_path / "answers",
            "SINGLE": single, "PAIRS": pairs, "FOUR": (*single, *pairs), "EPOCHS": 1,
            "STUDENT": {"num_steps": 2}, "CANDIDATES": 2,
            "BEAM": {"beam_width": 4, "max_tokens": 2},
        },
    }  # fmt: skip
    for module, values in small.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    standard.encoder_of.cache_clear()
    yield
    standard.encoder_of.cache_clear()


def run_stages(stages, wanted=lambda job: True):
    """Run jobs in this process, stage after stage; return their records."""
    found = []
    for stage in stages:
        for job in filter(wanted, stage()):
            records = [{"study": suite.STUDY, **job, **row} for row in study.run(job)]
            results.append_all(records, study.__file__)
            assert results.is_done(suite.STUDY, **job)
            found += records
    return found


PRIMARY = study.STAGES[: study.STAGES.index(study.primary) + 1]


@pytest.mark.filterwarnings("ignore:training ended at a loss", "ignore:of .* prompts")
def test_the_primary_comparisons_from_end_to_end(tiny_study, tiny_models):
    records = run_stages(PRIMARY)
    assert {record["kind"] for record in records} == {
        "rate", "untrained", "test", "search", "comparison",
    }  # fmt: skip
    tuned = [r for r in records if r["kind"] == "rate"]
    assert {r["learning_rate"] for r in tuned} == {1e-3, 3e-3} and tuned[0]["last_loss"] > 0
    tested = [r for r in records if "correct" in r and r["split"] == "test"]
    for record in tested:
        labels = suite.examples(record["task"], "test")[1]
        right = [int(said) for said in record["predicted"]] == labels
        assert results.pack(right) == record["correct"] and record["items"] == len(labels) == 24
    found = [r for r in tested if r["method"] == study.TEMPLATES]
    assert {r["random_state"] for r in found} == {42, 43}
    assert all(r["template"].endswith("{mask} .") for r in found)
    assert all("{text} | {text2}" in r["template"] for r in found if r["task"] == suite.ARTICLES)
    said = {r["method"]: r["verdict"] for r in records if r.get("task") == "mean"}
    assert said.keys() == set(suite.RULES)
    assert set(said.values()) <= {"confirmed", "refuted", "undecided"}
    kept = list(study.FOLDER.iterdir())
    assert len(kept) == 6  # the prompt of two models and the templates of one, two draws
    assert np.load(kept[0]).sum(axis=1) == pytest.approx(np.ones(12))
    assert list(run_stages(PRIMARY, lambda job: not results.is_done(suite.STUDY, **job))) == []


OTHERS = {
    ("baseline", standard.FROZEN), ("baseline", standard.COSINE), ("baseline", standard.SETFIT),
    ("baseline", standard.COUNTS), ("search", study.WORDS), ("test", standard.SHOWN),
    ("test", standard.SEVERAL), ("student", study.SELF), ("student", study.DISTILLED),
    ("regression", study.LINE), ("regression", study.UNTRAINED), ("regression", STANDARD),
    ("limit", standard.ALL_STANDARD), ("test", standard.LONG_PROMPT),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:training ended at a loss", "ignore:of .* prompts")
def test_each_other_kind_of_job_from_end_to_end(tiny_study, recorded, monkeypatch):
    recorded(
        *(
            pilot_record(method, model, 1e-3, 0.5, -0.7)
            for method in (PROMPT, STANDARD) for model in (MINILM, CAUSAL)
        )
    )  # fmt: skip
    for method, model in ((PROMPT, MINILM), (study.TEMPLATES, MINILM), (PROMPT, CAUSAL)):
        for draw in study.DRAWS:

            def teacher(texts):
                return np.tile([0.0, 2.0], (len(texts), 1))

            study.keep_answers(method, model, suite.SENTIMENT, draw, [teacher])
    tasks = set()

    def first_of_kind(job):
        pair = "text2" in suite.parts(job["task"])["test"].features
        kind = (job["kind"], job["method"], job["model"], pair)
        new = kind not in tasks and kind[:2] in OTHERS
        tasks.add(kind)
        return new

    records = run_stages([study.others], first_of_kind)
    assert {(record["kind"], record["method"]) for record in records} == OTHERS | {
        ("search", f"{study.WORDS}, one of 2"),
    }  # fmt: skip
    for record in records:
        assert record["labels"] == {
            study.UNTRAINED: 0, standard.ALL_STANDARD: 210,
        }.get(record["method"], 48 if record["task"] == suite.GRADES else 32)  # fmt: skip
        if record["kind"] == "regression":
            assert len(record["shares"]) == 24 and record["metrics"]["mae"] >= 0
        else:
            assert set(record["predicted"]) <= {"0", "1"} and len(record["correct"]) == 6


def test_what_draws_nothing_is_compared_with_every_draw(recorded):
    def record(method, draw, right):
        return {
            "study": suite.STUDY, "kind": "test", "method": method, "model": MINILM,
            "task": suite.SENTIMENT, "labels": 32, "random_state": draw, "split": "test",
            "metrics": {"accuracy": right.mean()}, "correct": results.pack(right),
            "items": len(right), "seconds": {"fit": 1}, "peak_memory_mb": 1,
        }  # fmt: skip

    right = np.arange(100) < 80
    recorded(
        record(PROMPT, 42, right), record(PROMPT, 43, np.arange(100) < 90),
        record(study.CALIBRATED, 42, np.arange(100) < 70),
    )  # fmt: skip
    job = study._comparison("secondary", MINILM, PROMPT, study.CALIBRATED, [suite.SENTIMENT])
    mean, above, single = study.compare(job)
    assert (mean["task"], above["task"], single["task"]) == (
        "mean", "mean above chance", suite.SENTIMENT,
    )  # fmt: skip
    assert mean["metrics"]["difference"] == pytest.approx(0.15) and mean["verdict"] is None
    assert mean["draws"] == 2
