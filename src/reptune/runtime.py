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
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

PROFILES = ("quick", "cpu", "gpu")
PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "scikit-learn")
BANNER_PACKAGES = ("torch", "transformers")  # one line; records and stamps hold all of them

T = TypeVar("T")


def device() -> torch.device:
    """The accelerator PyTorch sees (CUDA, then Apple's MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def profile() -> str:
    """The profile in force: `REPTUNE_PROFILE`, or `gpu` where there is one, else `cpu`.

    Raises:
        ValueError: If `REPTUNE_PROFILE` is set to anything but `quick`, `cpu` or `gpu`.
    """
    value = os.environ.get("REPTUNE_PROFILE", "").strip()
    if not value:
        return "cpu" if device().type == "cpu" else "gpu"
    if value not in PROFILES:
        raise ValueError(
            f"REPTUNE_PROFILE is {value!r}; set it to one of {', '.join(PROFILES)}, or unset it."
        )
    return value


def precision() -> dict[str, bool]:
    """Mixed-precision switches for `TrainingArguments` on this device.

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

    Args:
        random_state: The seed; `None` leaves the generators as they are.
    """
    if random_state is None:
        yield
        return
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        random.seed(random_state)
        np.random.seed(random_state)
        torch.manual_seed(random_state)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def set_seed(random_state: int) -> None:
    """Seed Python, NumPy and PyTorch for the rest of the process (notebooks do this once)."""
    random.seed(random_state)
    np.random.seed(random_state)
    torch.manual_seed(random_state)


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions of Python and `packages`, by distribution name."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def device_name() -> str:
    """The device in words, such as `CPU, 2 threads` or `Tesla T4`."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    if device().type == "mps":
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} threads"


@dataclass(frozen=True)
class Run:
    """One run of a chapter, as returned by `reptune.setup`.

    Attributes:
        chapter: The chapter's number as in the notebook's file name, such as `"01"`.
        random_state: The seed the chapter uses.
        profile: `quick`, `cpu` or `gpu`.
        device: Where tensors live.
    """

    chapter: str
    random_state: int
    profile: str
    device: torch.device

    def pick(self, *, quick: T, cpu: T, gpu: T) -> T:
        """Choose a knob's value by profile."""
        return {"quick": quick, "cpu": cpu, "gpu": gpu}[self.profile]


def setup(chapter: str, random_state: int = 42) -> Run:
    """Prepare a notebook: seeds, quiet libraries, plot style, and a banner that says where it runs.

    Args:
        chapter: The chapter's number, such as `"01"`.
        random_state: Seed of everything random in the chapter.

    Returns:
        A `Run`, whose `pick` chooses each knob's value by profile.

    Raises:
        ValueError: If `REPTUNE_PROFILE` holds an unknown profile.
    """
    from reptune import plots

    run = Run(str(chapter), random_state, profile(), device())
    set_seed(random_state)
    quiet_libraries()
    plots.use_style()
    print(f"reptune chapter {run.chapter} · profile {run.profile} · {device_name()}")
    print(", ".join(f"{name} {version}" for name, version in versions(BANNER_PACKAGES).items()))
    return run


def quiet_libraries() -> None:
    """Keep loading bars and load reports of the Hugging Face libraries out of the outputs."""
    # Fast tokenizers warn about every fork unless told; nothing here forks while tokenizing.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Without ipywidgets, text bars do; no need to warn about it once a library.
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
