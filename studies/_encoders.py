"""The encoders that chapter 3 compares, made where they are missing, and the texts they read."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import MODEL

from reptune import data
from reptune.pretraining import GENERAL_START, continue_pretraining, load_masked_lm

FOLDER = Path(__file__).resolve().parents[1] / "_build" / "encoders"
NEWS, REVIEWS, SENTENCES = "news", "reviews", "sentences"
TASKS = ("rotten_tomatoes", "bbc_news", "imdb")


@dataclass(frozen=True)
class Arm:
    """One way to get an encoder: from where, on which texts, how.

    Attributes:
        start: Another arm, an asset's name.
        texts: Which corpus; `None` trains nothing.
        settings: Of `continue_pretraining`.
    """

    start: str
    texts: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


SHIPPED, GENERAL, DOMAIN, TASK, BOTH = (
    "as shipped", "general start", "domain-adaptive", "task-adaptive", "both",
)  # fmt: skip
ARMS = {
    SHIPPED: Arm(MODEL),
    GENERAL: Arm(MODEL),
    DOMAIN: Arm(GENERAL, REVIEWS, {"num_steps": 1500}),
    TASK: Arm(GENERAL, SENTENCES, {"num_steps": 300}),
    BOTH: Arm(DOMAIN, SENTENCES, {"num_steps": 300}),
}


def encoder(name: str) -> str | Path:
    """The folder of an arm's encoder, made now if it is not there; resumes where it stopped."""
    arm, folder = ARMS[name], FOLDER / name.replace(" ", "-")
    if name == SHIPPED:
        return arm.start
    if folder.exists():
        return folder
    if name == GENERAL:
        load_masked_lm(MODEL, GENERAL_START).save(folder)
        return folder
    start = encoder(arm.start) if arm.start in ARMS else arm.start
    held_out = {REVIEWS: "imdb", SENTENCES: "rotten_tomatoes"}[arm.texts]
    validation = list(data.load(held_out)["validation"]["text"])[:300]
    return continue_pretraining(
        start, corpus(arm.texts), folder, validation=validation, **arm.settings
    )


@functools.cache
def corpus(name: str) -> tuple[str, ...]:
    """The texts of a corpus, none of which is in any task's validation or test split."""
    if name == NEWS:
        sentences = (" ".join(tokens) for tokens in data.load("conll2003")["train"]["tokens"])
        texts = [*data.load("bbc_news")["train"]["text"], *sentences]
    else:
        task = {REVIEWS: "imdb", SENTENCES: "rotten_tomatoes"}[name]
        texts = list(data.load(task)["train"]["text"])
    return tuple(data.domain_corpus(texts, held_out())[0])


@functools.cache
def held_out() -> tuple[str, ...]:
    """All texts of the validation and test splits."""
    return tuple(
        text
        for task in TASKS
        for split in ("validation", "test")
        for text in data.load(task)[split]["text"]
    )
