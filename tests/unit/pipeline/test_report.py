"""The report: what it says, and that nothing in the data can break it."""

import copy
import errno
import html
import pathlib
import re
from html.parser import HTMLParser

import pytest

from reptune.pipeline import report
from reptune.pipeline.report import shown, summary_line, write_report

HOSTILE = "<script>alert(1)</script> | `rm` **b** [a](http://b) \n# head \u202egnp.exe\x00"
CARD = {
    "kind": "label",
    "columns": {"text": "body", "label": "team", "text2": None, "several": None},
    "labels": ["billing", "delivery"],
    "data": {"name": "tickets.csv", "sha256": "ab" * 32, "rows": 120, "notes": ["3 rows repeat."]},
    "method": {
        "name": "tfidf", "title": "TF-IDF", "class": "TfidfClassifier", "model": None,
        "settings": {"C": 10.0},
    },
    "splits": {"trained_on": 90, "scored_on": 30, "how": "Every fourth row was held out."},
    "score": {
        "metric": "accuracy", "estimate": 0.9, "low": 0.744, "high": 0.965, "level": 0.95,
        "rows": 30,
    },
    "scores": {"accuracy": 0.9, "macro_f1": 0.88},
    "baseline": {"title": "majority class", "estimate": 0.5},
    "calibration": {"temperature": 1.5, "ece": 0.031, "bins": [[0.6, 0.5, 10], [0.9, 0.95, 20]]},
    "confusion": {"labels": ["billing", "delivery"], "counts": [[13, 2], [1, 14]]},
    "abstention": {
        "cost_wrong": 5, "cost_ask": 1, "threshold": 0.8, "answered": 0.7, "score_answered": 0.98,
    },
    "cost": {
        "fit_seconds": 2.5, "peak_memory_mb": 210.0, "texts_per_second": 3200.0, "device": "CPU",
    },
    "versions": {"python": "3.11.9"},
    "date": "2026-11-29",
}  # fmt: skip
ERRORS = [
    {"text": "sure", "label": "billing", "predicted": "delivery", "probability": 0.97},
    {"text": "unsure", "label": "billing", "predicted": "delivery", "probability": 0.51},
    {"text": "between", "label": "delivery", "predicted": "billing", "probability": 0.8},
]


