"""From a prompt to a task: its instruction, demonstrations, kind and labels, without a model.

The original asks a large model for JSON, up to five times, and takes the rightmost JSON in what
comes back. Here rules read the prompt: the same prompt gives the same task at once, nothing that
the prompt orders is obeyed, and where the rules find no task they say so (`kind` is `None`).
`studies/ch07_prompts.py` scores them on prompts labeled by hand.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from reptune.models.prompts import check_text
from reptune.prompt2model.task import Demonstration, Kind, Task

Pair = tuple[str, str | None]  # without an output, None
Span = tuple[int, int]
Found = tuple[list[Pair], list[Span]]  # demonstrations, and where they stand in the prompt

MOST_CHARACTERS = 20_000
MOST_DEMONSTRATIONS = 200
LONGEST_TRANSLATED = 2_000  # characters of an instruction
LONGEST_LABEL = 5  # words


class PromptParser(Protocol):
    """What turns a prompt into a task; `parse_prompt` is one.

    >>> parser: PromptParser = parse_prompt
    >>> parser("Sort e-mails into spam and ham.").labels
    ('spam', 'ham')
    """

    def __call__(self, prompt: str, *, translate: Callable[[str], str] | None = None) -> Task:
        """Return the task that a prompt describes."""


class Generates(Protocol):
    """What a translator needs of a teacher."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float,
        stop: Sequence[str],
        random_state: int | None,
    ) -> list[str]:
        """Let the model go on with each prompt."""


def parse_prompt(prompt: str, *, translate: Callable[[str], str] | None = None) -> Task:
    """Read a prompt: split off the demonstrations, find the kind of task and its labels.

    Demonstrations may be written as `input="…" output="…"`, with two words and a colon that take
    turns (`Input: … Output: …`), with an arrow, as a table, as JSON, or as lines `label: text`.
    Those without an output are left out, with a note.

    Args:
        prompt: What a user wrote, 20,000 characters at most.
        translate: From an instruction in another language to English, such as `translator` makes;
            `None` keeps instructions as they are. What comes back empty or not in English is not
            used, with a note.

    Returns:
        The task; `kind` is `None` where the prompt does not say what to do, and a note tells what
        to add.

    Raises:
        ValueError: If the prompt is no string, empty or too long.

    Source: Viswanathan et al., *Prompt2Model* (2023), section 3.1; chapter 7.

    >>> task = parse_prompt('Is a review positive or negative? "A dull film" -> negative')
    >>> task.kind, task.labels, task.demonstrations[0].input
    ('classification', ('positive', 'negative'), 'A dull film')
    """
    text, notes = _cleaned(prompt)
    pairs, instruction = _split(text)
    demonstrations = _checked_demonstrations(pairs, notes)
    language = _language(instruction or text)
    english = _translated(instruction, language, translate, notes)
    both = instruction if english == instruction else f"{instruction}\n{english}"
    kind = _kind(both, demonstrations)
    labels, demonstrations = _labels(kind, instruction, demonstrations, notes)
    has_question = kind == "extraction" and _asks(both, demonstrations)
    if kind is None:
        notes.append(
            "the prompt does not say what to do with an input; add a sentence that does, such as "
            "'Classify each message as spam or not spam.' or 'Summarize each text.'"
        )
    if _ORDERS.search(instruction):
        notes.append("orders to a system in the prompt are text like any other and are not obeyed")
    return Task(
        prompt=prompt,
        instruction=english,
        demonstrations=demonstrations,
        kind=kind,
        labels=() if has_question else labels,
        has_question=has_question,
        language=language,
        notes=tuple(notes),
    )


