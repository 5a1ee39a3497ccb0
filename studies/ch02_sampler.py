"""Pairs: seconds and memory until the first batch, streamed here and listed by stock setfit."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from reptune import meter
from reptune.book import results

OURS, STOCK = "reptune, streamed", "stock setfit, listed"
# The stock library lists every pair: 10,000 texts would need tens of gigabytes, so it is measured
# where it fits, and the chapter extrapolates with the square of the texts.
CASES = ((STOCK, 500), (STOCK, 1000), (STOCK, 2000), (OURS, 2000), (OURS, 10_000))
REPEATS = (0, 1, 2)
NUM_CLASSES = 5
TEXT = "a sentence of about sixty characters, as in a movie review {}"


def first_batch(method: str, count: int, seed: int) -> dict[str, Any]:
    """Seconds and added memory until 16 pairs are there, in this process."""
    texts = [TEXT.format(number) for number in range(count)]
    labels = np.random.default_rng(seed).integers(0, NUM_CLASSES, count)
    if method == STOCK:
        from datasets import Dataset
        from setfit.sampler import ContrastiveDataset

        def start() -> Any:
            sampler = ContrastiveDataset(texts, labels.tolist(), multilabel=False)
            return Dataset.from_list(list(sampler))  # as setfit.Trainer does
    else:
        from reptune.fewshot.contrastive import PairSampler

        def start() -> Any:
            return next(PairSampler(labels, random_state=seed).batches(16))

    before = psutil.Process().memory_info().rss / 1e6
    with meter.Meter() as cost:
        start()
    return {
        "seconds": {"first_batch": cost.seconds},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "metrics": {"added_mb": max(0.0, cost.peak_memory_mb - before)},
    }


def main() -> None:
    """Measure what is not recorded yet, one process a case."""
    if len(sys.argv) > 1:
        print(json.dumps(first_batch(*json.loads(sys.argv[1]))))
        return
    for method, count in CASES:
        for seed in REPEATS:
            if results.is_done("ch02_sampler", method=method, labels=count, random_state=seed):
                continue
            job = json.dumps([method, count, seed])
            found = subprocess.run(
                [sys.executable, __file__, job], stdout=subprocess.PIPE, text=True, check=True
            )
            record = json.loads(found.stdout.splitlines()[-1])
            results.append(
                {
                    "study": "ch02_sampler", "method": method, "task": "made up", "model": "none",
                    "labels": count, "random_state": seed, "split": "none", **record,
                },
                Path(__file__),
            )  # fmt: skip
            print(time.strftime("%H:%M:%S"), method, count, record, flush=True)


if __name__ == "__main__":
    main()
