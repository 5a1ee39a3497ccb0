"""Side by side: plain `Trainer`, the same grouped by length, and this package's tagger, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared import rounds
from shared.common import MODEL, fit_fields
from shared.entities import NEWSWIRE, UNMARKED, score_fields, some, splits
from shared.plain_ner import PlainTagger

from reptune import meter
from reptune.ner import EntityTagger

PLAIN, GROUPED, OURS = "plain Trainer", "Trainer, grouped by length", "reptune"
RANDOM = "reptune, random order"
PIPELINE = "plain pipeline"
LEARNING_RATE = 2e-4  # ch04_choices picks it; the same in all arms


@dataclass(frozen=True)
class Setting:
    """What is timed.

    `sentences` is how many to train on; `texts` how many texts `entities` gets, of the validation
    split, their words joined by spaces; 0 times the training instead.
    """

    sentences: int
    arms: tuple[str, ...]
    rounds: int = 3
    texts: int = 0


SETTINGS = {
    "training, 1 epoch": Setting(2000, (PLAIN, GROUPED, OURS, RANDOM)),
    "training, 1 epoch, all sentences": Setting(14041, (PLAIN, GROUPED, OURS, RANDOM), rounds=1),
    "entities() on raw text": Setting(200, (PIPELINE, OURS), texts=1000),
}


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process."""
    what = SETTINGS[setting]
    train = some(NEWSWIRE, what.sentences, seed)
    model = build(arm, seed)
    with meter.Meter() as cost:
        model.fit(*train)
    tokens, gold = splits(NEWSWIRE)["validation"]
    common = {"method": arm, "setting": setting, "task": NEWSWIRE, "model": MODEL}
    common |= {"labels": what.sentences, "random_state": seed, "split": "validation"}
    if not what.texts:
        scored = score_fields(gold, model.predict(tokens))
        peaks = {"matmul_peak_gflops": rounds.peaks()}
        return {**common, **fit_fields(cost), **scored, **peaks}
    texts = [" ".join(words) for words in tokens[: what.texts]]
    words = sum(map(len, tokens[: what.texts]))
    model.entities(texts[:20])  # the first batch of a process pays for setting up
    with meter.Meter() as cost:
        model.entities(texts)
    return {**common, **fit_fields(cost), "metrics": {"words_per_second": words / cost.seconds}}


def build(arm: str, seed: int) -> Any:
    """The tagger of an arm; batch size, weight decay and warmup are the same in all."""
    if arm in (OURS, RANDOM):
        fast = True if arm == OURS else ("half_precision", "cheap_dropout")
        return EntityTagger(
            MODEL, num_epochs=1, learning_rate=LEARNING_RATE, random_state=seed, fast=fast,
            **UNMARKED,
        )  # fmt: skip
    strategy = "group_by_length" if arm == GROUPED else "random"
    return PlainTagger(MODEL, strategy, 1, LEARNING_RATE, seed)


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
