"""Texts cut into blocks of tokens without padding (chapter 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets import Dataset, Features, List, Value
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune.checks import check_texts, check_whole_number
from reptune.models.masked import check_tokenizer
from reptune.tokens import special_ids


def pack(
    texts: Iterable[str] | Dataset,
    tokenizer: Tokenizer,
    block_size: int = 128,
    cache_file: Path | None = None,
    what: str = "texts",
) -> Dataset:
    """Cut texts, one after the other, into blocks without padding.

    A block is `[CLS] tokens [SEP]`; where a text ends inside it, a further `[SEP]` says so. What is
    left over at the end, less than a block, is dropped.

    Args:
        texts: The texts, or a data set with a column `text`, which may be larger than memory.
        tokenizer: A fast tokenizer with `[CLS]` and `[SEP]`, or what it has in their place.
        block_size: Tokens per block, special ones included.
        cache_file: Where the blocks go, to be mapped into memory; `None` keeps them in memory.
        what: What to call the texts in a message.

    Returns:
        Columns `input_ids` and `starts_word` (1 where a token begins a word, 0 where it goes on
        with one, -1 for special tokens), arrays of `block_size` numbers.

    Raises:
        ValueError: If the tokenizer lacks what is needed, a data set has no column `text` or no
            text in a row of it, or all texts together fill no block.

    >>> from reptune.models.masked import load_tokenizer
    >>> tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    >>> blocks = pack(["What a film!", "Unwatchable."], tokenizer, block_size=8)
    >>> tokenizer.decode(blocks[0]["input_ids"])
    '[CLS] what a film! [SEP] un [SEP]'
    >>> blocks[0]["starts_word"].tolist()
    [-1, 1, 1, 1, 1, -1, 1, -1]
    """
    block_size = check_whole_number("block_size", block_size, least=8)
    start, end = _start_and_end(tokenizer)
    special = set(tokenizer.all_special_ids)
    content = block_size - 2
    left: dict[str, list[int]] = {"ids": [], "starts": []}

    def cut(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        if None in batch["text"]:
            raise ValueError(f"{what}: a row of the data set has no text; drop such rows.")
        encoded = tokenizer(
            batch["text"], add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        for row, ids in enumerate(encoded["input_ids"]):
            if ids:
                starts = _word_starts(encoded.word_ids(row))
                starts = [
                    -1 if token in special else s for token, s in zip(ids, starts, strict=True)
                ]
                left["ids"] += [*ids, end]
                left["starts"] += [*starts, -1]
        full = len(left["ids"]) // content * content
        blocks: dict[str, list[list[int]]] = {"input_ids": [], "starts_word": []}
        for first in range(0, full, content):
            blocks["input_ids"].append([start, *left["ids"][first : first + content], end])
            blocks["starts_word"].append([-1, *left["starts"][first : first + content], -1])
        left["ids"], left["starts"] = left["ids"][full:], left["starts"][full:]
        return blocks

    corpus = _corpus(texts, what)
    blocks = corpus.map(
        cut,
        batched=True,
        remove_columns=corpus.column_names,
        load_from_cache_file=False,
        cache_file_name=None if cache_file is None else str(cache_file),
        features=Features(input_ids=List(Value("int32")), starts_word=List(Value("int8"))),
    )
    if not len(blocks):
        raise ValueError(
            f"{what} hold {len(left['ids'])} tokens together, too few for one block of "
            f"block_size={block_size}; pass more text or smaller blocks."
        )
    return blocks.with_format("numpy")


def _start_and_end(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the ids that open a block and close a text.

    Raises:
        ValueError: If the tokenizer is slow, or has no token for them or for a mask.
    """
    check_tokenizer(tokenizer)
    before, after = special_ids(tokenizer)
    if not before or not after:
        raise ValueError(
            f"{type(tokenizer).__name__} has no tokens for where a text begins or ends."
        )
    return before[0], after[-1]


def _word_starts(word_ids: Sequence[int | None]) -> list[int]:
    previous = [None, *word_ids][:-1]
    return [int(word != before) for word, before in zip(word_ids, previous, strict=True)]


def _corpus(texts: Iterable[str] | Dataset, what: str) -> Dataset:
    """Return the texts as a data set with a column `text`; one on disk stays there."""
    if not isinstance(texts, Dataset):
        return Dataset.from_dict({"text": check_texts(texts, what)})
    kind = getattr(texts.features.get("text"), "dtype", None)
    if kind not in ("string", "large_string"):
        raise ValueError(
            f"{what} is a data set with the columns {texts.column_names}; it needs a column 'text' "
            "of strings. Rename one with rename_column."
        )
    return texts
