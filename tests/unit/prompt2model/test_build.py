"""The components one after another, each of them replaced by a stand-in that says what it got."""

import json
import sys

import numpy as np
import pytest

from reptune.estimator import load
from reptune.pipeline.examples import Examples, read_examples
from reptune.prompt2model import build as module
from reptune.prompt2model import rivals
from reptune.prompt2model.build import build, forget, understood
from reptune.prompt2model.catalog import DataSetEntry
from reptune.prompt2model.dataset_retriever import Candidate, Retrieved
from reptune.prompt2model.generator import Generated
from reptune.prompt2model.model_retriever import ModelChoice
from reptune.prompt2model.prompt import parse_prompt
from reptune.prompt2model.rows import examples_of, kind_of_task
from reptune.prompt2model.task import Demonstration, Sample, Task
from reptune.prompt2model.teachers import TeacherStopped

PROMPT = 'Is a meal good or bad? "Lovely soup." -> good'
FOODS = ("soup", "bread", "rice", "fish", "salad", "cake", "pie", "stew", "pasta", "curry")
WHO = ("my aunt", "the cook", "a waiter", "our host", "the baker")
TEST = Examples(
    "label", [f"{word} tea on table {n}" for n in range(12) for word in ("fine", "awful")],
    ["good", "bad"] * 12, "mine.csv", "ab" * 32,
)  # fmt: skip


def rows(by, start=0):
    """A hundred rows that differ, of two labels."""
    words = {"good": "fine", "bad": "awful"}
    return [
        Sample(f"{words[label]} {food} from {who} on day {start}", label,
               origin={"by": by, "teacher": "stand-in", "data_set": "Meals", "row": number})
        for number, (food, who, label) in enumerate(
            (food, who, label) for food in FOODS for who in WHO for label in ("good", "bad")
        )
    ]  # fmt: skip


class Writer:
    """Stands for a generator."""

    def __init__(self, samples):
        self.samples, self.asked = samples, []

    def generate(self, task, **how):
        self.asked.append(how)
        kept = tuple(self.samples[: how["count"]])
        return Generated(kept, (("asked", how["count"]), ("kept", len(kept))), {})


class Finder:
    """Stands for a retriever."""

    def __init__(self, samples, reasons=()):
        self.samples, self.reasons, self.asked = samples, reasons, []

    def retrieve(self, task, **how):
        self.asked.append((task, how))
        found = Candidate(DataSetEntry("Meals"), 1.0, 0.9)
        return Retrieved((found,), found if self.samples else None, tuple(self.samples),
                         self.reasons)  # fmt: skip


