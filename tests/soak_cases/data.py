"""Hostile and ordinary cases for tables, tagged text, draws, tags, highlights and metrics.

Each generator yields `(label, callable)`. A callable compares what it got with what another
library or a plain loop says (`AssertionError` where they differ), or raises `ValueError`; any other
error is a defect.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from scipy import stats
from scipy.special import log_softmax
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score, f1_score

from reptune import data, metrics, tags
from reptune.data import label_studio, tagged
from reptune.ner.gazetteer import Gazetteer, MostFrequentTag
from reptune.ner.highlight import displacy_document, highlight

Cases = Iterator[tuple[str, Callable[[], None]]]
Case = Callable[[], None]

LETTERS = "abcXYZ 019.,;|'\"\t\n\r-_é中🎉\u2028\u00a0“”\ufeff"
SEPARATORS = ",;\t|"


def refused(call: Callable[[], Any], *words: str) -> None:
    """Fail unless the call raises a `ValueError` that holds the words."""
    try:
        found = call()
    except ValueError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{error!r} does not say {missing}"
        return
    raise AssertionError(f"accepted, and returned {found!r:.200}")


def accepted(call: Callable[[], Any]) -> Any:
    """What the call returns; fail where it refuses what is right."""
    try:
        return call()
    except ValueError as error:
        raise AssertionError(f"refused: {error}") from error


def _cases(rng: random.Random, count: int, makers: dict[str, Callable[[random.Random], Case]],
           weights: list[float]) -> Cases:  # fmt: skip
    for _ in range(count):
        (label,) = rng.choices(list(makers), weights)
        yield label, makers[label](rng)


def _text(rng: random.Random, longest: int = 12, letters: str = LETTERS) -> str:
    return "".join(rng.choices(letters, k=rng.randint(0, longest)))


def _in_file(name: str, content: bytes, check: Callable[[Path], None]) -> Case:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            check(path)

    return run


def _mutated(rng: random.Random, content: bytes) -> bytes:
    """The bytes with a few of them flipped, cut, doubled or put in."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(found))
        kind = rng.choice(["flip", "insert", "delete", "double", "cut"])
        if kind == "flip" and place < len(found):
            found[place] = rng.randrange(256)
        elif kind == "insert":
            found[place:place] = rng.choice(
                [b'"', b",", b";", b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\\", b"{", b"["]
            )
        elif kind == "delete":
            del found[place : place + rng.randint(1, 4)]
        elif kind == "double":
            found[place:place] = found[place : place + rng.randint(1, 20)]
        elif rng.random() < 0.3:
            del found[place:]
    return bytes(found)


# --- tables --------------------------------------------------------------------------------------


def table_cases(rng: random.Random, count: int) -> Cases:
    """`read_table` and the readers of tagged text, on right, odd, damaged and misnamed input."""
    makers = {
        "delimited file": _delimited,
        "damaged delimited file": _damaged_delimited,
        "labels": _labels,
        "JSON lines": _json_lines,
        "damaged JSON lines": _damaged_json_lines,
        "Parquet": _parquet,
        "damaged Parquet": _damaged_parquet,
        "arguments of read_table": _table_arguments,
        "columns of tags": _tag_columns,
        "damaged columns of tags": _damaged_columns,
        "spans": _span_lines,
        "damaged spans": _damaged_spans,
        "Label Studio": _label_studio,
        "damaged Label Studio": _damaged_label_studio,
    }
    yield from _cases(rng, count, makers, [3, 4, 2, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1])


def _rows(rng: random.Random) -> list[tuple[str, str]]:
    labels = rng.choice([["yes", "no"], ["0", "1"], ["01", "1"], ["NA", "None"], ["a", "b ", "c"]])
    texts = [_text(rng) for _ in range(rng.randint(1, 6))]
    return [(text if text.strip() else f"{text}x", rng.choice(labels)) for text in texts]


def _delimited(rng: random.Random) -> Case:
    """What the csv module writes comes back, whatever it is packed in."""
    rows, separator = _rows(rng), rng.choice(SEPARATORS)
    suffix = rng.choice([".csv", ".tsv", ".CSV", ".csv.gz"])
    buffer = io.StringIO(newline="")
    writer = csv.writer(
        buffer,
        delimiter=separator,
        lineterminator=rng.choice(["\n", "\r\n"]),
        # Python 3.11 quotes no lone carriage return, so that it would end the row.
        quoting=csv.QUOTE_ALL
        if any("\r" in text for text, _ in rows)
        else rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    )
    extra = rng.random() < 0.3
    header = ["text", "label", "id"] if extra else ["text", "label"]
    writer.writerows([header, *([*row, "7"] if extra else row for row in rows)])
    content = rng.choice(["", "\ufeff"]).encode() + buffer.getvalue().encode()
    content = gzip.compress(content) if suffix.endswith("gz") else content
    named = separator if rng.random() < 0.5 else None

    def check(path: Path) -> None:
        table = accepted(lambda: data.read_table(path, separator=named))
        assert list(table["text"]) == [text for text, _ in rows]
        assert list(table["label"]) == _as_given([label for _, label in rows])

    return _in_file(f"mine{suffix}", content, check)


def _as_given(labels: list[str]) -> list[Any]:
    """Integers where every label is the usual spelling of one, by trial."""
    try:
        numbers = [int(label) for label in labels]
    except ValueError:
        return labels
    usual = all(str(number) == label for number, label in zip(numbers, labels, strict=True))
    fits = all(-(2**63) <= number < 2**63 for number in numbers)
    return numbers if usual and fits else labels


def _damaged_delimited(rng: random.Random) -> Case:
    """A file with a few wrong bytes: an error that names the file, or exactly the csv module."""
    rows, separator = _rows(rng), rng.choice(SEPARATORS)
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator).writerows([("text", "label"), *rows])
    content = _mutated(rng, buffer.getvalue().encode())

    def check(path: Path) -> None:
        try:
            table = data.read_table(path)
        except ValueError as error:
            assert path.name in str(error) or "column" in str(error), error
            return
        # Of the separators, at least one must give just these rows by the csv module's rules.
        found = [list(map(str, row.values())) for row in table]
        assert found in [_by_csv(content, one) for one in SEPARATORS]

    return _in_file("mine.csv", content, check)


def _by_csv(content: bytes, separator: str) -> list[list[str]] | None:
    """The columns `text` and `label` of every row, or `None` where a row does not fit."""
    try:
        stream = io.StringIO(content.decode("utf-8-sig"), newline="")
        header, *body = [row for row in csv.reader(stream, delimiter=separator, strict=True) if row]
    except (csv.Error, ValueError):
        return None
    if not {"text", "label"} <= set(header) or any(len(row) != len(header) for row in body):
        return None
    return [[row[header.index("text")], row[header.index("label")]] for row in body]


def _labels(rng: random.Random) -> Case:
    """Labels of every spelling: as given, or refused for one of four reasons."""
    pool = [
        "0",
        "1",
        "-1",
        "01",
        "+1",
        "1.0",
        "2.5",
        "-0",
        " 1",
        "1 ",
        "",
        " ",
        "NA",
        "null",
        "x",
        "True",
        "1e3",
        "٣",
        "1_0",
        "9223372036854775807",
        "9223372036854775808",
        "9" * 30,
    ]
    labels = rng.choices(pool, k=rng.randint(1, 4))
    content = "text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels))
    blank = any(not label.strip() for label in labels)
    doubles = len({label.strip() for label in labels}) < len(set(labels))
    plain = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
    decimal = all(map(plain.fullmatch, labels)) and any("." in label for label in labels)

    def check(path: Path) -> None:
        if blank or doubles or decimal:
            refused(lambda: data.read_table(path), "mine.csv, line")
        else:
            assert list(accepted(lambda: data.read_table(path))["label"]) == _as_given(labels)

    return _in_file("mine.csv", content.encode(), check)  # fmt: skip


def _value(rng: random.Random, good: float = 0.8) -> Any:
    odd = [None, float("nan"), 1.5, 7, True, [], {}, ["x"], "", " ", 2**63, -(2**63), 10**30,
           "\ud800", "x\udfff"]  # fmt: skip
    return _text(rng) + "x" if rng.random() < good else rng.choice(odd)


def _json_lines(rng: random.Random) -> Case:
    rows = [
        {"text": _value(rng, 0.95), "label": _value(rng, 0.9)} for _ in range(rng.randint(1, 5))
    ]
    if rng.random() < 0.4:
        rows = [{"text": row["text"], "label": i % 2} for i, row in enumerate(rows)]
    end = rng.choice(["\n", "\r\n", "\n\n"])
    escaped = rng.random() < 0.5 or any("\ud7ff" < c < "\ue000" for c in repr(rows))
    content = end.join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    labels = [row["label"] for row in rows]

    def check(path: Path) -> None:
        if _right(rows):
            table = accepted(lambda: data.read_table(path))
            assert list(table["text"]) == [row["text"] for row in rows]
            assert list(map(_typed, table["label"])) == list(map(_typed, labels))
        else:
            refused(lambda: data.read_table(path), "line")

    return _in_file("mine.jsonl", content.encode("utf-8", "surrogatepass"), check)


def _typed(value: Any) -> tuple[type, Any]:
    return type(value), value


def _right(rows: list[dict[str, Any]]) -> bool:
    """Whether every text is one and the labels are strings, integers or booleans of one type."""
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    kinds = {type(label) for label in labels}
    if len(kinds) > 1 or not kinds <= {str, int, bool} or not all(map(_said, texts)):
        return False
    if kinds == {str}:
        spaced = len({label.strip() for label in labels}) < len(set(labels))
        return all(map(_said, labels)) and not spaced
    return all(-(2**63) <= label < 2**63 for label in labels)


def _said(text: Any) -> bool:
    whole = isinstance(text, str) and not any("\ud7ff" < letter < "\ue000" for letter in text)
    return whole and bool(text.strip()) and not text.endswith("\0")


def _damaged_json_lines(rng: random.Random) -> Case:
    rows = [{"text": f"{_text(rng)}x", "label": rng.choice(["a", "b"])} for _ in range(3)]
    content = _mutated(rng, "\n".join(map(json.dumps, rows)).encode())

    def check(path: Path) -> None:
        try:
            table = data.read_table(path)
        except ValueError as error:
            assert "mine.jsonl" in str(error) or "column" in str(error), error
            return
        lines = content.decode("utf-8-sig").split("\n")
        expected = [json.loads(line) for line in lines if line.strip()]
        assert list(table) == [{"text": row["text"], "label": row["label"]} for row in expected]

    return _in_file("mine.jsonl", content, check)


def _parquet_bytes(rows: list[dict[str, Any]]) -> bytes | None:
    buffer = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), buffer)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        return None  # a column of mixed types, which Parquet cannot hold
    return buffer.getvalue()


