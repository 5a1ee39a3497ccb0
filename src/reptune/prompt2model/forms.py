"""The forms in which a small causal model is asked for samples, and how its replies are read.

A model of half a billion parameters writes no reliable JSON, but it goes on with a list. So each
form is the beginning of a page: the task, some rows, and the start of the next one. Whatever
stands in a row, an order to the model included, is one line of that page and nothing else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reptune.data.tagged import split_words, tags_from_spans
from reptune.prompt2model.task import Demonstration, Sample, Task

PART = "part"  # the type of what is looked for where a task names none
BYTES_A_TOKEN = 2.5  # fewer than most texts have: a shorter reply was not cut at its limit

LONG_LINE = 80  # characters

_QUOTED = re.compile(r"""^(["'“‘`])(.*)(["'”’`])$""", re.DOTALL)
_QUESTION = re.compile(
    r"^\W*question\W+(?P<question>.+?)[\s;,|]+(?:context|passage|text)\W+(?P<context>.+)$",
    re.IGNORECASE | re.DOTALL,
)
# Show what is wanted where the user shows nothing: an answer of a few words of the passage, and a
# question in other words than the passage's. With one example every question begins as it does.
_ASKED = (
    (
        "Fares for the ferry to the island will rise by 12% in May, the operator said. It blamed "
        "the price of fuel.",
        "By how much will the crossing become more expensive?",
        "12%",
    ),
    (
        "The museum bought the painting at an auction in Oslo for £40,000. It had been missing "
        "since the war.",
        "Where was the picture sold?",
        "Oslo",
    ),
    (
        "Hanna Voss, who has led the club since 2001, will step down. Her deputy, Ole Brandt, "
        "takes over in June.",
        "Who is going to be the club's next head?",
        "Ole Brandt",
    ),
)
_ENDS = tuple(".!?…。！？\"'”’)")


@dataclass(frozen=True)
class Cell:
    """What one prompt asks for.

    Attributes:
        label: Of a classification, the label that the rows shall have.
        attributes: What they shall be like, such as `{"topic": "the acting"}`.
        passage: Of a question task, what is asked about; empty where the teacher writes it too.
    """

    label: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    passage: str = ""


@dataclass(frozen=True)
class Reading:
    """What was found in a reply.

    Attributes:
        written: How many rows the teacher began.
        samples: Those that have the right form, without their origin.
    """

    written: int
    samples: list[Sample]


class Form(Protocol):
    """How a kind of task is written down for a teacher.

    Attributes:
        max_new_tokens: What a reply may take.
        stop: Texts at which a reply ends.
    """

    max_new_tokens: int
    stop: tuple[str, ...]

    def prompt(self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]) -> str:
        """Return a prompt with the user's examples, marked as good, and some generated before."""
        ...

    def read(self, reply: str, cell: Cell, is_cut: bool | None = None) -> Reading:
        """Return the rows of a reply.

        Args:
            reply: What the teacher wrote.
            cell: What it was asked for.
            is_cut: Whether it ends only because it may not be longer, so that its last row is none;
                `None` where the teacher does not say: it is guessed from the length.
        """
        ...


def form_of(task: Task) -> Form:
    r"""Return the form for a task's kind.

    Raises:
        ValueError: If the task has no kind, a classification no labels, or nothing shows what an
            output looks like.

    >>> form_of(Task("…", "Judge films.", kind="classification", labels=("good", "bad")))
    Listed(instruction='Judge films.', labels=('good', 'bad'), max_new_tokens=80, stop=('\n\n',))
    """
    if task.kind is None:
        raise ValueError(
            "the task has no kind, so nothing says what a row looks like; say in the prompt "
            "whether to classify (into which labels), to extract, or to write; or set Task.kind."
        )
    if task.kind == "classification":
        if len(set(task.labels)) < 2 or len(set(task.labels)) < len(task.labels):
            raise ValueError(
                f"labels={list(task.labels)}; a classification needs two different labels or more."
            )
        return Listed(task.instruction, task.labels)
    if task.kind == "extraction":
        if task.has_question:
            return Asked(task.instruction)
        parts = [f"{label}: …" for label in task.labels[:2]] or ["…the words to find in it…"]
        _check_shown(task, f'"…a sentence…" -> {"; ".join(parts)}')
        return Marked(task.instruction, task.labels or (PART,))
    _check_shown(task, '"…an input…" -> …the output for it…')
    return Paired(task.instruction)


def _check_shown(task: Task, line: str) -> None:
    """Refuse a task that a small teacher cannot do without an example.

    Without one it explains what to find, or copies the input; after an example of another task it
    goes on with that.
    """
    if not task.demonstrations:
        raise ValueError(
            "the prompt shows no example, without which a teacher cannot know what an output looks "
            f"like; add a line or two to the prompt, of your own and in this form: {line}"
        )


# --- the forms -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """Lines that begin with a label, all shown ones with the label that is wanted.

    A heading that names the label once is not enough for a small model: without the label before
    it, by the third line it writes what the heading does not say. A line counts under the label
    that it begins with, which must be one of the task's.
    """

    instruction: str
    labels: tuple[str, ...]
    max_new_tokens: int = 80
    stop: tuple[str, ...] = ("\n\n",)

    def prompt(self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]) -> str:
        """Return a prompt that ends with the label of the next line."""
        label = one_line(cell.label)
        head = (
            f"Task: {one_line(self.instruction)}\n\n"
            f"Different inputs{_wish(cell)}, each after its output:"
        )
        rows = [f"{label}: {one_line(one.input)}" for one in good if one.output == cell.label]
        drafts = [f"{label}: {one_line(sample.input)}" for sample in earlier]
        if rows and drafts:
            head = "\n".join([f"{head}\n\nDrafts:", *drafts, "\nGood examples:"])
        else:
            head, rows = f"{head}\n", rows or drafts
        return "\n".join([head, *rows, f"{label}:"])

    def read(self, reply: str, cell: Cell, is_cut: bool | None = None) -> Reading:
        """Return the lines that begin with a label.

        The last one counts if it ends as a sentence does. Else it counts if the reply was not cut,
        no other line ends so and it is not long: what follows a list of sentences without being
        one is a heading or a remark, and so is mostly a long line that does not end.
        """
        names = {one_line(label).lower(): label for label in self.labels}
        known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        starts = re.compile(rf"^[ \t]*(?:\d+[.)][ \t]*)?({known})[ \t]*:(.*)$", re.I | re.M)
        lines = f"{one_line(cell.label)}:{reply}".split("\n")
        written = sum(bool(line.strip()) for line in lines) if reply.strip() else 0
        *others, last = (line.rstrip().endswith(_ENDS) for line in lines)
        alone = not others and len(reply) >= LONG_LINE
        if not last and (alone or any(others) or _was_cut(reply, is_cut, self.max_new_tokens)):
            lines.pop()
        found = starts.findall("\n".join(lines))
        samples = [Sample(_bare(text), names[label.lower()]) for label, text in found]
        return Reading(written, [sample for sample in samples if sample.input])


@dataclass(frozen=True)
class Marked:
    """Sentences with their parts below them; each part must stand in its sentence."""

    instruction: str
    types: tuple[str, ...]
    max_new_tokens: int = 160
    stop: tuple[str, ...] = ("\n\n\n",)

    def prompt(self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]) -> str:
        """Return a prompt that ends where the next sentence begins."""
        lines = " ".join(f'"{kind}: …"' for kind in self.types)
        head = (
            f"Task: {one_line(self.instruction)}\n\nDifferent sentences{_wish(cell)}. Below each, "
            f'the parts to find, copied from it, as {lines}, or "none".'
        )
        return _page(
            head,
            [self._block(example.input, example.output) for example in good],
            [self._block(sample.input, _typed(sample)) for sample in earlier],
            "Sentence:",
        )

    def _block(self, text: str, parts: str) -> str:
        found = re.split(r"\s*[;\n]\s*", parts.strip()) if parts.strip() else ["none"]
        if self.types == (PART,):
            found = [part if ": " in part or part == "none" else f"{PART}: {part}"
                     for part in found]  # fmt: skip
        return "\n".join([f"Sentence: {one_line(text)}", *map(one_line, found)])

    def read(self, reply: str, cell: Cell, is_cut: bool | None = None) -> Reading:
        """Return the sentences all of whose parts stand in them, with where they stand."""
        blocks = [block for block in re.split(r"(?m)^Sentence:", reply) if block.strip()]
        is_cut = _was_cut(reply, is_cut, self.max_new_tokens)
        found = (self._sample(block) for block in _whole(blocks, is_cut))
        return Reading(len(blocks), [sample for sample in found if sample is not None])

    def _sample(self, block: str) -> Sample | None:
        text, *lines = block.strip().split("\n\n")[0].split("\n")
        text, parts = _bare(text), []
        kinds = {kind.lower(): kind for kind in self.types}
        for line in lines:
            kind, colon, part = line.partition(":")
            if _bare(line).lower().rstrip(".") == "none" or _bare(part).lower() in (
                "none",
                "none.",
            ):
                continue
            if not colon or kind.strip().lower() not in kinds or not part.strip():
                return None
            parts.append((_bare(part), kinds[kind.strip().lower()]))
        spans = spans_of(text, parts)
        if not lines or spans is None or not text:
            return None
        try:  # a tagger gives each word one tag, so a part that ends within a word cannot be told
            tags_from_spans(text, split_words(text), spans)
        except ValueError:
            return None
        return Sample(text, _joined(text, spans, self.types), spans=spans)


@dataclass(frozen=True)
class Asked:
    """Questions about a passage, whose answers stand in it."""

    instruction: str
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ("Passage:",)  # leaves the line break that shows that an answer ended

    def prompt(self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]) -> str:
        """Return a prompt that ends where the question begins, or, without one, the passage."""
        head = (
            f"Task: {one_line(self.instruction)}\n\nPassages, each with a question{_wish(cell)} "
            "and its answer, a few words of the passage."
        )
        opening = f"Passage: {one_line(cell.passage)}\nQuestion:" if cell.passage else "Passage:"
        blocks = [_asked(sample.context, sample.input, sample.output) for sample in earlier]
        told = [_told(example) for example in good]
        return _page(
            head, told if told or blocks else [_asked(*one) for one in _ASKED], blocks, opening
        )

    def read(self, reply: str, cell: Cell, is_cut: bool | None = None) -> Reading:
        """Return the question, if its answer is whole and stands in the passage."""
        if not reply.strip():
            return Reading(0, [])
        text = reply if cell.passage else f"Passage:{reply}"
        pattern = (
            r"(?s)(?:Passage:(?P<passage>.*?)\nQuestion:)?(?P<question>.*?)\nAnswer:(?P<answer>.*)"
        )
        match = re.match(pattern, text)
        if match is None:
            return Reading(1, [])
        passage = cell.passage or one_line(match["passage"] or "")
        question = _bare(one_line(match["question"]))
        line, newline, _ = match["answer"].lstrip("\n").partition("\n")
        is_cut = _was_cut(reply, is_cut, self.max_new_tokens)
        ended = bool(newline) or not is_cut or line.rstrip().endswith(".")
        answer = _without_period(plain_answer(line) or "")
        found = spans_of(passage, [(answer, PART)]) if answer and ended else None
        if not found or not question.endswith(("?", "？")) or answer.lower() in question.lower():
            return Reading(1, [])
        if question in [shown for _, shown, _ in _ASKED]:
            return Reading(1, [])
        start, end, _ = found[0]
        return Reading(1, [Sample(question, passage[start:end], context=passage)])


@dataclass(frozen=True)
class Paired:
    """Inputs with their outputs, for whatever else a task may be."""

    instruction: str
    max_new_tokens: int = 160
    stop: tuple[str, ...] = ("\n\n\n",)

    def prompt(self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]) -> str:
        """Return a prompt that ends where the next input begins."""
        head = f"Task: {one_line(self.instruction)}\n\nDifferent inputs{_wish(cell)}, with outputs."
        return _page(
            head,
            [_pair(example.input, example.output) for example in good],
            [_pair(sample.input, sample.output) for sample in earlier],
            "Input:",
        )

    def read(self, reply: str, cell: Cell, is_cut: bool | None = None) -> Reading:
        """Return the pairs that are whole; an output ends at a blank line, as prompts show none."""
        blocks = [block for block in re.split(r"(?m)^Input:", reply) if block.strip()]
        samples = []
        for block in _whole(blocks, _was_cut(reply, is_cut, self.max_new_tokens)):
            given, marker, output = block.partition("\nOutput:")
            answer = plain_answer(re.split(r"\n[ \t]*\n", output.strip())[0])
            given = _bare(one_line(given))
            if marker and answer and given:
                samples.append(Sample(given, answer))
        return Reading(len(blocks), samples)


# --- reading -------------------------------------------------------------------------------------


def spans_of(
    text: str, parts: Sequence[tuple[str, str]]
) -> tuple[tuple[int, int, str], ...] | None:
    """Return where parts stand in a text, every time that they do, the longest first served.

    Args:
        text: A sentence or passage.
        parts: Each with its type.

    Returns:
        `(start, end, type)` in characters, in order, without overlaps; `None` where a part does
        not stand in the text as whole words, or stands there only inside another one.

    >>> spans_of("York and New York", [("York", "city"), ("New York", "city")])
    ((0, 4, 'city'), (9, 17, 'city'))
    >>> spans_of("A fine film", [("plot", "part")]) is None
    True
    """
    taken: list[tuple[int, int, str]] = []
    for part, kind in sorted(set(parts), key=lambda pair: (-len(pair[0]), pair)):
        before = r"(?<!\w)" if part[:1].isalnum() and part.isascii() else ""
        after = r"(?!\w)" if part[-1:].isalnum() and part.isascii() else ""
        pattern = f"{before}{re.escape(part)}{after}"
        found = list(re.finditer(pattern, text)) or list(re.finditer(pattern, text, re.IGNORECASE))
        free = [
            (match.start(), match.end(), kind)
            for match in found
            if all(match.end() <= start or match.start() >= end for start, end, _ in taken)
        ]
        if not part or not free:
            return None
        taken += free
    return tuple(sorted(taken))


def plain_answer(text: str) -> str | None:
    """Return an answer without the list or the quotes around it, `None` if it holds several.

    >>> plain_answer(" ['1990'] "), plain_answer('"in May"'), plain_answer("['a', 'b']")
    ('1990', 'in May', None)
    """
    text = text.strip()
    if re.fullmatch(r"[\[(]\s*(['\"]).*\1\s*,?\s*[\])]", text, re.DOTALL):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        values = list(values) if isinstance(values, list | tuple) else [values]
        return values[0].strip() if len(values) == 1 and isinstance(values[0], str) else None
    return _bare(text)


def one_line(text: str) -> str:
    """Return a text on one line, so that it cannot begin a new row of a prompt."""
    return " ".join(text.split())


def _bare(text: str) -> str:
    """Return a text without the quotes that stand around all of it."""
    text = text.strip()
    match = _QUOTED.match(text)
    pairs = ("''", '""', "“”", "‘’", "``")
    if match and match[1] + match[3] in pairs and match[1] not in match[2]:
        return match[2].strip()
    return text


def _without_period(answer: str) -> str:
    """Return an answer without a sentence's period, but `U.S.` as it is."""
    return answer if re.search(r"\b[^\W\d]\.$", answer) else answer.removesuffix(".")


def _was_cut(reply: str, is_cut: bool | None, max_new_tokens: int) -> bool:
    """Return what the teacher says, else whether a reply is long enough to have been cut."""
    return len(reply.encode()) >= BYTES_A_TOKEN * max_new_tokens if is_cut is None else is_cut


def _whole(blocks: list[str], is_cut: bool) -> list[str]:
    """Return a reply's blocks without the last one if it was cut; a blank line ends a block."""
    return blocks[:-1] if blocks and is_cut and "\n\n" not in blocks[-1].lstrip() else blocks


# --- writing -------------------------------------------------------------------------------------


def _page(head: str, good: Sequence[str], drafts: Sequence[str], opening: str) -> str:
    blocks = [head]
    if good and drafts:
        blocks += ["Drafts:", *drafts, "Good examples:", *good]
    else:
        blocks += [*good, *drafts]
    return "\n\n".join([*blocks, opening])


def _wish(cell: Cell) -> str:
    wishes = [f"{one_line(name)}: {one_line(value)}" for name, value in cell.attributes.items()]
    return f" ({'; '.join(wishes)})" if wishes else ""


def _pair(given: str, output: str) -> str:
    """Return a pair; an output may have lines of its own, but none that begins a row."""
    kept = re.sub(r"(?m)^(Input:|Output:)", r" \1", re.sub(r"\n{2,}", "\n", output.strip()))
    return f"Input: {one_line(given)}\nOutput: {kept}"


def _asked(passage: str, question: str, answer: str) -> str:
    return (
        f"Passage: {one_line(passage)}\nQuestion: {one_line(question)}\nAnswer: {one_line(answer)}"
    )


def _told(example: Demonstration) -> str:
    match = _QUESTION.match(example.input)
    if match is None:
        return f"{one_line(example.input)}\nAnswer: {one_line(example.output)}"
    return _asked(match["context"], match["question"], example.output)


def _joined(text: str, spans: Sequence[tuple[int, int, str]], types: Sequence[str]) -> str:
    """Return the parts as an output, in order, each once."""
    typed = tuple(types) != (PART,)
    parts = [f"{kind}: {text[a:b]}" if typed else text[a:b] for a, b, kind in spans]
    return "; ".join(dict.fromkeys(parts))


def _typed(sample: Sample) -> str:
    return "; ".join(dict.fromkeys(f"{kind}: {sample.input[a:b]}" for a, b, kind in sample.spans))
