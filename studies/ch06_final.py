"""Prompt-based fine-tuning on test, beside fine-tuning and in-context learning; five draws.

SetFit and frozen embeddings on the same draws and texts are in `ch02_final`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ch06_choices import BASE, BASE_CAUSAL, DRAWS, MINILM, PER_CLASS, SEARCHED, VARIANTS
from shared.common import TASK, Job, few_shot, fit_fields, main, score_fields, splits
from shared.prompts import CAUSAL, WORDS, unlabeled

from reptune import meter
from reptune.book import results
from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier
from reptune.incontext import InContextClassifier

TEST_DRAWS = (42, 43, 44, 45, 46)
PROMPT, UNTRAINED = "prompt, {}", "no training, {}"
TUNED, IN_CONTEXT = "standard fine-tuning, MiniLM", "in-context, SmolLM2, 4 a class"
SHORT = {MINILM: "MiniLM", CAUSAL: "SmolLM2"}
# What is compared in `ch06_choices`, but is no setting to go on with.
NO_SETTING = ("no training", "positive for negative", "demonstrations", SEARCHED)


def all_jobs() -> Iterator[Job]:
    """The quick ones first."""
    for method, model, draws in (
        (TUNED, MINILM, TEST_DRAWS),
        (PROMPT, MINILM, TEST_DRAWS),
        (UNTRAINED, MINILM, TEST_DRAWS[:1]),
        (UNTRAINED, CAUSAL, TEST_DRAWS[:1]),
        (IN_CONTEXT, CAUSAL, TEST_DRAWS),
        (PROMPT, CAUSAL, TEST_DRAWS),
    ):
        for draw in draws:
            yield {
                "method": method.format(SHORT[model]),
                "model": model,
                "task": TASK,
                "random_state": draw,
            }


def chosen(model: str) -> tuple[str, dict[str, Any]]:
    """The variant of `ch06_choices` with the best mean accuracy over its three draws.

    Raises:
        SystemExit: If that study has not been run.
    """
    table = results.read("ch06_choices")
    if not table.empty:
        table = table[(table["model"] == model) & ~table["method"].isin(NO_SETTING)]
    by_variant = table.groupby("method", sort=False)["metrics.accuracy"] if len(table) else None
    whole = None if by_variant is None else by_variant.mean()[by_variant.count() == len(DRAWS)]
    if whole is None or whole.empty:
        raise SystemExit("run ch06_choices first: this study takes its setting from there.")
    best = whole.idxmax()  # of equal ones the first
    return best, (BASE if model == MINILM else BASE_CAUSAL) | VARIANTS[model][best]


def build(job: Job) -> tuple[Any, dict[str, Any]]:
    """The method of a job, and what its record says about the setting."""
    model, draw = job["model"], job["random_state"]
    if job["method"] == TUNED:  # as in `ch02_label_curve`: 32 labels, 60 steps of 16
        tuned = FineTunedClassifier(model, num_epochs=30, learning_rate=1e-4, random_state=draw)
        return tuned, {"variant": "as in ch02_label_curve"}
    if job["method"] == IN_CONTEXT:
        shown = InContextClassifier(
            model, words=WORDS, per_class=4, calibrate="batch", random_state=draw
        )
        return shown, {"variant": "4 a class, batch calibration"}
    variant, setting = chosen(model)
    if job["method"] == UNTRAINED.format(SHORT[model]):
        setting |= {"num_steps": 0}
    return PromptTunedClassifier(model, random_state=draw, **setting), {"variant": variant}


def run(job: Job, items: int | None = None) -> Iterator[dict[str, Any]]:
    """Train on the job's draw, and score test."""
    classifier, said = build(job)
    texts, labels = few_shot(TASK, PER_CLASS, job["random_state"])
    with meter.Meter() as cost:
        if job["method"] == IN_CONTEXT:
            classifier.fit(texts, labels, unlabeled=unlabeled())
        else:
            classifier.fit(texts, labels)
    texts, labels = (part[:items] for part in splits()["test"])
    with meter.Meter() as scoring:
        predicted = np.asarray(classifier.predict(texts))
    fields = fit_fields(cost)
    fields["seconds"]["predict"] = round(scoring.seconds, 2)
    # No label is read without training, and 8 of the 32 are shown in context.
    read = {IN_CONTEXT: 8}.get(job["method"], 2 * PER_CLASS)
    read = 0 if job["method"].startswith("no training") else read
    yield {"split": "test", "labels": read, **said, **fields, **score_fields(predicted == labels)}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
