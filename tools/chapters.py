"""Execute chapters in place, and say which of them are out of date.

    python tools/chapters.py run --chapter 01 --profile cpu
    python tools/chapters.py stale

`run` executes every cell with this interpreter, tidies the outputs, stamps the notebook
with what made it (profile, device, versions, hashes) and only then replaces the file: a
failing cell leaves the stored notebook as it was. `stale` compares those hashes with the
cells and the package's modules as they are now. After a run, the book's page "Last verified" is
written anew from the stamps.
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import datetime
import functools
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import verified

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PACKAGE = ROOT / "src" / "reptune"

INSTALL_TAG = "install"
SKIP_TAG = "skip-execution"
MAX_IMAGE_BYTES = 200_000
MAX_NOTEBOOK_BYTES = 2_000_000

WIDGET = "application/vnd.jupyter.widget-view+json"
# What tqdm leaves behind: " 40%|####      | 2/5 [00:01<00:02, 19.66it/s]".
PROGRESS_BAR = re.compile(r"\d%\|.*\||\[\d+:\d+<|\d(it/s|s/it)\]|\?it/s")
# IPython's own lines, which Python's parser does not know.
MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A package's literal dict of names that it exports lazily, each with the module it comes from.
LAZY_TABLE = "_LAZY"


# ---------------------------------------------------------------------------- hashes


def tags(cell: Any) -> list[str]:
    """Return a cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def code_cells(nb: Any) -> list[Any]:
    """Return the code cells that are the chapter: all but the one that installs."""
    return [c for c in nb.cells if c.cell_type == "code" and INSTALL_TAG not in tags(c)]


def cells_hash(nb: Any) -> str:
    """Return a hash of the sources of `code_cells`, in their order."""
    sources = [cell.source for cell in code_cells(nb)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


# ------------------------------------------------------------------ the modules it uses


def _module_file(name: str, package: Path) -> Path | None:
    """Return the file of a module of the package, such as "reptune.data", or None."""
    top, *inner = name.split(".")
    if top != package.name or not all(part.isidentifier() for part in inner):
        return None
    base = package.joinpath(*inner)
    candidates = (base / "__init__.py", base.with_suffix(".py") if inner else base)
    return next((path for path in candidates if path.is_file()), None)


def _last_name(node: ast.AST) -> str:
    """Return "c" for the expressions a.b.c and c, and an empty string for any other."""
    return getattr(node, "attr", "") or getattr(node, "id", "")


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's nodes, but for what stands under `if TYPE_CHECKING:` and never runs."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        children: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.If):
            negated = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
            test = node.test.operand if negated else node.test
            if _last_name(test) == "TYPE_CHECKING":
                children = node.body if negated else node.orelse
        waiting += children


def _absolute(level: int, name: str, importer: str) -> str:
    """Return the full name of a module that `importer` names with `level` leading dots."""
    # Level 1 in "reptune.data" is "reptune"; level 0 is absolute.
    parents = importer.split(".")[:-level] if level else []
    return ".".join([*parents, *([name] if name else [])])


def _module_in_call(node: ast.AST, importer: str) -> str | None:
    """Return the module that a call of `import_module` with a literal name imports, or None."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name, *package = node.args
    package += [word.value for word in node.keywords if word.arg == "package"]
    if _last_name(node.func) != "import_module" or not isinstance(name, ast.Constant):
        return None
    text = str(name.value)
    level = len(text) - len(text.lstrip("."))
    if package and isinstance(package[0], ast.Constant):
        importer = f"{package[0].value}.__init__"
    return _absolute(level, text[level:], importer)


def _imports(nodes: Iterable[ast.AST], importer: str) -> Iterator[tuple[str, str]]:
    """Yield what the nodes import: the local name it gets, if any, and its dotted name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield "", alias.name
                top = alias.name.split(".")[0]
                yield alias.asname or top, alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.level, node.module or "", importer)
            for alias in node.names:
                yield alias.asname or alias.name, f"{base}.{alias.name}"
        elif name := _module_in_call(node, importer):
            # What is then taken from the module is unknown: it may be all that it exports.
            yield "", f"{name}.*"


def _used_names(trees: Iterable[ast.AST], importer: str) -> set[str]:
    """Return the dotted names that `importer` imports, or reaches through what it imports.

    Args:
        trees: Its code; several trees, such as a notebook's cells, share their local names.
        importer: The module's name, which tells what its relative imports mean.
    """
    nodes = [node for tree in trees for node in _executed(tree)]
    bound: dict[str, set[str]] = {}
    for local, name in _imports(nodes, importer):
        bound.setdefault(local, set()).add(name)
    names = set().union(*bound.values())
    for node in nodes:
        # `import reptune` and later `reptune.data.load(...)`.
        root, rest = _attribute_chain(node)
        names |= {f"{name}.{rest}" for name in bound.get(root, ()) if rest}
    return names


