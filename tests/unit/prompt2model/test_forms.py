"""How prompts look, and what is read from replies that are good, cut off or of another form."""

import re
from dataclasses import replace

import pytest

from reptune.models.prompts import cut_at
from reptune.prompt2model.forms import (
    PART,
    Asked,
    Cell,
    Listed,
    Marked,
    Paired,
    form_of,
    spans_of,
)
from reptune.prompt2model.task import Demonstration, Sample, Task

GOOD = Cell("good")
LISTED = Listed("Judge.", ("good", "bad"))
LONG = "x" * 300  # so that a reply counts as cut off by the limit


def inputs(form, reply, cell=GOOD):
    return [sample.input for sample in form.read(reply, cell).samples]


def test_a_line_counts_under_the_label_that_it_begins_with():
    reply = " A fine film.\nbad: Dull.\nGood: Moving!\n2. good: Fun.\nfair: So so.\nIt is good."
    reading = LISTED.read(reply, GOOD)
    assert [(sample.input, sample.output) for sample in reading.samples] == [
        ("A fine film.", "good"), ("Dull.", "bad"), ("Moving!", "good"), ("Fun.", "good"),
    ]  # fmt: skip
    assert reading.written == 6
    assert LISTED.read(" \n", GOOD).written == 0


def test_of_labels_that_begin_alike_the_longer_one_is_read():
    form = Listed("Judge.", ("good", "very good", "good: with signs (*)"))
    reply = " a.\nvery good: b.\ngood: with signs (*): c."
    assert [sample.output for sample in form.read(reply, GOOD).samples] == list(form.labels)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"A fine film."', "A fine film."),
        ("“A fine film.”", "A fine film."),
        ('"Heat" is better than "Ronin"', '"Heat" is better than "Ronin"'),
        ("It is good: I laughed.", "It is good: I laughed."),
    ],
)
def test_quotes_around_a_line_go(line, text):
    assert inputs(LISTED, f" {line}\ngood: Second.\n") == [text, "Second."]


def test_a_last_line_that_was_cut_off_is_no_row():
    assert inputs(LISTED, f" A fine film.\ngood: {LONG}") == ["A fine film."]
    assert inputs(LISTED, f" A fine film.\ngood: {LONG}.") == ["A fine film.", f"{LONG}."]
    assert inputs(LISTED, f" {LONG}") == []
    assert inputs(LISTED, " play some jazz\ngood: stop the music") == [
        "play some jazz", "stop the music",
    ]  # fmt: skip


def test_the_teacher_says_whether_a_reply_was_cut():
    # Letters do not tell: 80 tokens of Japanese are fewer than 80 of them.
    cut = " 退屈な映画だ。\ngood: とても楽し"
    assert [row.input for row in LISTED.read(cut, GOOD, True).samples] == ["退屈な映画だ。"]
    bare = " つまらない\ngood: とても楽し"
    assert [row.input for row in LISTED.read(bare, GOOD, True).samples] == ["つまらない"]
    assert len(LISTED.read(bare, GOOD, False).samples) == 2
    commands = f" play some jazz {LONG}\ngood: stop the music"
    assert len(LISTED.read(commands, GOOD, False).samples) == 2
    assert len(LISTED.read(commands, GOOD, True).samples) == 1


def test_a_heading_or_a_remark_after_sentences_is_no_row():
    # Seen in what Qwen2.5-Coder 0.5B wrote: nothing was cut, and the last line is no sentence.
    assert inputs(LISTED, f" A fine film. {LONG}.\ngood: examples of") == [f"A fine film. {LONG}."]
    assert LISTED.read(f" None of the articles show.|sports; {LONG}", GOOD, False).samples == []


@pytest.mark.parametrize(
    ("form", "reply"),
    [
        (Marked("Find names.", ("person",)), " {0} Ann.\nperson: Ann\n\nSentence: Bo.\nperson: Bo"),
        (Paired("Write."), " {0} x\nOutput: 1\n\nInput: y\nOutput: 2"),
    ],
)
def test_a_block_counts_if_the_teacher_ended_it(form, reply):
    for text in (reply.format("a"), reply.format(LONG)):
        assert len(form.read(text, Cell(), False).samples) == 2
        assert len(form.read(text, Cell(), True).samples) == 1
        assert len(form.read(f"{text}\n\n", Cell(), True).samples) == 2


