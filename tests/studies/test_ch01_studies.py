"""Chapter 1's studies of rates, draws of labels and fast options: jobs, plans, arms, records."""

import ch01_fast_accuracy as fast
import ch01_label_draws as draws
import ch01_rates as rates
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from shared import common, plain

from reptune.book import results
from reptune.classification import FineTunedClassifier
from tests import tiny

STUDIES = (rates, draws, fast)


def splits(task=common.TASK):
    """The tiny texts in each split, negative 0 and positive 1."""
    labels = np.array([int(label == "positive") for label in tiny.LABELS])
    return dict.fromkeys(("train", "validation", "test"), (tiny.TEXTS, labels))


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The studies on a tiny encoder, 16 texts and no other records; what was asked of `splits`."""
    folder = tiny.save_encoder(tmp_path / "encoder")
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path / "results"))
    for module in (*STUDIES, plain.assets):
        if hasattr(module, "MODEL"):
            monkeypatch.setattr(module, "MODEL", str(folder))
    asked = []

    def some(split, task, items):
        asked.append(split)
        return splits()[split]

    monkeypatch.setattr(common, "some", some)
    for module in (common, rates, fast):
        monkeypatch.setattr(module, "splits", splits)
    texts, labels = splits()["train"]
    names = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    rows = Dataset.from_dict({"text": texts, "label": labels.tolist()}, features=names)
    monkeypatch.setattr(common.data, "load", lambda task: DatasetDict(train=rows))
    return asked


def do(study, jobs):
    """What `shared.common.main` does, in this process."""
    for job in jobs:
        kept = [{"study": study.__name__, **job, **record} for record in study.run(job)]
        results.append_all(kept, study.__file__)
        assert results.is_done(study.__name__, **job)


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_no_job_is_taken_for_another(study):
    jobs = list(study.jobs())
    for job in jobs:  # `results.is_done` takes a job for done if a record holds all that it says
        assert [other for other in jobs if job.items() <= other.items()] == [job]


def test_the_fits_are_those_of_the_plans():
    settings = [(job["learning_rate"], job["num_epochs"]) for job in rates.jobs()]
    assert len(settings) == 35 and [epochs for _, epochs in settings].count(3) == 15
    tuned = [job["labels"] for job in draws.jobs() if job["method"] == draws.TUNED]
    assert {size: tuned.count(size) for size in set(tuned)} == draws.DRAWS and len(tuned) == 50
    assert len(list(draws.jobs())) == 50 + 2 * 10
    assert len(list(fast.jobs())) == 40


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_cut_short_has_whole_seeds(study):
    seeds = [job["random_state"] for job in study.jobs()]
    assert seeds == sorted(seeds)


def test_the_seeds_of_the_rates_have_chosen_nothing_and_the_settings_are_the_ones_compared():
    chosen = results.read("ch01_choices").sort_values("metrics.accuracy").iloc[-1]
    assert (chosen["learning_rate"], chosen["num_epochs"]) == rates.CHOSEN
    assert chosen["random_state"] not in rates.SEEDS
    first, second, *_ = [(job["learning_rate"], job["num_epochs"]) for job in rates.jobs()]
    assert (first, second) == (rates.CHOSEN, rates.DEFAULT)


# --- draws of labels -----------------------------------------------------------------------------


@pytest.mark.parametrize("labels", draws.DRAWS)
def test_fine_tuning_takes_as_many_epochs_as_the_class_would(labels):
    assert draws.epochs_for(labels) == FineTunedClassifier()._epochs(labels)


def test_steps_by_hand():
    # 100 labels: 7 steps per epoch, 35 epochs are 245. 2,500: 157 steps, two epochs are more.
    assert [draws.epochs_for(labels) for labels in (50, 100, 2500)] == [60, 35, 2]


def test_the_first_draws_are_those_of_the_old_curve():
    old = results.read("ch01_label_curve")
    assert set(old["labels"]) == set(draws.DRAWS)
    assert sorted(set(old["random_state"])) == [42, 43, 44]
    assert draws.FIRST_DRAW == 42 and min(draws.DRAWS.values()) >= 3


def test_every_method_is_recorded_on_the_same_draws(small, monkeypatch):
    monkeypatch.setattr(draws, "DRAWS", {4: 2, 8: 2})
    monkeypatch.setattr(draws, "BASELINE_DRAWS", 2)
    monkeypatch.setattr(draws, "LEAST_STEPS", 2)
    vectors = {text: np.array([len(text), text.count("o")]) for text in tiny.TEXTS}
    monkeypatch.setattr(draws, "FrozenEmbeddings", lambda model: _Frozen(vectors))
    jobs = list(draws.jobs())
    do(draws, jobs)
    assert set(small) == {"validation"}
    for method in (draws.TUNED, draws.FROZEN, draws.WORDS):
        for labels in (4, 8):
            right = results.correct("ch01_label_draws", method=method, labels=labels)
            assert right.shape == (2, 16)


class _Frozen(common.FrozenEmbeddings):
    """Frozen embeddings that are given."""

    def __init__(self, vectors):
        self._vectors, self._head = vectors, common.LogisticRegression()

    def encode(self, texts):
        return np.array([self._vectors[text] for text in texts])


# --- rates and fast options ----------------------------------------------------------------------


def test_a_rate_is_trained_and_scored_on_validation_alone(small):
    first = next(iter(rates.jobs()))
    do(rates, [first])
    (record,) = results.read("ch01_rates").to_dict("records")
    assert (record["learning_rate"], record["num_epochs"]) == rates.CHOSEN
    assert record["split"] == "validation" and record["items"] == 16
    assert small == ["validation"]


def test_the_arms_are_those_of_the_speed_study_and_one_in_random_order():
    import ch01_speed as speed

    assert fast.ARMS[:3] == speed.SETTINGS["everything, 1 epoch"].arms
    options = [fast.build(arm, 42).fast for arm in (fast.OURS, fast.SHUFFLED)]
    assert options[0] is True
    assert options[1] == ("half_precision", "first_token", "cheap_dropout", "frozen_cache")
    orders = [fast.build(arm, 42).strategy for arm in (fast.PLAIN, fast.GROUPED)]
    assert orders == ["random", "group_by_length"]
    for arm in fast.ARMS:
        built = fast.build(arm, 44)
        assert (built.learning_rate, built.num_epochs) == (speed.LEARNING_RATE, 1)
        assert built.random_state == 44


def test_all_arms_of_a_seed_are_scored_on_the_same_sentences(small):
    do(fast, [job for job in fast.jobs() if job["random_state"] == 42])
    for arm in fast.ARMS:
        assert results.correct("ch01_fast_accuracy", method=arm).shape == (1, 16)
