"""Rows to learn from, written by a language model for a task that a prompt describes (chapter 7).

Rounds of prompts go to the teacher until enough rows have passed the filters, or a cap is met.
Later prompts show rows that were kept before, ask for other attributes and are answered at a
higher temperature, so that the rows differ.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reptune.checks import check_number, check_random_state, check_texts, check_whole_number
from reptune.prompt2model import filters
from reptune.prompt2model.cache import Journal
from reptune.prompt2model.filters import Embed, Filter, Kept
from reptune.prompt2model.forms import Cell, Form, form_of, one_line
from reptune.prompt2model.task import Demonstration, Sample, Task
from reptune.prompt2model.votes import Labeler, prompt_labelers, relabel, vote

if TYPE_CHECKING:  # which loads PyTorch
    from reptune.prompt2model.teachers import LocalTeacher, Teacher

logger = logging.getLogger(__name__)

PROMPT_TOKENS = 1500  # at most, whatever the teacher's window holds: long prompts take long
BYTES_A_TOKEN = 2.5  # where a teacher does not count, fewer than most texts have
MOST_EXAMPLES = 10  # of a prompt, of each kind
TRIES = 2  # of a round in which the teacher fails
FAILURES = (RuntimeError, OSError, ValueError)  # what a model, a server or a prompt may bring
# Rows that a prompt is expected to bring until some have been counted, and at the very least.
EXPECTED, LEAST_EXPECTED = 2.0, 0.25
LEAST_ROUND = 8  # prompts: for fewer, a round takes hardly less time
TOPIC_LISTS = 4  # that the teacher is asked for; what it names more often comes first
_TOPICS = (
    "Task: Decide whether a hotel guest is content.\n"
    "What such texts are about: the room; the breakfast; the staff; the price; the noise\n\n"
)
STYLES = ("plain", "informal", "formal", "vivid")
LENGTHS = ("a short sentence", "one long sentence")
_LANGUAGES = re.compile(
    r"\b(japanese|chinese|korean|german|french|spanish|italian|portuguese|dutch|russian|arabic|"
    r"hindi|turkish|polish|ukrainian|persian|translat\w+|languages?|multilingual)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Generated:
    """What a teacher wrote, as far as it is of use.

    Attributes:
        samples: The rows, shuffled; each says in `origin` what wrote it and how.
        yields: From what was asked to what was kept: a step and a number each.
        settings: All that the rows depend on.
        stopped: Why no more was written, a sentence.
        seconds: Spent on writing and filtering, a resumed run's earlier ones included.
    """

    samples: tuple[Sample, ...] = ()
    yields: tuple[tuple[str, int], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""
    seconds: float = 0.0


class Generator(Protocol):
    """What turns a task into rows; `ListGenerator` is the default."""

    def generate(
        self,
        task: Task,
        *,
        count: int,
        horizon: int | None = None,
        random_state: int = 42,
        folder: str | Path | None = None,
        passages: Iterable[str] | None = None,
        test_texts: Sequence[str] = (),
        max_seconds: float | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> Generated:
        """Return up to `count` rows; see `ListGenerator.generate`."""
        ...


@dataclass(frozen=True)
class ListGenerator:
    r"""Let a causal model write rows by going on with a list of them.

    Args:
        teacher: Who writes; see `reptune.prompt2model.teachers.Teacher`. One that lacks `limit` and
            `count_tokens` is taken to have room for 1,500 tokens.
        attributes: What the rows shall be like: names with their values, such as
            `{"topic": ["the acting", "the music"]}`; each prompt asks for one combination, and
            every label for the same ones. `None` lets the teacher propose topics; `{}` asks for
            nothing.
        temperature: Of the first rows and of the last ones; in between it rises evenly.
        examples: How many rows that were kept before a prompt shows at most, up to 10; 0 for none.
        batch_size: Prompts that the teacher reads together.
        similar: The cosine from which on a row is too near an earlier one; `None` does not ask.
        checks: Filters of single rows; `None` takes `default_checks(task)`, `()` none.
        embed: From texts to unit vectors; `None` takes MiniLM where it is needed and the rows are
            in English, and no cosine elsewhere.
        judge: A second model that must find each row's label the likeliest (relabeling), such as
            `LocalTeacher("SmolLM2-135M-Instruct")`; the teacher itself would mostly agree with
            itself. `None` asks nobody. See `reptune.prompt2model.votes.relabel`.
        max_calls: Prompts at most; `None` allows four for each row and 64 more.
        patience: Rounds without a new row after which the teacher is believed to have no more.

    Raises:
        ValueError: If an argument is bad.

    >>> class Parrot:  # stands for a language model
    ...     name = "parrot"
    ...     def generate(self, prompts, *, random_state, **_):
    ...         return [f" The plot has {random_state + i} holes.\\n" for i in range(len(prompts))]
    >>> task = Task("…", "Judge films.", kind="classification", labels=("good", "bad"))
    >>> generator = ListGenerator(Parrot(), attributes={}, similar=None, batch_size=2)
    >>> generated = generator.generate(task, count=4)
    >>> sorted(sample.output for sample in generated.samples), generated.stopped
    (['bad', 'bad', 'good', 'good'], 'all rows are there')

    Source: Viswanathan et al., *Prompt2Model* (2023), section 3.3; Yu et al., *Large Language
    Model as Attributed Training Data Generator* (2023); chapter 7.
    """

    teacher: Teacher
    attributes: Mapping[str, Sequence[str]] | None = None
    temperature: tuple[float, float] = (0.7, 1.1)
    examples: int = 5
    batch_size: int = 32
    similar: float | None = filters.SIMILAR
    checks: Sequence[Filter] | None = None
    embed: Embed | None = None
    judge: LocalTeacher | None = None
    max_calls: int | None = None
    patience: int = 4

    def __post_init__(self) -> None:
        first, last = self.temperature
        check_number("temperature[0]", first, least=0)
        check_number("temperature[1]", last, least=first)
        if check_whole_number("examples", self.examples, least=0) > MOST_EXAMPLES:
            raise ValueError(f"examples={self.examples}; use {MOST_EXAMPLES} at most.")
        for name in ("batch_size", "patience"):
            check_whole_number(name, getattr(self, name))
        if self.max_calls is not None:
            check_whole_number("max_calls", self.max_calls)
        for name, values in (self.attributes or {}).items():
            check_texts(values, f"attributes[{name!r}]")

    def generate(
        self,
        task: Task,
        *,
        count: int,
        horizon: int | None = None,
        random_state: int = 42,
        folder: str | Path | None = None,
        passages: Iterable[str] | None = None,
        test_texts: Sequence[str] = (),
        max_seconds: float | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> Generated:
        """Let the teacher write rows, as many of each label.

        Args:
            task: What the rows are for.
            count: How many to keep.
            horizon: How many there will be in the end, by which the temperature rises; `None` takes
                `count`. To look at ten rows first, ask for `count=10, horizon=3000`; then
                `count=3000` with the same `folder` goes on from there, and gives what it would
                have given at once.
            random_state: Seed of everything that is drawn.
            folder: Where each round is kept as soon as it is written; a run that was killed goes
                on there, and gives what it would have given. `None` keeps nothing.
            passages: What questions are asked about; `None` lets the teacher write them too.
            test_texts: No row that is near one of them is kept.
            max_seconds: No round begins after so many seconds; `None` for no limit.
            progress: Called after each round with the rows kept and `count`.

        Returns:
            Up to `count` rows; fewer where a cap was met, and `stopped` says which.

        Raises:
            ValueError: If an argument is bad, or a journal in `folder` does not fit.
            OSError: If `folder` cannot be written; what was written before is kept there.
        """
        check_whole_number("count", count)
        if horizon is not None and check_whole_number("horizon", horizon) < count:
            raise ValueError(f"horizon={horizon} is below count={count}; raise it or leave it out.")
        check_random_state(random_state)
        if max_seconds is not None:
            check_number("max_seconds", max_seconds, above=0)
        told = None if passages is None else check_texts(passages, "passages")
        tests = list(test_texts)
        run = _Run(self, task, count, horizon or count, int(random_state), told, tests, max_seconds)
        with Journal(folder, run.settings) as journal:
            run.begin(journal)
            while not run.is_over():
                run.round(journal)
                if progress is not None:
                    progress(min(len(run.kept), count), count)
        return run.result()


def generate(
    task: Task,
    teacher: Teacher,
    *,
    count: int,
    horizon: int | None = None,
    random_state: int = 42,
    folder: str | Path | None = None,
    passages: Iterable[str] | None = None,
    test_texts: Sequence[str] = (),
    max_seconds: float | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **settings: Any,
) -> Generated:
    """Let a teacher write rows for a task: `ListGenerator(teacher, **settings).generate(task, …)`.

    Source: chapter 7.
    """
    return ListGenerator(teacher, **settings).generate(
        task, count=count, horizon=horizon, random_state=random_state, folder=folder,
        passages=passages, test_texts=test_texts, max_seconds=max_seconds, progress=progress,
    )  # fmt: skip


def default_checks(
    task: Task, test_texts: Sequence[str] = (), embed: Embed | None = None
) -> list[Filter]:
    """Return the filters of single rows that fit a task, in the order in which they are asked.

    The language is checked where it is known: from the user's own examples, or from an English
    instruction that names no other.
    """
    like, language = [example.input for example in task.demonstrations], None
    if not like and task.language == "en" and not _LANGUAGES.search(task.instruction):
        like, language = [task.instruction], "en"
    checks: list[Filter] = [filters.drop_refusals, filters.drop_debris, filters.drop_length]
    if like:
        checks.append(lambda rows: filters.drop_other_scripts(rows, like, language))
    checks.append(lambda rows: filters.drop_echoes(rows, task.instruction, task.demonstrations))
    if task.kind == "classification":
        checks.append(lambda rows: filters.drop_label_names(rows, task.labels))
    if test_texts:
        checks.append(lambda rows: filters.drop_leaks(rows, test_texts, embed=embed))
    return checks


def propose_topics(
    task: Task, teacher: Teacher, random_state: int = 42, most: int = 12
) -> list[str]:
    """Return topics that the teacher names for a task; none if fewer than three are usable.

    A topic is one to four words, is named once, and holds no label: a topic that gives a label
    away would be all that a student learns.

    Args:
        task: Any.
        teacher: Who proposes.
        random_state: Seed of the draw.
        most: How many topics at most.
    """
    prompt = f"{_TOPICS}Task: {one_line(task.instruction)}\nWhat such texts are about:"
    replies = teacher.generate(
        [prompt] * TOPIC_LISTS,
        max_new_tokens=48,
        temperature=0.7,
        stop=("\n",),
        random_state=random_state,
    )
    labels = {word for label in task.labels for word in re.findall(r"\w+", label.lower())}
    named: Counter[str] = Counter()
    for reply in replies:
        parts = re.split(r"[;,]", reply)
        if len(parts) >= 3:  # else it is no list; and its last one may be cut off
            named.update(sorted({part.strip(" .*\"'`").lower() for part in parts[:-1]}))
    found = []
    for topic, _ in named.most_common():
        words = re.findall(r"\w+", topic)
        plain = re.fullmatch(r"[^\W\d][\w' &-]+", topic)
        if plain and len(words) <= 4 and labels.isdisjoint(words) and topic not in _TOPICS:
            found.append(topic)
    return found[:most] if len(found) >= 3 else []


def yield_table(
    count: int, calls: int, written: int, parsed: int, dropped: Mapping[str, int]
) -> tuple[tuple[str, int], ...]:
    """Return what was left after each step, from what was asked to what was kept.

    >>> yield_table(2, 3, 9, 8, {"refusal": 1, "exact duplicate": 5})[3:]
    (('well formed', 8), ('after: refusal', 7), ('after: exact duplicate', 2), ('kept', 2))
    """
    steps = [("asked", count), ("prompts", calls), ("written", written), ("well formed", parsed)]
    left = parsed
    for reason, number in dropped.items():
        left -= number
        steps.append((f"after: {reason}", left))
    return (*steps, ("kept", left))


# --- a run ---------------------------------------------------------------------------------------


@dataclass
class _Run:
    """One call of `ListGenerator.generate`, a function of its arguments and the replies."""

    how: ListGenerator
    task: Task
    count: int
    horizon: int
    seed: int
    passages: list[str] | None
    test_texts: list[str]
    max_seconds: float | None

    def __post_init__(self) -> None:
        self.form: Form = form_of(self.task)
        calls = self.how.max_calls
        self.max_calls = 4 * self.horizon + 64 if calls is None else calls
        self.batch_size = min(self.how.batch_size, self.max_calls)
        self.labels = list(self.task.labels) if self.task.kind == "classification" else [""]
        checks = self.how.checks
        self.checks = (
            default_checks(self.task, self.test_texts, self.how.embed)
            if checks is None else list(checks)
        )  # fmt: skip
        self.labelers = [] if self.how.judge is None else self._labelers(self.how.judge)
        self.judged: list[Sample] = []
        self.rows: list[Sample] = []  # all that passed the checks, repeated ones too: they vote
        self.kept: list[Sample] = []
        self.novel: dict[tuple[str, str], Sample] = {}
        self.dropped: Counter[str] = Counter()
        self.number = self.calls = self.written = self.parsed = self.idle = 0
        self.seconds, self.mark = 0.0, time.monotonic()
        self.stopped = ""
        self.cells: list[dict[str, str]] = [{}]
        self.used: Counter[str] = Counter()  # combinations of attributes, by label

    @property
    def settings(self) -> dict[str, Any]:
        """All that the rows depend on, but for the caps: a run goes on when they are raised."""
        given = self.how.checks
        names = [getattr(check, "__name__", str(check)) for check in given or ()]
        return {
            "task": asdict(self.task),
            "teacher": getattr(self.how.teacher, "key", self.how.teacher.name),
            "count": self.horizon,
            "random_state": self.seed,
            "attributes": None if self.how.attributes is None
            else {name: list(values) for name, values in self.how.attributes.items()},
            "temperature": list(self.how.temperature),
            "examples": self.how.examples,
            "batch_size": self.batch_size,
            "similar": self.how.similar,
            "checks": None if given is None else names,
            "form": asdict(self.form),
            "passages": None if self.passages is None else _digest(self.passages),
            "test_texts": _digest(self.test_texts),
            **({} if self.how.judge is None else {"judge": self.how.judge.key}),
        }  # fmt: skip

    def _labelers(self, judge: LocalTeacher) -> list[Labeler]:
        if self.task.kind != "classification":
            raise ValueError(f"judge={judge.name!r}: a task of kind {self.task.kind!r} has no "
                             "labels to confirm; leave judge out.")  # fmt: skip
        return prompt_labelers(judge, self.task.instruction, self.labels)

    # Before the first round.

    def begin(self, journal: Journal) -> None:
        """Choose the attributes, and leave out passages that no prompt can hold."""
        if self.passages is not None:
            if not (self.task.kind == "extraction" and self.task.has_question):
                raise ValueError(
                    "passages are for tasks that ask questions about them (Task.has_question); "
                    "leave them out."
                )
            fitting = [text for text in self.passages if self._prompt(Cell(passage=text), [], [])]
            if len(fitting) < len(self.passages):
                logger.warning("%d passages are too long for a prompt and left out",
                               len(self.passages) - len(fitting))  # fmt: skip
            rng = np.random.default_rng([self.seed, 1])
            self.passages = [fitting[row] for row in rng.permutation(len(fitting))]
        cell = Cell(self.labels[0], passage="" if not self.passages else self.passages[0])
        if self._prompt(cell, [], []) is None or self.passages == []:
            self.stopped = (
                f"the instruction, or every passage, is too long for a prompt of "
                f"{self._room():,} tokens; shorten it"
            )
            return
        self.cells = self._grid(journal)

    def _grid(self, journal: Journal) -> list[dict[str, str]]:
        """Return the combinations of attributes, in the order in which they are asked for."""
        attributes = self.how.attributes
        if attributes is None:
            attributes = {}
            if not self.passages:
                topics = self._topics(journal)
                attributes = {"topic": topics} if topics else {}
            if self.task.kind == "classification":
                attributes |= {"style": STYLES, "length": LENGTHS}
        grid = [
            dict(zip(attributes, values, strict=True))
            for values in itertools.product(*attributes.values())
        ]
        order = np.random.default_rng([self.seed, 2]).permutation(len(grid))
        return [grid[row] for row in order] or [{}]

    def _topics(self, journal: Journal) -> list[str]:
        found = journal.get("topics")
        if found is None:
            try:
                found = propose_topics(self.task, self.how.teacher, self.seed)
            except FAILURES as error:
                self.stopped = f"the teacher failed: {error}"
                return []
            journal.add("topics", found)
        return found

    # A round.

    def is_over(self) -> bool:
        """Return whether to stop, and note why."""
        if not self.stopped:
            if not any(self._missing(self.count).values()):
                self.stopped = "all rows are there"
            elif self.calls + self.batch_size > self.max_calls:
                self.stopped = f"the limit of {self.max_calls:,} prompts is reached"
            elif self.max_seconds is not None and self.seconds >= self.max_seconds:
                self.stopped = f"the limit of {self.max_seconds:g} seconds is reached"
            elif self.idle >= self.how.patience:
                self.stopped = (
                    f"{self.idle} rounds brought no new row: the teacher repeats itself, refuses "
                    "or writes another format"
                )
        return bool(self.stopped)

    def round(self, journal: Journal) -> None:
        """Ask a batch of prompts, or read what they brought earlier, and keep what is of use."""
        rng = np.random.default_rng([self.seed, 3, self.number])
        heat = self._temperature()
        asked = [self._fitted(cell, rng) for cell in self._next_cells(rng)]
        cells, prompts = [cell for cell, _ in asked], [prompt for _, prompt in asked]
        replies, cut = self._replies(journal, prompts, heat)
        before = len(self.kept)
        found = []
        for index, cell in enumerate(cells):
            reading = self.form.read(replies[index] or "", cell, cut[index])
            self.written += reading.written
            origin = self._origin(cell, heat, self.calls + index)
            found += [replace(sample, origin=origin) for sample in reading.samples]
        self.calls += sum(reply is not None for reply in replies)
        self.parsed += len(found)
        self._take(found)
        self.idle = 0 if len(self.kept) > before else self.idle + 1
        self.number += 1

    def _temperature(self) -> float:
        first, last = self.how.temperature
        return round(first + (last - first) * min(len(self.kept) / self.horizon, 1), 4)

    def _origin(self, cell: Cell, heat: float, call: int) -> dict[str, Any]:
        return {
            "by": "generated",
            "teacher": self.how.teacher.name,
            "seed": self.seed,
            "temperature": heat,
            "attributes": dict(cell.attributes),
            "call": call,
        }

    def _label(self, sample: Sample) -> str:
        return sample.output if self.task.kind == "classification" else ""

    def _targets(self, count: int) -> dict[str, int]:
        """Return how many of so many rows each label shall have."""
        shares = np.array_split(np.arange(count), len(self.labels))
        return {label: len(share) for label, share in zip(self.labels, shares, strict=True)}

    def _missing(self, count: int) -> dict[str, int]:
        """Return how many rows of each label there are too few."""
        found = Counter(map(self._label, self.kept))
        return {label: max(target - found[label], 0)
                for label, target in self._targets(count).items()}  # fmt: skip

    def _next_cells(self, rng: np.random.Generator) -> list[Cell]:
        """Return what the next prompts ask for: labels that lack most rows first."""
        missing = {label: float(number) for label, number in self._missing(self.horizon).items()}
        expected = EXPECTED if not self.calls else len(self.kept) / self.calls
        expected = max(expected, LEAST_EXPECTED)
        wanted = math.ceil(1.5 * sum(missing.values()) / expected)
        cells = []
        for _ in range(min(max(wanted, LEAST_ROUND), self.batch_size)):
            label = max(missing, key=lambda name: missing[name])
            missing[label] -= expected
            number = self.used[label]
            self.used[label] += 1
            passage = self.passages[number % len(self.passages)] if self.passages else ""
            cells.append(Cell(label, self.cells[number % len(self.cells)], passage))
        return cells

    def _fitted(self, cell: Cell, rng: np.random.Generator) -> tuple[Cell, str]:
        """Return a prompt with as many examples as fit, and what it asks for."""
        own = [given for given in self.task.demonstrations
               if not cell.label or given.output == cell.label]  # fmt: skip
        good = [own[row] for row in rng.permutation(len(own))[:MOST_EXAMPLES]]
        pool = [sample for sample in self.kept if self._label(sample) == cell.label]
        wanted = int(rng.integers(1, self.how.examples + 1)) if self.how.examples else 0
        earlier = [pool[row] for row in rng.permutation(len(pool))[:wanted]]
        while (prompt := self._prompt(cell, good, earlier)) is None:
            if earlier:
                earlier.pop()
            elif good:
                good.pop()
            else:
                cell = replace(cell, attributes={})  # `begin` has seen that this fits
        return cell, prompt

    def _prompt(
        self, cell: Cell, good: Sequence[Demonstration], earlier: Sequence[Sample]
    ) -> str | None:
        """Return a prompt, or `None` if it is too long."""
        prompt = self.form.prompt(cell, good, earlier)
        count = getattr(self.how.teacher, "count_tokens", None)
        tokens = count(prompt) if count else len(prompt.encode()) / BYTES_A_TOKEN
        return prompt if tokens <= self._room() else None

    def _room(self) -> int:
        limit = getattr(self.how.teacher, "limit", None)
        return (
            PROMPT_TOKENS if limit is None else min(PROMPT_TOKENS, limit - self.form.max_new_tokens)
        )

    def _recorded(self, journal: Journal, prompts: list[str]) -> dict[str, Any] | None:
        record = journal.get(f"round {self.number}")
        if record is not None and record["prompts"] != _digest(prompts):
            raise ValueError(
                f"{journal.path} was written with other prompts, perhaps by another version of "
                "this package; remove it or use another folder."
            )
        return record

    def _replies(
        self, journal: Journal, prompts: list[str], heat: float
    ) -> tuple[list[str | None], list[bool | None]]:
        """Return what is recorded of a round, or what the teacher writes, once it is recorded.

        A teacher that stops on the way gives the replies that had come. They are kept, `None`
        stands for the others, and the next run asks for those. Beside each reply stands whether it
        was cut, as far as the teacher says.
        """
        none = [None] * len(prompts)
        record = {"replies": none, "cut": none, "seconds": 0.0}
        record |= self._recorded(journal, prompts) or {}
        replies, cut = list(record["replies"]), list(record["cut"])
        if None in replies:
            self._ask(prompts, replies, cut, heat)
            if any(reply is not None for reply in replies):
                now = time.monotonic()
                record = {
                    "prompts": _digest(prompts),
                    "replies": replies,
                    "cut": cut,
                    "seconds": record["seconds"] + now - self.mark,
                }
                journal.add(f"round {self.number}", record)
                self.mark = now
        self.seconds += record["seconds"]
        return replies, cut

    def _ask(
        self, prompts: list[str], replies: list[str | None], cut: list[bool | None], heat: float
    ) -> None:
        """Fill in the replies that are missing, as far as the teacher answers."""
        for _ in range(TRIES):
            lacking = [index for index, reply in enumerate(replies) if reply is None]
            error = None
            try:
                found = self._written(prompts, lacking, heat)
            except FAILURES as failure:
                error = failure
                logger.warning("the teacher failed: %s", error)
                found = getattr(error, "answers", None) or [None] * len(lacking)
            for index, reply in zip(lacking, found, strict=True):
                replies[index], cut[index] = reply, getattr(reply, "is_cut", None)
            is_over = getattr(error, "is_over", False)
            if error is None or is_over:
                break
        if error is not None and (is_over or all(reply is None for reply in replies)):
            self.stopped = f"the teacher failed: {error}"
        else:  # a prompt that it answers at no try is left without an answer
            replies[:] = [reply or "" for reply in replies]

    def _written(self, prompts: list[str], lacking: list[int], heat: float) -> list[str]:
        seed = np.random.SeedSequence([self.seed, 4, self.number]).generate_state(1)[0]
        found = self.how.teacher.generate(
            [prompts[index] for index in lacking],
            max_new_tokens=self.form.max_new_tokens,
            temperature=heat,
            stop=self.form.stop,
            random_state=int(seed),
            # Those that are asked for again draw what they would have drawn at once.
            **({"draws": lacking} if len(lacking) < len(prompts) else {}),
        )
        if len(found) != len(lacking) or not all(isinstance(text, str) for text in found):
            raise TypeError(
                f"the teacher {self.how.teacher.name!r} returned {len(found)} replies for "
                f"{len(lacking)} prompts, or some that are no text; it must return a text for each."
            )
        return list(found)

    # What is kept.

    def _take(self, found: list[Sample]) -> None:
        for check in self.checks:
            found = self._note(check(found))
        found = self._note(self._confirmed(found))
        self.rows += found
        known = list(self.novel.values())
        for step in (filters.drop_duplicates, filters.drop_shared_runs, self._drop_similar):
            found = self._note(step(found, known))
        self.novel |= {filters.input_key(sample): sample for sample in found}
        self.kept = self._voted().samples

    def _confirmed(self, found: list[Sample]) -> Kept:
        """Return the rows whose label the judge confirms, by what it says of all so far.

        A round alone may hold one label only, which its mean would take away.
        """
        if not self.labelers:
            return Kept(found, 0, "")
        before = len(self.judged)
        self.judged += found
        stays = relabel(self.judged, self.labelers, self.labels).stays[before:]
        return filters.keep_where(found, stays, "label not confirmed")

    def _drop_similar(self, found: Sequence[Sample], known: Sequence[Sample]) -> Kept:
        if self.how.similar is None:
            return Kept(list(found), 0, "")
        return filters.drop_similar(found, known, embed=self.how.embed, threshold=self.how.similar)

    def _note(self, kept: Kept) -> list[Sample]:
        if kept.reason:
            self.dropped[kept.reason] += kept.dropped
        return kept.samples

    def _voted(self) -> Kept:
        """Return an output for each input, by all rows that ask the same."""
        asked = [row for row in self.rows if filters.input_key(row) in self.novel]
        samples = vote(asked, self.task.demonstrations).samples
        return Kept(samples, len(self.novel) - len(samples), "tied outputs")

    def result(self) -> Generated:
        """Return as many rows as were asked for, shuffled."""
        voted = self._voted()
        left = self._targets(self.count)
        samples = []
        for sample in voted.samples:
            label = self._label(sample)
            if left[label] > 0:
                left[label] -= 1
                samples.append(sample)
        over = len(voted.samples) - len(samples)
        dropped = {**self.dropped, voted.reason: voted.dropped, "more than asked": over}
        order = np.random.default_rng([self.seed, 5]).permutation(len(samples))
        table = yield_table(self.count, self.calls, self.written, self.parsed, dropped)
        logger.info("generated %d of %d rows: %s", len(samples), self.count, self.stopped)
        settings = {**self.settings, "grid": self.cells}
        return Generated(
            tuple(samples[row] for row in order), table, settings, self.stopped, self.seconds
        )


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]
