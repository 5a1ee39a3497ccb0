"""What gives a text a label without having learned from labeled texts (chapter 7).

A labeler judges what a teacher wrote, and is what a student has to beat: the cosine with the
labels' names costs nothing, and asking the teacher itself needs no student.
"""

from __future__ import annotations

from collections.abc import Sequence

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune.fewshot import FrozenClassifier
from reptune.incontext import InContextClassifier
from reptune.models.causal import CausalLM
from reptune.prompt2model.task import Task
from reptune.prompt2model.teachers import TEACHER, LocalTeacher

ENCODER = "all-MiniLM-L6-v2"
TEMPLATE = "Text: {text}\nLabel:"
LEAST_BATCH = 20  # texts, below which their mean says little


class NameLabeler:
    """Label names: the label whose name lies nearest to the text, by the cosine of embeddings.

    Args:
        labels: Of the task.
        model: The sentence encoder: an asset's name, a local folder or a Hub id.

    >>> int(NameLabeler(["food", "film"]).probabilities(["fresh bread"]).argmax())
    0

    Source: chapter 2, "no labels at all".
    """

    def __init__(self, labels: Sequence[str], model: str = ENCODER) -> None:
        self.title = f"label names, no training ({model})"
        self._model = FrozenClassifier(model=model).fit_label_names(list(labels))
        self._columns = [self._model.classes_.tolist().index(label) for label in labels]

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return shape `(n, labels)`."""
        return self._model.predict_proba(list(texts))[:, self._columns]


class TeacherLabeler:
    """The teacher itself, asked for the likelihood of each label after the text.

    Args:
        task: A classification.
        model: A causal model: an asset's name, a local folder or a Hub id; or a teacher, whose
            model is not loaded a second time.
        per_class: The user's demonstrations of each label in the prompt, where there are some.
        random_state: Seed of their order.
        calibrate: `"contextual"` or `None`, see `reptune.incontext.InContextClassifier`; or
            `"batch"`, which divides by the mean over the texts that are labeled together, at least
            20, since their labels should be about equally frequent.
        half_precision: Compute in bfloat16, where the device has it.

    Raises:
        ValueError: If the task is no classification.

    >>> task = Task("…", "Is the film good?", kind="classification", labels=("good", "bad"))
    >>> labeler = TeacherLabeler(task, model="SmolLM2-135M-Instruct")
    >>> labeler.probabilities(["A dull film."]).shape
    (1, 2)

    Source: Zhao et al., *Calibrate Before Use* (2021); Zhou et al., *Batch Calibration* (2024);
    chapter 5.
    """

    def __init__(
        self,
        task: Task,
        model: str | LocalTeacher = TEACHER,
        *,
        per_class: int = 0,
        random_state: int = 0,
        calibrate: str | None = "contextual",
        half_precision: bool = True,
    ) -> None:
        if task.kind != "classification":
            raise ValueError(f"a {task.kind} has no labels to choose from.")
        name = model.name if isinstance(model, LocalTeacher) else model
        self.title = f"the teacher, asked for each text ({name})"
        shown = [(one.input, one.output) for one in task.demonstrations]
        known = [pair for pair in shown if pair[1] in task.labels]
        complete = {label for _, label in known} == set(task.labels)
        if not (per_class and complete):  # the labels themselves: with none in the prompt, unread
            known, per_class = [(label, label) for label in task.labels], 0
        texts, labels = zip(*known, strict=True)
        self._model = _Reader(
            name, TEMPLATE, description=task.instruction, per_class=per_class,
            calibrate=None if calibrate == "batch" else calibrate, random_state=random_state,
            fast=("shared_prefix", "half_precision") if half_precision else ("shared_prefix",),
        )  # fmt: skip
        if isinstance(model, LocalTeacher):
            self._model.loaded = model.lm
        self._model.fit(list(texts), list(labels))
        self._columns = [self._model.classes_.tolist().index(label) for label in task.labels]
        self._by_batch = calibrate == "batch"

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return shape `(n, labels)`."""
        shares = self._model.predict_proba(list(texts))[:, self._columns]
        if self._by_batch and len(shares) >= LEAST_BATCH:
            shares = shares / shares.mean(axis=0)
        return shares / shares.sum(axis=1, keepdims=True)


class _Reader(InContextClassifier):
    """A classifier by prompts whose model may be loaded already."""

    loaded: CausalLM | None = None

    def _load_lm(self) -> CausalLM:
        return super()._load_lm() if self.loaded is None else self.loaded
