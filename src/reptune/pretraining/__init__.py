"""Continued masked-language-model pretraining (chapter 3)."""

import reptune.needs_torch  # noqa: F401

from reptune.pretraining.averaging import average_encoders
from reptune.pretraining.packing import pack
from reptune.pretraining.run import continue_pretraining, fit_output_bias

__all__ = ["average_encoders", "continue_pretraining", "fit_output_bias", "pack"]
