"""Exports equal their models, say what they cost, and are not written where they differ."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from reptune import TfidfClassifier
from reptune.classification import FineTunedClassifier
from reptune.estimator import SavedEstimator
from reptune.fewshot import FrozenClassifier, SetFitClassifier
from reptune.ner import EntityTagger
from reptune.pipeline import export
from reptune.pipeline.export import export_model
from reptune.pipeline.onnx_runner import Runner
from tests import tiny
from tests.contract import cases

TRAINED = {"num_epochs": 20, "learning_rate": 1e-2, "batch_size": 4, "random_state": 0}
SEVERAL = [["x"] if label == "positive" else ["x", "y"] for label in tiny.LABELS]
SEVERAL[0] = []
NUMBERS = [int(label == "positive") for label in tiny.LABELS]
THREE = [index % 3 for index in range(len(tiny.LABELS))]
NEW = [*cases.NEW_TEXTS, "", " ", "Zoë's 🙂 film\u0301", "good " * 100, "dull"]


def fitted(name, encoder):
    texts = tiny.TEXTS
    tuned = {"num_steps": 3, "learning_rate": 5e-3, "batch_size": 8, "random_state": 0}
    return {
        "fine-tuned": lambda: FineTunedClassifier(encoder, **TRAINED).fit(texts, tiny.LABELS),
        "fine-tuned, numbers": lambda: FineTunedClassifier(encoder, **TRAINED).fit(texts, NUMBERS),
        "fine-tuned, several": lambda: FineTunedClassifier(
            encoder, thresholds=0.4, max_length=8, **TRAINED
        ).fit(texts, SEVERAL),
        "frozen": lambda: FrozenClassifier(encoder).fit(texts, tiny.LABELS),
        "frozen, three labels": lambda: FrozenClassifier(encoder, max_length=8).fit(texts, THREE),
        "frozen, several": lambda: FrozenClassifier(encoder, thresholds=0.5).fit(texts, SEVERAL),
        "counted": lambda: TfidfClassifier().fit(texts, tiny.LABELS),
        "counted, three labels": lambda: TfidfClassifier(ngrams=3).fit(texts, THREE),
        "setfit": lambda: SetFitClassifier(encoder, **tuned).fit(texts, NUMBERS),
        "setfit, linear": lambda: SetFitClassifier(
            encoder, head="differentiable", **tuned
        ).fit(texts, tiny.LABELS),
    }[name]()  # fmt: skip


NAMES = (
    "fine-tuned", "fine-tuned, numbers", "fine-tuned, several", "frozen", "frozen, three labels",
    "frozen, several", "setfit", "setfit, linear", "counted", "counted, three labels",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_export_equals_its_model(name, tiny_encoder, tmp_path):
    model = fitted(name, tiny_encoder)
    if model.thresholds_ is None:
        model.temperature_ = 1.7
    model.card_ = {"kind": "label", "columns": {"text": "body", "several": ";"}}
    report = export_model(model, tmp_path / "out")
    runner = Runner(tmp_path / "out")
    np.testing.assert_allclose(runner.logits(NEW), model.logits(NEW), atol=1e-4)
    np.testing.assert_allclose(runner.predict_proba(iter(NEW)), model.predict_proba(NEW), atol=1e-4)
    ours, theirs = model.predict(NEW), runner.predict(NEW)
    if model.thresholds_ is None:
        assert theirs.dtype == ours.dtype
        assert len(set(ours.tolist())) > 1, "a model that says one thing would test nothing"
    assert list(theirs) == list(ours)
    assert runner.card == model.card_
    assert report.logit_difference < 1e-4
    assert report.agreement == 1
    assert report.score is None
    assert "no score was measured" in str(report)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_model_that_is_exported_stays_as_it_was(tiny_encoder, tmp_path):
    model = fitted("fine-tuned", tiny_encoder)
    before = model.logits(NEW)
    model.model_.config.hidden_dropout_prob = 0.5
    export_model(model, tmp_path / "out")
    assert not model.model_.training
    assert model.model_.config._attn_implementation != "eager"
    np.testing.assert_array_equal(model.logits(NEW), before)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_cut_text_is_warned_of_as_by_the_model(tiny_encoder, tmp_path):
    silent, warns = fitted("fine-tuned, several", tiny_encoder), fitted("frozen", tiny_encoder)
    export_model(silent, tmp_path / "silent")
    export_model(warns, tmp_path / "warns")
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 32 tokens"):
        Runner(tmp_path / "warns").predict(["good " * 100, "bad"])
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Runner(tmp_path / "silent").predict(["good " * 100, "bad"])


def test_rows_of_ones_own_give_scores_with_intervals(tiny_encoder, tmp_path):
    model = fitted("frozen", tiny_encoder)
    report = export_model(model, tmp_path / "out", check=(tiny.TEXTS, tiny.LABELS))
    assert report.score.metric == "accuracy"
    assert report.score.before.estimate == model.score(tiny.TEXTS, tiny.LABELS)
    assert report.score.difference.estimate == 0
    assert report.score.difference.low < 0 < report.score.difference.high
    assert report.compared_on == len(tiny.TEXTS)
    found = json.loads(json.dumps(report.as_dict()))
    assert found["score"]["after"]["estimate"] == report.score.after.estimate
    for speed in (report.pytorch, report.onnx):
        assert 0 < speed.p50_ms <= speed.p95_ms
        assert speed.per_second > 0
        assert speed.megabytes > 0
    assert (tmp_path / "out" / "export.md").read_text(encoding="utf-8").startswith("# Export")


def test_several_labels_and_tags_have_an_f1(tiny_encoder, tmp_path):
    several = fitted("frozen, several", tiny_encoder)
    report = export_model(several, tmp_path / "several", check=(tiny.TEXTS, SEVERAL))
    assert report.score.metric == "micro_f1"
    tagger = EntityTagger(tiny_encoder, max_length=16, **TRAINED).fit(cases.SENTENCES, cases.TAGS)
    report = export_model(tagger, tmp_path / "tags", check=(cases.SENTENCES, cases.TAGS))
    assert report.score.metric == "entity_f1"
    assert report.score.after.estimate == pytest.approx(tagger.score(cases.SENTENCES, cases.TAGS))


def test_int8_is_smaller_and_still_agrees(tiny_encoder, tmp_path):
    model = fitted("frozen", tiny_encoder)
    check = (tiny.TEXTS, tiny.LABELS)
    report = export_model(model, tmp_path / "int8", to="onnx-int8", check=check, min_agreement=0.9)
    assert report.agreement >= 0.9
    assert report.logit_difference > 0
    runner = Runner(tmp_path / "int8")
    alone = np.concatenate([runner.logits([text]) for text in NEW[:4]])
    np.testing.assert_allclose(runner.logits([*NEW[:4], "good " * 20])[:4], alone, atol=1e-3)


def test_counted_words_need_no_graph(tmp_path):
    model = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    report = export_model(model, tmp_path / "out", check=(tiny.TEXTS, tiny.LABELS))
    assert report.logit_difference < 1e-9
    assert report.score.after.estimate == model.score(tiny.TEXTS, tiny.LABELS)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "export.md", "head.npz", "reptune-onnx.json", "runner.py", "vocabulary.json",
    }  # fmt: skip
    text = (tmp_path / "out" / "export.md").read_text(encoding="utf-8")
    assert "| 1 thread(s) |" in text
    assert "| scikit-learn |" in text
    assert "| NumPy |" in text
    assert "PyTorch" not in text
    assert "pip install numpy`" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_counted_words_that_differ_are_not_written(tmp_path, monkeypatch):
    model = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    real = export._counted_arrays
    monkeypatch.setattr(export, "_counted_arrays", lambda m: real(m) | {"coef": -real(m)["coef"]})
    with pytest.raises(ValueError, match="something else"):
        export_model(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", export.FORMATS)
def test_an_export_that_differs_is_not_written(to, tiny_encoder, tmp_path, monkeypatch):
    model = fitted("frozen", tiny_encoder)
    folder = tmp_path / "out"
    export_model(model, folder)
    before = (folder / "model.onnx").read_bytes()
    real = export._head_of
    monkeypatch.setattr(
        export, "_head_of", lambda model: (-real(model)[0], -real(model)[1], real(model)[2])
    )
    message = "something else" if to == "onnx" else "too many predictions.*use --to onnx"
    with pytest.raises(ValueError, match=f"(?s){message}"):
        export_model(model, folder, to=to)
    assert (folder / "model.onnx").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_cannot_be_exported_is_said_first(tiny_encoder, tmp_path):
    counts = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    with pytest.raises(ValueError, match=r"TfidfClassifier has no onnx-int8.*use --to onnx"):
        export_model(counts, tmp_path / "out", to="onnx-int8")
    with pytest.raises(ValueError, match="SavedEstimator cannot be exported"):
        export_model(object.__new__(SavedEstimator), tmp_path / "out")
    model = fitted("frozen", tiny_encoder)
    with pytest.raises(ValueError, match=r"to='onx', did you mean 'onnx'\?; use onnx or onnx-int8"):
        export_model(model, tmp_path / "out", to="onx")
    with pytest.raises(ValueError, match="min_agreement=2"):
        export_model(model, tmp_path / "out", min_agreement=2)
    with pytest.raises(ValueError, match="'other' is not one of"):
        export_model(model, tmp_path / "out", check=(["a"], ["other"]))
    with pytest.raises(ValueError, match="2 texts but 1 labels"):
        export_model(model, tmp_path / "out", check=(["a", "b"], ["positive"]))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something that is not"):
        export_model(model, tmp_path / "used")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(tiny_encoder, tmp_path, monkeypatch):
    real = export.importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda name: None if name == "onnx" else real(name)
    )
    with pytest.raises(ValueError, match=r'needs onnx; pip install "reptune\[export\]"'):
        export_model(fitted("frozen", tiny_encoder), tmp_path / "out")
    counts = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    export_model(counts, tmp_path / "out")  # needs none


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_saved_folder_is_exported_too(tiny_encoder, tmp_path):
    model = fitted("setfit", tiny_encoder)
    model.save(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out")
    np.testing.assert_allclose(Runner(tmp_path / "out").logits(NEW), model.logits(NEW), atol=1e-4)


def test_readme_runs(tiny_encoder, tmp_path):
    export_model(fitted("frozen", tiny_encoder), tmp_path / "out")
    lines = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").splitlines()
    code = "\n".join(line.strip() for line in lines if line.startswith("    "))
    command = [sys.executable, "-c", f"{code}\nprint(runner.predict(['a good film']))"]
    done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout or "negative" in done.stdout


def test_training_mode_is_not_exported(tiny_encoder, tmp_path):
    model = fitted("fine-tuned", tiny_encoder)
    expected = model.logits(NEW[:4])
    torch.manual_seed(0)
    model.model_.train()
    export_model(model, tmp_path / "out")
    np.testing.assert_allclose(Runner(tmp_path / "out").logits(NEW[:4]), expected, atol=1e-4)
