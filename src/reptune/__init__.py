"""The package behind the executable book *Fine-Tuning Representation Models*."""

from reptune.runtime import Run, setup

__all__ = ["Run", "__version__", "setup"]
__version__ = "0.1.0"