def _cleaned(prompt: str) -> tuple[str, list[str]]:
    """Return a prompt's text without control characters, and notes on what is gone."""
    check_text("prompt", prompt)
    if len(prompt) > MOST_CHARACTERS:
        raise ValueError(
            f"the prompt has {len(prompt):,} characters, and {MOST_CHARACTERS:,} at most are read; "
            "describe the task in a few sentences, and pass rows to learn from as a file."
        )
    text = re.sub(r"\r\n?|[\u2028\u2029\x0b\x0c]", "\n", prompt).replace("\ufeff", "")
    kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
    if not kept.strip():
        raise ValueError(f"prompt={prompt[:40]!r} is empty; say in a sentence what the model does.")
    gone = len(text) - len(kept)
    return kept, [f"{gone} control characters were removed"] if gone else []


# --- demonstrations ------------------------------------------------------------------------------

_INPUT = "input|text|sentence|question|prompt|source|q|入力|输入|輸入|eingabe|entrée|entrada"
_OUTPUT = "output|label|answer|completion|target|result|a|出力|输出|輸出|ausgabe|sortie|salida"
_QUOTES = {'"': '"', "'": "'", "“": "”", "「": "」", "『": "』", "«": "»", "„": "“", "‘": "’"}
_ARROW = re.compile(r"-{1,3}>|={1,3}>|[→⇒⟶↦]")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.)])\s+")
_HEADER = re.compile(
    r"(?:^|(?<=[.!?。])[ \t]*|(?<=\n)[ \t]*)"
    r"(?:here (?:are|is) (?:some |a few |an |two |three )?examples?|(?:some |for )?examples?"
    r"|e\.g\.|demonstrations?|beispiele?|exemples?|ejemplos?|例如|例子|示例|例)[ \t]*[:：]?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def _split(text: str) -> tuple[list[Pair], str]:
    """Return a prompt's demonstrations, and the rest of it."""
    pairs: list[Pair] = []
    for find in (_assigned, _in_json, _in_table, _marked, _arrows, _in_prose, _after_labels):
        found, spans = find(text)
        if not spans:
            continue
        pairs = found[:MOST_DEMONSTRATIONS]
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
    for _ in range(MOST_DEMONSTRATIONS):
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
    pairs = [(_unquoted(m[1]), _unquoted(m[2])) for m in rows]
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
        value = _unquoted(text[m.end() : end])
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
        given = _BULLET.sub("", parts[0]).strip()
        opens = [i for i, c in enumerate(given) if c in _QUOTES and given[-1] == _QUOTES[c]]
        if opens and opens[0] < len(given) - 1:
            spans.append((start + line.index(given) + opens[0], start + len(line)))
            if not given[: opens[0]].strip():
                spans[-1] = (start, start + len(line))
            given = given[opens[0] :]
        else:
            spans.append((start, start + len(line)))
        pairs.append((_unquoted(given), _unquoted(parts[1])))
    return pairs, spans


def _in_prose(text: str) -> Found:
    """Find `Example: "…" should give ….`."""
    pattern = re.compile(
        r"(?:for )?(?:examples?|e\.g\.)[:,]?\s*[\"“]([^\"”\n]{1,2000})[\"”],?\s*"
        r"(?:should (?:give|be|become|get)|gives|becomes|is|means|→)\s*([^\n]{1,200}?)\.?[ \t]*$",
        re.IGNORECASE | re.MULTILINE,
    )
    matches = list(pattern.finditer(text))
    return [(m[1], _unquoted(m[2])) for m in matches], [m.span() for m in matches]


def _after_labels(text: str) -> Found:
    """Find lines `label: text` of which some share a label, or lines `text: label`."""
    lines = list(re.finditer(r"^[ \t]*([^:：\n]+)[:：][ \t]*(\S[^\n]*)$", text, re.MULTILINE))
    for of_label, of_text in ((1, 2), (2, 1)):
        labels = Counter(_unquoted(m[of_label]) for m in lines)
        if len(lines) > 2 and 1 < len(labels) < len(lines) and all(map(_is_short, labels)):
            pairs = [(_unquoted(m[of_text]), _unquoted(m[of_label])) for m in lines]
            return pairs, [m.span() for m in lines]
    return [], []


def _unquoted(text: str) -> str:
    """Return a text without bullets, space and one pair of quotes around it."""
    text = _BULLET.sub("", text).strip()
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == _QUOTES[text[0]]:
        return text[1:-1].strip()
    return text


def _is_short(text: str) -> bool:
    """Return whether a text may be a label; a character of Chinese takes three bytes."""
    return bool(text) and len(text.split()) <= LONGEST_LABEL and len(text.encode()) <= 48


def _checked_demonstrations(pairs: list[Pair], notes: list[str]) -> tuple[Demonstration, ...]:
    """Return the demonstrations that can be used, and note what was wrong with others.

    An empty output is one, such as of an extraction that finds nothing, unless all are empty.
    """
    some = any((output or "").strip() for _, output in pairs)
    kept = [Demonstration(i, o) for i, o in pairs if i.strip() and some and o is not None]
    if len(kept) < len(pairs):
        notes.append(f"{len(pairs) - len(kept)} demonstrations lack an output and were left out")
    outputs: dict[str, set[str]] = {}
    for shown in kept:
        outputs.setdefault(shown.input, set()).add(shown.output)
    for given, wanted in outputs.items():
        if len(wanted) > 1:
            notes.append(f"the demonstrations give {sorted(wanted)} for the same {given[:60]!r}")
    return tuple(dict.fromkeys(kept))


# --- language and translation --------------------------------------------------------------------

_SCRIPTS = (("ja", "HIRAGANA KATAKANA"), ("ko", "HANGUL"), ("zh", "CJK"), ("ru", "CYRILLIC"),
            ("ar", "ARABIC"), ("he", "HEBREW"), ("el", "GREEK"), ("hi", "DEVANAGARI"),
            ("th", "THAI"))  # fmt: skip
# Words that every few sentences hold and that are no words of the others.
_FREQUENT = {
    "en": "the of to and is a an in that or for with this from each it are whether i my be into",
    "de": "der die das und ist ein eine einer jede jeden oder nicht mit für zu von den dem",
    "fr": "le la les des et est un une dans pour du que ou ce cette avec en",
    "es": "el los las y es un una en para del que o este con por si",
}
_NAMES = {"ja": "Japanese", "zh": "Chinese", "ko": "Korean", "de": "German", "fr": "French",
          "es": "Spanish", "ru": "Russian"}  # fmt: skip


def _language(text: str) -> str:
    """Return a text's language by its script, and among Latin ones by its frequent words."""
    letters = [c for c in text if c.isalpha()]
    scripts = Counter(unicodedata.name(c, "").split()[0] for c in letters if not c.isascii())
    for code, names in _SCRIPTS:
        # A prompt in Japanese or Chinese may hold more Latin letters than its own, as labels.
        if sum(scripts[name] for name in names.split()) >= max(1, len(letters) // 5):
            return code
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    counts = {code: sum(words[w] for w in known.split()) for code, known in _FREQUENT.items()}
    best = max(counts, key=counts.__getitem__)  # English, which stands first, where none is ahead
    return best


def _translated(
    text: str, language: str, translate: Callable[[str], str] | None, notes: list[str]
) -> str:
    """Return an instruction in English, or as it is where that fails, with a note."""
    if language == "en" or translate is None or not text:
        return text
    refusal = f"the instruction was not translated from {_NAMES.get(language, language)!r}: "
    if len(text) > LONGEST_TRANSLATED:
        notes.append(f"{refusal}it has more than {LONGEST_TRANSLATED:,} characters")
        return text
    try:
        english = translate(text)
    except ValueError as error:
        notes.append(f"{refusal}{error}")
        return text
    problem = _translation_problem(text, english)
    if problem:
        notes.append(f"{refusal}{problem}")
        return text
    return english.strip()


def _translation_problem(text: str, english: Any) -> str:
    """Return why a translation cannot be one, empty where it can."""
    if not isinstance(english, str) or not english.strip():
        return "nothing came back"
    letters = [c for c in english if c.isalpha()]
    if sum(c.isascii() for c in letters) < 0.7 * max(1, len(letters)) or english.strip() == text:
        return f"what came back is not in English ({english.strip()[:60]!r})"
    if len(english) > 10 * len(text) + 200:
        return f"what came back is {len(english):,} characters long"
    return ""


def translator(teacher: Generates, *, max_new_tokens: int = 200) -> Callable[[str], str]:
    """Return a function that lets a teacher translate an instruction to English.

    The teacher sees two translations and goes on with the third, once, likeliest tokens only.

    Args:
        teacher: What generates.
        max_new_tokens: Length of a translation at most.

    >>> class Echo:
    ...     def generate(self, prompts, **options):
    ...         return [" Summarize a text."]
    >>> translator(Echo())("文章を要約してください。")
    'Summarize a text.'
    """

    def translate(text: str) -> str:
        line = " ".join(text.split())
        name = _NAMES.get(_language(text), "Original")
        prompt = (
            "Instructions for a program, translated to English.\n\n"
            "Japanese: 次の文章に題名を付けてください。\n"
            "English: Give the following text a title.\n\n"
            "Chinese: 判断邮件是“紧急”还是“普通”。\n"
            'English: Decide whether an e-mail is "urgent" or "normal".\n\n'
            f"{name}: {line}\nEnglish:"
        )
        answers = teacher.generate(
            [prompt], max_new_tokens=max_new_tokens, temperature=0.0, stop=("\n",), random_state=0
        )
        return answers[0].strip() if answers else ""

    return translate


# --- kind ----------------------------------------------------------------------------------------

# At the start of a sentence or after such words a verb is what the model shall do.
_ORDER = r"(?:^|[.!?:;,。]\s*|\b(?:please|to|can you|should|must|will|that|and|then|job is)\s+)"
_CUES: dict[Kind, tuple[str, ...]] = {
    "classification": (
        r"\bclassif", r"\bcategori[sz]", r"\b(?:class|categor|label)(?:es|ies|s)?\b",
        r"\bsort\b[^.\n]{0,60}\binto\b", r"\bassign\b", r"\broute\b", r"\bmoderate\b",
        r"\b(?:put|divide|group)s?\b[^.\n]{0,60}\b(?:into|in one)\b", r"\brate\b", r"\bwhether\b",
        r"\bpositive\W+(?:or|and|/)\W+negative", r"\byes\W+(?:or|/)\W+no\b", r"\bsentiment\b",
        r"\bdetect(?:s|ion)?\b", r"\bdecide\b", r"\bpredict\b", r"\bidentify (?:the|which)\b",
        r"\bwh(?:at|ich) (?:mood|kind|type|class|category|topic|genre|language|emotion)\b",
        r"\btell\w* (?:me )?(?:which|if|whether)\b", r"\b\w+ or not(?: \w+)?\b",
        "分類", "判定", "判別", "分类", "判断", "分为", "归类", "分成", "분류", "판단",
        r"\bordne\b", r"\bklassifi", r"\bclasse[rz]?\b", r"\bclasific",
    ),
    "extraction": (
        r"\bextract", r"\bpull\b[^.\n]{0,60}\b(?:out|from)\b", r"\bnamed entit", r"\bhighlight",
        rf"{_ORDER}(?:mark|copy|list|locate|underline|spot|tag)\b",
        rf"{_ORDER}find\b(?! out| (?:the |its )?(?:sentiment|topic|class|category|label))",
        r"\bcopied from\b", r"\bword for word\b", r"\bverbatim\b", r"\bexactly as\b",
        r"\bspans?\b", r"\bfrom (?:each|every) \w+ i want\b", r"\bwhich words\b",
        "抜き出", "抽出", "抽取", "提取", "找出", "原文", "추출", r"\bextrahier", r"\bfinde\b",
        r"\bextrai", r"\bextrae",
    ),
    "text": (
        rf"{_ORDER}(?:write|generate|turn|convert|correct|expand|compose|normali[sz]e|simplify|"
        r"explain|shorten|fix|answer|create|give|reply|continue|complete|describe|invent)\b",
        r"\btranslat", r"\bsummar", r"\brewrit", r"\bparaphras", r"\brephras", r"\bnormali[sz]ed\b",
        r"\bwritten (?:as|out)\b", r"\btitle for\b", "要約", "書き換え", "書いて", "翻訳", "生成",
        "翻译", "总结", "摘要", "改写", "写", "요약", "번역", r"\bschreib", r"\bübersetz",
        r"\bfasse\b", r"\brésum", r"\btradui", r"\bécri", r"\btraduce", r"\bescrib", r"\bresum",
    ),
}  # fmt: skip
_KINDS = {
    kind: [re.compile(cue, re.IGNORECASE | re.MULTILINE) for cue in cues]
    for kind, cues in _CUES.items()
}
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\b[^.\n]{0,40}\b(?:above|previous|instructions?|prompt)\b"
    r"|\bsystem prompt\b|忽略(?:以上|之前)|(?:上|以前)の指示を無視",
    re.IGNORECASE,
)


def _kind(text: str, demonstrations: Sequence[Demonstration]) -> Kind | None:
    """Return the kind for which most speaks, words and demonstrations; `None` if nothing does."""
    points = {
        kind: sum(cue.search(text) is not None for cue in cues) for kind, cues in _KINDS.items()
    }
    shown = _shown_kind(demonstrations)
    if shown is not None:
        points[shown] += 2
    if _asks(text, demonstrations):
        points["extraction"] += 2
    if (points["classification"] or "?" in text) and len(_named_labels(text)) > 1:
        points["classification"] += 1
    best = max(points.values())
    leading = [kind for kind, number in points.items() if number == best]
    if not best:
        return None
    return min(leading, key=lambda kind: _first(text, kind))


def _first(text: str, kind: Kind) -> int:
    """Return where the first cue of a kind stands: what a prompt asks for mostly comes first."""
    found = [match.start() for cue in _KINDS[kind] if (match := cue.search(text))]
    return min(found, default=len(text))


def _shown_kind(demonstrations: Sequence[Demonstration]) -> Kind | None:
    """Return the kind that the outputs look like: parts of the inputs, few and short, or others."""
    outputs = [shown.output for shown in demonstrations]
    if not outputs:
        return None
    parts = [
        part.partition(":")[2].strip() or part.strip()
        for shown in demonstrations
        for part in re.split(r"[,;、\n]", shown.output)
        if part.strip()
    ]
    inputs = "\n".join(shown.input for shown in demonstrations)
    if parts and all(part in inputs for part in parts):
        return "extraction"
    repeated = len(set(outputs)) < len(outputs)
    if repeated and all(map(_is_short, outputs)):
        return "classification"
    long = any(not _is_short(output) for output in outputs)
    return "text" if long else None


_ASKED = re.compile(
    r"\banswer(?:s|ing)? (?:to )?(?:\w+ ){0,3}questions?\b|\bquestion\b[^.\n]{0,40}\b(?:and|with) "
    r"|質問.*答|问题.*答|答.*问题|回答.*问题|질문.*답|\bfragen? beantwort|\bréponds? à|\bresponde",
    re.IGNORECASE | re.DOTALL,
)
_PASSAGE = re.compile(
    r"\b(?:passage|context|paragraph|text|article|document|clause|page|contract)s?\b"
    r"|文章|段落|本文|문서|\babsatz|\bparagraphe|\bpárrafo",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\bquestion\b.*\b(?:context|passage)\b|质问.*文章", re.IGNORECASE | re.DOTALL)


def _asks(text: str, demonstrations: Sequence[Demonstration]) -> bool:
    """Return whether the input holds a question and a passage with its answer."""
    said = bool(_ASKED.search(text) and _PASSAGE.search(text))
    return said or (bool(demonstrations) and all(_BOTH.search(d.input) for d in demonstrations))


# --- labels --------------------------------------------------------------------------------------

_ITEM = r"[\"“'‘]?\w[\w'’-]*(?: [\w'’-]+){0,3}[\"”'’]?"
_OR = rf"{_ITEM}(?:, ?{_ITEM})*,? (?:or|oder|ou|o|u) {_ITEM}"
_AND = rf"{_ITEM}(?:, ?{_ITEM})*,? (?:and|or|und|oder|et|ou|y|o|&) {_ITEM}"
_COMMAS = rf"{_ITEM}(?: ?[,/|;] ?{_ITEM})+"
_NAMED = (
    r"\b(?:labels?|class(?:es)?|categor(?:y|ies)|tags?|types?|outputs?|options?|departments?|teams?"
    r"|abteilungen|kategorien|catégories|categorías)(?: (?:are|is|zu))? ?[:=] ?"
)
_LISTS = [
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        rf"{_NAMED}(?P<list>{_AND}|{_COMMAS})",
        rf"\((?P<list>{_COMMAS}|{_OR})\)",
        rf"\b(?:into|one of|either|between)(?: the)?(?: (?:classes|categories|groups))?:? "
        rf"(?P<list>{_AND}|{_COMMAS})",
        rf"\b(?:answer|return|say|output|reply|respond)(?: with)?:? (?P<list>{_OR}|{_COMMAS})",
        rf"(?:^|(?<=[.!?:]\s))is (?:an?|the|this|each|every) \w+ (?P<list>{_OR})",
        rf"\b(?:is|are|as|to|zu:|est|es)(?: an?)? (?P<list>{_OR})",
        rf"^[^\w\n]*(?P<list>{_OR})(?=\?)",
    )
]  # fmt: skip
_TYPES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NAMED}(?P<list>{_AND}|{_COMMAS})",
        rf"\bnames? of (?:all )?(?P<list>{_AND})",
        rf"\b(?:extract|find|mark|tag|copy|list|locate|highlight)(?: all| every| the)* "
        rf"(?P<list>{_AND})",
    )
]
_CJK_PAIRS = [
    re.compile(pattern)
    for pattern in (r"是(\w{1,8}?)的?还是(\w{1,8}?)的?(?!\w)", r"(\w{1,8}?)인지 (\w{1,8}?)인지",
                    r"(\w{1,8}?)か(\w{1,8}?)かを")
]  # fmt: skip
_CJK_LIST = re.compile(
    r"(?:[：:。]|抽取|提取|找出|から|为|成)"
    r"(?P<list>\w{1,10}(?:[、，]\w{1,10})*[、，和或]\w{1,10}?)(?=を|に|のいずれか|[。\n]|$)"
)


