"""The teacher as a labeler: its columns, and that its model is loaded once."""

import numpy as np
import pytest

from reptune import incontext
from reptune.models.causal import load_causal_lm
from reptune.prompt2model.labelers import TeacherLabeler
from reptune.prompt2model.task import Task
from reptune.prompt2model.teachers import LocalTeacher

FILMS = Task("…", "Is the film good?", kind="classification", labels=("good", "bad"))
TEXTS = ["the film is good", "a very dull plot", "bad"]


def test_a_teacher_reads_with_the_model_that_it_holds(tiny_causal_lm, monkeypatch):
    named = TeacherLabeler(FILMS, str(tiny_causal_lm), half_precision=False)
    expected = named.probabilities(TEXTS)
    teacher = LocalTeacher(load_causal_lm(tiny_causal_lm))

    def again(*_):
        raise AssertionError("the model was loaded a second time")

    monkeypatch.setattr(incontext, "_shared_lm", again)
    labeler = TeacherLabeler(FILMS, teacher, half_precision=False)
    assert np.allclose(labeler.probabilities(TEXTS), expected, atol=1e-6)
    assert labeler.title == f"the teacher, asked for each text ({teacher.name})"
    assert labeler._model.lm_ is teacher.lm


def test_columns_are_the_tasks_labels(tiny_causal_lm):
    teacher = LocalTeacher(load_causal_lm(tiny_causal_lm))
    turned = Task("…", FILMS.instruction, kind="classification", labels=("bad", "good"))
    one, other = (TeacherLabeler(task, teacher).probabilities(TEXTS) for task in (FILMS, turned))
    assert np.allclose(one, other[:, ::-1])
    assert np.allclose(one.sum(axis=1), 1)
    with pytest.raises(ValueError, match="no labels to choose from"):
        TeacherLabeler(Task("…", "Write.", kind="text"), teacher)
