"""Two texts in one prompt: does a title belong to an opening, and how related are they? Test.

Five draws; 16 pairs of each label, or of each of three grades. The setting is that of single
sentences, `BASE` of `ch06_choices`: nothing was chosen on these pairs.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ch06_choices import BASE, MINILM, PER_CLASS
from shared.common import FrozenEmbeddings, Job, fit_fields, main, score_fields
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import paired_cosine_distances

from reptune import data, meter
from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor

DRAWS = (42, 43, 44, 45, 46)
TEMPLATE = "{text} ? {mask} . {text2}"  # the paper's for pairs, with title and opening
WORDS = ("no", "yes")
SETTING = {name: BASE[name] for name in ("learning_rate", "num_steps")}
SAME, GRADES = "title_pairs", "title_pairs, three grades"
PROMPT, UNTRAINED, TUNED = "prompt", "no training", "standard fine-tuning"
COSINE, MAJORITY, LINE = "cosine, threshold", "majority", "cosine, straight line"

Pair = tuple[str, str]


def all_jobs() -> Iterator[Job]:
    """Both tasks; what draws nothing has one job."""
    for task, methods in (
        (SAME, (MAJORITY, COSINE, UNTRAINED, TUNED, PROMPT)),
        (GRADES, (LINE, UNTRAINED, PROMPT)),
    ):
        labels = PER_CLASS * (2 if task == SAME else 3)
        for method in methods:
            for draw in DRAWS[:1] if method in (MAJORITY, UNTRAINED) else DRAWS:
                yield {
                    "method": method,
                    "model": "none" if method == MAJORITY else MINILM,
                    "task": task,
                    "labels": labels,
                    "random_state": draw,
                }


@functools.cache
def parts(task: str) -> dict[str, Any]:
    """The splits, with what is asked for in the column `label`."""
    loaded = data.title_pairs()
    if task == SAME:
        return dict(loaded)
    # `few_shot` draws of each value of `label`; a grade is 2 * relatedness.
    graded = {}
    for split, rows in loaded.items():
        grades = [round(2 * share) for share in rows["relatedness"]]
        graded[split] = rows.remove_columns("label").add_column("label", grades)
    return graded


def pairs_of(rows: Any) -> tuple[list[Pair], np.ndarray]:
    """Title and opening of each row, and the labels."""
    return list(zip(rows["title"], rows["opening"], strict=True)), np.array(rows["label"])


@functools.cache
def encoder() -> FrozenEmbeddings:
    """The sentence encoder; a text is embedded once in a process."""
    return FrozenEmbeddings(MINILM)


def cosines(pairs: list[Pair]) -> np.ndarray:
    """Of the sentence embeddings of both texts of each pair."""
    sides = [encoder().encode([pair[side] for pair in pairs]) for side in (0, 1)]
    return 1 - paired_cosine_distances(*sides)


def best_threshold(values: np.ndarray, labels: np.ndarray) -> float:
    """Between two neighbors, so that most of the examples lie on their side; the middle of ties."""
    ordered = np.sort(values)
    borders = np.concatenate([[-1.0], (ordered[1:] + ordered[:-1]) / 2, [1.0]])
    right = np.array([((values > border) == labels).mean() for border in borders])
    ties = np.flatnonzero(right == right.max())
    return float(borders[ties[len(ties) // 2]])


def fitted(job: Job, pairs: list[Pair], labels: np.ndarray, **over: Any) -> Callable:
    """Fit a job's method, `over` going over its settings; return what predicts.

    That is labels for `SAME`, shares from 0 to 1 for `GRADES`.
    """
    method, draw = job["method"], job["random_state"]
    if method == MAJORITY:
        return lambda new: np.full(len(new), np.bincount(labels).argmax())
    if method == COSINE:
        threshold = best_threshold(cosines(pairs), labels)
        return lambda new: (cosines(new) > threshold).astype(int)
    if method == LINE:
        line = LinearRegression().fit(cosines(pairs)[:, None], labels / 2)
        return lambda new: line.predict(cosines(new)[:, None])
    if method == TUNED:  # 60 steps of 16, as for single sentences
        tuned = FineTunedClassifier(MINILM, num_epochs=30, learning_rate=1e-4, random_state=draw)
        tuned.set_params(**over)
        tuned.fit([f"{title} [SEP] {opening}" for title, opening in pairs], labels)
        return lambda new: tuned.predict([f"{one} [SEP] {other}" for one, other in new])
    setting = {"template": TEMPLATE, "random_state": draw, **SETTING, **over}
    if method == UNTRAINED:
        setting["num_steps"] = 0
    if job["task"] == SAME:
        words = dict(enumerate(WORDS))
        return PromptTunedClassifier(MINILM, words=words, **setting).fit(pairs, labels).predict
    shares = labels / 2
    return PromptTunedRegressor(MINILM, words=WORDS, **setting).fit(pairs, shares).predict


def run(job: Job, items: int | None = None, **over: Any) -> Iterator[dict[str, Any]]:
    """Fit on a draw and score the pairs of test."""
    splits = parts(job["task"])
    drawn = data.few_shot(splits["train"], PER_CLASS, job["random_state"])
    with meter.Meter() as cost:
        predict = fitted(job, *pairs_of(drawn), **over)
    pairs, labels = (part[:items] for part in pairs_of(splits["test"]))
    found = np.asarray(predict(pairs))
    if job["task"] == SAME:
        yield {"split": "test", **fit_fields(cost), **score_fields(found == labels)}
        return
    shares = labels / 2
    scored = {
        "pearson": float(np.corrcoef(found, shares)[0, 1]),
        "mae": float(np.abs(found - shares).mean()),
    }
    yield {
        "split": "test",
        **fit_fields(cost),
        "metrics": scored,
        "items": len(shares),
        "predicted": np.round(found, 3).tolist(),
    }


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
