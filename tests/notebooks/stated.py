"""Figures in prose, and whether a stored output prints them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import NamedTuple

import nbformat

# Not figures: code, addresses, comments, the targets of links, versions, the interval's name.
NO_FIGURES = re.compile(
    r"```.*?```|(?:\{[\w:]+\})?`[^`\n]*`|<!--.*?-->|\]\([^)\n]*\)|https?://\S+|Python \d\.\d+"
    r"|95% (?:bootstrap )?interval",
    re.DOTALL,
)
PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\||[-*] |\d+\. )")  # or of a table's row, or an item
SENTENCE_END = re.compile(r"(?<=[.!?;:|]) ")
DECIMAL = r"[-+]?\d+\.\d+"
SIGNED = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
UNIT = r"%|percent\b|(?:percentage )?points?\b|times\b|个百分点|倍"
# Letters of Latin script only: Chinese leaves no space between a figure and a word.
START, END = r"(?<![A-Za-z0-9_.,^-])", r"(?![A-Za-z0-9_^]|[.,]\d)"
INTERVAL = re.compile(
    rf"(?:{START}(?:({SIGNED}) ?({UNIT})|({DECIMAL})),? )?\[({SIGNED})(?:, | to |–)({SIGNED})\]"
)
# A number with a unit, or a range of which only the end bears it: "2–20%", "3 to 5 points".
WITH_UNIT = re.compile(rf"{START}({SIGNED})(?:(?:–| to | or )({SIGNED}))? ?({UNIT})")
BARE = re.compile(rf"{START}({DECIMAL})( million\b)?{END}")
PRINTED = re.compile(rf"(?<![\w.])({SIGNED})(%?){END}")
NAMES = {"%": "%", "percent": "%", "times": " times", "倍": " times", None: ""}
SHARES = ("%", " points")  # hundred times what is usually printed


class Figure(NamedTuple):
    """What prose states: a number and its unit, an interval, or both one after the other."""

    numbers: tuple[str, ...]  # one number, two ends, or a number and two ends
    unit: str = ""

    def __str__(self) -> str:
        interval = f"[{', '.join(self.numbers[-2:])}]" if len(self.numbers) > 1 else ""
        number = "" if len(self.numbers) == 2 else self.numbers[0] + self.unit
        return f"{number} {interval}".strip()


class Number(NamedTuple):
    """A number in an output, and how many decimals of it are printed."""

    value: float
    decimals: int
    percent: bool = False


def paragraphs(markdown: str) -> list[str]:
    """Return paragraphs, items and rows of tables, each on one line and without code."""
    # A role such as {doc}`…` stays: it says which chapter is meant.
    text = NO_FIGURES.sub(lambda found: found[0] if found[0][0] == "{" else " ", markdown)
    return [" ".join(part.split()) for part in PARAGRAPH_END.split(text)]


def figures(paragraph: str) -> list[Figure]:
    """Find intervals, numbers with a unit, and other decimal numbers.

    Args:
        paragraph: One of ``paragraphs``.

    Returns:
        Each figure as often as it is stated; a range without brackets is its two ends.
    """
    found = []
    for sentence in SENTENCE_END.split(_plain(paragraph)):
        for match in INTERVAL.finditer(sentence):
            found.append(_figure(match.group(1, 3, 4, 5), match[2]))
        rest = _blanked(INTERVAL, sentence)
        for match in WITH_UNIT.finditer(rest):
            found += [_figure([end], match[3]) for end in match.group(1, 2) if end]
        for match in BARE.finditer(_blanked(WITH_UNIT, rest)):
            # "It gains 8.7 points over the one and 12.5 over the other": points, both.
            points = "points" in sentence[: match.start()] and _decimals(match[1]) == 1
            unit = match[2] or (" points" if points else "")
            found.append(Figure((match[1],), unit))
    return found


def numbers(output: str) -> list[Number]:
    """Read the numbers of an output in the order in which they are printed."""
    found = []
    for text, percent in PRINTED.findall(_plain(output)):
        found.append(Number(float(text.replace(",", "")), _decimals(text), bool(percent)))
    return found


def is_printed(figure: Figure, printed: list[Number]) -> bool:
    """Say whether an output holds a figure, at the precision at which it is stated.

    A figure with its interval has to be printed with it: three numbers in a row. Without a sign
    it may be the size of a negative number ("it costs 5.7 points [1.4, 9.9]").
    """
    stated, unit = figure
    if len(stated) == 1:
        size = stated[0][0] not in "+-"
        return any(_equal(stated[0], number, unit, size) for number in printed)
    units = [unit] if unit else ["", " points"]
    opposite = [_negated(text) for text in (*stated[:-2], stated[-1], stated[-2])]
    rows = zip(*(printed[start:] for start in range(len(stated))), strict=False)
    return any(
        all(_equal(text, number, kind) for text, number in zip(texts, row, strict=True))
        for row in rows
        for texts in (stated, opposite)
        for kind in units
    )


def _equal(stated: str, number: Number, unit: str, size: bool = False) -> bool:
    """Compare a stated number with a printed one, at the stated precision."""
    printed, digits = abs(number.value) if size else number.value, number.decimals
    if number.percent and unit not in SHARES:
        return False
    if unit == " million" and number.value >= 1e6:
        printed, digits = printed / 1e6, 6
    if unit in SHARES and not number.percent:
        printed, digits = 100 * printed, digits - 2
        if _decimals(stated) == 0 and size and digits > 0:
            return False  # among shares of three decimals, any whole percentage is found
    near = abs(printed - float(stated)) <= 0.5 * 10 ** -_decimals(stated) + 1e-9
    return near and digits >= _decimals(stated)


def _figure(parts: list[str | None], unit: str | None = None) -> Figure:
    texts = tuple(part.replace(",", "") for part in parts if part)
    return Figure(texts, NAMES.get(unit, " points"))


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _negated(text: str) -> str:
    return f"{-float(text):.{_decimals(text)}f}"


def _blanked(pattern: re.Pattern, text: str) -> str:
    return pattern.sub(lambda match: " " * len(match[0]), text)


def _plain(text: str) -> str:
    """Write minus signs and spaces as ASCII does."""
    return re.sub("[\u00a0\u202f\u2009]", " ", text.replace("\u2212", "-"))


def prose(path: Path) -> str:
    """Return the Markdown of a notebook, or of a page."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def outputs(path: Path) -> str:
    """Return all text that a notebook's stored outputs show, tables too, without markup."""
    texts = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            table = re.sub(r"<style.*?</style>|<[^>]*>", " ", data.get("text/html", ""), flags=re.S)
            texts += [output.get("text", ""), data.get("text/plain", ""), unescape(table)]
    return "\n".join(texts)
