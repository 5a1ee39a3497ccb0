import json
import math
from dataclasses import replace

import numpy as np
import pytest

from reptune import FrozenClassifier, TfidfClassifier
from reptune.checks import check_texts
from reptune.pipeline import compare as module
from reptune.pipeline.compare import _best_settings, _choose, compare
from reptune.pipeline.examples import Examples
from reptune.pipeline.fits import MAJORITY, Candidate, Folds, Journal, Runs
from reptune.pipeline.methods import METHODS
from tests import tiny
from tests.unit.pipeline.tables import shuffled, table, texts_and_labels

QUIET = {"methods": ["tfidf"], "progress": lambda line: None}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fits(monkeypatch):
    """The texts of every fit of TF-IDF."""
    done, real = [], TfidfClassifier.fit

    def fit(self, texts, labels):
        done.append(tuple(check_texts(texts)))
        return real(self, texts, labels)

    monkeypatch.setattr(TfidfClassifier, "fit", fit)
    return done


def as_json(found):
    """What a program reads, without times."""
    whole = found.as_json() | {"seconds": None}
    for row in whole["methods"]:
        row.update(fit_seconds=None, texts_per_second=None, memory_mb=None)
    return whole


# --- what it says --------------------------------------------------------------------------------


def test_a_clear_task_has_a_method():
    found = compare(table(), **QUIET)
    assert (found.recommended, found.choice, found.rows) == ("tfidf", "tfidf", 60)
    assert found.score.low > 0.8 and found.not_run == {}
    assert found.advice.startswith("Take TF-IDF (`train tfidf`): it is right for ")
    assert found.settings in METHODS["tfidf"].settings


@pytest.mark.parametrize("random_state", range(4))
def test_shuffled_labels_have_none(random_state):
    found = compare(shuffled(80, random_state), **QUIET)
    assert found.recommended is None and found.advice.startswith("Nothing beats the majority")
    assert found.score.low < 0.5 < found.score.high + 0.15


def test_what_a_program_reads_is_strict_json():
    found = compare(table(), dollars_per_hour=0.5, **QUIET)
    whole = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert {"recommended", "score", "interval", "rows", "advice", "not_run"} <= set(whole)
    low, high = whole["interval"]
    assert low < whole["score"] <= high and whole["rows"] == 60
    assert [row["name"] for row in whole["methods"]] == [MAJORITY, "tfidf"]
    assert whole["methods"][0]["texts_per_second"] is None
    assert whole["methods"][1]["dollars_per_million"] > 0
    assert whole["methods"][1]["difference"] is None  # it is the reference
    assert whole["methods"][0]["difference"] < 0 < whole["methods"][0]["detectable_difference"]


def test_where_luck_cannot_be_ruled_out_it_says_how_many_rows_would():
    found = compare(table(24, told=0.35, random_state=3), **QUIET)
    assert found.recommended is None
    best = max(row.score.estimate for row in found.table[1:])
    if best > found.table[0].score.estimate:
        more = int(found.advice.partition("Label at least ")[2].split()[0].replace(",", ""))
        assert more >= 1


def test_advice_names_at_least_so_many_more_rows():
    examples = shuffled(60, 1)
    right = np.zeros(60, dtype=bool)
    right[:36] = True
    majority = np.arange(60) % 2 == 0
    rows = [row for row in compare(examples, **QUIET).table if row.name != MAJORITY]
    rows[0].correct, rows[0].score = right, replace(rows[0].score, estimate=0.6)
    said = module._advice_against(rows, majority, majority, 2 / 3)
    # A lead of 0.1 with a disagreement of half the rows takes 393 rows that count whole.
    assert "is 10.0 points ahead. Label at least 529 more rows" in said


def test_nothing_run_is_not_nothing_found():
    found = compare(table(), minutes=1e-9, **QUIET)
    assert found.recommended is None and list(found.not_run) == ["tfidf"]
    assert "no time was left" in found.not_run["tfidf"] and "--minutes" in found.not_run["tfidf"]
    assert found.advice.startswith("No method was run")


# --- the choice ----------------------------------------------------------------------------------


def candidate(name, settings=None):
    return Candidate(name, name, settings or {}, {})


