"""Chapter 3's encoders, made one after the other; how well each fills masks in held-out text."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from shared.common import MODEL, Job, fit_fields, main
from shared.encoders import (
    ARMS,
    NEWS,
    REVIEW_ADAPTER,
    REVIEWS,
    SENTENCES,
    TASK_OF,
    TRAIN_START,
    encoder,
    folder_of,
    held_out,
)

from reptune import meter
from reptune.models.lowrank import GENERAL_START, REVIEW_START, join_adapters
from reptune.models.masked import load_masked_lm, masked_scores, pseudo_perplexity
from reptune.pretraining.packing import pack
from reptune.pretraining.run import ADAPTER, HISTORY

SCORED = {NEWS: 200, REVIEWS: 300, SENTENCES: 1000}  # texts of each test split
FEW = 20  # blocks of 64 tokens for the pseudo-perplexity, which masks one token at a time

JOBS = [
    {"method": arm, "model": MODEL, "labels": 0, "random_state": 42, "split": "test"}
    for arm in ARMS
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Make an arm's encoder, then score it on the test texts of each corpus."""
    arm = job["method"]
    resumed = folder_of(arm).with_name(f"{folder_of(arm).name}.checkpoint").exists()
    with meter.Meter() as cost:
        source = encoder(arm)
    if not ARMS[arm].pooler:  # fills masks as the arm does that it comes from
        return
    if arm == TRAIN_START:
        shutil.copy(Path(source) / ADAPTER, GENERAL_START)
    if arm == REVIEW_ADAPTER:  # it goes on from the general start: both in one file
        join_adapters([GENERAL_START, Path(source) / ADAPTER], REVIEW_START)
    shared = {**fit_fields(cost), "resumed": resumed, "curve": _curve(arm)}
    torch.manual_seed(0)  # of a new head
    loaded = load_masked_lm(source)
    for corpus, count in SCORED.items():
        texts = held_out(corpus, "test", count)
        blocks = pack(texts, loaded.tokenizer, 128)
        scores = masked_scores(loaded.model, blocks, loaded.tokenizer)
        few = pack(texts, loaded.tokenizer, 64).select(range(FEW))
        scores["pseudo_perplexity"] = pseudo_perplexity(loaded.model, few, loaded.tokenizer)
        yield {"task": TASK_OF[corpus], "metrics": scores, **shared}


def _curve(arm: str) -> list[dict[str, float]]:
    """Loss and accuracy on held-out text as the run went; empty for an arm without one."""
    file = folder_of(arm) / HISTORY
    if not file.exists():
        return []
    return [row for row in json.loads(file.read_text("utf-8")) if "eval_loss" in row]


if __name__ == "__main__":
    main(__file__, JOBS, run, side_by_side=False)
