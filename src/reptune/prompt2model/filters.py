"""What a small teacher writes that should not be learned from, each kind found by one function.

Every filter takes samples and returns those that stay, how many went, and why. None looks at a
label that a person gave, and none asks a model for its opinion, except where its name says so.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reptune.checks import check_number, check_whole_number
from reptune.data.duplicates import WordRuns, normalize, word_runs
from reptune.prompt2model.task import Demonstration, Sample

Embed = Callable[[Sequence[str]], np.ndarray]  # texts → unit vectors, shape (n, dimensions)

SIMILAR = 0.9  # cosine of MiniLM vectors from which two texts say the same
NEAR_TEST = 0.8  # stricter: a test sentence in other words is a leak
LONGEST = 2000  # characters of an input
RUN_LETTERS = 16  # of a script without spaces, which say about what eight words say
NOT_ASKED = "no cosine: MiniLM knows English only"

_REFUSAL = re.compile(
    r"\bas an? (ai|(large )?language model)( language)?( model| assistant)?,"
    r"|\bi('|’)?( a)?m (just )?an? (ai|(large )?language model)\b"
    r"|\bi('|’)?( a)?m sorry,? but (i|as)\b|\bi apologi[sz]e,? (but|for)\b"
    r"|\bi (can(no|'|’)t|am (not able|unable) to|will not) "
    r"(assist|help (you|with)|provide|generate|create|fulfill|comply|write)\b"
    r"|\bagainst my (programming|guidelines)\b",
    re.IGNORECASE,
)
_DEBRIS = re.compile(
    r"(^\s*(\d+\s*[.)]|[-*•#>{}\[\](|]|```))"  # a list's or a table's beginning
    r"|\b(Input|Output|Sentence|Question|Answer|Passage|Label|Task|Example)s?( \d+)?\s*:"
    r"|<\|?\w+\|?>|https?://|\[[A-Z][\w ]*\]|_{3,}|\.{4,}|�"
)
_PAIRS = (("“", "”"), ("[", "]"))  # no parentheses, of which smileys hold one


@dataclass(frozen=True)
class Kept:
    """What a filter leaves.

    Attributes:
        samples: Those that stay, in their order.
        dropped: How many went.
        reason: Why, in a few words.
    """

    samples: list[Sample]
    dropped: int
    reason: str


Filter = Callable[[Sequence[Sample]], Kept]


def keep_where(samples: Sequence[Sample], stays: Iterable[bool], reason: str) -> Kept:
    """Return the samples for which `stays` is true.

    >>> keep_where([Sample("a", "x"), Sample("b", "y")], [True, False], "too short").dropped
    1
    """
    kept = [sample for sample, stay in zip(samples, stays, strict=True) if stay]
    return Kept(kept, len(samples) - len(kept), reason)


# --- form ----------------------------------------------------------------------------------------


def drop_refusals(samples: Sequence[Sample]) -> Kept:
    """Drop what a teacher says about itself instead of doing the task.

    >>> texts = ["As an AI, I have seen no films.", "As a spy film, dull."]
    >>> [row.input for row in drop_refusals([Sample(text, "bad") for text in texts]).samples]
    ['As a spy film, dull.']
    """
    stays = (not any(map(_REFUSAL.search, _texts(sample))) for sample in samples)
    return keep_where(samples, stays, "refusal")


def drop_debris(samples: Sequence[Sample]) -> Kept:
    """Drop what is left of the prompt's format, placeholders, links, and endless repetitions.

    Outputs may hold code or markup, so only inputs are looked at.
    """
    stays = (not _is_debris(sample.input) for sample in samples)
    return keep_where(samples, stays, "format debris")


def drop_length(
    samples: Sequence[Sample], least_words: int = 3, most_characters: int = LONGEST
) -> Kept:
    """Drop inputs that are too short or too long; a letter of a script without spaces is a word.

    Args:
        samples: Any.
        least_words: The fewest words that stay.
        most_characters: The longest input or output that stays.
    """
    check_whole_number("least_words", least_words, least=0)
    check_whole_number("most_characters", most_characters)
    stays = (
        num_words(sample.input) >= least_words
        and max(len(sample.input), len(sample.output)) <= most_characters
        for sample in samples
    )
    return keep_where(samples, stays, "length")


def drop_other_scripts(
    samples: Sequence[Sample], like: Sequence[str], language: str | None = None
) -> Kept:
    """Drop inputs that are written in another script, or in another language that shares it.

    Args:
        samples: Any.
        like: Texts in the wanted language, such as the user's demonstrations, else the
            instruction. Languages in Latin letters are told apart by their commonest words, where
            a text has enough of them.
        language: An ISO 639-1 code, where it is known; `None` tells it from `like`.
    """
    scripts, languages = set(_scripts(like)), {_language(text) for text in like} - {None}
    if language in _COMMON:
        languages.add(language)

    def stays(text: str) -> bool:
        script, language = _scripts([text])[:1], _language(text)
        fits = not scripts or scripts.issuperset(script)
        return fits and (not languages or language is None or language in languages)

    return keep_where(samples, [stays(sample.input) for sample in samples], "other language")


def drop_echoes(
    samples: Sequence[Sample], instruction: str, demonstrations: Sequence[Demonstration] = ()
) -> Kept:
    """Drop what repeats the instruction or the user's own examples, or quotes them."""
    texts = [instruction, *(example.input for example in demonstrations)]
    known, runs = {normalize(text) for text in texts}, WordRuns(texts)
    told = normalize(instruction)
    stays = (
        normalize(sample.input) not in known
        and not runs.near(sample.input)
        and not (told and told in normalize(sample.input))
        for sample in samples
    )
    return keep_where(samples, stays, "echo of the prompt")