def _labels(
    kind: Kind | None,
    instruction: str,
    demonstrations: tuple[Demonstration, ...],
    notes: list[str],
) -> tuple[tuple[str, ...], tuple[Demonstration, ...]]:
    """Return the labels in the order named, and the demonstrations with the same spelling."""
    if kind == "extraction":
        return tuple(_types(instruction, demonstrations)), demonstrations
    if kind != "classification":
        return (), demonstrations
    named = _named_labels(instruction)
    if named and len(named[-1].split()) > max(len(label.split()) for label in named[:-1]):
        notes.append(f"the last label is read as {named[-1]!r}; put labels in quotes if it is not")
    spelled = {_key(label): label for label in named}
    shown: dict[str, str] = {}
    for output in (d.output.strip() for d in demonstrations if _is_short(d.output)):
        spelling = shown.setdefault(_key(output), output)
        before = spelled.get(_key(output), spelling)
        if output != spelling or before != spelling:
            other = output if output != spelling else before
            notes.append(f"the label {spelling!r} is written {other!r} too; the first counts")
        if named and _key(output) not in spelled:
            notes.append(f"the label {output!r} occurs in the demonstrations only")
        spelled[_key(output)] = spelling  # in its place, if it was named
    labels = tuple(spelled.values())
    if len(labels) < 2:
        notes.append(
            f"a classification needs two labels or more, and the prompt names {len(labels)}; add "
            "them, such as 'Labels: positive, negative.'"
        )
    kept = [Demonstration(d.input, shown.get(_key(d.output), d.output)) for d in demonstrations]
    return labels, tuple(dict.fromkeys(kept))


