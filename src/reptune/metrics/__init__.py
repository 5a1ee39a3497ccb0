"""Scores, intervals, paired comparisons and calibration; entity scores for taggers.

Every function takes plain arrays or lists, so that it serves any model, ours or not.
"""

from reptune.metrics.calibration import expected_calibration_error, fit_temperature, reliability
from reptune.metrics.entities import (
    EntityError,
    counts_by_document,
    entity_counts,
    entity_errors,
    entity_scores,
    f1_interval,
    paired_f1_interval,
)
from reptune.metrics.intervals import (
    NUM_RESAMPLES,
    Interval,
    mcnemar_p,
    mean_and_deviation,
    mean_interval,
    paired_interval,
    paired_interval_over_tasks,
    t_interval,
)
from reptune.metrics.scores import classification_scores, f1_of_counts

__all__ = [
    "NUM_RESAMPLES",
    "EntityError",
    "Interval",
    "classification_scores",
    "counts_by_document",
    "entity_counts",
    "entity_errors",
    "entity_scores",
    "expected_calibration_error",
    "f1_interval",
    "f1_of_counts",
    "fit_temperature",
    "mcnemar_p",
    "mean_and_deviation",
    "mean_interval",
    "paired_f1_interval",
    "paired_interval",
    "paired_interval_over_tasks",
    "reliability",
    "t_interval",
]