def test_the_simplest_within_one_standard_error_is_chosen():
    best = np.arange(100) < 90
    near, far = best.copy(), best.copy()
    near[:3], near[95:97], far[:15] = False, True, False  # 1 and 15 of 100 behind
    names = [candidate(name) for name in ("far", "near", "best")]
    assert _choose(names, np.array([far, near, best])) == 1
    assert _choose(names[::2], np.array([far, best])) == 1
    assert _choose(names[1:], np.array([best, best])) == 0  # the simplest of equals


def test_a_method_is_taken_with_its_best_settings():
    right = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    names = [candidate("a", {"C": 1}), candidate("a", {"C": 2}), candidate("a", {"C": 3})]
    assert _best_settings([*names, candidate("b")], right) == [1, 3]


def test_the_rows_of_an_outer_fold_have_no_part_in_its_choice():
    """Other labels for them change neither the choice nor what the choice predicts for them."""
    examples = table(48, told=0.8, random_state=5)
    folds = Folds.of(examples, 42)
    held = next(held for outer, inner, _, held in folds.cuts if (outer, inner) == (0, -1))
    targets = list(examples.targets)
    for row in held:
        targets[row] = "team 1" if targets[row] == "team 0" else "team 0"
    chosen = []
    for each in (examples, replace(examples, targets=targets)):
        runs = Runs(each, folds, None, 42, Journal(None, "", len(folds.cuts)))
        candidates = [Candidate.majority(each, folds), *runs.candidates(METHODS["tfidf"])]
        _, ids = np.unique(each.targets, return_inverse=True)
        best = _choose(candidates, module._right(candidates, folds, ids, within=0))
        chosen.append((best, candidates[best].predicted[0, -1].tolist()))
    assert chosen[0] == chosen[1]


def predictions(examples, folds, right):
    """Majority, and a candidate per entry of `right`: right in inner folds, right in outer ones."""
    ids = np.array([int(label[-1]) for label in examples.targets])
    found = {MAJORITY: [Candidate.majority(examples, folds)]}
    for name, shares in right.items():
        made = Candidate(name, name, {}, {})
        for outer, inner, _, held in folds.cuts:
            generator = np.random.default_rng([outer, inner + 1, ord(name[0])])
            is_right = generator.random(len(held)) < shares[int(inner < 0)]
            made.predicted[outer, inner] = np.where(is_right, ids[held], 1 - ids[held])
        found[name] = [made]
    return found


def test_the_score_is_that_of_what_inner_folds_chose():
    """One method is good on inner folds alone, another on outer ones: luck is not rewarded."""
    examples = table(48)
    folds = Folds.of(examples, 42)
    found = predictions(examples, folds, {"inner": (1, 0), "outer": (0, 1)})
    result = module._conclude(found, folds, examples)
    assert result.choices == ["inner"] * folds.outer and result.score.estimate == 0
    assert result.choice == "outer" and result.recommended is None


@pytest.mark.parametrize("seed", range(8))
def test_other_labels_of_an_outer_fold_do_not_change_its_choice(seed):
    examples, generator = table(48), np.random.default_rng(seed)
    folds = Folds.of(examples, 42)
    shares = {name: generator.uniform(0.4, 0.9, 2) for name in "abc"}
    found = predictions(examples, folds, shares)
    held = next(held for outer, inner, _, held in folds.cuts if (outer, inner) == (1, -1))
    targets = list(examples.targets)
    for row in held:
        targets[row] = f"team {generator.integers(2)}"
    before = module._conclude(found, folds, examples)
    after = module._conclude(found, folds, replace(examples, targets=targets))
    assert after.choices[1] == before.choices[1]


@pytest.mark.parametrize("rows", [60, 1_200, 2_600])
def test_folds_keep_rows_apart(rows):
    folds = Folds.of(table(rows, 3), 42)
    outer = {number: held for number, inner, _, held in folds.cuts if inner < 0}
    for number, inner, known, held in folds.cuts:
        assert not set(known) & set(held)
        if inner >= 0:
            assert not (set(known) | set(held)) & set(outer[number])
    assert len(folds.scored) == (rows if rows < 2_500 else len(outer[0]))
    assert folds.weight == (2 / 3 if rows < 2_500 else 1)


