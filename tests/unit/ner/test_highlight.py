import json
from types import SimpleNamespace

import numpy as np
import pytest

from reptune.ner import Entity
from reptune.ner.highlight import displacy_document, highlight
from reptune.tags import Span

TEXT = "Ada & Co <b> met Bo."
ADA = SimpleNamespace(type="ORG", start=0, end=8)
BO = SimpleNamespace(type="PER", start=17, end=19)


def test_a_terminal_shows_brackets():
    assert str(highlight(TEXT, [BO, ADA])) == "[Ada & Co ORG] <b> met [Bo PER]."
    assert repr(highlight(TEXT, [])) == TEXT


def test_a_notebook_shows_marks_and_no_markup_of_the_text():
    page = highlight(TEXT, [ADA, BO])._repr_html_()
    assert page.count("<mark") == 2 and "ORG" in page and "PER" in page
    assert "Ada &amp; Co" in page and "&lt;b&gt;" in page and "<b>" not in page


def test_types_have_colors_of_their_own_on_dark_letters():
    page = highlight(TEXT, [ADA, BO])._repr_html_()
    grounds = [part[:7] for part in page.split("background:")[1:]]
    assert len(set(grounds)) == 2 and page.count("color:#111") == 2


@pytest.mark.parametrize("start, end", [(5, 9), (18, 30), (3, 3)])
def test_entities_of_another_text_are_refused(start, end):
    with pytest.raises(ValueError, match="overlaps another entity or lies outside"):
        highlight(TEXT, [ADA, SimpleNamespace(type="PER", start=start, end=end)])


def test_displacy_gets_what_its_manual_mode_takes():
    document = displacy_document(TEXT, [BO, ADA])
    assert document["text"] == TEXT
    assert document["ents"][0] == {"start": 0, "end": 8, "label": "ORG"}
    assert TEXT[document["ents"][1]["start"] : document["ents"][1]["end"]] == "Bo"


@pytest.mark.parametrize(
    ("text", "entities", "message"),
    [
        (None, [], "text is None, a NoneType; pass one string"),
        ([TEXT], [], "pass one string"),
        (b"Ada", [], "pass one string"),
        (TEXT, None, "entities is None"),
        (TEXT, {ADA.type: ADA}, "entities is a dict"),
        (TEXT, [("PER", 0, 3)], "whole numbers"),
        (TEXT, [{"type": "PER", "start": 0, "end": 3}], "whole numbers"),
        (TEXT, [SimpleNamespace(type="PER", start="0", end=3)], "whole numbers"),
        (TEXT, [SimpleNamespace(type="PER", start=0.0, end=3)], "whole numbers"),
        (TEXT, [SimpleNamespace(type=None, start=0, end=3)], "pass a type"),
        # Places among words would be drawn as if they were places among characters.
        (TEXT, [Span("PER", 0, 3)], "counts words, and here characters count"),
        (TEXT, [Entity("Bo", "PER", 0, 2, 0.9)], "is not in the text there, 'Ad' is"),
    ],
)
def test_what_cannot_be_highlighted(text, entities, message):
    with pytest.raises(ValueError, match=message):
        highlight(text, entities)
    with pytest.raises(ValueError, match=message):
        displacy_document(text, entities)


def test_numpys_whole_numbers_become_plain_ones():
    found = SimpleNamespace(type="ORG", start=np.int64(0), end=np.int64(8))
    assert json.dumps(displacy_document(TEXT, [found]))
    assert str(highlight(TEXT, [Entity("Ada", "PER", 0, 3, 0.9)])).startswith("[Ada PER] & Co")
