"""From a prompt to a saved model with a report: the components of chapter 7, one after another.

Parse the prompt, retrieve labeled rows, let a teacher write more, mix both, train a student on
them, and score it beside what needs no student. Each component can be replaced or left out.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune.assets import AssetError
from reptune.checks import check_number
from reptune.classification import MINIMUM_STEPS
from reptune.folders import check_replaceable, write_folder
from reptune.pipeline.examples import Examples
from reptune.pipeline.methods import method_named
from reptune.pipeline.report import write_report
from reptune.pipeline.splits import duplicate_groups, grouped_folds, strata_of, texts_of
from reptune.pipeline.text_scores import chrf
from reptune.pipeline.training import TEXT_METRICS, Result, train
from reptune.prompt2model.dataset_retriever import (
    Candidate,
    CatalogRetriever,
    DatasetRetriever,
    Retrieved,
)
from reptune.prompt2model.filters import Kept, drop_duplicates, drop_leaks, keep_where
from reptune.prompt2model.forms import Cell, form_of
from reptune.prompt2model.generator import Generated, Generator, ListGenerator, default_checks
from reptune.prompt2model.model_retriever import CatalogModelRetriever, ModelRetriever
from reptune.prompt2model.prompt import PromptParser, parse_prompt, translator
from reptune.prompt2model.prompt_demonstrations import is_short
from reptune.prompt2model.questions import check_question, cloze_questions
from reptune.prompt2model.rivals import score_rivals, verdict
from reptune.prompt2model.rows import (
    COLUMNS,
    counted,
    data_card,
    described,
    examples_of,
    kind_of_task,
    write_rows,
)
from reptune.prompt2model.task import Sample, Task
from reptune.prompt2model.teachers import LocalTeacher, Teacher

logger = logging.getLogger(__name__)

TEACHER = "Qwen2.5-Coder-0.5B-Instruct"
SHOWN = 10  # rows that are shown before more are made
LEAST_ROWS = 20  # to learn from
# Of a frozen student's head, C times the number of rows: labels that a machine wrote are often
# wrong, and a strong penalty lets the head ignore one that no similar row shares. C = 0.3 for 1,000
# rows comes from the study ch07_students; the same C for 92 rows was far too strong.
DOUBT = 300
MOST_GENERATED = 3000  # rows, beyond which a small teacher repeats itself
# Where the user has no rows to test on: one in five is held out, of the retrieved ones where there
# are so many, and never more than this.
FOLDS, LEAST_RETRIEVED, MOST_TEST = 5, 100, 500
# Where the user's texts have no more words than this, only so many tokens of each text are read,
# by the methods that can be told so.
SHORT, SHORT_TOKENS = 90, 128
READ_SHORT = ("frozen", "setfit", "head", "last-blocks", "full")
# The methods that make no more steps for few rows by themselves, and their epochs.
LONGER = {"extractor": 3, "tagger": 3}
BATCH_SIZE, MOST_EPOCHS = 16, 20
MADE = "rows made for the task"  # how the report calls those that are not
# What a task's student is: a name in `reptune.pipeline.methods.METHODS`.
STUDENTS = {
    "label": "full",
    "tags": "tagger",
    "span": "extractor",
    "text": "generator",
}


@dataclass(frozen=True)
class Built:
    """What `build` made, and everything it rests on.

    Attributes:
        result: The model with its card and its worst errors.
        task: How the prompt was understood.
        samples: The rows that were learned from, each with its origin.
        candidates: The data sets that the retriever considered, best first.
        yields: What became of the rows that the teacher wrote: a step and a number each.
        notes: What was assumed, left out or went wrong, each a sentence.
    """

    result: Result
    task: Task
    samples: tuple[Sample, ...]
    candidates: tuple[Candidate, ...] = ()
    yields: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    def save(self, folder: str | Path) -> Path:
        """Write the model, its report, and the rows with a card of their own, as one.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
            OSError: If the disk is full or the folder cannot be written.
        """

        def write(written: Path) -> None:
            self.result.model.save(written)
            title = f"A model for: {self.task.instruction}"
            write_report(self.result.card, self.result.errors, written, title)
            (written / "prompt.txt").write_text(self.task.prompt, encoding="utf-8")
            write_rows(self.samples, self.task, written / "rows.jsonl")
            (written / "data_card.md").write_text(data_card(self), encoding="utf-8")

        return write_folder(folder, write)


def build(
    prompt: str,
    *,
    out: str | Path | None = None,
    teacher: str | Teacher | None = TEACHER,
    minutes: float = 30.0,
    retrieve: bool = True,
    generate: bool = True,
    test: Examples | None = None,
    passages: Sequence[str] | None = None,
    student: str | None = None,
    settings: Mapping[str, Any] | None = None,
    exclude: Collection[str] = (),
    choose: Callable[[Sequence[Candidate]], int | None] | None = None,
    show: Callable[[Sequence[Sample]], bool] | None = None,
    progress: Callable[[str], Any] | None = None,
    parser: PromptParser = parse_prompt,
    retriever: DatasetRetriever | None = None,
    generator: Generator | None = None,
    models: ModelRetriever | None = None,
    random_state: int = 42,
) -> Built:
    """Build a small model from a prompt.

    Args:
        prompt: What the model shall do, with examples if there are any.
        out: Where the model will be saved; looked at before any work. What the teacher writes is
            kept in `OUT.parts`, so that a killed run goes on there. `None` keeps it in memory.
        teacher: Who writes rows: an asset's name, a local folder or a Hub id of a causal model, any
            `Teacher`, or `None`.
        minutes: Time for generating; training and scoring come on top.
        retrieve: Look for labeled rows in the catalog.
        generate: Let the teacher write rows.
        test: Labeled rows of your own to score the student on. `None` keeps a part of the
            retrieved rows for that, or, where there are none, of the generated ones, which says
            less: the report says so.
        passages: What questions are to be asked about, for a question task.
        student: A method of `reptune.pipeline.methods`; `None` chooses by the kind of task.
        settings: Parameters of its estimator.
        exclude: Data sets that may not be retrieved, such as the one that `test` is from.
        choose: Chooses among the retriever's candidates; `None` takes the best that fits.
        show: Gets the first rows before more are made; if it returns `False`, the run stops.
        progress: Called with a sentence at each step.
        parser: From the prompt to a task.
        retriever: From the task to labeled rows; `None` takes `CatalogRetriever`.
        generator: From the task to rows that the teacher writes; `None` takes `ListGenerator`.
        models: From the task to the model that the student starts from; `None` takes
            `CatalogModelRetriever`. A `model` among `settings` overrules it.
        random_state: Seed of everything that is random.

    Raises:
        ValueError: If the prompt names no task, an argument is bad, too few rows came of it all,
            or `show` stopped the run; the message says what to change.
        reptune.assets.AssetUnavailable: If a model or the catalog cannot be had.

    Source: Viswanathan et al., *Prompt2Model: Generating Deployable Models from Natural Language
    Instructions* (2023); chapter 7.
    """
    check_number("minutes", minutes, above=0)
    if out is not None:
        check_replaceable(out)
    if not (retrieve or generate):
        raise ValueError("retrieve and generate are both off: no rows would come. Leave one on.")
    say = progress or logger.info
    teacher = LocalTeacher(teacher) if isinstance(teacher, str) else teacher
    task = understood(prompt, parser, teacher)
    _check_test(task, test)
    _check_means(task, student, passages, generate and teacher is None)
    if generate and generator is None:
        form_of(task)  # which says what the prompt lacks
    say(f"task: {described(task)}")
    for note in task.notes:
        say(f"note: {note}")
    notes = list(task.notes)
    held_texts = [] if test is None or test.kind == "span" else texts_of(test)

    retrieved: list[Sample] = []
    candidates: tuple[Candidate, ...] = ()
    if retrieve:
        found = (retriever or CatalogRetriever()).retrieve(
            task, exclude=exclude, choose=choose, random_state=random_state
        )
        candidates, retrieved = found.candidates, list(found.samples)
        notes += found.reasons[:5]
        _tell(found, say)
    written = Generated((), (), {})
    if generate:
        writer = generator or _generator(teacher, task, held_texts)
        written = _written(
            writer, task, held_texts, minutes, show, say,
            passages=passages, folder=None if out is None else f"{out}.parts",
            random_state=random_state,
        )  # fmt: skip
        notes.append(f"Writing ended because {written.stopped or 'all rows are there'}.")
    ruled = _by_rule(task, passages, random_state)
    source, rest = list(retrieved), [*written.samples, *ruled]
    if len(source) < LEAST_RETRIEVED:
        source, rest = rest, source
    source, rest = drop_duplicates(source).samples, drop_duplicates(rest).samples
    own_test = test
    test, kept, how = _test_of(task, source, test, random_state)
    say("comparing the rows with those to test on")
    samples, steps = _pool(task, [*kept, *rest], test)
    all_rows = ("from all sources, each once", len(drop_duplicates([*source, *rest]).samples))
    yields = (*written.yields, all_rows, *steps)
    _check_pool(task, samples, notes, yields)
    order = np.random.default_rng(random_state).permutation(len(samples))
    samples = [samples[row] for row in order]
    examples = examples_of(samples, task, "rows.jsonl")
    method = student or STUDENTS[examples.kind]
    given = _with_model(task, method, settings, models, notes)
    given = {
        **_cut(task, own_test, samples, method, notes),
        **_epochs(method, len(samples)),
        **_doubt(method, len(samples)),
        **given,
    }
    say(f"training {method} on {len(samples):,} rows")
    result = train(
        examples, method, settings=given, test=test, columns=COLUMNS[examples.kind],
        random_state=random_state,
    )  # fmt: skip
    say("scoring what needs no student on the same rows")
    result.card["rivals"] = score_rivals(result.model, test, task, teacher, random_state)
    wholly = test.kind == "text" and all(map(is_short, test.targets))
    result.card["scored_on"] = how
    result.card["verdict"] = verdict(result.card, wholly, made=how.startswith(MADE))
    result.card["origins"] = {
        "rows": counted(samples), "yield": [list(step) for step in yields], "notes": notes,
    }  # fmt: skip
    return Built(result, task, tuple(samples), candidates, yields, tuple(notes))


def understood(prompt: str, parser: PromptParser, teacher: Teacher | None) -> Task:
    """Return the task of a prompt, or raise a `ValueError` that says what the prompt lacks."""
    task = parser(prompt, translate=None if teacher is None else translator(teacher))
    if task.kind is None:
        raise ValueError("; ".join(task.notes) or "the prompt names no task; say what to do.")
    if task.kind == "classification" and len(task.labels) < 2:
        known = f"only the label {task.labels[0]!r}" if task.labels else "no labels"
        raise ValueError(
            f"the prompt names {known}; name at least two, such as 'Label each message as spam or "
            "ham.'"
        )
    return task


# --- the steps -----------------------------------------------------------------------------------


def _check_test(task: Task, test: Examples | None) -> None:
    if test is None:
        return
    kind = kind_of_task(task)
    if test.kind != kind:
        raise ValueError(f"{test.name} holds {test.kind!r} rows, but the prompt asks for {kind!r}.")
    unknown = [label for label in test.labels if kind == "label" and label not in task.labels]
    if unknown:
        raise ValueError(
            f"{test.name} has the label {unknown[0]!r}, but the prompt names "
            f"{', '.join(map(repr, task.labels))}; use the same names in both."
        )


def _check_means(
    task: Task, student: str | None, passages: Sequence[str] | None, lacks_teacher: bool
) -> None:
    """Raise for what would else be said only after half an hour of writing."""
    kind = kind_of_task(task)
    method_named(student or STUDENTS[kind], kind)
    if kind in TEXT_METRICS:
        chrf(["a"], ["a"])  # which needs an extra
    if lacks_teacher:
        raise ValueError("generate needs a teacher; name one, or pass generate=False.")
    if passages is not None and kind != "span":
        raise ValueError(
            "passages are for questions about them, and the prompt asks for "
            f"{described(task)}; leave them out, or say in the prompt that there is a question."
        )
    if passages is not None and not passages:
        raise ValueError("passages holds no text; give one passage per line.")


def _generator(teacher: Teacher, task: Task, held_texts: list[str]) -> Generator:
    """Return the default generator, with what it has to know of questions."""
    if kind_of_task(task) != "span":
        return ListGenerator(teacher)
    checks = [*default_checks(task, held_texts), _drop_odd_questions]
    # A question that was kept shows nothing of use to another passage, and costs its length.
    return ListGenerator(teacher, examples=0, checks=checks)


def _drop_odd_questions(samples: Sequence[Sample]) -> Kept:
    stays = [check_question(sample) is None for sample in samples]
    return keep_where(samples, stays, "question that copies or does not fit")


def _written(
    generator: Generator, task: Task, held_texts: list[str], minutes: float,
    show: Callable[[Sequence[Sample]], bool] | None, say: Callable[[str], Any],
    folder: str | None, **options: Any,
) -> Generated:  # fmt: skip
    """Let the teacher write: a few rows to look at first, then on to as many as the time allows."""
    start = time.monotonic()

    def write(count: int) -> Generated:
        return generator.generate(
            task, count=count, horizon=MOST_GENERATED, test_texts=held_texts, folder=kept,
            max_seconds=60 * minutes, **options,
            progress=lambda done, _: say(
                f"written: {done:,} rows, {time.monotonic() - start:.0f} s"
            ),
        )  # fmt: skip

    with contextlib.ExitStack() as stack:
        # What is looked at is the beginning of what follows, so it must lie somewhere in between.
        kept = folder or stack.enter_context(tempfile.TemporaryDirectory())
        say(f"generating for {minutes:g} minutes at most")
        if show is not None and not show(write(SHOWN).samples[:SHOWN]):
            raise ValueError("stopped at the first rows; change the prompt, or add examples to it.")
        written = write(MOST_GENERATED)
    say(f"generated: {len(written.samples):,} rows")
    return written


def _by_rule(task: Task, passages: Sequence[str] | None, random_state: int) -> list[Sample]:
    """Return questions about the passages that no teacher is needed for."""
    if passages is None or kind_of_task(task) != "span":
        return []
    return cloze_questions(passages, random_state=random_state)[:MOST_GENERATED]


def _test_of(
    task: Task, source: list[Sample], test: Examples | None, seed: int
) -> tuple[Examples, list[Sample], str]:
    """Return rows to test on, the rest of `source`, and what the former are.

    Rows that are nearly the same, or ask about the same passage, stay on one side; each label has
    its share.
    """
    if test is not None:
        return test, source, f"{test.name}, your own rows."
    examples = examples_of(source, task, "rows held out")
    contexts = [sample.context or sample.input for sample in source]
    groups = duplicate_groups(contexts)
    if len(np.unique(groups)) < FOLDS:
        raise ValueError(
            f"{len(source)} different rows came of the prompt, too few to hold some out; give more "
            "minutes, examples in the prompt, or rows to test on."
        )
    folds = grouped_folds(strata_of(examples), groups, FOLDS, seed)
    held = np.flatnonzero(folds == 0).tolist()[:MOST_TEST]
    near = set(groups[held].tolist())
    kept = [sample for sample, group in zip(source, groups, strict=True) if group not in near]
    if source[held[0]].origin.get("by") == "retrieved":
        name = source[held[0]].origin.get("data_set", "the catalog")
        how = (
            f"rows of {name} that the student did not learn from. Other texts than yours: label "
            "100 of your own, and run reptune evaluate on them."
        )
    else:
        how = (
            f"{MADE}, not real ones: it says how well the student imitates what made them, not how "
            "well it does the task. Label 100 texts of your own, and run reptune evaluate on them."
        )
    return examples.select(held), kept, how


def _pool(
    task: Task, made: list[Sample], test: Examples
) -> tuple[list[Sample], tuple[tuple[str, int], ...]]:
    """Return rows to learn from: the user's own, and of the others what is near no test row."""
    users = _own(task)
    left = drop_duplicates(made, users).samples
    apart = _apart(left, test)
    steps = (
        ("after: held out to test on", len(left)),
        ("after: near a row to test on", len(apart)),
        ("with your examples", len(users) + len(apart)),
    )
    return [*users, *apart], steps


