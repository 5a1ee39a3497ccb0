"""Imported first by what needs PyTorch, so that its absence is one line that says the cure."""

from __future__ import annotations

import sys

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise

    def _first_module() -> str:
        """Return the module of this package whose import led here."""
        name, frame = "reptune", sys._getframe()
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if frame.f_code.co_name == "<module>" and module.startswith("reptune."):
                name = module
            frame = frame.f_back
        return name

    raise ImportError(f"{_first_module()} needs PyTorch: pip install torch") from None
