"""Data: by name with fixed splits, and from files of your own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reptune.data.catalog import load, names, overlap, split_hash
    from reptune.data.corpus import clean_markup, domain_corpus
    from reptune.data.exports import read_export
    from reptune.data.news import headlines
    from reptune.data.pairs import title_pairs
    from reptune.data.questions import may_translate, topic_questions
    from reptune.data.splits import few_shot, fixed_subset, split_table
    from reptune.data.streams import open_rows
    from reptune.data.tables import read_table

# Where each name lives: a module is imported when one of its names is first asked for (PEP 562).
_LAZY = {
    "clean_markup": "reptune.data.corpus",
    "domain_corpus": "reptune.data.corpus",
    "load": "reptune.data.catalog",
    "names": "reptune.data.catalog",
    "overlap": "reptune.data.catalog",
    "split_hash": "reptune.data.catalog",
    "read_export": "reptune.data.exports",
    "headlines": "reptune.data.news",
    "title_pairs": "reptune.data.pairs",
    "may_translate": "reptune.data.questions",
    "topic_questions": "reptune.data.questions",
    "few_shot": "reptune.data.splits",
    "fixed_subset": "reptune.data.splits",
    "split_table": "reptune.data.splits",
    "open_rows": "reptune.data.streams",
    "read_table": "reptune.data.tables",
}

__all__ = [
    "clean_markup",
    "domain_corpus",
    "few_shot",
    "fixed_subset",
    "headlines",
    "load",
    "may_translate",
    "names",
    "open_rows",
    "overlap",
    "read_export",
    "read_table",
    "split_hash",
    "split_table",
    "title_pairs",
    "topic_questions",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
