"""From a prompt to a task: its instruction, demonstrations, kind and labels, without a model.

The original asks a large model for JSON, up to five times, and takes the rightmost JSON in what
comes back. Here rules read the prompt: the same prompt gives the same task at once, nothing that
the prompt orders is obeyed, and where the rules find no task they say so (`kind` is `None`).
`studies/ch07_prompts.py` scores them on prompts labeled by hand.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from reptune.models.prompts import check_text
from reptune.prompt2model.prompt_demonstrations import (
    BULLET,
    is_short,
    split_prompt,
    unquoted,
    usable,
)
from reptune.prompt2model.task import Demonstration, Kind, Task

if TYPE_CHECKING:
    from reptune.prompt2model.teachers import Teacher

MOST_CHARACTERS = 20_000
LONGEST_TRANSLATED = 2_000  # characters of an instruction


class PromptParser(Protocol):
    """What turns a prompt into a task; `parse_prompt` is one.

    >>> parser: PromptParser = parse_prompt
    >>> parser("Sort e-mails into spam and ham.").labels
    ('spam', 'ham')
    """

    def __call__(self, prompt: str, *, translate: Callable[[str], str] | None = None) -> Task:
        """Return the task that a prompt describes."""


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
    pairs, instruction = split_prompt(text)
    demonstrations = usable(pairs, notes)
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
    refusal = f"the instruction was not translated from {_NAMES.get(language, language)}: "
    if len(text) > LONGEST_TRANSLATED:
        notes.append(f"{refusal}it has more than {LONGEST_TRANSLATED:,} characters")
        return text
    try:
        english = translate(text)
    except (ValueError, RuntimeError) as error:  # too long, or the teacher stopped
        notes.append(f"{refusal}{error}")
        return text
    problem = _translation_problem(text, english)
    if problem:
        notes.append(f"{refusal}{problem}")
        return text
    name = _NAMES.get(language, language)
    notes.append(f"translated from {name} by a model, so read it: {english.strip()[:200]!r}")
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


def translator(teacher: Teacher, *, max_new_tokens: int = 200) -> Callable[[str], str]:
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


def _find(pattern: str, text: str) -> re.Match[str] | None:
    """Search for a pattern; `re` keeps it compiled, and importing this module compiles few."""
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE)


# --- kind ----------------------------------------------------------------------------------------


def _order(verbs: str) -> str:
    """Return a pattern for verbs where they say what to do, such as write or writing."""
    stems = verbs.replace("e|", "|").removesuffix("e")
    before = (
        r"(?:^|[.!?:;,。]\s*|\b(?:please|to|can you|should|must|will|that|and|then|job is)\s+"
        r"|^given (?:[\w-]+ ){1,6}?)"
    )
    return rf"{before}(?:{stems})(?:e|es|s|ing)?\b"


_CUES: dict[Kind, tuple[str, ...]] = {
    "classification": (
        r"\bclassif", r"\bcategori[sz]", r"\b(?:class|categor|label)(?:es|ies|s)?\b",
        r"\bsort\b[^.\n]{0,60}\binto\b", r"\bassign\b", r"\broute\b", r"\bmoderate\b",
        r"\b(?:put|divide|group)s?\b[^.\n]{0,60}\b(?:into|in one)\b", r"\brate\b", r"\bwhether\b",
        r"\bpositive\W+(?:or|and|/)\W+negative", r"\byes\W+(?:or|/)\W+no\b", r"\bsentiment\b",
        r"\bdetect(?:s|ing|ion)?\b", r"\bdecid(?:e|ing)\b", r"\bpredict\w*\b(?! (?:the )?next)",
        r"\bwh(?:at|ich) (?:mood|kind|type|class|category|topic|genre|language|emotion)\b",
        r"\btell\w* (?:me )?(?:which|if|whether)\b", r"\b\w+ or not(?: \w+)?\b",
        _order("check|verify|judge|select|choose|pick"), r"\banswer (?:if|whether)\b",
        r"\bdetermin(?:e|ing) (?:the|if|which)\b",
        r"\b(?:identify|identifying|decid\w+|see|say) (?:if|which)\b", r"\b(?:answer )?type of\b",
        "分類", "判定", "判別", "分类", "判断", "分为", "归类", "分成", "분류", "판단",
        r"\bordne\b", r"\bklassifi", r"\bclasse[rz]?\b", r"\bclasific",
    ),
    "extraction": (
        r"\bextract", r"\bpull\b[^.\n]{0,60}\b(?:out|from)\b", r"\bnamed entit", r"\bhighlight",
        _order("mark|copy|locate|underline|spot|tag"), _order("list") + r"(?! of| and)",
        _order("find") + r"(?! out| (?:the |its )?(?:\w+ )?(?:sentiment|topic|class|category|"
        r"label|type|missing|\w+ability))",
        r"\bcopied from\b", r"\bword for word\b", r"\bverbatim\b", r"\bexactly as\b",
        r"\bspans?\b", r"\bfrom (?:each|every) \w+ i want\b", r"\bwhich words\b",
        "抜き出", "抽出", "抽取", "提取", "找出", "原文", "추출", r"\bextrahier", r"\bfinde\b",
        r"\bextrai", r"\bextrae",
    ),
    "text": (
        _order(
            "write|generate|turn|convert|correct|expand|compose|normalize|simplify|explain|shorten|fix|"
            "answer|create|craft|construct|produce|formulate|draft|give|provide|suggest|reply|continue|"
            "complete|describe|invent|modify|change|edit|improve|combine|merge|concatenate|transform|"
            "calculate|compute|remove|replace|reverse|round|divide|multiply|add|return|rearrange"
        ),
        r"\btranslat", r"\bsummar", r"\brewrit", r"\bparaphras", r"\brephras", r"\bnormali[sz]ed\b",
        r"\bwritten (?:as|out)\b", r"\btitle for\b", "要約", "書き換え", "書いて", "翻訳", "生成",
        "翻译", "总结", "摘要", "改写", "写", "요약", "번역", r"\bschreib", r"\bübersetz",
        r"\bfasse\b", r"\brésum", r"\btradui", r"\bécri", r"\btraduce", r"\bescrib", r"\bresum",
    ),
}  # fmt: skip
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\b[^.\n]{0,40}\b(?:above|previous|instructions?|prompt)\b"
    r"|\bsystem prompt\b|忽略(?:以上|之前)|(?:上|以前)の指示を無視",
    re.IGNORECASE,
)


def _kind(text: str, demonstrations: Sequence[Demonstration]) -> Kind | None:
    """Return the kind for which most speaks, words and demonstrations; `None` if nothing does."""
    points = {
        kind: sum(_find(cue, text) is not None for cue in cues) for kind, cues in _CUES.items()
    }
    shown = _shown_kind(demonstrations)
    if shown is not None:
        points[shown] += 2
    if _asks(text, demonstrations) and not points["classification"]:
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
    found = [match.start() for cue in _CUES[kind] if (match := _find(cue, text))]
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
    if repeated and all(map(is_short, outputs)):
        return "classification"
    long = any(not is_short(output) for output in outputs)
    return "text" if long else None


_ASKED = re.compile(
    r"(?<!wrong )(?<!incorrect )(?<!implausible )"
    r"\banswer(?:s|ing)? (?:to )?(?:\w+ ){0,3}questions?\b"
    r"|\bquestion (?:and|with) (?:\w+ ){1,3}(?:passage|context|paragraph|text|article|document)\b"
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

_WORD = r"(?!(?:and|or|und|oder) )\w[\w'’-]*"
_ITEM = rf"[\"“'‘]?{_WORD}(?: {_WORD}){{0,3}}[\"”'’]?"
_SLASHED = rf"{_ITEM}(?:/{_ITEM})?"
_OR = rf"{_SLASHED}(?:, ?{_SLASHED})*,? (?:or|oder|ou|o|u) {_SLASHED}"
_AND = rf"{_SLASHED}(?:, ?{_SLASHED})*,? (?:and|or|und|oder|et|ou|y|o|&) {_SLASHED}"
_COMMAS = rf"{_ITEM}(?: ?[,/|;] ?{_ITEM})+"
_NAMED = (
    r"\b(?:labels?|class(?:es)?|categor(?:y|ies)|tags?|types?|outputs?|options?|departments?|teams?"
    r"|abteilungen|kategorien|catégories|categorías)(?: (?:are|is|zu))? ?[:=] ?"
)
_LISTS = (
    rf"{_NAMED}(?P<list>{_AND}|{_COMMAS})",
    rf"\((?P<list>{_COMMAS}|{_OR})\)",
    r"\b(?:into|one of|either|(?:distinguish|decide|choose|tell) between)(?: the)?"
    rf"(?: (?:classes|categories|groups))?:? (?P<list>{_AND}|{_COMMAS})",
    rf"\b(?:answer|return|say|output|reply|respond)(?: with)?:? (?!is |are |to |if |whether )"
    rf"(?P<list>{_OR}|{_COMMAS})",
    rf"(?:^|(?<=[.!?:]\s))is (?:an?|the|this|each|every) \w+ (?P<list>{_OR})",
    rf"\b(?:is|are|was|were|as|to|zu:|est|es)(?: an?)? (?P<list>{_OR})",
    rf"^[^\w\n]*(?P<list>{_OR})(?=\?)",
    rf":\s+(?P<list>{_AND}|{_COMMAS})(?=[.\n]|$)",  # whatever the labels are called
)
_TYPES = (
    rf"{_NAMED}(?P<list>{_AND}|{_COMMAS})",
    rf"\bnames? of (?:all )?(?P<list>{_AND})",
    rf"\b(?:extract|find|mark|tag|copy|list|locate|highlight)(?: all| every| the)* "
    rf"(?P<list>{_AND})",
)
_CJK_PAIRS = (
    r"是(\w{1,8}?)的?还是(\w{1,8}?)的?(?!\w)",
    r"(\w{1,8}?)인지 (\w{1,8}?)인지",
    r"(\w{1,8}?)か(\w{1,8}?)かを",
)
_CJK_LIST = (
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
    named = _as_shown(_named_labels(instruction), demonstrations)
    if named and len(named[-1].split()) > max(len(label.split()) for label in named[:-1]):
        notes.append(f"the last label is read as {named[-1]!r}; put labels in quotes if it is not")
    spelled = {_key(label): label for label in named}
    shown: dict[str, str] = {}
    for output in (d.output.strip() for d in demonstrations if is_short(d.output)):
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


def _as_shown(named: list[str], demonstrations: Sequence[Demonstration]) -> list[str]:
    """Return labels as the demonstrations have them, where the sentence names them in other words.

    "Is this message urgent or can it wait?" names "can it wait", and the demonstrations say "can
    wait". Where they share no label with the sentence, that was misread.
    """
    outputs = {_key(d.output): d.output.strip() for d in demonstrations if is_short(d.output)}
    keys = {_key(label) for label in named}
    if len(outputs) > 1 and keys.isdisjoint(outputs):
        return []
    unnamed = {key: output for key, output in outputs.items() if key not in keys}

    def shown(label: str) -> str:
        words = set(_key(label).split())
        fit = [] if _key(label) in outputs else [k for k in unnamed if set(k.split()) < words]
        return unnamed.pop(fit[0]) if fit else label

    return [shown(label) for label in named]


def _key(label: str) -> str:
    """Return what two spellings of a label share."""
    return " ".join(re.findall(r"\w+", label.replace("_", " ").casefold()))


def _named_labels(text: str) -> list[str]:
    """Return the labels that an instruction names, in its order."""
    said = re.search(rf"(?m)^\s*{_NAMED}(?P<list>{_AND}|{_COMMAS})", text, re.IGNORECASE)
    if said and len(labels := _items(said["list"])) > 1:  # "Labels: a, b" on a line of its own
        return labels
    for find in (_listed_below, _range, _quoted_labels):
        if len(labels := find(text)) > 1:
            return labels
    if re.search(r"\byes ?(?:or|/|,) ?no\b", text, re.IGNORECASE):
        return ["yes", "no"]
    for pattern in _CJK_PAIRS:
        if match := _find(pattern, text):
            return [match[1], match[2]]
    for pattern in (*_LISTS, _CJK_LIST):
        for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
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
        if (match := _find(pattern, text)) and len(found := _items(match["list"])) > 1:
            return found
    return []


def _listed_below(text: str) -> list[str]:
    """Return what stands first on lines with bullets, or before a colon on lines of definitions."""
    lines = [line for line in text.split("\n") if line.strip()]
    bulleted = [BULLET.sub("", line) for line in lines if BULLET.match(line)]
    defined = [m[1] for line in lines if (m := re.match(r"\s*([\w][\w '/-]{0,30}):\s+\S", line))]
    heads = [re.split(r"\s*[:：]\s+|\s+[-–—]\s+", line)[0] for line in bulleted] or defined
    labels = [unquoted(head).rstrip(".,;") for head in heads]
    return list(dict.fromkeys(labels)) if all(map(is_short, labels)) else []


def _range(text: str) -> list[str]:
    """Return the numbers of a scale, such as from 1 to 5 stars."""
    scale = re.search(r"\b(\d)\s*(?:to|bis|-|–)\s*(\d{1,2})\b", text)
    if scale is None or not re.search(r"\b(?:rat(?:e|ing)|stars?|scale|score)", text, re.I):
        return []
    low, high = int(scale[1]), int(scale[2])
    return [str(number) for number in range(low, high + 1)] if high - low <= 10 else []


def _quoted_labels(text: str) -> list[str]:
    """Return the short texts in quotes, but not two that an "and" joins, which may be any names."""
    quoted = r"[\"“「]([^\"”“」「\n]{1,40})[\"”」]|(?<!\w)['‘]([^'’\n]{1,40})['’](?!\w)"
    found = [m for m in re.finditer(quoted, text) if is_short((m[1] or m[2]).strip())]
    labels = list(dict.fromkeys((m[1] or m[2]).strip() for m in found))
    if len(labels) == 2 and re.search(r"\band\b", text[found[0].end() : found[1].start()]):
        before = text[: found[0].start()]
        introduced = r"\b(?:into|as|labels?|class(?:es)?|categor\w+|outputs?)\b[^\"'“]{0,20}$"
        return labels if re.search(introduced, before, re.IGNORECASE) else []
    return labels


# What goes on with the sentence after the last label.
_FOLLOWING = re.compile(
    r" (?:in|on|of|for|from|by|with|about|over|at|towards?|regarding|when|if|based|depending"
    r"|according|given|to|that|which|as|using)(?= |$)"
    r"| (?:sentiments?|tones?|labels?|class(?:es)?|categor(?:y|ies)|groups?)$",
    re.IGNORECASE,
)


def _items(text: str) -> list[str]:
    """Return a list's items; the last without words that follow it, and `X, not X` for X or not."""
    comma = "[,;、，或和]" if re.search("[,、，]", text) else "[,/|;、，或和]"
    parts = re.split(rf" ?{comma} ?(?:(?:and|or) )?| (?:and|or|und|oder|et|ou|y|o|u|&) ", text)
    items = [
        re.sub(r"^(?:in )?(?:(?:an?|the) )?", "", p.strip(" \"'“”‘’"), flags=re.I) for p in parts
    ]
    items[-1] = _FOLLOWING.split(items[-1])[0]
    if len(items) == 2 and items[1].lower() == "not":
        items[1] = f"not {items[0]}"
    return list(dict.fromkeys(item for item in items if is_short(item)))
