"""Chapter 2's studies on tiny models: what is left out, what is chosen, what each arm records."""

import ch02_distillation as distillation
import ch02_fair_speed as fair_speed
import ch02_label_curve as label_curve
import ch02_languages as languages
import ch02_names as names
import ch02_raft as raft
import ch02_ten_draws as ten_draws
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from shared import common, heads

from reptune.book import results
from reptune.data import questions
from reptune.fewshot import FrozenClassifier, SetFitClassifier
from tests import tiny

NEWS_WORDS = ("good", "bad", "film", "plot", "actor")


def rows(words, per_class, seed=0):
    """Texts whose first word tells their label."""
    generator = np.random.default_rng(seed)
    made = [
        {"text": " ".join([word, *generator.choice(tiny.WORDS, 3), "a" * number]), "label": label}
        for label, word in enumerate(words)
        for number in range(per_class)
    ]
    features = {"text": Value("string"), "label": ClassLabel(names=list(words))}
    return Dataset.from_list(made, features=Features(features))


@pytest.fixture
def encoder(tmp_path):
    return str(tiny.save_encoder(tmp_path / "encoder"))


@pytest.fixture
def small(monkeypatch, tmp_path, encoder):
    """Both tasks with a few rows, and a tiny encoder in place of each."""
    sizes = {"train": 60, "validation": 4, "test": 4}
    made = {
        task: DatasetDict({name: rows(words, size, 1) for name, size in sizes.items()})
        for task, words in (("rotten_tomatoes", tiny.WORDS[:2]), ("bbc_news", NEWS_WORDS))
    }
    monkeypatch.setattr(common.data, "load", made.get)
    common.splits.cache_clear()
    monkeypatch.setattr(raft, "MODEL", encoder)
    for study in (names, distillation, ten_draws):
        monkeypatch.setattr(study, "MINILM", encoder)
        monkeypatch.setattr(study, "MPNET", encoder)
    monkeypatch.setattr(fair_speed, "MINILM", encoder)
    for study in (names, ten_draws):
        monkeypatch.setattr(study, "PAIRS", (("rotten_tomatoes", encoder), ("bbc_news", encoder)))
        monkeypatch.setattr(study, "MAX_LENGTH", {"rotten_tomatoes": None, "bbc_news": 16})
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path / "results"))
    yield made
    common.splits.cache_clear()


def records(study, job):
    """A job's records, as `main` completes and `results` wants them."""
    found = [{"study": "s", **job, **record} for record in study.run(job)]
    for record in found:
        assert record["metrics"] and record["seconds"] and record["peak_memory_mb"] >= 0
        assert {"method", "task", "model", "labels", "random_state", "split"} <= record.keys()
        assert all(np.isfinite(value) for value in record["metrics"].values())
    return found


# --- many languages ------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch, encoder):
    """Twelve questions per topic and language; in a language they stand in another order."""

    def topic_questions(language="english"):
        topics = questions.QUESTION_TOPICS
        shift = languages.LANGUAGES.index(language)
        table = [
            {"text": f"{word} {tiny.WORDS[(number + shift) % 12]} {language[0] * (1 + number)}",
             "label": label, "position": number}
            for label, word in enumerate(tiny.WORDS[: len(topics)])
            for number in range(12)
        ]  # fmt: skip
        columns = {"label": ClassLabel(names=list(topics)), "position": Value("int32")}
        return Dataset.from_list(table, features=Features({"text": Value("string"), **columns}))

    monkeypatch.setattr(languages.data, "topic_questions", topic_questions)
    monkeypatch.setattr(languages, "E5", encoder)
    monkeypatch.setattr(languages, "UPPER_HALF", {encoder: 2})
    monkeypatch.setattr(languages, "OTHERS", ("italian", "dutch"))
    caches = (languages.questions, languages.frozen, languages.vectors)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_no_test_question_may_translate_a_training_one(asked):
    known = languages.drawn(42)
    assert len(known) == 8 * languages.PER_CLASS
    each = languages.trial("italian", 42)
    places = {(row["label"], row["position"]) for row in known}
    assert not {(row["label"], row["position"]) for row in each.tested} & places
    assert not set(each.tested["text"]) & set(each.own["text"])
    assert max(np.bincount(each.own["label"])) <= languages.PER_CLASS
    similarity = languages.vectors("italian") @ languages.vectors("english").T
    taught = [languages.questions("english")["text"][:].index(text) for text in known["text"]]
    tested = set(each.tested["text"])
    for index, row in zip(taught, known, strict=True):
        fellows = [place for place, label in enumerate(languages.questions("italian")["label"])
                   if label == row["label"]]  # fmt: skip
        nearest = max(fellows, key=lambda place: similarity[place, index])
        assert languages.questions("italian")["text"][nearest] not in tested


def test_arms_of_a_draw_are_scored_on_the_same_questions(asked, encoder):
    found = records(languages, {"model": encoder, "random_state": 42, "split": "test"})
    arms = {(each["method"], each["trained_on"], each["task"]) for each in found}
    # Frozen and SetFit on English, SetFit on own labels.
    assert len(arms) == len(found) == 3 * 2
    for language in ("italian", "dutch"):
        assert len({each["items"] for each in found if each["task"] == language}) == 1