def _parquet(rng: random.Random) -> Case:
    rows = [{"text": f"{_text(rng)}x", "label": i % 3} for i in range(rng.randint(1, 4))]
    if rng.random() < 0.5:
        rows[0][rng.choice(["text", "label"])] = _value(rng, 0)
    content = _parquet_bytes(rows)
    if content is None:
        return lambda: None
    back = pq.read_table(io.BytesIO(content)).to_pylist()

    def check(path: Path) -> None:
        if _right(back):
            assert list(accepted(lambda: data.read_table(path))) == back
        else:
            refused(lambda: data.read_table(path), "mine.parquet, row")

    return _in_file("mine.parquet", content, check)


def _damaged_parquet(rng: random.Random) -> Case:
    """Without checksums a flipped letter cannot be seen: then it is what Arrow reads."""
    rows = [{"text": f"{_text(rng)}x", "label": i % 3} for i in range(rng.randint(1, 4))]
    content = _mutated(rng, _parquet_bytes(rows) or b"")

    def check(path: Path) -> None:
        try:
            table = data.read_table(path)
        except ValueError as error:
            assert "mine.parquet" in str(error), error
            return
        assert list(table) == pq.read_table(io.BytesIO(content)).to_pylist()

    return _in_file("mine.parquet", content, check)


