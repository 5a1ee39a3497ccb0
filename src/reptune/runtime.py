"""Where a chapter runs: profile, device, precision, seeds, and the banner that says so.

Every notebook starts with `run = reptune.setup(...)` and then asks `run.pick(...)` for the
value of each knob, so that the same cells do the least work in the tests (`quick`), a real
run on two CPU cores (`cpu`), or a longer one on a GPU (`gpu`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import random
import shutil
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import filelock
import numpy as np
import torch

from reptune.checks import check_random_state

PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "scikit-learn")

SCRATCH_PREFIX = "reptune-scratch-"  # of temporary folders, so that the next run knows them

# Python's, NumPy's and PyTorch's generators are the whole process's, so whoever seeds them must
# have them alone. Reentrant, because a fit that seeds calls others that do.
_generators = threading.RLock()


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the thread that held the other one is not in it."""
    global _generators
    _generators = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def device() -> torch.device:
    """Return the accelerator PyTorch sees (CUDA, then Apple's MPS), else the CPU.

    Where several processes train together on a machine with several GPUs, each gets its own.
    """
    if torch.cuda.is_available():
        local = _from_environment("LOCAL_RANK", 0) if world_size() > 1 else 0
        several = world_size() > 1 and torch.cuda.device_count() > 1
        return torch.device("cuda", local) if several else torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


_default_device = device


def check_device(device: str | None) -> torch.device:
    """Return the device that a name means; `None` means `device()`.

    Raises:
        ValueError: If this machine has no such device.
    """
    if device is None:
        return _default_device()
    try:
        wanted = torch.device(device)
        torch.zeros(1, device=wanted).item()  # the meta device has no numbers to give back
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not here; use None for {str(_default_device())!r}, or 'cpu'."
        ) from error
    return wanted


def shows_progress(show_progress: bool | None) -> bool:
    """Return whether to show progress bars: as asked for, or where someone is there to see them.

    `None` shows them in a terminal and in a notebook, and not where output goes to a file or a
    pipe. `REPTUNE_PROGRESS=0` keeps them off where nothing else was asked for.
    """
    if show_progress is not None:
        return show_progress
    if os.environ.get("REPTUNE_PROGRESS", "") == "0":
        return False
    return "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", bool)())


def rank() -> int:
    """Return the number of this process among those that train together, 0 where it is alone.

    torchrun and accelerate set `RANK` and `WORLD_SIZE`; one without the other is not theirs.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return _from_environment("RANK", 0) if world_size() > 1 else 0


def world_size() -> int:
    """Return how many processes train together; 1 where this one is alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return _from_environment("WORLD_SIZE", 1) if "RANK" in os.environ else 1


def _from_environment(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.strip().isdecimal():
        raise ValueError(f"{name} is {value!r} in the environment; set it to a number or unset it.")
    return int(value)


def precision() -> dict[str, bool]:
    """Return mixed-precision switches for `TrainingArguments` on this device.

    A T4 says it supports bf16 but only emulates it, slowly, hence `including_emulation=False`.
    A CPU is asked for its instructions (AVX-512 BF16 or AMX); without them bf16 is slower than
    float32.

    Returns:
        The keyword arguments `bf16` and `fp16`, both false on MPS and on a CPU without native bf16,
        and on a CPU `use_cpu`, without which `TrainingArguments` refuses `bf16`.
    """
    if device().type == "cpu":
        return {"bf16": _cpu_computes_bf16(), "fp16": False, "use_cpu": True}
    if device().type != "cuda":
        return {"bf16": False, "fp16": False}
    native_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return {"bf16": native_bf16, "fp16": not native_bf16}


def _cpu_computes_bf16() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@contextlib.contextmanager
def seeded(random_state: int | None) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch inside the block, and restore their states after it.

    A library that reseeds its caller's generators makes the caller's own draws repeat, so
    everything in this package that needs randomness does it inside this block.

    The generators belong to the process, so threads take turns: a second thread waits at its own
    block until the first has left. Fits in several threads therefore give what they give one after
    the other, and are no faster; processes (`n_jobs=2` with joblib's default) work side by side.
    Inside the block, do not wait for a thread that enters one: each would wait for the other.

    Args:
        random_state: The seed; `None` leaves the generators as they are.

    Raises:
        ValueError: If `random_state` is neither `None` nor a whole number from 0 to 2^32 - 1.
    """
    check_random_state(random_state)
    with _generators:
        if random_state is None:
            yield
            return
        with generators_restored():
            set_seed(random_state)
            yield


@contextlib.contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and PyTorch's generators after the block."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def set_seed(random_state: int) -> None:
    """Seed Python, NumPy and PyTorch for the rest of the process (notebooks do this once)."""
    seed = int(random_state)  # Python's own generator takes no NumPy integer
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder that is gone after the block, or, after a kill, at the next such block.

    It lies where `tempfile` puts its folders (`TMPDIR`). A lock beside it, which the system lets
    go of when the process dies, tells it from a folder that nobody uses any more.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_scratch(parent)
    folder = parent / f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:16]}"
    lock = filelock.FileLock(folder.with_suffix(".lock"), mode=0o600)
    with lock:
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                folder.with_suffix(".lock").unlink(missing_ok=True)


def _sweep_scratch(parent: Path) -> None:
    """Remove the folders of processes that were killed; those of others stay."""
    for path in parent.glob(f"{SCRATCH_PREFIX}*.lock"):
        with contextlib.suppress(OSError), filelock.FileLock(path, timeout=0):  # or someone has it
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of Python and `packages`, by distribution name."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def device_name() -> str:
    """Return the device in words, such as `CPU, 2 threads` or `Tesla T4`."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    if device().type == "mps":
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} threads"


def quiet_libraries() -> None:
    """Keep loading bars and load reports of the Hugging Face libraries out of the outputs."""
    # Fast tokenizers warn about every fork unless told; nothing here forks while tokenizing.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Without ipywidgets, text bars do; no need to warn about it once per library.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from reporting, inside the block, what the caller expects anyway.

    Loading an encoder for a new task always "misses" the head; a bar over 0.1 s of loading and a
    report of it would hide the warnings that matter.
    """
    import datasets
    from transformers import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    datasets_bars = not datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if datasets_bars:
            datasets.enable_progress_bars()


def as_json(value: Any) -> Any:
    """Turn NumPy scalars and arrays into what `json.dumps` takes; used by `results` and `save`."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def half_precision(device: torch.device, wanted: bool) -> contextlib.AbstractContextManager:
    """Compute matrix products in half precision inside the block, where the device can.

    What it can is known of the machine's default device; on another one, float32 is computed.
    """
    has = precision()
    wanted = wanted and device.type == _default_device().type
    if not wanted or not (has["bf16"] or has["fp16"]):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if has["bf16"] else torch.float16)
