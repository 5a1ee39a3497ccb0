"""Code in the sandbox: what it may do, what it may not, and what ends it.

Each refusal is tried both under the kernel's filter and, where it covers that, under the audit hook
of `weak=True`.
"""

import json
import sys
import time
from pathlib import Path

import pytest
from shared import sandbox
from shared.sandbox import run_code

# Beside other work a process may take seconds to start.
PATIENT = {"seconds": 60}
JAPANESE = Path(__file__).parents[2] / "studies" / "data" / "ch07_japanese_python.jsonl"

confined = pytest.mark.skipif(not sandbox._can_confine(), reason="needs Linux on x86-64")
WAYS = [pytest.param(False, marks=confined, id="kernel"), pytest.param(True, id="hook")]


REFUSALS = (
    "not permitted",
    "not allowed",
    "division by zero",  # os.system gives a status and raises nothing
    "gaierror",
    "No usable temporary directory",
)


def error_of(body: str, weak: bool = False, **limits) -> str:
    """What one case without arguments ends in; it expects `"expected"`."""
    code = "def solve():\n" + "\n".join(f"    {line}" for line in body.splitlines())
    return run_code(code, [([], "expected")], weak=weak, **{**PATIENT, **limits}).errors[0]


@pytest.mark.parametrize("weak", WAYS)
class TestResults:
    def test_right_and_wrong_results_are_told_apart_case_by_case(self, weak):
        outcome = run_code(
            "def solve(a, b):\n    return a / b",
            [([6, 2], 3), ([1, 2], 0.5), ([1, 4], 4), ([1, 0], 0)],
            weak=weak,
            **PATIENT,
        )
        assert outcome.passed == (True, True, False, False)
        assert outcome.errors[2:] == ("0.25 is not 4", "ZeroDivisionError: division by zero")
        assert outcome.status == "done"
        assert not outcome.right

    def test_the_library_that_such_code_imports_works(self, weak):
        body = """
import bisect, calendar, collections, csv, datetime, decimal, fractions, functools, hashlib, heapq
import io, itertools, json, locale, math, operator, random, re, statistics, string, textwrap, time
import typing, unicodedata, zoneinfo
time.sleep(0.001), random.random(), datetime.datetime.now()
return "expected" if re.match("a+", "aa") and decimal.Decimal("0.1") * 3 else ""
"""
        assert error_of(body, weak) == ""

    def test_an_exit_is_an_error_of_its_case_only(self, weak):
        code = "import sys\ndef solve(n):\n    if n: sys.exit(0)\n    return n"
        outcome = run_code(code, [([1], 1), ([0], 0)], weak=weak, **PATIENT)
        assert outcome.errors == ("SystemExit: 0", "")


@pytest.mark.parametrize("weak", WAYS)
@pytest.mark.parametrize(
    "body",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.getaddrinfo('localhost', 80)\nsocket.socket()",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')",
        "import subprocess\nsubprocess.run(['ls'])",
        "import os\nos.system('true') == 0 or 1 / 0\nreturn 'expected'",
        "import os\nwhile True: os.fork()",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.kill(os.getppid(), 9)",
        "open('a file', 'w')",
        "open('a file', 'x')",
        "import os\nos.open('a file', os.O_CREAT)",
        "import os\nos.mkdir('a folder')",
        "import tempfile\ntempfile.mkdtemp()",
    ],
)
def test_nothing_but_computing_is_allowed(body, weak):
    assert any(refusal in error_of(body, weak) for refusal in REFUSALS)


@pytest.mark.parametrize("weak", WAYS)
def test_files_of_others_stay_as_they_are(tmp_path, weak):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    for body in (
        f"open({str(kept)!r}, 'w')",
        f"open({str(kept)!r}, 'a').write('x')",
        f"import os\nos.truncate({str(kept)!r}, 0)",
        f"import os\nos.remove({str(kept)!r})",
        f"import os\nos.rename({str(kept)!r}, {str(kept)!r} + '2')",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
    ):
        assert "not permitted" in (error := error_of(body, weak)) or "not allowed" in error, body
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [kept]


@confined
def test_the_kernel_refuses_below_python_too():
    """Where an audit hook or a patched module would have been gone around."""
    body = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
calls = [libc.socket(2, 1, 0), libc.fork(), libc.unlink(b"nothing"), libc.creat(b"a", 0o600),
         libc.memfd_create(b"a", 0), libc.prctl(22, 0), libc.ptrace(0, 0, 0, 0)]
