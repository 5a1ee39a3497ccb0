"""Paragraphs, lists, tables and a diagram as Markdown, and as an HTML page in one file.

All that is passed is text: it is escaped here, once.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table; `shades` holds a number from 0 to 1 for each cell but those of the first column.

    >>> Table(["Label", "Rows"], [["billing", "12"]]).shades is None
    True
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class Figure:
    """A drawing for the page, whose numbers a table repeats.

    >>> Figure("<svg></svg>", "Nothing.", Table(["x", "y"], [["1", "2"]])).caption
    'Nothing.'
    """

    svg: str
    caption: str
    table: Table


Block = str | list[str] | Table | Figure  # a paragraph, a list of points, …
Section = tuple[str, list[Block]]


# --- Markdown ------------------------------------------------------------------------------------


def as_markdown_page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """Return sections as Markdown, under a title and one line that sums them up."""
    lines = [f"# {as_markdown(title)}", "", f"**{as_markdown(summary)}**", ""]
    for heading, blocks in sections:
        lines += [f"## {heading}", ""]
        for block in blocks:
            lines += [*_markdown_block(block), ""]
    return "\n".join(lines)


def _markdown_block(block: Block) -> Iterator[str]:
    if isinstance(block, str):
        yield as_markdown(block)
    elif isinstance(block, list):
        yield from (f"- {as_markdown(point)}" for point in block)
    elif isinstance(block, Figure):
        yield from _markdown_block(block.table)
    else:
        yield _markdown_row(block.header)
        yield _markdown_row(["---"] + ["---:" if _numeric(block, i) else "---"
                                       for i in range(1, len(block.header))], raw=True)  # fmt: skip
        yield from map(_markdown_row, block.rows)


def _markdown_row(cells: Sequence[str], raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(as_markdown, cells))} |"


_MARKS = re.compile(r"([\\`*_|~$]|\[(?!\d)|(?<=\])\()")
_LEADING = re.compile(r"^(?=[-+=#])|(?<=^\d)(?=[.)]( |$))|(?<=^\d\d)(?=[.)]( |$))")


def as_markdown(text: str) -> str:
    """Return a text on one line that Markdown shows as it is: no mark-up, no HTML, no cell."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A dash or a number with a point at the beginning would start a list.
    return _LEADING.sub(r"\\", _MARKS.sub(r"\\\1", line))


def _numeric(table: Table, column: int) -> bool:
    return bool(table.rows) and all(
        re.fullmatch(r"[-\d.,%]*|never given", row[column]) for row in table.rows
    )