def _table_arguments(rng: random.Random) -> Case:
    junk = [None, 3, 1.5, b"text", ["text"], ("text",), {"text": 1}, True, object()]
    name = rng.choice(["path", "text", "label", "separator"])
    value = rng.choice([one for one in junk if one is not None or name in ("path", "text")])

    def check(path: Path) -> None:
        refused(lambda: data.read_table(**{"path": path, name: value}))

    return _in_file("mine.csv", b"text,label\na,x\nb,y\n", check)


# --- tagged text ---------------------------------------------------------------------------------


TYPES = ("PER", "LOC", "work-of-art")


def _sentence(rng: random.Random, longest: int = 7) -> tuple[list[str], list[tags.Span]]:
    """Words, and entities that do not overlap."""
    words = [_text(rng, 5, "abcXYZé中") + "x" for _ in range(rng.randint(1, longest))]
    found, place = [], 0
    while place < len(words):
        end = min(place + rng.randint(1, 3), len(words))
        if rng.random() < 0.4:
            found.append(tags.Span(rng.choice(TYPES), place, end))
            place = end
        else:
            place += 1
    return words, found


def _in_scheme(spans: list[tags.Span], length: int, scheme: str) -> list[str]:
    """Tags of the spans, written out by hand for each scheme."""
    row = ["O"] * length
    last: tags.Span | None = None
    for span in spans:
        size = span.end - span.start
        if scheme == "BIOES":
            letters = "S" if size == 1 else "B" + "I" * (size - 2) + "E"
        elif scheme == "IOB1":
            touches = last is not None and (last.type, last.end) == (span.type, span.start)
            letters = ("B" if touches else "I") + "I" * (size - 1)
        else:
            letters = "B" + "I" * (size - 1)
        row[span.start : span.end] = [f"{letter}-{span.type}" for letter in letters]
        last = span
    return row


def _tag_columns(rng: random.Random) -> Case:
    sentences = [_sentence(rng) for _ in range(rng.randint(1, 4))]
    scheme = rng.choice(["BIO2", "IOB1", "BIOES"])
    rows = [_in_scheme(spans, len(words), scheme) for words, spans in sentences]
    separator = rng.choice([" ", "\t"])
    blocks = [
        "\n".join(f"{word}{separator}{tag}" for word, tag in zip(words, row, strict=True))
        for (words, _), row in zip(sentences, rows, strict=True)
    ]
    content = rng.choice(["\n\n", "\n\n\n", "\n \n"]).join(blocks)
    expected = [_in_scheme(spans, len(words), "BIO2") for words, spans in sentences]

    def check(path: Path) -> None:
        found = accepted(lambda: tagged.read_columns(path, scheme=scheme))
        assert list(found["tokens"]) == [words for words, _ in sentences]
        assert list(found["ner_tags"]) == expected

    return _in_file("mine.conll", content.encode(), check)


def _damaged_columns(rng: random.Random) -> Case:
    words, spans = _sentence(rng)
    row = _in_scheme(spans, len(words), "BIO2")
    content = _mutated(rng, "\n".join(map(" ".join, zip(words, row, strict=True))).encode())

    def check(path: Path) -> None:
        try:
            found = tagged.read_columns(path)
        except ValueError as error:
            assert "mine.conll" in str(error) or "tags[" in str(error), error
            return
        assert tags.count_invalid(found["ner_tags"]) == 0
        assert " ".join(found["tokens"][0]) in " ".join(
            line.split()[0] for line in content.decode("utf-8-sig").split("\n") if line.split()
        )

    return _in_file("mine.conll", content, check)


def _spoken(rng: random.Random) -> tuple[str, list[str], list[str], list[list[Any]]]:
    """A text, its words, their BIO2 tags, and the entities in characters."""
    words, spans = _sentence(rng)
    gaps = [rng.choice([" ", "  ", "\n", " 🎉 "]) for _ in words]
    starts = [sum(len(w) + len(g) for w, g in zip(words[:i], gaps[:i], strict=True))
              for i in range(len(words))]  # fmt: skip
    text = "".join(itertools.chain(*zip(words, gaps, strict=True)))
    located = [
        [starts[span.start], starts[span.end - 1] + len(words[span.end - 1]), span.type]
        for span in spans
    ]
    return text, words, _in_scheme(spans, len(words), "BIO2"), located


def _without_emoji(words: list[str], row: list[str]) -> tuple[list[str], list[str]]:
    """What is left where the emoji between words became words of their own."""
    kept = [(word, tag) for word, tag in zip(words, row, strict=True) if word != "🎉"]
    return [word for word, _ in kept], [tag for _, tag in kept]


def _span_lines(rng: random.Random) -> Case:
    text, words, row, located = _spoken(rng)
    spans: list[Any] = located
    if rng.random() < 0.5:
        spans = [dict(zip(("start", "end", "label"), one, strict=True)) for one in located]
    content = json.dumps({"text": text, "spans": spans})

    def check(path: Path) -> None:
        found = accepted(lambda: tagged.read_spans(path))[0]
        assert _without_emoji(found["tokens"], found["ner_tags"])[0] == words
        entities = [
            " ".join(w for w in found["tokens"][one.start : one.end] if w != "🎉")
            for one in tags.spans(found["ner_tags"])
        ]
        expected = [" ".join(words[one.start : one.end]) for one in tags.spans(row)]
        assert entities == expected

    return _in_file("mine.jsonl", content.encode(), check)


