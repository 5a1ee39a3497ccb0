"""The demonstrations in a prompt, in whichever of the usual formats a user writes them.

Part of `reptune.prompt2model.prompt`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from reptune.prompt2model.task import Demonstration

Pair = tuple[str, str | None]  # without an output, None
Span = tuple[int, int]
Found = tuple[list[Pair], list[Span]]  # demonstrations, and where they stand in the prompt

MOST_DEMONSTRATIONS = 200
LONGEST_LABEL = 5  # words

_INPUT = "input|text|sentence|question|prompt|source|q|入力|输入|輸入|eingabe|entrée|entrada"
_OUTPUT = "output|label|answer|completion|target|result|a|出力|输出|輸出|ausgabe|sortie|salida"
_QUOTES = {'"': '"', "'": "'", "“": "”", "「": "」", "『": "』", "«": "»", "„": "“", "‘": "’"}
_ARROW = re.compile(r"-{1,3}>|={1,3}>|[→⇒⟶↦]")
BULLET = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.)])\s+")
_HEADER = re.compile(
    r"(?:^|(?<=[.!?。])[ \t]*|(?<=\n)[ \t]*)"
    r"(?:here (?:are|is) (?:\w+ ){0,2}examples?(?:[^:\n]{0,100}(?=[:：]))?|(?:some |for )?examples?"
    r"|e\.g\.|demonstrations?|beispiele?|exemples?|ejemplos?|例如|例子|示例|例)[ \t]*[:：]?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def split_prompt(text: str) -> tuple[list[Pair], str]:
    """Return a prompt's demonstrations, and the rest of it."""
    pairs: list[Pair] = []
    for find in (_assigned, _in_json, _in_table, _marked, _arrows, _in_prose, _after_labels):
        found, spans = find(text)
        if not spans:
            continue
        pairs = found
        for start, end in reversed(spans):
            text = f"{text[:start]}\n{text[end:]}"
        text = _HEADER.sub("", text)
        break
    return pairs, re.sub(r"\n\s*\n\s*", "\n\n", text).strip()


def _assigned(text: str) -> Found:
    """Find `input="…" output="…"`, with quotes inside too."""
    quoted = r"[\"“]((?:(?!\binput\s?=).){0,4000}?)[\"”]"
    pattern = re.compile(
        rf"\binput\s*=\s*{quoted}\s*,?\s*(?:output\s*=\s*{quoted}(?=\s*(?:$|input\s*=|\n))|(?=\n\n|$))",
        re.DOTALL | re.IGNORECASE,
    )
    matches = list(pattern.finditer(text))
    return [(m[1], m[2]) for m in matches], [m.span() for m in matches]


def _in_json(text: str) -> Found:
    """Find JSON objects, or lists of them, that hold an input and an output."""
    decoder, pairs, spans, start = json.JSONDecoder(), [], [], 0
    opening = re.compile(r"\{\s*\"|\[\s*\{\s*\"")
    for _ in range(10 * MOST_DEMONSTRATIONS):  # a list is one
        match = opening.search(text, start)
        if match is None:
            break
        try:
            value, start = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            start = match.end()
            continue
        found = [_pair_of(row) for row in (value if isinstance(value, list) else [value])]
        if all(found):
            pairs += found
            spans.append((match.start(), start))
    return pairs, spans


def _pair_of(row: Any) -> Pair | None:
    """Return an object's input and output, if it has both or the input alone."""
    if not isinstance(row, dict):
        return None
    fields = {str(name).lower(): _plain(value) for name, value in row.items()}
    given = [fields[name] for name in _INPUT.split("|") if name in fields]
    wanted = [fields[name] for name in _OUTPUT.split("|") if name in fields]
    return (given[0], wanted[0] if wanted else None) if given else None


