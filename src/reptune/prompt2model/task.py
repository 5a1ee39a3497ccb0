"""What the components of chapter 7 hand to each other: a task, and rows with their origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["classification", "extraction", "text"]


@dataclass(frozen=True)
class Demonstration:
    """An input with the output that the user wants for it."""

    input: str
    output: str


@dataclass(frozen=True)
class Task:
    """What a prompt asks for.

    Attributes:
        prompt: As the user wrote it.
        instruction: What to do, in English, without demonstrations.
        demonstrations: The user's own examples.
        kind: `"classification"`, one of `labels` per text; `"extraction"`, parts of the input as
            they stand there; `"text"`, a new text for each; `None` where the prompt does not say.
        labels: Of a classification, as the model shall give them; of an extraction, the types of
            what is looked for, if it has types.
        has_question: Whether an extraction's input is a question with a passage that answers it.
        language: Of the instruction as it was written, an ISO 639-1 code.
        notes: What the parser was not sure of, each a sentence.
    """

    prompt: str
    instruction: str
    demonstrations: tuple[Demonstration, ...] = ()
    kind: Kind | None = None
    labels: tuple[str, ...] = ()
    has_question: bool = False
    language: str = "en"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A row to learn from, and where it comes from.

    Attributes:
        input: A text; of a question task, the question.
        output: A label, an answer or a text.
        context: Of a question task, the passage.
        spans: Of an extraction without a question, `(start, end, type)` in characters of `input`.
        origin: At least `"by"`: `"user"`, `"generated"` or `"retrieved"`; then what made it, such
            as the teacher, the seed, the temperature, the attributes, or the data set and the row.
    """

    input: str
    output: str
    context: str = ""
    spans: tuple[tuple[int, int, str], ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
