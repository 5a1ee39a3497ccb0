"""Seconds to the same accuracy: stock setfit stopped after some steps, and this package, in turn.

Written down before the first record:

- Settings: MiniLM on reviews with 16 labels per class, four rounds, and on news with 8, three; each
  round is a draw of labels, and every arm a fresh process with all cores to itself. Accuracy is
  that of the whole validation split.
- Arms: stock `setfit` with `max_steps` 5, 10, 20 and 40 and its whole epoch, otherwise with its
  defaults (16 pairs per step, 2e-5); the package with its defaults (5 steps), and with 10 and 20,
  to see whether more steps would help it too. On news, where a step costs four times as much, the
  stock library with 40 steps and the package with 10 and 20 are left out. The head's penalty is
  C = 1 for all, both defaults.
- Primary: for each stock arm the accuracy of the package minus its own, paired over draws and
  texts, beside both medians of seconds. "The same accuracy" is the first number of stock steps
  from which on the interval holds zero; if it does so from 5 steps on, the ratio of seconds is
  taken there, and the smallest detectable difference is printed beside it.

Arithmetic, two cores and nothing else on them: a round on reviews takes the stock arms 96 s
(measured before: 4.8, 9.2, 17.9, 34.2 and 29.5 s), the package 20 s and eight processes 8 x 12 s
with scoring: 212 s; four rounds 14 minutes. A round on news: stock 19, 37, 72 and 210 s, the
package 10 s, five processes 5 x 20 s: 450 s; three rounds 22 minutes. In all 36 minutes, 72 core
minutes. It has no lanes; `--minutes 25` stops between rounds, and another call goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared import rounds
from shared.common import few_shot, fit_fields, score_fields, some
from shared.stock import StockSetFit

from reptune import meter
from reptune.fewshot import SetFitClassifier

MINILM = "all-MiniLM-L6-v2"
STOCK_STEPS, OWN_STEPS = (5, 10, 20, 40), (10, 20)
EPOCH, OURS = "stock, whole epoch", "reptune"


def stock(steps: int) -> str:
    """The name of a stock arm."""
    return f"stock, {steps} steps"


def ours(steps: int) -> str:
    """The name of an arm of this package with more steps than its default."""
    return f"reptune, {steps} steps"


ARMS = {
    EPOCH: {},
    **{stock(steps): {"max_steps": steps} for steps in STOCK_STEPS},
    OURS: {},
    **{ours(steps): {"num_steps": steps} for steps in OWN_STEPS},
}


ON_NEWS = (EPOCH, *map(stock, STOCK_STEPS[:3]), OURS)


@dataclass(frozen=True)
class Setting:
    """What is trained on what."""

    task: str
    per_class: int
    rounds: int
    max_length: int | None = None
    arms: tuple[str, ...] = tuple(ARMS)


SETTINGS = {
    "reviews, 16 labels per class": Setting("rotten_tomatoes", 16, 4),
    "news, 8 labels per class": Setting("bbc_news", 8, 3, 128, ON_NEWS),
}


def build(arm: str, what: Setting, seed: int) -> Any:
    """The classifier of an arm."""
    if arm.startswith("stock"):
        return StockSetFit(MINILM, seed, what.max_length, **ARMS[arm])
    return SetFitClassifier(MINILM, max_length=what.max_length, random_state=seed, **ARMS[arm])


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process."""
    what = SETTINGS[setting]
    texts, labels = few_shot(what.task, what.per_class, seed)
    classifier = build(arm, what, seed)
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    held_texts, held_labels = some("validation", what.task, None)
    return {
        "method": arm,
        "setting": setting,
        "task": what.task,
        "model": MINILM,
        "labels": len(texts),
        "random_state": seed,
        "split": "validation",
        **fit_fields(cost),
        **score_fields(classifier.predict(held_texts) == held_labels),
        "matmul_peak_gflops": rounds.peaks(),
    }


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
