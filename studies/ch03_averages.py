"""How far to go: averages of MiniLM's weights before and after reading, frozen, on validation."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.common import MODEL, TASK, FrozenEmbeddings, Job, few_shot, main, score_fields, splits
from shared.encoders import DIRECT, DOMAIN, GENERAL, LONGER, SHIPPED, encoder

from reptune import meter
from reptune.pretraining import average_encoders

SIZES = (100, 500, 1000)
DRAWS = range(42, 52)
HALF = (0.5, 1.0)
# What is read: reviews; news and then reviews; news alone, as the control.
WAYS = {LONGER: (0.25, 0.5, 0.75, 1.0), DIRECT: HALF, DOMAIN: HALF, GENERAL: HALF}

JOBS = [{"method": SHIPPED, "share": 0.0}]
JOBS += [{"method": arm, "share": share} for arm, shares in WAYS.items() for share in shares]
JOBS = [{**job, "model": MODEL, "task": TASK, "split": "validation"} for job in JOBS]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """A logistic regression on the mean of the vectors, for each size and draw of labels."""
    texts, gold = splits(TASK)["validation"]
    drawn = {(size, seed): few_shot(TASK, size // 2, seed) for size in SIZES for seed in DRAWS}
    with tempfile.TemporaryDirectory() as folder:
        source = encoder(job["method"])
        if job["method"] != SHIPPED:
            average = Path(folder) / "average"
            source = average_encoders(MODEL, source, average, job["share"])
        classifier = FrozenEmbeddings(str(source), max_length=64)
        everything = {text for train, _ in drawn.values() for text in train} | {*texts}
        with meter.Meter() as cost:  # all at once, for there is less padding in many texts
            classifier.encode(sorted(everything))
        for (size, seed), train in drawn.items():
            start = time.perf_counter()
            classifier.fit(*train)
            yield {
                "labels": size,
                "random_state": seed,
                "seconds": {
                    "fit": round(time.perf_counter() - start, 2),
                    "encode": round(cost.seconds, 1),
                },
                "peak_memory_mb": round(cost.peak_memory_mb),
                **score_fields(classifier.predict(texts) == gold),
            }


if __name__ == "__main__":
    main(__file__, JOBS, run)
