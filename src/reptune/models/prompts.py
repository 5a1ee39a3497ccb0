"""What a prompt and an answer may be, whichever model reads the one and writes the other.

`reptune.models.causal` and `reptune.models.hosted` share these checks. Nothing here needs a model,
so that asking a server loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reptune.checks import check_number, check_random_state, check_unicode, check_whole_number

MOST_TOKENS = 10**9  # beyond any model's window; a larger number is a slip


def check_text(name: str, value: Any, *, empty: bool = True) -> None:
    """Raise a `ValueError` unless a value is a string of valid Unicode.

    Args:
        name: What to call it in the message.
        value: The text.
        empty: Whether it may be empty.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r}, a {type(value).__name__}; pass a string.")
    if not value and not empty:
        raise ValueError(f"{name}={value!r}; pass some text.")
    check_unicode(value, name)


def check_generation(
    prompt: str,
    max_new_tokens: int,
    temperature: float,
    stop: Sequence[str],
    random_state: int | None,
) -> None:
    """Raise a `ValueError` unless a model can generate with these, here or elsewhere."""
    check_text("prompt", prompt, empty=False)
    if check_whole_number("max_new_tokens", max_new_tokens) > MOST_TOKENS:
        raise ValueError(f"max_new_tokens is above {MOST_TOKENS}; pass what an answer may take.")
    check_number("temperature", temperature, least=0)
    if isinstance(stop, str):
        raise ValueError(f"stop={stop!r} is one text; pass a list of them, such as [{stop!r}].")
    if not isinstance(stop, list | tuple):
        raise ValueError(f"stop={stop!r}; pass a list of texts.")
    for index, mark in enumerate(stop):
        check_text(f"stop[{index}]", mark)
    check_random_state(random_state)


def cut_at(text: str, stop: Sequence[str]) -> str:
    r"""Return the text before the first of the end sequences, all of it where there is none.

    >>> cut_at(" positive\nReview: dull", stop=["\n"])
    ' positive'
    """
    starts = [text.find(mark) for mark in stop if mark and mark in text]
    return text[: min(starts)] if starts else text
