"""How much should all labels together count when the threshold of one label is chosen?

Where texts have several labels, `reptune.multilabel` gives each label the threshold of the highest
F1 on out-of-fold probabilities. A label that five texts have is then thresholded by luck. So all
labels together are counted as so many more texts, `POOLED_TEXTS`. A first look at these same
validation tweets, before this was written down, had chosen 10; the study records what it rests on.

- Which of ten entity types does a tweet name? 200 and 400 training tweets, five draws, and all
  1,595; frozen embeddings; scored on validation.
- Candidates: 0 (each label alone), 5, 10, 20 and 50 texts, one threshold for all, and one half.
- Cost: about two minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from shared.common import MODEL, Job, fit_fields, main

from reptune import data, meter
from reptune.checks import label_lists
from reptune.fewshot import FrozenClassifier
from reptune.multilabel import best_thresholds, multilabel_scores, out_of_fold

SIZES, SEEDS, ALL = (200, 400), (42, 43, 44, 45, 46), 1595
POOLED = {"each label alone": 0, "5": 5, "10": 10, "20": 20, "50": 50, "one threshold": 1e6}


def jobs() -> Iterator[Job]:
    """One size and one seed each; all tweets once."""
    for size, seed in [*((size, seed) for size in SIZES for seed in SEEDS), (ALL, SEEDS[0])]:
        yield {
            "task": "wnut16_types",
            "model": MODEL,
            "random_state": seed,
            "split": "validation",
            "labels": size,
        }


def tweets(split: str) -> tuple[list[str], list[list[str]]]:
    """The tweets of a split and the entity types that each names."""
    rows = data.load("wnut16")[split]
    texts = [" ".join(words) for words in rows["tokens"]]
    return texts, [sorted({tag[2:] for tag in tags if tag != "O"}) for tags in rows["ner_tags"]]


def run(job: Job) -> Iterator[dict]:
    """Score every rule on one draw, which is fitted once."""
    texts, types = tweets("train")
    chosen = np.random.default_rng(job["random_state"]).permutation(len(texts))[: job["labels"]]
    texts, types = [texts[row] for row in chosen], [types[row] for row in chosen]
    held_texts, held_types = tweets("validation")
    with meter.Meter() as cost:
        classifier = FrozenClassifier(thresholds=0.5).fit(texts, types)
        classes = classifier.classes_
        indicator = np.array([[name in row for name in classes] for row in types])
        unseen = out_of_fold(classifier, texts, classes, indicator, job["random_state"])
    probabilities = classifier.predict_proba(held_texts)
    rules = {name: best_thresholds(indicator, unseen, pooled) for name, pooled in POOLED.items()}
    known = sorted({name for row in held_types for name in row} | set(classes.tolist()))
    for method, thresholds in {**rules, "one half": np.full(len(classes), 0.5)}.items():
        predicted = label_lists(probabilities >= thresholds, classes)
        scores = multilabel_scores(held_types, predicted, known)
        yield {"method": method, "metrics": scores, **fit_fields(cost)}


if __name__ == "__main__":
    main(__file__, jobs(), run)
