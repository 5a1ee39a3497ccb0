"""Eight English questions per topic, tested in six other languages: frozen, SetFit, own labels.

Written down before the first record:

- Texts: `data.topic_questions`, eight topics (Dutch has seven). A draw takes eight English
  questions per topic; ten draws. Whatever may be the translation of one of them is left out of the
  test: the question at the same position of its topic, and the nearest one by the frozen
  `multilingual-e5-small`. All arms of a draw are scored on the same questions.
- "own" is eight questions per topic of the language itself, drawn from those that were left out
  (all of them where there are fewer), so that the test questions are the same.
- Arms: `multilingual-e5-small` and, as the control that cannot, `all-MiniLM-L6-v2`; each frozen
  and with SetFit on English; e5 with SetFit on own labels. SetFit trains the upper half
  of the blocks (6 of 12, 3 of 6), with the defaults otherwise: the embeddings of 250,000 tokens
  then neither move nor cost. The head's C is 10 for all, the default of frozen embeddings.
- Primary comparisons, each a mean over the six languages, which count alike, by Student's interval
  over ten draws: (1) e5, English labels: SetFit minus frozen; (2) SetFit with e5: own labels minus
  English labels; (3) SetFit on English: e5 minus MiniLM. By language they are descriptions.
- Accuracy is what is compared; macro F1 is recorded beside it, because topics differ in size.

Arithmetic, one thread: a job of e5 embeds 1,500 short questions (about 20 s), trains seven SetFits
(about 15 s each) and reads 1,200 test questions three times (45 s): 3 minutes. A job of MiniLM
embeds them with e5 too, to find translations: 1 minute. Ten draws 40 core minutes; the longest job
takes 3 to 5.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from shared.common import Job, fit_fields, main, score_fields
from shared.heads import head
from sklearn.metrics import f1_score

from reptune import data, meter
from reptune.data.questions import LANGUAGES
from reptune.fewshot import FrozenClassifier, SetFitClassifier

STUDY = "ch02_languages"
E5, MINILM = "multilingual-e5-small", "all-MiniLM-L6-v2"
UPPER_HALF = {E5: 6, MINILM: 3}
DRAWS = tuple(range(42, 52))
PER_CLASS = 8
C = 10.0
ENGLISH, OTHERS = LANGUAGES[0], LANGUAGES[1:]
FROZEN, SETFIT = "frozen", "SetFit"
ON_ENGLISH, ON_OWN = "English", "own"

JOBS = [
    {"model": model, "random_state": seed, "split": "test", "step": STUDY}
    for seed in DRAWS
    for model in (E5, MINILM)
]


@dataclass(frozen=True)
class Trial:
    """What a draw trains on and is scored on, in one language.

    Attributes:
        tested: Its questions that no translation can have given away.
        own: Questions of the language itself to train on.
    """

    tested: Dataset
    own: Dataset


@functools.cache
def questions(language: str) -> Dataset:
    """All questions of a language."""
    return data.topic_questions(language)


def drawn(seed: int) -> Dataset:
    """The English questions of a draw."""
    return data.few_shot(questions(ENGLISH), PER_CLASS, seed)


@functools.cache
def frozen(model: str) -> FrozenClassifier:
    """An encoder as it comes, to embed with; what it is fitted on does not matter."""
    return FrozenClassifier(model).fit_label_names(["any", "two"])


@functools.cache
def vectors(language: str) -> np.ndarray:
    """What e5 as it comes makes of all questions of a language."""
    return frozen(E5).embed(questions(language)["text"][:])


def trial(language: str, seed: int) -> Trial:
    """Split a language's questions for a draw of English ones."""
    known, asked = drawn(seed), questions(language)
    english = {text: row for row, text in enumerate(questions(ENGLISH)["text"][:])}
    taught = vectors(ENGLISH)[[english[text] for text in known["text"]]]
    given_away = data.may_translate(asked, known, vectors(language) @ taught.T)
    left, out = (asked.select(np.flatnonzero(part)) for part in (~given_away, given_away))
    return Trial(left, at_most(out, PER_CLASS, seed))


def at_most(rows: Dataset, per_class: int, seed: int) -> Dataset:
    """Draw so many rows of each label, or all where a label has fewer."""
    labels = np.array(rows["label"])
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in np.unique(labels):
        chosen += generator.permutation(np.flatnonzero(labels == label))[:per_class].tolist()
    return rows.select(sorted(chosen))


def classifier(model: str, method: str, seed: int) -> Any:
    """The method of an arm."""
    if method == FROZEN:
        return FrozenClassifier(model, C=C)
    upper = UPPER_HALF[model]
    return SetFitClassifier(model, trainable=upper, head=head(C), random_state=seed)


def run(job: Job) -> Iterator[dict[str, Any]]:
    """All arms of one encoder on one draw."""
    model, seed = job["model"], job["random_state"]
    trials = {language: trial(language, seed) for language in OTHERS}
    for method in (FROZEN, SETFIT):
        made, cost = fitted(model, method, drawn(seed), seed)
        for language, each in trials.items():
            count = len(drawn(seed))
            yield record(made, cost, method, ON_ENGLISH, language, each.tested, count)
    if model == E5:
        for language, each in trials.items():
            made, cost = fitted(model, SETFIT, each.own, seed)
            yield record(made, cost, SETFIT, ON_OWN, language, each.tested, len(each.own))


def fitted(model: str, method: str, rows: Dataset, seed: int) -> tuple[Any, meter.Meter]:
    """A method trained on some questions, and what that cost."""
    made = classifier(model, method, seed)
    with meter.Meter() as cost:
        made.fit(rows["text"][:], rows["label"][:])
    return made, cost


def record(
    made: Any,
    cost: meter.Meter,
    method: str,
    trained_on: str,
    language: str,
    tested: Dataset,
    labels: int,
) -> dict[str, Any]:
    """The fields of a record of one classifier's predictions in one language."""
    gold, predicted = np.array(tested["label"]), made.predict(tested["text"][:])
    scored = score_fields(predicted == gold)
    scored["metrics"]["macro_f1"] = float(f1_score(gold, predicted, average="macro"))
    scored["metrics"]["majority"] = float(np.bincount(gold).max() / len(gold))
    return {
        "method": method, "task": language, "trained_on": trained_on, "labels": labels,
        **fit_fields(cost), **scored,
    }  # fmt: skip


if __name__ == "__main__":
    main(__file__, JOBS, run)
