"""What a teacher writes for two prompts: 1,000 rows for each of five seeds.

The rows go to `studies/data/generated/`, the records say what they cost and what became of them.
Qwen2.5-Coder 0.5B writes for both tasks, SmolLM2 135M for sentiment with three of the seeds.
Nothing is chosen here, and no test text is looked at but to keep rows away from it. Planned: 8 to
10 minutes for each seed and task with Qwen, 4 with SmolLM2, about two hours in all.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.common import Job, main
from shared.prompted import (
    QWEN,
    ROWS,
    SEEDS,
    SENTIMENT,
    SMOLLM,
    TOPICS,
    file_of,
    task_of,
    test_set,
    write_generated,
)  # fmt: skip

from reptune import meter
from reptune.assets import cache_dir
from reptune.prompt2model.generator import ListGenerator
from reptune.prompt2model.teachers import LocalTeacher

MOST_SECONDS = 1500


def all_jobs() -> Iterator[Job]:
    """One task and teacher after the other, so that the first comparison is whole first."""
    for task, teacher in ((SENTIMENT, QWEN), (TOPICS, QWEN), (SENTIMENT, SMOLLM)):
        for seed in SEEDS[:3] if teacher == SMOLLM else SEEDS:
            yield {"method": "generation", "task": task, "model": teacher, "random_state": seed}


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Let the teacher write, and keep the rows."""
    folder = cache_dir() / "studies" / Path(__file__).stem
    texts, _ = test_set(job["task"])
    with meter.Meter() as cost:
        written = ListGenerator(LocalTeacher(job["model"])).generate(
            task_of(job["task"]), count=ROWS, random_state=job["random_state"], folder=folder,
            test_texts=texts, max_seconds=MOST_SECONDS,
        )  # fmt: skip
    write_generated(list(written.samples), file_of(job["task"], job["model"], job["random_state"]))
    yield {
        "labels": len(written.samples),
        "split": "train",
        "metrics": dict(written.yields),
        "seconds": {"generate": round(written.seconds, 1)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "stopped": written.stopped,
        "classes": dict(Counter(sample.output for sample in written.samples)),
    }


if __name__ == "__main__":
    main(__file__, all_jobs(), run, side_by_side=False)
