"""A damaged folder is refused with the name of what is damaged; it never loads as another model."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from tests.contract.cases import CASES
from tests.soak_cases.estimators import damage_weights, set_config


@pytest.fixture(scope="session")
def masters(trained, tmp_path_factory):
    """A saved folder of each case, to be copied and damaged."""
    root = tmp_path_factory.mktemp("masters")
    return {
        case.name: trained(case).save(root / hashlib.sha256(case.name.encode()).hexdigest()[:8])
        for case in CASES
    }


@pytest.fixture
def folder(case, masters, tmp_path):
    return shutil.copytree(masters[case.name], tmp_path / "model")


def _refused(case, folder, match):
    with pytest.raises(ValueError, match=match) as caught:
        case.kind.load(folder)
    message = str(caught.value)
    assert len(message) < 1000, "a message, not a dump"
    return message


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- files ---------------------------------------------------------------------------------------


def test_each_file_deleted_is_named(case, folder, masters):
    for path in _files(masters[case.name]):
        name = path.relative_to(masters[case.name])
        (folder / name).unlink()
        assert name.name in _refused(case, folder, "lacks|missing"), name
        shutil.copy2(path, folder / name)


@pytest.mark.parametrize("share", [0, 0.5])
def test_each_file_cut_short_is_named(case, folder, masters, share):
    for path in _files(masters[case.name]):
        name, content = path.relative_to(masters[case.name]), path.read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])
        assert name.name in _refused(case, folder, "damaged"), name
        shutil.copy2(path, folder / name)


def test_a_byte_flipped_anywhere_is_named(case, folder, masters):
    for path in _files(masters[case.name]):
        name = path.relative_to(masters[case.name])
        if name.name == "reptune.json":
            continue  # it holds the others' hashes, not its own
        content = bytearray(path.read_bytes())
        content[len(content) * 3 // 4] ^= 1
        (folder / name).write_bytes(content)
        assert name.name in _refused(case, folder, "damaged"), name
        shutil.copy2(path, folder / name)


@pytest.mark.only(lambda case: case.keeps_weights)
def test_weights_that_are_no_numbers_are_refused(case, folder):
    """Even where the hashes fit, as after a fit that diverged under an earlier release."""
    damage_weights(folder, np.nan)
    _refused(case, folder, "NaN|nan|finite|not numbers")


# --- the manifest --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"[1, 2]", b'"text"', b"3", b"{}", b"\xff\xfe{}", b"\x80",
        '{"class": "\ud800"}'.encode("utf-8", "surrogatepass"), b"[" * 200_000,
        b'{"a":' * 100_000, b"1" * 10_000, b"NaN", b"\x00" * 100,
    ],
    ids=[
        "empty", "cut", "null", "list", "numbers", "string", "number", "no keys", "UTF-16", "byte",
        "surrogate", "brackets", "braces", "digits", "NaN", "zeros",
    ],
)  # fmt: skip
def test_a_manifest_that_is_none(case, folder, content):
    (folder / "reptune.json").write_bytes(content)
    _refused(case, folder, r"reptune\.json")


def test_a_manifest_that_lacks_an_entry(case, folder):
    manifest = json.loads((folder / "reptune.json").read_text("utf-8"))
    for key in manifest:
        less = {name: value for name, value in manifest.items() if name != key}
        (folder / "reptune.json").write_text(json.dumps(less), "utf-8")
        _refused(case, folder, f"{key}|seal")  # nothing depends on versions but the seal


@pytest.mark.parametrize("strange", [None, 3, "text", [], {}, [None], {"a": 1}, [[1]], True])
def test_entries_of_another_type(case, folder, fitted, strange):
    manifest = json.loads((folder / "reptune.json").read_text("utf-8"))
    for key in manifest:
        if strange == manifest[key]:
            continue
        (folder / "reptune.json").write_text(json.dumps(manifest | {key: strange}), "utf-8")
        _refused(case, folder, r"reptune\.json|model")


@pytest.mark.only(lambda case: case.classifies)
def test_a_number_of_classes_that_is_not_the_models(case, folder):
    manifest = json.loads((folder / "reptune.json").read_text("utf-8"))
    for classes in (["a"], ["a", "b", "c"], ["a", "a"], [], [1, "a"], [None, None], [[1], [2]]):
        (folder / "reptune.json").write_text(json.dumps(manifest | {"classes": classes}), "utf-8")
        _refused(case, folder, "class")


def test_a_manifest_that_names_no_class_says_so(case, folder):
    """Each names at least one, also where texts have no labels."""
    manifest = json.loads((folder / "reptune.json").read_text("utf-8"))
    (folder / "reptune.json").write_text(json.dumps(manifest | {"classes": []}), "utf-8")
    message = _refused(case, folder, r"damaged \(classes: there are none\); save the model again")
    assert str(folder) in message


def test_a_folder_copied_into_itself_is_harmless(case, fitted, folder):
    """What a file manager or an editor leaves in a folder does not matter."""
    (folder / ".DS_Store").write_bytes(b"\x00")
    (folder / "notes.txt").write_text("mine")
    np.testing.assert_array_equal(case.output(case.kind.load(folder)), case.output(fitted))


@pytest.mark.only(lambda case: case.keeps_weights)
@pytest.mark.parametrize("value", [1_000_000, -1, 0, "3", None, 2.5])
def test_a_configuration_with_an_impossible_number_of_blocks(case, folder, value):
    """A million blocks would be made and initialized before anything says that they are wrong."""
    set_config(folder, num_hidden_layers=value)
    _refused(case, folder, "num_hidden_layers|damaged|layers|blocks")


@pytest.mark.only(lambda case: case.keeps_weights)
@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 32}, {"vocab_size": 3}, {"num_hidden_layers": 1}, {"intermediate_size": 8}],
    ids=str,
)
def test_a_configuration_that_does_not_fit_the_weights(case, folder, changes):
    """The library would start the missing ones at random, and say so in a log."""
    set_config(folder, **changes)
    _refused(case, folder, "damaged|weights|fit")


@pytest.mark.only(lambda case: case.keeps_weights)
@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
def test_a_file_that_was_not_saved_changes_nothing(case, folder, fitted, name):
    """The libraries look for more files than they write; one that was added must not count."""
    (folder / name).write_text('{"model_max_length": 4}')
    try:
        loaded = case.kind.load(folder)
    except ValueError as error:
        assert name in str(error)
    else:
        np.testing.assert_array_equal(case.output(loaded), case.output(fitted))
