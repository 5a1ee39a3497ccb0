"""Compare the stored outputs of two runs of the chapters, cell by cell, apart from times.

    python tools/compare_runs.py OLD_DIR NEW_DIR
    python tools/compare_runs.py OLD_DIR NEW_DIR --chapter 01 --sources

Rearranged code has to print the same numbers and to draw the same pictures. What may differ is
how long it took: times, speeds, ratios of times, memory, what a run costs, dates and the stamp.
Everything else counts as a difference, and then the exit status is 1. Code cells are matched by
their order and numbered from 0; where their sources differ in more than imports, that is noted,
or with `--sources` counted.

Times are recognized by their unit ("106.5 s, peak memory 1,993 MB") or by the heading of their
column or row. What these rules cannot tell stands in `SPECIAL`.
"""

from __future__ import annotations

import argparse
import ast
import base64
import difflib
import io
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import chapters
import nbformat
import numpy as np
from PIL import Image

NUMBER = r"\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?"
UNIT = (
    r"(?:s|secs?|seconds?|ms|milliseconds?|minutes?|hours?|[kKMG]i?B"
    # "min" is also the name of a column beside "max".
    r"|min(?! +(?:max|-?\d))"
    r"|\w+/s|(?:\w+ )?(?:a|per) second|(?:times|x) as fast|times faster)(?![\w/])"
)
# Each has a group; the numbers in it are times.
TIMES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\w.,])({NUMBER}) ?{UNIT}",
        r"times as fast[^\[\n]*(\[[^\]\n]*\])",
        r"\b(?:a|per) second: (\{.*\})",
        rf"\b(?:seconds|minutes|hours): ({NUMBER})",
        r"\[\d+/\d+ (\d+:\d\d(?::\d\d)?)[,\]]",  # the Trainer's progress: [800/800 03:00, …]
        r"\b(\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?)",
    )
)
TIME_HEADING = re.compile(
    r"^(?:\w+ )?time$|(?<![A-Za-z])(?:seconds|secs|minutes|hours|milliseconds|ms|[KMG]i?B|mb|memory"
    r"|times[ _]as[ _]fast|(?:a|per)[ _]second|speed-?up)(?![A-Za-z])|/s$"
)
HEADING_WORDS = 6  # a longer heading is a sentence that was scored
TIME_VALUE = re.compile(rf"\$?-?{NUMBER}(?: (?:to|±) {NUMBER})?(?: ?{UNIT})?")
# What pandas, Python and the kernel invent anew in each run; a warning names the cell's line too.
INVENTED = re.compile(
    r"(?<=\bT_)[0-9a-f]{5}(?![0-9a-f])|(?<= at 0x)[0-9a-f]+|(?<=ipykernel_)\d+/\d+\.py:\d+"
)
IMPORT = re.compile(r"\s*(?:from\s+[\w.]+\s+import\b|import\s+\w)")
SHOWN_LINES = 12


@dataclass(frozen=True)
class Special:
    """What in the output of one cell is a time though no rule sees it, or no time though one does.

    Attributes:
        chapter: Its number, such as "01".
        source: What stands in the source of this cell, and of no other in the chapter.
        times: A pattern with a group; the numbers in it are times.
        heading: A pattern of headings of columns and rows that hold times.
        exact: No number of this cell is a time.
        image: Its picture shows times. It is left out only where a time that the same cell prints
            differs too.
    """

    chapter: str
    source: str
    times: str = ""
    heading: str = ""
    exact: bool = False
    image: bool = False


SPECIAL = (
    # The fastest run's seconds stand below the accuracies; the cell also prints them.
    Special("01", "plots.freezing_sweep(", image=True),
    # Lowest and highest ratio of times, "1.6 to 1.9".
    Special("02", 'table["in the rounds"]', heading=r"^in the rounds$"),
    Special("06", 'table["in the rounds"]', heading=r"^in the rounds$"),
    # The price of the seconds: "11 s  $0.00032".
    Special("02", "cost.dollars(PRICE_PER_HOUR)", times=r"\$(\d\.\d+)"),
)


