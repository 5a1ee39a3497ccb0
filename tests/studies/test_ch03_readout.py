"""Chapter 3's repaired readout and its token task: readouts, choices, records, comparisons."""

import itertools
import math

import ch03_entities as entities
import ch03_readout as readout
import filelock
import numpy as np
import pytest
import torch
from shared import conditions, encoders, pooled
from shared.entities import FrozenTagger
from transformers import AutoTokenizer, BertModel

from reptune import training
from reptune.book import results
from reptune.metrics import Interval, f1_of_counts
from reptune.models.masked import load_masked_lm
from tests import tiny
from tests.unit.ner.examples import toy

ARMS = (readout.SHIPPED, readout.GENERAL, readout.DOMAIN, readout.TASK, entities.ADAPTIVE)
LABELS = np.array([1, 0] * len(tiny.GOOD))  # of `tiny.TEXTS`


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each arm a tiny masked language model, long enough for the studies' texts."""
    root = tmp_path_factory.mktemp("arms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "MAX_POSITIONS", 128)
        return {
            arm: tiny.save_masked_lm(root / str(number), random_state=number)
            for number, arm in enumerate(ARMS)
        }


@pytest.fixture
def records(monkeypatch, tmp_path):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path / "results"))


def do(study, jobs):
    """What `shared.common.main` does, in this process."""
    for job in jobs:
        kept = [{"study": study.STUDY, **job, **record} for record in study.run(job)]
        results.append_all(kept, study.__file__)
        assert results.is_done(study.STUDY, **job)


# --- the readout ---------------------------------------------------------------------------------


