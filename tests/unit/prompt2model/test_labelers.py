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


def test_a_batch_calibrates_itself_where_it_is_large_enough(tiny_causal_lm):
    """Divided by the mean over the batch and brought back to 1, as Zhou et al. (2024) have it."""
    teacher = LocalTeacher(load_causal_lm(tiny_causal_lm))
    texts = [f"a film of the year {year}" for year in range(1980, 2000)]
    raw = TeacherLabeler(FILMS, teacher, calibrate=None).probabilities(texts)
    labeler = TeacherLabeler(FILMS, teacher, calibrate="batch")
    expected = raw / raw.mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(labeler.probabilities(texts), expected)
    assert np.allclose(labeler.probabilities(texts[:19]), raw[:19], atol=1e-5)  # too few
    # Each of the two labels is chosen about as often now, whatever the model leans to.
    assert 0 < (expected[:, 0] > 0.5).sum() < len(texts)