def _plain(value: Any) -> str:
    """Return a value of JSON as text: a list's elements, not Python's brackets and quotes."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_table(text: str) -> Found:
    """Find the rows of a table with two columns, less its header."""
    row = re.compile(r"^[ \t]*\|([^|\n]*)\|([^|\n]*)\|?[ \t]*$", re.MULTILINE)
    matches = list(row.finditer(text))
    rule = [i for i, m in enumerate(matches) if re.fullmatch(r"[\s:|-]+", m[0])]
    rows = matches[rule[0] + 1 :] if rule else matches
    pairs = [(unquoted(m[1]), unquoted(m[2])) for m in rows]
    return pairs, [m.span() for m in matches]


def _marked(text: str) -> Found:
    """Find texts after two words with a colon that take turns, known ones or such that repeat."""
    first, second = _markers(text)
    if not first:
        return [], []
    mark = re.compile(
        rf"(?:(?<=\s)|^)(?:(?P<first>{first})|(?P<second>{second}))[ \t]*\d*[ \t]*[:：][ \t]*",
        re.IGNORECASE | re.MULTILINE,
    )
    marks = list(mark.finditer(text))
    pairs: list[Pair] = []
    spans: list[Span] = []
    for index, m in enumerate(marks):
        following = marks[index + 1].start() if index + 1 < len(marks) else len(text)
        # The last value ends with its paragraph; what follows is instruction again.
        last = index + 1 == len(marks) or marks[index + 1]["first"] is not None
        stop = re.search(r"\n[ \t]*\n|\n-{3,}" if last else r"\Z", text[m.end() : following])
        end = m.end() + stop.start() if stop else following
        value = unquoted(text[m.end() : end])
        if m["first"] is not None:
            pairs.append((value, None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], value)
        else:
            continue
        rule = re.match(r"\s*\n-{3,}[ \t]*", text[end:])
        spans.append((m.start(), end + (rule.end() if rule else 0)))
    return pairs, spans


def _markers(text: str) -> tuple[str, str]:
    """Return patterns for the word before an input and the word before an output, or none."""
    start = r"(?:^|(?<=\s))"
    known = (
        re.search(rf"{start}({_INPUT})[ \t]*\d*[ \t]*[:：]", text, re.I | re.M),
        re.search(rf"{start}({_OUTPUT})[ \t]*\d*[ \t]*[:：]", text, re.I | re.M),
    )
    if known[0] and known[1] and known[0].start() < known[1].start():
        return re.escape(known[0][1]), re.escape(known[1][1])
    words = re.findall(r"^[ \t]*([^\W\d]\w{0,20})[ \t]*[:：][ \t]*\S", text, re.MULTILINE)
    turns = list(zip(words[::2], words[1::2], strict=False))
    common = Counter(turns).most_common(1)
    if common and common[0][1] >= 2 and common[0][0][0] != common[0][0][1]:
        pair = common[0][0]
        if words.count(pair[0]) == words.count(pair[1]) == common[0][1]:
            return re.escape(pair[0]), re.escape(pair[1])
    header = _HEADER.search(text)
    after = text[header.end() :] if header else ""
    once = re.match(r"\s*(\w{2,20})[:：].{1,2000}?\s(\w{2,20})[:：]", after, re.DOTALL)
    return (re.escape(once[1]), re.escape(once[2])) if once and once[1] != once[2] else ("", "")


def _arrows(text: str) -> Found:
    """Find `"…" -> …`, a line each, or after a sentence on its line."""
    pairs, spans, place = [], [], 0
    for line in text.split("\n"):
        start, place = place, place + len(line) + 1
        parts = _ARROW.split(line)
        if len(parts) != 2 or not parts[0].strip():
            continue
        given = BULLET.sub("", parts[0]).strip()
        opens = [i for i, c in enumerate(given) if c in _QUOTES and given[-1] == _QUOTES[c]]
        if opens and opens[0] < len(given) - 1:
            spans.append((start + line.index(given) + opens[0], start + len(line)))
            if not given[: opens[0]].strip():
                spans[-1] = (start, start + len(line))
            given = given[opens[0] :]
        else:
            spans.append((start, start + len(line)))
        pairs.append((unquoted(given), unquoted(parts[1])))
    return pairs, spans


def _in_prose(text: str) -> Found:
    """Find `Example: "…" should give ….`."""
    pattern = re.compile(
        r"(?:for )?(?:examples?|e\.g\.)[:,]?\s*[\"“]([^\"”\n]{1,2000})[\"”],?\s*"
        r"(?:should (?:give|be|become|get)|gives|becomes|is|means|→)\s*([^\n]{1,200}?)\.?[ \t]*$",
        re.IGNORECASE | re.MULTILINE,
    )
    matches = list(pattern.finditer(text))
    return [(m[1], unquoted(m[2])) for m in matches], [m.span() for m in matches]


def _after_labels(text: str) -> Found:
    """Find lines `label: text` of which some share a label, or lines `text: label`."""
    lines = list(re.finditer(r"^[ \t]*([^:：\n]+)[:：][ \t]*(\S[^\n]*)$", text, re.MULTILINE))
    for of_label, of_text in ((1, 2), (2, 1)):
        labels = Counter(unquoted(m[of_label]) for m in lines)
        if len(lines) > 2 and 1 < len(labels) < len(lines) and all(map(is_short, labels)):
            pairs = [(unquoted(m[of_text]), unquoted(m[of_label])) for m in lines]
            return pairs, [m.span() for m in lines]
    return [], []


def unquoted(text: str) -> str:
    """Return a text without bullets, space and one pair of quotes around it."""
    text = BULLET.sub("", text).strip()
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == _QUOTES[text[0]]:
        return text[1:-1].strip()
    return text


def is_short(text: str) -> bool:
    """Return whether a text may be a label; a character of Chinese takes three bytes."""
    return bool(text) and len(text.split()) <= LONGEST_LABEL and len(text.encode()) <= 48


def usable(pairs: list[Pair], notes: list[str]) -> tuple[Demonstration, ...]:
    """Return the demonstrations that can be used, and note what was wrong with others.

    An empty output is one, such as of an extraction that finds nothing, unless all are empty.
    """
    some = any((output or "").strip() for _, output in pairs)
    kept = [Demonstration(i, o) for i, o in pairs if i.strip() and some and o is not None]
    if len(kept) < len(pairs):
        notes.append(f"demonstrations without an output, left out: {len(pairs) - len(kept)}")
    if len(kept) > MOST_DEMONSTRATIONS:
        notes.append(
            f"only the first {MOST_DEMONSTRATIONS} of {len(kept)} demonstrations are kept; pass "
            "the others as a file of rows to learn from"
        )
        kept = kept[:MOST_DEMONSTRATIONS]
    outputs: dict[str, set[str]] = {}
    for shown in kept:
        outputs.setdefault(shown.input, set()).add(shown.output)
    for given, wanted in outputs.items():
        if len(wanted) > 1:
            notes.append(f"the demonstrations give {sorted(wanted)} for the same {given[:60]!r}")
    return tuple(dict.fromkeys(kept))
