import json

import pytest

from reptune.prompt2model.questions import (
    BLANK,
    check_question,
    cloze_questions,
    cut_passages,
    read_questions,
)
from reptune.prompt2model.task import Sample

PASSAGES = [
    "Chairman Ada Moor left the old club on Monday. She had paid £2.5m for 30% of the shares.",
    "The museum in Leeds was opened on 3 May 1998 by Sir Tom Hall. It holds 1,200 paintings.",
    "Profits at Rovers fell in 2003. Rovers had sold three players to Chester United.",
]


def made(passage, **options):
    rows = cloze_questions([passage], per_passage=20, **{"dropped": 0, **options})
    return {row.output: row.input for row in rows}


def sentence(count, word="word"):
    return " ".join([word.capitalize(), *[word] * (count - 1)]) + "."


# --- passages ----------------------------------------------------------------------------------


def test_passages_are_whole_sentences_without_the_title():
    article = f"Title here\n\n{sentence(50)} {sentence(50)} {sentence(30)}\n\n{sentence(70)}"
    cut = [article[start:end] for start, end in cut_passages(article)]
    # 50 + 50 words fit into 115 and 30 more do not; 30 + 70 do.
    assert cut == [f"{sentence(50)} {sentence(50)}", f"{sentence(30)}\n\n{sentence(70)}"]


def test_short_ends_and_endless_sentences_are_left_out():
    assert cut_passages(f"Title\n{sentence(116)} {sentence(59)}") == []
    assert len(cut_passages(f"{sentence(115)} {sentence(60)}")) == 2


def test_a_first_paragraph_is_no_title():
    assert cut_passages(sentence(80)) == [(0, len(sentence(80)))]
    assert cut_passages("") == []
    with pytest.raises(ValueError, match="most_words=59"):
        cut_passages("text", most_words=59)


def test_sentences_end_behind_the_closing_quote():
    article = f'"{sentence(70)}" "{sentence(70)}"'
    first, second = cut_passages(article)
    assert article[slice(*first)] == article[slice(*second)] == f'"{sentence(70)}"'


# --- questions by rule -------------------------------------------------------------------------


def test_each_kind_of_answer_is_asked_for_by_its_word():
    assert made(PASSAGES[0]) == {
        "Ada Moor": "Who left the old club on Monday?",
        "£2.5m": "How much had she paid for 30% of the shares?",
    }
    assert made(PASSAGES[1]) == {
        "Leeds": "Where was the museum opened on 3 May 1998 by Sir Tom Hall?",
        "3 May 1998": "When was the museum in Leeds opened by Sir Tom Hall?",
        "Tom Hall": "Who was the museum in Leeds opened on 3 May 1998 by?",
    }
    assert made(PASSAGES[2])["three"] == "How many players had Rovers sold to Chester United?"


def test_nothing_is_asked_where_no_auxiliary_can_follow_the_question_word():
    assert "Monday" not in made(PASSAGES[0])  # "When Ada Moor left the old club?"
    assert made("The fans of the old club in Hull said that it was sold last year.") == {}
    assert made("The old club was sold, and who said so was Ada Moor of Hull.", form="wh") == {}


@pytest.mark.parametrize("passage", [
    "The shares were bought by Ada Moor and her older sister.",
    "The shares were bought by Ada Moor, a former player.",
    "The shares were bought by her sister and Ada Moor.",
    "The shares were bought from the Moor of the North.",
])  # fmt: skip
def test_one_of_a_list_and_an_aside_are_not_asked_for(passage):
    assert "Ada Moor" not in made(passage)
    assert "Moor" not in made(passage)


def test_a_blank_takes_the_place_of_the_answer():
    questions = made(PASSAGES[0], form="cloze")
    assert questions["Monday"] == f"Chairman Ada Moor left the old club on {BLANK}"
    assert questions["Ada Moor"] == f"Chairman {BLANK} left the old club on Monday"


def test_an_answer_that_occurs_twice_or_only_opens_a_sentence_is_not_asked_for():
    assert "Rovers" not in made(PASSAGES[2])
    assert "Profits" not in made(PASSAGES[2])
    assert "Chester United" in made(PASSAGES[2])


def test_the_clause_of_the_answer_is_the_question():
    passage = "The club lost its final match in Hull, but coach Ada Moor wants the manager to stay."
    assert made(passage)["Ada Moor"] == "Who wants the manager to stay?"
    passage = "The final match was lost in Hull, but coach Ada Moor wants the manager to stay."
    assert made(passage)["Hull"] == "Where was the final match lost?"


def test_words_of_a_speaker_are_not_asked_about():
    assert made('"We will never sell our ground to Chester United," the fans said.') == {}


def test_people_are_known_from_other_passages():
    unknown = "The old club was left by Ada Moor for good."
    assert made(unknown)["Ada Moor"].startswith("What was")
    rows = cloze_questions([unknown, "Everyone at the club liked Mrs Moor."], dropped=0)
    assert rows[0].input.startswith("Who was")


def test_rows_pass_the_filter_and_say_where_they_come_from():
    for form in ("wh", "cloze"):
        for dropped in (0, 0.3):
            rows = cloze_questions(PASSAGES, form=form, dropped=dropped)
            assert {row.origin["passage"] for row in rows} == {0, 1, 2}
            for row in rows:
                assert check_question(row) is None
                assert row.context == PASSAGES[row.origin["passage"]]
                assert row.context.count(row.output) == 1
                assert row.origin["by"] == "generated"
                assert row.origin["form"] == form


