"""Draw the first page's picture, methods by labels, from results/: wide, and for a phone.

    python tools/front_picture.py    # writes book/_static/methods.svg and methods-phone.svg

A dot is a mean accuracy on test, a line through it its 95% interval. The drawing is SVG made of
text, so that it stays sharp and small; its colors are variables of the book's style sheet, with
values of their own for where there is none (README).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reptune import metrics
from reptune.book import results

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "book" / "_static"
FILES = {"methods.svg": False, "methods-phone.svg": True}  # whether it is the narrow one

SMALL, LARGE, SMOLLM = "all-MiniLM-L6-v2", "all-mpnet-base-v2", "SmolLM2-135M-Instruct"
TITLE = "Accuracy on movie-review sentences, by method and number of labels"
SHOWN = {"none": "no encoder", "small": "MiniLM, 23 million weights", "large": "110 to 135 million"}
RANGE = (0.5, 0.9)  # of the axis; a coin scores its left end
TICKS = (0.5, 0.6, 0.7, 0.8, 0.9)
STYLE = """
.methods { --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --none: #6e7781; --small: #b35900;
  --large: #0072b2; font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) { .methods:root { --ink: #e6edf3; --soft: #9da7b1;
  --line: #3d444d; --none: #9da7b1; --small: #f0a742; --large: #6cb6ff; } }
.methods text { fill: var(--ink); } .methods .m-soft { fill: var(--soft); }
.methods .m-head { font-weight: 700; } .methods .m-line { stroke: var(--line); stroke-width: 1; }
.methods .m-none { fill: var(--none); stroke: var(--none); }
.methods .m-small { fill: var(--small); stroke: var(--small); }
.methods .m-large { fill: var(--large); stroke: var(--large); }
.methods .m-span { stroke-width: 2; opacity: 0.6; } .methods .m-dot { stroke: none; }
"""


class Arm(NamedTuple):
    """A dot: the kind of model it belongs to, and the records that it is made of.

    Attributes:
        kind: "none", "small" or "large".
        study: Whose records.
        fields: What they have in common; `split` is "test" in all of them.
        timed: Whether their `seconds.fit` hold all of the training.
    """

    kind: str
    study: str
    fields: dict[str, Any]
    timed: bool = True


@dataclass(frozen=True)
class Row:
    """A method with its dots, as the picture names it."""

    name: str
    chapter: int
    arms: tuple[Arm, ...]
    cost: str = ""  # where there is nothing to time


def _reviews(study: str, method: str, **models: str) -> tuple[Arm, ...]:
    """The arms of a method, one for each kind of model, in a study of several tasks."""
    fields = {"method": method, "task": "rotten_tomatoes"}
    return tuple(Arm(kind, study, {**fields, "model": name}) for kind, name in models.items())


def _untimed(study: str, kind: str, **fields: Any) -> Arm:
    return Arm(kind, study, {"task": "rotten_tomatoes", **fields}, timed=False)


BOTH = {"small": SMALL, "large": LARGE}
NAMES = {"method": "label names", "rows": "none"}
STUDENT = {"method": "frozen", "rows": "both"}
GROUPS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "No labels",
        (
            Row(
                "Names of the labels",
                7,
                tuple(
                    _untimed("ch07_students", kind, model=model, **NAMES)
                    for kind, model in BOTH.items()
                ),
                "nothing to train",
            ),
            Row(
                "A prompt, no examples",
                5,
                (
                    _untimed(
                        "ch05_scoring",
                        "large",
                        model=SMOLLM,
                        method="batch",
                        per_class=0,
                        chat=False,
                    ),
                ),
                "nothing to train",
            ),
            Row(
                "One sentence to a model",
                7,
                tuple(
                    _untimed("ch07_students", kind, model=model, **STUDENT)
                    for kind, model in BOTH.items()
                ),
                "{written} of writing",
            ),
        ),
    ),
    (
        "32 labels",
        (
            Row("Word counts", 2, _reviews("ch02_final", "TF-IDF", none="none")),
            Row("Frozen embeddings", 2, _reviews("ch02_final", "frozen", **BOTH)),
            Row("Fine-tuning", 6, (
                Arm("small", "ch06_final", {"method": "standard fine-tuning, MiniLM"}),
            )),
            Row("Prompt-based fine-tuning", 6, (
                Arm("small", "ch06_final", {"method": "prompt, MiniLM"}),
                Arm("large", "ch06_final", {"method": "prompt, SmolLM2"}),
            )),
            Row("SetFit", 2, _reviews("ch02_final", "SetFit", **BOTH)),
        ),
    ),
    (
        "6,398 labels",
        (
            Row("Word counts", 1, _reviews("ch01_final", "TF-IDF + logistic regression",
                                           none="none")),
            Row("Frozen embeddings", 1, (
                *_reviews("ch01_final", "frozen embeddings + logistic regression", small=SMALL),
                _untimed("ch07_students", "large", model=LARGE, method="frozen", rows="all labels"),
            )),
            Row("Fine-tuning", 1, _reviews("ch01_final", "everything", **BOTH)),
        ),
    ),
)  # fmt: skip


def duration(seconds: float) -> str:
    """Return seconds as a reader wants them: "< 1 s", "28 s", "6 min"."""
    if seconds < 1:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def cost(row: Row) -> str:
    """Return what a row's training takes, the smaller model first, or what stands for it."""
    if row.cost:
        return row.cost.replace("{written}", duration(_writing())) if "{" in row.cost else row.cost
    return " · ".join(duration(seconds(arm)) if arm.timed else "–" for arm in row.arms)


def _writing() -> float:
    """The mean seconds in which the teacher writes a thousand sentences."""
    runs = results.read("ch07_generate").query("task == 'rotten_tomatoes'")
    return float(runs[runs["model"].str.contains("Qwen")]["seconds.generate"].mean())


def seconds(arm: Arm) -> float:
    """The mean seconds of training over an arm's runs."""
    return float(runs(arm)["seconds.fit"].mean())


def runs(arm: Arm) -> pd.DataFrame:
    """The records of an arm on test."""
    table = results.read(arm.study).query("split == 'test'")
    for name, value in arm.fields.items():
        table = table[table[name] == value]
    return table


@dataclass(frozen=True)
class Layout:
    """Where things stand, in pixels.

    Attributes:
        width: Of the picture.
        left: Where the axis begins.
        right: Where it ends.
        row: Height of a row.
        above: Whether a method's name stands above its dots and not to the left.
        font: Size of the text.
    """

    width: int
    left: int
    right: int
    row: int
    above: bool
    font: int

    def x(self, accuracy: float) -> float:
        """Return where an accuracy stands."""
        low, high = RANGE
        share = (accuracy - low) / (high - low)
        return round(self.left + share * (self.right - self.left), 1)


WIDE = Layout(width=720, left=230, right=560, row=26, above=False, font=14)
PHONE = Layout(width=350, left=8, right=342, row=46, above=True, font=13)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x}" y="{y}"{kind}{anchor}>{escape(words)}</text>'


