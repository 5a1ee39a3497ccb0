"""The filters: what goes, what stays, and that the reason is the right one."""

import numpy as np
import pytest

from reptune.prompt2model import filters
from reptune.prompt2model.task import Demonstration, Sample

EIGHT = "the plot is as thin as the soup"  # eight words


def rows(*texts: str, label: str = "bad") -> list[Sample]:
    return [Sample(text, label) for text in texts]


def left(kept: filters.Kept) -> list[str]:
    return [sample.input for sample in kept.samples]


def by_angle(degrees: dict[str, float]):
    """Return an encoder that lays texts on a circle."""

    def embed(texts):
        angles = np.radians([degrees[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    return embed


def test_every_filter_counts_what_it_drops_and_keeps_the_order():
    kept = filters.keep_where(rows("a", "b", "c"), [True, False, True], "why")
    assert (left(kept), kept.dropped, kept.reason) == (["a", "c"], 1, "why")


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I cannot watch films.",
        "I'm sorry, but I can't help with that request.",
        "I cannot assist with writing negative reviews.",
        "I am unable to provide an example.",
        "I apologize, but that is not possible.",
    ],
)
def test_refusals_go(text):
    assert filters.drop_refusals(rows(text)).dropped == 1


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry that I missed it in the cinema.",
        "As an AI thriller, it works.",
        "I cannot help but love it.",
        "The model of an actor.",
    ],
)
def test_sentences_that_only_sound_like_refusals_stay(text):
    assert filters.drop_refusals(rows(text)).dropped == 0


@pytest.mark.parametrize(
    "text",
    [
        "2. A dull film.",
        "- A dull film.",
        "(example: a dull film)",
        "A dull film. Label: negative",
        "Output: negative",
        '{"text": "A dull film."}',
        "See https://example.org for the review.",
        "A film by [Director] about love.",
        "very very very bad film",
        "it is bad and it is bad and it is bad and it is bad",
        'He said "never again.',
        "A dull film <|im_end|>",
    ],
)
def test_debris_of_the_format_goes(text):
    assert filters.drop_debris(rows(text)).dropped == 1


@pytest.mark.parametrize(
    "text",
    [
        "12 Angry Men is a classic.",
        "A fun evening :)",
        'She called it "fine" and left.',
        "The question: why was it made?",
        "It's very, very long.",
    ],
)
def test_ordinary_sentences_are_no_debris(text):
    assert filters.drop_debris(rows(text)).dropped == 0


def test_lengths_count_words_and_letters_of_scripts_without_spaces():
    kept = filters.drop_length(rows("Too short", "Just long enough", "良い映画", "x" * 3000))
    assert left(kept) == ["Just long enough", "良い映画"]


def test_other_scripts_and_languages_go():
    like = ["The plot of the film is thin, and that is a pity."]
    found = rows(
        "This is one of the best films that I saw.",
        "Der Film ist nicht gut und die Musik ist zu laut.",
        "这是一部很好的电影",
        "Great fun!",
        "He praised 黑泽明 and the music of it.",
    )
    assert left(filters.drop_other_scripts(found, like)) == [
        found[0].input, found[3].input, found[4].input,
    ]  # fmt: skip


def test_a_japanese_task_keeps_japanese():
    found = rows("リストを逆順にする", "Reverse the list")
    kept = filters.drop_other_scripts(found, ["辞書のキーを並べ替える", "リストの長さを求める"])
    assert left(kept) == ["リストを逆順にする"]


def test_nothing_to_compare_with_keeps_all():
    assert filters.drop_other_scripts(rows("这是", "Das ist es"), []).dropped == 0


def test_echoes_of_the_instruction_and_of_demonstrations_go():
    instruction = "Decide whether a sentence from a film review is good or bad."
    given = [Demonstration("A film that goes nowhere.", "bad")]
    found = rows(
        "decide whether a sentence from a film  review is good or bad.",
        "Please: Decide whether a sentence from a film review is good or bad.",
        "a film that goes nowhere.",
        "A film that goes nowhere, slowly.",
    )
    assert left(filters.drop_echoes(found, instruction, given)) == [found[3].input]
    assert filters.drop_echoes(found[3:], "", []).dropped == 0


def test_rows_that_name_a_label_go_but_short_names_are_ordinary_words():
    found = rows("The review is very Negative.", "A negatively charged film.", "It is bad.")
    assert left(filters.drop_label_names(found, ["negative", "bad"])) == [
        found[1].input, found[2].input,
    ]  # fmt: skip
    assert filters.drop_label_names(found, ["bad"]).dropped == 0


