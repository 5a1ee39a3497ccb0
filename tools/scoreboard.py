"""The scoreboard: the main methods of the book on the same reviews, a row for each model."""

from __future__ import annotations

import front_picture
from front_picture import Arm, Row, duration

from reptune import metrics
from reptune.book import results


def scoreboard() -> str:
    """Accuracy on test with its interval, by labels and method; as the first page draws it."""
    lines = [
        "| Labels | Method | Chapter | Model | Accuracy (test) | Training |",
        "|---|---|---:|---|---|---|",
    ]
    for heading, rows in front_picture.GROUPS:
        labels = heading.removesuffix(" labels").lower()
        for row in rows:
            lines += [
                f"| {labels} | {row.name} | {row.chapter} | {_model(arm)} "
                f"| {_interval(arm)} | {_training(row, arm)} |"
                for arm in row.arms
            ]
    return "\n".join(lines) + "\n"


def _model(arm: Arm) -> str:
    """The model that an arm's records name; a dash where there is none."""
    [model] = front_picture.runs(arm)["model"].unique()
    return "–" if model == "none" else model


def _interval(arm: Arm) -> str:
    return str(metrics.mean_interval(results.correct(arm.study, split="test", **arm.fields)))


def _training(row: Row, arm: Arm) -> str:
    """What the training takes, or that it was not timed by itself."""
    if row.cost:
        return front_picture.cost(row)
    return duration(front_picture.seconds(arm)) if arm.timed else "–"
