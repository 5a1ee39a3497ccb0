"""The study of time expressions: its rows, its directions, and its interval."""

from dataclasses import replace

import ch07_time as study
import numpy as np
import pytest
from shared.dates import cases, read

from reptune.metrics import paired_interval


@pytest.fixture(scope="module")
def drawn():
    return cases(400, 1)


def test_a_reply_becomes_a_sentence_whose_punctuation_stands_apart(drawn):
    case = next(case for case in drawn if case.phrase == "on Friday" and case.tense == "past")
    arranger = study.Arranger(0)
    made = [arranger.sentence(f" bank {n}, in Rome, closed.", case) for n in range(400)]
    assert {each.problem for each in made} == {""}
    front, back = "On Friday , bank 7 , in Rome , closed .", "Bank 7 , in Rome , closed on Friday ."
    assert made[7].text in (front, back)
    in_front = np.mean([each.text.startswith("On Friday ,") for each in made])
    assert in_front == pytest.approx(study.FRONT, abs=0.1)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (" the bank closed.", ""),
        (" the bank closed", "unfinished"),
        ("", "unfinished"),
        (" the bank closed. It is not open.", "several sentences"),
        (" police arrested two men who had hidden in the port .", "repeated sentence"),
        (" the bank closed in 1990.", "another time"),
        (" the bank will close.", study.WRONG_TENSE),
    ],
)
def test_what_cannot_be_learned_from_is_named(drawn, reply, problem):
    case = next(case for case in drawn if case.phrase == "on Friday" and case.tense == "past")
    assert study.Arranger(0).sentence(reply, case).problem == problem


def test_a_sentence_that_was_there_before_is_a_repetition_whatever_its_date(drawn):
    arranger = study.Arranger(0)
    first, second = (case for case in drawn[:2])
    arranger.sentence(" the bank closed .", first)
    assert arranger.sentence(" The bank closed.", second).problem == "repeated sentence"


@pytest.fixture
def written(monkeypatch, tmp_path, drawn):
    """What a teacher wrote: every second sentence in the other tense."""
    monkeypatch.setattr(study, "ROWS", 100)
    monkeypatch.setattr(study, "file_of", lambda *_: tmp_path / "rows.gz")
    monkeypatch.setattr("shared.prompted.file_of", lambda *_: tmp_path / "rows.gz")
    rows = []
    for index, case in enumerate(cases(300, 42)):
        wrong = index % 2 == 1 and case.tense != "any"
        told = replace(case, tense={"past": "future", "future": "past"}.get(case.tense, "any"))
        text = study.template_sentence(told if wrong else case, index)
        origin = {"by": "generated", "problem": study.WRONG_TENSE if wrong else ""}
        rows.append(study.Sample(text, case.value, origin=origin))
    study.write_generated(rows, study.file_of())


def test_the_sources_are_as_large_and_only_one_passes_a_wrong_tense(written):
    rows = {source: study.rows_of(source, 42) for source in study.SOURCES}
    assert {len(found) for found in rows.values()} == {100}
    for source, found in rows.items():
        problems = {study.problem_of(_plain(row), row.case) for row in found}
        assert (study.WRONG_TENSE in problems) == (source == study.UNCHECKED)
        assert all(row.sample.output == row.case.value for row in found)


def _plain(row):
    return row.marked.replace("[", "").replace("]", "")


def test_too_few_sentences_are_an_error(written, monkeypatch):
    monkeypatch.setattr(study, "ROWS", 299)
    with pytest.raises(ValueError, match="of 300 sentences pass"):
        study.rows_of(study.TEACHER, 42)


def test_directions_come_from_bare_names_as_many_of_each_and_without_a_date(written):
    rows = study.rows_of(study.TEMPLATES, 42)
    texts, labels = study.directions_of(rows)
    assert sorted(set(labels)) == ["future", "past"]
    assert (labels == "past").sum() == (labels == "future").sum() > 10
    tense_of = {row.marked: row.case.tense for row in rows}
    assert [tense_of[text] for text in texts] == list(labels)
    for text in texts:
        assert read(text[text.index("[") + 1 : text.index("]")]).shift == 0


def test_a_direction_changes_open_expressions_alone():
    def values(expression):
        item = study.Item(expression, f"It opens on [{expression}] .", "1996-12-06", "")
        return {d: study.value_of(item, d, study.RULES) for d in ("past", "future")}

    assert values("Monday") == {"past": "1996-12-02", "future": "1996-12-09"}
    assert set(values("Friday").values()) == {"1996-12-06"}  # today, either way
    assert set(values("last Monday").values()) == {"1996-12-02"}


def test_the_interval_is_the_books_own_where_each_item_is_its_own_cluster():
    rng = np.random.default_rng(3)
    a, b = rng.random((5, 200)) < 0.9, rng.random((5, 200)) < 0.8
    ours, books = study.clustered_interval(a, b, np.arange(200)), paired_interval(a, b)
    assert ours.estimate == pytest.approx(books.estimate)
    assert (ours.low, ours.high) == pytest.approx((books.low, books.high), abs=0.005)
    assert study.clustered_interval(a, b[:1], np.arange(200)).estimate == pytest.approx(
        a.mean() - b[0].mean()
    )


def test_items_that_agree_within_clusters_widen_the_interval():
    a = np.repeat(np.random.default_rng(4).random((1, 40)) < 0.7, 5, axis=1)
    b = np.zeros((1, 200), dtype=bool)
    alone = study.clustered_interval(a, b, np.arange(200))
    together = study.clustered_interval(a, b, np.repeat(np.arange(40), 5))
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


class Teacher:
    """Writes what it is asked for, and breaks off after so many calls."""

    key, lm = {"name": "teacher"}, None

    def __init__(self, calls):
        self.calls = calls

    def generate(self, prompts, **_):
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        return [prompt.rpartition("the words ")[2].partition(" once")[0] for prompt in prompts]


def test_each_case_gets_its_reply_and_a_killed_job_does_not_ask_again(drawn, monkeypatch, tmp_path):
    monkeypatch.setattr("shared.replies.cache_dir", lambda: tmp_path)
    asked = drawn[:50]
    with pytest.raises(KeyboardInterrupt):
        study.replies_to(asked, Teacher(1), 0)
    teacher = Teacher(1)
    texts, seconds = study.replies_to(asked, teacher, 0)
    assert texts == [f'"{case.phrase}"' for case in asked] and seconds >= 0
    assert teacher.calls == 0 and study.replies_to(asked, teacher, 0)[0] == texts


def test_prompts_of_a_tense_begin_with_its_examples(drawn):
    for tense, prompts in study.prompts_of(drawn).items():
        shown = study.EXAMPLES[tense][0][1]
        assert all(shown in prompt for prompt in prompts.values()) and prompts
        assert {drawn[index].tense for index in prompts} == {tense, "any"}


def test_no_job_is_taken_for_another():
    jobs = [*study.generation_jobs(), *study.student_jobs(), *study.comparison_jobs()]
    first = study.first_jobs()
    assert all(job in jobs for job in first) and first[:5] == study.generation_jobs()
    assert {study.TEACHER, study.UNCHECKED}.isdisjoint(job["rows"] for job in first[5:])
    for job in jobs:
        assert [other for other in jobs if job.items() <= other.items()] == [job]
    primary = next(study.comparison_jobs())
    assert (primary["rows"], primary["slots"], primary["minus"]) == (
        study.TEACHER, study.RULES, study.PARSER,
    )  # fmt: skip
