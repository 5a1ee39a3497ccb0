import numpy as np
import pytest

from reptune import data

LONG = "one two three four five six seven eight nine ten eleven twelve"


def test_a_domain_corpus_holds_each_text_once_and_none_that_is_held_out():
    texts = [
        "A fine film.<br /><br />Watch it &amp; weep.",
        " ",
        "a  fine film. watch it & WEEP.",  # the first one, once it is clean
        "Held out.",
        f"Somebody wrote: {LONG}, and more besides.",  # quotes a held-out text
        LONG.replace("twelve", "thirteen"),  # nearly one
        "one two three four five six seven eight and then something else altogether, at length",
        "3 < 4 and 5 > 4",  # no markup
    ]
    kept, counts = data.domain_corpus(iter(texts), held_out=["held  OUT.", LONG])
    assert kept == ["A fine film. Watch it & weep.", texts[6], texts[7]]
    assert counts == {"read": 8, "empty": 1, "repeated": 1, "held out": 3}


def test_a_domain_corpus_without_held_out_texts():
    assert data.domain_corpus(["a", "b", "A"])[0] == ["a", "b"]
    with pytest.raises(ValueError, match=r"texts\[1\] is None"):
        data.domain_corpus(["a", None])


@pytest.mark.parametrize("held_out", ["Held out.", {"text": "a"}, 3, None, [None], b"a"])
def test_held_out_texts_are_a_list_of_texts(held_out):
    # One string would be taken letter by letter, and nothing held out.
    with pytest.raises(ValueError, match="held_out"):
        data.domain_corpus(["a text", "Held out."], held_out)


def test_held_out_texts_may_be_any_iterable_also_none_at_all():
    for empty in ([], (), iter([]), np.array([], dtype=object)):
        assert data.domain_corpus(["a text"], empty)[0] == ["a text"]
    assert data.domain_corpus(["a text", "Held out."], iter(["held out."]))[0] == ["a text"]


@pytest.mark.parametrize("text", [None, 3, b"<br>", ["<br>"]])
def test_markup_is_removed_from_strings(text):
    with pytest.raises(ValueError, match="pass one string"):
        data.clean_markup(text)
