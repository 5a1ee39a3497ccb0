"""Parts that the tables on README and on the book's pages share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd

from reptune import metrics
from reptune.book import results

NOT_RUN = "–"


def not_run(study: str) -> str:
    """What stands in a table's place before its study has been run."""
    return f"*Not run yet: `make study NAME={study}` measures it.*\n"


def measured(study: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Decorate what makes a table of a study's records, so that it says where there are none."""

    def decorate(table: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(table)
        def made() -> str:
            return not_run(study) if results.read(study).empty else table()

        return made

    return decorate


def mean_and_sd(scores: pd.Series) -> str:
    """The mean over draws and, where there are several, their standard deviation."""
    mean = f"{np.round(scores.mean(), 3):.3f}"  # as pandas rounds, in the chapters
    return mean if len(scores) == 1 else f"{mean} ± {scores.std():.3f}"


def with_interval(study: str, **fields: str) -> str:
    """The mean and its interval, or a dash where nothing was run."""
    if not results.is_done(study, **fields):
        return NOT_RUN
    interval = metrics.mean_interval(results.correct(study, **fields))
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def recorded(row: pd.Series) -> metrics.Interval:
    """The difference that a record of a comparison holds."""
    return metrics.Interval(*(row[f"metrics.{name}"] for name in ("difference", "low", "high")))


def in_points(found: metrics.Interval) -> str:
    """A difference in points with its interval."""
    value, low, high = (
        f"{round(100 * share, 1) + 0.0:+.1f}"  # + 0.0: no minus before a zero
        for share in (found.estimate, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"
