"""The package behind the executable book *Fine-Tuning Representation Models*."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reptune.book.setup import Run, setup

__version__ = "0.2.0"

# Where each name lives: a module is imported when one of its names is first asked for (PEP 562).
_LAZY = {
    "Run": "reptune.book.setup",
    "setup": "reptune.book.setup",
}

__all__ = ["Run", "__version__", "setup"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
