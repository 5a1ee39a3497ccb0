"""Time expressions without training: dateparser and rules on the set annotated for chapter 7.

Each gets the expression and its document's date; two of them look at the sentence for cues of what
is to come. Settings are chosen on the 60 expressions for development, test is scored once.

Primary comparison, written down before the first run on test: exact match of values on test,
dateparser with its best setting against the rules without cues, both reading the expression and
the date alone (McNemar's exact test and the interval of the difference). Secondary: what cues of
the sentence add to each; how many values were right in either direction of a bare name (a bound
for whoever chooses directions); everything by kind of expression. The rules were written by the
annotator after the annotation, so they know every form in it, and the list of cues was changed once
after a look at its score on all expressions, test among them: the rules' scores measure how much
the direction costs and are no fair rival on unseen text. dateparser has seen nothing.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from shared.common import Job, main
from shared.dates import forward, looks_forward, mark, read, resolve

from reptune import data, meter
from reptune.book import results
from reptune.metrics import mcnemar_p
from reptune.pipeline.intervals import difference_interval, share_interval

FILE = Path(__file__).parent / "data" / "ch07_time_expressions.jsonl"
TASK = "time expressions"
NO_VALUE = ""

PREFER = ("past", "current_period", "future")
METHODS = (
    "majority value",
    "document's date",
    "dateparser",
    "dateparser, sentence's cues",
    "rules",
    "rules, sentence's cues",
    "rules, better direction",
)
PRIMARY = ("dateparser", "rules")
JOBS = [{"task": TASK, "model": "none", "random_state": 0}]  # one: loading takes the longest


class Item(NamedTuple):
    """An annotated expression with its words, which the file does not hold."""

    expression: str
    marked: str
    date: str
    value: str


@functools.cache
def items(split: str) -> list[Item]:
    """Return the expressions of `"dev"` or `"test"`, in the order of the file."""
    sentences = data.load("conll2003")["test"]["tokens"]
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows:
        if row["split"] == split:
            words = sentences[row["id"]]
            before = len(" ".join([*words[: row["start"]], ""]))
            expression = " ".join(words[row["start"] : row["end"]])
            marked = mark(" ".join(words), before, before + len(expression))
            found.append(Item(expression, marked, row["date"], row["value"]))
    return found


def kind_of(value: str) -> str:
    """Return what a value names: `day`, `month`, `year` or `other`, for scores by kind."""
    for kind, pattern in {
        "day": r"\d{4}-\d\d-\d\d",
        "month": r"\d{4}-\d\d",
        "year": r"\d{4}",
    }.items():
        if re.fullmatch(pattern, value):
            return kind
    return "other"


# --- methods -------------------------------------------------------------------------------------


def by_dateparser(item: Item, prefer: str) -> str:
    """Return dateparser's value, written as precisely as it says that it knows it."""
    words = item.expression.replace(" ,", ",")
    found = _parser(prefer, item.date).get_date_data(words)
    day = found.date_obj
    if day is None:
        return NO_VALUE
    if found.period == "week":
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    length = {"year": 4, "month": 7}.get(found.period, 10)
    return f"{day:%Y-%m-%d}"[:length]


@functools.cache
def _parser(prefer: str, date: str) -> Any:
    from dateparser.date import DateDataParser

    settings = {
        "RELATIVE_BASE": datetime.fromisoformat(date),
        "PREFER_DATES_FROM": prefer,
        "DATE_ORDER": "MDY",
    }
    return DateDataParser(languages=["en"], settings=settings)


def by_rules(item: Item, ahead: bool) -> str:
    """Return the rules' value; of a bare name the next one if `ahead`, else the latest."""
    program = read(item.expression)
    if program is None:
        return NO_VALUE
    return resolve(forward(program, item.date) if ahead else program, item.date)


def chosen() -> str:
    """Return the direction with which dateparser is right most often on dev; ties to the first."""
    scores = {
        prefer: sum(by_dateparser(item, prefer) == item.value for item in items("dev"))
        for prefer in PREFER
    }
    return max(PREFER, key=lambda prefer: scores[prefer])


def predictor(method: str) -> Callable[[Item], str]:
    """Return the function that a method is."""
    if method == "majority value":
        most = Counter(item.value for item in items("dev")).most_common(1)[0][0]
        return lambda item: most
    if method.startswith("dateparser"):
        prefer, cues = chosen(), "cues" in method
        return lambda item: by_dateparser(
            item, "future" if cues and looks_forward(item.marked) else prefer
        )
    return {
        "document's date": lambda item: item.date,
        "rules": lambda item: by_rules(item, False),
        "rules, sentence's cues": lambda item: by_rules(item, looks_forward(item.marked)),
        # Not a method but a bound: it looks at the annotation to choose the direction.
        "rules, better direction": lambda item: by_rules(item, by_rules(item, True) == item.value),
    }[method]


# --- scores --------------------------------------------------------------------------------------


def chrf(predicted: list[str], values: list[str]) -> float:
    """Return chrF++ over all values, from 0 to 100."""
    from sacrebleu.metrics import CHRF

    return float(CHRF(word_order=2).corpus_score(predicted, [values]).score)


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score each method on dev and on test."""
    items("dev"), items("test")  # read before the clock runs
    for method in METHODS:
        with meter.Meter() as choosing:
            predict = predictor(method)
        for split in ("dev", "test"):
            expected = items(split)
            with meter.Meter() as cost:
                predicted = [predict(item) for item in expected]
            yield {
                "method": method,
                "labels": 60 if method.startswith(("majority", "dateparser")) else 0,
                "split": split,
                "setting": chosen() if method.startswith("dateparser") else "",
                "seconds": {
                    "choose": round(choosing.seconds, 3),
                    "predict": round(cost.seconds, 3),
                },
                "peak_memory_mb": round(cost.peak_memory_mb),
                **scores(predicted, [item.value for item in expected]),
            }


def scores(predicted: list[str], values: list[str]) -> dict[str, Any]:
    """Return exact match with Wilson's interval, overall and by kind, and chrF++, as fields."""
    right = np.array([p == v for p, v in zip(predicted, values, strict=True)])
    interval = share_interval(right)
    kinds = np.array([kind_of(value) for value in values])
    by_kind = {f"exact_match_{kind}": right[kinds == kind].mean() for kind in sorted(set(kinds))}
    return {
        "metrics": {
            "exact_match": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "chrf": chrf(predicted, values),
            "no_value": float(np.mean([p == NO_VALUE for p in predicted])),
            **{name: float(score) for name, score in by_kind.items()},
        },
        "correct": results.pack(right),
        "items": len(right),
    }


def report() -> None:
    """Print the primary comparison from the records."""
    study = Path(__file__).stem
    first, second = (results.correct(study, method=method, split="test")[0] for method in PRIMARY)
    difference = difference_interval(second, first)
    print(
        f"{PRIMARY[1]} minus {PRIMARY[0]}, exact match on test: {difference}, "
        f"McNemar p = {mcnemar_p(first, second):.2g}"
    )


if __name__ == "__main__":
    try:
        main(__file__, JOBS, run)
    except SystemExit as done:
        if not done.code:
            report()
        raise