def _key(label: str) -> str:
    """Return what two spellings of a label share."""
    return " ".join(re.findall(r"\w+", label.replace("_", " ").casefold()))


def _named_labels(text: str) -> list[str]:
    """Return the labels that an instruction names, in its order."""
    for find in (_listed_below, _range, _quoted_labels):
        if len(labels := find(text)) > 1:
            return labels
    if re.search(r"\byes ?(?:or|/|,) ?no\b", text, re.IGNORECASE):
        return ["yes", "no"]
    for pattern in _CJK_PAIRS:
        if match := pattern.search(text):
            return [match[1], match[2]]
    for pattern in (*_LISTS, _CJK_LIST):
        for match in pattern.finditer(text):
            if len(labels := _items(match["list"])) > 1:
                return labels
    return []


def _types(text: str, demonstrations: Sequence[Demonstration]) -> list[str]:
    """Return the types of what an extraction looks for: two or more, or none."""
    keys = [re.findall(r"(?:^|[;\n])\s*(\w[\w ]{0,30}):", d.output) for d in demonstrations]
    shown = list(dict.fromkeys(key for found in keys for key in found))
    if all(keys) and len(shown) > 1:
        return shown
    for pattern in (*_TYPES, _CJK_LIST):
        if (match := pattern.search(text)) and len(found := _items(match["list"])) > 1:
            return found
    return []


