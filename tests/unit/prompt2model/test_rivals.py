"""What is said of a student beside what needs none."""

import pytest

from reptune.pipeline.examples import Examples
from reptune.prompt2model import rivals as module
from reptune.prompt2model.rivals import ask, score_rivals, verdict
from reptune.prompt2model.task import Demonstration, Task
from reptune.prompt2model.teachers import LocalTeacher

BASE = {"title": "majority class", "estimate": 0.5}


def rival(title, score, low, high):
    apart = {"estimate": (low + high) / 2, "low": low, "high": high}
    return {"title": title, "score": {"estimate": score}, "difference": apart}


def said(low, *rivals, base=BASE, estimate=0.8):
    score = {"estimate": estimate, "low": low, "high": 0.9}
    return verdict({"score": score, "baseline": base, "rivals": list(rivals)})


NAMES, TEACHER = "label names, no training", "the teacher, asked for each text (Qwen)"
UNKNOWN = {"title": TEACHER, "score": None, "difference": None}


@pytest.mark.parametrize(
    ("rivals", "begins"),
    [
        ([rival(NAMES, 0.9, -0.3, -0.1), UNKNOWN], "Use label names instead"),
        ([rival(NAMES, 0.9, -0.3, -0.1), rival(TEACHER, 0.95, -0.3, -0.1)],
         "Use the teacher itself instead"),
        ([rival(NAMES, 0.9, -0.3, 0.1), rival(TEACHER, 0.6, 0.1, 0.3)],
         "These rows do not tell this model from label names;"),
        ([rival(NAMES, 0.8, -0.1, 0.1), rival(TEACHER, 0.8, -0.1, 0.1)],
         "These rows do not tell this model from label names and the teacher itself;"),
        ([rival(NAMES, 0.6, 0.1, 0.3), rival(TEACHER, 0.6, 0.1, 0.3)],
         "This model is clearly better than label names and the teacher itself here."),
    ],
)  # fmt: skip
def test_a_rival_that_is_clearly_better_or_level_is_named(rivals, begins):
    assert said(0.7, *rivals).startswith(begins)


def test_a_model_that_is_no_good_is_called_so():
    worse = rival(TEACHER, 0.3, 0.1, 0.3)
    assert said(0.45, worse).startswith(
        "Do not use this model: here it is not clearly better than majority class. More minutes"
    )
    wrong = said(0.3, worse, base=None, estimate=0.4)
    assert wrong.startswith("Do not rely on this model: here it is wrong more often than right.")
    assert said(0.7, UNKNOWN) == ""


def test_rows_that_nobody_checked_prove_nothing_of_real_texts():
    card = {"score": {"estimate": 0.9, "low": 0.8}, "baseline": BASE}
    for rivals, begins in (
        ([rival(NAMES, 0.6, 0.1, 0.3)], "This model is clearly better than label names here, but"),
        ([rival(NAMES, 0.9, -0.1, 0.1)], "These rows do not tell"),
        ([UNKNOWN], "How well it does on real texts is not known"),
    ):
        text = verdict(card | {"rivals": rivals}, made=True)
        assert text.startswith(begins) and text.endswith("100 of your own before you use it.")
        assert "real texts" not in verdict(card | {"rivals": rivals})


def test_dates_that_are_nearly_right_are_wrong():
    base = {"title": "the input, copied", "estimate": 30}
    level = {"title": TEACHER, "score": {"estimate": 49}, "difference": {"low": -11, "high": 11}}
    card = {"score": {"metric": "chrf", "estimate": 50, "low": 39}, "baseline": base,
            "scores": {"exact_match": 0.17}, "rivals": [level]}  # fmt: skip
    assert verdict(card).startswith("These rows do not tell this model from the teacher itself")
    assert verdict(card, wholly=True).startswith("Do not rely on this model: here it is wrong more")
    level["difference"] = {"low": -21, "high": -11}
    assert "than this model, which is wrong more often than right. More" in verdict(card, True)
    assert "than this model, which is only smaller. More" in verdict(card)


def test_a_teacher_that_is_right_about_its_own_rows_is_not_praised():
    card = {"score": {"estimate": 0.6, "low": 0.5}, "rivals": [rival(TEACHER, 0.9, -0.4, -0.2)]}
    assert verdict(card).startswith("Use the teacher itself instead")
    assert verdict(card, made=True).startswith(
        "On these rows the teacher itself is clearly better than this model, which is only "
        "smaller; but it wrote them, so test both on 100 rows of your own."
    )


class Teacher:
    """Gives the same answer to each prompt, which it keeps."""

    name, limit = "stand-in", 1000

    def __init__(self, answer):
        self.answer, self.prompts = answer, []

    def generate(self, prompts, **_):
        self.prompts += prompts
        return [self.answer] * len(prompts)


PARTS = Task("…", "Find foods.", (Demonstration("Melt butter.", "butter"),), kind="extraction")
WORDS = ["Fry", "onions", "in", "olive", "oil", "."]


