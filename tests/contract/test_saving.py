"""A saved folder comes back as it was, and one of an earlier release still loads."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from reptune.estimator import FORMAT, pack, sealed
from tests.contract.cases import CASES
from tests.contract.make_fixtures import find_neighbors_with, predicted

FORMATS = sorted(Path(__file__).with_name("fixtures").glob("format_*"))
KINDS = {case.kind.__name__: case.kind for case in CASES}


def _manifest(folder):
    return json.loads((folder / "reptune.json").read_text("utf-8"))


def _write(folder, manifest):
    (folder / "reptune.json").write_text(json.dumps(manifest), "utf-8")


# --- equality ------------------------------------------------------------------------------------


def test_what_is_loaded_is_what_was_saved(case, fitted, saved):
    loaded = case.kind.load(saved)
    np.testing.assert_array_equal(case.output(loaded), case.output(fitted))
    one, two = loaded.predict(case.new_inputs), fitted.predict(case.new_inputs)
    np.testing.assert_array_equal(np.hstack(one), np.hstack(two))
    assert loaded.get_params() == fitted.get_params() | {"model": str(fitted.model)}
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.classes_.dtype == fitted.classes_.dtype


def test_saved_loaded_and_saved_again(case, fitted, saved, tmp_path):
    again = case.kind.load(case.kind.load(saved).save(tmp_path / "again"))
    np.testing.assert_array_equal(case.output(again), case.output(fitted))


def test_only_safetensors_and_json(case, saved):
    assert {path.suffix for path in saved.rglob("*") if path.is_file()} <= {
        ".json", ".safetensors", ".txt"
    }  # fmt: skip


def test_files_can_be_read_by_those_who_may_read_the_folder(case, saved):
    modes = {path.name: path.stat().st_mode & 0o777 for path in saved.rglob("*") if path.is_file()}
    assert len(set(modes.values())) == 1, modes


@pytest.mark.only(lambda case: case.classifies)
def test_parameters_of_every_kind_come_back(case, models, tmp_path):
    changes = {"random_state": None}
    if "fast" in case.kind().get_params():
        changes["fast"] = ()
    if "class_weight" in case.kind().get_params():
        changes["class_weight"] = {-3: 0.5, 7: 2.0}
    if "words" in case.kind().get_params():
        changes["words"] = {-3: "bad", 7: "good"}
    labels = [7 if label == "positive" else -3 for label in case.targets]
    estimator = case.new(models, **changes).fit(case.inputs, labels)
    loaded = case.kind.load(estimator.save(tmp_path / "model"))
    params = loaded.get_params()
    for name, value in changes.items():
        assert params[name] == value and type(params[name]) is type(value), name
    assert loaded.classes_.tolist() == [-3, 7]
    np.testing.assert_array_equal(case.output(loaded), case.output(estimator))


def test_a_tuple_of_options_comes_back_as_a_tuple(case, models, tmp_path):
    if "fast" not in case.kind().get_params():
        return
    option = getattr(case.kind, "FAST_OPTIONS", ("shared_prefix",))[0] if (
        case.kind.__name__ in ("EntityTagger", "InContextClassifier")
        or case.kind.__name__.startswith("PromptTuned")
    ) else "length_buckets"  # fmt: skip
    estimator = case.new(models, fast=(option,)).fit(case.inputs, case.targets)
    loaded = case.kind.load(estimator.save(tmp_path / "model"))
    assert loaded.get_params()["fast"] == (option,)


def test_numpy_parameters_can_be_saved(case, models, tmp_path):
    estimator = case.new(models, random_state=np.int64(3)).fit(case.inputs, case.targets)
    loaded = case.kind.load(estimator.save(tmp_path / "model"))
    assert loaded.random_state == 3
    np.testing.assert_array_equal(case.output(loaded), case.output(estimator))


def test_a_loaded_one_can_be_fitted_pickled_and_moved(case, fitted, saved, tmp_path):
    moved = tmp_path / "elsewhere" / "model 2"
    moved.parent.mkdir()
    saved.rename(moved)
    loaded = pickle.loads(pickle.dumps(case.kind.load(str(moved))))
    np.testing.assert_array_equal(case.output(loaded), case.output(fitted))
    np.testing.assert_array_equal(
        case.output(loaded.fit(case.inputs, case.targets)), case.output(fitted)
    )


# --- where it is saved ---------------------------------------------------------------------------


def test_saving_replaces_a_saved_model_and_nothing_else(case, fitted, saved, tmp_path):
    assert fitted.save(saved) == saved
    (tmp_path / "empty").mkdir()
    fitted.save(tmp_path / "empty")
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is not a saved model"):
        fitted.save(thesis)
    assert (thesis / "chapter.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "model", "thesis"]


def test_saving_below_a_file_or_onto_one_is_refused(case, fitted, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises((ValueError, OSError), match="file"):
            fitted.save(folder)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_that_are_none(case, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        case.kind.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"lacks reptune\.json"):
        case.kind.load(tmp_path / "empty")


def test_load_refuses_another_class(case, saved):
    other = "EntityTagger" if not case.tags_words else "FineTunedClassifier"
    with pytest.raises(ValueError, match=f"holds an? {case.kind.__name__}, not an? {other}"):
        KINDS[other].load(saved)
    _write(saved, _manifest(saved) | {"class": other})
    with pytest.raises(ValueError, match=f"holds an? {other}, not an? {case.kind.__name__}"):
        case.kind.load(saved)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_model(case, fitted, saved, tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(case.kind, "_write", fail)
    with pytest.raises((type(error), ValueError)):
        fitted.save(saved)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    np.testing.assert_array_equal(case.output(case.kind.load(saved)), case.output(fitted))


# --- other formats -------------------------------------------------------------------------------


def test_a_manifest_from_the_future_is_refused_by_number(case, saved):
    manifest = _manifest(saved)
    _write(saved, manifest | {"format": 99})
    with pytest.raises(ValueError, match=r"format 99.*reptune") as caught:
        case.kind.load(saved)
    assert str(manifest["format"]) in str(caught.value), "which format this version reads"
    for strange in ("2", None, 1.5, -1, True, [1]):
        _write(saved, manifest | {"format": strange})
        with pytest.raises(ValueError, match="format"):
            case.kind.load(saved)


def test_an_unknown_parameter_is_refused_by_name(case, saved):
    manifest = _manifest(saved)
    _write(saved, manifest | {"params": manifest["params"] | {"flux_capacitor": 1.21}})
    with pytest.raises(ValueError, match="flux_capacitor"):
        case.kind.load(saved)


def test_a_parameter_that_a_folder_lacks_has_its_default(case, fitted, saved):
    manifest = _manifest(saved)
    del manifest["params"]["random_state"]
    _write(saved, sealed(manifest))  # as an earlier version, which had no such parameter, wrote it
    assert case.kind.load(saved).random_state == case.kind().random_state


def test_a_manifest_that_was_changed_is_refused(case, saved):
    """A parameter that was changed would load as another model without a word."""
    manifest = _manifest(saved)
    _write(saved, manifest | {"params": manifest["params"] | {"random_state": 12345}})
    with pytest.raises(ValueError, match="seal is not the one that save wrote"):
        case.kind.load(saved)


def test_a_load_that_another_save_overtakes_reads_again(case, fitted, saved, monkeypatch):
    """The new manifest holds the same bytes, and the files of the old folder are gone."""
    read, calls = case.kind._read, []

    def overtaken(self, folder, manifest):
        calls.append(folder)
        if len(calls) == 1:
            fitted.save(saved)
            raise FileNotFoundError("model.safetensors")
        read(self, folder, manifest)

    monkeypatch.setattr(case.kind, "_read", overtaken)
    assert np.array_equal(case.output(case.kind.load(saved)), case.output(fitted))
    assert len(calls) == 2


def _named(folder):
    """A format's folder with the name of each model in it."""
    return [(folder, name) for name in json.loads((folder / "expected.json").read_text("utf-8"))]