return [calls, ctypes.get_errno()]
"""
    assert error_of(body) == "[[-1, -1, -1, -1, -1, -1, -1], 1] is not 'expected'"


@confined
def test_threads_are_refused():
    assert "can't start new thread" in error_of("import threading\nthreading.Thread().start()")


def test_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("A_SECRET", "1")
    body = "import os, sys\nreturn ['A_SECRET' in os.environ, os.listdir('.'), sys.argv[1:]]"
    assert error_of(body, weak=True) == "[False, [], []] is not 'expected'"
    body = "import sys\nreturn [p for p in sys.path if 'site-packages' in p]"
    assert error_of(body, weak=True) == "[] is not 'expected'"


class TestLimits:
    def test_an_endless_loop_ends(self):
        started = time.monotonic()
        code = "def solve(n):\n    while n: pass\n    return 1"
        outcome = run_code(code, [([1], 1), ([0], 1)], weak=True, seconds=1)
        assert outcome.status == "time"
        assert outcome.errors == ("TimeoutError: the time was over",) * 2
        assert time.monotonic() - started < 30

    def test_sleeping_and_ignoring_signals_does_not_help(self):
        body = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(1000)"
        assert error_of(body, weak=True, seconds=1).startswith("TimeoutError")

    @pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit address space")
    def test_a_memory_bomb_ends_in_a_memory_error(self):
        assert error_of("return len(bytearray(300 * 2**20))", weak=True) == "MemoryError"
        assert "is not" in error_of("return len(bytearray(300 * 2**20))", True, memory_mb=1024)

    def test_a_flood_of_prints_goes_nowhere(self):
        body = "for _ in range(3000): print('x' * 1000)\nreturn 'expected'"
        assert error_of(body, weak=True) == ""

    def test_a_flood_of_results_ends_the_process(self):
        code = "def solve():\n    return 'x' * 10_000_000"
        outcome = run_code(code, [([], 1)], weak=True, **PATIENT)
        assert (outcome.status, outcome.passed) == ("output", (False,))
        # The code finds the pipe, and writes to it without end.
        code = "import os\ndef solve():\n    while True: os.write(3, b'x' * 9999)"
        assert run_code(code, [([], 1)], weak=True, **PATIENT).status in ("output", "done")

    def test_a_process_that_ends_itself_fails_all_its_cases(self):
        outcome = run_code("import os\nos._exit(0)", [([], None), ([], 1)], weak=True, **PATIENT)
        assert outcome.status == "died"
        assert outcome.errors == ("SystemExit: the process ended before",) * 2

    def test_forged_results_do_not_help_without_the_expected_ones(self):
        code = 'import os, sys\ndef solve():\n    os.write(3, b\'{"error": ""}\\nnull\\n[[\\n\')'
        outcome = run_code(code, [([], 1), ([], 2), ([], 3)], weak=True, **PATIENT)
        assert outcome.passed == (False, False, False)


@pytest.mark.parametrize(
    ("returned", "expected", "same"),
    [
        ("(1, 2)", [1, 2], True),
        ("2.0", 2, True),
        ("0.1 + 0.2", 0.3, True),
        ("True", 1, False),
        ("1", True, False),
        ("'1'", 1, False),
        ("None", None, True),
        ("{'a': [1, {}]}", {"a": [1, {}]}, True),
        ("{1: 2}", {"1": 2}, False),
        ("{1, 2}", [1, 2], False),
        ("float('nan')", 1, False),
        ("10**5000", 1, False),
        ("'\\ud800'", "x", False),
        ("[0, [1]]", [0, [2]], False),
    ],
)
def test_when_two_results_are_the_same(returned, expected, same):
    code = f"def solve():\n    return {returned}"
    outcome = run_code(code, [([], expected)], weak=True, **PATIENT)
    assert outcome.right == same
    outcome.errors[0].encode()


@pytest.mark.parametrize(
    "code",
    ["", "def solve(:", "x = 1", "solve = 3", "raise BaseException", "def solve(a): return a",
     "class E(Exception):\n    def __str__(self): 1 / 0\ndef solve(): raise E", "\0"],
)  # fmt: skip
def test_code_that_is_none_is_an_error_of_the_case(code):
    outcome = run_code(code, [([], None)], weak=True, **PATIENT)
    assert outcome.status == "done"
    assert outcome.errors[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"code": "x" * 200_000}, "100,000 characters"),
        ({"code": 3}, "no string"),
        ({"cases": []}, "no case"),
        ({"cases": [3]}, "no pairs"),
        ({"cases": [([{1, 2}], 3)]}, "JSON"),
        ({"cases": [([], object())]}, "JSON"),
        ({"function": "a b"}, "pass a name"),
        ({"seconds": 0}, "seconds=0"),
        ({"memory_mb": 1}, "memory_mb=1; use a whole number from 64"),
        ({"weak": "no"}, "True or False"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        run_code(**{"code": "", "cases": [([], 1)], "weak": True, **changed})


def test_a_machine_that_cannot_confine_says_so(monkeypatch):
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    with pytest.raises(ValueError, match=r"riscv64.*weak=True"):
        run_code("def solve(): return 1", [([], 1)])


def test_the_written_solutions_pass_their_cases():
    """What the Japanese instructions are judged by is itself right, and each case can fail."""
    rows = [json.loads(line) for line in JAPANESE.read_text("utf-8").splitlines()]
    assert len(rows) == 40
    for row in rows:
        assert 3 <= len(row["cases"]) <= 5
        names: dict = {}
        code = row["reference"]
        if row["kind"] == "expression":
            code = f"def solve({', '.join(row['arguments'])}):\n    return {code}"
        exec(code, names)  # written for this book; the study runs what a model writes confined
        for case in row["cases"]:
            assert sandbox._same(names["solve"](*case["args"]), case["expected"]), row["id"]
    code = rows[0]["reference"]
    cases = [(case["args"], case["expected"]) for case in rows[0]["cases"]]
    assert run_code(code, cases, weak=not sandbox._can_confine(), **PATIENT).right
