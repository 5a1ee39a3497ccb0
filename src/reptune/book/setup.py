"""Where a chapter runs: its profile, its knobs, and the banner that says so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

import reptune.needs_torch  # noqa: F401

import torch

from reptune import logs
from reptune.runtime import device, device_name, quiet_libraries, set_seed, versions

PROFILES = ("quick", "cpu", "gpu")
BANNER_PACKAGES = ("torch", "transformers")  # one line; records and stamps hold all of them

T = TypeVar("T")


def profile() -> str:
    """Return the profile in force: `REPTUNE_PROFILE`, or `gpu` where there is one, else `cpu`.

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


@dataclass(frozen=True)
class Run:
    """One run of a chapter, as returned by `reptune.setup`.

    >>> run = Run("01", random_state=42, profile="quick", device=torch.device("cpu"))
    >>> run.pick(quick=1, cpu=3, gpu=3)
    1

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
    from reptune.book import plots

    logs.show()
    run = Run(str(chapter), random_state, profile(), device())
    set_seed(random_state)
    quiet_libraries()
    plots.use_style()
    print(f"reptune chapter {run.chapter} · profile {run.profile} · {device_name()}")
    print(", ".join(f"{name} {version}" for name, version in versions(BANNER_PACKAGES).items()))
    return run