def test_the_seed_decides():
    first = cloze_questions(PASSAGES, per_passage=2, dropped=0.2)
    assert cloze_questions(PASSAGES, per_passage=2, dropped=0.2) == first
    others = [
        [row.input for row in cloze_questions(PASSAGES, 2, dropped=0.2, random_state=seed)]
        for seed in range(5)
    ]
    assert len({tuple(questions) for questions in others}) > 1


def test_question_words_vary():
    players = " ".join(f"Coach {name} left the old club." for name in ("Ada Moor", "Tom Hall"))
    passage = f"{players} The museum was opened in Leeds by the queen."
    for seed in range(10):
        rows = cloze_questions([passage], per_passage=2, dropped=0, random_state=seed)
        assert {row.origin["asked"] for row in rows} == {"who", "where"}
    assert len(cloze_questions([passage], per_passage=1, dropped=0)) == 1
    assert len(cloze_questions([passage], dropped=0)) == 3


def test_lost_words_are_those_of_the_passage():
    whole, thin = made(PASSAGES[1]), made(PASSAGES[1], dropped=0.3)
    for answer, question in thin.items():
        assert set(question.rstrip("?").split()) <= set(whole[answer].rstrip("?").split())
    assert sum(map(len, thin.values())) < sum(map(len, whole.values()))


@pytest.mark.parametrize(("options", "message"), [
    ({"form": "why"}, "form='why'"),
    ({"per_passage": 0}, "per_passage=0"),
    ({"dropped": 1}, "dropped=1"),
    ({"random_state": -1}, "random_state=-1"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        cloze_questions(PASSAGES, **options)
    with pytest.raises(ValueError, match="passages"):
        cloze_questions("one string")


# --- checking ----------------------------------------------------------------------------------

PASSAGE = "Rovers beat Chester 2-1 on Saturday in front of 20,100 people. Who can stop them now?"


@pytest.mark.parametrize(("question", "answer", "reason"), [
    ("Which team did Rovers beat?", "Chester", None),
    ("Rovers beat ____ on Saturday", "Chester", None),
    ("Which team did Rovers beat?", "", "no answer"),
    ("Which team did Rovers beat?", "?!", "no answer"),
    ("Which team did Rovers beat?", "chester", "answer not in the passage"),
    ("Which team did Rovers beat?", "Hull", "answer not in the passage"),
    ("How many goals did they get?", "1 on Satur", "answer not in the passage"),
    ("How many came to watch the game?", "100", None),
    ("How many came to watch the game?", "00", "answer not in the passage"),
    ("Which team did Rovers beat?", "['Chester']", "answer not in the passage"),
    ("What happened at the game?", PASSAGE[:61], "answer too long"),
    ("Who lost?", "Chester", "question too short"),
    (f"Which team lost {'so ' * 28}badly?", "Chester", "question too long"),
    ("Did Chester lose the match?", "Saturday", "no question word"),
    ("The team that Rovers beat somewhere", "Chester", "no question word"),
    ("When did Chester lose to Rovers?", "Chester", "question contains the answer"),
    ("Who was it that CHESTER lost to?", "Chester", "question contains the answer"),
    ("Who can stop them now?", "Rovers", "question copies the passage"),
])  # fmt: skip
def test_what_is_wrong_is_named(question, answer, reason):
    assert check_question(Sample(question, answer, PASSAGE)) == reason


def test_how_much_may_be_copied_is_a_choice():
    sample = Sample("Which team beat Chester 2-1 on Saturday?", "Rovers", PASSAGE)
    # "beat Chester 2-1 on Saturday" is 6 of 8 words: the score counts as two.
    assert check_question(sample, most_copied=0.75) is None
    assert check_question(sample, most_copied=0.74) == "question copies the passage"
    with pytest.raises(ValueError, match="most_copied=0"):
        check_question(sample, most_copied=0)


def test_special_characters_in_an_answer_are_no_pattern():
    assert check_question(Sample("What did it cost?", "$5 (net)", "It cost $5 (net).")) is None
    assert check_question(Sample("What did it cost?", ".", "It cost $5.")) == "no answer"


# --- reading questions from offsets ------------------------------------------------------------

ARTICLE = "Title\n\nRovers beat Chester. Chester were poor."
RECORD = {
    "split": "test", "id": "sports/1", "passage": [7, 45], "question": "Who lost the match?",
    "start": 19, "end": 26, "also": [[28, 35], [28, 40]], "kind": "who", "rival": True,
}  # fmt: skip


def test_offsets_become_rows(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD | {"id": "sports/2"}) + "\n")
    (sample,) = read_questions(path, {"sports/1": ARTICLE})
    assert (sample.input, sample.output) == ("Who lost the match?", "Chester")
    assert sample.context == "Rovers beat Chester. Chester were poor"
    assert sample.origin["accepted"] == ("Chester", "Chester were")
    assert sample.origin["row"] == "sports/1"


@pytest.mark.parametrize("wrong", [
    {"end": 46}, {"start": 6}, {"start": 26}, {"passage": [7, 100], "end": 99}, {"also": [[0, 3]]},
    {"also": None},
])  # fmt: skip
def test_offsets_of_another_article_are_refused(tmp_path, wrong):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD | wrong) + "\n")
    with pytest.raises(ValueError, match="line 2"):
        read_questions(path, {"sports/1": ARTICLE})


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "sports/1"}', "{}"])
def test_lines_that_are_no_question_are_named(tmp_path, line):
    path = tmp_path / "questions.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1"):
        read_questions(path, {"sports/1": ARTICLE})