class Message(NamedTuple):
    """What was found, and where."""

    text: str
    where: str = ""


@dataclass
class Found:
    """What differs between two outputs, or between two chapters.

    Attributes:
        problems: What should be equal and is not.
        times: What may differ and does: "106.5 → 98.1".
        notes: What the caller has to judge.
        images_left_out: Pictures that show times and differ.
        cells, outputs, same, timed, images: How many there are: code cells, outputs, outputs that
            are identical, outputs that differ in times only, and identical pictures.
    """

    problems: list[Message] = field(default_factory=list)
    times: list[Message] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)
    images_left_out: list[Message] = field(default_factory=list)
    cells: int = 0
    outputs: int = 0
    same: int = 0
    timed: int = 0
    images: int = 0

    def add(self, other: Found, where: str = "") -> None:
        """Add what was found elsewhere, and say where that was."""
        for name, value in vars(other).items():
            if isinstance(value, list):
                value = [Message(text, f"{where}{inner}") for text, inner in value]
            setattr(self, name, getattr(self, name) + value)


# ------------------------------------------------------------------------------- text


def _columns_of_times(lines: Sequence[str]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield line and span of each number under a time's heading in a table set in plain text.

    In pandas' tables a heading ends where the numbers under it end.
    """
    for at, line in enumerate(lines):
        for heading in re.finditer(r"\S+(?: \S+)*", line):
            if not _is_time_heading(heading[0]) or re.search(r"\d", heading[0]):
                continue
            begun = False
            for row in range(at + 1, len(lines)):
                numbers = [*re.finditer(rf"(?<!\S)-?{NUMBER}(?!\S)", lines[row])]
                under = [
                    n for n in numbers if n.end() > heading.start() and n.start() < heading.end()
                ]
                # Two numbers: these are two headings with one blank between them.
                if len(under) == 1 and under[0].end() == heading.end():
                    begun = True
                    yield row, under[0].span()
                elif begun or row > at + 1:
                    break


def _masked(text: str, patterns: Iterable[re.Pattern[str]]) -> tuple[list[str], list[str]]:
    """Return a text's lines with # for each number that is a time, and the times."""
    lines, times = INVENTED.sub("", text).split("\n"), []
    columns = list(_columns_of_times(lines))
    masked = []
    for row, line in enumerate(lines):
        spans = {match.span(1) for pattern in patterns for match in pattern.finditer(line)}
        spans |= {span for at, span in columns if at == row}
        last = 0
        parts = []
        for start, end in sorted(spans):
            if start < last:
                continue
            parts += [line[last:start], re.sub(rf"{NUMBER}(?::\d\d)*", "#", line[start:end])]
            times.append(line[start:end])
            last = end
        masked.append("".join([*parts, line[last:]]))
    return masked, times


def compare_text(old: str, new: str, patterns: Iterable[re.Pattern[str]] = TIMES) -> Found:
    """Compare two texts, in which the numbers that match the patterns may differ."""
    found = Found()
    if INVENTED.sub("", old) == INVENTED.sub("", new):
        return found
    (old_lines, old_times), (new_lines, new_times) = (
        _masked(text, patterns) for text in (old, new)
    )
    # A time of more digits moves what stands beside it.
    squeezed = [[" ".join(line.split()) for line in lines] for lines in (old_lines, new_lines)]
    if squeezed[0] == squeezed[1] and len(old_times) == len(new_times):
        pairs = zip(old_times, new_times, strict=True)
        found.times = [Message(f"{a} → {b}") for a, b in pairs if a != b]
        if found.times:
            return found
    found.problems.append(_difference(old_lines, new_lines))
    return found


def _difference(old: Sequence[str], new: Sequence[str], what: str = "text") -> Message:
    """Return the lines that differ."""
    lines = [*difflib.unified_diff(old, new, n=0, lineterm="")][2:]
    lines = [line for line in lines if not line.startswith("@@")]
    if len(lines) > SHOWN_LINES:
        lines = [*lines[:SHOWN_LINES], f"… and {len(lines) - SHOWN_LINES} lines more"]
    return Message("\n      ".join([f"the {what} differs", *lines]))


# ------------------------------------------------------------------------------- HTML


@dataclass
class Part:
    """A tag, or a text with the headings of its cell where it stands in a table."""

    text: str
    is_tag: bool = False
    headings: list[str] = field(default_factory=list)


class _Parts(HTMLParser):
    """Splits HTML into its parts, and finds the headings of each cell of its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Part] = []
        self.cell = ""  # "th" or "td"
        self.in_head = False
        self._start_table()

    def _start_table(self) -> None:
        self.row, self.columns = -1, range(0)
        self.rows = range(0)
        self.taken: set[tuple[int, int]] = set()
        self.of_column: dict[int, list[str]] = {}
        self.of_row: dict[int, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(Part(self.get_starttag_text() or tag, is_tag=True))
        if tag == "table":
            self._start_table()
        elif tag == "thead":
            self.in_head = True
        elif tag == "tr":
            self.row += 1
        elif tag in ("th", "td"):
            self._start_cell(tag, dict(attrs))

    def _start_cell(self, tag: str, attributes: dict[str, str | None]) -> None:
        """Find which columns and rows of the table a cell covers."""
        first = 0
        while (self.row, first) in self.taken:
            first += 1
        self.cell = tag
        self.columns = range(first, first + int(attributes.get("colspan") or 1))
        self.rows = range(self.row, self.row + int(attributes.get("rowspan") or 1))
        self.taken |= {(row, column) for row in self.rows for column in self.columns}

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(Part(f"</{tag}>", is_tag=True))
        if tag == "thead":
            self.in_head = False
        elif tag in ("th", "td"):
            self.cell = ""

    def handle_data(self, data: str) -> None:
        part = Part(data)
        self.parts.append(part)
        if self.cell == "th" and data.strip():
            headed = (self.of_column, self.columns) if self.in_head else (self.of_row, self.rows)
            for at in headed[1]:
                headed[0].setdefault(at, []).append(data.strip())
        elif self.cell == "td":
            part.headings = [
                *(heading for at in self.columns for heading in self.of_column.get(at, [])),
                *self.of_row.get(self.row, []),
            ]


def _is_time_heading(heading: str, further: str = "") -> bool:
    if further and re.search(further, heading):
        return True
    return len(heading.split()) <= HEADING_WORDS and bool(TIME_HEADING.search(heading))


def _html_parts(text: str) -> list[Part]:
    parser = _Parts()
    parser.feed(INVENTED.sub("", text))
    parser.close()
    return parser.parts


def compare_html(old: str, new: str, special: Special | None = None) -> Found:
    """Compare two pieces of HTML: the markup, the text, and tables cell by cell."""
    found = Found()
    pair = _html_parts(old), _html_parts(new)
    if [part.is_tag for part in pair[0]] != [part.is_tag for part in pair[1]]:
        shown = [[part.text for part in parts if part.text.strip()] for parts in pair]
        found.problems.append(_difference(*shown))
        return found
    for before, after in zip(*pair, strict=True):
        if before.text == after.text:
            continue
        if before.is_tag:
            found.problems.append(Message(f"the markup differs: {before.text} → {after.text}"))
        elif _is_time_cell(before, after, special):
            found.times.append(Message(f"{before.text.strip()} → {after.text.strip()}"))
        else:
            place = f" at {', '.join(after.headings)}" if after.headings else ""
            found.add(compare_text(before.text, after.text, _patterns(special)), place)
    return found


def _is_time_cell(before: Part, after: Part, special: Special | None) -> bool:
    """Tell whether two cells hold a time each, under a heading that says so."""
    if before.headings != after.headings or (special and special.exact):
        return False
    further = special.heading if special else ""
    texts = before.text.strip(), after.text.strip()
    return all(TIME_VALUE.fullmatch(text) for text in texts) and any(
        _is_time_heading(heading, further) for heading in after.headings
    )


# ---------------------------------------------------------------------------- outputs


def _patterns(special: Special | None) -> tuple[re.Pattern[str], ...]:
    if special is None:
        return TIMES
    if special.exact:
        return ()
    return (*TIMES, re.compile(special.times)) if special.times else TIMES


def _pixels(png: str) -> np.ndarray:
    """Return a picture's pixels, shape (height, width, 4)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"), dtype=int)


def compare_png(old: str, new: str) -> Found:
    """Compare the pixels of two pictures, given as base64."""
    before, after = _pixels(old), _pixels(new)
    if before.shape != after.shape:
        sizes = [f"{width} x {height}" for height, width, _ in (before.shape, after.shape)]
        return Found(problems=[Message(f"the picture has {sizes[1]} pixels, not {sizes[0]}")])
    if (before == after).all():
        return Found(images=1)
    differing = int((before != after).any(axis=2).sum())
    most = int(np.abs(before - after).max())
    text = f"{differing:,} pixels of the picture differ, by {most} of 255 at most"
    return Found(problems=[Message(text)])


def _as_bundle(output: Any) -> dict[str, Any]:
    """Return an output's contents by kind."""
    if output.output_type == "stream":
        return {"text/plain": output.text}
    if output.output_type == "error":
        return {"text/plain": f"{output.ename}: {output.evalue}"}
    return dict(output.data)


def compare_output(old: Any, new: Any, special: Special | None = None) -> Found:
    """Compare two outputs of one kind."""
    found, before, after = Found(outputs=1), _as_bundle(old), _as_bundle(new)
    if before.keys() != after.keys():
        kinds = [", ".join(sorted(bundle)) for bundle in (before, after)]
        found.problems.append(Message(f"the output has {kinds[1]}, not {kinds[0]}"))
    parts: dict[str, Found] = {}
    for kind in sorted(before.keys() & after.keys()):
        if kind == "image/png":
            parts[kind] = compare_png(before[kind], after[kind])
        elif kind in ("text/html", "image/svg+xml"):
            parts[kind] = compare_html(before[kind], after[kind], special)
        elif isinstance(before[kind], str) and isinstance(after[kind], str):
            parts[kind] = compare_text(before[kind], after[kind], _patterns(special))
        elif before[kind] != after[kind]:
            parts[kind] = Found(problems=[Message(f"its {kind} differs")])
    html = parts.get("text/html")
    if html and html.times and not html.problems:
        # The same table in plain text, where a time of more digits may break lines elsewhere.
        parts.pop("text/plain", None)
    for part in parts.values():
        found.add(part)
    return found


# -------------------------------------------------------------------------- notebooks


def without_imports(source: str) -> list[str]:
    """Return a cell's lines without blank ones and imports, also those of code in its strings."""
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(chapters.MAGIC.sub(r"\1pass", source))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return [line for line in lines if line and line.strip() and not IMPORT.match(line)]


def _kind(output: Any) -> str:
    return " ".join([output.output_type, output.get("name", "")]).strip()


def _pairs(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the outputs that belong together: of one kind, in the same order."""
    kinds = [[_kind(output) for output in outputs] for outputs in (old, new)]
    blocks = difflib.SequenceMatcher(None, *kinds, autojunk=False).get_matching_blocks()
    for block in blocks:
        yield from zip(old[block.a :][: block.size], new[block.b :][: block.size], strict=True)


def compare_cells(old: Any, new: Any, special: Special | None, sources: bool = False) -> Found:
    """Compare the outputs of two code cells, and their sources but for imports."""
    found = Found(cells=1)
    codes = without_imports(old.source), without_imports(new.source)
    if codes[0] != codes[1]:
        (found.problems if sources else found.notes).append(_difference(*codes, "source"))
    kinds = [", ".join(map(_kind, cell.outputs)) or "none" for cell in (old, new)]
    if kinds[0] != kinds[1]:
        found.problems.append(Message(f"its outputs are {kinds[1]}; they were {kinds[0]}"))
    pairs = list(_pairs(old.outputs, new.outputs))
    outputs = [compare_output(*pair, special) for pair in pairs]
    times_differ = any(output.times for output in outputs)
    for output, (_, after) in zip(outputs, pairs, strict=True):
        if output.problems:
            shows_times = special and special.image and "image/png" in _as_bundle(after)
            if shows_times and times_differ:
                output.images_left_out, output.problems = output.problems, []
        else:
            output.same, output.timed = int(not output.times), int(bool(output.times))
        found.add(output)
    return found


def _special(chapter: str, *sources: str) -> Special | None:
    """Return the entry of `SPECIAL` for a cell, if it has one."""
    chosen = [one for one in SPECIAL if one.chapter == chapter]
    return next((one for one in chosen for source in sources if one.source in source), None)


def _title(index: int, source: str) -> str:
    line = next(iter(without_imports(source)), "imports only")
    return f"code cell {index}, {line.strip()[:40]!r}"


def compare_notebooks(old: Any, new: Any, chapter: str, sources: bool = False) -> Found:
    """Compare two runs of a chapter.

    Args:
        old: The notebook before.
        new: The notebook now.
        chapter: The chapter's number, such as "01".
        sources: Whether different sources are a problem and not only a note.
    """
    found = Found()
    stamps = [nb.metadata.get("reptune", {}) for nb in (old, new)]
    if stamps[0] and stamps[0] == stamps[1]:
        found.notes.append(Message("the stamps are equal: both are outputs of the same run"))
    for name in ("profile", "device", "versions"):
        if stamps[0].get(name) != stamps[1].get(name):
            text = f"{stamps[0].get(name)} → {stamps[1].get(name)}"
            found.notes.append(Message(text, f"the stamp's {name}"))
    cells = [[cell for cell in nb.cells if cell.cell_type == "code"] for nb in (old, new)]
    if len(cells[0]) != len(cells[1]):
        text = f"{len(cells[1])} code cells; there were {len(cells[0])}"
        found.problems.append(Message(text))
    for index, (before, after) in enumerate(zip(*cells, strict=False)):
        special = _special(chapter, before.source, after.source)
        found.add(compare_cells(before, after, special, sources), _title(index, after.source))
    return found


# ---------------------------------------------------------------------------- command


def _report(name: str, found: Found) -> None:
    """Print what was found in a chapter."""
    print(
        f"{name}: {found.cells} code cells, {found.outputs} outputs: {found.same} identical, "
        f"{found.timed} but for times; {found.images} pictures identical, "
        f"{len(found.images_left_out)} left out; {len(found.times)} times left out; "
        f"{len(found.problems)} differences"
    )
    titles = {
        "time": found.times,
        "picture left out": found.images_left_out,
        "note": found.notes,
        "DIFFERS": found.problems,
    }
    for title, messages in titles.items():
        for where, group in itertools.groupby(messages, key=lambda message: message.where):
            texts = [message.text for message in group]
            shown = ["; ".join(texts)] if title == "time" else texts
            for text in shown:
                print(f"  {title}: {where}{': ' if where else ''}{text}")


def compare_folders(old: Path, new: Path, chapter: str | None, sources: bool) -> int:
    """Compare the chapters of two folders, report, and return the number of differences."""
    names = [{path.name for path in chapters.chapters(chapter, one)} for one in (old, new)]
    if not names[0]:
        raise ValueError(f"there is no chapter in {old}")
    count = 0
    for name in sorted(names[0] | names[1]):
        if missing := [one for one in (old, new) if not (one / name).is_file()]:
            found = Found(problems=[Message(f"it is not in {missing[0]}")])
        else:
            pair = [nbformat.read(one / name, as_version=4) for one in (old, new)]
            found = compare_notebooks(*pair, name.split("_")[0], sources)
        _report(name, found)
        count += len(found.problems)
    print("No differences." if not count else f"{count} differences.")
    return count


def main(arguments: list[str] | None = None) -> int:
    """Compare two runs, and return 0 where they differ in times only."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="the folder with the notebooks before")
    parser.add_argument("new", type=Path, help="the folder with the notebooks now")
    parser.add_argument("--chapter", help="01, 02, … (all of them unless given)")
    parser.add_argument("--sources", action="store_true", help="different sources count too")
    options = parser.parse_args(arguments)
    try:
        count = compare_folders(options.old, options.new, options.chapter, options.sources)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