def test_exact_duplicates_go_but_not_the_same_question_about_another_passage():
    first = Sample("Who won?", "Ann", context="Ann won the race.")
    other = Sample("Who won?", "Bob", context="Bob won the match.")
    again = Sample("who  won?", "Ann", context="Ann won the race.")
    assert filters.drop_duplicates([first, other, again]).samples == [first, other]
    assert filters.drop_duplicates([again], known=[first]).dropped == 1


def test_eight_shared_words_in_a_row_are_a_copy_seven_are_not():
    copy, other = f"Well, {EIGHT} here.", "the plot is as thin as the bread"
    kept = filters.drop_shared_runs(rows(EIGHT, copy, other))
    assert left(kept) == [EIGHT, other]
    assert filters.drop_shared_runs(rows(copy), known=rows(EIGHT)).dropped == 1


def test_what_was_dropped_drops_nothing_else():
    # The second shares eight words with the first, the third only with the second.
    first = "one two three four five six seven eight"
    second = f"{first} nine ten eleven"
    third = "four five six seven eight nine ten eleven"
    assert left(filters.drop_shared_runs(rows(first, second, third))) == [first, third]


def test_similar_texts_go_by_their_cosine_with_a_kept_one():
    embed = by_angle({"a": 0, "b": 20, "c": 40, "d": 90})
    # cos 20° = 0.94: b goes for a; c is 20° from b, which went, and 40° from a, so c stays.
    kept = filters.drop_similar(rows("a", "b", "c", "d"), embed=embed, threshold=0.9)
    assert left(kept) == ["a", "c", "d"]
    assert filters.drop_similar(rows("b"), rows("a"), embed=embed).dropped == 1
    assert filters.drop_similar(rows("b"), rows("a"), embed=embed, threshold=0.95).dropped == 0
    with pytest.raises(ValueError, match="threshold=90"):
        filters.drop_similar(rows("a"), embed=embed, threshold=90)


def test_nothing_near_a_test_text_stays():
    test = [EIGHT, "A fine film"]
    quote, same, near, far = f"{EIGHT} today", "a fine  FILM", "A good movie", "A long speech"
    angles = {EIGHT: 0, "A fine film": 0, quote: 90, same: 90, near: 30, far: 60}
    found = rows(quote, same, near, far)
    kept = filters.drop_leaks(found, test, embed=by_angle(angles), threshold=0.8)
    assert left(kept) == [far]  # cos 30° = 0.87, cos 60° = 0.5
    assert filters.drop_leaks(found, [], embed=None).dropped == 0


def no_encoder(*_):
    raise AssertionError("asked an English encoder about other languages")


def test_without_spaces_a_run_of_letters_is_a_copy(monkeypatch):
    # An English encoder's cosine says nothing here, and no eight words stand in a row.
    monkeypatch.setattr(filters, "embedder", no_encoder)
    test = ["この映画は最初から最後まで退屈で時間の無駄だった。"]
    quote = "友人も、最初から最後まで退屈で時間の無駄だったと言う。"
    other = "最後まで退屈な映画で、時間を無駄にした。"
    kept = filters.drop_leaks(rows(quote, other, test[0]), test)
    assert left(kept) == [other]
    assert kept.reason == "near a test text (no cosine: MiniLM knows English only)"
    assert left(filters.drop_shared_runs(rows(test[0], quote, other))) == [test[0], other]
    similar = filters.drop_similar(rows(test[0], quote))
    assert similar.dropped == 0
    assert similar.reason == "cosine of 0.9 or more (no cosine: MiniLM knows English only)"


def test_an_encoder_that_you_bring_is_asked_about_any_language():
    embed = by_angle({"良い映画": 0, "いい映画": 10, "映画": 90})
    assert left(filters.drop_similar(rows("良い映画", "いい映画"), embed=embed)) == ["良い映画"]
    kept = filters.drop_leaks(rows("いい映画", "映画"), ["良い映画"], embed=embed)
    assert (left(kept), kept.reason) == (["映画"], "near a test text")


@pytest.mark.parametrize(
    ("texts", "english"),
    [
        (["Great fun!", "The plot of the film is thin, and that is a pity."], True),
        (["Der Film ist nicht gut und die Musik ist zu laut."], False),
        (["Фильм скучный."], False),
        (["He praised 黑泽明 and the music of it."], True),
        (["42"], True),
    ],
)
def test_english_is_told_by_letters_and_common_words(texts, english):
    assert filters.is_english(texts) == english