# --- HTML ----------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--box:#f6f8fa;
--main:#0072b2;--heat:0,114,178}
@media(prefers-color-scheme:dark){:root{--page:#14171c;--ink:#e6e9ed;--soft:#a3acb8;--line:#3a424d;
--box:#1d2229;--main:#56b4e9}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:52rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:.5rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
p,li{overflow-wrap:anywhere;max-width:44rem}
.summary{background:var(--box);border-left:4px solid var(--main);padding:.75rem 1rem;
font-size:1.1rem;font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.9rem;line-height:1.4}
th,td{border:1px solid var(--line);padding:.35rem .6rem;text-align:left;vertical-align:top}
thead th{background:var(--box)}
td,tbody th{white-space:pre-wrap;overflow-wrap:break-word;min-width:3.2rem;font-weight:400}
tbody th{min-width:7rem;max-width:32rem;overflow-wrap:anywhere}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.heat .n{text-align:center;min-width:2rem;padding:.35rem .3rem}
.errors tbody td{min-width:6.5rem}
.heat td{background:rgba(var(--heat),var(--s))}
.heat .hi{color:#fff}
figure{margin:1rem 0}
figcaption{color:var(--soft);font-size:.9rem;max-width:44rem}
svg{display:block;width:100%;max-width:26rem;height:auto}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.grid{stroke:var(--line)}.ideal{stroke:var(--soft);stroke-dasharray:5 4}
.dot{fill:var(--main);stroke:var(--page)}.path{stroke:var(--main);fill:none;stroke-width:1.5}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft);font-size:.9rem}
@media(max-width:36rem){body{font-size:.95rem}h1{font-size:1.35rem}
.errors,.errors tbody,.errors tr,.errors th,.errors td{display:block;max-width:none;width:100%}
.errors thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
.errors tr{border:1px solid var(--line);margin:0 0 .75rem;padding:.4rem .6rem}
.errors th,.errors td{border:0;padding:.15rem 0;text-align:left}
.errors td::before{content:attr(data-head) ": ";color:var(--soft)}}
@media print{.scroll{overflow:visible}}
"""


def as_page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """Return the same as an HTML page that loads nothing and runs no script."""
    parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="summary">{html.escape(summary)}</p>']
    for heading, blocks in sections:
        parts.append(f"<section><h2>{html.escape(heading)}</h2>")
        parts += [_html_block(block) for block in blocks]
        parts.append("</section>")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{chr(10).join(parts)}</main></body></html>\n"
    )


def _html_block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{html.escape(block)}</p>"
    if isinstance(block, list):
        return f"<ul>{''.join(f'<li>{html.escape(point)}</li>' for point in block)}</ul>"
    if isinstance(block, Figure):
        return (
            f"<figure>{block.svg}<figcaption>{html.escape(block.caption)}</figcaption></figure>"
            f"<details><summary>The same in numbers</summary>{_html_table(block.table)}</details>"
        )
    return _html_table(block)


def _html_table(table: Table) -> str:
    numeric = [index > 0 and _numeric(table, index) for index, _ in enumerate(table.header)]
    classes = ['class="n"' if each else "" for each in numeric]
    head = "".join(
        f'<th scope="col" {kind}>{html.escape(name)}</th>'
        for name, kind in zip(table.header, classes, strict=True)
    )
    body = []
    for number, row in enumerate(table.rows):
        cells = [f'<th scope="row">{html.escape(row[0])}</th>']
        for index in range(1, len(row)):
            style = _shade(table.shades[number][index - 1]) if table.shades else classes[index]
            name = html.escape(table.header[index])
            cells.append(f'<td {style} data-head="{name}">{html.escape(row[index])}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    kind = "heat" if table.shades else "errors" if table.header[0] == "Text" else "plain"
    label = html.escape(f"Table: {', '.join(table.header[:4])}")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _shade(share: float) -> str:
    """Return how dark a cell is; dark ones get white letters, so that all can be read."""
    return f'class="n{" hi" if share > 0.85 else ""}" style="--s:{share:.2f}"'


_SIDE, _LEFT, _TOP = 300, 52, 14  # of the diagram's square, in pixels


def reliability_diagram(bins: Sequence[Sequence[float]]) -> str:
    """Draw the share of right answers over the mean confidence of each bin."""

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + _SIDE * x, _TOP + _SIDE * (1 - y)

    lines, (left, bottom), (right, top) = [], at(0, 0), at(1, 1)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(tick, tick)
        lines.append(f'<path class="grid" d="M{left} {y}H{right}M{x} {top}V{bottom}"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:.0%}</text>')
        lines.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:.0%}</text>')
    lines.append(f'<path class="ideal" d="M{left} {bottom}L{right} {top}"/>')
    dots = [at(confidence, accuracy) for confidence, accuracy, _ in bins]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
    lines.append(f'<path class="path" d="M{path}"/>')
    most = max(count for *_, count in bins)
    for (x, y), (*_, count) in zip(dots, bins, strict=True):
        radius = 3 + 7 * math.sqrt(count / most)
        end = x > right - 40
        beside, below = x - radius - 4 if end else x + radius + 4, min(y + radius + 10, bottom - 5)
        place = f'x="{beside:.1f}" y="{below:.1f}"'
        anchor = "end" if end else "start"
        lines.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
        lines.append(f'<text {place} text-anchor="{anchor}">{int(count):,}</text>')
    middle = _TOP + _SIDE / 2
    lines.append(f'<text x="{_LEFT + _SIDE / 2}" y="352" text-anchor="middle">Confidence</text>')
    lines.append(
        f'<text transform="translate(12 {middle})rotate(-90)" text-anchor="middle">'
        "Share right</text>"
    )
    return (
        '<svg viewBox="0 0 372 360" role="img" aria-label="Share of right predictions over '
        f'confidence; the table below holds the numbers.">{"".join(lines)}</svg>'
    )
