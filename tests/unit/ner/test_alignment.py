import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reptune.ner import alignment
from reptune.ner.alignment import align, windows
from tests import tiny
from tests.tiny import WORDS
from tests.unit.ner.examples import ACCENT, any_sentence, quick


@quick
@given(st.lists(any_sentence, min_size=1, max_size=3))
def test_aligned_tokens_are_the_tokenizers_own(tokenizer, tokens):
    found = align(tokenizer, tokens)
    assert [len(words) for words in found] == [len(words) for words in tokens]
    for words, ids in zip(tokens, found, strict=True):
        expected = tokenizer(words, is_split_into_words=True)["input_ids"][1:-1]
        assert [token for word in ids for token in word] == expected
        for word, own in zip(words, ids, strict=True):
            assert own == tokenizer([word], is_split_into_words=True)["input_ids"][1:-1]


def test_words_that_the_tokenizer_drops_have_no_tokens(tokenizer):
    found = align(tokenizer, [["the", ACCENT, "", "film"], ["\x00"]])
    ids = {word: [len(tiny.SPECIAL) + index] for index, word in enumerate(WORDS)}
    assert found == [[ids["the"], [], [], ids["film"]], [[]]]
    assert align(tokenizer, []) == []


@st.composite
def sizes_and_room(draw):
    room = draw(st.integers(1, 30))
    largest = draw(st.sampled_from([1, max(1, room // 4), room]))
    return draw(st.lists(st.integers(0, largest), min_size=1, max_size=60)), room


@settings(quick, max_examples=400)
@given(sizes_and_room())
@example(([0], 1))
@example(([0, 0, 3, 0, 0], 3))
@example(([3, 1, 4], 4))
@example(([1] * 7, 6))
def test_windows_fit_overlap_and_share_the_words_out(drawn):
    sizes, room = drawn
    found = windows(sizes, room)
    owned = [word for window in found for word in range(window.own_start, window.own_end)]
    assert owned == list(range(len(sizes)))
    assert found[0].start == 0 and found[-1].end == len(sizes)
    for window in found:
        assert window.start <= window.own_start <= window.own_end <= window.end
        assert window.start < window.end and sum(sizes[window.start : window.end]) <= room
    if sum(sizes) <= room:
        assert found == [(0, len(sizes), 0, len(sizes))]
    for window, after in itertools.pairwise(found):
        assert window.start < after.start <= window.end <= after.end
        shared = sum(sizes[after.start : window.end])
        assert shared <= alignment.OVERLAP * room
        # Nothing more could be shared: the next word to the left is too large, or opens the window.
        one_more = shared + sizes[after.start - 1]
        assert one_more > alignment.OVERLAP * room or after.start - 1 == window.start
    if max(sizes) <= room // 4:  # what EntityTagger sees to
        ends = [window.end for window in found]
        assert ends == sorted(set(ends)), "a window lies within another"
        assert all(window.own_start < window.own_end for window in found)


@pytest.mark.parametrize("room", [6, 8, 13, 30])
def test_a_word_is_decided_where_most_stands_around_it(room):
    count = 5 * room + 3
    found = windows([1] * count, room)

    def margin(window, word):
        left = word - window.start if window.start > 0 else count
        return min(left, window.end - 1 - word if window.end < count else count)

    for word in range(count):
        seen = [window for window in found if window.start <= word < window.end]
        (own,) = [window for window in found if window.own_start <= word < window.own_end]
        assert margin(own, word) == max(margin(window, word) for window in seen)


def test_a_word_too_large_for_a_window_is_named():
    assert windows([4], 4) == [(0, 1, 0, 1)]
    with pytest.raises(ValueError, match="a word has 5 tokens, but only 4 fit"):
        windows([1, 5, 1], 4)