def drop_label_names(samples: Sequence[Sample], labels: Sequence[str]) -> Kept:
    """Drop inputs that name a label, such as "The review is very positive".

    Small teachers write about the label instead of writing such a text, and who learns from that
    learns the label's name. Names below five letters are words like any other, and are let be.
    """
    names = [re.escape(label) for label in labels if len(label) >= 5]
    pattern = re.compile(rf"\b({'|'.join(names)})\b", re.IGNORECASE)
    stays = (not names or not pattern.search(sample.input) for sample in samples)
    return keep_where(samples, stays, "names a label")


# --- the same twice ------------------------------------------------------------------------------


def drop_duplicates(samples: Sequence[Sample], known: Sequence[Sample] = ()) -> Kept:
    """Drop inputs that were there before, but for case and spaces; the first one stays.

    Args:
        samples: Any.
        known: Earlier ones, which stay wherever they are.

    >>> rows = [Sample("A fine film", "good"), Sample("a  fine film", "good")]
    >>> drop_duplicates(rows).dropped
    1
    """
    seen = {input_key(sample) for sample in known}
    stays = []
    for sample in samples:
        stays.append(input_key(sample) not in seen)
        seen.add(input_key(sample))
    return keep_where(samples, stays, "exact duplicate")


def drop_shared_runs(samples: Sequence[Sample], known: Sequence[Sample] = ()) -> Kept:
    """Drop inputs that share a run with an earlier one: eight words, or 16 letters without spaces.

    Args:
        samples: Any.
        known: Earlier ones. The same question about another passage is no copy.
    """
    seen: dict[str, set[int]] = {}
    for sample in known:
        seen.setdefault(normalize(sample.context), set()).update(_runs(sample.input))
    stays = []
    for sample in samples:
        earlier = seen.setdefault(normalize(sample.context), set())
        runs = _runs(sample.input)
        stays.append(earlier.isdisjoint(runs))
        if stays[-1]:
            earlier |= runs
    return keep_where(samples, stays, "shared 8-gram")


def drop_similar(
    samples: Sequence[Sample],
    known: Sequence[Sample] = (),
    *,
    embed: Embed | None = None,
    threshold: float = SIMILAR,
) -> Kept:
    """Drop inputs whose vector lies near that of an earlier one.

    Args:
        samples: Any.
        known: Earlier ones.
        embed: From texts to unit vectors; `None` takes `embedder()` for texts in English, and drops
            nothing from others, of which it knows nothing: the reason says so.
        threshold: The cosine from which on two texts say the same.
    """
    check_number("threshold", threshold, above=0, most=1)
    reason = f"cosine of {threshold:g} or more"
    if not samples:
        return Kept([], 0, reason)
    texts = [sample.input for sample in [*known, *samples]]
    if embed is None and not is_english(texts):
        return Kept(list(samples), 0, f"{reason} ({NOT_ASKED})")
    vectors = (embed or embedder())(texts)
    contexts = [normalize(sample.context) for sample in [*known, *samples]]
    kept = list(range(len(known)))
    stays = []
    for row in range(len(known), len(vectors)):
        same = [other for other in kept if contexts[other] == contexts[row]]
        stays.append(not (vectors[same] @ vectors[row] >= threshold).any())
        if stays[-1]:
            kept.append(row)
    return keep_where(samples, stays, reason)


def drop_leaks(
    samples: Sequence[Sample],
    test_texts: Sequence[str],
    *,
    embed: Embed | None = None,
    threshold: float = NEAR_TEST,
) -> Kept:
    """Drop what is near any test text: equal, with a run in common, or near by cosine.

    A run is eight words, or 16 letters of a script without spaces.

    Args:
        samples: Generated or retrieved ones.
        test_texts: Of every test set that a model trained on `samples` is scored on.
        embed: As in `drop_similar`; for test texts that are not in English, equal texts and runs
            alone decide, and the reason says so.
        threshold: As in `drop_similar`.
    """
    check_number("threshold", threshold, above=0, most=1)
    reason = "near a test text"
    if not samples or not len(test_texts):
        return Kept(list(samples), 0, reason)
    runs = {run for text in test_texts for run in _runs(text)}
    whole = {normalize(text) for text in test_texts}
    inputs, nearest = [sample.input for sample in samples], np.zeros(len(samples))
    if embed is None and not is_english(test_texts):
        reason = f"{reason} ({NOT_ASKED})"
    else:
        embed = embed or embedder()
        nearest = (embed(inputs) @ embed(list(test_texts)).T).max(axis=1)
    stays = [
        normalize(text) not in whole and runs.isdisjoint(_runs(text)) and cosine < threshold
        for text, cosine in zip(inputs, nearest.tolist(), strict=True)
    ]
    return keep_where(samples, stays, reason)


