"""Questions with an answer in a passage: made by rule, checked, and read from offsets.

`cloze_questions` needs no teacher. It is the rival that a teacher's questions have to beat, and
`check_question` the filter that they have to pass.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from reptune.checks import (
    check_number,
    check_random_state,
    check_texts,
    check_whole_number,
)
from reptune.prompt2model.task import Sample

BLANK = "____"
_WH = ("who", "whom", "whose", "what", "which", "when", "where", "why", "how")


# --- passages ----------------------------------------------------------------------------------


def cut_passages(article: str, most_words: int = 115) -> list[tuple[int, int]]:
    """Cut an article into passages of whole sentences.

    A first line of fewer than 12 words is taken for the title and left out, and so is a passage
    of fewer than 60 words: mostly the last one.

    Args:
        article: Paragraphs, with a line break between them.
        most_words: In a passage. A sentence that is longer is left out.

    Returns:
        `(start, end)` of each passage, in characters of `article`.

    Source: chapter 7.
    """
    most_words = check_whole_number("most_words", most_words, least=60)
    title = article.partition("\n")[0]
    body = len(title) if len(title.split()) < 12 else 0
    sentences = list(_sentences(article, body))
    passages, first = [], 0
    for index, (_, end) in enumerate(sentences):
        start, following = sentences[first][0], sentences[index + 1 : index + 2]
        if following and len(article[start : following[0][1]].split()) <= most_words:
            continue
        first = index + 1
        if 60 <= len(article[start:end].split()) <= most_words:
            passages.append((start, end))
    return passages


def _sentences(text: str, body: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where each sentence starts and ends, from the position `body` on."""
    for paragraph in re.compile(r"\S[^\n]*").finditer(text, body):
        line = paragraph.group().rstrip()
        breaks = list(re.finditer(r"(?<=[.!?])[\"']?(\s+)(?=[\"'A-Z£$0-9])", line))
        starts = [0, *(match.end() for match in breaks)]
        ends = [*(match.start(1) for match in breaks), len(line)]
        for start, end in zip(starts, ends, strict=True):
            yield paragraph.start() + start, paragraph.start() + end


# --- questions by rule -------------------------------------------------------------------------


class _Answer(NamedTuple):
    start: int
    end: int
    asked: str  # such as "How many", without the noun
    noun: str = ""  # what is counted, which stands behind the answer


def cloze_questions(
    passages: Iterable[str],
    per_passage: int = 4,
    form: Literal["wh", "cloze"] = "wh",
    dropped: float = 0.1,
    random_state: int = 42,
) -> list[Sample]:
    """Make questions from passages by rule: mask a name, a number or a date.

    The question is the clause around the answer. With a blank, it is the clause itself. With a
    question word in front, it is one only where the answer comes first ("Who left the club?") or
    an auxiliary can follow the question word ("When was it founded in Leeds?"); other answers
    are not asked for, since that needs a parser. Some words are left out, because what people
    ask does not repeat the passage.

    Args:
        passages: Texts of a few sentences.
        per_passage: At most so many questions about each, drawn at random, with as many different
            question words as there are.
        form: `"wh"` for a question word in front, `"cloze"` for a blank.
        dropped: The share of the clause's words that get lost, at random.
        random_state: Seed of the draws.

    Returns:
        Rows whose answer occurs once in its passage (`context`), passage by passage; all of them
        pass `check_question`. `origin` names the question word and the passage's index.

    Raises:
        ValueError: If a parameter is out of range, or a passage is no text.

    Source: Lewis, Denoyer and Riedel (2019), https://arxiv.org/abs/1906.04980; chapter 7.

    >>> passage = "Chairman Ada Moor left the old club. It was founded in Leeds in May 1885."
    >>> for row in cloze_questions([passage], dropped=0):
    ...     print(row.input, row.output)
    Who left the old club? Ada Moor
    Where was it founded in May 1885? Leeds
    When was it founded in Leeds? May 1885
    """
    texts = check_texts(passages, "passages")
    per_passage = check_whole_number("per_passage", per_passage)
    dropped = check_number("dropped", dropped, least=0, below=1)
    check_random_state(random_state)
    if form not in ("wh", "cloze"):
        raise ValueError(f"form={form!r} is unknown; use 'wh' or 'cloze'.")
    people, samples = _known_people(texts), []
    for index, text in enumerate(texts):
        generator = np.random.default_rng([random_state, index])
        rows = _questions_about(text, people, form, dropped, generator)
        for question, answer in _varied(rows, per_passage, generator):
            origin = {"by": "generated", "with": "rules", "form": form, "seed": random_state}
            origin |= {"asked": answer.asked.lower(), "passage": index}
            output = text[answer.start : answer.end]
            samples.append(Sample(question, output, text, origin=origin))
    return samples


