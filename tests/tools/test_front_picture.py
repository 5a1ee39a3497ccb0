"""The first page's picture: it is current, small and readable, and its parts are right."""

import re
from xml.etree import ElementTree

import front_picture
import pytest
from front_picture import FILES, FOLDER, PHONE, WIDE, Row, cost, described, duration, picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", FILES)
def test_pictures_are_those_of_the_records(name):
    assert (FOLDER / name).read_text("utf-8") == picture(FILES[name]), "run `make tables`"


@pytest.mark.parametrize("name", FILES)
def test_pictures_are_small_and_their_text_is_not(name):
    path = FOLDER / name
    assert path.stat().st_size < 200_000
    root = ElementTree.fromstring(path.read_text("utf-8"))
    assert root.get("role") == "img" and len(root.get("aria-label")) > 100
    width = float(root.get("viewBox").split()[2])
    # A phone of 390 pixels leaves 350 for it, the book's column about 700.
    shown = min(1.0, (350 if FILES[name] else 700) / width)
    assert float(root.get("font-size")) * shown >= 12


@pytest.mark.parametrize("name", FILES)
def test_everything_lies_within_the_picture(name):
    root = ElementTree.fromstring((FOLDER / name).read_text("utf-8"))
    _, _, width, height = map(float, root.get("viewBox").split())
    for circle in root.iter(f"{SVG}circle"):
        x, y, r = (float(circle.get(key)) for key in ("cx", "cy", "r"))
        assert r <= x <= width - r and y - r >= 0 and y + r <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= width and 0 < float(text.get("y")) < height


def test_there_is_a_dot_for_each_arm_and_three_in_the_legend():
    arms = [arm for _, rows in front_picture.GROUPS for row in rows for arm in row.arms]
    root = ElementTree.fromstring(picture())
    dots = [one for one in root.iter(f"{SVG}circle") if "m-dot" in one.get("class")]
    assert len(dots) == len(arms) + 3


def test_an_accuracy_stands_in_proportion():
    assert [WIDE.x(value) for value in (0.5, 0.7, 0.9)] == [230, 395, 560]
    assert PHONE.x(0.6) == pytest.approx(8 + 334 / 4, abs=0.1)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "< 1 s"), (1.2, "1 s"), (27.7, "28 s"), (89, "89 s"), (386, "6 min")],
)
def test_durations_as_a_reader_wants_them(seconds, shown):
    assert duration(seconds) == shown


def test_cost_is_a_mean_over_runs_or_a_dash(monkeypatch):
    table = (
        front_picture.results.read("ch02_final")
        .head(2)
        .assign(**{"split": "test", "method": "A", "model": ["x", "x"], "seconds.fit": [2.0, 4.0]})
    )
    monkeypatch.setattr(front_picture.results, "read", lambda study: table)
    timed = front_picture.Arm("small", "s", {"method": "A", "model": "x"})
    assert cost(Row("A", 1, (timed, timed._replace(timed=False)))) == "3 s · –"
    assert cost(Row("A", 1, (timed,), "nothing to train")) == "nothing to train"


def test_the_picture_in_words_names_every_group():
    words = described()
    assert [heading for heading, _ in front_picture.GROUPS if heading not in words] == []
    assert re.search(r"Fine-tuning 0\.838 \(MiniLM, 23 million weights\) and 0\.884", words)