def test_the_mean_passes_over_padding():
    states = torch.tensor([[[1.0, 2], [3, 4], [100, 100]], [[0, 1], [2, 3], [7, 8]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pooled.mean_states(states, mask).tolist() == [[2, 3], [3, 4]]


def test_a_text_gets_the_logits_of_the_mean_of_its_own_tokens_whatever_stands_beside_it(folders):
    folder = folders[readout.DOMAIN]
    texts = ["a film", "the actor was not very good", "dull"]
    classifier = pooled.MeanPooledClassifier(folder, num_epochs=1, max_length=64)
    classifier.fit(tiny.TEXTS, LABELS)
    model, tokenizer = classifier.model_, classifier.tokenizer_
    expected = []
    with torch.inference_mode():
        for text in texts:
            states = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            mean = sum(states) / len(states)
            expected.append(model.classifier.weight @ mean + model.classifier.bias)
    found = classifier.logits(texts)
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), atol=1e-5)
    assert not np.allclose(found[0], found[1], atol=1e-4)


def test_training_starts_from_the_encoders_weights(folders):
    folder = folders[readout.DOMAIN]
    model = pooled.MeanPooled.from_pretrained(folder, num_labels=2)
    expected = BertModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
    found = model.bert.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_shortcut_for_cls_stays_away_from_the_mean(folders):
    model = pooled.MeanPooled.from_pretrained(folders[readout.DOMAIN], num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(folders[readout.DOMAIN])
    sample = tokenizer(tiny.TEXTS[:4], padding=True, return_tensors="pt")
    with training.first_token(model, sample) as used:
        assert not used


def test_the_mean_and_cls_are_trained_alike_and_read_apart(folders):
    fitted = {
        name: kind(folders[readout.DOMAIN], num_epochs=2, max_length=64, batch_size=4)
        .fit(tiny.TEXTS, LABELS)
        for name, kind in readout.CLASSIFIERS.items()
    }  # fmt: skip
    steps = {name: [row["step"] for row in one.history_] for name, one in fitted.items()}
    assert steps[readout.MEAN] == steps[readout.CLS] and steps[readout.MEAN][-1] == 8
    parts = {name: {key.split(".")[0] for key in one.model_.state_dict()}
             for name, one in fitted.items()}  # fmt: skip
    assert parts[readout.MEAN] == parts[readout.CLS] == {"bert", "classifier"}
    pooler = "bert.pooler.dense.weight"
    assert pooler in fitted[readout.CLS].model_.state_dict()
    assert pooler not in fitted[readout.MEAN].model_.state_dict()


def test_fitting_twice_gives_the_same_bits(folders):
    rows = [
        pooled.MeanPooledClassifier(folders[readout.TASK], num_epochs=1, max_length=64)
        .fit(tiny.TEXTS, LABELS)
        .logits(tiny.TEXTS)
        for _ in range(2)
    ]
    assert np.array_equal(*rows)


# --- what validation chooses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best", "tried", "at_edge"),
    [
        ({1: 0.1, 3: 0.9, 9: 0.5}, 3, [1, 3, 9], False),
        ({1: 0.9, 3: 0.2, 9: 0.1, 0.333: 0.5}, 1, [0.333, 1, 3, 9], False),
        ({1: 0.8, 3: 0.2, 9: 0.1, 0.333: 0.9}, 0.333, [0.333, 1, 3, 9], True),
        ({1: 0.1, 3: 0.2, 9: 0.9, 27: 0.5}, 9, [1, 3, 9, 27], False),
        ({1: 0.1, 3: 0.2, 9: 0.8, 27: 0.9}, 27, [1, 3, 9, 27], True),
        ({1: 0.1, 3: 0.7, 9: 0.7}, 3, [1, 3, 9], False),
        ({1: 0.5, 3: 0.5, 9: 0.5, 0.333: 0.5}, 0.333, [0.333, 1, 3, 9], True),
    ],
)
def test_a_search_goes_one_value_beyond_an_edge(scores, best, tried, at_edge):
    found = readout.search((1, 3, 9), 3, lambda value: scores[value])
    assert (found.best, found.at_edge) == (best, at_edge)
    assert sorted(found.scores) == tried


def test_rates_beyond_an_edge_are_the_ones_that_the_studies_name():
    def ends(study):
        rising = (lambda value: value, lambda value: -value)
        grids = (study.RATES, study.RATE_FACTOR), (study.PENALTIES, study.PENALTY_FACTOR)
        return [readout.search(*grid, score).best for grid in grids for score in rising]

    assert ends(readout) == [9e-4, 1e-5, 10, 1e-5]
    assert ends(entities) == [8e-4, 5e-5, 10, 1e-4]


class Fit:
    """Has the score of its rate; remembers which splits were scored."""

    asked: list

    def __init__(self, rate, seed):
        self.rate, self.fields = rate, {"random_state": seed}

    def score(self, split):
        Fit.asked.append((split, self.rate))
        return {"split": split, "metrics": {"f1": {1: 0.2, 2: 0.6, 4: 0.4}[self.rate]}}


def test_test_is_scored_with_the_chosen_rate_alone():
    Fit.asked = []
    found = list(readout.chosen(Fit, [42, 43], (1, 2, 4), 2, "f1"))
    of_test = [row for row in found if row["split"] == "test"]
    assert [(row["learning_rate"], row["random_state"]) for row in of_test] == [(2, 42), (2, 43)]
    assert all(row["at_edge"] is False for row in of_test)
    assert {rate for split, rate in Fit.asked if split == "test"} == {2}
    assert len(found) - len(of_test) == 6


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", [readout, entities])
def test_no_job_is_taken_for_another(study):
    jobs = [*study.first_jobs(), *study.final_jobs(), *study.comparison_jobs()]
    for job in jobs:  # `results.is_done` takes a job for done if a record holds all that it says
        assert [other for other in jobs if job.items() <= other.items()] == [job]


@pytest.mark.parametrize("study", [readout, entities])
def test_encoders_are_made_first_and_both_sides_of_a_comparison_are_measured(study):
    first = [job["step"] for job in study.first_jobs()]
    made = first.count(readout.MADE)
    assert set(first[:made]) == {readout.MADE} and readout.MADE not in first[made:]
    measured = {
        tuple(condition.fields(arm).items())
        for condition in study.TUNED + study.PROBED
        for arm in condition.arms
    }
    for job in study.comparison_jobs():
        first, second = job["first"], {**job["first"], **job["minus"]}
        assert first != second
        assert {tuple(first.items()), tuple(second.items())} <= measured


def test_the_primary_comparisons_come_first_and_have_ten_draws():
    for study, arm in ((readout, readout.DOMAIN), (entities, entities.ADAPTIVE)):
        job = next(iter(study.comparison_jobs()))
        first = job["first"]
        assert first["method"] == arm and job["minus"] == {"method": readout.SHIPPED}
        assert (first["labels"], first["trained"]) == (500, readout.FINE_TUNED)
        assert len(readout.condition_of(first, study.TUNED).seeds()) == 10


@pytest.mark.parametrize("study", [readout, entities])
def test_every_fit_takes_300_steps_or_as_few_more_as_whole_passes_allow(study):
    for condition in study.TUNED:
        count, size = condition.labels, study.BATCH[condition.labels]
        steps, one = readout.passes(count, size) * math.ceil(count / size), math.ceil(count / size)
        assert 300 <= steps < 300 + one


def test_the_fits_are_those_of_the_plan():
    def fits(study):
        return [
            (
                len(study.RATES) * len(condition.arms) * condition.chosen_on,
                len(list(condition.final_jobs())),
            )
            for condition in study.TUNED
        ]

    assert fits(readout) == [(12, 16), (6, 4), (6, 8), (6, 4), (6, 4)]
    assert fits(entities) == [(6, 18), (3, 2), (0, 6), (0, 6), (0, 6)]


# --- comparisons ---------------------------------------------------------------------------------


def record(study, fields, seed, **scores):
    return {
        "study": study.STUDY, **fields, "model": "m", "random_state": seed, "split": "test",
        "step": conditions.FINAL, "seconds": {"fit": 1}, "peak_memory_mb": 1,
        "metrics": {"accuracy": 0}, **scores,
    }  # fmt: skip


def kept(study, fields, rows):
    """Record which of ten texts are right, for each draw."""
    for seed, right in rows.items():
        correct = np.arange(10) < right
        scores = {"correct": results.pack(correct), "items": 10}
        results.append(record(study, fields, seed, **scores), study.__file__)


def test_sides_are_compared_on_the_draws_that_both_have(records, monkeypatch):
    few, many = readout.TUNED[3], readout.TUNED[0]
    general, shipped = few.fields(readout.GENERAL), many.fields(readout.SHIPPED)
    job = readout.comparison(general, shipped)
    kept(readout, general, {42: 6, 44: 8, 43: 7})
    kept(readout, shipped, {seed: 5 if seed < 45 else 0 for seed in range(42, 52)})
    (found,) = readout.run(job)
    results.append({"study": readout.STUDY, **job, **found}, readout.__file__)
    (again,) = readout.run(job)  # what was recorded of the comparison is no score of a side
    assert again["metrics"] == found["metrics"] and found["draws"] == 3
    assert found["metrics"]["difference"] == pytest.approx(0.2)
    assert found["metrics"]["low"] < 0.2 < found["metrics"]["high"]
    half = (found["metrics"]["high"] - found["metrics"]["low"]) / 2
    assert found["metrics"]["detectable"] == pytest.approx(1.43 * half)


def test_a_missing_draw_is_an_error_and_not_a_smaller_comparison(records):
    condition = readout.TUNED[2]
    first, second = (condition.fields(arm) for arm in (readout.DOMAIN, readout.SHIPPED))
    kept(readout, first, dict.fromkeys(range(42, 47), 5))
    kept(readout, second, dict.fromkeys(range(42, 46), 5))
    with pytest.raises(ValueError, match="no record"):
        list(readout.run(readout.comparison(first, second)))


def test_taggers_are_compared_by_the_f1_of_the_same_sentences(records, monkeypatch):
    monkeypatch.setattr(entities, "kept_stories", lambda: (0, 0, 1))
    condition = entities.TUNED[2]
    sides = {
        entities.ADAPTIVE: np.array([[2, 2, 2], [1, 1, 1], [0, 1, 0]]),
        readout.SHIPPED: np.array([[1, 2, 2], [1, 1, 1], [0, 0, 0]]),
    }
    for arm, counts in sides.items():
        for seed in condition.seeds():
            scores = {"counts": results.pack_counts(counts), "items": 3}
            fields = condition.fields(arm)
            results.append(record(entities, fields, seed, **scores), entities.__file__)
    job = entities.comparison(*(condition.fields(arm) for arm in sides))
    (found,) = entities.run(job)
    expected = [f1_of_counts(counts.sum(axis=0)) for counts in sides.values()]
    assert expected == [pytest.approx(6 / 7), pytest.approx(4 / 6)]
    assert found["metrics"]["difference"] == pytest.approx(6 / 7 - 4 / 6)


def test_no_rate_is_taken_from_another_condition(records):
    fields = readout.TUNED[0].fields(readout.DOMAIN)
    for number, (split, changed) in enumerate(
        [("test", {}), ("test", {"labels": 100}), ("test", {"readout": "[CLS]"}),
         ("validation", {})]
    ):  # fmt: skip
        one = record(readout, {**fields, **changed}, 42) | {"step": readout.CHOICE, "split": split}
        results.append({**one, "learning_rate": 10.0**-number}, readout.__file__)
    assert readout.chosen_rate(readout.STUDY, fields) == 1
    assert readout.chosen_rate(readout.STUDY, {**fields, "labels": 100}) == 0.1
    with pytest.raises(ValueError, match="no rate is chosen"):
        readout.chosen_rate(readout.STUDY, {**fields, "method": readout.SHIPPED})


# --- encoders ------------------------------------------------------------------------------------


@pytest.fixture
def pretraining(monkeypatch, tmp_path, folders):
    """Encoders that are made in two steps of a tiny masked language model."""
    monkeypatch.setattr(encoders, "FOLDER", tmp_path / "encoders")
    general = folders[readout.GENERAL]
    monkeypatch.setattr(encoders, "load_masked_lm", lambda *_: load_masked_lm(general))
    monkeypatch.setattr(encoders, "corpus", lambda name: tuple(tiny.TEXTS * 20))
    monkeypatch.setattr(encoders, "held_out", lambda *_: tiny.TEXTS * 10)
    short = encoders.Arm(readout.GENERAL, encoders.REVIEWS, {"num_steps": 2})
    monkeypatch.setitem(encoders.ARMS, readout.DOMAIN, short)
    monkeypatch.setattr(entities, "NUM_STEPS", 2)
    monkeypatch.setattr(entities, "splits", lambda task: SPLITS)
    stories = {name: tuple(range(len(rows[0]))) for name, rows in SPLITS.items()}
    monkeypatch.setattr(entities, "documents", lambda task, split: stories[split])
    caches = (entities.scored, entities.kept_stories)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_an_encoder_is_made_once_with_its_start(pretraining, monkeypatch):
    found = readout.made(readout.DOMAIN, readout.ready)
    assert found["metrics"]["loss"] > 0 and 0 <= found["metrics"]["accuracy"] <= 1
    assert encoders.folder_of(readout.GENERAL).is_dir()
    monkeypatch.setattr(encoders, "continue_pretraining", None)
    assert readout.ready(readout.DOMAIN) == str(encoders.folder_of(readout.DOMAIN))


def test_two_jobs_do_not_make_one_encoder_at_once(pretraining, monkeypatch):
    refused = []

    def encoder(name):
        other = filelock.FileLock(f"{encoders.folder_of(name)}.lock", timeout=0)
        with pytest.raises(filelock.Timeout):
            other.acquire()
        refused.append(name)
        return name

    monkeypatch.setattr(conditions, "encoder", encoder)
    readout.ready(readout.DOMAIN)
    assert refused == [readout.GENERAL, readout.DOMAIN]


# --- newswire ------------------------------------------------------------------------------------

TRAIN, VALIDATION, TEST = (toy(count, seed) for count, seed in ((200, 0), (40, 1), (40, 2)))
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def test_a_sentence_that_was_trained_on_is_dropped_with_its_tags_in_any_case():
    train = ([["EU", "rejects", "call"], ["New York"]], [["B-ORG", "O", "O"], ["B-LOC"]])
    held = (
        [["eu", "Rejects", "CALL"], ["EU", "rejects"], ["new", "york"], ["NEW YORK"], ["Leeds"]],
        [["B-ORG", "O", "O"], ["B-ORG", "O"], ["B-LOC", "I-LOC"], ["B-LOC"], ["B-LOC"]],
    )
    assert entities.unseen(held, train) == (
        [["EU", "rejects"], ["new", "york"], ["Leeds"]],
        [["B-ORG", "O"], ["B-LOC", "I-LOC"], ["B-LOC"]],
    )


def test_what_is_scored_and_what_is_dropped_make_the_split(pretraining):
    known = {tuple(words) for words in TRAIN[0]}
    expected = [row for row, words in enumerate(TEST[0]) if tuple(words) not in known]
    assert 0 < len(expected) < len(TEST[0])
    assert entities.scored("test") == tuple([side[row] for row in expected] for side in TEST)
    assert entities.dropped("test") == len(TEST[0]) - len(expected)


def test_the_stories_are_those_of_the_sentences_that_are_scored(pretraining):
    kept = entities.kept_stories()  # each sentence is a story here
    assert [TEST[0][story] for story in kept] == entities.scored("test")[0]


def test_no_held_out_sentence_is_pretrained_on(pretraining):
    texts = set(entities.newswire())
    joined = {name: {" ".join(words) for words in rows[0]} for name, rows in SPLITS.items()}
    assert joined["train"] & (joined["validation"] | joined["test"])
    assert texts and texts <= joined["train"]
    assert not texts & (joined["validation"] | joined["test"])


def test_an_encoder_goes_on_from_the_general_start_on_newswire(pretraining, monkeypatch):
    seen = {}
    real = entities.continue_pretraining

    def spied(start, texts, folder, **settings):
        seen.update(start=start, texts=list(texts), **settings)
        return real(start, texts, folder, **settings)

    monkeypatch.setattr(entities, "continue_pretraining", spied)
    entities.made(entities.ADAPTIVE, entities.ready)
    assert seen["start"] == str(encoders.folder_of(readout.GENERAL))
    assert seen["texts"] == entities.newswire() and seen["num_steps"] == 2
    assert (seen["learning_rate"], seen["mask_probability"]) == (3e-4, 0.3)
    monkeypatch.setattr(entities, "continue_pretraining", None)
    assert entities.ready(entities.ADAPTIVE) == str(encoders.folder_of(entities.ADAPTIVE))


def test_a_frozen_encoder_is_the_one_asked_for_and_reads_a_sentence_once(monkeypatch, folders):
    monkeypatch.setattr("shared.entities.MODEL", str(folders[readout.SHIPPED]))
    other = entities.FrozenEncoder(str(folders[readout.GENERAL]))
    monkeypatch.setattr("shared.entities.MODEL", str(folders[readout.GENERAL]))
    plain = FrozenTagger(C=0.5)
    sentences = [*TEST[0][:5], TEST[0][2]]
    for found, expected in zip(other.encode(sentences), plain.encode(sentences), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    monkeypatch.setattr(FrozenTagger, "encode", None)
    assert len(other.encode(sentences[::-1])) == 6
    monkeypatch.undo()
    other.fit_with(0.5, TRAIN)
    plain.fit(*TRAIN)
    assert other.predict(TEST[0]) == plain.predict(TEST[0])
    other.fit_with(1e-6, TRAIN)
    assert other.predict(TEST[0]) != plain.predict(TEST[0])


# --- from end to end -----------------------------------------------------------------------------


def drawn(task, per_class, random_state):
    order = np.random.default_rng(random_state).permutation(len(tiny.TEXTS))
    rows = [row for kind in (0, 1) for row in order[LABELS[order] == kind][:per_class]]
    return [tiny.TEXTS[row] for row in rows], LABELS[rows]


def test_the_readout_study_from_end_to_end(records, monkeypatch, folders):
    monkeypatch.setattr(readout, "ready", lambda arm: str(folders[arm]))
    monkeypatch.setattr(readout, "few_shot", drawn)
    monkeypatch.setattr(readout, "splits", lambda task: dict.fromkeys(
        ("train", "validation", "test"), (tiny.TEXTS, LABELS)))  # fmt: skip
    monkeypatch.setattr(readout, "BATCH", {8: 4})
    monkeypatch.setattr(conditions, "LEAST_STEPS", 3)
    monkeypatch.setattr(readout, "RATES", (1e-3, 1e-2))
    common = (readout.PAIR, readout.REVIEWS)
    tuned = [
        readout.Condition(*common, readout.FINE_TUNED, how, 8, draws)
        for how, draws in ((readout.MEAN, 2), (readout.CLS, 1))
    ]
    probes = readout.Condition(*common, readout.PROBE, readout.MEAN, 8, draws=3)
    monkeypatch.setattr(readout, "TUNED", tuple(tuned))
    monkeypatch.setattr(readout, "PROBED", (probes,))
    first = [job for job in readout.first_jobs() if job["step"] != readout.MADE]
    do(readout, first)
    do(readout, readout.final_jobs())
    do(readout, readout.comparison_jobs())
    table = results.read(readout.STUDY)
    # The seeds of finals are the draws that chose nothing, at the rate that was chosen.
    fits = table[(table.trained == readout.FINE_TUNED) & (table.split == "test")]
    fits = fits[fits.step != readout.COMPARISON]
    assert len(fits) == 6 and fits.training_loss.notna().all() and set(fits.num_epochs) == {2}
    for _, of_arm in fits.groupby(["method", "readout"]):
        assert of_arm.learning_rate.nunique() == 1
    for arm, how in itertools.product(readout.PAIR, readout.CLASSIFIERS):
        of_arm = table[(table.method == arm) & (table.readout == how)]
        means = of_arm[of_arm.split == "validation"].groupby("learning_rate")["metrics.accuracy"]
        best = means.mean()
        rate = fits[(fits.method == arm) & (fits.readout == how)].learning_rate.iloc[0]
        assert len(best) == 3 and rate == best.idxmax()  # of equal ones the lowest
    of_probes = table[(table.step == readout.FROZEN)]
    assert len(of_probes) == 6 and set(of_probes.random_state) == {42, 43, 44}
    compared = table[table.step == readout.COMPARISON]
    assert sorted(compared.draws) == [1, 1, 1, 1, 1, 2, 2, 2, 3]
    primary = compared.iloc[0]
    scores = fits[fits.readout == readout.MEAN].groupby("method")["metrics.accuracy"].mean()
    assert primary["metrics.difference"] == pytest.approx(
        scores[readout.DOMAIN] - scores[readout.SHIPPED]
    )


def test_the_token_study_from_end_to_end(records, monkeypatch, folders, pretraining):
    monkeypatch.setattr("shared.entities.MODEL", str(folders[readout.SHIPPED]))
    monkeypatch.setattr("shared.entities.splits", lambda task: SPLITS)
    kept = {arm: str(folder) for arm, folder in folders.items() if arm != entities.ADAPTIVE}
    monkeypatch.setattr(conditions, "ready", kept.get)
    monkeypatch.setattr(entities, "BATCH", {10: 4, 30: 8})
    monkeypatch.setattr(entities, "CHOSEN_WITH", 30)
    monkeypatch.setattr(conditions, "LEAST_STEPS", 8)
    monkeypatch.setattr(entities, "RATES", (3e-3, 1e-2))
    monkeypatch.setattr(entities, "PENALTIES", (0.1, 1.0))
    tuned = [
        entities._condition(arms, readout.FINE_TUNED, count, draws)
        for arms, count, draws in [
            (entities.PAIR, 30, 2), ((readout.GENERAL,), 30, 1), (entities.PAIR, 10, 1),
        ]
    ]  # fmt: skip
    assert [condition.chosen_on for condition in tuned] == [1, 1, 0]
    arms = (*entities.PAIR, readout.GENERAL)
    probes = [entities._condition(arms, readout.PROBE, 30, 2)]
    monkeypatch.setattr(entities, "TUNED", tuple(tuned))
    monkeypatch.setattr(entities, "PROBED", tuple(probes))
    do(entities, entities.first_jobs())
    do(entities, entities.final_jobs())
    do(entities, entities.comparison_jobs())
    table = results.read(entities.STUDY)
    fits = table[(table.trained == readout.FINE_TUNED) & (table.split == "test")]
    fits = fits[fits.step != readout.COMPARISON]
    assert len(fits) == 4 + 1 + 2
    for _, of_arm in fits.groupby("method"):  # 10 sentences take the rate that 30 have chosen
        assert of_arm.learning_rate.nunique() == 1
    scored = len(entities.scored("test")[0])
    assert set(fits["items"]) == {scored} and set(fits.dropped) == {len(TEST[0]) - scored}
    assert fits["metrics.f1"].max() > 0
    frozen = table[table.step == readout.FROZEN]
    assert len(frozen) == 6 and frozen.C.notna().all()
    compared = table[table.step == readout.COMPARISON]
    assert sorted(compared.draws) == [1, 1, 1, 2, 2, 2, 2]
    primary = compared.iloc[0]
    f1 = fits[fits.labels == 30].groupby("method")["metrics.f1"].mean()
    assert primary["metrics.difference"] == pytest.approx(
        f1[entities.ADAPTIVE] - f1[readout.SHIPPED]
    )


def test_an_interval_says_what_it_can_detect():
    found = conditions.interval_fields(Interval(0.01, -0.01, 0.03))
    assert found == {
        "difference": 0.01, "low": -0.01, "high": 0.03, "detectable": pytest.approx(0.0286),
    }  # fmt: skip