def _damaged_spans(rng: random.Random) -> Case:
    text, _, _, located = _spoken(rng)
    if located and rng.random() < 0.5:
        located[0][rng.randrange(3)] = rng.choice([None, -1, 10**9, 1.5, "0", True, "", [], 10**30])
        content = json.dumps({"text": text, "spans": located}).encode()
    else:
        content = _mutated(rng, json.dumps({"text": text, "spans": located}).encode())

    def check(path: Path) -> None:
        try:
            found = tagged.read_spans(path)
        except ValueError as error:
            assert "mine.jsonl" in str(error), error
            return
        lines = content.decode("utf-8-sig").split("\n")
        kept = [json.loads(line) for line in lines if line.strip()]
        texts = ["".join(row["text"].split()) for row in kept if tagged.split_words(row["text"])]
        shown = ["".join(words) for words in found["tokens"]]
        assert len(shown) == len(texts)
        assert tags.count_invalid(found["ner_tags"]) == 0

    return _in_file("mine.jsonl", content, check)


def _export(rng: random.Random) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    tasks, expected = [], []
    for number in range(rng.randint(1, 4)):
        text, label = f"{_text(rng)}x", rng.choice(["yes", "no"])
        value = {"choices": [label]}
        result = {"type": "choices", "from_name": "c", "to_name": "text", "value": value}
        annotation = {"result": [result], "was_cancelled": rng.random() < 0.2}
        tasks.append({"id": number, "data": {"text": text}, "annotations": [annotation]})
        if not annotation["was_cancelled"]:
            expected.append((text, label))
    return tasks, expected


def _label_studio(rng: random.Random) -> Case:
    if rng.random() < 0.5:
        return _label_studio_spans(rng)
    tasks, expected = _export(rng)

    def check(path: Path) -> None:
        if not expected:
            return refused(lambda: label_studio.read_choices(path), "holds no labeled text")
        table = accepted(lambda: label_studio.read_choices(path))
        assert list(zip(table["text"], table["label"], strict=True)) == expected

    return _quiet(_in_file("export.json", json.dumps(tasks).encode(), check))