def test_at_most_takes_what_there_is():
    table = rows(tiny.WORDS[:2], 5).select([0, 1, 2, 3, 4, 5])
    assert np.bincount(languages.at_most(table, 3, 0)["label"]).tolist() == [3, 1]


# --- no label ------------------------------------------------------------------------------------


def test_label_names_are_recorded_in_each_way(small, encoder, monkeypatch):
    monkeypatch.setattr(names, "NAMES", {"rotten_tomatoes": ("good", "great")})
    monkeypatch.setattr(names, "DRAWS", (42, 43))
    job = {"model": encoder, "task": "rotten_tomatoes", "split": "test", "step": "untrained"}
    found = records(names, job)
    counts = {}
    for each in found:
        counts[each["method"]] = counts.get(each["method"], 0) + 1
    sizes = len(names.per_classes(encoder))
    right = {each["method"]: each["correct"] for each in found if each["random_state"] == 43}
    made = FrozenClassifier(encoder).fit_label_names(
        ["good", "great"], template=names.TEMPLATES["rotten_tomatoes"],
        unlabeled=names.unlabeled("rotten_tomatoes", 43),
    )  # fmt: skip
    texts, gold = common.some("test", "rotten_tomatoes", None)
    hits = made.predict(texts) == np.array(["good", "great"])[gold]
    assert right["label names, template, centered"] == results.pack(hits)
    assert counts == {
        "label names": 2, "label names, centered": 2, "label names, template": 2,
        "label names, template, centered": 2, "frozen": 2 * sizes,
    }  # fmt: skip
    trained = records(names, {**job, "step": "SetFit", "random_state": 42})
    assert [each["per_class"] for each in trained] == list(names.per_classes(encoder))
    assert names.unlabeled("rotten_tomatoes", 1) != names.unlabeled("rotten_tomatoes", 2)


def test_every_number_of_labels_has_a_job():
    jobs = list(names.all_jobs())
    assert len(jobs) == 3 * (1 + 10)
    assert names.per_classes("all-mpnet-base-v2") == (2, 8)
    assert names.per_classes("all-MiniLM-L6-v2") == (2, 4, 8, 16)


# --- distillation --------------------------------------------------------------------------------


def test_students_and_their_speeds_are_recorded(small, encoder, monkeypatch):
    monkeypatch.setattr(distillation, "UNLABELED", 40)
    monkeypatch.setattr(distillation, "STOCK_PAIRS", 32)
    monkeypatch.setattr(distillation, "PER_CLASS", 4)
    more = distillation.unlabeled(42, 40)
    assert len(more) == 40 and not set(more) & set(common.few_shot("rotten_tomatoes", 4, 42)[0])
    job = {"task": "rotten_tomatoes", "labels": 8, "split": "test", "random_state": 42}
    found = records(distillation, {**job, "step": "students"})
    methods = [each["method"] for each in found]
    assert methods[0] == distillation.TEACHER and len(set(methods)) == len(methods) == 8
    assert all(each["metrics"]["texts_per_second"] > 0 for each in found)


def test_a_teacher_with_a_memory_says_the_same_and_reads_once(encoder, monkeypatch):
    plain = SetFitClassifier(encoder, num_steps=2, random_state=0).fit(tiny.TEXTS, tiny.LABELS)
    teacher = distillation.remembering(plain)
    np.testing.assert_array_equal(
        teacher.predict_proba(tiny.TEXTS), plain.predict_proba(tiny.TEXTS)
    )
    monkeypatch.setattr(SetFitClassifier, "embed", pytest.fail)
    assert teacher.predict(tiny.TEXTS).tolist() == teacher.predict(list(tiny.TEXTS)).tolist()


def test_model2vec_has_jobs_where_it_is_there(monkeypatch):
    for found, steps in ((None, {"students"}), (object(), {"students", distillation.MODEL2VEC})):
        monkeypatch.setattr(distillation.importlib.util, "find_spec", lambda name, it=found: it)
        jobs = list(distillation.all_jobs())
        assert {job["step"] for job in jobs} == steps and len(jobs) == 4 * len(steps)


def test_without_model2vec_its_job_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "model2vec", None)
    with pytest.raises(RuntimeError, match=r"pip install \"reptune\[static\]\""):
        next(distillation.run({"random_state": 42, "step": distillation.MODEL2VEC}))


# --- the fair speed table ------------------------------------------------------------------------