def test_repeated_texts_stay_on_one_side_and_are_counted():
    texts, labels = texts_and_labels(30)
    examples = Examples("label", texts + texts[:10], labels + labels[:10], "mine.csv", "")
    folds = Folds.of(examples, 42)
    assert any(note.startswith("10 rows repeat") for note in folds.notes)
    for _, _, known, held in folds.cuts:
        assert not {examples.inputs[row] for row in known} & {examples.inputs[row] for row in held}


# --- fits ----------------------------------------------------------------------------------------


def test_frozen_embeddings_predict_what_the_classifier_predicts(tiny_encoder):
    texts = [f"{text} {'very ' * number}" for number, text in enumerate(tiny.TEXTS)]
    examples = Examples("label", texts, tiny.LABELS, "mine.csv", "")
    folds = Folds.of(examples, 42)
    runs = Runs(examples, folds, tiny_encoder, 42, Journal(None, "", len(folds.cuts)))
    for each in runs.candidates(METHODS["frozen"]):
        for outer, inner, known, held in folds.cuts[:5]:
            classifier = FrozenClassifier(tiny_encoder, **each.settings)
            classifier.fit(examples.select(known).inputs, examples.select(known).targets)
            predicted = classifier.predict(examples.select(held).inputs)
            ids = classifier.classes_.searchsorted(predicted)
            assert each.predicted[outer, inner].tolist() == ids.tolist()


def test_label_names_that_are_numbers_say_nothing(tiny_encoder):
    examples = table()
    numbers = replace(examples, targets=[int(label[-1]) for label in examples.targets])
    found = compare(numbers, methods=["label-names", "tfidf"], model=tiny_encoder)
    assert found.recommended == "tfidf" and "numbers" in found.not_run["label-names"]


def test_encoders_are_compared_too(tiny_encoder):
    examples = replace(table(24), inputs=[f"{t} {i}" for i, t in enumerate(tiny.TEXTS + tiny.GOOD)],
                       targets=tiny.LABELS + ["positive"] * 8)  # fmt: skip
    found = compare(examples, methods=["frozen", "label-names"], model=tiny_encoder)
    assert [row.name for row in found.table] == [MAJORITY, "label-names", "frozen"]
    assert found.not_run == {} and all(row.texts_per_second > 0 for row in found.table)


def test_a_method_that_fails_is_one_that_was_not_run(monkeypatch):
    def fail(self, texts, labels):
        raise RuntimeError("CUDA out of memory.\n  Tried to allocate")

    monkeypatch.setattr(TfidfClassifier, "fit", fail)
    found = compare(table(), **QUIET)
    assert found.not_run == {"tfidf": "CUDA out of memory. Tried to allocate"}


@pytest.mark.parametrize(
    "labels",
    [["a"] * 30 + ["b"] * 29 + ["c"], ["a"] * 59 + ["b"], [f"c{row // 2}" for row in range(60)]],
    ids=["one row", "one row of two classes", "all classes of two rows"],
)
def test_rare_classes(labels):
    examples = replace(table(), targets=labels)
    found = compare(examples, **QUIET)
    assert found.not_run == {} and math.isfinite(found.score.estimate)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_thousand_classes(monkeypatch):
    texts, labels = texts_and_labels(2_600, 1_000)
    monkeypatch.setattr(TfidfClassifier, "fit", lambda self, texts, labels: self)
    told = lambda self, texts: np.array([f"team {t.split('key')[1].split()[0]}" for t in texts])  # noqa: E731
    monkeypatch.setattr(TfidfClassifier, "predict", told)
    found = compare(Examples("label", texts, labels, "m", ""), **QUIET)
    assert found.recommended == "tfidf" and found.score.estimate == 1


def test_whole_numbers_as_labels():
    examples = table()
    numbers = [10 if label == "team 0" else 9 for label in examples.targets]
    assert compare(replace(examples, targets=numbers), **QUIET).score == (
        compare(examples, **QUIET).score
    )


