"""The file that a killed pretraining run goes on from (chapter 3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from reptune import runtime
from reptune.checks import check_finite_weights, check_whole_number
from reptune.training import Loop

HISTORY = "history.json"  # by which a folder that this package wrote is known

_NO_CHECKPOINT = "{} is no checkpoint of this package, or a damaged one; move it away."


class Checkpoint:
    """Weights, optimizer, generators and history of a run, in one file beside its folder.

    Order and masks of a step follow from the seed and the step's number alone; the generator that
    dropout draws from is part of the file.

    Args:
        folder: Where the run's model goes.
        settings: What the run depends on; it goes on only under the same.

    Attributes:
        file: `<folder>.checkpoint`, safetensors.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.file = folder.with_name(f"{folder.name}.checkpoint")
        self._part = folder.with_name(f"{folder.name}.checkpoint.part")
        self._settings = settings

    def write(self, loop: Loop) -> None:
        """Write where a loop stands; the checkpoint before stays until this one is whole."""
        check_finite_weights(loop.model)
        arrays = {"generator": torch.get_rng_state()}
        device = next(loop.model.parameters()).device
        if device.type == "cuda":
            arrays["cuda_generator"] = torch.cuda.get_rng_state(device)
        for name, weight in _trained(loop.model).items():
            arrays[f"model.{name}"] = weight
            arrays |= {f"{key}.{name}": v for key, v in loop.optimizer.state[weight].items()}
        state = {"step": loop.step, "history": loop.history, "settings": self._settings}
        arrays = {name: value.detach().contiguous() for name, value in arrays.items()}
        text = json.dumps(state, default=runtime.as_json)
        save_file(arrays, self._part, metadata={"state": text})
        self._part.replace(self.file)

    def restore(self, loop: Loop) -> None:
        """Put a loop where the checkpoint stands, if there is one.

        Raises:
            ValueError: If it belongs to another run, or is no checkpoint.
        """
        self._part.unlink(missing_ok=True)  # of a run that was killed while it wrote
        if not self.file.exists():
            return
        state = self._read_state()
        self._check_same(state["settings"])
        try:
            _restore(loop, load_file(self.file))
        except Exception as error:  # safetensors' errors share no class
            raise ValueError(_NO_CHECKPOINT.format(self.file)) from error
        loop.step, loop.history = state["step"], state["history"]

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.file.unlink(missing_ok=True)

    def _read_state(self) -> dict[str, Any]:
        try:
            with safe_open(self.file, "pt") as opened:
                state = json.loads(opened.metadata()["state"])
            whole = isinstance(state["settings"], dict) and isinstance(state["history"], list)
            check_whole_number("step", state["step"])
        except Exception as error:  # safetensors' errors share no class
            raise ValueError(_NO_CHECKPOINT.format(self.file)) from error
        if not whole:
            raise ValueError(_NO_CHECKPOINT.format(self.file))
        return state

    def _check_same(self, before: dict[str, Any]) -> None:
        for name, value in self._settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{self.file} is the checkpoint of a run with {name}={before.get(name)!r}, and "
                    f"this one has {value!r}; remove the file, or go on with the old setting."
                )


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _restore(loop: Loop, arrays: dict[str, torch.Tensor]) -> None:
    for name, weight in _trained(loop.model).items():
        weight.copy_(arrays[f"model.{name}"])
        loop.optimizer.state[weight] = {
            key: arrays[f"{key}.{name}"].to(weight.device, copy=True)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
    torch.set_rng_state(arrays["generator"])
    device = next(loop.model.parameters()).device
    if "cuda_generator" in arrays and device.type == "cuda":
        torch.cuda.set_rng_state(arrays["cuda_generator"], device)