def _dots(row: Row, y: float, layout: Layout) -> list[str]:
    """The dots of a row with their intervals; a pointer on one shows its numbers."""
    drawn = []
    for number, arm in enumerate(row.arms):
        found = metrics.mean_interval(results.correct(arm.study, split="test", **arm.fields))
        # Two intervals of a row do not hide each other.
        height = y + (number - (len(row.arms) - 1) / 2) * 7
        low, high = (layout.x(max(end, RANGE[0])) for end in (found.low, found.high))
        drawn.append(
            f'<g class="m-{arm.kind}"><title>{SHOWN[arm.kind]}: {found}</title>'
            f'<path class="m-span" d="M{low} {height}H{high}"/>'
            f'<circle class="m-dot" cx="{layout.x(found.estimate)}" cy="{height}" r="5"/></g>'
        )
    return drawn


def _row(row: Row, y: float, layout: Layout) -> list[str]:
    """One method whose row begins at `y`."""
    name, base = f"{row.name} ({row.chapter})", y + layout.font + 2
    if layout.above:
        end = layout.width - 4
        return [
            _text(4, base, name),
            _text(end, base, cost(row), "m-soft", "end"),
            *_lines(layout, y + 21, y + 41),
            *_dots(row, y + 31, layout),
        ]
    return [
        _text(8, base, name),
        _text(layout.right + 16, base, cost(row), "m-soft"),
        *_dots(row, y + layout.row / 2, layout),
    ]


