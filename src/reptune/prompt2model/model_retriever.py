"""From an instruction to models that may fit it, and to the student to train (chapter 7)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reptune.checks import check_number, check_whole_number, did_you_mean
from reptune.prompt2model.catalog import ModelEntry, models
from reptune.prompt2model.ranking import WordIndex
from reptune.prompt2model.task import Task

if TYPE_CHECKING:
    from reptune.prompt2model.teachers import Teacher

logger = logging.getLogger(__name__)

MOST_BYTES = 3e9  # as in the paper
MOST_NEW_TOKENS = 96  # of a hypothetical description

# What can be trained here, by what a task asks for, in the order in which they are chosen: the
# quickest first.
STUDENTS: dict[str, tuple[str, ...]] = {
    "classification": ("all-MiniLM-L6-v2", "all-mpnet-base-v2", "multilingual-e5-small"),
    "extraction": ("all-MiniLM-L6-v2", "multilingual-e5-small"),
    "text": ("SmolLM2-135M-Instruct",),
}
# ISO 639-1, as a task gives it, to 639-3, as the catalog does.
_LANGUAGES = {
    "ar": "ara", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita", "ja": "jpn",
    "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por", "ru": "rus", "tr": "tur", "uk": "ukr",
    "vi": "vie", "zh": "zho",
}  # fmt: skip

_TASK_WORDS = {
    "classification": "text classification",
    "extraction": "extraction of parts of a text, token classification, question answering",
    "text": "text generation that follows an instruction",
}


@dataclass(frozen=True)
class ModelCandidate:
    """A model that may fit.

    Attributes:
        entry: What the catalog says of it.
        score: BM25; 0 if it shares no word with the query.
        rank: Among all models within the limits, from 1 on.
    """

    entry: ModelEntry
    score: float
    rank: int


@dataclass(frozen=True)
class ModelChoice:
    """What a retrieval of models gave.

    Attributes:
        candidates: The best, best first.
        students: Those that can be trained here for this kind of task, in the search's order.
        student: The asset's name of the one to train; empty if there is none.
        query: What the descriptions were compared with.
        reasons: What was left out or assumed, each a sentence.
    """

    candidates: tuple[ModelCandidate, ...]
    students: tuple[ModelCandidate, ...] = ()
    student: str = ""
    query: str = ""
    reasons: tuple[str, ...] = ()


class ModelRetriever(Protocol):
    """What finds a model to train for a task."""

    def retrieve(self, task: Task) -> ModelChoice:
        """Return candidates for a task, and the student."""
        ...


class CatalogModelRetriever:
    """Models of a catalog, ranked by BM25 between their descriptions and a hypothetical one.

    The original multiplies the score by the logarithm of a model's downloads. No count of those
    can be had offline, so there is no such prior here. Its candidates are encoder–decoder models;
    here they are the encoders of MTEB and a small causal model, which is what this book trains.

    The student is chosen by the kind of task and the language: the first of `STUDENTS` within the
    limits. The search does not choose it, because descriptions made of sizes, languages and
    licenses hardly tell one small encoder from another; its order is in `students`, to be judged.

    Args:
        entries: The models to choose from; `None` takes the catalog's.
        teacher: Writes the hypothetical description (HyDE); `None` fills in a template.
        hyde: `False` searches with the instruction as it is.
        most_bytes: Larger models, and those of unknown size, are left out.
        licenses: Only models under one of these; `None` takes all, also those without one.
        top: Candidates to return.

    Raises:
        ValueError: If an argument is bad, no model has a license that is asked for, or the
            package `bm25s` is missing.
        reptune.assets.AssetUnavailable: If the catalog cannot be had.

    >>> encoder = ModelEntry("a/encoder", bytes=90_000_000, description="text embedding model",
    ...                      languages=("eng",), student="all-MiniLM-L6-v2")
    >>> huge = ModelEntry("b/huge", bytes=15_000_000_000, description="text embedding model")
    >>> retriever = CatalogModelRetriever([huge, encoder])
    >>> choice = retriever.retrieve(Task("Sort the news.", "Sort the news.", kind="classification"))
    >>> [found.entry.name for found in choice.candidates], choice.student
    (['a/encoder'], 'all-MiniLM-L6-v2')

    Source: Gao et al., *Precise Zero-Shot Dense Retrieval without Relevance Labels* (2023), for
    HyDE; Viswanathan et al., *Prompt2Model* (2023); chapter 7.
    """

    def __init__(
        self,
        entries: Iterable[ModelEntry] | None = None,
        *,
        teacher: Teacher | None = None,
        hyde: bool = True,
        most_bytes: float = MOST_BYTES,
        licenses: Collection[str] | None = None,
        top: int = 5,
    ) -> None:
        self._teacher, self._hyde = teacher, hyde
        self._top = check_whole_number("top", top)
        most_bytes = check_number("most_bytes", most_bytes, above=0)
        known = list(models() if entries is None else entries)
        wanted = _checked_licenses(licenses, known)
        self._entries = [
            entry
            for entry in known
            if entry.open_weights
            and entry.bytes is not None
            and entry.bytes <= most_bytes
            and (wanted is None or entry.license in wanted)
        ]
        self._left_out = len(known) - len(self._entries)
        self._index = WordIndex([entry.description for entry in self._entries])

    def retrieve(self, task: Task, random_state: int | None = 0) -> ModelChoice:
        """Return the best candidates, and the best of those that can be trained here.

        Models that share no word with the query tie, and come in the catalog's order.

        Args:
            task: What the prompt asks for.
            random_state: Seed of what the teacher writes.

        Raises:
            ValueError: If the task has no instruction.
        """
        if not task.instruction.strip():
            raise ValueError(f"task.instruction={task.instruction!r}; say what the model shall do.")
        query, reasons = self._query(task, random_state)
        scores = self._index.scores(query)
        if not scores.any():
            reasons.append("No description of a model shares a word with the query.")
        order = np.argsort(-scores, kind="stable").tolist()
        ranked = [
            ModelCandidate(self._entries[row], float(scores[row]), rank)
            for rank, row in enumerate(order, start=1)
        ]
        students = _students(ranked, task, reasons)
        if self._left_out:
            reasons.append(f"{self._left_out} models of the catalog were left out: closed, too "
                           "large, of unknown size or under another license.")  # fmt: skip
        return ModelChoice(
            tuple(ranked[: self._top]),
            students,
            _preferred(students, task),
            query,
            tuple(reasons),
        )

    def _query(self, task: Task, random_state: int | None) -> tuple[str, list[str]]:
        if not self._hyde:
            return task.instruction, []
        if self._teacher is None:
            return template(task), []
        written = hypothetical(self._teacher, task, random_state)
        if written:
            return written, []
        return template(task), ["The teacher wrote no description; a template stands in for it."]


def hypothetical(teacher: Teacher, task: Task, random_state: int | None = 0) -> str:
    """Let a teacher describe the model that a task needs; empty if it writes no words.

    What it writes is only compared with descriptions.

    Args:
        teacher: What writes.
        task: What the model is for.
        random_state: Seed of the draws, of which there are none at temperature 0.

    Source: Gao et al. (2023); chapter 7.
    """
    prompt = (
        "The description of a model on a model hub, for each task.\n\n"
        "Task: Find the answer to a medical question in German documents.\n"
        "Description: A multilingual text embedding model with German, for retrieval and question "
        "answering, which learned from medical questions.\n\n"
        f"Task: {' '.join(task.instruction.split())}\n"
        "Description:"
    )
    written = teacher.generate(
        [prompt],
        max_new_tokens=MOST_NEW_TOKENS,
        temperature=0.0,
        stop=["\n"],
        random_state=random_state,
    )
    text = " ".join(written[0].split()) if written else ""
    return text if any(sign.isalpha() for sign in text) else ""


def template(task: Task) -> str:
    """Return a description of the model that a task needs, without a teacher.

    >>> template(Task("Sort the news.", "Sort the news.", kind="classification"))
    'A text embedding model for text classification. Sort the news.'
    """
    what = "language model" if task.kind == "text" else "text embedding model"
    goal = f" for {_TASK_WORDS[task.kind]}" if task.kind else ""
    return f"A {what}{goal}. {' '.join(task.instruction.split())}"


def _students(
    ranked: Sequence[ModelCandidate], task: Task, reasons: list[str]
) -> tuple[ModelCandidate, ...]:
    """Return what can be trained for the task, in order; say why if there is nothing."""
    fitting = STUDENTS.get(task.kind or "", ())
    if not fitting:
        reasons.append("The task does not say what comes out, so no student is chosen.")
        return ()
    able = [one for one in ranked if one.entry.student in fitting]
    language = _LANGUAGES.get(task.language, task.language)
    speaking = [one for one in able if language in one.entry.languages]
    if able and not speaking:
        reasons.append(f"No student for {task.kind!r} knows the language {task.language!r}.")
        return ()
    if not able:
        reasons.append(f"Within the limits there is no model to train for {task.kind!r}.")
    return tuple(speaking)


def _preferred(students: Sequence[ModelCandidate], task: Task) -> str:
    names = [one.entry.student for one in students]
    return next((name for name in STUDENTS.get(task.kind or "", ()) if name in names), "")


def _checked_licenses(
    licenses: Collection[str] | None, entries: Sequence[ModelEntry]
) -> set[str] | None:
    if licenses is None:
        return None
    if isinstance(licenses, str):
        raise ValueError(f"licenses={licenses!r} is one text; pass a list: [{licenses!r}].")
    known = sorted({entry.license for entry in entries if entry.license})
    wanted = {str(one).lower().strip() for one in licenses}
    if not wanted:
        raise ValueError("licenses is empty; pass None for all, or at least one.")
    for one in sorted(wanted - set(known)):
        common = ", ".join(name for name in known if not name.startswith("http"))
        raise ValueError(f"no model has the license {one!r}{did_you_mean(one, known)}; known: "
                         f"{common}.")  # fmt: skip
    return wanted