# --- helpers -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def embedder(model: str | Path = "all-MiniLM-L6-v2") -> Embed:
    """Return a function from texts to unit vectors; a text is embedded once in its life.

    Args:
        model: A sentence encoder: an asset's name, a local folder or a Hub id.

    Raises:
        reptune.assets.AssetUnavailable: If it cannot be had.
    """
    from reptune import runtime
    from reptune.models.sentence import load_body

    with runtime.quiet(), runtime.seeded(0):
        body = load_body(model)
    vectors: dict[str, np.ndarray] = {}

    def embed(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        if new:
            with runtime.quiet():
                found = body.encode(new, normalize_embeddings=True, show_progress_bar=False)
            vectors.update(zip(new, found, strict=True))
        return np.stack([vectors[text] for text in texts])

    return embed


def is_english(texts: Sequence[str]) -> bool:
    """Return whether MiniLM can tell what texts say: Latin letters, and no other language known.

    >>> is_english(["A dull film."]), is_english(["つまらない映画だった。"])
    (True, False)
    """
    languages = [_language(text) for text in texts]
    english = languages.count("en")
    others = len(languages) - english - languages.count(None)
    return _scripts(texts)[:1] in ([], ["LATIN"]) and others <= english


def input_key(sample: Sample) -> tuple[str, str]:
    """Return what makes two samples ask the same: the input, and the passage it is asked about."""
    return normalize(sample.input), normalize(sample.context)


def num_words(text: str) -> int:
    """Return how many words a text has; a letter of a script without spaces counts as one.

    >>> num_words("It's a fine film."), num_words("良い映画")
    (4, 4)
    """
    unspaced = sum(_is_unspaced(letter) for letter in text)
    spaced = "".join(" " if _is_unspaced(letter) else letter for letter in text)
    return unspaced + len(re.findall(r"\w[\w'’-]*", spaced))


def _runs(text: str) -> set[int]:
    """Return a number per different run of eight words, and of 16 letters that need no spaces."""
    letters = "".join(filter(_is_unspaced, text))
    starts = range(max(len(letters) - RUN_LETTERS + 1, 0))
    return {*word_runs(text).tolist(), *(hash(letters[a : a + RUN_LETTERS]) for a in starts)}


def _is_unspaced(letter: str) -> bool:
    return letter > "\u0e00" and _script(letter) in ("CJK", "HIRAGANA", "KATAKANA", "THAI")


def _texts(sample: Sample) -> tuple[str, str, str]:
    return sample.input, sample.output, sample.context


def _is_debris(text: str) -> bool:
    words = re.findall(r"\w+", text.lower())
    repeats = len(words) >= 8 and len(set(words)) < 0.45 * len(words)
    stutters = any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
    uneven = text.count('"') % 2 or any(text.count(a) != text.count(b) for a, b in _PAIRS)
    return bool(_DEBRIS.search(text)) or repeats or stutters or bool(uneven)


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def _scripts(texts: Iterable[str]) -> list[str]:
    """Return the scripts that hold a tenth of the letters, the commonest first."""
    letters = Counter(_script(letter) for text in texts for letter in text if letter.isalpha())
    total = sum(letters.values())
    return [script for script, count in letters.most_common() if count >= 0.1 * total]


# The commonest words of languages that share the Latin letters.
_COMMON = {
    "en": "the a an of and to in is was it that this for with i you but not on are as my",
    "de": "der die das und ist ein eine nicht ich zu den mit von auf es im für war sich",
    "fr": "le la les et est un une des du je que pour dans qui pas il elle sur au très",
    "es": "el la los las y es un una de que en por con no se del para muy su como",
    "it": "il la le e un una di che è per non in con del della sono gli molto si",
    "pt": "o a os as e um uma de que é para não em com do da no na muito se",
    "nl": "de het een en is van ik niet dat in op te zijn met voor maar was er",
}
_COMMON_WORDS = {name: frozenset(words.split()) for name, words in _COMMON.items()}


def _language(text: str) -> str | None:
    """Return the language whose commonest words a text holds by far the most of, if any."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = sorted(
        ((sum(word in common for word in words), name) for name, common in _COMMON_WORDS.items()),
        reverse=True,
    )
    (most, name), (second, _) = counts[:2]
    return name if most >= 3 and most >= 1.5 * second and most >= 0.15 * len(words) else None