def _attribute_chain(node: ast.AST) -> tuple[str, str]:
    """Return ("a", "b.c") for the expression a.b.c, and two empty strings for any other."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return (node.id, ".".join(attributes)) if isinstance(node, ast.Name) else ("", "")


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _lazy_exports(file: Path) -> dict[str, str]:
    """Return a package's table of the names that it imports when they are first used.

    Raises:
        ValueError: The table cannot be read without running the package.
    """
    for node in _parsed(file.read_text("utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == LAZY_TABLE for target in targets):
            try:
                return {
                    str(name): str(module) for name, module in ast.literal_eval(node.value).items()
                }
            except (ValueError, AttributeError) as error:
                raise ValueError(
                    f"{file.parent.name}/{file.name}: {LAZY_TABLE} is no literal dict; "
                    "write names and modules out, so that they can be read without an import."
                ) from error
    return {}


def _modules_of(name: str, package: Path, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the package's modules that run when a dotted name is imported.

    These are the packages around it, the module itself, and where the name is exported lazily,
    the module that it comes from.

    Raises:
        ValueError: The name is exported lazily from a module that does not exist.
    """
    found: set[str] = set()
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        if _module_file(module, package) is None:
            break
        found.add(module)
        table = _lazy_exports(_module_file(module, package))
        # Of `package.*` nothing more is known: it may be any name of the table.
        wanted = list(table) if parts[end:] == ["*"] else parts[end : end + 1]
        for source, used in ((table[used], used) for used in wanted if used in table):
            ours = source.split(".")[0] in (package.name, "")
            if ours and _module_file(source, package) is None:
                raise ValueError(
                    f"{module} exports {used!r} lazily from {source!r}; name a module in full."
                )
            further = ".".join([source, used, *parts[end + 1 :]])
            if further not in seen:
                found |= _modules_of(further, package, seen | {name, further})
    return found


def _modules_from(sources: Iterable[str], package: Path) -> dict[str, Path]:
    """Return the package's modules that the sources import, directly or not, by name."""
    found: dict[str, Path] = {}
    waiting = _used_names([ast.parse(text) for text in sources], "")
    while waiting:
        for module in _modules_of(waiting.pop(), package) - found.keys():
            file = found[module] = _module_file(module, package)
            # In a package's __init__ a leading dot means the package itself.
            importer = f"{module}.__init__" if file.name == "__init__.py" else module
            waiting |= _used_names([_parsed(file.read_text("utf-8"))], importer)
    return found


def module_hashes(nb: Any, package: Path = PACKAGE) -> dict[str, str]:
    """Return the hash of each of the package's modules that the notebook uses.

    Args:
        nb: The notebook.
        package: The package's folder.

    Returns:
        The modules' file names, relative to the package, and the hashes of their texts.
    """
    sources = [MAGIC.sub(r"\1pass", cell.source) for cell in code_cells(nb)]
    files = sorted(set(_modules_from(sources, package).values()))
    # read_text makes line ends equal, so a Windows checkout has the same hashes.
    return {
        file.relative_to(package).as_posix(): hashlib.sha256(
            file.read_text("utf-8").encode()
        ).hexdigest()
        for file in files
    }


def stale_reasons(path: Path, package: Path = PACKAGE) -> list[str]:
    """Return what changed since the notebook was run; empty where nothing did.

    A module that is reached only now counts where something else changed too. Where nothing did,
    the same imports led to it at the time of the run, when it did not exist: the run, which ended
    well, did without it.
    """
    nb = nbformat.read(path, as_version=4)
    stamp = nb.metadata.get("reptune")
    if not stamp:
        return ["it was never run with `make run`"]
    reasons, added = [], []
    if stamp.get("cells") != cells_hash(nb):
        reasons.append("its code cells changed")
    then, now = stamp.get("modules", {}), module_hashes(nb, package)
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            reasons.append(f"it used {name}, and no longer does")
        elif name not in then:
            added.append(f"it now uses {name}")
        elif then[name] != now[name]:
            reasons.append(f"{name} changed")
    return reasons + added if reasons else []


# --------------------------------------------------------------------------- outputs


