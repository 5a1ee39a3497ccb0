"""Write requirements.lock: the exact versions that `make` installs.

Makes a clean virtual environment, installs torch first (so that nothing else
chooses another build of it), then this package with its `dev` extra, and writes
down what pip says is there.

    python tools/lock.py                     # the torch version already locked
    python tools/lock.py --torch 2.13.0      # move to another torch
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"

# What the environment has from the start, and what torch itself pins and pulls
# in on some machines only (the CUDA build's libraries): neither is ours to pin.
UNPINNED = re.compile(r"^(reptune|pip|setuptools|wheel|triton|nvidia-.*|cuda-.*)$")

HEADER = """\
# The exact versions `make book` and `make test` install. Made by `make lock`: a clean
# environment, `pip install torch=={torch}`, then `pip install -e .[dev]`, then `pip freeze`
# without the package itself, the installers, and torch's own CUDA libraries.
# Do not edit by hand. torch stands here without a build suffix (+cpu, +cu130), so the
# same line serves a CPU-only and a CUDA machine.
"""


def run(*command: str | Path) -> str:
    """Run a command, show it, and return what it printed on standard output."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def locked_version(package: str, lock: Path = LOCK) -> str | None:
    """Return the version of `package` that the lock file pins, or None."""
    if not lock.exists():
        return None
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock.read_text("utf-8"), re.MULTILINE)
    return found.group(1) if found else None


def pins(frozen: str) -> list[str]:
    """Return the lines of `pip freeze` worth pinning, sorted, without build suffixes."""
    lines = []
    for line in frozen.splitlines():
        name, separator, version = line.strip().partition("==")
        if not separator or UNPINNED.match(name.lower()):
            continue
        # "2.13.0+cpu" is one build of 2.13.0; another machine has another.
        lines.append(f"{name}=={version.split('+')[0]}")
    return sorted(lines, key=str.lower)


def make_environment(folder: Path, torch: str) -> Path:
    """Make a clean environment with torch and this package's `dev` extra; return its python."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(python, "-m", "pip", "install", "-q", f"torch=={torch}")
    # The pin is repeated, or a dependency's own wish could replace the build just installed.
    run(python, "-m", "pip", "install", "-q", f"torch=={torch}", "-e", f"{ROOT}[dev]")
    return python


def main(arguments: list[str] | None = None) -> int:
    """Regenerate the lock file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="torch version to lock (default: the one locked now)")
    parser.add_argument("--venv", type=Path, help="make the environment here and keep it")
    options = parser.parse_args(arguments)
    torch = options.torch or locked_version("torch")
    if torch is None:
        parser.error(f"{LOCK.name} names no torch yet: say which one with --torch")
    with tempfile.TemporaryDirectory() as scratch:
        python = make_environment(options.venv or Path(scratch) / "venv", torch)
        frozen = run(python, "-m", "pip", "freeze", "--exclude-editable")
    lines = pins(frozen)
    LOCK.write_text(HEADER.format(torch=torch) + "\n".join(lines) + "\n", "utf-8", newline="\n")
    print(f"{LOCK.name}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
