"""Small tables to learn from, whose labels are easy, hard or impossible to tell."""

import numpy as np

from reptune.pipeline.examples import Examples

FILLERS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()  # noqa: SIM905


def texts_and_labels(rows=60, classes=2, random_state=0, told=1.0):
    """Texts that hold their label's key word with the probability `told`, else any label's."""
    generator = np.random.default_rng(random_state)
    texts, labels = [], []
    for row in range(rows):
        label = row % classes
        key = label if generator.random() < told else generator.integers(classes)
        texts.append(f"{' '.join(generator.choice(FILLERS, 4))} key{key} row{row}")
        labels.append(f"team {label}")
    return texts, labels


def table(*args, **kwargs):
    texts, labels = texts_and_labels(*args, **kwargs)
    return Examples("label", texts, labels, "mine.csv", "ab" * 32)


def shuffled(rows=60, random_state=0):
    texts, labels = texts_and_labels(rows)
    labels = np.random.default_rng(random_state).permutation(labels).tolist()
    return Examples("label", texts, labels, "mine.csv", "ab" * 32)
