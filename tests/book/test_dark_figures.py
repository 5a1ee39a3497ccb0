"""Figures in dark mode, on a page made of the theme's style sheets and the book's own."""

from pathlib import Path

from test_dark_outputs import SHEETS

FIGURE = (
    '<div class="cell"><div class="cell_output"><figure><img alt="{}" src=""></figure></div></div>'
)
FILTERS = """() => [...document.querySelectorAll("img")].map((image) =>
  getComputedStyle(image).filter)"""


def page(tmp_path: Path, theme: str) -> Path:
    links = "".join(f'<link rel="stylesheet" href="{sheet.as_uri()}">' for sheet in SHEETS)
    figures = "".join(
        FIGURE.format(words)
        for words in ("Two lines that cross", "A bright square on a dark ground")
    )
    path = tmp_path / "page.html"
    path.write_text(
        f'<!doctype html><html data-theme="{theme}"><head>{links}</head><body>'
        f'<div class="bd-content"><article class="bd-article">{figures}</article></div></body>',
        encoding="utf-8",
    )
    return path


def test_figures_are_turned_over_unless_their_words_would_then_be_wrong(browser, tmp_path: Path):
    tab = browser.new_page()
    tab.goto(page(tmp_path, "dark").as_uri())
    lines, shades = tab.evaluate(FILTERS)
    assert lines.startswith("invert(0.93) hue-rotate(180deg)") and shades == "none"
    tab.goto(page(tmp_path, "light").as_uri())
    assert tab.evaluate(FILTERS) == ["none", "none"]
    tab.close()