def _varied(
    rows: list[tuple[str, _Answer]], count: int, generator: np.random.Generator
) -> list[tuple[str, _Answer]]:
    """Draw rows so that a question word comes again only after each other one has come."""
    queues: dict[str, int] = Counter()
    ranked = []
    for row in generator.permutation(len(rows)).tolist():
        asked = rows[row][1].asked
        ranked.append((queues[asked], len(ranked), row))
        queues[asked] += 1
    return [rows[row] for row in sorted(row for _, _, row in sorted(ranked)[:count])]


_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NUMBER = r"\d+(?:[,.]\d+)*"
_FEW = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_LARGE = r"(?:m|bn)?\b(?: (?:million|billion))?"
_CURRENCY = "euros?|kronor|yen|roubles|rupees|riyals|dollars|pounds"
# What each kind of answer looks like, and what asks for it; an earlier line wins. A count is one
# only before the plural noun that it counts.
_NUMERIC = [
    (rf"[£$€]{_NUMBER}{_LARGE}|\b{_NUMBER}{_LARGE} (?:{_CURRENCY})\b", "How much"),
    (rf"\b{_NUMBER}%", "What percentage"),
    (
        rf"(?<![\w-])(?:\d{{1,2}} {_MONTH}(?: \d{{4}})?|{_MONTH}(?: \d{{1,2}})?(?:,? \d{{4}})?)\b",
        "When",
    ),
    (r"(?<![\w-])(?:(?:19|20)\d\d|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\b(?![-,]\d)", "When"),
    (rf"\b(?:{_NUMBER}{_LARGE}|{_FEW})(?= (?!was|has|its|this|does)[a-z]{{2,}}s\b)", "How many"),
]
_CAPITALIZED = r"[A-Z][\w-]*(?:'[A-Z]\w+)?"
_NAME = re.compile(rf"\b(?:{_CAPITALIZED})(?:(?: of(?: the)?)? {_CAPITALIZED})*")
_ORIGIN = re.compile(r"\w*(?:ish|ese|ian|ean|ican)|French|Dutch|German|Greek|Swiss")
# Words that are capitalized only because a sentence starts with them.
_OPENER = re.compile(
    "a|after|all|also|although|an|and|another|are|as|at|because|before|both|but|by|despite|during|"
    "each|even|for|from|had|has|he|her|his|how|however|i|if|in|is|it|its|last|many|meanwhile|more|"
    "most|my|new|no|not|now|of|on|one|only|or|other|our|she|since|so|some|such|than|that|the|their|"
    "then|there|these|they|this|those|to|under|until|we|what|when|where|which|while|who|why|with|"
    "would|you|your",
    re.IGNORECASE,
)
_ROLES = (
    "actor|actress|analyst|author|boss|captain|chairman|chancellor|coach|comedian|commissioner|"
    "correspondent|director|editor|executive|founder|leader|lawyer|manager|minister|officer|player|"
    "president|producer|professor|secretary|singer|spokesman|spokeswoman|striker|winger|midfielder|"
    "defender|rapper|mr|mrs|ms|sir|lord|dr"
)
_ROLE = re.compile(_ROLES, re.IGNORECASE)
_PERSON_AFTER = re.compile(r", \d\d,| (?:said|says|told|added|explained|admitted)\b")
# What goes with the answer when a question word takes its place.
_LEAD = (
    "the|a|an|about|around|over|under|more than|less than|at least|almost|nearly|just|some|up to|"
    f"former|{_ROLES}"
)
_AUXILIARY = re.compile(r" (is|was|are|were|has|have|had|will|would|can|could|may|might|must)\b")
_SUBORDINATE = re.compile(r",|\b(?:that|which|who|if|said|says)\b")
_CLAUSE_BREAK = re.compile(
    r"[;:\"()]|\s-\s|,\s(?=(?:and|as|after|although|before|but|when|where|which|while|who|with)\b)"
)
_CLAUSE_OPENER = re.compile(r"\s*(?:(?:and|as|after|although|before|but|so|that|while)\s+)*", re.I)
# An answer that is one of a list, an aside, or part of a longer name.
_PART_BEFORE = re.compile(r"(?:,|\b(?:and|or)|'s)\s*$")
_PART_AFTER = re.compile(r",| (?:and|or|of)\b")
_SPEAKER = {"i", "we", "my", "our", "you", "your", "me", "us"}


