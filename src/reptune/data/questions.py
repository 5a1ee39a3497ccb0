"""Short questions by topic in several languages, most of them translations of the English ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value

from reptune import assets
from reptune.checks import did_you_mean
from reptune.data.duplicates import normalize

QUESTION_TOPICS = ("ai", "emotion", "food", "literature", "money", "movies", "science", "sports")
LANGUAGES = ("english", "chinese", "japanese", "korean", "italian", "ukrainian", "dutch")
_OTHER_NAMES = {"sports": "sport"}  # of a topic's file, in Dutch


def topic_questions(language: str = "english") -> Dataset:
    """Return questions to a chatterbot in one language, to be sorted into eight topics.

    They are short, noisy and few: 5 to 77 of a topic. In all other languages most are translations
    of the English ones, so that a question may be the translation of one that a model was trained
    on; `may_translate` finds those. Dutch has none on `ai`. A question that an earlier one of its
    language equals, case aside, is dropped.

    Args:
        language: One of `reptune.data.questions.LANGUAGES`.

    Returns:
        Columns `text` (str), `label` (ClassLabel: ai, emotion, food, literature, money, movies,
        science, sports) and `position` (int), the question's number among those of its topic.

    Raises:
        ValueError: If the language is none of these.
        reptune.assets.AssetUnavailable: If the asset `topic-questions` cannot be had.

    Source: the ChatterBot language corpus, written by its contributors (BSD). Chapter 2.
    """
    if language not in LANGUAGES:
        raise ValueError(
            f"there are no questions in {language!r}{did_you_mean(language, LANGUAGES)}; use "
            f"{', '.join(LANGUAGES)}."
        )
    folder = assets.get("topic-questions") / language
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for label, topic in enumerate(QUESTION_TOPICS):
        position = 0
        for text in _questions(folder, topic):
            if normalize(text) not in seen:
                seen.add(normalize(text))
                rows.append({"text": text, "label": label, "position": position})
                position += 1
    labels = ClassLabel(names=list(QUESTION_TOPICS))
    columns = {"text": Value("string"), "label": labels, "position": Value("int32")}
    return Dataset.from_list(rows, features=Features(columns))


def _questions(folder: Path, topic: str) -> list[str]:
    """Return what is said first in each conversation of a topic's file, if there is one."""
    import yaml  # which huggingface_hub and transformers need, so that it is there

    names = (topic, _OTHER_NAMES.get(topic, topic))
    path = next((path for name in names if (path := folder / f"{name}.yml").is_file()), None)
    if path is None:
        return []
    conversations = yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]
    said = [" ".join(str(lines[0]).split()) for lines in conversations if lines]
    return [text for text in said if text]


def may_translate(
    questions: Dataset, known: Dataset, similarity: np.ndarray | None = None
) -> np.ndarray:
    """Return which questions may be translations of known ones, booleans of shape `(n,)`.

    Nobody has aligned the languages, so that this errs on the safe side. A question counts as a
    translation if a known one of its topic has the same position, or, with `similarity`, if of all
    questions of the topic it is the nearest to a known one.

    Args:
        questions: Of one language, as `topic_questions` returns them.
        known: Those that a model was trained on, of another language.
        similarity: Of each question and each known one, such as the cosine of their vectors by a
            model that knows both languages, shape `(n, len(known))`.

    Raises:
        ValueError: If `similarity` has another shape.
    """
    shape = (len(questions), len(known))
    if similarity is not None and np.shape(similarity) != shape:
        raise ValueError(f"similarity has shape {np.shape(similarity)}; pass one of {shape}.")
    labels, positions = (np.array(questions[name]) for name in ("label", "position"))
    found = np.zeros(len(questions), dtype=bool)
    for index, row in enumerate(known):
        fellows = labels == row["label"]
        found |= fellows & (positions == row["position"])
        if similarity is not None and fellows.any():
            found[np.where(fellows, np.asarray(similarity)[:, index], -np.inf).argmax()] = True
    return found