def _without_bars(text: str) -> str:
    """Return a stream's text as a terminal would show it in the end, less progress bars."""
    lines = []
    for line in text.split("\n"):
        # A carriage return goes back to the line's start: what follows overwrites it.
        shown = line.rstrip("\r").split("\r")[-1]
        if not PROGRESS_BAR.search(shown):
            lines.append(shown)
    return "\n".join(lines)


def _tidy_outputs(outputs: list[Any]) -> list[Any]:
    """Merge neighboring streams of one kind and drop progress bars and widgets."""
    kept: list[Any] = []
    for output in outputs:
        if WIDGET in output.get("data", {}):
            continue
        if kept and output.output_type == "stream" and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _without_bars(output.text)
    return [o for o in kept if o.output_type != "stream" or o.text.strip()]


def tidy(nb: Any) -> None:
    """Remove from an executed notebook, in place, what only the run itself needed."""
    nb.metadata.pop("widgets", None)
    nb.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    # Without ipython3, a cell with %pip or !command is a warning when the book is built. The
    # version goes: it is in the stamp, and would differ on the next machine.
    nb.metadata["language_info"] = {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    }
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if SKIP_TAG in tags(cell):
            cell.outputs, cell.execution_count = [], None
        cell.outputs = _tidy_outputs(cell.outputs)


def _output_text(output: Any) -> str:
    """Return all text of an output."""
    if output.output_type == "stream":
        return output.text
    data = output.get("data", {})
    return "\n".join(str(data[kind]) for kind in data if kind.startswith("text/"))


def output_problems(nb: Any, first: int = 0) -> list[str]:
    """Return what is wrong with the stored outputs: errors, bars, big images, home folders.

    `first` is the number of the notebook's first cell, in the messages.
    """
    problems = []
    homes = {str(ROOT), str(Path.home())} - {"/"}
    home = re.compile("|".join([*map(re.escape, homes), r"/(home|Users)/\w", r"/root/"]))
    for index, cell in enumerate(nb.cells, first):
        for output in cell.get("outputs", []):
            where = f"cell {index}"
            if output.output_type == "error":
                problems.append(f"{where}: {output.ename}: {output.evalue}")
                continue
            image = output.get("data", {}).get("image/png")
            if image and (size := len(base64.b64decode(image))) > MAX_IMAGE_BYTES:
                problems.append(f"{where}: an image of {size:,} bytes (limit {MAX_IMAGE_BYTES:,})")
            text = _output_text(output)
            if PROGRESS_BAR.search(text) or WIDGET in output.get("data", {}):
                problems.append(f"{where}: what is left of a progress bar")
            if re.search(r"\w*Warning: ", text):
                problems.append(f"{where}: a warning")
            if found := home.search(text):
                problems.append(f"{where}: a path of this machine ({found.group()}…)")
    size = len(nbformat.writes(nb).encode())
    if size > MAX_NOTEBOOK_BYTES:
        problems.append(f"{size:,} bytes in all (limit {MAX_NOTEBOOK_BYTES:,})")
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("its outputs cannot be stored:\n  " + "\n  ".join(problems))


# ----------------------------------------------------------------------------- running


class CellError(RuntimeError):
    """A cell raised, or the kernel died in it; the message shows the cell and the error."""