def _label_studio_spans(rng: random.Random) -> Case:
    """Places as JavaScript counts them, where an emoji is two characters."""
    text, words, row, located = _spoken(rng)
    results = []
    for start, end, kind in located:
        places = [len(text[:place].encode("utf-16-le")) // 2 for place in (start, end)]
        value = {"start": places[0], "end": places[1], "text": text[start:end], "labels": [kind]}
        results.append({"type": "labels", "from_name": "l", "value": value})
    task = {"id": 1, "data": {"text": text}, "annotations": [{"result": results}]}

    def check(path: Path) -> None:
        if not located:
            return refused(lambda: label_studio.read_spans(path), "holds no span")
        found = accepted(lambda: label_studio.read_spans(path))[0]
        entities = [
            " ".join(w for w in found["tokens"][one.start : one.end] if w != "🎉")
            for one in tags.spans(found["ner_tags"])
        ]
        assert entities == [" ".join(words[one.start : one.end]) for one in tags.spans(row)]

    return _in_file("export.json", json.dumps([task]).encode(), check)


def _damaged_label_studio(rng: random.Random) -> Case:
    tasks, _ = _export(rng)
    victim: Any = tasks
    for _ in range(rng.randint(0, 6)):  # walk to some value and put another in its place
        keys = list(victim) if isinstance(victim, dict) else range(len(victim))
        if not keys or not isinstance(victim[key := rng.choice(list(keys))], dict | list):
            break
        victim = victim[key]
    if victim:
        key = rng.choice(list(victim) if isinstance(victim, dict) else range(len(victim)))
        victim[key] = rng.choice([None, 3, "x", [], {}, [None], {"text": 1}, True])

    def check(path: Path) -> None:
        for read in (label_studio.read_choices, label_studio.read_spans):
            try:
                table = read(path)
            except ValueError as error:
                assert "export.json" in str(error), error
            else:
                assert len(table) > 0 and read is label_studio.read_choices

    return _quiet(_in_file("export.json", json.dumps(tasks).encode(), check))


def _quiet(case: Case) -> Case:
    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case()

    return run


# --- tags, highlights and draws ------------------------------------------------------------------


def tag_cases(rng: random.Random, count: int) -> Cases:
    """Tags, words, taggers that train nothing, highlights and draws, right and of wrong kinds."""
    makers = {
        "spans": _spans,
        "schemes": _schemes,
        "Viterbi": _viterbi,
        "words": _words,
        "taggers": _taggers,
        "highlight": _highlight,
        "draws": _draws,
        "split_table": _split_table,
        "what is no tag": _no_tags,
        "what is no data set": _no_dataset,
        "what is no highlight": _no_highlight,
    }
    yield from _cases(rng, count, makers, [2, 2, 2, 2, 1, 1, 1, 0.5, 4, 2, 2])


def _any_row(rng: random.Random, longest: int = 8) -> list[str]:
    labels = ["O", *(f"{letter}-{kind}" for letter in "BI" for kind in TYPES)]
    return rng.choices(labels, k=rng.randint(0, longest))


def _spans(rng: random.Random) -> Case:
    row = _any_row(rng)

    def check() -> None:
        found = accepted(lambda: tags.spans(row))
        # seqeval cuts the type at the last hyphen, this package at the first.
        by_seqeval = get_entities([tag.replace("work-of-art", "ART") for tag in row])
        named = [(one.type.replace("work-of-art", "ART"), one.start, one.end - 1) for one in found]
        assert named == by_seqeval
        broken = sum(
            tag[0] == "I" and (before == "O" or before[2:] != tag[2:])
            for before, tag in zip(["O", *row], row, strict=False)
        )
        assert tags.count_invalid([row]) == broken
        again = accepted(lambda: tags.from_spans(found, len(row)))
        assert tags.spans(again) == found
        assert broken or again == row
        if broken:
            refused(lambda: tags.check_tags([["w"] * len(row)], [row]), "to_bio2")
        else:
            assert tags.check_tags([["w"] * len(row)], [row]) == [row]

    return check


def _schemes(rng: random.Random) -> Case:
    sentences = [_sentence(rng) for _ in range(rng.randint(1, 3))]
    scheme = rng.choice(["BIO2", "IOB1", "BIOES"])
    rows = [_in_scheme(spans, len(words), scheme) for words, spans in sentences]
    expected = [_in_scheme(spans, len(words), "BIO2") for words, spans in sentences]
    kind = rng.choice([list, tuple, np.array])
    given = [kind(row) for row in rows]

    def check() -> None:
        assert accepted(lambda: tags.to_bio2(given, scheme)) == expected
        if any(spans for _, spans in sentences):
            letters = {tag[0] for row in rows for tag in row}
            if scheme == "IOB1" or letters & {"S", "E"}:
                assert tags.to_bio2(given) == expected

    return check


def _viterbi(rng: random.Random) -> Case:
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    rng.shuffle(labels)
    labels = labels[: rng.randint(1, 5)]
    words = rng.randint(0, 4)
    scores = np.array(
        [[rng.choice([rng.uniform(-5, 0), -1.0, -math.inf]) for _ in labels] for _ in range(words)]
    ).reshape(words, len(labels))

    def check() -> None:
        if all(label.startswith("I-") for label in labels):
            return refused(lambda: tags.viterbi(scores, labels), "must be among them")
        found = accepted(lambda: tags.viterbi(scores, labels))
        assert tags.count_invalid([found]) == 0 and len(found) == words
        floored = np.maximum(scores, tags.LOWEST)

        def total(path: tuple[int, ...]) -> float:
            return sum(floored[word, label] for word, label in enumerate(path))

        paths = itertools.product(range(len(labels)), repeat=words)
        allowed = [path for path in paths if not tags.count_invalid([[labels[i] for i in path]])]
        best = max(map(total, allowed))
        assert math.isclose(total(tuple(map(labels.index, found))), best, abs_tol=1e-6)
        return None

    return check


def _words(rng: random.Random) -> Case:
    text = _text(rng, 30)

    def check() -> None:
        words = accepted(lambda: tagged.split_words(text))
        free = 0
        for word in words:
            assert word.text and text[word.start : word.end] == word.text and word.start >= free
            free = word.end
        # A byte order mark is part of the word before it, and of none at the beginning.
        left = "".join(word.text for word in words).replace("\ufeff", "")
        assert left == re.sub(r"[\s\ufeff]", "", text)
        row = tags.from_spans([tags.Span("X", i, i + 1) for i in range(len(words))], len(words))
        spans = [(word.start, word.end, "X") for word in words]
        assert tagged.tags_from_spans(text, words, spans) == row

    return check


def _taggers(rng: random.Random) -> Case:
    sentences = [_sentence(rng) for _ in range(rng.randint(1, 4))]
    tokens = [words for words, _ in sentences]
    rows = [_in_scheme(spans, len(words), "BIO2") for words, spans in sentences]

    def check() -> None:
        frequent = MostFrequentTag().fit(tokens, rows)
        counts: dict[str, Counter[str]] = {}
        for word, tag in zip(itertools.chain(*tokens), itertools.chain(*rows), strict=True):
            counts.setdefault(word, Counter())[tag] += 1
        for word, tag in frequent.tag_of_.items():
            assert counts[word][tag] == max(counts[word].values())
        found = Gazetteer().fit(tokens, rows).predict(tokens)
        assert [len(row) for row in found] == [len(row) for row in rows]
        assert tags.count_invalid(found) == 0

    return check


def _located(rng: random.Random, text: str) -> list[SimpleNamespace]:
    places = sorted(rng.sample(range(len(text) + 1), min(len(text) + 1, 2 * rng.randint(0, 3))))
    pairs = zip(places[::2], places[1::2], strict=False)
    return [SimpleNamespace(type=rng.choice(TYPES), start=a, end=b) for a, b in pairs]


def _highlight(rng: random.Random) -> Case:
    text = _text(rng, 30, LETTERS.replace("[", "").replace("]", ""))
    entities = _located(rng, text)
    shuffled = rng.sample(entities, len(entities))

    def check() -> None:
        shown = accepted(lambda: highlight(text, shuffled))
        bare = str(shown)
        for one in reversed(entities):
            end = one.end + sum(len(f"[ {e.type}]") for e in entities if e.end < one.end) + 1
            bare = bare[:end] + bare[end + len(f" {one.type}]") :]
        assert bare.replace("[", "") == text
        page = shown._repr_html_()
        assert page.count("<mark") == len(entities) and page.count("<") == 2 + 4 * len(entities)
        document = displacy_document(text, shuffled)
        assert [one["start"] for one in document["ents"]] == [one.start for one in entities]

    return check


def _dataset(rng: random.Random) -> Dataset:
    labels = rng.choice([["a", "b", "c"], [0, 1], [5, -3]])
    rows = rng.randint(1, 30)
    return Dataset.from_dict(
        {"text": [f"t{i}" for i in range(rows)], "label": [rng.choice(labels) for _ in range(rows)]}
    )


def _draws(rng: random.Random) -> Case:
    dataset, size, seed = _dataset(rng), rng.randint(1, 6), rng.randrange(100)
    counts = Counter(dataset["label"])

    def check() -> None:
        some = accepted(lambda: data.fixed_subset(dataset, size))
        assert len(some) == min(size, len(dataset)) and len(set(some["text"])) == len(some)
        if min(counts.values()) < size:
            return refused(lambda: data.few_shot(dataset, size, seed), "fewer than")
        drawn = accepted(lambda: data.few_shot(dataset, size, seed))
        assert Counter(drawn["label"]) == dict.fromkeys(counts, size)
        label_of = dict(zip(dataset["text"], dataset["label"], strict=True))
        assert all(label_of[row["text"]] == row["label"] for row in drawn)
        if size > 1:
            fewer = data.few_shot(dataset, size - 1, seed)
            assert set(fewer["text"]) < set(drawn["text"])
        return None

    return check


def _split_table(rng: random.Random) -> Case:
    dataset, share = _dataset(rng), rng.uniform(0.01, 1 / 3)
    counts = Counter(dataset["label"])

    def check() -> None:
        if len(counts) < 2 or min(counts.values()) < 3:
            return refused(lambda: data.split_table(dataset, share), "at least")
        splits = accepted(lambda: data.split_table(dataset, share))
        label_of = dict(zip(dataset["text"], map(str, dataset["label"]), strict=True))
        found = {}
        for part in splits.values():
            names = part.features["label"]
            found |= {row["text"]: names.int2str(row["label"]) for row in part}
            assert set(map(names.int2str, part["label"])) == set(label_of.values())
        assert found == label_of and sum(map(len, splits.values())) == len(dataset)
        return None

    return check


# None of these is a list of strings, or of lists of strings.
NO_ROWS = [None, 3, 1.5, True, object(), "O", "OO", b"O", [None], [3], [b"O"], [["O", None]],
           [["O", 3]], {"O": 1}, {("O",): 1}, {"O"}, {("O",)}, ["O", "B-PER"], [{"O": 1}], [{"O"}],
           pd.DataFrame({"a": ["O"]}), np.array("O"), [np.array("O")], [np.array([["O"]])],
           range(3), [["O", "X"]], [["O", "B"]], [["O", "I-"]], [["o"]]]  # fmt: skip


def _no_tags(rng: random.Random) -> Case:
    junk, right = rng.choice(NO_ROWS), [["B-PER", "O"]]
    row = junk[0] if isinstance(junk, list) and junk and not isinstance(junk[0], str) else junk
    flat = isinstance(junk, list) and bool(junk) and isinstance(junk[0], str)
    words_too = isinstance(junk, list) and junk and isinstance(junk[0], list)
    calls = {
        "to_bio2": lambda: tags.to_bio2(junk),
        "count_invalid": lambda: tags.count_invalid(junk),
        "check_tags": lambda: tags.check_tags(right, junk),
        "entity_scores": lambda: metrics.entity_scores(junk, right),
        "entity_counts": lambda: metrics.entity_counts(right, junk),
        "entity_errors": lambda: metrics.entity_errors(junk, right),
        "Gazetteer": lambda: Gazetteer().fit(right, junk),
        "viterbi": lambda: tags.viterbi([[0.0, 0.0]], None if flat else row),
        "from_spans": lambda: tags.from_spans(junk, 2),
        "num_words": lambda: tags.from_spans([], rng.choice([None, "2", 2.0, -1, True, [2]])),
        "scheme": lambda: tags.to_bio2(right, rng.choice([3, "bio", ["BIO2"], {}, b"BIO2", True])),
    }
    if not words_too:
        calls |= {
            "check_sentences": lambda: tags.check_sentences(junk),
            "MostFrequentTag": lambda: MostFrequentTag().fit(junk, right),
            "predict": lambda: MostFrequentTag().fit([["a", "b"]], right).predict(junk),
            "split_words": lambda: tagged.split_words(junk if not isinstance(junk, str) else None),
        }
    name = rng.choice(list(calls))
    return lambda: refused(calls[name])


def _no_dataset(rng: random.Random) -> Case:
    right = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    junk = rng.choice([None, 3, "text", b"text", [], {}, [{"label": 1}], {"label": [0, 1]},
                       right.to_pandas(), DatasetDict(train=right), right.select([]),
                       right.remove_columns(["text", "label"]), object()])  # fmt: skip
    number = rng.choice([None, 0, -1, "1", 1.0, True, [1], math.nan])
    seed = rng.choice([-1, "1", 1.5, True, [1], 2**32])
    calls = [
        lambda: data.few_shot(junk, 1),
        lambda: data.few_shot(right.remove_columns("label"), 1),
        lambda: data.few_shot(right, number),
        lambda: data.few_shot(right, 1, seed),
        lambda: data.few_shot(Dataset.from_dict({"label": [None, 1]}), 1),
        lambda: data.fixed_subset(junk, 1),
        lambda: data.fixed_subset(right, number),
        lambda: data.split_table(junk),
        lambda: data.split_table(right, rng.choice([None, 0, -0.1, 0.5, "0.1", True, math.nan])),
        lambda: data.overlap(junk, right),
        lambda: data.overlap(right, junk),
        lambda: data.load(rng.choice([None, 3, ["imdb"], {}, b"imdb", "nothing"])),
        lambda: data.domain_corpus(rng.choice([None, "text", b"a", [None], {"a": 1}, [3]])),
        lambda: data.domain_corpus(["a"], rng.choice([None, "a", b"a", [None], {"a": 1}, 3])),
        lambda: data.clean_markup(rng.choice([None, 3, b"a", ["a"]])),
    ]
    call = rng.choice(calls)
    return lambda: refused(call)


def _no_highlight(rng: random.Random) -> Case:
    text = "Ada wrote to Bo."
    right = SimpleNamespace(type="PER", start=0, end=3)
    fields = {"type": [None, 3, "", b"PER"], "start": [None, "0", 0.0, True, -1, 3, 99],
              "end": [None, "3", 3.0, False, 0, 99, 10**30]}  # fmt: skip
    name = rng.choice(list(fields))
    broken = SimpleNamespace(**{**vars(right), name: rng.choice(fields[name])})
    calls = [
        lambda: highlight(text, [broken]),
        lambda: highlight(text, [right, right]),
        lambda: highlight(rng.choice([None, 3, b"Ada", ["Ada"]]), [right]),
        lambda: highlight(text, rng.choice([None, 3, right, {"a": right}, "PER", [None], [{}]])),
        lambda: highlight(text, [tags.Span("PER", 0, 1)]),
        lambda: displacy_document(text, [broken]),
        lambda: tagged.tags_from_spans(text, [], [(0, 3, "PER")]),
        lambda: tagged.tags_from_spans(
            text, tagged.split_words(text), [(broken.start, broken.end, broken.type)]
        ),
        lambda: tagged.tags_from_spans(text, tagged.split_words("Another text."), []),
    ]
    call = rng.choice(calls)
    return lambda: refused(call)


# --- metrics -------------------------------------------------------------------------------------


def metric_cases(rng: random.Random, count: int) -> Cases:
    """Scores, calibration, temperatures and intervals against others, and on odd labels."""
    makers = {
        "accuracy and F1": _scores,
        "calibration": _calibration,
        "temperature": _temperature,
        "mean interval": _mean_interval,
        "McNemar": _mcnemar,
        "entities": _entities,
        "odd labels": _odd_labels,
        "odd scores": _odd_scores,
        "odd values": _odd_values,
    }
    yield from _cases(rng, count, makers, [2, 2, 2, 1, 2, 2, 3, 2, 3])


def _scores(rng: random.Random) -> Case:
    kind = rng.choice([int, str, bool, np.int32, float])
    pairs = [(kind(rng.randint(0, 3)), kind(rng.randint(0, 3))) for _ in range(rng.randint(1, 20))]
    gold, guesses = [a for a, _ in pairs], [b for _, b in pairs]
    pack = rng.choice([list, tuple, np.array, pd.Series])

    def check() -> None:
        found = accepted(lambda: metrics.classification_scores(pack(gold), pack(guesses)))
        assert found["accuracy"] == accuracy_score(gold, guesses)
        macro = f1_score(gold, guesses, average="macro", zero_division=0)
        assert math.isclose(found["macro_f1"], macro)

    return check


def _softmax(rng: random.Random, rows: int, classes: int, scale: float = 3.0) -> np.ndarray:
    logits = [[rng.gauss(0, scale) for _ in range(classes)] for _ in range(rows)]
    return np.exp(log_softmax(np.array(logits), axis=1))


def _calibration(rng: random.Random) -> Case:
    rows, classes, num_bins = rng.randint(1, 40), rng.randint(1, 5), rng.choice([1, 2, 10, 10_000])
    probabilities = _softmax(rng, rows, classes)
    labels = [rng.randrange(classes) for _ in range(rows)]
    pack = rng.choice([list, np.array, pd.Series, lambda x: np.array(x, dtype=np.uint8)])

    def check() -> None:
        found = accepted(
            lambda: metrics.expected_calibration_error(probabilities, pack(labels), num_bins)
        )
        bins: dict[int, list[tuple[float, bool]]] = {}
        for row, label in zip(probabilities.tolist(), labels, strict=True):
            top = max(row)
            place = min(int(top * num_bins), num_bins - 1)
            bins.setdefault(place, []).append((top, row.index(top) == label))
        error = 0.0
        for members in bins.values():
            confidence = sum(top for top, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            error += len(members) / rows * abs(confidence - accuracy)
        assert math.isclose(found, error, abs_tol=1e-9)

    return check


def _temperature(rng: random.Random) -> Case:
    rows, classes = rng.randint(1, 40), rng.randint(1, 4)
    scale = rng.choice([0.01, 1, 30])
    logits = np.array([[rng.gauss(0, scale) for _ in range(classes)] for _ in range(rows)])
    labels = np.array([rng.randrange(classes) for _ in range(rows)])

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits / temperature, axis=1)[np.arange(rows), labels].mean())

    def check() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = accepted(lambda: metrics.fit_temperature(logits, labels))
        grid = np.exp(np.linspace(-6, 6, 241))
        losses = [loss(temperature) for temperature in grid]
        inside = [value for t, value in zip(grid, losses, strict=True) if 0.019 < t < 54]
        assert loss(found) <= min(inside) + 1e-6
        if min(losses) < loss(found) - 1e-6:
            assert any("beyond" in str(one.message) for one in caught)

    return check