class Silent:
    """Stands for a teacher."""

    name, limit = "stand-in", 100

    def __init__(self, answers=None):
        self.answers = answers

    def generate(self, prompts, **_):
        if self.answers is not None:
            raise TeacherStopped("the limit is reached", self.answers, True)
        return [" good, I would say" if "fine" in prompt else " bad" for prompt in prompts]


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Label names without an encoder: always the first one."""

    class First:
        title = "label names"

        def __init__(self, labels):
            self.labels = labels

        def probabilities(self, texts):
            return np.tile(np.eye(len(self.labels))[0], (len(texts), 1))

    monkeypatch.setattr(rivals, "NameLabeler", First)
    monkeypatch.setattr(module, "drop_leaks", _drop_equal)


def _drop_equal(samples, texts):
    from reptune.prompt2model.filters import keep_where

    return keep_where(samples, [sample.input not in texts for sample in samples], "near a test")


class Shelf:
    """Stands for a retriever of models."""

    def retrieve(self, task):
        return ModelChoice((), student="a-model", reasons=("a-model reads the language.",))


def made(**changes):
    given = {
        "teacher": Silent(), "test": TEST, "student": "tfidf", "models": Shelf(),
        "retriever": Finder(rows("retrieved")), "generator": Writer(rows("generated", 1)),
    }  # fmt: skip
    return build(PROMPT, **{**given, **changes})


def test_both_sources_are_mixed_and_shuffled_and_keep_their_origin():
    built = made()
    origins = [sample.origin["by"] for sample in built.samples]
    assert origins.count("generated") == origins.count("retrieved") == 100
    assert origins.count("user") == 1
    assert len(set(origins[:20])) > 1, "in the order they came, the first twenty would be alike"
    assert built.result.card["origins"]["rows"] == {
        "retrieved from Meals": 100, "written by stand-in": 100, "your examples": 1,
    }  # fmt: skip


def test_no_row_of_the_test_is_learned_from():
    leak = Sample(TEST.inputs[0], "good", origin={"by": "generated"})
    built = made(generator=Writer([leak, *rows("generated", 1)]))
    assert TEST.inputs[0] not in [sample.input for sample in built.samples]


def test_label_names_and_the_teacher_stand_beside_the_student():
    card = made().result.card
    first, teacher = card["rivals"]
    assert first["title"] == "label names, no training" and first["score"]["estimate"] == 0.5
    assert teacher["score"]["estimate"] == 1.0
    assert first["difference"]["estimate"] == card["score"]["estimate"] - 0.5
    assert first["difference"]["low"] < first["difference"]["estimate"]


def test_a_rival_is_scored_on_the_rows_that_it_answered():
    answers = ["good", "bad"] * 11 + [None, None]
    teacher = made(teacher=Silent(answers)).result.card["rivals"][1]
    assert teacher["score"]["estimate"] == 1.0 and "on 22 of the 24 rows" in teacher["title"]


def test_a_budget_that_is_used_up_is_not_a_score_of_zero():
    teacher = made(teacher=Silent(["good"] + [None] * 23)).result.card["rivals"][1]
    assert teacher["score"] is None and teacher["difference"] is None


def test_a_rival_that_fails_does_not_cost_the_model(monkeypatch):
    class Broken(Silent):
        def generate(self, prompts, **_):
            raise ValueError("the prompt has 9,999 tokens")

    built = made(teacher=Broken())
    assert built.result.card["rivals"][1]["title"].endswith("the prompt has 9,999 tokens")
    assert built.result.model.predict(["fine soup"]).tolist() == ["good"]


def test_the_folder_holds_everything_and_its_rows_can_be_trained_on(tmp_path):
    built = made(out=tmp_path / "model")
    folder = built.save(tmp_path / "model")
    assert load(folder).predict(["fine soup"]).tolist() == ["good"]
    assert (folder / "prompt.txt").read_text("utf-8") == PROMPT
    page, card = (folder / "report.md").read_text(), (folder / "data_card.md").read_text()
    assert "Beside other ways" in page and "label names" in page
    assert "Where the rows come from" in page and "written by stand-in" in page
    assert "| retrieved from Meals | 100 |" in card and "terms" in card
    read = read_examples(folder / "rows.jsonl")
    assert (len(read), read.labels) == (201, ["bad", "good"])
    assert read.sha256 == built.result.card["data"]["sha256"]
    lines = (folder / "rows.jsonl").read_text("utf-8").splitlines()
    origins = [json.loads(line)["origin"]["by"] for line in lines]
    assert set(origins) == {"user", "generated", "retrieved"}


def test_a_source_that_is_off_is_not_asked():
    finder, writer = Finder(rows("retrieved")), Writer(rows("generated"))
    built = made(retrieve=False, retriever=finder)
    assert not finder.asked and built.candidates == ()
    built = made(generate=False, generator=writer, teacher=None)
    assert not writer.asked and len(built.result.card["rivals"]) == 1
    with pytest.raises(ValueError, match="Leave one on"):
        made(retrieve=False, generate=False)


def test_an_empty_retrieval_is_no_end():
    built = made(retriever=Finder([], ("None fits.",)))
    assert len(built.samples) == 101 and "None fits." in built.notes


def test_why_nothing_was_retrieved_is_said_before_rows_are_made():
    said = []
    made(retriever=Finder([], ("None fits.", "Soups: too old.")), progress=said.append)
    assert said[2].split() == ["0.90", "Meals"]
    assert said[3:5] == ["retrieved: no rows. None fits.", "generating for 30 minutes at most"]


def test_the_data_set_of_the_test_is_not_retrieved():
    finder = Finder(rows("retrieved"))
    made(retriever=finder, exclude=["Meals"])
    assert finder.asked[0][1]["exclude"] == ["Meals"]


def test_without_rows_of_ones_own_real_ones_are_held_out():
    built = made(test=None)
    held = built.result.card["splits"]["scored_on"]
    assert held == 20 and len(built.samples) == 181
    assert "rows of Meals that the student did not learn from" in built.result.card["scored_on"]
    counts = built.result.card["confusion"]["counts"]
    assert [sum(row) for row in counts] == [10, 10], "each label has its share"
    steps = dict(built.yields)
    assert steps["from all sources, each once"] == 200
    assert steps["after: held out to test on"] == 180


def test_a_score_on_the_teachers_own_rows_says_so(tmp_path):
    built = made(test=None, retriever=Finder([]), generator=Writer(rows("generated")))
    assert "not how well it does the task" in built.result.card["scored_on"]
    assert "How well it does on real texts is not known" in built.result.card["verdict"]
    report = (built.save(tmp_path / "model") / "report.md").read_text("utf-8")
    assert f"The score is on {built.result.card['scored_on']}" in report


def test_ten_rows_are_shown_before_more_are_made():
    writer, seen = Writer(rows("generated")), []
    made(generator=writer, show=lambda first: seen.extend(first) or True)
    assert len(seen) == 10 and writer.asked[0]["count"] == 10 and writer.asked[1]["count"] > 10
    with pytest.raises(ValueError, match="stopped at the first rows"):
        made(generator=Writer(rows("generated")), show=lambda first: False)


def test_too_few_rows_end_with_the_yield():
    with pytest.raises(ValueError, match=r"6 rows came of the prompt.*'kept': 5"):
        made(retriever=Finder([]), generator=Writer(rows("generated")[:5]))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "empty"),
        ("The weather is nice.", "what to do"),
        ("Classify tweets.", "no labels; name at least two"),
    ],
)
def test_a_prompt_without_a_task_says_what_it_lacks(prompt, words):
    with pytest.raises(ValueError, match=words):
        understood(prompt, parse_prompt, None)


def test_a_test_of_another_kind_or_label_is_refused_before_any_work():
    finder = Finder(rows("retrieved"))
    strange = Examples("label", ["a", "b"], ["good", "fair"], "mine.csv", "")
    with pytest.raises(ValueError, match=r"mine.csv has the label 'fair', but the prompt names"):
        made(test=strange, retriever=finder)
    with pytest.raises(ValueError, match="'text' rows, but the prompt asks for 'label'"):
        made(test=Examples("text", ["a"], ["b"], "mine.csv", ""), retriever=finder)
    assert not finder.asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"student": "fulll"}, "no method 'fulll', did you mean 'full'"),
        ({"student": "tagger"}, "tagger does not take one label per text"),
        ({"passages": ["A text."]}, "passages are for questions.*asks for classification"),
        ({"teacher": None}, "generate needs a teacher"),
    ],
)
def test_what_cannot_be_done_is_said_before_half_an_hour_of_writing(given, words):
    finder, writer = Finder(rows("retrieved")), Writer(rows("generated"))
    with pytest.raises(ValueError, match=words):
        made(retriever=finder, generator=writer, **given)
    assert not finder.asked and not writer.asked


def test_the_rows_that_are_shown_are_the_first_of_the_long_run(tmp_path):
    shown, said = [], []
    writer = Writer(rows("generated", 1))
    made(generator=writer, show=lambda found: shown.append(list(found)) or True, out=tmp_path / "m")
    first, whole = writer.asked
    assert (first["count"], whole["count"]) == (10, 3000)
    assert first["horizon"] == whole["horizon"] == 3000
    assert first["folder"] == whole["folder"] == f"{tmp_path / 'm'}.parts"
    assert len(shown[0]) == 10
    first["progress"](7, 10)  # a round of the generator's
    made(generator=(writer := Writer(rows("generated", 1))), show=lambda _: True,
         progress=said.append)  # fmt: skip
    first, whole = writer.asked
    assert first["folder"] == whole["folder"], (
        "with nowhere to save to, rows would be written twice"
    )
    whole["progress"](1234, 3000)
    assert said[-1].startswith("written: 1,234 rows, ")


def test_a_prompt_without_an_example_is_refused_before_the_search():
    finder = Finder(rows("retrieved"))
    with pytest.raises(ValueError, match=r"no example.*add a line or two"):
        build("Rewrite each message politely.", teacher=Silent(), retriever=finder)
    assert not finder.asked


def test_questions_need_passages_that_say_something_and_texts_a_package(monkeypatch):
    writer = Writer(rows("generated"))
    with pytest.raises(ValueError, match="passages holds no text"):
        build("Answer the question from the passage.", passages=[], generator=writer)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ValueError, match="needs sacrebleu"):
        build("Summarize a text.", generator=writer)
    assert not writer.asked


def test_what_was_assumed_of_a_prompt_is_said_at_once():
    said = []
    task = Task(PROMPT, "Judge meals.", (), "classification", ("good", "bad"), notes=("a note",))
    made(parser=lambda prompt, translate: task, progress=said.append)
    assert said[:2] == ["task: classification; labels: good, bad", "note: a note"]


def test_a_folder_in_use_is_refused_before_any_work(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    finder = Finder(rows("retrieved"))
    with pytest.raises(ValueError, match="mine"):
        made(out=tmp_path / "mine", retriever=finder)
    assert not finder.asked


def test_questions_by_rule_are_a_source_of_their_own(monkeypatch):
    passages = [
        f"{food.title()} {who} sold in 19{number} for {number} pounds, {food} lovers said. "
        f"A {food} shop in {town} opened."
        for number, (food, who, town) in enumerate(
            zip(FOODS, WHO * 2, ("Lima", "Oslo", "Rome", "Bonn", "Bern") * 2, strict=True), 60
        )
    ]
    trained, result = [], made().result
    monkeypatch.setattr(
        module, "train", lambda examples, method, **_: trained.append((examples, method)) or result
    )
    monkeypatch.setattr(module, "score_rivals", lambda *_: [])
    monkeypatch.setattr(module, "LEAST_ROWS", 3)
    written = Sample("Where did it open?", "Lima", context=passages[0], origin={"by": "generated"})
    monkeypatch.setattr(module, "cloze_questions", lambda passages, random_state: [
        Sample("Who sold it?", who, context=passage, origin={"by": "generated", "with": "rules"})
        for passage, who in zip(passages, WHO * 2, strict=True)
    ])  # fmt: skip
    built = build(
        "Answer the question from the passage.", teacher=Silent(), retrieve=False,
        generator=Writer([written]), passages=passages,
    )  # fmt: skip
    (examples, method), *_ = trained
    assert (examples.kind, method) == ("span", "extractor")
    copied = Sample("Lima?", "Lima", context=passages[0], origin={"by": "generated"})
    task = Task("…", "…", kind="extraction", has_question=True)
    check = module._generator(Silent(), task, []).checks[-1]
    assert check([written, copied]).samples == [written]
    assert {sample.origin.get("with") for sample in built.samples} >= {"rules"}
    assert "made by rule from your passages" in built.result.card["origins"]["rows"]


def test_the_same_passage_is_not_on_both_sides():
    task = Task("…", "…", kind="extraction", has_question=True)
    source = [
        Sample(f"What about {n}?", "it", f"passage {n // 4} says it", origin={"by": "generated"})
        for n in range(80)
    ]  # fmt: skip
    test, kept, _ = module._test_of(task, source, None, 42)
    assert not {p for _, p in test.inputs} & {sample.context for sample in kept}
    own = Examples("span", [("Who?", "passage 3 says it")], ["it"], "mine.csv", "")
    pool, _ = module._pool(task, source, own)
    assert len(pool) == 76 and "passage 3 says it" not in {sample.context for sample in pool}


def test_a_label_without_rows_ends_before_training():
    only = [sample for sample in rows("generated") if sample.output == "good"]
    with pytest.raises(ValueError, match=r"no row came for the label 'bad'.*'good': 5"):
        made(retriever=Finder([]), generator=Writer(only))


def test_a_demonstration_with_a_long_output_is_no_class():
    long = Demonstration("Cold tea.", "bad because the tea was cold and bitter and late too")
    task = Task(PROMPT, "Judge meals.", (long,), "classification", ("good", "bad"))
    built = build(
        PROMPT, teacher=Silent(), test=TEST, student="tfidf", models=Shelf(), retrieve=False,
        generator=Writer(rows("generated")), parser=lambda prompt, translate: task,
    )  # fmt: skip
    assert set(built.result.model.classes_.tolist()) == {"good", "bad"}


def test_the_users_examples_stay_whatever_was_made():
    copied = Sample("Lovely soup.", "good", origin={"by": "generated"})
    built = made(generator=Writer([copied, *rows("generated", 1)]))
    (same,) = [sample for sample in built.samples if sample.input == "Lovely soup."]
    assert same.origin["by"] == "user"
    assert dict(built.yields)["with your examples"] == len(built.samples)


@pytest.fixture
def settings(monkeypatch):
    """What students are made with; TF-IDF stands in for them."""
    given, real = [], module.train

    def train(examples, method, *, settings, **how):
        given.append(settings)
        return real(examples, "tfidf", **how)

    monkeypatch.setattr(module, "train", train)
    return given


def test_the_students_model_comes_from_the_catalog(settings):
    built = made(student="frozen")
    made(student="frozen", settings={"model": "mine"})
    assert [given["model"] for given in settings] == ["a-model", "mine"]
    assert "a-model reads the language." in built.notes


def test_a_frozen_students_head_doubts_rows_that_a_machine_made(settings):
    built = made(student="frozen")
    made(student="frozen", settings={"C": 10, "class_weight": None})
    made(student="full")
    assert settings[0]["C"] * len(built.samples) == pytest.approx(300)
    assert [given.get("C") for given in settings[1:]] == [10, None]
    assert [given["class_weight"] for given in settings] == ["balanced", None, "balanced"]


@pytest.mark.parametrize("method", ["in-context", "prompt"])
def test_a_method_that_takes_no_encoder_keeps_its_own_model(settings, method):
    made(student=method)
    assert settings == [{}]


@pytest.mark.parametrize(
    ("method", "count", "epochs"),
    [("extractor", 186, 20), ("tagger", 94, 20), ("tagger", 800, 5), ("extractor", 3000, None),
     ("full", 50, None), ("generator", 50, None)],
)  # fmt: skip
def test_few_rows_are_read_more_often(method, count, epochs):
    """Three passes over 186 rows are 36 steps."""
    assert module._epochs(method, count) == ({} if epochs is None else {"num_epochs": epochs})


def test_long_rows_are_read_as_far_as_short_texts_reach(settings):
    """Fine-tuning on whole reviews takes hours where the user asks about sentences."""
    long = [
        Sample(f"{row.input} " + "and so on " * 80, row.output, origin=row.origin)
        for row in rows("retrieved")
    ]
    built = made(retriever=Finder(long), student="full")
    assert "Of each text, 128 tokens are read, since your own have no more than 90 words." in (
        built.notes
    )
    made(retriever=Finder(long), student="full", settings={"max_length": 300})
    made(student="full")  # nothing is long
    pages = Examples("label", [text + " or so" * 50 for text in TEST.inputs], TEST.targets, "", "")
    made(retriever=Finder(long), student="full", test=pages)  # the user's own are
    model = {"model": "a-model", "class_weight": "balanced"}
    assert settings == [
        model | {"max_length": 128}, {"max_length": 300} | model, model, model
    ]  # fmt: skip


def test_why_writing_ended_is_told():
    class Stopped(Writer):
        def generate(self, task, **how):
            return Generated((), (("kept", 0),), {}, stopped="the teacher failed: no connection")

    with pytest.raises(ValueError, match="Writing ended because the teacher failed: no connection"):
        made(retriever=Finder([]), generator=Stopped([]))


def test_only_what_build_kept_is_removed(tmp_path):
    parts = tmp_path / "model.parts"
    parts.mkdir()
    (parts / "written-12.jsonl").write_text("{}")
    (parts / "thesis.txt").write_text("years of work")
    forget(tmp_path / "model")
    assert [file.name for file in parts.iterdir()] == ["thesis.txt"]
    (parts / "thesis.txt").unlink()
    forget(tmp_path / "model")
    assert not parts.exists()


def test_the_users_examples_are_learned_from_whatever_the_kind():
    shown = (
        Demonstration("Melt butter, fry onions.", "butter; onions"),
        Demonstration("Rest.", ""),
        Demonstration("Add salt.", "pepper"),
    )
    task = Task("…", "Find the foods.", shown, "extraction")
    assert [(one.input, one.spans) for one in module._own(task)] == [
        ("Melt butter, fry onions.", ((5, 11, "part"), (17, 23, "part"))), ("Rest.", ())
    ]  # fmt: skip
    typed = Task("…", "Find.", (Demonstration("Ann, 5", "name: Ann; age: 5"),), "extraction",
                 ("name", "age"))  # fmt: skip
    (row,) = module._own(typed)
    assert row.spans == ((0, 3, "name"), (5, 6, "age")) and row.origin == {"by": "user"}
    asked = Demonstration("Question: Who came? Context: Ann came.", "Ann")
    loose = Demonstration("Who came?", "Ann")
    task = Task("…", "Answer.", (asked, loose), "extraction", has_question=True)
    (row,) = module._own(task)
    assert (row.input, row.context, row.output) == ("Who came?", "Ann came.", "Ann")


def test_each_kind_of_task_becomes_its_kind_of_rows():
    task = Task("…", "…", kind="extraction", labels=("TIME",))
    sample = Sample("Come on Monday .", "Monday", spans=((8, 14, "TIME"),))
    found = examples_of([sample], task, "rows")
    assert found.kind == kind_of_task(task) == "tags"
    assert found.targets == [["O", "O", "B-TIME", "O"]]
    task = Task("…", "…", kind="extraction", has_question=True)
    found = examples_of([Sample("Who?", "Ann", context="Ann came.")], task, "rows")
    assert (found.kind, found.inputs, found.targets) == ("span", [("Who?", "Ann came.")], ["Ann"])
    task = Task("…", "…", (Demonstration("a", "b"),), kind="text")
    assert examples_of([Sample("a", "b")], task, "rows").kind == "text"
