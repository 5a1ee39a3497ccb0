"""Try to break saves, loads, tables, bundles and answers at random, for as long as you like.

    python tools/soak.py [--minutes 20] [--seed N] [--only AREA]

Prints a table of cases and failures, and the first failures with what it takes to repeat them;
exits 1 where there are some. The tests run a few of the same cases. It forks and kills processes,
so it needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 16 * 2**30  # bytes; what blows up shall fail, not take the machine down
BATCH = 10  # cases for which a generator is asked at once; each batch has a seed of its own
SHOWN = 8  # failures that are printed

Generator = Callable[[random.Random, int], Iterable[tuple[str, Callable[[], None]]]]


@dataclass
class Area:
    """A row of the table.

    Attributes:
        name: What is tried.
        generate: Makes cases.
        share: Of the time, relative to the others.
        refuses: Whether a case may end in a `ValueError`, by which bad input is refused.
        cases: How many have been tried.
        failures: Seed of the batch, label and traceback of each failure.
    """

    name: str
    generate: Generator
    share: float = 1.0
    refuses: bool = False
    cases: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def run(self, seconds: float, seed: int) -> None:
        """Try cases until the time is over, at least one batch of them."""
        until = time.monotonic() + seconds
        batch = 0
        while batch == 0 or time.monotonic() < until:
            name = f"{seed}/{self.name}/{batch}"
            for label, check in self.generate(random.Random(name), BATCH):
                self.cases += 1
                try:
                    check()
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    if self.refuses and isinstance(error, ValueError):
                        continue
                    self.failures.append((name, label, traceback.format_exc()))
                if batch and time.monotonic() > until:
                    return
            batch += 1


def areas(root: Path) -> list[Area]:
    """All that is tried; what forks comes before what has threads."""
    sys.path.insert(0, str(ROOT / "tests" / "assets"))
    import hostile_bundles

    from tests.soak_cases import data, estimators, prompting

    world = estimators.World(root)

    def of(generate: Callable, **options: int) -> Generator:
        return functools.partial(_with_world, generate, world, options)

    return [
        Area("kill -9 of save, all estimators", of(estimators.save_kill_cases), 3),
        Area("kill -9 in tight writes", of(estimators.write_kill_cases), 1.5),
        Area("SIGINT in tight writes",
             of(estimators.write_kill_cases, number=signal.SIGINT), 1.5),
        Area("kill -9 of load", of(estimators.load_kill_cases)),
        Area("kill -9 of fit", of(estimators.fit_kill_cases)),
        Area("kill -9 of results.append", of(estimators.append_kill_cases)),
        Area("kill -9 of a study that is resumed", of(estimators.study_cases)),
        Area("kill -9 of continued pretraining", of(estimators.pretraining_kill_cases)),
        Area("interrupted fit keeps the old model", of(estimators.interrupted_fit_cases), 2),
        Area("load on mutated folders", of(estimators.load_cases), 4),
        Area("determinism", of(estimators.determinism_cases)),
        Area("entity scores against seqeval", of(estimators.entity_score_cases), 0.5),
        Area("import of mutated bundles", hostile_bundles.bundle_cases, 2),
        Area("read_table", data.table_cases, 2, refuses=True),
        Area("tags", data.tag_cases, refuses=True),
        Area("metrics", data.metric_cases, refuses=True),
        Area("templates", prompting.template_cases, refuses=True),
        Area("answers", prompting.answer_cases, refuses=True),
        Area("hosted client against a bad server", prompting.hosted_cases, 2, refuses=True),
    ]  # fmt: skip


def _with_world(generate: Callable, world: object, options: dict, rng: random.Random, count: int):
    return generate(rng, count, world, **options)


def table(tried: list[Area]) -> str:
    """The areas, how many cases each had, and how many failed."""
    rows = [("area", "cases", "failed")]
    rows += [(area.name, f"{area.cases:,}", f"{len(area.failures):,}") for area in tried]
    width = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"| {name:{width[0]}} | {cases:>{width[1]}} | {failed:>{width[2]}} |"
        for name, cases, failed in rows
    ]
    ruler = f"| {'-' * width[0]} | {'-' * (width[1] - 1)}: | {'-' * (width[2] - 1)}: |"
    return "\n".join([lines[0], ruler, *lines[1:]])


def report(tried: list[Area], seed: int, seconds: float) -> int:
    """Print the table and the first failures; return how many there are."""
    failed = sum(len(area.failures) for area in tried)
    cases = sum(area.cases for area in tried)
    print(f"\n{table(tried)}\n")
    print(f"{cases:,} cases in {seconds / 60:.1f} minutes, {failed:,} failed; seed {seed}")
    failures = [(area, *failure) for area in tried for failure in area.failures[:SHOWN]]
    for area, batch, label, trace in failures[: 3 * SHOWN]:
        print(f"\n--- {area.name}: {label}\n    batch {batch!r}\n{trace[-2000:]}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Run all areas, each for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="areas whose name holds this")
    options = parser.parse_args(arguments)
    if not hasattr(os, "fork"):
        parser.error("this needs a system with fork, such as Linux or macOS")
    _prepare()
    begun, tried = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="reptune-soak-") as folder:
        chosen = [area for area in areas(Path(folder)) if options.only in area.name]
        if not chosen:
            parser.error(f"--only {options.only!r} names no area")
        try:
            for area in chosen:
                tried.append(area)
                left = options.minutes * 60 - (time.monotonic() - begun)
                shares = sum(one.share for one in chosen[len(tried) - 1 :])
                area.run(max(0, left) * area.share / shares, options.seed)
                print(f"{area.name}: {area.cases:,} cases, {len(area.failures)} failed", flush=True)
        except KeyboardInterrupt:
            print("stopped early")
    return 1 if report(tried, options.seed, time.monotonic() - begun) else 0


def _prepare() -> None:
    """One thread, no network, a bound on memory, and quiet libraries."""
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    os.environ |= {
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    import torch

    from reptune import runtime

    torch.set_num_threads(1)
    runtime.quiet_libraries()
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