def _mean_interval(rng: random.Random) -> Case:
    seeds, items, seed = rng.randint(1, 3), rng.randint(2, 40), rng.randrange(1000)
    kind = rng.choice([bool, float])
    values = np.array([[kind(rng.random() < 0.7) if kind is bool else rng.random()
                        for _ in range(items)] for _ in range(seeds)])  # fmt: skip
    given = rng.choice([values, values.tolist()])

    def check() -> None:
        found = accepted(lambda: metrics.mean_interval(given, random_state=seed))
        assert math.isclose(found.estimate, values.mean())
        assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
        assert found == metrics.mean_interval(values, random_state=seed)
        wider = metrics.mean_interval(given, level=0.99, random_state=seed)
        assert wider.low <= found.low and found.high <= wider.high
        nothing = metrics.paired_interval(given, given, random_state=seed)
        assert (nothing.low, nothing.estimate, nothing.high) == (0, 0, 0)
        if seeds == 1:
            spread = values.std() / math.sqrt(items)
            assert found.high - found.low < 5 * spread + 1e-9

    return check


def _mcnemar(rng: random.Random) -> Case:
    pairs = [(rng.random() < 0.7, rng.random() < 0.6) for _ in range(rng.randint(1, 60))]
    kind = rng.choice([bool, int, float])
    a, b = [kind(one) for one, _ in pairs], [kind(two) for _, two in pairs]

    def check() -> None:
        found = accepted(lambda: metrics.mcnemar_p(a, b))
        more = sum(one and not two for one, two in pairs)
        fewer = sum(two and not one for one, two in pairs)
        n = more + fewer
        tail = sum(math.comb(n, k) for k in range(min(more, fewer) + 1)) / 2**n
        assert math.isclose(found, min(1.0, 2 * tail) if n else 1.0)
        assert not n or math.isclose(found, stats.binomtest(more, n).pvalue)

    return check