@pytest.mark.parametrize(
    ("answer", "tags"),
    [
        ("part: onions\npart: olive oil", ["O", "B-part", "O", "B-part", "I-part", "O"]),
        ("part: olive oil\npart: oil", ["O", "O", "O", "B-part", "I-part", "O"]),
        ("part: salt\npart: onions\nonions", ["O", "B-part", "O", "O", "O", "O"]),
        ("part: ", ["O"] * 6),
        ("none", ["O"] * 6),
    ],
)
def test_a_teacher_marks_words(answer, tags):
    teacher = Teacher(answer)
    rows = Examples("tags", [WORDS], [["O"] * 6], "mine", "")
    assert ask(teacher, PARTS, rows) == [tags]
    assert teacher.prompts[0].endswith(
        "Sentence: Melt butter.\npart: butter\n\nSentence: Fry onions in olive oil .\n"
    )


def test_a_tagger_has_the_teacher_beside_it():
    """It had none at all."""

    class Blind:
        def predict(self, rows):
            return [["O"] * len(words) for words in rows]

    gold = ["O", "B-part", "O", "B-part", "I-part", "O"]
    rows = Examples("tags", [WORDS] * 30, [gold] * 30, "mine", "")
    (found,) = score_rivals(Blind(), rows, PARTS, Teacher("part: onions"))
    assert found["title"] == "the teacher (stand-in), shown 1 examples"
    assert found["score"]["estimate"] == pytest.approx(2 / 3)  # all it marks, half of what is there
    assert found["difference"]["estimate"] == pytest.approx(-2 / 3)
    assert found["difference"]["high"] < 0


def test_an_answer_ends_with_its_line():
    """A small model goes on with a further question, which made each of its answers wrong."""
    task = Task("…", "Answer.", kind="extraction", has_question=True)
    rows = Examples("span", [("Where?", "It is in Oslo.")], ["Oslo"], "mine", "")
    teacher = Teacher(" Oslo\nQuestion: What is?\nAnswer: It")
    assert ask(teacher, task, rows) == ["Oslo"]
    assert teacher.prompts[0].endswith("Passage: It is in Oslo.\nQuestion: Where?\nAnswer:")
    assert "Answer: 12%" in teacher.prompts[0], "three examples show what an answer looks like"


def test_a_text_has_lines_where_the_users_examples_do():
    rows = Examples("text", ["add"], ["x"], "mine", "")
    code = "def add(a, b):\n    return a + b"
    one = Task("…", "Write.", (Demonstration("two", "2"),), kind="text")
    several = Task("…", "Write.", (Demonstration("two", "a\nb"),), kind="text")
    assert ask(Teacher(f" {code}\n"), one, rows) == ["def add(a, b):"]
    assert ask(Teacher(f" {code}\n"), several, rows) == [code]


def test_hundreds_of_examples_leave_room_for_the_input():
    many = tuple(Demonstration(f"text {n}", str(n)) for n in range(200))
    teacher = Teacher("x")
    task = Task("…", "Write.", many, kind="text")
    (found,) = score_rivals(Echo(), Examples("text", ["a"], ["b"], "", ""), task, teacher)
    assert teacher.prompts[0].count("Output:") == 11
    assert found["title"].endswith(", shown 10 examples")


class Echo:
    """Stands for a student."""

    def predict(self, inputs):
        return list(inputs)


def test_the_teacher_that_is_asked_for_labels_sees_the_users_examples(monkeypatch):
    asked = []

    class Labeler:
        def __init__(self, task, model, *, per_class, calibrate):
            asked.append((model, per_class, calibrate))
            raise ValueError("enough")

    monkeypatch.setattr(module, "TeacherLabeler", Labeler)
    monkeypatch.setattr(module, "NameLabeler", Labeler, raising=True)
    rows = Examples("label", ["a", "b"], ["x", "y"], "mine", "")
    shown = [("1", "x"), ("2", "x"), ("3", "y"), ("4", "z")]
    task = Task("…", "Sort.", tuple(Demonstration(*one) for one in shown),
                "classification", ("x", "y"))  # fmt: skip
    monkeypatch.setattr(module, "_by_names", lambda *_: ["x", "y"])
    teacher = LocalTeacher("small")
    found = score_rivals(Echo(), rows, task, teacher)[1]
    assert asked == [(teacher, 1, "batch")]  # itself, so that its model is not loaded twice
    assert found["title"].startswith("the teacher (small), shown 2 examples")


def test_a_teacher_does_not_read_500_long_reviews():
    """At a hundred words a second that would take an hour."""
    long = Examples("text", [f"{n} " + "word " * 499 for n in range(100)], ["x"] * 100, "", "")
    task = Task("…", "Shorten.", kind="text")
    teacher = Teacher("x")
    (found,) = score_rivals(Echo(), long, task, teacher)
    assert len(teacher.prompts) == 40 and found["title"].endswith("on 40 of the 100 rows")
    longer = Examples("text", ["word " * 5000 for n in range(100)], ["x"] * 100, "", "")
    assert len(module._drawn(longer, 0)) == module.LEAST_ROWS
    short = Examples("text", [f"word {n}" for n in range(600)], ["x"] * 600, "", "")
    assert len(module._drawn(short, 0)) == module.MOST_ROWS
    assert module._drawn(short.select(range(30)), 0) == list(range(30))
