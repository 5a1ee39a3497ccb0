"""Make the environment the book and its tests run in, and fetch what they read.

Run it with any Python from 3.11 on; it needs nothing installed:

    python3.11 tools/bootstrap.py

makes `.venv` with the exact versions of requirements.lock and fetches the models and data
that the chapters read. Where nothing changed since, it does nothing. The second environment,
with the versions that Colab has, is

    python3.11 tools/bootstrap.py --venv .venv-colab --constraints constraints/colab.txt
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OLDEST = (3, 11)

# In the environment's folder: begun but not finished, and finished (holding a hash).
BEGUN = "reptune-setup-begun"
STAMP = "reptune-setup-done"

# What the chapters' live runs and their tests read; all-mpnet-base-v2 stays opt-in.
GROUPS = ("default", "smollm2")


class SetupError(RuntimeError):
    """The environment cannot be made; the message says what to do."""


def venv_python(folder: Path) -> Path:
    """Return the path of an environment's interpreter."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def locked_torch() -> str:
    """Return the torch version that requirements.lock names."""
    found = re.search(r"^torch==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise SetupError(f"{LOCK.name} names no torch: restore the file from the repository")
    return found.group(1)


def wanted(options: argparse.Namespace) -> str:
    """Return a hash of all that decides what is installed, and where."""
    digest = hashlib.sha256()
    inputs = [
        LOCK,
        ROOT / "pyproject.toml",
        *([options.constraints] if options.constraints else []),
    ]
    for path in inputs:
        # Line ends are made equal: a Windows checkout may differ in them.
        digest.update(path.read_text("utf-8").encode())
    # A folder that was moved or copied has an environment that points to the old place.
    for fact in (ROOT, sys.version_info[:2], options.torch, options.extras):
        digest.update(repr(str(fact)).encode())
    return digest.hexdigest()


def call(*command: str | Path) -> None:
    """Show a command and run it; raise SetupError where it fails."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    try:
        subprocess.run(words, cwd=ROOT, check=True)
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"this command failed with status {error.returncode}:\n  {' '.join(words)}\n"
            "Its own message stands above. Once the cause is gone, run the same again."
        ) from error


def make_venv(folder: Path) -> Path:
    """Make the environment's folder, anew where an earlier set-up was cut off.

    Returns:
        The environment's interpreter.
    """
    python = venv_python(folder)
    if (folder / BEGUN).exists():
        # pip takes a half-unpacked package for an installed one: start from nothing.
        print(f"An earlier set-up of {folder.name} was interrupted: starting over.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    (folder / BEGUN).touch()
    if not python.exists():
        try:
            call(sys.executable, "-m", "venv", folder)
        except SetupError as error:
            raise SetupError(
                f"{error}\nOn Debian and Ubuntu, venv is a package of its own:"
                f" apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            ) from error
    return python


def install(python: Path, options: argparse.Namespace) -> None:
    """Install torch, then the pinned versions, then this package."""
    # seqeval comes as source only; built the old way it fails where setuptools is new.
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--use-pep517"]
    # First and by its exact version: whatever asks for "torch" afterwards finds it there, and
    # nothing chooses another build of several gigabytes.
    torch = f"torch=={options.torch or locked_torch()}"
    call(*pip, torch)
    extras = f"[{options.extras}]" if options.extras else ""
    if options.constraints:
        call(*pip, "-c", options.constraints, torch, "-e", f".{extras or '[dev]'}")
        return
    call(*pip, "-r", LOCK)
    # The lock holds every dependency, so none is looked up again.
    call(*pip, "-e", f".{extras}", *([] if extras else ["--no-deps"]))


def set_up(options: argparse.Namespace) -> Path:
    """Make or refresh the environment where needed and return its interpreter."""
    folder = options.venv
    stamp, hash_now = folder / STAMP, wanted(options)
    python = venv_python(folder)
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == hash_now:
        return python
    print(
        f"Setting up {folder.name}: Python packages, torch among them (200 MB for its CPU"
        " build, several GB for the CUDA build that Linux gets by default)."
    )
    python = make_venv(folder)
    install(python, options)
    # Last: until it is there, the set-up counts as not done.
    stamp.write_text(hash_now, "utf-8")
    (folder / BEGUN).unlink()
    return python


def fetch_assets(python: Path) -> None:
    """Fetch the models and data of the chapters where they are not in the cache yet."""
    print(
        "Models and data: about 220 MB in all, fetched once and checked against their"
        " hashes; what is in the cache already is not fetched again. SmolLM2, 93 MB of it, is"
        " converted once, in half a minute, and takes 542 MB on disk.",
        flush=True,
    )
    for group in GROUPS:
        call(python, "-m", "reptune.cli", "assets", "fetch", "--group", group)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the folder to make")
    parser.add_argument("--constraints", type=Path, help="pip constraints, in place of the lock")
    parser.add_argument("--torch", help="torch version (default: the one in requirements.lock)")
    parser.add_argument("--extras", default="", help="extras of this package, such as dev")
    parser.add_argument("--no-assets", action="store_true", help="fetch no models and data")
    options = parser.parse_args(arguments)
    options.venv = options.venv.absolute()
    if options.constraints:
        options.constraints = options.constraints.absolute()
        if not options.constraints.is_file():
            parser.error(f"there is no file {options.constraints}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Set everything up."""
    if sys.version_info < OLDEST:
        here = ".".join(map(str, sys.version_info[:2]))
        print(
            f"error: this is Python {here}, and the book needs 3.11 or newer. Run it with such a"
            " one: python3.11 tools/bootstrap.py, or make PYTHON=python3.11 …",
            file=sys.stderr,
        )
        return 1
    options = parse(arguments)
    try:
        python = set_up(options)
        if not options.no_assets:
            fetch_assets(python)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
