"""Outputs in dark mode, on a page made of the theme's style sheets and the book's own."""

from pathlib import Path

import pydata_sphinx_theme
import sphinx_book_theme

SHEETS = [
    *sorted(Path(pydata_sphinx_theme.__file__).parent.glob("theme/*/static/styles/*.css")),
    *sorted(Path(sphinx_book_theme.__file__).parent.glob("theme/*/static/styles/*.css")),
    Path(__file__).resolve().parents[2] / "book" / "_static" / "reptune.css",
]
TABLE = "<table{}><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
PLAIN, STYLED = TABLE.format(' class="dataframe"'), TABLE.format(' id="T_1"')
ENTITY = '<div><mark style="background:#9ecae1;color:#111">Ada</mark> wrote</div>'

# Of the outputs, in order: what lies behind them, and the color of their letters.
COLORS = """() => [...document.querySelectorAll(".text_html")].map((output) => {
  const style = getComputedStyle(output);
  return [style.backgroundColor, style.color];
})"""


def page(tmp_path: Path) -> Path:
    links = "".join(f'<link rel="stylesheet" href="{sheet.as_uri()}">' for sheet in SHEETS)
    outputs = "".join(
        f'<div class="cell"><div class="cell_output"><div class="output text_html">{html}</div>'
        "</div></div>"
        for html in (PLAIN, STYLED, ENTITY)
    )
    path = tmp_path / "page.html"
    path.write_text(
        f'<!doctype html><html data-theme="dark"><head><meta charset="utf-8">{links}</head><body>'
        f'<div class="bd-content"><article class="bd-article">{outputs}</article></div></body>',
        encoding="utf-8",
    )
    return path


def test_styled_tables_and_entities_have_the_ground_of_the_page(browser, tmp_path: Path) -> None:
    assert len(SHEETS) > 2
    tab = browser.new_page()
    tab.goto(page(tmp_path).as_uri())
    plain, styled, entity = tab.evaluate(COLORS)
    tab.close()
    assert plain[0] == styled[0] == entity[0] == "rgba(0, 0, 0, 0)"
    assert plain[1] == styled[1] == entity[1] != "rgb(0, 0, 0)"
