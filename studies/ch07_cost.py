"""Teacher and student in one run: texts per second, memory, price, and the break-even count.

Written before any record. Asking the teacher for each text costs nothing before the first one; a
student must have its rows written and be trained first, and is then faster. From how many texts on
is it cheaper?

Three rounds, seeds 42 to 44. Each lets Qwen2.5-Coder 0.5B write 300 sentiment rows, as
`ch07_generate` does but timed with nothing beside it, trains two students on them (frozen MiniLM
under a logistic regression, MiniLM fine-tuned), exports the second to ONNX, and then lets the four
label the same 256 test sentences, one arm after the other, three times in turn; the round's time of
an arm is its least. Arms are loaded and warm before. The teacher is `TeacherLabeler`: it scores
both labels without examples, calibrated, in bfloat16 where the machine computes in it, over one
shared prefix, which is several times as fast as a plain loop. Memory is that of a fresh process
that loads the arm and labels them.

Primary comparison: the teacher against the ONNX export, as the number of texts from which writing
the rows, training, exporting and labeling take less machine time than the teacher's labeling;
median and range of the rounds. Where both run on the same cores, a price per core and hour cancels
out of it. Dollars are computed with the assumed `PRICE`, a round number and no offer of any
provider; they scale with it. Accuracy on the 256 sentences stands beside the costs, since a cheap
wrong label is no bargain. No human's time is counted, and no hosted teacher.

Planned: 15 minutes on two cores with nothing beside them. Cut down before any record, since machine
time is short: three rounds in place of five, 300 rows in place of 1,000.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared.common import SEEDS, Job, main, score_fields
from shared.prompted import (
    MAX_LENGTH,
    MINILM,
    QWEN,
    SENTIMENT,
    task_of,
    test_set,
)

from reptune import runtime
from reptune.book import results
from reptune.classification import FineTunedClassifier
from reptune.fewshot import FrozenClassifier
from reptune.pipeline.export import export_model
from reptune.pipeline.onnx_runner import Runner
from reptune.prompt2model.generator import ListGenerator
from reptune.prompt2model.labelers import TeacherLabeler
from reptune.prompt2model.task import Sample, Task
from reptune.prompt2model.teachers import LocalTeacher

PRICE = 0.05  # dollars for a core and hour: assumed
ROWS, TEXTS, TURNS, WARM = 300, 256, 3, 32
TEACHER, FROZEN, TUNED, EXPORT = "teacher", "frozen", "fine-tuned", "fine-tuned, ONNX"
MODELS = {TEACHER: QWEN, FROZEN: MINILM, TUNED: MINILM, EXPORT: MINILM}

JOBS = [{"setting": "in turn", "task": SENTIMENT, "random_state": seed} for seed in SEEDS]

# How a fresh process gets what labels texts. The export's needs neither reptune nor PyTorch.
LOADED = {
    TEACHER: "from shared.prompted import QWEN, SENTIMENT, task_of\n"
    "from reptune.prompt2model.labelers import TeacherLabeler\n"
    "label = TeacherLabeler(task_of(SENTIMENT), QWEN).probabilities\n",
    FROZEN: "from reptune import load\nlabel = load(folder).predict\n",
    TUNED: "from reptune import load\nlabel = load(folder).predict\n",
    EXPORT: "sys.path.insert(0, folder)\nfrom runner import Runner\n"
    "label = Runner(threads=threads).predict\n",
}
MEASURED = """
label(texts)
lines = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Vm"))
print(json.dumps([int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmHWM", "VmRSS")]))
"""


def run(job: Job) -> Iterator[dict[str, Any]]:
    """One round: train, then label in turn, then weigh."""
    texts, gold = (rows[:TEXTS] for rows in drawn(job["random_state"]))
    samples: list[Sample] = []
    write = _seconds(lambda: samples.extend(written(job["random_state"])))
    with runtime.scratch_folder() as folder:
        arms, once = trained(folder, samples, job["random_state"])
        seconds, found = in_turn({TEACHER: asked(task_of(job["task"])), **arms}, texts)
        memory = {arm: weighed(arm, folder / arm, texts) for arm in MODELS}
    each = {arm: min(rounds) / len(texts) for arm, rounds in seconds.items()}
    for arm, rounds in seconds.items():
        spent = {"write": write, **once[arm]} if arm in once else {}
        before = sum(spent.values())
        peak, resident = memory[arm]
        yield {
            "method": arm, "model": MODELS[arm], "split": "test",
            "labels": len(samples) if spent else 0,
            **score_fields(found[arm] == gold),
            "seconds": {"predict": min(rounds), **spent},
            "rounds": [round(one, 4) for one in rounds],
            "texts_per_second": 1 / each[arm],
            "times_as_fast": each[TEACHER] / each[arm],
            "break_even": break_even(before, each[arm], each[TEACHER]) if spent else None,
            "dollars_once": dollars(before),
            "dollars_a_million": dollars(1e6 * each[arm]),
            "price": PRICE, "cores": torch.get_num_threads(),
            "peak_memory_mb": round(peak), "resident_memory_mb": round(resident),
            "load": os.getloadavg()[0],
        }  # fmt: skip


def asked(task: Task) -> Callable[[list[str]], np.ndarray]:
    """What labels texts by asking the teacher for each."""
    labeler, names = TeacherLabeler(task, QWEN), np.array(task.labels)
    return lambda texts: names[labeler.probabilities(texts).argmax(axis=1)]


def drawn(seed: int) -> tuple[list[str], np.ndarray]:
    """Texts and labels of the test split, in an order of the round's own."""
    texts, labels = test_set(SENTIMENT)
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[row] for row in order], labels[order]


def written(seed: int) -> list[Sample]:
    """What the teacher writes with a seed."""
    generator = ListGenerator(LocalTeacher(QWEN))
    texts, _ = test_set(SENTIMENT)
    generated = generator.generate(
        task_of(SENTIMENT), count=ROWS, random_state=seed, test_texts=texts
    )
    return list(generated.samples)


def trained(
    folder: Path, samples: Sequence[Sample], seed: int
) -> tuple[dict[str, Callable[[list[str]], Any]], dict[str, dict[str, float]]]:
    """What the students predict with, and the seconds that each took before, by step."""
    rows = [sample.input for sample in samples], [sample.output for sample in samples]
    frozen = FrozenClassifier(MINILM, max_length=MAX_LENGTH)
    tuned = FineTunedClassifier(
        MINILM, max_length=MAX_LENGTH, random_state=seed, show_progress=False
    )
    once = {arm: {"fit": _seconds(lambda student=student: student.fit(*rows))}
            for arm, student in ((FROZEN, frozen), (TUNED, tuned))}  # fmt: skip
    export = _seconds(lambda: export_model(tuned, folder / EXPORT))
    once[EXPORT] = once[TUNED] | {"export": export}
    frozen.save(folder / FROZEN)
    tuned.save(folder / TUNED)
    runner = Runner(folder / EXPORT, threads=torch.get_num_threads())
    return {FROZEN: frozen.predict, TUNED: tuned.predict, EXPORT: runner.predict}, once


def in_turn(
    arms: dict[str, Callable[[list[str]], Any]], texts: list[str]
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Seconds of each turn, and labels, by arm."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    found: dict[str, np.ndarray] = {}
    for predict in arms.values():
        predict(texts[:WARM])
    for _ in range(TURNS):
        for name, predict in arms.items():
            begun = time.perf_counter()
            found[name] = np.asarray(predict(texts))
            seconds[name].append(time.perf_counter() - begun)
    return seconds, found


def weighed(arm: str, folder: Path, texts: list[str]) -> tuple[float, float]:
    """Highest resident memory of a process that loads an arm and labels texts, and that after it.

    In MB. The kernel's own count of the process is asked, since `getrusage` in a process that was
    just started can tell the memory of the one that started it.
    """
    head = "import json, sys\nfolder, threads, texts = json.load(sys.stdin)\n"
    done = subprocess.run(
        [sys.executable, "-c", head + LOADED[arm] + MEASURED],
        input=json.dumps([str(folder), torch.get_num_threads(), texts]),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peak, resident = json.loads(done.stdout.splitlines()[-1])
    return peak, resident


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def break_even(before: float, student: float, teacher: float) -> float | None:
    """The number of texts from which on a student is cheaper; `None` if it never is.

    Args:
        before: Seconds until the student can label.
        student: Seconds per text, like the next.
        teacher: Of the teacher, which needs none before.
    """
    return math.ceil(before / (teacher - student)) if student < teacher else None


def dollars(seconds: float) -> float:
    """The price of so many seconds on all the cores that were used."""
    return PRICE * torch.get_num_threads() * seconds / 3600


def medians() -> str:
    """A line for each arm: medians of the recorded rounds, and their range."""
    lines = []
    for arm, rounds in results.read(Path(__file__).stem).groupby("method", sort=False):
        shown = [f"{arm:<18}"]
        for name in ("texts_per_second", "times_as_fast", "break_even", "dollars_a_million",
                     "peak_memory_mb", "metrics.accuracy"):  # fmt: skip
            values = rounds[name].dropna()
            if len(values):
                shown.append(f"{name} {statistics.median(values):,.3f} "
                             f"[{values.min():,.3f}, {values.max():,.3f}]")  # fmt: skip
        lines.append("  ".join(shown))
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main(__file__, JOBS, run, side_by_side=False)
    finally:
        print(medians())
