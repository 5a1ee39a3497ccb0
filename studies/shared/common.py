"""What the studies share: a queue of jobs that goes on where it stopped, and the chapter's task."""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from reptune import assets, data, meter, runtime
from reptune.book import results
from reptune.data import splits as splits_module

MODEL = "all-MiniLM-L6-v2"
TASK = "rotten_tomatoes"
SEEDS = (42, 43, 44)
MEMORY_PER_LANE_MB = 4000

Job = dict[str, Any]


def main(
    study_file: str,
    jobs: Iterable[Job],
    run: Callable[[Job], Iterable[Mapping]],
    side_by_side: bool = True,
) -> None:
    """Do the jobs that are not recorded yet, one thread each, as many at once as there are cores.

    One thread per job and several jobs side by side finish sooner than one job on all cores,
    because much of a small model's work does not split. Each job gets a fresh process, so that
    its peak memory is its own.

    Args:
        study_file: The study's `__file__`; its stem names the record file.
        jobs: Each a mapping of record fields that tell it from the others, such as `method` and
            `random_state`. A job is done if they all occur in one record, and no record of the
            job is missing.
        run: From a job to its records, less the fields that the job and `results` fill in.
        side_by_side: `False` gives each job all cores, and takes them in order.
    """
    path = Path(study_file)
    arguments = _arguments(path, side_by_side)
    left = [job for job in jobs if not results.is_done(path.stem, **job)]
    print(f"{path.stem}: {len(left)} jobs to do, {arguments.lanes} at a time", flush=True)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    runtime.quiet_libraries()
    pool = concurrent.futures.ProcessPoolExecutor(
        arguments.lanes,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,
    )
    failed = 0
    with pool:
        waiting = {pool.submit(_do, run, job, arguments): job for job in left}
        for done in concurrent.futures.as_completed(waiting):
            job = waiting[done]
            try:
                _keep(job, done.result(), path)
            except Exception as error:  # the other jobs' results must not be lost for this one
                failed += 1
                print(f"FAILED {job}: {error}", flush=True)
    raise SystemExit(1 if failed else 0)


def in_stages(
    study_file: str, stages: Iterable[Callable[[], Iterable[Job]]], run: Callable
) -> None:
    """Do the jobs of one stage after those of another, whose records they read.

    Args:
        study_file: As of `main`.
        stages: Each called when its turn has come.
        run: As of `main`.

    Raises:
        SystemExit: If a job failed; later stages are not begun.
    """
    for stage in stages:
        try:
            main(study_file, stage(), run)
        except SystemExit as ended:
            if ended.code:
                raise


def _keep(job: Job, records: list[dict], path: Path) -> None:
    """Record a job whole, so that a kill leaves it either done or to be done again."""
    results.append_all([{"study": path.stem, **job, **record} for record in records], path)
    for record in records:
        print(_line(job, record), flush=True)


