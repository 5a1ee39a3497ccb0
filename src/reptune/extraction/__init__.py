"""Question answering over a passage: an encoder that marks where the answer stands (chapter 7).

A passage longer than the model takes is read in overlapping windows, each with the whole question.
"""

import reptune.needs_torch  # noqa: F401

from reptune.extraction.extractor import SpanExtractor
from reptune.extraction.inputs import check_answers, check_pairs
from reptune.extraction.spans import best_span
from reptune.extraction.windows import passage_windows, tokens_of

__all__ = [
    "SpanExtractor",
    "best_span",
    "check_answers",
    "check_pairs",
    "passage_windows",
    "tokens_of",
]