def _entities(rng: random.Random) -> Case:
    gold = [_any_row(rng) or ["O"] for _ in range(rng.randint(1, 5))] + [["O", "B-PER"]]
    guess = [[rng.choice([tag, *_any_row(rng, 2)]) for tag in row] for row in gold]

    def check() -> None:
        found = accepted(lambda: metrics.entity_scores(gold, guess))
        renamed = [[[tag.replace("work-of-art", "ART") for tag in row] for row in rows]
                   for rows in (gold, guess)]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert math.isclose(found["f1"], seqeval_f1(*renamed))
        counts = metrics.entity_counts(gold, guess)
        right, guessed, true = counts.sum(axis=0)
        errors = Counter(error.kind for error in metrics.entity_errors(gold, guess))
        assert true == right + sum(errors.values()) - errors["invented"]
        assert guessed == right + sum(errors.values()) - errors["missed"]
        assert math.isclose(metrics.f1_interval(counts).estimate, found["f1"])
        same = metrics.paired_f1_interval(counts, counts)
        assert (same.low, same.estimate, same.high) == (0, 0, 0)

    return check


# For two rows of two classes; none of these is two class indices.
NO_INDICES = [None, 0, "01", b"01", [], [0], [0, 1, 0], ["0", "1"], ["a", "b"], [1, 2], [0, -1],
              [0, None], [0, math.nan], [0.5, 1], [[0], [1]], [[0, 1]], {0: 1, 1: 0}, {0, 1},
              [0, "1"], [b"0", b"1"], [Decimal(0), 1], [0, 10**30], np.array([0, 1j]), object(),
              pd.DataFrame({"a": [0, 1]}), np.array([0, 2], dtype=np.uint8), iter([0, 1]),
              [[0], [1, 0]], pd.Series([0, None]), [0, math.inf]]  # fmt: skip