# --- the journal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 7, 20])
def test_a_killed_comparison_continues(tmp_path, fits, monkeypatch, at):
    examples, journal = table(), tmp_path / "journal.jsonl"
    whole = compare(examples, **QUIET)
    count, spied = len(fits), TfidfClassifier.fit
    fits.clear()

    def killed(self, texts, labels):
        if len(fits) == at:
            raise KeyboardInterrupt
        return spied(self, texts, labels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TfidfClassifier, "fit", killed)
        compare(examples, journal=journal, **QUIET)
    with journal.open("a") as file:
        file.write(
            '{"key": "ab',
        )  # a line that a kill tore
    again = compare(examples, journal=journal, **QUIET)
    assert len(fits) == count and as_json(again) == as_json(whole)
    assert as_json(compare(examples, journal=journal, **QUIET)) == as_json(whole)
    assert len(fits) == count  # no fit was done twice, and none after that


def test_entries_of_others_are_left_alone(tmp_path, fits):
    journal = tmp_path / "journal.jsonl"
    compare(table(), journal=journal, **QUIET)
    lines, count = journal.read_text().splitlines(), len(fits)
    for other in (
        {"examples": table(random_state=1)},
        {"examples": replace(table(), targets=shuffled().targets)},
        {"random_state": 7},
    ):
        fits.clear()
        compare(**{"examples": table(), "journal": journal, **QUIET, **other})
        assert len(fits) == count
    assert journal.read_text().splitlines()[: len(lines)] == lines


def test_a_model_that_changed_is_fitted_anew(tmp_path):
    folder = tiny.save_encoder(tmp_path / "encoder")
    examples = table(16)
    folds = Folds.of(examples, 42)
    path = tmp_path / "journal.jsonl"
    before = Journal.of(path, examples, folds, folder, 42)._key
    assert Journal.of(path, examples, folds, folder, 42)._key == before
    tiny.save_encoder(folder, random_state=1)
    assert Journal.of(path, examples, folds, folder, 42)._key != before


def test_a_file_of_another_kind_is_no_journal(tmp_path):
    path = tmp_path / "tickets.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n')
    with pytest.raises(ValueError, match=r"tickets\.jsonl, line 1 is not from a journal"):
        compare(table(), journal=path, **QUIET)
    assert path.read_text() == '{"text": "a", "label": "b"}\n'


def test_a_fit_that_was_too_slow_is_kept(tmp_path, fits, monkeypatch):
    journal, real = tmp_path / "journal.jsonl", TfidfClassifier.fit
    clock = [0.0]
    monkeypatch.setattr("reptune.pipeline.fits.time.monotonic", lambda: clock[0])

    def slow(self, texts, labels):
        clock[0] += 30
        return real(self, texts, labels)

    monkeypatch.setattr(TfidfClassifier, "fit", slow)
    found = compare(table(), minutes=1, journal=journal, **QUIET)
    assert "would take about 7.5 minutes more" in found.not_run["tfidf"]
    assert len(journal.read_text().splitlines()) == len(fits) == 1


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"minutes": 0}, "minutes=0"),
        ({"minutes": float("nan")}, "minutes=nan"),
        ({"max_rows": 3}, "max_rows=3"),
        ({"dollars_per_hour": -1}, "dollars_per_hour=-1"),
        ({"methods": ["tf-idf"]}, "methods holds 'tf-idf'; compare runs tfidf, "),
        ({"methods": []}, "methods is empty"),
        ({"model": "all-MiniLM-L6-v3"}, "all-MiniLM-L6-v"),
        ({"examples": table(6)}, "6 rows are too few"),
        ({"examples": replace(table(), kind="pair")}, "one label each"),
        ({"examples": replace(table(), targets=["a"] * 60)}, "all rows used have the label 'a'"),
        ({"examples": replace(table(), inputs=["same"] * 60)}, "1 different texts"),
        ({"embeddings": np.zeros((3, 2))}, "3 embeddings for 60 rows"),
    ],
)
def test_bad_arguments(arguments, message, fits):
    with pytest.raises(ValueError, match=message):
        compare(**{"examples": table(), **QUIET, **arguments})
    assert not fits


def test_more_rows_than_asked_for():
    found = compare(table(200), max_rows=60, **QUIET)
    assert found.rows == 60 and "60 of 200 rows were used; see --max-rows." in found.notes
