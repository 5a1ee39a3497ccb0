"""A tuned mpnet teaches MiniLM and static models with texts that nobody labeled: score and speed.

Written down before the first record:

- Task: reviews (`rotten_tomatoes`, two labels), 16 labels per class, four draws; test. The teacher
  is `SetFitClassifier("all-mpnet-base-v2")` with its defaults. It reads 2,000 training texts, whose
  labels nobody reads, and gives each its probabilities.
- Students: MiniLM that learns the teacher's cosines in two passes over the texts and then its
  probabilities (`distill`); MiniLM frozen with the teacher's probabilities; a static model with the
  teacher's token vectors (`StaticClassifier`); words counted, on the teacher's labels (TF-IDF).
- Without a teacher: MiniLM with SetFit, and TF-IDF, on the same 32 labels.
- The stock library's distillation of the same teacher's texts, whose pairs all have the target 1
  (setfit 1.2): the same body, head fitted on the teacher's labels; 1,000 pairs.
- A reference, where the extra `static` is installed and only there: a static model that Model2Vec
  makes of the teacher, under a logistic regression on the teacher's probabilities. It has a job of
  its own per draw, so that it can be added later.
- Primary comparisons, paired over draws and texts: (1) distilled MiniLM minus MiniLM with SetFit
  on the labels; (2) the teacher minus distilled MiniLM; (3) the static model minus TF-IDF on the
  teacher's labels; (4) distilled MiniLM minus the stock library's.
- Speed: texts per second of `predict` on 200 test sentences, one thread, the median of three
  passes; recorded with each record.

Arithmetic, one thread: a teacher 30 s, its 2,000 + 1,066 texts at 17 a second 180 s, its speed
35 s, MiniLM's 126 steps of 32 texts 115 s, MiniLM's 2,000 + 1,066 texts three times 80 s, token
vectors of mpnet 240 s, the stock library 80 s, the rest 20 s: 13 minutes a draw, four draws 52 core
minutes; a kill loses at most one job of 13 minutes. Model2Vec, where it is there, takes 8 minutes a
draw more.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shared.common import Job, few_shot, fit_fields, main, score_fields, some, splits, tfidf
from shared.stock import StockSetFit

from reptune import meter
from reptune.fewshot import FrozenClassifier, SetFitClassifier, StaticClassifier
from reptune.fewshot.distillation import fit_on_shares
from reptune.fewshot.frozen import MAX_ITERATIONS

STUDY = "ch02_distillation"
TASK, PER_CLASS = "rotten_tomatoes", 16
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
DRAWS = (42, 43, 44, 45)
UNLABELED, PASSES, BATCH = 2000, 2, 32
STOCK_PAIRS = 1000
TIMED = 200  # sentences of test
TEACHER = "teacher: SetFit, mpnet"
DISTILLED, FROZEN_TAUGHT = "MiniLM, distilled", "MiniLM, frozen, the teacher's probabilities"
STATIC, COUNTED = "static", "TF-IDF, the teacher's labels"
MODEL2VEC, STOCK = "static, by Model2Vec", "MiniLM, distilled by setfit"
STUDENTS = "students"
ALONE, COUNTED_ALONE = "MiniLM, SetFit on the labels", "TF-IDF on the labels"
NEEDED = 'Model2Vec is missing; pip install "reptune[static]"'

Predict = Callable[[list[str]], np.ndarray]


def all_jobs() -> Iterator[Job]:
    """All students of a draw are one job; the reference is another, where it can be made."""
    steps = [STUDENTS] + [MODEL2VEC] * (importlib.util.find_spec("model2vec") is not None)
    for step in steps:
        for seed in DRAWS:
            common = {"task": TASK, "labels": 2 * PER_CLASS, "split": "test"}
            yield {**common, "random_state": seed, "step": step}


class Remembering(SetFitClassifier):
    """A teacher that embeds a text once, however many students ask."""

    def embed(self, texts: Iterable[str]) -> np.ndarray:
        """Return embeddings, from memory where a text was embedded before."""
        texts = list(texts)
        known = self.__dict__.setdefault("_known", {})
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known |= zip(new, super().embed(new), strict=True)
        return np.stack([known[text] for text in texts])


def unlabeled(seed: int, count: int = UNLABELED) -> list[str]:
    """Training texts whose labels nobody reads, none of them among the draw's."""
    known = set(few_shot(TASK, PER_CLASS, seed)[0])
    texts, _ = splits(TASK)["train"]
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[row] for row in order if texts[row] not in known][:count]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """The teacher of a draw, and its students."""
    seed = job["random_state"]
    if job["step"] == MODEL2VEC:
        model2vec()  # or raise, before the teacher is made
    train, more = few_shot(TASK, PER_CLASS, seed), unlabeled(seed)
    plain = SetFitClassifier(MPNET, random_state=seed)
    teacher, cost = made(lambda: plain.fit(*train))
    if job["step"] == MODEL2VEC:
        yield from by_model2vec(teacher, more)
        return
    yield scored(TEACHER, MPNET, teacher.predict, cost)
    teacher = remembering(teacher)
    for method, model, build in arms(teacher, train, more, seed):
        student, cost = made(build)
        yield scored(method, model, student.predict, cost)