def _kind(folder, name):
    return KINDS[_manifest(folder / name)["class"]]


FIXTURES = [
    pytest.param(folder, name, id=f"{folder.name}-{name}")
    for every in FORMATS
    for folder, name in _named(every)
]


# Fixtures of the newest format whose class is older: what they were given is new.
NEW_SETTINGS = {"PromptTunedClassifier-words"}


def test_there_is_a_fixture_of_each_format():
    """Of the one that `save` writes now, there are those of classes and settings new with it."""
    assert {folder.name for folder in FORMATS} == {f"format_{n}" for n in range(1, FORMAT + 1)}
    before, now = ({each: _kind(*each) for each in _named(folder)} for folder in FORMATS[-2:])
    assert {*before.values(), *now.values()} == {case.kind for case in CASES}
    again = {name for (_, name), kind in now.items() if kind in before.values()}
    assert again == NEW_SETTINGS


@pytest.fixture
def earlier(folder, tmp_path, monkeypatch):
    """A copy of a format's folders as the working directory: models lie there by relative paths."""
    shutil.copytree(folder, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    find_neighbors_with(Path("encoder"), monkeypatch)


@pytest.mark.parametrize(("folder", "name"), FIXTURES)
def test_a_model_of_an_earlier_format_predicts_as_it_did(folder, name, earlier):
    expected = json.loads(Path("expected.json").read_text("utf-8"))[name]
    kind = _kind(folder, name)
    loaded = kind.load(name)
    found = predicted(loaded, expected["inputs"])
    for row, old in zip(found, expected["output"], strict=True):
        np.testing.assert_allclose(row, old, atol=1e-5)
    again = kind.load(loaded.save("again"))
    assert again.get_params() == loaded.get_params()
    assert _manifest(Path("again"))["format"] == FORMAT


@pytest.mark.parametrize(("folder", "name"), FIXTURES)
def test_parameters_of_an_earlier_format(folder, name, earlier):
    kind = _kind(folder, name)
    params, stored = kind.load(name).get_params(), _manifest(folder / name)["params"]
    for old, value in stored.items():
        found = pack(params[kind._RENAMED.get(old, old)])
        if folder.name == "format_1" and old in ("fast", "words"):  # it kept no tuples
            found = found.get("tuple", found) if isinstance(found, dict) else found
        assert found == value, old