class Page(HTMLParser):
    """The elements of a page and their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def write(tmp_path):
    def written(card, errors=(), **options):
        write_report(card, errors, tmp_path, **options)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        return (tmp_path / "report.md").read_text(encoding="utf-8"), page

    return written


def changed(**parts):
    return copy.deepcopy(CARD) | parts


@pytest.mark.parametrize(
    "fact",
    ["90.0% on 30 rows.", "from 74.4% to 96.5%", "majority class", "Rows trained on: 90",
     "Every fourth row was held out.", "3 rows repeat.", "3.1 percentage points", "1.50",
     "cost 5 and a question to a person 1", "confidence of 80.0%", "70.0% of the scored rows",
     "2.5 seconds", "210 MB", "3,200 texts per second", "ab" * 32, "2026-11-29", "3.11.9",
     "0.880", "TF-IDF on tickets.csv", "gives a text one of 2 labels"],
)  # fmt: skip
def test_both_reports_state_each_fact(write, fact):
    markdown, page = write(CARD, ERRORS)
    assert fact in markdown
    assert fact in Page(page).text


def test_the_worst_error_comes_first(write):
    for text in write(CARD, ERRORS):
        places = [text.index(f"{word} |" if text[0] == "#" else f">{word}<")
                  for word in ("sure", "between", "unsure")]  # fmt: skip
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.744, 0.965, "the model has learned something"),
     (0.45, 0.65, "do not show that the model does better"),
     (0.2, 0.45, "do not use this model")],
)  # fmt: skip
def test_the_verdict_follows_the_interval(write, low, high, verdict):
    score = CARD["score"] | {"low": low, "high": high}
    for text in write(changed(score=score)):
        assert verdict in text
        assert sum(text.count(other) for other in ("learned something", "not show that", "not use")
                   ) == 1  # fmt: skip


def test_a_missing_baseline_is_said_where_nothing_stands_beside_the_model(write):
    rivals = [{"title": "the teacher", "score": None, "difference": None}]
    for parts, said in (({}, True), ({"rivals": rivals}, False)):
        for text in write(changed(baseline=None, **parts)):
            assert ("No baseline was recorded" in text) is said


def test_what_to_use_stands_before_the_figures(write):
    said = {"verdict": "Use the label names instead.", "scored_on": "mine.csv, your own rows."}
    for text in write(changed(**said)):
        places = [text.index(part) for part in (*said.values(), "Accuracy: ")]
        assert places == sorted(places)


def test_rivals_origins_and_the_held_out_score_stand_in_the_report(write):
    card = changed(
        held_out=CARD["score"] | {"estimate": 0.987, "low": 0.95, "high": 0.99},
        rivals=[
            {"title": "label names", "score": {"estimate": 0.5, "low": 0.4, "high": 0.6},
             "difference": {"estimate": 0.25, "low": 0.1, "high": 0.4}},
            {"title": HOSTILE, "score": None, "difference": None},
        ],
        origins={"rows": {"written by Qwen": 1000}, "yield": [["asked", 1200], ["kept", 1000]],
                 "notes": ["None fits."]},
    )  # fmt: skip
    for text in write(card):
        assert "98.7%" in text and "label names" in text and "not measured" in text
        assert "+25.0%" in text and "written by Qwen" in text and "1,200" in text
        assert "None fits." in text and HOSTILE not in text
    assert not any("Beside other ways" in text for text in write(CARD))


def test_few_scored_rows_are_named_as_a_limit(write):
    assert "30 scored rows hold few of them" in write(CARD)[0]
    score = CARD["score"] | {"rows": 3000}
    assert "scored rows hold few" not in write(changed(score=score))[0]


@pytest.mark.parametrize("part", [part for part in CARD if part != "kind"])
def test_a_part_may_be_none_or_missing(write, part):
    for card in (changed(**{part: None}), {k: v for k, v in CARD.items() if k != part}):
        for text in (*write(card, ERRORS), summary_line(card)):
            assert "None" not in text and "nan" not in text


def test_values_within_a_part_may_be_none(write):
    def hollow(value):
        return dict.fromkeys(value) if isinstance(value, dict) else value

    card = {name: hollow(value) for name, value in CARD.items() if name != "confusion"}
    for text in write(card):
        assert "None" not in text


def test_an_empty_card_says_that_nothing_is_known(write):
    markdown, _ = write({})
    assert "was not scored" in markdown
    assert summary_line({}) == "not scored"


def test_nothing_from_the_data_becomes_markup(write):
    card = changed(
        labels=[HOSTILE, "b"],
        confusion={"labels": [HOSTILE, "b"], "counts": [[1, 2], [3, 4]]},
        data=CARD["data"] | {"name": HOSTILE, "notes": [HOSTILE]},
        columns={"text": HOSTILE},
    )
    errors = [{"text": HOSTILE, "label": HOSTILE, "predicted": HOSTILE, "probability": 0.5}]
    plain_markdown, plain = write(CARD, ERRORS[:1])
    markdown, page = write(card, errors)
    names = [name for name, _ in Page(page).elements]
    assert sorted(set(names)) == sorted({name for name, _ in Page(plain).elements})
    assert "script" not in names and "<script" not in markdown
    assert "<script>alert(1)</script>" in Page(page).text
    assert "\u202e" not in page + markdown and "\0" not in page + markdown
    assert "[a](" not in markdown and "**b**" not in markdown
    heads = [line for line in markdown.splitlines() if line.startswith("#")]
    assert heads[1:] == [line for line in plain_markdown.splitlines() if line.startswith("#")][1:]
    for line in markdown.splitlines():
        if "alert" in line and line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5)


def test_the_page_loads_nothing(write):
    _, page = write(CARD, ERRORS)
    elements = Page(page).elements
    assert not {"script", "link", "img", "iframe"} & {name for name, _ in elements}
    for _, attributes in elements:
        assert not {"src", "href", "srcset"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-", "")


def test_a_long_text_is_cut_and_says_so(write):
    errors = [ERRORS[0] | {"text": "word " * 10_000}]
    markdown, page = write(CARD, errors)
    assert "(49,600 more characters)" in markdown and len(markdown) < 10_000
    assert "(49,600 more characters)" in page and len(page) < 20_000


def test_right_to_left_writing_is_kept_apart():
    assert shown("שלום") == "\u2068שלום\u2069"
    assert shown("plain") == "plain"
    assert shown(["a", "b"]) == "a | b" and shown([]) == "(none)"
    assert shown("\ud800") == "\ufffd"


def test_few_labels_have_a_heat_map_and_many_a_table_of_pairs(write):
    few, page = write(CARD)
    assert "| billing | 13 | 2 |" in few
    shade = dict(next(a for n, a in Page(page).elements if "--s" in a.get("style", "")))
    assert shade["style"] == "--s:0.87"  # 13 of 15
    labels = [f"label {number}" for number in range(30)]
    counts = [[5 * (row == column) for column in range(30)] for row in range(30)]
    counts[3][7], counts[8][2] = 4, 2
    many, page = write(changed(labels=labels, confusion={"labels": labels, "counts": counts}))
    assert "| label 3 | label 7 | 4 | 44% |\n| label 8 | label 2 | 2 | 29% |" in many
    assert "--s" not in page.partition("</style>")[2]


def test_tags_explain_none(write):
    confusion = {"labels": ["PER", "none"], "counts": [[8, 2], [1, 0]]}
    score = CARD["score"] | {"metric": "entity_f1"}
    markdown, _ = write(changed(kind="tags", confusion=confusion, labels=["PER"], score=score))
    assert "those that it missed" in markdown
    assert "Entity F1: 0.900 on 30 rows." in markdown
    assert "| PER | 10 | 80% | 89% |" in markdown


def test_a_point_for_each_bin_lies_where_it_should(write):
    _, page = write(CARD)
    dots = [a for name, a in Page(page).elements if name == "circle"]
    assert [(dot["cx"], dot["cy"]) for dot in dots] == [("232.0", "164.0"), ("322.0", "29.0")]
    assert float(dots[0]["r"]) < float(dots[1]["r"])


def test_a_title_of_ones_own(write):
    markdown, page = write(CARD, title="My <model>")
    assert markdown.startswith("# My &lt;model&gt;\n")
    assert f"<h1>{html.escape('My <model>')}</h1>" in page


def test_a_full_disk_leaves_the_old_report(write, tmp_path, monkeypatch):
    markdown, _ = write(CARD)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(OSError, match=r"report\.md could not be written .* free some space"):
        write_report(changed(date="2030-01-01"), [], tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == markdown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]


def test_the_summary_names_score_interval_rows_and_baseline():
    assert summary_line(CARD) == "accuracy 90.0% [74.4%, 96.5%] on 30 rows; majority class 50.0%"
    assert report.MOST_LABELS == 20
