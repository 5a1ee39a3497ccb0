"""Code that a model wrote, run on test cases in a process that can compute and do nothing else.

This file is also that process's program: it is started by its path, without `reptune`, so nothing
but the standard library is imported at its top.

What the kernel guarantees, on Linux with an x86-64 processor: after its setup the process can make
only the calls on the list `CALLS`. It opens no socket, starts no process or thread, signals nobody,
and opens no file for writing, removes, renames or truncates none, whatever Python, `ctypes` or
machine code it runs. Memory, processor time, wall-clock time and output are limited; it starts with
an empty environment in an empty folder. The expected results never enter the process, so it cannot
read them there.

What is not guaranteed: it can *read* what its user can read, and put that in its result; run
nothing here as a user whose secrets matter. A hole in the kernel or the processor is beyond this.
With `weak=True`, for other systems, Python's audit hook refuses the same things: this stops
accidents, but not code that is written to get past it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import selectors
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["done", "time", "output", "died"]

MOST_OUTPUT = 1_000_000  # bytes of all results together
MOST_CODE = 100_000  # characters
LEAST_MEMORY_MB = 64  # an interpreter that has imported some of its library
OPENS_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = "no seccomp"

# What a computation needs of the kernel, by number on x86-64: read and write what is open, memory,
# its own signals, clocks, random bytes, the end. All else fails with "Operation not permitted".
CALLS = (
    0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,  # read, write, close, stat … rt_sigreturn
    17, 19, 20, 21, 23, 24, 25, 28, 32, 33, 35, 39,  # pread64, readv, writev, access … getpid
    60, 63, 79, 89, 96, 97, 98, 99, 100, 102, 104, 107, 108,  # exit, uname, getcwd … getegid
    131, 158, 186, 202, 204, 217, 218, 219,  # sigaltstack, arch_prctl, gettid, futex … getdents64
    228, 229, 230, 231, 262, 267, 269, 270, 271, 273,  # clocks, exit_group, newfstatat … ppoll
    318, 324, 332, 334,  # getrandom, membarrier, statx, rseq
)  # fmt: skip
OPEN, OPENAT = 2, 257  # for reading only
X86_64 = 0xC000003E


@dataclass(frozen=True)
class Outcome:
    r"""What became of code on its test cases.

    >>> run_code("def solve(n):\n    return 6 // n", [([2], 3), ([0], 0)]).errors
    ('', 'ZeroDivisionError: integer division or modulo by zero')

    Attributes:
        errors: For each case what was wrong: empty where the result was the expected one.
        status: `"done"` where every case had its turn; else what ended the process: `"time"`,
            `"output"`, or `"died"`, as after `os._exit` or a crash.
        seconds: Of the whole process, its start included.
    """

    errors: tuple[str, ...]
    status: Status
    seconds: float

    @property
    def passed(self) -> tuple[bool, ...]:
        """For each case, whether the result was the expected one."""
        return tuple(not error for error in self.errors)

    @property
    def right(self) -> bool:
        """Whether all were."""
        return all(self.passed)


def run_code(
    code: str,
    cases: Sequence[tuple[Sequence[Any], Any]],
    *,
    function: str = "solve",
    seconds: float = 5,
    memory_mb: int = 256,
    weak: bool = False,
) -> Outcome:
    r"""Run code that nobody has read, call its function on each case and compare the results.

    A tuple counts as a list, a whole float as the whole number, and floats are equal to 9 digits;
    but `True` is not 1, and a key that is no string is an error. The code runs anew for each case.

    Args:
        code: Python that defines the function.
        cases: For each the arguments and the expected result, all of what JSON holds.
        function: Its name.
        seconds: For all cases together.
        memory_mb: Address space of the process, in MB.
        weak: Where the kernel cannot confine the process, let Python do it; see this module's
            first lines for what that is worth.

    Raises:
        ValueError: If an argument is bad, or this machine cannot confine the process and `weak`
            is not set.

    Source: Chen et al., *Evaluating Large Language Models Trained on Code* (2021), section 2;
    chapter 7.

    >>> run_code("def solve(xs):\n    return sorted(xs)", [([[2, 1]], [1, 2])]).right
    True
    """
    job = _checked_job(code, cases, function, seconds, memory_mb, weak)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stdin:
        stdin.write(job)
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", __file__],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        with process:
            try:
                lines, ended_by = _read(process.stdout, started + float(seconds))
            finally:
                process.kill()
    if lines[:1] == [REFUSED]:
        raise ValueError(_cannot_confine())
    errors = _judged(lines, [expected for _, expected in cases], ended_by)
    status = ended_by or ("done" if len(lines) >= len(cases) else "died")
    return Outcome(errors, status, time.monotonic() - started)


def _checked_job(
    code: str, cases: Sequence, function: str, seconds: float, memory_mb: int, weak: bool
) -> bytes:
    """Return what the process reads, or raise a `ValueError`."""
    from reptune.checks import check_flag, check_number, check_unicode, check_whole_number

    if not isinstance(code, str) or len(code) > MOST_CODE:
        raise ValueError(f"code is no string of at most {MOST_CODE:,} characters; pass a function.")
    check_unicode(code, "code")
    if not isinstance(function, str) or not function.isidentifier():
        raise ValueError(f"function={function!r}; pass a name, such as 'solve'.")
    check_number("seconds", seconds, above=0, most=3600)
    check_whole_number("memory_mb", memory_mb, least=LEAST_MEMORY_MB)
    check_flag("weak", weak)
    if not cases:
        raise ValueError("there is no case to run the code on; pass at least one.")
    if not weak and not _can_confine():
        raise ValueError(_cannot_confine())
    try:
        arguments = [list(given) for given, _ in cases]
        json.dumps([expected for _, expected in cases])
        job = {"code": code, "function": function, "arguments": arguments, "weak": weak,
               "seconds": math.ceil(seconds) + 1, "memory": memory_mb * 1024 * 1024}  # fmt: skip
        return json.dumps(job).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"the cases are no pairs of arguments and result that JSON can hold ({error}); pass "
            "such as [([1, 2], 3)]."
        ) from None


def _can_confine() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32


def _cannot_confine() -> str:
    return (
        f"the kernel of this machine ({sys.platform}, {platform.machine()}) does not confine the "
        "process by seccomp as needed; run it on Linux with x86-64, or pass weak=True for code "
        "that you would run anyway."
    )


# --- the results, which are not to be trusted ----------------------------------------------------


def _read(pipe: Any, deadline: float) -> tuple[list[str], Status | None]:
    """Return the whole lines that a process writes, and which limit ended it, if one did."""
    output = bytearray()
    ended_by: Status | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while ended_by is None:
            if selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(pipe.fileno(), 65536)
                if not part:
                    break
                output += part
            if len(output) > MOST_OUTPUT:
                ended_by = "output"
            elif time.monotonic() >= deadline:
                ended_by = "time"
    return output.decode("utf-8", "replace").split("\n")[:-1], ended_by


def _judged(
    lines: Sequence[str], expected: Sequence[Any], ended_by: Status | None
) -> tuple[str, ...]:
    """Return for each case what was wrong, from a process's lines."""
    missing = {
        "time": "TimeoutError: the time was over",
        "output": f"ValueError: more than {MOST_OUTPUT:,} bytes of results",
    }.get(ended_by or "", "SystemExit: the process ended before")
    errors = [_judge(line, value) for line, value in zip(lines, expected, strict=False)]
    return (*errors, *[missing] * (len(expected) - len(errors)))


