"""`import reptune`: what it exports, and `reptune.load`."""

import ast
import importlib
import json
from pathlib import Path

import pytest

import reptune
from reptune.classification import FineTunedClassifier
from reptune.estimator import SAVED as SAVED_CLASSES
from reptune.folders import MANIFEST
from tests.tiny import LABELS, TEXTS

FIXTURES = Path(__file__).parents[1] / "contract" / "fixtures"
SAVED = sorted(path.parent for path in FIXTURES.glob(f"format_*/*/{MANIFEST}"))


def test_every_exported_name_is_there_and_is_what_its_module_defines():
    for name, module in reptune._LAZY.items():
        assert getattr(reptune, name) is getattr(importlib.import_module(module), name)
    assert sorted(reptune.__all__) == sorted([*reptune._LAZY, "__version__"])
    assert set(reptune.__all__) <= set(dir(reptune))
    with pytest.raises(AttributeError, match="no attribute 'Setup'"):
        _ = reptune.Setup


def test_what_load_opens_is_where_the_root_says():
    assert SAVED_CLASSES.items() <= reptune._LAZY.items()
    kinds = {name: getattr(reptune, name) for name in reptune._LAZY}
    savable = {name for name, kind in kinds.items() if hasattr(kind, "_FILES")}
    assert SAVED_CLASSES.keys() == savable


def test_type_checkers_see_the_names_that_are_imported_lazily():
    tree = ast.parse(Path(reptune.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {name.name: node.module for node in imports for name in node.names}
    assert seen.items() >= reptune._LAZY.items()


@pytest.mark.parametrize("folder", SAVED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_load_opens_whatever_was_saved(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)  # some name their model by a path beside them
    loaded = reptune.load(folder)
    assert type(loaded).__name__ == json.loads((folder / MANIFEST).read_text())["class"]


def test_what_load_opens_predicts_as_before(tiny_encoder, tmp_path):
    model = FineTunedClassifier(tiny_encoder, num_epochs=1, random_state=0).fit(TEXTS, LABELS)
    loaded = reptune.load(str(model.save(tmp_path / "model")))
    assert (loaded.logits(TEXTS) == model.logits(TEXTS)).all()


def test_load_says_what_is_no_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="none is not a folder"):
        reptune.load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is no saved model: it lacks reptune\.json") as error:
        reptune.load(tmp_path)
    assert "model=" not in str(error.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="pass it to an estimator as model="):
        reptune.load(tmp_path)
    for content, message in [
        ("{", "is damaged"),
        ("[]", "holds no JSON object"),
        ('{"class": 3}', "class 3"),
        ('{"class": "Future"}', "holds a Future, which is no estimator of reptune"),
        ('{"class": "setup"}', "holds a setup, which is no estimator"),
    ]:
        (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(ValueError, match=message):
            reptune.load(tmp_path)