def _arguments(path: Path, side_by_side: bool) -> argparse.Namespace:
    threads = 1 if side_by_side else os.cpu_count() or 1
    cores = 1 if torch.cuda.is_available() or not side_by_side else os.cpu_count() or 1
    room = int(psutil.virtual_memory().available / 1e6 // MEMORY_PER_LANE_MB)
    parser = argparse.ArgumentParser(prog=path.stem)
    parser.add_argument("--lanes", type=int, default=max(1, min(cores, room)), help="jobs at once")
    parser.add_argument("--threads", type=int, default=threads, help="threads a job")
    return parser.parse_args()


def _do(run: Callable, job: Job, arguments: argparse.Namespace) -> list[dict]:
    torch.set_num_threads(arguments.threads)
    runtime.quiet_libraries()
    try:
        beside = arguments.lanes - 1
        return [
            {"device": runtime.device_name(), "jobs_beside": beside, **record}
            for record in run(job)
        ]
    except Exception as error:  # a traceback does not survive the way back from the pool
        raise RuntimeError(traceback.format_exc()) from error


def _line(job: Job, record: Mapping) -> str:
    fields = {**job, **{name: record[name] for name in ("split", "labels") if name in record}}
    named = " ".join(f"{value}" for value in fields.values())
    scores = " ".join(f"{name}={value:.4f}" for name, value in record["metrics"].items())
    return f"{time.strftime('%H:%M:%S')} {named} {scores} {record['seconds']}"


@functools.cache
def splits(task: str = TASK) -> dict[str, tuple[list[str], np.ndarray]]:
    """Texts and labels of each split."""
    loaded = data.load(task)
    return {
        name: (list(loaded[name]["text"]), np.array(loaded[name]["label"]))
        for name in splits_module.SPLITS
    }


def few_shot(task: str, per_class: int, random_state: int) -> tuple[list[str], np.ndarray]:
    """A draw from a task's train split, as texts and labels."""
    drawn = data.few_shot(data.load(task)["train"], per_class, random_state)
    return list(drawn["text"]), np.array(drawn["label"])


def some(split: str, task: str, items: int | None) -> tuple[list[str], np.ndarray]:
    """So many texts and labels of a split, always the same ones; all of them for `None`."""
    texts, labels = splits(task)[split]
    if items is None or items >= len(texts):
        return texts, labels
    rows = np.random.default_rng(0).permutation(len(texts))[:items]
    return [texts[row] for row in rows], labels[rows]


def chosen() -> dict[str, Any]:
    """The learning rate and epochs with the best validation accuracy in `ch01_choices`.

    Raises:
        SystemExit: If that study has not been run.
    """
    table = results.read("ch01_choices")
    if table.empty:
        raise SystemExit("run ch01_choices first: this study takes its setting from there.")
    best = table.sort_values("metrics.accuracy").iloc[-1]
    return {"learning_rate": float(best.learning_rate), "num_epochs": int(best.num_epochs)}


def measure(
    classifier: Any, train: tuple, *scored: str, task: str = TASK, items: int | None = None
) -> Iterator[dict[str, Any]]:
    """Fit once; for each split to score, yield the fields of a record that follow from that.

    Args:
        classifier: What to fit.
        train: Texts and labels.
        scored: Names of splits.
        task: Whose splits.
        items: Score only so many of a split, always the same ones; `None` scores all.
    """
    with meter.Meter() as cost:
        classifier.fit(*train)
    for split in scored:
        texts, labels = some(split, task, items)
        yield {
            "split": split,
            **fit_fields(cost),
            **score_fields(classifier.predict(texts) == labels),
        }


def fit_fields(cost: meter.Meter) -> dict[str, Any]:
    """What a fit cost, as record fields."""
    return {
        "seconds": {"fit": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
    }


def score_fields(correct: np.ndarray) -> dict[str, Any]:
    """Accuracy, and which items are right, as record fields."""
    return {
        "metrics": {"accuracy": float(correct.mean())},
        "correct": results.pack(correct),
        "items": len(correct),
    }


class FrozenEmbeddings:
    """Embeddings of a frozen sentence transformer under a logistic regression, as in the chapters.

    Args:
        model: An asset's name.
        max_length: Tokens per text; `None` takes the model's setting.
        C: Inverse strength of the logistic regression's penalty.
    """

    def __init__(self, model: str, max_length: int | None = None, C: float = 10) -> None:
        from sentence_transformers import SentenceTransformer

        path = str(assets.resolve_model(model))
        self._embedder = SentenceTransformer(path, device=str(runtime.device()))
        self._embedder.max_seq_length = max_length or self._embedder.max_seq_length
        self._head = LogisticRegression(C=C, max_iter=1000)
        self._known: dict[str, np.ndarray] = {}  # a frozen encoder gives a text one vector

    def fit(self, texts: list[str], labels: np.ndarray) -> None:
        """Embed the texts and fit the logistic regression."""
        self._head.fit(self.encode(texts), labels)

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return the label of each text."""
        return self._head.predict(self.encode(texts))

    def encode(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts; one that was encoded before is not encoded again."""
        new = [text for text in texts if text not in self._known]
        vectors = self._embedder.encode(new, batch_size=64, show_progress_bar=False)
        self._known |= dict(zip(new, vectors, strict=True))
        return np.stack([self._known[text] for text in texts])


def tfidf() -> Any:
    """TF-IDF over words and pairs of words under a logistic regression, as in chapter 1."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