def execute(nb: Any, folder: Path, profile: str) -> None:
    """Execute a notebook in place, in `folder`, with this interpreter.

    It stops at the first cell whose outputs could not be stored: a run takes minutes, and what is
    wrong with its first cell should not come out after the last.

    Raises:
        CellError: A cell raised or the kernel died.
        ValueError: A cell's outputs are not fit to be stored.
    """
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class ThisInterpreter(KernelSpecManager):
        """Answers with this interpreter, whatever kernels the machine has registered."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            # Else it warns that whoever shares the machine could listen to its local ports.
            argv.append("--log-level=ERROR")
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    started = time.monotonic()
    current = 0

    def show(cell: Any, cell_index: int) -> None:
        nonlocal current
        current = cell_index
        first = next(iter(cell.source.strip().splitlines()), "")
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        place = f"{cell_index + 1}/{len(nb.cells)}"
        print(f"{minutes:3d}:{seconds:02d}  {place}  {first[:60]}", flush=True)

    def check(cell: Any, cell_index: int, execute_reply: Any) -> None:
        if any(output.output_type == "error" for output in cell.outputs):
            return  # nbclient raises it, with its traceback
        alone = nbformat.v4.new_notebook(cells=[copy.deepcopy(cell)])
        tidy(alone)
        _refuse(output_problems(alone, first=cell_index))

    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter())
    client = NotebookClient(
        nb,
        km=manager,
        timeout=None,
        startup_timeout=300,
        record_timing=False,
        skip_cells_with_tag=SKIP_TAG,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=show,
        on_cell_executed=check,
    )
    # A kernel shows progress bars unless told, and they would be stored.
    environment = {
        **os.environ, "REPTUNE_PROFILE": profile, "REPTUNE_PROGRESS": "0", "PYTHONUTF8": "1",
    }  # fmt: skip
    try:
        # A manager that is handed in is not stopped in the end unless asked for.
        client.execute(env=environment, cleanup_kc=True)
    except CellExecutionError as error:
        raise CellError(f"cell {current} failed. {ANSI.sub('', str(error))}") from error
    except DeadKernelError as error:
        source = nb.cells[current].source
        raise CellError(f"the kernel died in cell {current}: {error}\n\n{source}") from error


def make_stamp(nb: Any, profile: str, seconds: float, modules: dict[str, str]) -> dict[str, Any]:
    """Return what a later reader needs to know about the run that made the outputs.

    Args:
        nb: The executed notebook.
        profile: "quick", "cpu" or "gpu".
        seconds: How long the run took.
        modules: What `module_hashes` returned before the run.
    """
    from reptune import runtime

    return {
        "profile": profile,
        "device": runtime.device_name(),
        "versions": runtime.versions(),
        "seconds": round(seconds),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cells": cells_hash(nb),
        "modules": modules,
    }


def run(path: Path, profile: str) -> None:
    """Execute one notebook and replace the stored one, if and only if all went well.

    Raises:
        CellError: A cell raised.
        ValueError: The outputs are not fit to be stored; the message lists why.
    """
    nb = nbformat.read(path, as_version=4)
    # Before the run: a module that changes while the cells run makes the chapter stale.
    modules = module_hashes(nb)
    started = time.monotonic()
    execute(nb, path.parent, profile)
    seconds = time.monotonic() - started
    tidy(nb)
    nb.metadata["reptune"] = make_stamp(nb, profile, seconds, modules)
    _refuse(output_problems(nb))
    write(nb, path)
    print(f"{path.name}: {seconds:.0f} s, profile {profile}")


def write(nb: Any, path: Path) -> None:
    """Write a notebook beside its place and move it there, so that it is never half there."""
    temporary = path.with_suffix(".ipynb.part")
    try:
        temporary.write_text(nbformat.writes(nb).rstrip("\n") + "\n", "utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def chapters(chapter: str | None = None, folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the notebooks of one chapter ("1", "01") or of all, in the book's order.

    Raises:
        ValueError: There is no such chapter; the message lists those there are.
    """
    everything = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if chapter is None or chapter == "all":
        return everything
    chosen = [path for path in everything if path.name.startswith(f"{chapter.zfill(2)}_")]
    if not chosen:
        there = ", ".join(path.name.split("_")[0] for path in everything) or "none yet"
        raise ValueError(f"there is no chapter {chapter!r} in {folder.name}/ (there are: {there})")
    return chosen


# ---------------------------------------------------------------------------- commands


def command_run(chapter: str, profile: str, folder: Path) -> int:
    """Run the chapters and return the exit status."""
    try:
        for path in chapters(chapter, folder):
            print(f"{path.name}, profile {profile}", flush=True)
            run(path, profile)
    except (CellError, ValueError) as error:
        print(f"error: {error}\n\nThe stored notebook is as it was.", file=sys.stderr)
        return 1
    finally:
        if folder == NOTEBOOKS:  # also after a failure: the chapters before it have new stamps
            verified.write()
    return 0


def command_stale(folder: Path) -> int:
    """Print which chapters are stale and why, and return the exit status."""
    stale = {path.name: stale_reasons(path) for path in chapters(folder=folder)}
    stale = {name: reasons for name, reasons in stale.items() if reasons}
    for name, reasons in stale.items():
        print(f"{name}\n  " + "\n  ".join(reasons))
    if not stale:
        print("Nothing is stale.")
    return 1 if stale else 0


def main(arguments: list[str] | None = None) -> int:
    """Run or check chapters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="execute chapters in place and stamp them")
    run_parser.add_argument("--chapter", required=True, help="01, 02, … or all")
    run_parser.add_argument("--profile", choices=("quick", "cpu", "gpu"), default="cpu")
    stale_parser = commands.add_parser("stale", help="list what changed since the last run")
    for one in (run_parser, stale_parser):
        one.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.command == "run":
        return command_run(options.chapter, options.profile, options.notebooks)
    return command_stale(options.notebooks)


if __name__ == "__main__":
    sys.exit(main())
