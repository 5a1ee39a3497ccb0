"""Folders and files that are replaced as one: what an interruption leaves, what is swept."""

import errno
import os
from pathlib import Path

import pytest

from reptune.folders import (
    MANIFEST,
    append_bytes,
    check_hashes,
    file_hashes,
    find_folder,
    write_file,
    write_folder,
)


def filled(text):
    def write(folder):
        (folder / MANIFEST).write_text(text)
        (folder / "weights").write_text(text)

    return write


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "model [1]", filled("old"))


def alone(folder):
    return [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_is_written_and_replaced(folder):
    assert content(folder) == {MANIFEST: "old", "weights": "old"}
    write_folder(folder, filled("new"))
    assert content(folder) == {MANIFEST: "new", "weights": "new"}
    assert alone(folder)


def test_what_a_kill_left_aside_is_found_and_put_back(folder):
    """Between the two moves of a save, the old folder stands aside and its place is empty."""
    aside = folder.with_name(f".{folder.name}.old")
    folder.rename(aside)
    (folder.parent / f".{folder.name}.new-abc").mkdir()
    with pytest.warns(UserWarning, match="a save was interrupted"):
        assert content(find_folder(folder)) == {MANIFEST: "old", "weights": "old"}

    def fail(_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_folder(folder, fail)
    assert content(folder) == {MANIFEST: "old", "weights": "old"}
    assert alone(folder)


def test_an_old_folder_aside_is_swept_where_the_new_one_is_whole(folder):
    write_folder(folder.with_name(f".{folder.name}.old"), filled("older"))
    write_folder(folder, filled("new"))
    assert content(find_folder(folder)) == {MANIFEST: "new", "weights": "new"}
    assert alone(folder)


def test_folders_with_like_names_are_left_alone(folder):
    others = [folder.with_name(name) for name in ("model 1", ".model 1.new-x", "model [1].new-x")]
    for other in others:
        other.mkdir()
    write_folder(folder, filled("new"))
    assert all(other.is_dir() for other in others)


def test_an_empty_folder_and_a_link_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", filled("new"))
    assert content(tmp_path / "empty")[MANIFEST] == "new"
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    write_folder(tmp_path / "link", filled("newer"))
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "empty")[MANIFEST] == "newer"


def test_what_was_not_written_here_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not a saved model"):
        write_folder(tmp_path / "thesis", filled("new"))
    assert content(tmp_path / "thesis") == {"chapter.txt": "years of work"}


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
])  # fmt: skip
def test_a_full_disk_is_said_and_nothing_is_lost(folder, error):
    def fail(_):
        raise error

    with pytest.raises(OSError, match=r"free some space\. What was there before is unchanged"):
        write_folder(folder, fail)
    assert content(folder) == {MANIFEST: "old", "weights": "old"}
    assert alone(folder)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose a folder that can be written to"):
        write_folder(tmp_path / "file" / "model", filled("new"))


def test_ctrl_c_behind_an_error_of_the_clean_up_stays_a_ctrl_c(folder):
    """Python's `rmtree`, interrupted, may close a file twice: an OSError hides the Ctrl-C."""

    def fail(_):
        try:
            raise KeyboardInterrupt
        finally:
            os.close(10**6)

    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, fail)
    assert content(folder) == {MANIFEST: "old", "weights": "old"}


def test_all_files_get_the_usual_permissions(tmp_path):
    def write(folder):
        filled("new")(folder)
        (folder / "weights").chmod(0o600)

    found = write_folder(tmp_path / "model", write)
    (tmp_path / "usual").touch()
    assert (found / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_hashes_name_the_file_that_differs(folder):
    hashes = file_hashes(folder)
    assert list(hashes) == ["weights"]
    check_hashes(folder, hashes)
    (folder / "weights").write_text("other")
    with pytest.raises(ValueError, match="SHA-256 of weights"):
        check_hashes(folder, hashes)
    Path(folder / "weights").unlink()
    with pytest.raises(ValueError, match="lacks weights"):
        check_hashes(folder, hashes)


# --- single files --------------------------------------------------------------------------------


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    path, seen = tmp_path / "rows", []
    path.write_bytes(b"old")

    def settled(descriptor):
        seen.append((path.read_bytes(), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", settled)
    write_file(path, lambda file: file.write(b"newer"), tmp_path / "_rows")
    assert seen == [(b"old", 5)]
    assert content(tmp_path) == {"rows": "newer"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
def test_a_file_half_written_is_removed_and_the_old_one_stays(tmp_path, error):
    (tmp_path / "rows").write_bytes(b"old")

    def half(file):
        file.write(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_file(tmp_path / "rows", half, tmp_path / "_rows")
    assert content(tmp_path) == {"rows": "old"}


def test_bytes_are_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    path, write = tmp_path / "lines", os.write
    append_bytes(path, b"one\n")
    # The system may take less than it is given.
    monkeypatch.setattr(os, "write", lambda descriptor, left: write(descriptor, left[:2]))
    append_bytes(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"

    def interrupted(descriptor, left):
        if len(left) < len(b"three\n"):
            raise KeyboardInterrupt
        return write(descriptor, left[:2])

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        append_bytes(path, b"three\n")
    assert path.read_bytes() == b"one\ntwo\n"