def _listed_below(text: str) -> list[str]:
    """Return what stands first on lines with bullets, or before a colon on lines of definitions."""
    lines = [line for line in text.split("\n") if line.strip()]
    bulleted = [_BULLET.sub("", line) for line in lines if _BULLET.match(line)]
    defined = [m[1] for line in lines if (m := re.match(r"\s*([\w][\w '/-]{0,30}):\s+\S", line))]
    heads = [re.split(r"\s*[:：]\s+|\s+[-–—]\s+", line)[0] for line in bulleted] or defined
    labels = [_unquoted(head).rstrip(".,;") for head in heads]
    return list(dict.fromkeys(labels)) if all(map(_is_short, labels)) else []


def _range(text: str) -> list[str]:
    """Return the numbers of a scale, such as from 1 to 5 stars."""
    scale = re.search(r"\b(\d)\s*(?:to|bis|-|–)\s*(\d{1,2})\b", text)
    if scale is None or not re.search(r"\b(?:rat(?:e|ing)|stars?|scale|score)", text, re.I):
        return []
    low, high = int(scale[1]), int(scale[2])
    return [str(number) for number in range(low, high + 1)] if high - low <= 10 else []


def _quoted_labels(text: str) -> list[str]:
    """Return the short texts in quotes."""
    found = re.findall(r"[\"“「]([^\"”“」「\n]{1,40})[\"”」]", text)
    return list(dict.fromkeys(label.strip() for label in found if _is_short(label)))


# Words that go on with the sentence after the last label.
_FOLLOWING = re.compile(
    r" (?:in|on|of|for|from|by|with|based|depending|according|given|to|that|which|as|using)(?= |$)",
    re.IGNORECASE,
)


def _items(text: str) -> list[str]:
    """Return a list's items; the last without words that follow it."""
    parts = re.split(
        r" ?[,/|;、，或和] ?(?:(?:and|or) )?| (?:and|or|und|oder|et|ou|y|o|u|&) ", text
    )
    items = [re.sub(r"^(?:an?|the) ", "", part.strip(" \"“”'‘’"), flags=re.I) for part in parts]
    items[-1] = _FOLLOWING.split(items[-1])[0]
    return list(dict.fromkeys(item for item in items if _is_short(item)))