# None of these is a list of finite numbers.
NO_NUMBERS = [None, "1", b"1", ["1", "0"], ["a"], [None], [1, None], [math.nan, 1], [1, math.inf],
              [], {}, {1: 2}, {1, 2}, [[1], [1, 2]], [1j], object(), [object()], [Decimal(1)],
              [10**400], np.array(["1"]), np.array([pd.NA, 1], dtype=object), iter([1.0]),
              np.array(["2020-01-01"], dtype="datetime64[D]"), 1.0, True]  # fmt: skip


def _odd_labels(rng: random.Random) -> Case:
    labels, two = rng.choice(NO_INDICES), np.array([[0.9, 0.1], [0.2, 0.8]])
    calls = [
        lambda: metrics.reliability(two, labels),
        lambda: metrics.expected_calibration_error(two, labels),
        lambda: metrics.fit_temperature(two, labels),
    ]
    call = rng.choice(calls)
    return lambda: refused(call)


def _odd_scores(rng: random.Random) -> Case:
    odd = rng.choice(NO_NUMBERS)
    table = rng.choice([odd, [odd], [[1.0, odd]], [[0.9, 0.2]], [[-0.5, 1.5]], [0.5, 0.5]])
    bins = rng.choice([0, -1, 10**9, 10**30, 1.0, "10", True, None, math.nan, [10]])
    calls = [
        lambda: metrics.reliability(table, [0]),
        lambda: metrics.expected_calibration_error(table, [0]),
        lambda: metrics.fit_temperature(odd, [0]),
        lambda: metrics.reliability([[0.9, 0.1]], [0], bins),
    ]
    call = rng.choice(calls)
    # [[1.0, True]] is one of these: its row does not sum to 1, and as logits it is not passed.
    return lambda: refused(call)


def _odd_values(rng: random.Random) -> Case:
    odd = rng.choice(NO_NUMBERS)
    level = rng.choice([0, 1, 95, -0.5, "0.95", None, math.nan, True, [0.95]])
    seed = rng.choice([-1, "1", 1.5, True, [1], 2**32, math.nan])
    ones = [1, 0, 1]
    mixed = rng.choice(
        [None, ["a", None], ["a", 1], [0, 1], [0.5, 1], {"a": 1}, "ab", [b"a", b"b"]]
    )
    calls = [
        lambda: metrics.mean_interval(odd),
        lambda: metrics.paired_interval(odd, ones),
        lambda: metrics.paired_interval(ones, odd),
        lambda: metrics.paired_interval(ones, [1, 0]),
        lambda: metrics.mean_interval(ones, level=level),
        lambda: metrics.mean_interval(ones, random_state=seed),
        lambda: metrics.mean_interval([[1], [0]]),
        lambda: metrics.mcnemar_p(odd, ones),
        lambda: metrics.mcnemar_p([1, 2, 0], ones),
        lambda: metrics.f1_interval(odd),
        lambda: metrics.f1_interval([[1, 1, 1]], level=level),
        lambda: metrics.f1_interval([[2, 1, 1]]),
        lambda: metrics.paired_f1_interval([[1, 1, 1]], odd),
        lambda: metrics.paired_f1_interval([[1, 1, 1]], [[1, 1, 2]]),
        lambda: metrics.mean_and_deviation(odd),
        lambda: metrics.classification_scores(["1", "0"], [1, 0]),
        lambda: metrics.classification_scores(mixed, ["a", "b"]),
    ]
    call = rng.choice(calls)
    return lambda: refused(call)