def test_stock_arms_stop_where_they_say(small, monkeypatch, encoder):
    monkeypatch.setattr(fair_speed.rounds, "peaks", dict)
    what = fair_speed.SETTINGS["reviews, 16 labels per class"]
    assert fair_speed.build("stock, 5 steps", what, 1).changes == {"max_steps": 5}
    assert fair_speed.build("stock, whole epoch", what, 1).changes == {}
    assert fair_speed.build("reptune, 10 steps", what, 1).num_steps == 10
    assert set(what.arms) == set(fair_speed.ARMS) and what.arms[0].startswith("stock")
    assert fair_speed.SETTINGS["news, 8 labels per class"].arms == (
        "stock, whole epoch", "stock, 5 steps", "stock, 10 steps", "stock, 20 steps", "reptune"
    )  # fmt: skip
    found = fair_speed.measure("reviews, 16 labels per class", "reptune", 42)
    assert found["labels"] == 32 and found["items"] == 8


# --- ten draws -----------------------------------------------------------------------------------


def test_the_penalty_stays_at_the_default_where_it_is_as_good():
    assert ten_draws.choose({1.0: 0.800, 10.0: 0.804, 100.0: 0.790}, 1.0) == 1.0
    assert ten_draws.choose({1.0: 0.800, 10.0: 0.806, 100.0: 0.790}, 1.0) == 10.0
    # Two neighbors of the default are near the best: the better of them.
    assert ten_draws.choose({1.0: 0.801, 10.0: 0.700, 100.0: 0.804}, 10.0) == 100.0


def test_heads_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    train, held = generator.normal(size=(12, 3)), generator.normal(size=(5, 3))
    labels, gold = np.arange(12) % 2, np.arange(5) % 2
    found = list(heads.scored_heads(train, labels, held, gold))
    assert [each["C"] for each in found] == [1.0, 10.0, 100.0]
    right = heads.head(10.0).fit(train, labels).predict(held) == gold
    assert found[1]["metrics"]["accuracy"] == right.mean()


def test_stages_choose_first_and_use_what_was_chosen(small, encoder):
    jobs = list(ten_draws.choice_jobs())
    assert len(jobs) == 2 * 3
    with pytest.raises(ValueError, match="no C is chosen"):
        ten_draws.chosen_penalty("SetFit")
    for job in jobs:
        with pytest.raises(ValueError, match="no C is chosen"):
            ten_draws.chosen_penalty("SetFit")
        kept = [{**each, "study": ten_draws.STUDY} for each in records(ten_draws, job)]
        assert len(kept) == 2 * 3
        results.append_all(kept, ten_draws.__file__)
    assert ten_draws.chosen_penalty("SetFit") in heads.STRENGTHS
    (one, *_) = [job for job in ten_draws.other_jobs() if job["step"] == "one"]
    with pytest.warns(UserWarning, match="no positive pair"):
        found = records(ten_draws, one)
    assert [each["method"] for each in found] == ["frozen", "SetFit"]
    assert {each["C"] for each in found} == {
        ten_draws.chosen_penalty(method) for method in ("frozen", "SetFit")
    }


def test_lopsided_draws_are_scored_by_penalty_and_weights(small, encoder, monkeypatch):
    job = next(job for job in ten_draws.other_jobs() if job["step"] == "lopsided")
    found = records(ten_draws, job)
    assert len(found) == 2 * 3 * 2
    assert {each["labels"] for each in found} == {48 + 4 * 3}
    assert all(0 <= each["metrics"]["said_frequent"] <= 1 for each in found)


# --- RAFT's protocol -----------------------------------------------------------------------------


def test_fields_are_chosen_on_the_labels_alone_and_scored_beside_the_usual(small, monkeypatch):
    monkeypatch.setattr(raft, "FED", {way: (part, 16) for way, (part, _) in raft.FED.items()})
    job = {**raft.JOBS[0], "model": raft.MODEL}
    usual, chosen = records(raft, job)
    assert (usual["method"], chosen["method"]) == (raft.DEFAULT, raft.CHOSEN)
    assert usual["fields"] == raft.USUAL and chosen["fields"] in raft.FED
    assert (chosen["correct"] == usual["correct"]) or chosen["fields"] != raft.USUAL
    texts, labels = common.few_shot("bbc_news", 10, 42)
    tried = raft.trials(texts, labels, 42)
    assert len(tried) == 7 and tried[0].settings == {} and len(tried[0].correct) == 50
    # One that is right everywhere beside one that is wrong everywhere is taken.
    wrong, right = np.zeros(50, dtype=bool), np.ones(50, dtype=bool)
    made = [raft.Trial({}, wrong), raft.Trial({"fields": "headline"}, right)]
    monkeypatch.setattr(raft, "trials", lambda *given: made)
    usual, chosen = records(raft, job)
    assert chosen["fields"] == "headline" and chosen["metrics"]["cross_validated"] == 1
    assert usual["metrics"]["cross_validated"] == 0


def test_very_few_labels_have_both_methods(small, monkeypatch):
    jobs = [job for job in ten_draws.other_jobs() if job["step"] == "curve"]
    assert len(jobs) == 5 * 2 * 2 and {job["labels"] for job in jobs} == {4, 8}
    # With those of the study that it adds to, ten draws.
    (draws,) = {tuple(sorted({job["random_state"] for job in jobs}))}
    assert sorted([*label_curve.DRAWS, *draws]) == list(range(42, 52))
