"""Run an exported model with onnxruntime, tokenizers and NumPy alone; TF-IDF with NumPy alone.

`reptune export` puts a copy of this file, `runner.py`, beside each model, so nothing here imports
reptune or PyTorch. What reptune has elsewhere too (words, windows, valid tags) is held equal by
tests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "reptune-onnx.json"
FORMAT = 1
CHUNK_TEXTS = 10_000  # texts, or sentences, that are tokenized and scored together
BATCH_TOKENS = 4096  # per batch of windows of tagged sentences, padding included
TINY = np.finfo(float).tiny  # a probability too small for a float is not impossible
COUNTED = re.compile(r"(?u)\b\w\w+\b")  # what scikit-learn counts as a word


@dataclass(frozen=True)
class Entity:
    """An entity found in a text: `text == original[start:end]`.

    Attributes:
        text: Its characters.
        type: Such as `PER`.
        start: Index of its first character in the original text.
        end: Index after its last character.
        confidence: The probability of the least certain of its words' tags, 0 to 1.
    """

    text: str
    type: str
    start: int
    end: int
    confidence: float


class Runner:
    """A classifier or a tagger that `reptune export` wrote.

    Probabilities and labels are those of the estimator that was exported: its labels (strings or
    integers), its temperature, its thresholds, its windows and tags.

    Args:
        folder: What `reptune export` wrote; `None` takes the folder in which this file lies.
        threads: Threads per batch; `None` lets onnxruntime decide.
        batch_size: Texts of similar length per batch.

    Attributes:
        kind: `"label"`, `"labels"` (several per text) or `"tags"`.
        classes: The labels, or the tags, in the order of the probabilities.
        card: What the model was trained on and how well it does, or `None`.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no exported model, a later version wrote it, or a file of it is
            missing or was changed.
        ImportError: If it holds a graph and onnxruntime or tokenizers is missing.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        threads: int | None = None,
        batch_size: int = 32,
    ) -> None:
        folder = Path(__file__).parent if folder is None else Path(folder)
        self._config = config = _read_manifest(folder)
        self.kind: str = config["kind"]
        self.classes: list[Any] = config["classes"]
        self.card: dict[str, Any] | None = config.get("card")
        self.batch_size = batch_size
        if config.get("ngrams"):
            self._read_counts(folder)
        else:
            self._read_graph(folder, threads)
        if self.kind == "tags":
            self._starts, self._moves = _allowed_moves(self.classes)

    def _read_counts(self, folder: Path) -> None:
        words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        self._columns = {word: column for column, word in enumerate(words)}
        with np.load(folder / "head.npz", allow_pickle=False) as arrays:
            self._head = dict(arrays)

    def _read_graph(self, folder: Path, threads: int | None) -> None:
        import onnxruntime
        import tokenizers

        config = self._config
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if config["max_length"] is not None and self.kind != "tags":
            self._tokenizer.enable_truncation(
                config["max_length"], direction=config["truncation_side"]
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, texts: Iterable[Any]) -> Any:
        """Return the label of each text, as the exported estimator's `predict` does.

        Args:
            texts: Strings, or for a tagger sentences, each a list of words, in any iterable; a
                generator is read in chunks.

        Returns:
            For one label per text an array of shape `(n,)`; for several a list of labels per text,
            which may be empty; for a tagger a list of tags per sentence, valid BIO2.

        Raises:
            ValueError: If there are no texts, or one is not a string (a list of words).
        """
        if self.kind == "tags":
            return [self._tags(row) for row in self.predict_proba(texts)]
        shares = np.concatenate([self._shares(chunk) for chunk in self._chunks(texts)])
        classes = np.array(self.classes)
        if self.kind == "label":
            return classes[shares.argmax(axis=1)]
        chosen = shares >= np.array(self._config["thresholds"])
        return [classes[row].tolist() for row in chosen]

    def predict_proba(self, texts: Iterable[Any]) -> Any:
        """Return probabilities in the order of `classes`.

        Returns:
            Shape `(n, num_classes)`; for a tagger a list of arrays `(words, num_tags)`.

        Raises:
            ValueError: As `predict`.
        """
        if self.kind == "tags":
            return [row for chunk in self._chunks(texts) for row in self._word_shares(chunk)]
        shares = np.concatenate([self._shares(chunk) for chunk in self._chunks(texts)])
        temperature = self._config["temperature"]
        if temperature == 1 or self.kind == "labels":
            return shares
        return _softmax(np.log(np.maximum(shares, TINY)) / temperature)

    def logits(self, texts: Iterable[Any]) -> Any:
        """Return scores before the softmax, or with several labels the sigmoid; same shapes."""
        if self.kind == "tags":
            return [row for chunk in self._chunks(texts) for row in self._word_logits(chunk)[0]]
        return np.concatenate([self._logits(chunk) for chunk in self._chunks(texts)])

    def entities(self, text: str | Iterable[str]) -> list[Entity] | list[list[Entity]]:
        """Return the entities of a raw text, or of each of several, with character offsets.

        Raises:
            ValueError: If this is no tagger, or a text is not a string.
        """
        if self.kind != "tags":
            raise ValueError("this model gives labels to texts; only a tagger finds entities.")
        if isinstance(text, str):
            return self._entities([_checked_text(text, "text")])[0]
        chunks = _in_chunks(text, _checked_text)
        return [found for chunk in chunks for found in self._entities(chunk)]

    # --- texts --------------------------------------------------------------------------------

    def _chunks(self, texts: Iterable[Any]) -> Iterator[list[Any]]:
        if isinstance(texts, str | bytes):
            raise ValueError(f"texts is a single string; pass a list: [{texts[:40]!r}].")
        yield from _in_chunks(texts, _checked_words if self.kind == "tags" else _checked_text)

    def _shares(self, texts: list[str]) -> np.ndarray:
        logits = self._logits(texts)
        return _softmax(logits) if self.kind == "label" else _sigmoid(logits)

    def _counted_logits(self, texts: list[str]) -> np.ndarray:
        """Return the logits of TF-IDF, with sums in the order in which scikit-learn has them."""
        found, num = [self._counts(text) for text in texts], len(texts)
        rows = np.repeat(np.arange(num), list(map(len, found)))
        columns, counts = np.concatenate(found).T
        values = (np.log(counts) + 1) * self._head["idf"][columns]
        values /= np.sqrt(np.bincount(rows, values * values, num))[rows]
        sums = [np.bincount(rows, values * coef[columns], num) for coef in self._head["coef"]]
        scores = np.stack(sums, axis=1) + self._head["intercept"]
        # Of two classes scikit-learn gives one score, the second's lead over the first.
        return scores if scores.shape[1] > 1 else np.hstack([np.zeros_like(scores), scores])

    def _counts(self, text: str) -> np.ndarray:
        """Return columns and how often each one's run of words occurs, shape `(found, 2)`."""
        words, longest = COUNTED.findall(text.lower()), self._config["ngrams"]
        runs = (
            " ".join(words[start : start + length])
            for length in range(1, longest + 1)
            for start in range(len(words) - length + 1)
        )
        counts = Counter(self._columns[run] for run in runs if run in self._columns)
        return np.array(sorted(counts.items()), np.int64).reshape(-1, 2)

    def _logits(self, texts: list[str]) -> np.ndarray:
        if self._config.get("ngrams"):
            return self._counted_logits(texts)
        encoded = self._tokenizer.encode_batch_fast(texts)
        if self._config["warns"] and (cut := sum(bool(each.overflowing) for each in encoded)):
            length = self._config["max_length"]
            warnings.warn(
                f"{cut} of {len(texts)} texts are longer than {length} tokens and were cut.",
                stacklevel=3,
            )
        ids = [each.ids for each in encoded]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
        rows = np.empty((len(texts), len(self.classes)))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            rows[chosen] = self._run([ids[row] for row in chosen])
        return rows

    def _run(self, ids: list[list[int]], marks: list[list[int]] | None = None) -> np.ndarray:
        """Pad token ids on the right and run the model on them."""
        shape = (len(ids), max(map(len, ids)))
        inputs = {
            "input_ids": np.full(shape, self._config["pad_id"], np.int64),
            "attention_mask": np.zeros(shape, np.int64),
        }
        for row, tokens in enumerate(ids):
            inputs["input_ids"][row, : len(tokens)] = tokens
            inputs["attention_mask"][row, : len(tokens)] = 1
        if marks is not None:
            inputs["token_type_ids"] = np.zeros(shape, np.int64)
            for row, ones in enumerate(marks):
                inputs["token_type_ids"][row, : len(ones)] = ones
        return self._session.run(None, inputs)[0]

    # --- tags ---------------------------------------------------------------------------------

    def _entities(self, texts: list[str]) -> list[list[Entity]]:
        by_sentence = self._config["tags"].get("by_sentence", False)  # older exports read windows
        parts = []
        for number, text in enumerate(texts):
            words = words_to_tag(text)
            ends = sentence_ends(text, words) if by_sentence else [len(words)]
            cuts = zip([0, *ends], ends, strict=False)
            parts += [(number, words[start:end]) for start, end in cuts if start < end]
        rows = self._word_shares([[word for word, _, _ in words] for _, words in parts])
        found: list[list[Entity]] = [[] for _ in texts]
        for (number, words), shares in zip(parts, rows, strict=True):
            found[number] += self._found(texts[number], words, shares)
        return found

    def _found(
        self, text: str, words: list[tuple[str, int, int]], shares: np.ndarray
    ) -> list[Entity]:
        tags = self._tags(shares)
        columns = [self.classes.index(tag) for tag in tags]
        sure = shares[np.arange(len(columns)), columns]
        found = []
        for kind, first, end in _spans(tags):
            start, stop = words[first][1], words[end - 1][2]
            confidence = float(sure[first:end].min())
            found.append(Entity(text[start:stop], kind, start, stop, confidence))
        return found

    def _tags(self, shares: np.ndarray) -> list[str]:
        """Return the likeliest sequence of tags that BIO2 allows (Viterbi)."""
        scores = np.log(np.maximum(shares, TINY))
        total = scores[0] + np.where(self._starts, 0.0, -np.inf)
        barred = np.where(self._moves, 0.0, -np.inf)
        came_from = np.zeros(scores.shape, dtype=int)
        for word in range(1, len(scores)):
            through = total[:, None] + barred
            came_from[word] = through.argmax(axis=0)
            total = through.max(axis=0) + scores[word]
        path = [int(total.argmax())]
        for word in range(len(scores) - 1, 0, -1):
            path.append(int(came_from[word, path[-1]]))
        return [self.classes[index] for index in reversed(path)]

    def _word_shares(self, sentences: list[list[str]]) -> list[np.ndarray]:
        default = np.array(self._config["tags"]["shares"])
        return [
            np.where(known[:, None], _softmax(row), default)
            for row, known in zip(*self._word_logits(sentences), strict=True)
        ]

    def _word_logits(self, sentences: list[list[str]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return each word's scores, those of its first token, and whether it has a token."""
        default = np.log(self._config["tags"]["shares"])
        rows = [np.tile(default, (len(words), 1)) for words in sentences]
        known = [np.zeros(len(words), dtype=bool) for words in sentences]
        parts = [part for cut in self._windows(sentences) for part in cut]
        parts.sort(key=lambda part: len(part["ids"]), reverse=True)
        start = 0
        while start < len(parts):
            count = max(1, BATCH_TOKENS // len(parts[start]["ids"]))
            batch = parts[start : start + count]
            marked = self._config["tags"]["mark_case"]
            marks = [part["marks"] for part in batch] if marked else None
            for part, scores in zip(
                batch, self._run([p["ids"] for p in batch], marks), strict=True
            ):
                for word, token in part["first"].items():
                    rows[part["sentence"]][word] = scores[token]
                    known[part["sentence"]][word] = True
            start += count
        return rows, known

    def _windows(self, sentences: list[list[str]]) -> Iterator[list[dict[str, Any]]]:
        """Yield what the model reads of each sentence, in overlapping windows where it is long."""
        how = self._config["tags"]
        room = self._config["max_length"] - len(how["before"]) - len(how["after"])
        longest = max(1, int(how["longest_word"] * room))
        encoded = self._tokenizer.encode_batch(
            sentences, is_pretokenized=True, add_special_tokens=False
        )
        for number, (words, encoding) in enumerate(zip(sentences, encoded, strict=True)):
            ids: list[list[int]] = [[] for _ in words]
            for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
                ids[word].append(token)
            if sum(map(len, ids)) > room:
                ids = [tokens[:longest] for tokens in ids]
            yield [
                self._window(number, words, ids, window)
                for window in windows(list(map(len, ids)), room, how["overlap"])
            ]

    def _window(
        self, number: int, words: list[str], ids: list[list[int]], window: tuple[int, ...]
    ) -> dict[str, Any]:
        """Return token ids, case marks, and the index of the first token of each decided word."""
        before, after = self._config["tags"]["before"], self._config["tags"]["after"]
        start, end, own_start, own_end = window
        tokens, marks, first = [*before], [0] * len(before), {}
        for word in range(start, end):
            if ids[word] and own_start <= word < own_end:
                first[word] = len(tokens)
            tokens += ids[word]
            marks += [int(words[word][:1].isupper())] * len(ids[word])
        return {
            "sentence": number, "ids": [*tokens, *after], "marks": marks, "first": first,
        }  # fmt: skip


# --- inputs --------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; pass what reptune export wrote.")
    try:
        config = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        number, files = config["format"], config["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds no exported model ({MANIFEST}: {error}); pass what reptune export "
            "wrote, or export the model again."
        ) from None
    if number != FORMAT:
        raise ValueError(
            f"{folder} was exported in format {number}, and this reads {FORMAT}; use the runner.py "
            "in that folder, or upgrade reptune."
        )
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{path} is missing or was changed; export the model again.")
    return config


def _in_chunks(values: Iterable[Any], check: Any) -> Iterator[list[Any]]:
    values, first = iter(values), 0
    while chunk := list(itertools.islice(values, CHUNK_TEXTS)):
        yield [check(value, f"texts[{number}]") for number, value in enumerate(chunk, first)]
        first += len(chunk)
    if not first:
        raise ValueError("texts: there are none; pass at least one.")


def _checked_text(text: Any, what: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{what} is {text!r}, a {type(text).__name__}; it must be a string.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not valid Unicode: it holds a lone surrogate.") from None
    return str(text)


def _checked_words(words: Any, what: str) -> list[str]:
    if isinstance(words, str | bytes) or not isinstance(words, Sequence) or not words:
        raise ValueError(f"{what} is {words!r}; pass a list of words, at least one.")
    return [_checked_text(word, f"{what}[{index}]") for index, word in enumerate(words)]


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(-np.abs(logits))  # never overflows
    return np.where(logits >= 0, 1, shares) / (1 + shares)


# --- tags and windows: as reptune.tags and reptune.ner.alignment have them ------------------------


def _allowed_moves(tags: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tags may begin a sentence, and which may follow which (from row to column)."""

    def follows(before: str, tag: str) -> bool:
        return not tag.startswith("I-") or (before != "O" and before[2:] == tag[2:])

    start = np.array([follows("O", tag) for tag in tags])
    return start, np.array([[follows(before, tag) for tag in tags] for before in tags])


def _spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return type, first word and end of each entity that valid tags spell."""
    found: list[tuple[str, int, int]] = []
    for index, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], index, index + 1))
        elif tag != "O":
            found[-1] = (*found[-1][:2], index + 1)
    return found


def windows(sizes: Sequence[int], room: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Cut a sentence into overlapping runs of words that fit into the model.

    Args:
        sizes: How many tokens each word has, none more than `room`.
        room: Tokens that fit besides the special ones.
        overlap: Share of the room that two neighbors may share.

    Returns:
        First word and end of each window, and of the words that it decides.
    """
    ends = np.concatenate([[0], np.cumsum(sizes)])
    runs, start = [], 0
    while True:
        end = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        runs.append((start, end))
        if end == len(sizes):
            break
        back = int(np.searchsorted(ends, ends[end] - overlap * room))
        start = max(start + 1, min(back, end))
    middles = [(end + after) // 2 for (_, end), (after, _) in itertools.pairwise(runs)]
    cuts = itertools.pairwise([0, *middles, len(sizes)])
    return [(*run, *own) for run, own in zip(runs, cuts, strict=True)]


# --- words of a raw text: as reptune.data.tagged has them -----------------------------------------

_NAMED = {"-": "-", "&": "-", "'": "'", "’": "'", ".": ".", ",": ",", "\u200d": "j"}
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"


class _Kinds(dict):
    """A letter for each character's kind, found once per character."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in _NAMED:
            kind = _NAMED[character]
        elif category.startswith("N"):
            kind = "d"
        elif category.startswith("L") or character == "_":
            kind = "a"
        elif 0x1F1E6 <= code < 0x1F200:
            kind = "r"  # two of these letters make a flag
        elif category.startswith("M") or category == "Cf" or character in _SKIN_TONES:
            kind = "m"
        else:
            kind = " " if category[0] in "ZC" else "p"
        self[code] = kind
        return kind


_KINDS = _Kinds()
_LETTER, _DIGIT, _ANY = "a[mj]*", "d[mj]*", "[ad][mj]*"
_WORD = re.compile(
    rf"(?:{_LETTER}\.){{2,}}(?:{_LETTER}(?!{_ANY}))?"
    rf"|{_LETTER}'(?:{_LETTER}){{3,}}(?:-(?:{_ANY})+)*"
    rf"|(?:{_ANY})+(?:-(?:{_ANY})+|(?<=d)[.,](?:{_DIGIT})+)*"
    rf"|(?<=[admj.])'(?:{_ANY})+"
    r"|r[mj]*r[mj]*"
    r"|[^ ](?:m|j[^ ]?)*"
)


def split_words(text: str) -> list[tuple[str, int, int]]:
    """Cut a raw text into words; return each with its first character's index and its end."""
    kinds = text.translate(_KINDS)
    return [
        (text[found.start() : found.end()], found.start(), found.end())
        for found in _WORD.finditer(kinds)
    ]


# As `reptune.data.sentences`, which says why; a test holds the two together.
_MARKS = frozenset(".!?…؟۔।")
_WIDE_MARKS = frozenset("。！？｡")
_CLOSING = frozenset("\"'”’»)]}」』）】")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_ABBREVIATION = re.compile(
    r"adm|ave|bros|capt|cf|cmdr|co|col|corp|det|dr|esq|etc|gen|gov|hon|inc|jr|lt|ltd|maj|messrs|mr"
    r"|mrs|ms|mt|mx|pres|prof|pvt|rep|rev|sen|sgt|sr|st|supt|viz|vs"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(r"art|ch|fig|nos?|nr|pp?|sec|vol", re.IGNORECASE)


def words_to_tag(text: str) -> list[tuple[str, int, int]]:
    """Cut a raw text into words, and leave points with their abbreviations."""
    words = split_words(text)
    joined: list[tuple[str, int, int]] = []
    for index, (word, start, end) in enumerate(words):
        if _belongs_to_the_one_before(text, words, index):
            before, begin, _ = joined[-1]
            joined[-1] = (f"{before}.", begin, end)
        else:
            joined.append((word, start, end))
    return joined


def _belongs_to_the_one_before(
    text: str, words: Sequence[tuple[str, int, int]], index: int
) -> bool:
    """Return whether a word is a point that its abbreviation keeps."""
    if words[index][0] != "." or not 0 < index < len(words) - 1:
        return False
    (before, _, end), (_, start, stop), (following, begin, _) = words[index - 1 : index + 2]
    gap = text[stop:begin]
    attached = end == start and bool(gap) and not _BLANK_LINE.search(gap)
    return attached and _keeps_its_point(before, following)


def sentence_ends(text: str, words: Sequence[tuple[str, int, int]]) -> list[int]:
    """Return for each sentence of a text the index after its last word; the last is `len(words)`.

    Args:
        text: The text.
        words: What `words_to_tag` makes of it.
    """
    if not words:
        return []
    return [index for index in range(1, len(words)) if _begins(text, words, index)] + [len(words)]


def _begins(text: str, words: Sequence[tuple[str, int, int]], index: int) -> bool:
    """Return whether a sentence begins with a word that is not the first."""
    following, start, _ = words[index]
    gap = text[words[index - 1][2] : start]
    if _BLANK_LINE.search(gap):
        return True
    last = index - 1
    while last > 0 and words[last][0] in _CLOSING and words[last][1] == words[last - 1][2]:
        last -= 1
    mark = words[last][0]
    if mark in _WIDE_MARKS:
        return bool(gap) or following not in _CLOSING | _WIDE_MARKS
    if mark not in _MARKS or not gap or following[:1].islower() or following in _MARKS:
        return False
    attached = last > 0 and words[last - 1][2] == words[last][1]
    return not (mark == "." and attached and _keeps_its_point(words[last - 1][0], following))


def _keeps_its_point(word: str, following: str) -> bool:
    """Return whether a point after a word is no end of a sentence."""
    initial = len(word) == 1 and word.isupper()
    number = bool(_BEFORE_NUMBER.fullmatch(word)) and following[:1].isdigit()
    return initial or number or bool(_ABBREVIATION.fullmatch(word))