def remembering(teacher: SetFitClassifier) -> Remembering:
    """The same fitted teacher, with a memory."""
    found = Remembering(**teacher.get_params())
    found.__dict__ |= vars(teacher)
    return found


def arms(
    teacher: Any, train: tuple[list[str], np.ndarray], more: list[str], seed: int
) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Each student: its name, its model, and what makes it."""
    said = teacher.predict(more)  # the teacher's reading is the same for all, and not timed

    def student(**changes: Any) -> SetFitClassifier:
        return SetFitClassifier(MINILM, random_state=seed, **changes)

    steps = PASSES * -(-len(more) // BATCH)
    yield DISTILLED, MINILM, lambda: student(num_steps=steps).distill(teacher, more)
    yield FROZEN_TAUGHT, MINILM, lambda: student(trainable="head").distill(teacher, more)
    yield STATIC, "static", lambda: StaticClassifier().distill(teacher, more)
    yield COUNTED, "none", lambda: tfidf().fit(more, said)
    yield STOCK, MINILM, lambda: StockDistilled(seed).fit(teacher, more, said)
    yield ALONE, MINILM, lambda: student().fit(*train)
    yield COUNTED_ALONE, "none", lambda: tfidf().fit(*train)


def made(build: Callable[[], Any]) -> tuple[Any, meter.Meter]:
    """What `build` makes, and what that cost."""
    with meter.Meter() as cost:
        built = build()
    return built, cost


def scored(method: str, model: str, predict: Predict, cost: meter.Meter) -> dict[str, Any]:
    """The fields of a record: test, and the median speed of three passes over some of it."""
    texts, gold = splits(TASK)["test"]
    timed, _ = some("test", TASK, TIMED)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        predict(timed)
        seconds.append(time.perf_counter() - begun)
    fields = score_fields(predict(texts) == gold)
    fields["metrics"]["texts_per_second"] = len(timed) / statistics.median(seconds)
    return {"method": method, "model": model, **fit_fields(cost), **fields}


class StockDistilled:
    """`setfit.DistillationTrainer` as its documentation shows it, on so many pairs.

    Args:
        seed: Of the trainer.
    """

    def __init__(self, seed: int) -> None:
        self._plain = StockSetFit(MINILM, seed)
        self._seed = seed

    def fit(self, teacher: SetFitClassifier, texts: list[str], said: np.ndarray) -> StockDistilled:
        """Train a student of an exported teacher, whose labels of the texts are `said`."""
        import setfit
        from datasets import Dataset

        with tempfile.TemporaryDirectory() as folder:
            exported = teacher.export_setfit(Path(folder) / "teacher")
            taught = setfit.SetFitModel.from_pretrained(str(exported), local_files_only=True)
            student = setfit.SetFitModel.from_pretrained(self._plain.path, local_files_only=True)
            arguments = setfit.TrainingArguments(
                folder, report_to="none", save_strategy="no", logging_strategy="no",
                show_progress_bar=False, seed=self._seed, max_steps=STOCK_PAIRS // 16,
            )  # fmt: skip
            trainer = setfit.DistillationTrainer(
                teacher_model=taught, student_model=student, args=arguments,
                # Of all pairs of 2,000 texts the library would list two million.
                train_dataset=Dataset.from_dict({"text": texts[:200]}),
                metric=lambda predicted, true: {"accuracy": float(np.mean(predicted == true))},
            )  # fmt: skip
            trainer.train()
            student.model_head.fit(student.model_body.encode(texts), said)
        self._plain.model_ = student
        return self

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return the label of each text."""
        return self._plain.predict(texts)


def model2vec() -> Any:
    """The library, or an error that names the extra."""
    try:
        import model2vec.distill
    except ImportError as error:
        raise RuntimeError(f"{NEEDED} ({error})") from None
    return model2vec


def by_model2vec(teacher: SetFitClassifier, more: list[str]) -> Iterator[dict[str, Any]]:
    """The reference: Model2Vec's static model of the tuned teacher under a head."""
    from sklearn.linear_model import LogisticRegression

    def build() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            teacher.body_.save(folder, create_model_card=False)
            static = model2vec().distill.distill(folder, device="cpu")
        shares = teacher.predict_proba(more)
        plain = LogisticRegression(C=FrozenClassifier().C, max_iter=MAX_ITERATIONS)
        return static, fit_on_shares(plain, static.encode(more), teacher.classes_, shares)

    (static, fitted_head), cost = made(build)
    yield scored(MODEL2VEC, "static", lambda texts: fitted_head.predict(static.encode(texts)), cost)


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