def _questions_about(
    text: str, people: set[str], form: str, dropped: float, generator: np.random.Generator
) -> list[tuple[str, _Answer]]:
    rows = []
    for start, end in _sentences(text):
        for answer in _answers(text, start, end, people):
            before, after = _around(text, start, end, answer)
            if _PART_BEFORE.search(before) or _PART_AFTER.match(after):
                continue
            words = [before.split(), BLANK, after.split()]
            if form == "wh":
                words = _asked(before, after, answer)
            question = _joined(words, dropped, generator) + ("?" if form == "wh" else "")
            sample = Sample(question, text[answer.start : answer.end], text)
            length = len(question.split()) if words else 0
            fits = 5 <= length <= 25 and not _SPEAKER & set(_words(question))
            if fits and len(_occurrences(text, sample.output)) == 1 and not check_question(sample):
                rows.append((question, answer))
    return rows


def _answers(text: str, start: int, end: int, people: set[str]) -> list[_Answer]:
    """Find what can be asked for in a sentence: numbers and dates first, then names."""
    found: list[_Answer] = []

    def is_free(match: re.Match[str]) -> bool:
        return all(match.end() <= other.start or match.start() >= other.end for other in found)

    for pattern, asked in _NUMERIC:
        for match in re.compile(pattern).finditer(text, start, end):
            noun = re.match(r" [a-z]+", text[match.end() :]) if asked == "How many" else None
            if is_free(match):
                found.append(_Answer(*match.span(), asked, noun.group() if noun else ""))
    for match in _NAME.finditer(text, start, end):
        name = _without_titles(text, match, start)
        if is_free(match) and name is not None:
            found.append(_Answer(*name, _word_for(text, *name, people)))
    return sorted(found)


def _without_titles(text: str, match: re.Match[str], start: int) -> tuple[int, int] | None:
    """Return where a name stands, without titles and without words that only open a sentence."""
    words = list(re.finditer(r"\S+", match.group()))
    for index, word in reversed(list(enumerate(words))):
        if _ROLE.fullmatch(word.group()) or (index == 0 and _OPENER.fullmatch(word.group())):
            words = words[index + 1 :]
            break
    if not words or words[0].group() == "of" or _ORIGIN.fullmatch(words[-1].group()):
        return None
    opens = not text[start : match.start()].strip("\"' ")
    elsewhere = rf"[a-z,] {re.escape(match.group())}\b"
    if opens and " " not in match.group() and re.search(elsewhere, text) is None:
        return None  # capitalized only as a sentence's first word
    return match.start() + words[0].start(), match.end()


def _known_people(texts: list[str]) -> set[str]:
    """Return the last words of all names that a title, a role or an age marks as a person's."""
    title = rf"(?i:\b(?:{_ROLES})) ((?:{_CAPITALIZED} ?){{1,3}})"
    age = rf"((?:{_CAPITALIZED} ?){{2,3}}), \d\d,"
    names = [name for text in texts for name in re.findall(title, text) + re.findall(age, text)]
    return {name.split()[-1] for name in names}


def _word_for(text: str, start: int, end: int, people: set[str]) -> str:
    said = _PERSON_AFTER.match(text, end) or text[:start].endswith("said ")
    if text[start:end].split()[-1] in people or said:
        return "Who"
    return "Where" if text[:start].endswith((" in ", " at ", " near ")) else "What"


def _around(text: str, start: int, end: int, answer: _Answer) -> tuple[str, str]:
    """Return what stands before and after the answer in its clause."""
    breaks = [match.span() for match in _CLAUSE_BREAK.finditer(text, start, end)]
    start = max([stop for _, stop in breaks if stop <= answer.start], default=start)
    end = min([first for first, _ in breaks if first >= answer.end], default=end)
    before = text[start : answer.start]
    before = before[_CLAUSE_OPENER.match(before).end() :]
    opener, gap, others = before.partition(" ")
    before = (opener.lower() if _OPENER.fullmatch(opener) else opener) + gap + others
    return before, text[answer.end : end]


def _asked(before: str, after: str, answer: _Answer) -> list[str | list[str]]:
    """Put the question word in front, then the auxiliary; return nothing where neither fits.

    A string stays, and of a list words may get lost.
    """
    place = r"(?:(?:in|on|at|from|since|by|near) )?" if answer.asked in ("When", "Where") else ""
    before = re.sub(rf"\b{place}(?:(?:{_LEAD}) )*$", "", before, flags=re.IGNORECASE)
    after, asked = after.removeprefix(answer.noun), answer.asked + answer.noun
    if re.match(r"(?:who|whose|which|when|where|if)\b", before):
        return []
    if not before.strip() and answer.asked not in ("When", "Where"):
        return [] if re.match(r" (?:at|for|from|in|on|to)\b", after) else [asked, after.split()]
    # The subject ends at the auxiliary: before the answer, or right behind it.
    auxiliary = _AUXILIARY.search(before)
    if auxiliary:
        subject, rest = before[: auxiliary.start()], before[auxiliary.end() :] + after
    else:
        auxiliary = _AUXILIARY.match(after)
        subject, rest = before, after[auxiliary.end() :] if auxiliary else ""
    if not auxiliary or not 1 <= len(subject.split()) <= 8 or _SUBORDINATE.search(subject):
        return []
    return [asked, auxiliary.group(1), subject.split(), rest.split()]