def _legend(layout: Layout, y: float) -> list[str]:
    """Dots of each color with their meaning."""
    x = 4 if layout.above else layout.left - 5
    # Places of the three, and how far below the first line.
    places = ((0, 0), (104, 0), (0, 20)) if layout.above else ((0, 0), (110, 0), (330, 0))
    drawn = []
    for (kind, words), (across, down) in zip(SHOWN.items(), places, strict=True):
        drawn += [
            f'<circle class="m-{kind} m-dot" cx="{x + across + 5}" cy="{y + down - 5}" r="5"/>',
            _text(x + across + 15, y + down, words),
        ]
    return drawn


def _lines(layout: Layout, top: float, bottom: float) -> list[str]:
    """Thin lines at round accuracies."""
    return [f'<path class="m-line" d="M{layout.x(tick)} {top}V{bottom}"/>' for tick in TICKS]


def _numbers(layout: Layout, y: float) -> list[str]:
    """The round accuracies, and what they are."""
    # On a phone the outer numbers would leave the picture.
    ends = {TICKS[0]: "start", TICKS[-1]: "end"} if layout.above else {}
    drawn = [
        _text(layout.x(tick), y, f"{tick:.1f}", "m-soft", ends.get(tick, "middle"))
        for tick in TICKS
    ]
    middle = (layout.left + layout.right) / 2
    return [*drawn, _text(middle, y + 18, "accuracy on test", "m-soft", "middle")]


def picture(phone: bool = False, groups: Sequence[tuple[str, Sequence[Row]]] = GROUPS) -> str:
    """Return the picture as SVG.

    Args:
        phone: Narrow, each method's name above its dots.
        groups: Headings, and the rows below each.
    """
    layout = PHONE if phone else WIDE
    drawn, y = _legend(layout, 18), 42 if phone else 26
    top = y + 8
    for heading, rows in groups:
        y += 10
        drawn.append(_text(4 if phone else 8, y + layout.font, heading, "m-head"))
        if heading == groups[0][0]:
            end, anchor = (layout.width - 4, "end") if phone else (layout.right + 16, "start")
            drawn.append(_text(end, y + layout.font, "training time", "m-soft", anchor))
        y += layout.font + 8
        for row in rows:
            drawn += _row(row, y, layout)
            y += layout.row
    lines = [] if phone else _lines(layout, top, y + 4)
    drawn += _numbers(layout, y + 20)
    height = y + 46
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {height}"'
            f' class="methods {"narrow" if phone else "wide"}" font-size="{layout.font}"'
            f' role="img" aria-label="{escape(described(groups), quote=True)}">',
            f"<style>{STYLE}</style>",
            *lines,
            *drawn,
            "</svg>\n",
        ]
    )


def described(groups: Sequence[tuple[str, Sequence[Row]]] = GROUPS) -> str:
    """Return the picture in words, for who cannot see it."""
    parts = []
    for heading, rows in groups:
        scores = [
            f"{row.name} " + " and ".join(f"{score(arm):.3f} ({SHOWN[arm.kind]})"
                                          for arm in row.arms)
            for row in rows
        ]  # fmt: skip
        parts.append(f"{heading}: {'; '.join(scores)}.")
    return f"{TITLE}. {' '.join(parts)}"


def score(arm: Arm) -> float:
    """Return an arm's mean accuracy on test."""
    return float(results.correct(arm.study, split="test", **arm.fields).mean())


def main() -> None:
    """Draw both pictures where they changed."""
    for name, phone in FILES.items():
        path, new = FOLDER / name, picture(phone)
        if not path.exists() or path.read_text("utf-8") != new:
            path.write_text(new, "utf-8", newline="\n")
            print(f"{name}: drawn anew")


if __name__ == "__main__":
    main()
