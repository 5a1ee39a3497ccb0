"""Continued masked-language-model pretraining (chapter 3)."""

from reptune.pretraining.packing import pack
from reptune.pretraining.run import average_encoders, continue_pretraining, fit_output_bias

__all__ = ["average_encoders", "continue_pretraining", "fit_output_bias", "pack"]