def _apart(samples: list[Sample], test: Examples) -> list[Sample]:
    """Return what is near no row to test on; the same question about another passage is not."""
    if test.kind != "span":
        return drop_leaks(samples, texts_of(test)).samples
    passages = [passage for _, passage in test.inputs]
    groups = duplicate_groups([*(sample.context for sample in samples), *passages])
    tested = set(groups[len(samples) :].tolist())
    return [one for one, group in zip(samples, groups, strict=False) if group not in tested]


def _check_pool(
    task: Task, samples: list[Sample], notes: list[str], yields: Sequence[tuple[str, int]]
) -> None:
    """Refuse rows that nothing can be learned from, and note labels that have none."""
    cure = "Give more minutes, another teacher, or examples in the prompt."
    if len(samples) < LEAST_ROWS:
        raise ValueError(
            f"{len(samples)} rows came of the prompt, too few to learn from (at least "
            f"{LEAST_ROWS}). {' '.join(notes)} Yield: {dict(yields)}. {cure}"
        )
    if task.kind != "classification":
        return
    counts = Counter(sample.output for sample in samples)
    missing = [label for label in task.labels if not counts[label]]
    if missing:
        raise ValueError(
            f"no row came for the label {missing[0]!r}, which the model would then never give; "
            f"there are {dict(counts)}. {' '.join(notes)} {cure}"
        )