def _judge(line: str, expected: Any) -> str:
    """Return what is wrong with a result, as a line holds it; nothing if it is the expected one."""
    try:
        found = json.loads(line)
        if set(found) == {"error"}:
            return _shown(str(found["error"])) or "Exception"
        if _same(found["value"], expected):
            return ""
        return _shown(f"{found['value']!r} is not {expected!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return _shown(f"the result cannot be read: {type(error).__name__}")


def _same(found: Any, expected: Any) -> bool:
    """Return whether two values of JSON are the same."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, float) or isinstance(expected, float):
        numbers = isinstance(found, int | float) and isinstance(expected, int | float)
        return numbers and (found == expected or math.isclose(float(found), float(expected)))
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(found[k], expected[k]) for k in found)
    return type(found) is type(expected) and found == expected


def _shown(text: str) -> str:
    """Return a message of one line that can be written anywhere."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= 200 else line[:199] + "…"


# --- the process ---------------------------------------------------------------------------------


def _child() -> None:
    """Confine this process, then do the job that stands on its standard input."""
    job = json.loads(sys.stdin.buffer.read())
    results = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what the code prints goes nowhere
    _limit(job)
    if job["weak"]:
        sys.addaudithook(_refuse)
    elif not _confine():
        results.write(REFUSED + "\n")
        results.flush()
        os._exit(1)
    for arguments in job["arguments"]:
        results.write(_one(job["code"], job["function"], arguments) + "\n")
        results.flush()
    os._exit(0)


def _one(code: str, function: str, arguments: list[Any]) -> str:
    """Return a line about one case."""
    try:
        names: dict[str, Any] = {"__name__": "solution"}
        exec(compile(code, "solution.py", "exec"), names)
        value = names[function](*arguments)
        _check_keys(value)
        return json.dumps({"value": value})
    except BaseException as error:  # SystemExit, MemoryError and all
        try:
            message = f"{type(error).__name__}: {error}".removesuffix(": ")
        except BaseException:  # the code's own exception, which cannot say what it is
            message = "Exception"
        return json.dumps({"error": message[:1000]})


def _check_keys(value: Any) -> None:
    """Raise a `TypeError` for a key that JSON would silently turn into a string."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no string")
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            _check_keys(part)


def _limit(job: Mapping[str, Any]) -> None:
    """Limit memory, processor time, files and, for users other than root, processes."""
    import resource

    limits = {"AS": job["memory"], "CPU": job["seconds"], "FSIZE": 0, "CORE": 0, "NOFILE": 64}
    if job["weak"]:
        limits["NPROC"] = 0
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (AttributeError, ValueError, OSError):
            if not job["weak"]:
                raise


def _confine() -> bool:
    """Let this process make the calls of `CALLS` only, for good; return whether the kernel did."""
    import ctypes

    load, equal, bits, give = 0x20, 0x15, 0x45, 0x06
    kill, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000
    # Each: operation, how many to skip if it holds and if not, operand.
    program = [(load, 0, 0, 4), (equal, 1, 0, X86_64), (give, 0, 0, kill), (load, 0, 0, 0)]
    for number in CALLS:
        program += [(equal, 0, 1, number), (give, 0, 0, allow)]
    for number, flags in ((OPEN, 24), (OPENAT, 32)):  # where the flags stand among the arguments
        program += [(equal, 0, 4, number), (load, 0, 0, flags), (bits, 0, 1, OPENS_TO_WRITE),
                    (give, 0, 0, refuse), (give, 0, 0, allow)]  # fmt: skip
    program.append((give, 0, 0, refuse))
    packed = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, filter_calls, mode = 38, 22, 2
    pointer = ctypes.create_string_buffer(header, len(header))
    return prctl(no_new_privileges, 1, 0, 0, 0) == 0 and (
        prctl(filter_calls, mode, ctypes.c_void_p(ctypes.addressof(pointer)), 0, 0) == 0
    )


def _refuse(event: str, arguments: tuple) -> None:
    """Refuse, as an audit hook, what the kernel refuses elsewhere."""
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & OPENS_TO_WRITE
    # What `os` reports that only reads, or stays within the process.
    harmless = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")
    outside = event.split(".")[0] in ("socket", "subprocess", "ctypes", "os", "_posixsubprocess")
    machine_code = event == "import" and arguments[0] in ("ctypes", "_ctypes")
    if writes or machine_code or (outside and event not in harmless):
        raise PermissionError(f"{event} is not allowed here")


if __name__ == "__main__":
    _child()
