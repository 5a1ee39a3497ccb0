"""What this machine has for the package, what is missing, and how to get it; needs no PyTorch."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reptune import assets, network

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "reptune"
HIDDEN_EXTRAS = ("dev",)  # for those who work on the package itself
CPUINFO = Path("/proc/cpuinfo")
# What the products of matrices run on, by the names that Linux, macOS and PyTorch have for it.
CPU_FEATURES = {
    "AVX2": ("avx2", "avx2.0"),
    "AVX512": ("avx512f", "avx512"),
    "VNNI": ("avx512_vnni", "avx_vnni", "avx512vnni"),
    "BF16": ("avx512_bf16", "bf16", "feat_bf16", "arm_bf16"),
    "AMX": ("amx_tile", "amx_int8", "amx_bf16"),
    "NEON": ("asimd", "neon"),
    "I8MM": ("i8mm", "feat_i8mm"),
}


class Finding(NamedTuple):
    """One thing that was looked at.

    >>> Finding("GPU", "none", None, "everything works without one, more slowly").ok is None
    True

    Attributes:
        name: What was looked at.
        value: What was found.
        ok: Whether it is as it has to be; `None` where nothing depends on it.
        cure: How to get what is missing; empty where nothing is.
    """

    name: str
    value: str
    ok: bool | None
    cure: str = ""


def examine(offline: bool = False) -> list[Finding]:
    """Look at Python, the libraries, the processor, memory, disk, cache, index and extras.

    Args:
        offline: Do not ask whether a package index answers.

    Returns:
        What was found; the package can be used where no `ok` is false.
    """
    required = _requirements()
    torch, torch_finding = _torch()
    missing = [name for name in assets.names("default") if not _is_there(name)]
    return [
        _python(),
        *_libraries(required),
        torch_finding,
        _cpu(torch),
        _gpu(torch),
        _memory(),
        _cache(missing),
        _disk(missing),
        _index(offline, missing),
        *_extras(required),
    ]


# --- Python and its packages ---------------------------------------------------------------------


def _python() -> Finding:
    value = f"{platform.python_version()} ({sys.executable})"
    wanted = _metadata("Requires-Python")
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return Finding("Python", value, None)
    fits = SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
    return Finding("Python", value, fits, "" if fits else f"install Python {wanted}")


def _metadata(field: str) -> str:
    try:
        return str(importlib.metadata.metadata(PACKAGE)[field] or "")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _requirements() -> list[Requirement]:
    """Return what the package's metadata asks for, those of extras too."""
    try:
        from packaging.requirements import Requirement

        return [Requirement(line) for line in importlib.metadata.requires(PACKAGE) or []]
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return []


def _libraries(required: list[Requirement]) -> Iterator[Finding]:
    """Yield one finding for all libraries that fit, and one for each that does not."""
    if not required:
        cure = f"pip install {PACKAGE}"
        yield Finding("libraries", "the package is not installed, or packaging is not", None, cure)
        return
    needed = [each for each in required if each.marker is None or each.marker.evaluate()]
    unfit = [each for each in needed if not _fits(each)]
    count = len(needed) - len(unfit)
    yield Finding("libraries", f"{count} of {len(needed)} as required", not unfit)
    for each in unfit:
        found = _version(each.name) or "not installed"
        value = f"{found}; {each.specifier} is required"
        yield Finding(each.name, value, False, f'pip install "{each.name}{each.specifier}"')


def _fits(requirement: Requirement) -> bool:
    version = _version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras(required: list[Requirement]) -> Iterator[Finding]:
    extras: dict[str, list[Requirement]] = {}
    for each in required:
        for extra in re.findall(r"extra == ['\"]([^'\"]+)['\"]", str(each.marker or "")):
            extras.setdefault(extra, []).append(each)
    for extra, wanted in extras.items():
        if extra in HIDDEN_EXTRAS:
            continue
        lacking = [each.name for each in wanted if each.name != PACKAGE and not _fits(each)]
        value = f"without {', '.join(lacking)}" if lacking else "installed"
        cure = f'pip install "{PACKAGE}[{extra}]"' if lacking else ""
        yield Finding(f"extra {extra}", value, None if lacking else True, cure)


