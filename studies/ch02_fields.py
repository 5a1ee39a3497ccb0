"""What to feed of an article: headline, body or both, and how much, to SetFit and frozen."""

from collections.abc import Iterator
from typing import Any

from shared.common import Job, few_shot, fit_fields, main, score_fields, splits

from reptune import meter
from reptune.fewshot import SetFitClassifier

DRAWS = (0, 1, 2)
TASK, MODEL, PER_CLASS, MAX_LENGTH = "bbc_news", "all-MiniLM-L6-v2", 8, 128


def fields(text: str) -> tuple[str, str]:
    """Headline and body: the first line of an article, and the rest."""
    headline, _, body = text.partition("\n")
    return headline.strip(), " ".join(body.split())


PARTS = {
    "headline": lambda headline, body: headline,
    "body": lambda headline, body: body,
    "headline. body": lambda headline, body: f"{headline}. {body}",
    "headline [SEP] body": lambda headline, body: f"{headline} [SEP] {body}",
    "body. headline": lambda headline, body: f"{body}. {headline}",
}
# A part, and how many tokens of it: 128, and for the usual way of joining fewer and more.
FED = {part: (part, MAX_LENGTH) for part in PARTS} | {
    f"headline. body, {length} pieces": ("headline. body", length) for length in (64, 256)
}
METHODS: dict[str, dict[str, Any]] = {"SetFit": {}, "frozen": {"trainable": "head"}}

JOBS = [
    {
        "method": method,
        "fields": part,
        "model": MODEL,
        "task": TASK,
        "labels": PER_CLASS * 5,
        "random_state": seed,
    }
    for part in FED
    for method in METHODS
    for seed in DRAWS
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on one draw of the chosen part, and score the same part of validation."""
    part, length = FED[job["fields"]]

    def chosen(texts: list[str]) -> list[str]:
        return [PARTS[part](*fields(text)) for text in texts]

    texts, labels = few_shot(TASK, PER_CLASS, job["random_state"])
    classifier = SetFitClassifier(
        MODEL, max_length=length, random_state=job["random_state"], **METHODS[job["method"]]
    )
    with meter.Meter() as cost:
        classifier.fit(chosen(texts), labels)
    held_texts, held_labels = splits(TASK)["validation"]
    correct = classifier.predict(chosen(held_texts)) == held_labels
    yield {"split": "validation", **fit_fields(cost), **score_fields(correct)}


if __name__ == "__main__":
    main(__file__, JOBS, run)
