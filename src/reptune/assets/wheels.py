"""One wheel from the package index, downloaded by the user's own pip."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from reptune import network
from reptune.assets.errors import SourceFailed, says_full
from reptune.assets.registry import Wheel

_POLL_SECONDS = 0.2


# pip, which ends at once when this process does, however that ends: its standard input is a pipe
# that then closes.
_PIP = """
import os, runpy, sys, threading

def watch():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def download(wheel: Wheel, staging: Path, progress: tqdm) -> Path:
    """Download one wheel with the user's own pip, and so with their index and proxy.

    Returns:
        The wheel's path, in a folder below `staging`.
    """
    folder = Path(tempfile.mkdtemp(dir=staging))
    temporary, wheels = folder / "tmp", folder / "wheels"
    temporary.mkdir()
    wheels.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    # -P: a file named like a module in the working folder must not shadow pip's imports.
    # -vv: without it, pip does not say why it could not reach an index.
    command = [sys.executable, "-P", "-c", _PIP, "download", "-vv", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off"]
    command += ["-r", str(requirements), "-d", str(wheels)]
    command += ["--platform", wheel.platform] if wheel.platform else []
    answers = network.index_answers()
    if not answers:  # pip would retry for 8 to 100 seconds, and the cure is the same
        command += ["--retries=0", f"--timeout={network.PROBE_SECONDS:.0f}"]
    # pip's temporary file goes beside the rest: on the disk whose free space was checked.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    code, lines = _run(command, {**os.environ, **places}, folder, progress)
    if code:
        raise _pip_failed(wheel, lines, offline=not answers)
    return next(wheels.glob("*.whl"))


def _run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, progress: tqdm
) -> tuple[int, list[str]]:
    """Run pip while the bar follows the bytes in its folder; return exit code and output."""
    lines: list[str] = []
    start = progress.n
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,  # never written to: that it is open says that we live
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                seen = min(start + _bytes_seen(folder), progress.total)
                if seen > progress.n:  # a redraw without news would fill log files
                    progress.update(seen - progress.n)
                time.sleep(_POLL_SECONDS)
        except BaseException:  # Ctrl-C included: no pip may outlive us
            process.kill()
            raise
        finally:
            reader.join(timeout=10)
    return process.returncode, lines


def _bytes_seen(folder: Path) -> int:
    """Return the bytes downloaded so far: pip copies the finished wheel, so the larger folder's."""
    return max(_folder_bytes(folder / "tmp"), _folder_bytes(folder / "wheels"))


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, file_names in os.walk(folder):
        for name in file_names:
            with contextlib.suppress(OSError):  # pip deletes files as it goes
                total += (Path(parent) / name).stat().st_size
    return total


def _pip_failed(wheel: Wheel, lines: Sequence[str], *, offline: bool = False) -> Exception:
    """Make the exception that says why pip failed, from its output."""
    lines = [line.strip() for line in lines if line.strip()]
    text = "\n".join(lines)
    if says_full(text):
        return OSError(errno.ENOSPC, "No space left on device")
    if "DO NOT MATCH THE HASHES" in text:
        reason = f"the index's {wheel.requirement} does not have the sha256 {wheel.sha256}"
        return SourceFailed(reason, corrupt=True)
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = errors[-1] if errors else "pip said nothing"
    if last == "ERROR: Exception:":  # pip's own traceback follows; its last line says what
        last = f"ERROR: {lines[-1]}"
    unreachable = [line for line in lines if line.startswith("Could not fetch URL")]
    # pip names Python objects by address there, which tells a reader nothing.
    details = re.sub(r"<\S+ object at 0x[0-9a-f]+>[:,] ", "", "".join(unreachable[-1:]))
    details = f" ({details.removesuffix(' - skipping')})" if details else ""
    return SourceFailed(f"pip download {wheel.requirement}: {last}{details}", offline=offline)
