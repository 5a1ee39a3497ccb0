"""The package behind the executable book *Fine-Tuning Representation Models*."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reptune.runtime import Run, setup

__all__ = ["Run", "__version__", "setup"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import `runtime`, and with it PyTorch, only when a notebook asks for it (PEP 562).

    `reptune assets list` would otherwise wait seconds for a library it does not use.
    """
    if name in ("Run", "setup"):
        from reptune import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
