"""The journal: nothing is lost, nothing is mixed up."""

import errno
import json
import os
from pathlib import Path

import pytest

from reptune.prompt2model import cache
from reptune.prompt2model.cache import Journal

KEY = {"task": "Judge films.", "teacher": "tiny", "seed": 42}


def fill(folder: Path, key=KEY, names="ab") -> Path:
    with Journal(folder, key) as journal:
        for name in names:
            journal.add(name, {"replies": [f"reply {name} {key['seed']} 日本"]})
    return journal.path


def test_records_are_read_back_as_they_were_added(tmp_path):
    fill(tmp_path / "new" / "folder")
    with Journal(tmp_path / "new" / "folder", KEY) as journal:
        assert journal.get("b") == {"replies": ["reply b 42 日本"]}
        assert journal.get("c") is None
        assert len(journal) == 2


def test_in_memory_a_record_is_what_a_file_would_give():
    with Journal(None, KEY) as journal:
        journal.add("a", {"pair": (1, 2)})
        assert journal.get("a") == {"pair": [1, 2]}


@pytest.mark.parametrize("changed", [{"seed": 43}, {"teacher": "other"}, {"task": "Judge books."}])
def test_whatever_the_key_differs_in_records_are_not_shared(tmp_path, changed):
    fill(tmp_path)
    with Journal(tmp_path, {**KEY, **changed}) as journal:
        assert journal.get("a") is None


def test_the_order_of_the_keys_entries_does_not_matter(tmp_path):
    fill(tmp_path)
    with Journal(tmp_path, dict(reversed(KEY.items()))) as journal:
        assert journal.get("a") is not None


def test_wherever_a_kill_cuts_the_file_whole_records_survive(tmp_path):
    path = fill(tmp_path)
    content = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        with Journal(tmp_path, KEY) as journal:
            whole = sum(end <= size for end in ends)
            assert len(journal) == max(whole - 1, 0)  # the first line is the key
            for name in "ab":
                if journal.get(name) is None:
                    journal.add(name, {"replies": [f"reply {name} 42 日本"]})
        assert path.read_bytes() == content


def test_a_damaged_line_is_named_and_the_file_left_alone(tmp_path):
    path = fill(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], b"{oops\n", *lines[2:]])
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"line 2 is damaged; remove"), Journal(tmp_path, KEY):
        pass
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(lines))
    with Journal(tmp_path, KEY) as journal:  # the lock was given back
        assert len(journal) == 2


def test_a_file_of_another_run_under_this_name_is_refused(tmp_path):
    path = fill(tmp_path)
    path.write_text(json.dumps({"format": 1, "key": {"seed": 7}}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="another run"), Journal(tmp_path, KEY):
        pass


def test_two_processes_do_not_write_one_file(tmp_path):
    with Journal(tmp_path, KEY), pytest.raises(ValueError, match="another process"):
        Journal(tmp_path, KEY).__enter__()


def test_a_full_disk_names_the_folder_and_loses_nothing(tmp_path, monkeypatch):
    path = fill(tmp_path)
    before, write = path.read_bytes(), os.write

    def half_then_full(descriptor, content):
        if len(content) < 20:
            return write(descriptor, content)
        write(descriptor, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path, KEY) as journal:
        monkeypatch.setattr(cache.os, "write", half_then_full)
        with pytest.raises(OSError, match="free some space") as caught:
            journal.add("c", {"replies": ["long enough to be cut in the middle"]})
        assert caught.value.errno == errno.ENOSPC
        assert str(tmp_path) in str(caught.value)
        assert path.read_bytes() == before
        assert journal.get("c") is None
        monkeypatch.undo()
        journal.add("c", {"replies": []})
    with Journal(tmp_path, KEY) as journal:
        assert len(journal) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with (
        pytest.raises(OSError, match=r"file.*could not be written"),
        Journal(tmp_path / "file" / "sub", KEY),
    ):
        pass
