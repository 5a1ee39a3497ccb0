"""Questions about news: what a teacher writes and is kept, the floor, the choice of settings."""

import ch07_questions as study
import numpy as np
import pandas as pd
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
    name, limit = "teacher", None

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
    monkeypatch.setattr(study, "student", lambda rows, epochs, seed: Student())
    monkeypatch.setattr(study, "GENERATED", tmp_path / "generated")
    monkeypatch.setattr(study, "cache_dir", lambda: tmp_path)
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
    job = {"random_state": 42, "amount": 3, "most_copied": 0.95}
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


def test_the_best_on_validation_is_chosen_and_of_equals_the_earlier(monkeypatch):
    rows = [
        {"rows": rows, "amount": amount, "epochs": epochs, "most_copied": copied}
        for rows, amount, epochs, copied in (
            ("rule", 1000, 3, 0.95), ("rule", 1000, 2, 0.95), ("rule", 1000, 5, 0.95),
            ("rule", 3000, 3, 0.95),
            ("both", 1000, 3, 0.95), ("both", 1000, 3, 0.8), ("both", 1000, 3, 0.6),
        )
    ]  # fmt: skip
    match, f1 = [0.4, 0.5, 0.5, 0.9, 0.5, 0.5, 0.4], [0.5, 0.6, 0.7, 0.9, 0.6, 0.6, 0.9]
    table = pd.DataFrame(rows).assign(method="choice")
    table = table.assign(**{"metrics.normalized_match": match, "metrics.answer_f1": f1})
    monkeypatch.setattr(study.results, "read", lambda name: table)
    assert study.chosen() == {"epochs": 5, "most_copied": 0.95}
    monkeypatch.setattr(study.results, "read", lambda name: table.iloc[1:])
    with pytest.raises(ValueError, match="epochs"):
        study.chosen()


def test_test_is_scored_only_by_finished_methods():
    jobs = list(study.choices())
    assert len({tuple(sorted(job.items())) for job in jobs}) == len(jobs) == 8
    assert {job["random_state"] for job in jobs} == {42}
    finished = list(study.finished())
    assert len(finished) == 3 + 5 * 3
    fields = {"method", "task", "model", "rows", "random_state"}
    assert all(fields <= set(job) for job in finished)