def test_an_answer_that_was_cut_is_none():
    cell = Cell(passage="Ann won the race.")
    for question in ("Who won?", f"Who won {LONG}?"):
        reply = f" {question}\nAnswer: Ann"
        assert Asked("Answer.").read(reply, cell, True).samples == []
        assert len(Asked("Answer.").read(reply, cell, False).samples) == 1


def test_an_output_ends_at_a_blank_line():
    # What follows it was the next heading of the prompt, in one of ten outputs of a small teacher.
    reply = (
        " in May 2004\nOutput: 2004-05\n\nGood examples:\n\n"
        "Input: in 2003\nOutput: 2003\n\nMy code:"
    )
    for is_cut in (True, False):
        found = Paired("Write dates.").read(reply, Cell(), is_cut).samples
        assert [row.output for row in found] == ["2004-05", "2003"]


def test_every_line_of_a_prompt_has_the_label_that_is_wanted():
    prompt = LISTED.prompt(
        Cell("good", {"topic": "love"}),
        [Demonstration("A fine film.", "good"), Demonstration("Dull.", "bad")],
        [Sample("Nice.", "good")],
    )
    assert "(topic: love)" in prompt
    assert prompt.endswith("\nDrafts:\ngood: Nice.\n\nGood examples:\ngood: A fine film.\ngood:")
    assert "Dull" not in prompt
    assert LISTED.prompt(GOOD, [], []).endswith("each after its output:\n\ngood:")


def test_sentences_whose_parts_do_not_stand_in_them_are_no_rows():
    form = Marked("Find names.", ("person", "city"))
    reply = (
        " Ann lives in Rome.\nperson: Ann\ncity: ROME\n\n"
        "Sentence: Bob is at home.\nperson: Bob\ncity: Paris\n\n"
        "Sentence: It rains.\nnone\n\n"
        "Sentence: Cy is in Oslo.\nplace: Oslo\n\n"
        f"Sentence: Dan is in Bonn.\nperson: Dan\ncity: {LONG}"
    )
    reading = form.read(reply, Cell())
    assert reading.written == 5
    assert reading.samples == [
        Sample("Ann lives in Rome.", "person: Ann; city: Rome",
               spans=((0, 3, "person"), (13, 17, "city"))),
        Sample("It rains.", ""),
    ]  # fmt: skip


def test_a_marked_sample_reads_back_as_it_was_written():
    form = Marked("Find names.", ("person", "city"))
    sample = form.read(" Ann met Al in Rome.\nperson: Ann\nperson: Al\ncity: Rome\n\n", Cell())
    (first,) = sample.samples
    prompt = form.prompt(Cell(), [], [first])
    block = prompt.split("Sentence:")[1]
    assert form.read(f"{block}\n\n", Cell()).samples == [first]


def test_parts_without_types_stand_for_themselves():
    form = Marked("Find dates.", (PART,))
    (sample,) = form.read(" We met in May.\npart: in May\n\n", Cell()).samples
    assert (sample.output, sample.spans) == ("in May", ((7, 13, "part"),))
    prompt = form.prompt(Cell(), [Demonstration("Come on Friday.", "on Friday")], [])
    assert "Sentence: Come on Friday.\npart: on Friday\n" in prompt


def test_spans_take_every_place_and_the_longer_part_first():
    assert spans_of("Ann and Annie and Ann", [("Ann", "p")]) == ((0, 3, "p"), (18, 21, "p"))
    assert spans_of("in New York", [("York", "a"), ("New York", "b")]) is None
    assert spans_of("東京に行く", [("東京", "city")]) == ((0, 2, "city"),)
    assert spans_of("C++ (fast)", [("C++", "p"), ("(fast)", "q")]) == ((0, 3, "p"), (4, 10, "q"))


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (" Who won?\nAnswer: Ann\n\n", "Ann"),
        (" Who won?\nAnswer: ann\n", "Ann"),
        (" Who won?\nAnswer: ['Ann']\n", "Ann"),
        (" Who won?\nAnswer: ['Ann', 'race']\n", None),
        (" Who won?\nAnswer: Bob\n", None),
        (" Did Ann win?\nAnswer: Ann\n", None),
        (" Ann won.\nAnswer: the race\n", None),
        (" Who won?", None),
        (f" Who won {LONG}?\nAnswer: Ann", None),
        (f" Who won {LONG}?\nAnswer: Ann\n", "Ann"),
        (f" Who won {'x' * 100}?\nAnswer: Ann", "Ann"),
        (" Who won?\nAnswer: Ann.", "Ann"),
    ],
)
def test_an_answer_must_stand_in_the_passage_and_not_in_the_question(reply, answer):
    found = Asked("Answer.").read(reply, Cell(passage="Ann won the race.")).samples
    assert [sample.output for sample in found] == ([] if answer is None else [answer])


