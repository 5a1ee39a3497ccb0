"""What matters in prompt-based fine-tuning: words, template, rate, steps; three draws, validation.

The draws are not those of `ch06_final`, and validation is not test.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import TASK, Job, few_shot, main, score_fields
from shared.prompts import CAUSAL, WORDS, some

from reptune import meter
from reptune.cloze import PromptTunedClassifier
from reptune.cloze.label_words import search_words
from reptune.cloze.prompt_models import load_prompt_model
from reptune.cloze.templates import Template
from reptune.models.lowrank import GENERAL_START, REVIEW_START

DRAWS = (0, 1, 2)
PER_CLASS = 16
MINILM = "all-MiniLM-L6-v2"
IT_WAS, A_FILM, FIRST = "{text} it was {mask} .", "{text} a {mask} film .", "{mask} . {text}"
REVIEW = "Review: {text}\nSentiment: {mask}"
GREAT = {0: "terrible", 1: "great"}
BASE = {"template": IT_WAS, "words": GREAT, "learning_rate": 1e-4, "num_steps": 40}
BASE_CAUSAL = {"template": REVIEW, "words": WORDS, "learning_rate": 1e-5, "num_steps": 40}
SEARCHED = "words searched"

# One thing at a time, around the first of each model.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    MINILM: {
        "base": {},
        "no training": {"num_steps": 0},
        "5e-5": {"learning_rate": 5e-5},
        "2e-4": {"learning_rate": 2e-4},
        "20 steps": {"num_steps": 20},
        "100 steps": {"num_steps": 100},
        "bad, good": {"words": {0: "bad", 1: "good"}},
        "boring, wonderful": {"words": {0: "boring", 1: "wonderful"}},
        "positive for negative": {"words": {0: "great", 1: "terrible"}},
        SEARCHED: {},
        A_FILM: {"template": A_FILM},
        FIRST: {"template": FIRST},
        "demonstrations": {"per_class": 1},
        "start that read news only": {"adapter": GENERAL_START},
    },
    CAUSAL: {
        "base": {},
        "no training": {"num_steps": 0},
        "3e-5": {"learning_rate": 3e-5},
        "20 steps": {"num_steps": 20},
    },
}

JOBS = [
    {
        "method": variant,
        "model": model,
        "task": TASK,
        "labels": 2 * PER_CLASS,
        "random_state": draw,
    }
    for model, variants in VARIANTS.items()
    for variant in variants
    for draw in (DRAWS if variant != "no training" else DRAWS[:1])
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Fine-tune one variant on one draw, and score validation."""
    texts, labels = few_shot(TASK, PER_CLASS, job["random_state"])
    base = BASE if job["model"] == MINILM else BASE_CAUSAL
    settings = base | VARIANTS[job["model"]][job["method"]]
    if job["method"] == SEARCHED:
        prompt_model = load_prompt_model(MINILM, REVIEW_START)
        found = search_words(prompt_model, Template.of(IT_WAS), texts, labels, top_k=30, top_n=1)
        settings["words"] = found[0][0]
    classifier = PromptTunedClassifier(job["model"], random_state=job["random_state"], **settings)
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    held_texts, held_labels = some("validation")
    yield {
        "split": "validation",
        "words": [settings["words"][label] for label in (0, 1)],
        "seconds": {"fit": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        **score_fields(np.asarray(classifier.predict(held_texts)) == held_labels),
    }


if __name__ == "__main__":
    main(__file__, JOBS, run)