def _own(task: Task) -> list[Sample]:
    """Return the user's demonstrations as rows, where they can be learned from as they are."""
    kind = kind_of_task(task)
    if kind in ("tags", "span"):
        form, start = form_of(task), "Sentence:" if kind == "tags" else "Passage:"
        pages = (form.prompt(Cell(), [one], []) for one in task.demonstrations)
        blocks = (page.partition(f"\n{start}")[2].removesuffix(start) for page in pages)
        shown = [sample for block in blocks for sample in form.read(block, Cell()).samples]
        return drop_duplicates([replace(one, origin={"by": "user"}) for one in shown]).samples
    shown = [Sample(one.input, one.output, origin={"by": "user"}) for one in task.demonstrations]
    if task.kind == "classification":
        shown = [sample for sample in shown if sample.output in task.labels]
    return drop_duplicates(shown).samples


def _with_model(
    task: Task, method: str, settings: Mapping[str, Any] | None, models: ModelRetriever | None,
    notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the student's settings, with the model that it starts from."""
    given = dict(settings or {})
    if "model" in given or method in ("tfidf", "prompt", "in-context"):  # others than encoders
        return given
    try:
        choice = (models or CatalogModelRetriever()).retrieve(task)
    except (AssetError, ValueError) as error:  # the method's own default will do
        notes.append(f"The student's model was not chosen from the catalog: {error}")
        return given
    if choice.student:
        given["model"] = choice.student
    notes += choice.reasons
    return given


def _epochs(method: str, num_rows: int) -> dict[str, Any]:
    """Return more passes over few rows: three over 186 leave a span head near its start.

    As many steps as fine-tuning makes at least; see chapter 1.
    """
    steps = -(-num_rows // BATCH_SIZE)
    epochs = min(MOST_EPOCHS, -(-MINIMUM_STEPS // steps))
    return {"num_epochs": epochs} if method in LONGER and epochs > LONGER[method] else {}


def _doubt(method: str, num_rows: int) -> dict[str, Any]:
    """Return how a student weighs made rows: how many each label has is an accident."""
    balanced = {"class_weight": "balanced"} if method in ("frozen", "full") else {}
    return {"C": DOUBT / num_rows, **balanced} if method == "frozen" else balanced


def _cut(
    task: Task, test: Examples | None, samples: Sequence[Sample], method: str, notes: list[str]
) -> dict[str, Any]:
    """Return a limit for texts that are far longer than the user's: each word costs time.

    A prompt about sentences brings reviews of a page, of which fine-tuning reads 512 tokens each.
    """
    if method not in READ_SHORT:
        return {}
    own = [one.input for one in task.demonstrations] + ([] if test is None else texts_of(test))
    own = own or [one.input for one in samples if one.origin.get("by") == "generated"]
    words = [len(text.split()) for text in own]
    if not words or max(words) > SHORT or all(len(s.input.split()) <= SHORT for s in samples):
        return {}
    notes.append(
        f"Of each text, {SHORT_TOKENS} tokens are read, since your own have no more than "
        f"{SHORT} words."
    )
    return {"max_length": SHORT_TOKENS}


def forget(out: str | Path) -> None:
    """Remove what `build` kept in `OUT.parts`, and nothing else that lies there."""
    parts = Path(f"{out}.parts")
    for pattern in ("written-*.jsonl", ".written-*.lock"):
        for file in parts.glob(pattern):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else lies there, or nothing ever did
        parts.rmdir()


def _tell(found: Retrieved, say: Callable[[str], Any]) -> None:
    """Say which data sets were considered, which was taken, and if none was, why."""
    if found.candidates:
        say("data sets that were considered, the best first, with their similarity to the prompt:")
    for one in found.candidates:
        where = f" ({one.entry.hub_id})" if one.entry.hub_id else ""
        fetched = ", can be fetched here" if one.entry.obtainable else ""
        say(f"  {one.similarity:.2f} {one.entry.name}{where}{fetched}")
    if found.chosen is None:
        say(f"retrieved: no rows. {' '.join(found.reasons[:1])}".strip())
    else:
        say(f"retrieved: {len(found.samples):,} rows from {found.chosen.entry.name}")
