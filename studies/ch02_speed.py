"""SetFit side by side: the stock library with its defaults and this package, in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared import rounds
from shared.common import few_shot, fit_fields, score_fields, some
from shared.stock import StockSetFit

from reptune import meter
from reptune.fewshot import SetFitClassifier

STOCK, OURS, PAIRS = "stock setfit", "reptune", "reptune, pair by pair"
ANCESTOR = {"num_iterations": 20, "num_epochs": 3}  # an older notebook's arguments
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"


@dataclass(frozen=True)
class Setting:
    """What is trained on what; `scored` says how many validation texts are scored."""

    task: str
    model: str
    per_class: int
    arms: tuple[str, ...]
    rounds: int
    max_length: int | None = None
    scored: int = 200
    stock: dict[str, Any] = field(default_factory=dict)  # what differs from the library's defaults


SETTINGS = {
    "mpnet, reviews, 16 a class": Setting("rotten_tomatoes", MPNET, 16, (STOCK, OURS), 3),
    "MiniLM, reviews, 16 a class": Setting("rotten_tomatoes", MINILM, 16, (STOCK, PAIRS, OURS), 3),
    "MiniLM, news, 8 a class": Setting("bbc_news", MINILM, 8, (STOCK, OURS), 2, 128),
    "mpnet, reviews, stock with 20 iterations and 3 epochs": Setting(
        "rotten_tomatoes", MPNET, 16, (STOCK, OURS), 1, stock=ANCESTOR
    ),
}


def build(arm: str, what: Setting, seed: int) -> Any:
    """The classifier of an arm."""
    if arm == STOCK:
        return StockSetFit(what.model, seed, what.max_length, **what.stock)
    pairs = {"efficient": False, "learning_rate": 2e-5} if arm == PAIRS else {}
    return SetFitClassifier(what.model, max_length=what.max_length, random_state=seed, **pairs)


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process."""
    what = SETTINGS[setting]
    texts, labels = few_shot(what.task, what.per_class, seed)
    classifier = build(arm, what, seed)
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    held_texts, held_labels = some("validation", what.task, what.scored)
    return {
        "method": arm,
        "setting": setting,
        "task": what.task,
        "model": what.model,
        "labels": len(texts),
        "random_state": seed,
        "split": "validation",
        **fit_fields(cost),
        **score_fields(classifier.predict(held_texts) == held_labels),
        "matmul_peak_gflops": rounds.peaks(),
    }


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
