from types import SimpleNamespace

import pytest

from reptune.highlight import displacy_document, highlight

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
