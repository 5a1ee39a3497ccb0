"""The middle way: SmolLM2's hidden states under a logistic regression, by block; five draws."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from shared.common import TASK, FrozenEmbeddings, Job, few_shot, main, score_fields, splits
from shared.prompts import CAUSAL
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reptune import meter
from reptune.models.causal import load_causal_lm

DRAWS = (42, 43, 44, 45, 46)
PER_CLASS = (4, 16, 64)
LAYERS = (5, 10, 15, 20, 25, 30)
POOLINGS = ("last", "mean")
ASKED = "Review: {}\nSentiment:"
PROMPT = "prompt"  # the last token of "Review: … Sentiment:", which is about to answer
MINILM = "all-MiniLM-L6-v2"

JOBS = [
    *({"method": pooling, "model": CAUSAL, "task": TASK} for pooling in (*POOLINGS, PROMPT)),
    {"method": "sentence embeddings", "model": MINILM, "task": TASK},
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Encode once, then fit on every draw and score validation and test."""
    encode = _encoder(job)
    scored = {split: splits(TASK)[split] for split in ("validation", "test")}
    with meter.Meter() as cost:
        held = {split: encode(texts) for split, (texts, _) in scored.items()}
    spent = {
        "seconds": {"encode": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
    }
    for per_class, draw in product(PER_CLASS, DRAWS):
        texts, labels = few_shot(TASK, per_class, draw)
        for index, vectors in enumerate(encode(texts)):
            head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
            head.fit(vectors, labels)
            for split, (_, held_labels) in scored.items():
                yield {
                    "layer": LAYERS[index] if job["model"] == CAUSAL else None,
                    "labels": 2 * per_class,
                    "random_state": draw,
                    "split": split,
                    **spent,
                    **score_fields(head.predict(held[split][index]) == held_labels),
                }


def _encoder(job: Job) -> Callable[[list[str]], np.ndarray]:
    """From texts to vectors of each layer, `(layers, n, dimensions)`."""
    if job["model"] == MINILM:
        embeddings = FrozenEmbeddings(MINILM)
        return lambda texts: embeddings.encode(texts)[None]
    lm, pooling = load_causal_lm(CAUSAL), job["method"]
    shape, pooling = (ASKED, "last") if pooling == PROMPT else ("{}", pooling)
    return lambda texts: lm.hidden_states(
        [shape.format(text) for text in texts], layer=LAYERS, pooling=pooling, half_precision=True
    )


if __name__ == "__main__":
    main(__file__, JOBS, run)
