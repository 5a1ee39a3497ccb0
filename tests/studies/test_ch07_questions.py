"""Questions about news: what a teacher writes and is kept, the floor, the choice of settings."""

import ch07_questions as study
import numpy as np
import pytest

from reptune.prompt2model import filters
from reptune.prompt2model.task import Sample

BODY = " ".join(["and so it was said by everybody in the town"] * 6)
ARTICLES = {
    f"sport/{number}": f"Title\n\nRovers beat Team{number} of Leeds on Friday, {BODY}. "
    "The old stadium was opened in Bath on 3 May 1998."
    for number in range(4)
}
TEACHERS = {  # what it asks about a team, and how it answers itself
    "Team0": (" Whom did the club win against?\nAnswer: Team0\n\n", " Team0"),
    "Team1": (" Which side did they overcome?\nAnswer: team1.\n\n", " Leeds"),
    "Team2": (" Where is the side that lost from?\nAnswer: Leeds\n\n", " Friday"),
    "Team3": (" Who was it that went home?\nAnswer: nobody\n\n", " nobody"),
}
STUDENTS = {"Team1": "Team1", "Team2": "Friday"}


class Teacher:
    name, limit, key, lm = "teacher", None, {"name": "teacher"}, None

    def __init__(self, model):
        self.model = model

    def count_tokens(self, text):
        return len(text.split())

    def generate(self, prompts, **_):
        return [
            next(
                pair[prompt.endswith("Answer:")]
                for team, pair in TEACHERS.items() if team in prompt
            )
            for prompt in prompts
        ]  # fmt: skip


class Student:
    def predict(self, pairs):
        return [next((said for team, said in STUDENTS.items() if team in passage), "no")
                for _, passage in pairs]  # fmt: skip


def unalike(texts):
    known = ["Who?", *(pair[0].split("?")[0].strip() + "?" for pair in TEACHERS.values())]
    return np.eye(len(known))[[known.index(text) for text in texts]]


@pytest.fixture
def small(monkeypatch, tmp_path):
    study.passages.cache_clear()
    held = [Sample("Who?", "Ada", "Ada ran.", origin={"accepted": ("Ada",)})]
    monkeypatch.setattr(study, "articles", lambda split: ARTICLES)
    monkeypatch.setattr(study, "questions", lambda split: held)
    monkeypatch.setattr(study, "LocalTeacher", Teacher)
    monkeypatch.setattr(study, "student", lambda rows, seed: Student())
    monkeypatch.setattr(study, "GENERATED", tmp_path / "generated")
    monkeypatch.setattr(study, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr("shared.replies.cache_dir", lambda: tmp_path)
    monkeypatch.setattr(study, "RULES", 3)
    monkeypatch.setattr(filters, "embedder", lambda *_: unalike)
    yield tmp_path
    study.passages.cache_clear()


def test_what_the_teacher_wrote_is_kept_as_positions_and_read_back(small):
    record = study.write(42, prompts=4, batch=4)
    rows = {row.input: (row.output, row.origin["returned"]) for row in study.read_written(42)}
    assert rows == {
        "Whom did the club win against?": ("Team0", True),  # the teacher returns
        "Which side did they overcome?": ("Team1", True),  # the student does
        "Where is the side that lost from?": ("Leeds", False),
    }
    assert record["labels"] == 3
    assert record["metrics"]["teacher answers the same"] == 1
    assert record["metrics"]["first student answers the same"] == 1
    assert record["metrics"]["returned, most_copied 0.95"] == 2
    (file,) = (small / "generated").iterdir()
    assert "everybody" not in study.gzip.decompress(file.read_bytes()).decode()


def test_arms_hold_the_rows_that_they_name(small):
    study.write(42, prompts=4, batch=4)
    job = {"random_state": 42}
    sizes = {rows: len(study.rows_of({**job, "rows": rows})) for rows in ("rule", "teacher")}
    assert sizes == {"rule": 3, "teacher": 2}
    both = study.rows_of({**job, "rows": "both"})
    assert both[:3] == study.rows_of({**job, "rows": "rule"}) and len(both) == 5


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is in charge of the bank?", "Ada Moor"),
        ("How many branches does the bank have in Leeds?", "12"),
        ("What share of its branches may close?", "30%"),
        ("When was the bank in Leeds founded?", "May 1998"),
        ("In what year was the bank founded?", "May 1998"),
        ("How long has she been the head?", "two years"),
    ],
)
def test_the_floor_takes_the_type_that_is_asked_for(question, answer):
    passage = (
        "Founded in Leeds in May 1998, the bank has 12 branches. It may close 30% of its branches. "
        "The bank has had Ada Moor in charge, as its head, for two years."
    )
    assert study.nearest(question, passage) == answer


def test_a_killed_writing_job_asks_the_teacher_nothing_again(small, monkeypatch):
    first = study.write(42, prompts=4, batch=4)
    (file,) = (small / "generated").iterdir()
    content = file.read_bytes()
    file.unlink()
    monkeypatch.setattr(Teacher, "generate", None)
    assert study.write(42, prompts=4, batch=4)["metrics"] == first["metrics"]
    assert file.read_bytes() == content


def test_the_student_of_rule_questions_is_kept_for_the_round_trip(small, monkeypatch):
    class Kept(Student):
        def save(self, folder):
            folder.mkdir(parents=True)

    monkeypatch.setattr(study, "student", lambda rows, seed: Kept())
    monkeypatch.setattr(study.SpanExtractor, "load", lambda folder: folder.name)
    study.learned({"rows": "rule", "random_state": 42})
    assert study.first_student(42) == "rule-3-3-42"
    assert isinstance(study.first_student(43), Kept)


def test_each_stage_reads_what_the_ones_before_have_left():
    stages = [study.first_jobs, study.with_teacher, study.comparisons]
    jobs = [job for stage in stages for job in stage()]
    assert len({tuple(sorted(job.items())) for job in jobs}) == len(jobs) == 6 + 3 + 6 + 2
    # Nothing of the first stage reads what the teacher writes in it.
    first = [job for job in study.first_jobs() if job["method"] != study.WRITING]
    assert {job["rows"] for job in first} == {"rule", "none"}
    # `results.is_done` takes a job for done if a record holds all that it says.
    for job in jobs:
        assert [other for other in jobs if job.items() <= other.items()] == [job]


def test_the_primary_comparison_is_paired_over_questions_and_seeds(monkeypatch):
    right = {"both": np.ones((5, 40), bool), "rule": np.zeros((5, 40), bool)}
    right["rule"][:, :10] = True
    monkeypatch.setattr(study.results, "correct", lambda *_, rows, **__: right[rows])
    found = study.compared("both", "rule")["metrics"]
    assert found["difference"] == 0.75 and 0.55 < found["low"] < 0.75 < found["high"] < 0.95
    assert found["detectable"] == pytest.approx(0.715 * (found["high"] - found["low"]))
