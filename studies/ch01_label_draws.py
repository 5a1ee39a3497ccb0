"""From how many labels on is fine-tuning ahead of frozen embeddings? Ten draws where it is close.

Question. `ch01_label_curve` has three draws of each size. With 100 labels fine-tuning was 2.0
points [−0.6, 4.5] above frozen embeddings, with 250 labels 2.9 [−0.1, 5.9]: open. It also trained
on 50 and 100 labels for 80 and 112 steps, and since then `ch01_minimum_steps` has found that a new
head needs about 240. Here fine-tuning gets them, and the draws are ten.

Arms. Full fine-tuning at 1e-4, two epochs or as many as 240 steps take, the rule of the class's
default; frozen embeddings and TF-IDF, each under a logistic regression with C = 10, as in the
chapter. Nothing is tuned for a size. 50 to 2,500 labels of the train split, balanced and nested;
draws 42 to 51, of which the first three are those of `ch01_label_curve`; for fine-tuning with 1,000
and 2,500 labels, where three draws were enough, 42 to 46. A draw's seed is the training's too.
Scored on validation, as all curves are.

Primary comparison: fine-tuning minus frozen embeddings with 100 labels, ten draws; paired bootstrap
over sentences and draws. Secondary, marked so and uncorrected: the other sizes; both minus TF-IDF;
and on draws 42 to 44 the new fine-tuning minus the old, which says what the steps brought.
The rule for "from n labels on": the smallest size from which on all intervals of fine-tuning minus
frozen lie above zero.

Smallest detectable difference (four tries of five): with three draws and 100 labels the interval
was ±2.6 points, so 3.6; most of its width came from the draws, of which there are now ten: about 2.

Hours. On one thread beside another a step of 16 sentences takes 0.32 s, scoring 12 s, a job's start
8 s. 240 to 260 steps: 40 fits of 50 to 500 labels x 100 s = 4,000 s; five of 1,000 x 105 s and five
of 2,500 (314 steps) x 125 s = 1,150 s; baselines ten x 45 s = 450 s. Together 5,600 s: 1.6
core-hours, 47 minutes on two cores.
"""

from collections.abc import Iterator

from shared.common import MODEL, TASK, FrozenEmbeddings, Job, few_shot, main, measure, tfidf

from reptune.classification import FineTunedClassifier

FIRST_DRAW = 42
DRAWS = {50: 10, 100: 10, 250: 10, 500: 10, 1000: 5, 2500: 5}  # of fine-tuning, by labels
BASELINE_DRAWS = 10
LEARNING_RATE, BATCH_SIZE = 1e-4, 16
EPOCHS, LEAST_STEPS = 2, 240  # as `FineTunedClassifier` takes them where nobody says
TUNED = "full fine-tuning"
FROZEN, WORDS = "frozen embeddings + logistic regression", "TF-IDF + logistic regression"
MODELS = {FROZEN: MODEL, WORDS: "none"}


def epochs_for(labels: int) -> int:
    """Two epochs, or as many as `LEAST_STEPS` take."""
    return max(EPOCHS, -(-LEAST_STEPS // -(-labels // BATCH_SIZE)))


def jobs() -> Iterator[Job]:
    """Draw by draw; the baselines take one job for all sizes, since each text is encoded once."""
    for draw in range(FIRST_DRAW, FIRST_DRAW + BASELINE_DRAWS):
        common = {"task": TASK, "random_state": draw, "split": "validation"}
        for labels, draws in sorted(DRAWS.items(), reverse=True):
            if draw < FIRST_DRAW + draws:
                setting = {"learning_rate": LEARNING_RATE, "num_epochs": epochs_for(labels)}
                yield {"method": TUNED, "model": MODEL, "labels": labels, **common, **setting}
        for method, model in MODELS.items():
            yield {"method": method, "model": model, **common}


def run(job: Job) -> Iterator[dict]:
    """One method on its draws of labels; a smaller draw is part of the larger ones."""
    seed = job["random_state"]
    if job["method"] == TUNED:
        classifier = FineTunedClassifier(
            MODEL,
            num_epochs=job["num_epochs"],
            learning_rate=job["learning_rate"],
            batch_size=BATCH_SIZE,
            random_state=seed,
        )
        yield from measure(classifier, few_shot(TASK, job["labels"] // 2, seed), "validation")
        return
    classifier = tfidf() if job["method"] == WORDS else FrozenEmbeddings(MODEL)
    for labels in DRAWS:
        for record in measure(classifier, few_shot(TASK, labels // 2, seed), "validation"):
            yield {**record, "labels": labels}


if __name__ == "__main__":
    main(__file__, jobs(), run)