def _joined(words: list[str | list[str]], dropped: float, generator: np.random.Generator) -> str:
    kept: list[str] = []
    for part in words:
        if isinstance(part, str):
            kept.append(part)
        else:
            lasting = generator.random(len(part)) >= dropped
            kept += [word for word, lasts in zip(part, lasting, strict=True) if lasts]
    return " ".join(kept).strip(" ,.;!?'")


# --- checking ----------------------------------------------------------------------------------


def check_question(sample: Sample, most_copied: float = 0.95) -> str | None:
    """Return what is wrong with a question and its answer, or `None`.

    Args:
        sample: `input` a question, `context` its passage, `output` the answer.
        most_copied: The share of the question's words that may stand in the passage in one piece.

    Returns:
        A reason from a fixed set, so that reasons can be counted.

    Raises:
        ValueError: If `most_copied` is not above 0 and up to 1.

    Source: chapter 7.

    >>> passage = "Rovers beat Chester 2-1 on Saturday."
    >>> check_question(Sample("Which team did Rovers beat?", "Chester", passage))
    >>> check_question(Sample("Did Chester lose?", "Chester", passage))
    'no question word'
    """
    most_copied = check_number("most_copied", most_copied, above=0, most=1)
    question, answer = _words(sample.input), _words(sample.output)
    if not answer:
        return "no answer"
    if len(sample.output.split()) > 8:
        return "answer too long"
    if not _occurrences(sample.context, sample.output):
        return "answer not in the passage"
    if len(question) < 3:
        return "question too short"
    if len(question) > 30:
        return "question too long"
    if BLANK not in question and not set(_WH) & set(question):
        return "no question word"
    if _share_run(answer, question, len(answer)):
        return "question contains the answer"
    if _share_run(question, _words(sample.context), int(most_copied * len(question)) + 1):
        return "question copies the passage"
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _occurrences(text: str, answer: str) -> list[int]:
    """Return where an answer stands as words of its own: `10` not in `2010`."""
    pattern = rf"(?<!\w){re.escape(answer)}(?!\w)"
    return [match.start() for match in re.finditer(pattern, text)]


def _share_run(words: list[str], among: list[str], length: int) -> bool:
    """Tell whether so many of `words` stand in `among`, one after the other."""
    text = f" {' '.join(among)} "
    starts = range(len(words) - length + 1)
    return any(f" {' '.join(words[start : start + length])} " in text for start in starts)


# --- reading questions from offsets ------------------------------------------------------------


def read_questions(path: str | Path, articles: Mapping[str, str]) -> list[Sample]:
    """Read questions whose passages and answers are kept as positions in articles.

    Args:
        path: JSON Lines, each an object with `id` of an article, `question`, `passage`, `start`
            and `end` of the answer, and `also`, what else counts as right; `passage` and the
            elements of `also` are pairs, all numbers characters of the article.
        articles: The texts by id. Questions about others are left out.

    Returns:
        One row a question, in order. `origin["accepted"]` holds every answer that counts as right,
        the key first.

    Raises:
        ValueError: If a line is no such object, or names positions that the article does not have.

    Source: chapter 7.
    """
    samples = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            if record["id"] in articles:
                samples.append(_from_offsets(record, articles[record["id"]]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: no question with offsets: {error}") from None
    return samples


def _from_offsets(record: dict[str, Any], article: str) -> Sample:
    passage, key = record["passage"], [record["start"], record["end"]]
    for start, end in [passage, key, *record["also"]]:
        if not passage[0] <= start < end <= passage[1] <= len(article):
            raise ValueError(f"{[start, end]} is outside the passage {passage} of {record['id']}")
    accepted = dict.fromkeys(article[start:end] for start, end in [key, *record["also"]])
    origin = {"by": "user", "row": record["id"], "kind": record["kind"], "rival": record["rival"]}
    return Sample(
        record["question"],
        next(iter(accepted)),
        article[slice(*passage)],
        origin=origin | {"accepted": tuple(accepted)},
    )