def _torch() -> tuple[Any, Finding]:
    """Return PyTorch, or `None` where it cannot be imported, and what to say of it."""
    try:
        # By name, so that the command line's modules need no PyTorch.
        torch = importlib.import_module("torch")
        value = f"{torch.__version__}, {torch.get_num_threads()} threads"
    except ImportError as error:
        cure = "pip install torch"
        return None, Finding("PyTorch", f"cannot be imported ({error})", False, cure)
    except Exception as error:  # a library of the system that is missing or of another version
        cure = "pip install --force-reinstall torch"
        return None, Finding("PyTorch", f"is damaged ({error})", False, cure)
    return torch, Finding("PyTorch", value, True)


# --- the machine ---------------------------------------------------------------------------------


def _cpu(torch: Any) -> Finding:
    flags = _cpu_flags(torch)
    known = [name for name, flag in CPU_FEATURES.items() if flags & set(flag)]
    features = ", ".join(known) if known else "unknown" if not flags else "no wide instructions"
    cores = f"{os.cpu_count() or 'unknown'} cores, {platform.machine() or 'unknown'}"
    return Finding("CPU", f"{cores}: {features}", None)


def _cpu_flags(torch: Any) -> set[str]:
    """Return the processor's features in lower case, as the system or PyTorch names them."""
    if CPUINFO.is_file():
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
        lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
        return set(" ".join(lines[:1]).lower().split())
    if sys.platform == "darwin":
        keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features", "hw.optional"]
        text = _output(["sysctl", *keys]).lower()
        on = re.findall(r"hw\.optional\.(?:arm\.)?(\w+): 1", text)
        return {*on, *" ".join(re.findall(r"features: (.*)", text)).split()}
    capabilities = getattr(getattr(torch, "cpu", None), "get_capabilities", dict)()
    return {name.lower() for name, has in capabilities.items() if has is True}


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _gpu(torch: Any) -> Finding:
    if torch is not None and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return Finding("GPU", f"{torch.cuda.get_device_name(0)}, {_gigabytes(memory)}", True)
    if torch is not None and torch.backends.mps.is_available():
        return Finding("GPU", "Apple GPU", True)
    if torch is None:
        return Finding("GPU", "unknown without PyTorch", None)
    if shutil.which("nvidia-smi") and not torch.version.cuda:
        cure = "install PyTorch for CUDA: see pytorch.org/get-started"
        return Finding("GPU", "there may be one, but this PyTorch is for CPUs alone", None, cure)
    return Finding("GPU", "none that PyTorch can use; the CPU does it, more slowly", None)


def _memory() -> Finding:
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return Finding("memory", "unknown without psutil", None, "pip install psutil")
    memory = psutil.virtual_memory()
    value = f"{_gigabytes(memory.available)} free of {_gigabytes(memory.total)}"
    low = memory.available < 2e9
    cure = "close other programs; training a small encoder takes about 2 GB" if low else ""
    return Finding("memory", value, None if low else True, cure)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


# --- models and data -----------------------------------------------------------------------------


def _is_there(name: str) -> bool:
    """Tell whether an asset lies in the cache; its hashes are for `reptune assets verify`."""
    return assets.asset_folder(assets.info(name)).is_dir()


def _cache(missing: list[str]) -> Finding:
    folder = assets.cache_dir()
    there = [name for name in assets.names() if _is_there(name)]
    value = f"{folder}, {assets.megabytes(_size(folder))}: {', '.join(there) or 'nothing yet'}"
    if not os.access(_nearest(folder), os.W_OK):
        cure = "set REPTUNE_CACHE to a folder you may write to"
        return Finding("cache", f"{value}; it cannot be written to", not missing, cure)
    cure = "reptune assets fetch" if missing else ""
    return Finding("cache", value, None if missing else True, cure)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the first one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _disk(missing: list[str]) -> Finding:
    free = shutil.disk_usage(_nearest(assets.cache_dir())).free
    needed = sum(assets.info(name).size for name in missing)
    value = f"{_gigabytes(free)} free where the cache is"
    if free >= needed:
        return Finding("disk", value, True)
    value += f", {_gigabytes(needed)} are needed"
    return Finding("disk", value, False, "free some space, or set REPTUNE_CACHE to another disk")


def _index(offline: bool, missing: list[str]) -> Finding:
    if offline:
        return Finding("package index", "not asked", None)
    if network.index_answers():
        return Finding("package index", "answers", True)
    cure = "check the network and `pip config list`, or import a file: reptune assets import --help"
    return Finding("package index", "does not answer", False if missing else None, cure)
