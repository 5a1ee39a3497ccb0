"""Rate and mask probability of the two pretraining steps: short runs, held-out text."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.common import MODEL, Job, fit_fields, main
from shared.encoders import NEWS, REVIEWS, corpus, held_out

from reptune import meter
from reptune.models.lowrank import GENERAL_START
from reptune.pretraining import continue_pretraining
from reptune.pretraining.run import HISTORY

NUM_STEPS = 120
HELD_OUT = 60
# The general start trains thin additions and the head, the domain step everything.
STEPS = {
    NEWS: {"rank": 24},
    REVIEWS: {"adapter": GENERAL_START},
}
GRID = {
    NEWS: [(1e-3, 0.15), (2e-3, 0.15), (4e-3, 0.15), (2e-3, 0.3)],
    REVIEWS: [(2e-4, 0.15), (5e-4, 0.15), (1e-3, 0.15), (5e-4, 0.3)],
}

JOBS = [
    {
        "method": f"{texts}, {share:.0%} at {rate:g}",
        "task": texts,
        "model": MODEL,
        "labels": 0,
        "random_state": 42,
        "split": "validation",
        "learning_rate": rate,
        "mask_probability": share,
    }
    for texts, grid in GRID.items()
    if texts == NEWS or GENERAL_START.exists()  # the domain step's runs begin there
    for rate, share in grid
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Take a short run with its own schedule; score it with 15% masked, whatever it trained on."""
    texts = job["task"]
    with meter.Meter() as cost, tempfile.TemporaryDirectory() as folder:
        written = continue_pretraining(
            MODEL, corpus(texts), Path(folder) / "model", num_steps=NUM_STEPS, evaluations=1,
            learning_rate=job["learning_rate"], mask_probability=job["mask_probability"],
            validation=held_out(texts, "validation", HELD_OUT), checkpoint_steps=NUM_STEPS,
            **STEPS[texts],
        )  # fmt: skip
        last = json.loads((written / HISTORY).read_text("utf-8"))[-1]
    yield {
        "metrics": {"loss": last["eval_loss"], "accuracy": last["eval_accuracy"]},
        **fit_fields(cost),
    }


if __name__ == "__main__":
    main(__file__, JOBS, run)