@pytest.mark.parametrize("rest", ["\nPassage: It rains.\nQuestion:", "\n\nPassage:", "\n\n\n\n"])
def test_a_reply_that_goes_on_with_a_next_passage_is_whole(rest):
    form = Asked("Answer.")
    reply = cut_at(f" Who won {LONG}?\nAnswer: Ann{rest}", form.stop)
    assert len(form.read(reply, Cell(passage="Ann won the race.")).samples) == 1


def test_a_period_that_is_part_of_the_answer_stays():
    cell = Cell(passage="The U.S. team won 2.5. It came home.")
    for answer, read in (("the U.S.", "The U.S."), ("2.5.", "2.5")):
        (sample,) = Asked("Answer.").read(f" Who or what?\nAnswer: {answer}\n", cell).samples
        assert sample.output == read


def test_a_question_of_an_example_is_no_question_about_the_passage():
    form, cell = Asked("Answer."), Cell(passage="Ann won the race in Rome.")
    shown = re.findall(r"Question: (.+)", form.prompt(cell, [], []))
    assert len({question.split()[0] for question in shown}) == len(shown) == 3
    for question in shown:
        assert form.read(f" {question}\nAnswer: Rome\n", cell).samples == []
    assert form.read(" Where did Ann win?\nAnswer: Rome\n", cell).samples != []


def test_without_passages_the_teacher_writes_them_too():
    form = Asked("Answer.")
    assert form.prompt(Cell(), [], []).endswith("\n\nPassage:")
    reply = " Ann won the race.\nQuestion: Who won?\nAnswer: Ann\n\n"
    assert form.read(reply, Cell()).samples == [
        Sample("Who won?", "Ann", context="Ann won the race."),
    ]


def test_only_where_nothing_else_shows_what_an_answer_is_examples_are_given():
    form, cell = Asked("Answer."), Cell(passage="It rains.")
    assert "ferry" in form.prompt(cell, [], [])
    assert "ferry" not in form.prompt(cell, [Demonstration("Who?", "Ann")], [])
    assert "ferry" not in form.prompt(cell, [], [Sample("Who?", "Ann", context="Ann ran.")])


def test_demonstrations_with_a_context_are_shown_as_passage_and_question():
    given = Demonstration("question: Who won?\ncontext: Ann won.", "Ann")
    prompt = Asked("Answer.").prompt(Cell(passage="It rains."), [given], [])
    assert "Passage: Ann won.\nQuestion: Who won?\nAnswer: Ann\n" in prompt


def test_pairs_keep_the_lines_of_an_output_and_lose_what_is_cut_off():
    form = Paired("Write Python.")
    reply = (
        " add a and b\nOutput: def f(a, b):\n    return a + b\n\n"
        "Input: reverse x\nOutput: ['x[::-1]']\n\nInput: no output\n\n"
        f"Input: sort x\nOutput: {LONG}"
    )
    reading = form.read(reply, Cell())
    assert reading.written == 4
    assert reading.samples == [
        Sample("add a and b", "def f(a, b):\n    return a + b"), Sample("reverse x", "x[::-1]"),
    ]  # fmt: skip


def test_a_task_without_a_kind_or_labels_is_refused():
    with pytest.raises(ValueError, match="no kind"):
        form_of(Task("…", "Hello."))
    with pytest.raises(ValueError, match="two different labels"):
        form_of(Task("…", "Judge.", kind="classification", labels=("a", "a")))


def test_a_task_that_shows_no_output_is_refused_with_the_line_to_add():
    # Without an example a small teacher explains what to find, and few or wrong rows come.
    tasks = [
        (Task("…", "Find.", kind="extraction", labels=("a", "b", "c")), "> a: …; b: …"),
        (Task("…", "Find.", kind="extraction"), "the words to find in it"),
        (Task("…", "Be polite.", kind="text"), "the output for it"),
    ]
    for task, line in tasks:
        with pytest.raises(ValueError, match="no example.*add a line.*" + re.escape(line)):
            form_of(task)
        shown = replace(task, demonstrations=(Demonstration("a b", "a: b"),))
        assert isinstance(form_of(shown), Marked | Paired)
    assert isinstance(form_of(Task("…", "Answer.", kind="extraction", has_question=True)), Asked)
