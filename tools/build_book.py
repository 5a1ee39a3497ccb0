"""Render the book: warnings are errors, and no page may load anything from the network.

    python tools/build_book.py           # does nothing where nothing changed
    python tools/build_book.py --force   # builds in any case

Run it with the environment's own interpreter: the API pages import the package.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Everything that a page may be made of. results/ is here because prose pages may read it.
INPUTS = (
    "_config.yml",
    "_toc.yml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "requirements.lock",
    "book/**/*",
    "notebooks/*.ipynb",
    "results/**/*",
    "src/**/*.py",
    "src/**/*.toml",
    "tools/build_book.py",
)

# Elements that make a browser fetch what they name. A plain <a href> only leads there.
FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
# A <link> fetches for these relations; "next", "prev" and "canonical" only describe.
FETCHED_RELATIONS = {"icon", "stylesheet", "preload", "preconnect", "prefetch", "dns-prefetch"}
REMOTE = re.compile(r"^(https?:)?//")
REMOTE_IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


def input_files(root: Path = ROOT) -> list[Path]:
    """Return every file that the book is made of, sorted."""
    found = {path for pattern in INPUTS for path in root.glob(pattern) if path.is_file()}
    skipped = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(path for path in found if not skipped & set(path.parts))


def inputs_hash(root: Path = ROOT) -> str:
    """Return one hash over the names and the bytes of `input_files`."""
    digest = hashlib.sha256(sys.version.encode())
    for path in input_files(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


class _Fetches(HTMLParser):
    """Collects the remote addresses that a page makes the browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        addresses = [values[name] for name in FETCHED.get(tag, ()) if name in values]
        if tag == "link" and FETCHED_RELATIONS & set(values.get("rel", "").lower().split()):
            addresses.append(values.get("href", ""))
        addresses += REMOTE_IN_CSS.findall(values.get("style", ""))
        self.remote += [address for address in addresses if REMOTE.match(address)]


def remote_loads(html: Path) -> Iterator[tuple[Path, str]]:
    """Yield each built file that loads something from the network, and the address."""
    for page in sorted(html.rglob("*.html")):
        text = page.read_text("utf-8")
        parser = _Fetches()
        parser.feed(text)
        styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
        for address in parser.remote + REMOTE_IN_CSS.findall(styles):
            yield page.relative_to(html), address
    for sheet in sorted(html.rglob("*.css")):
        for address in REMOTE_IN_CSS.findall(sheet.read_text("utf-8")):
            yield sheet.relative_to(html), address


def render(root: Path, output: Path) -> None:
    """Build every page anew with Jupyter Book; raise where it warns or fails."""
    # From nothing each time: an unchanged page is not read again, so its warnings would be
    # reported once and then forgotten, and a renamed page would leave its old self behind.
    for leftover in (output / "html", output / ".doctrees"):
        shutil.rmtree(leftover, ignore_errors=True)
    # jupyter_book cannot be run with -m, and its script may not be on the PATH.
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(root)]
    command += ["-W", "-n", "--keep-going"]
    # The API pages import the package, which must not ask the Hub for anything.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    if subprocess.run(command, cwd=root, env=environment, check=False).returncode:
        raise RuntimeError("the book has errors or warnings: see above")


def check(html: Path) -> None:
    """Raise RuntimeError where the built book is not there or needs the network."""
    # Jupyter Book can end well without having written anything.
    if not (html / "index.html").is_file():
        raise RuntimeError(f"the build ended without {html / 'index.html'}")
    remote = [f"  {page} loads {address}" for page, address in remote_loads(html)]
    if remote:
        raise RuntimeError("the book must open with no network, but\n" + "\n".join(remote))


def build(root: Path = ROOT, force: bool = False) -> Path:
    """Build the book where anything changed since the last good build.

    Args:
        root: The folder with `_config.yml` and `_toc.yml`.
        force: Build in any case.

    Returns:
        The path of the built `index.html`.
    """
    output = root / "_build"
    index = output / "html" / "index.html"
    stamp = output / "inputs.sha256"
    wanted = inputs_hash(root)
    if not force and index.is_file() and stamp.is_file() and stamp.read_text("utf-8") == wanted:
        print("The book is up to date.")
        return index
    stamp.unlink(missing_ok=True)
    started = time.monotonic()
    render(root, output)
    check(index.parent)
    # Last, so that an interrupted or failed build is built again.
    stamp.write_text(wanted, "utf-8")
    print(f"The book was built in {time.monotonic() - started:.0f} s.")
    return index


def main(arguments: list[str] | None = None) -> int:
    """Build the book and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        index = build(options.root.resolve(), options.force)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{index}\n{index.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
