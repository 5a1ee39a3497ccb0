"""Questions about news: an extractor trained on questions that nobody had to write.

Written before any record. The test questions are this book's own, 150 of them on BBC articles, and
**not SQuAD**: compare no number here with one that was measured there. Training reads passages of
the train articles only. Two sources of questions: a rule, which turns a sentence around (see
`cloze_questions`), and the teacher, Qwen2.5-Coder 0.5B, which is asked for a question on each of
320 passages. Of the teacher's a question stays if `check_question` finds no fault in it and it
makes the round trip: the teacher, shown one example, or a first student, trained on rule questions
alone, answers it with the same words. The student is MiniLM under a `SpanExtractor`.

Primary comparison, normalized match with any accepted answer, 150 test questions: trained on both
(500 rule questions and the teacher's that stay) minus on the 500 rule questions only. Three
seeds, 42 to 44, each of the rule's draws, the teacher's and the training; a paired interval over
questions and seeds. "Better" is said where it excludes 0. **Smallest detectable difference**: if
the two disagree on a quarter of the questions, 11 points with one seed, in four of five tries;
three seeds take away the part that is training noise and no more. What holds in the end, 1.43 times
half of the interval's width, is recorded beside the result. Both has more rows than rule only; that
is the question (are the teacher's worth having on top?), not whether they are better row by row. Of
20 passages the teacher brought 6 questions that pass and 4 that also return, so expect about 65
beside the rule's 500: a small effect would go unseen.

Beside it: the teacher's questions only; no training at all, which is a rule (`nearest`: in the
sentence that shares most words with the question, the first words of the type that it asks for) and
the teacher itself, asked for each answer without an example and with one. `nearest` was written
with a look at the validation questions, so it may do a little worse on test.

Nothing is chosen: three epochs and `most_copied` at 0.95, the package's defaults, for every
student. Test is scored once for each method. The student that answers the teacher's questions is
the one of rule questions with the same seed, kept in the cache. What the teacher wrote is kept in
`data/generated`, as positions in articles.

Planned for two cores, a job on each: 35 minutes, 12 of them for the students of rule questions and
what needs no training, 11 for writing and the round trip, 12 for the other students. Cut down
before any record, since machine time is short: the choice of epochs and of `most_copied` on
validation and the curve over numbers of rule questions are gone, and so are half of the rule's and
two thirds of the teacher's questions (1,000 and 960 passages before) and two of five seeds.
"""

import functools
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from shared.common import SEEDS, Job, fit_fields, in_stages
from shared.prompted import GENERATED, MINILM, QWEN
from shared.replies import replies

from reptune import meter
from reptune.assets import cache_dir
from reptune.book import results
from reptune.data.catalog import split_rows
from reptune.extraction import SpanExtractor
from reptune.metrics import paired_interval
from reptune.pipeline.text_scores import answer_f1, normalized_match
from reptune.prompt2model.forms import one_line, plain_answer, spans_of
from reptune.prompt2model.generator import ListGenerator
from reptune.prompt2model.questions import (
    check_question,
    cloze_questions,
    cut_passages,
    read_questions,
)
from reptune.prompt2model.task import Sample, Task
from reptune.prompt2model.teachers import LocalTeacher

QUESTIONS = Path(__file__).parent / "data" / "ch07_questions.jsonl"
TASK_NAME = "bbc_questions"
TASK = Task(
    "…",
    "Answer a question about a passage of a news article in a few words copied from the passage.",
    kind="extraction",
    has_question=True,
)
EXAMPLE = (  # written for this study, for the teacher that answers with one example
    "The trams of Lund carried 40,000 people on Sunday, the first day of the new line. Mayor "
    "Ines Falk, who took the first ride, said that twice as many were expected by spring.",
    "How many passengers did the network have on its opening day?",
    "40,000",
)
PROMPTS, BATCH = 320, 48  # that the teacher gets for each seed, one passage each
RULES, EPOCHS = 500, 3
COPIED = (0.95, 0.8, 0.6)  # shares of copied words; rows up to the first one are used
RULE, TEACHER, BOTH = "rule", "teacher", "both"
WRITING, STUDENT, COMPARISON = "writing", "student", "comparison"
FLOOR, ASKED = "nearest sentence", "asked"


# --- jobs, in stages that read what the ones before have left -------------------------------------


def first_jobs() -> Iterator[Job]:
    """Students of rule questions, what the teacher writes, and what needs no training.

    A round trip takes the student with the same seed, which is there by then.
    """
    for seed in SEEDS:
        yield _job(STUDENT, MINILM, RULE, seed)
    for seed in SEEDS:
        yield _job(WRITING, QWEN, TEACHER, seed)
    for examples in (0, 1):
        yield {**_job(ASKED, QWEN, "none", SEEDS[0]), "examples": examples}
    yield _job(FLOOR, "none", "none", SEEDS[0])


def with_teacher() -> Iterator[Job]:
    """Students of the teacher's questions."""
    for rows in (BOTH, TEACHER):
        for seed in SEEDS:
            yield _job(STUDENT, MINILM, rows, seed)


def comparisons() -> Iterator[Job]:
    """The primary one, and what the teacher's questions are worth alone."""
    for rows in (BOTH, TEACHER):
        yield {**_job(COMPARISON, MINILM, rows, SEEDS[0]), "minus": RULE}


def _job(method: str, model: str, rows: str, seed: int) -> Job:
    return {
        "method": method, "task": TASK_NAME, "model": model, "rows": rows, "random_state": seed,
    }  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    if job["method"] == WRITING:
        yield write(job["random_state"])
    elif job["method"] == STUDENT:
        yield learned(job)
    elif job["method"] == COMPARISON:
        yield compared(job["rows"], job["minus"])
    else:
        held = questions("test")
        with meter.Meter() as cost:
            answers, seconds = untrained(job, held)
        fields = {**fit_fields(cost), "seconds": {"answer": round(seconds or cost.seconds, 2)}}
        yield {"split": "test", "labels": 0, **fields, **scores(held, answers)}


def learned(job: Job) -> dict[str, Any]:
    """Train a student and score it; keep one of rule questions for the round trip."""
    held, train, seed = questions("test"), rows_of(job), job["random_state"]
    with meter.Meter() as cost:
        model = student(train, seed)
    if job["rows"] == RULE:
        model.save(_kept(seed))
    answers = model.predict([(row.input, row.context) for row in held])
    return {"split": "test", "labels": len(train), **fit_fields(cost), **scores(held, answers)}


def student(train: Sequence[Sample], seed: int) -> SpanExtractor:
    """An extractor that has learned from rows."""
    model = SpanExtractor(MINILM, num_epochs=EPOCHS, random_state=seed, show_progress=False)
    pairs = [(row.input, row.context) for row in train]
    return model.fit(pairs, [row.output for row in train])


def first_student(seed: int) -> SpanExtractor:
    """The student of rule questions, as its job has kept it, or else trained once more."""
    folder = _kept(seed)
    return SpanExtractor.load(folder) if folder.exists() else student(by_rule(RULES, seed), seed)


def _kept(seed: int) -> Path:
    return _folder() / f"rule-{RULES}-{EPOCHS}-{seed}"


def _folder() -> Path:
    return cache_dir() / "studies" / Path(__file__).stem


def compared(first: str, second: str) -> dict[str, Any]:
    """Students of some rows minus students of others, over questions and seeds."""
    study = Path(__file__).stem
    right = [
        results.correct(study, method=STUDENT, rows=rows, split="test") for rows in (first, second)
    ]
    with meter.Meter() as cost:
        found = paired_interval(*right)
    return {
        "split": "test",
        "labels": 0,
        **fit_fields(cost),
        "metrics": {
            "difference": found.estimate, "low": found.low, "high": found.high,
            "detectable": 1.43 * (found.high - found.low) / 2,
        },
    }  # fmt: skip


def scores(held: Sequence[Sample], answers: Sequence[str]) -> dict[str, Any]:
    """Scores of answers; `correct` is the normalized match with any accepted answer."""
    accepted = [row.origin["accepted"] for row in held]
    right = normalized_match(accepted, answers)
    stands = [bool(text) and text in row.context for row, text in zip(held, answers, strict=True)]
    return {
        "metrics": {
            "normalized_match": float(right.mean()),
            "key_match": float(normalized_match([row.output for row in held], answers).mean()),
            "answer_f1": float(answer_f1(accepted, answers).mean()),
            "verbatim": float(np.mean(stands)),
        },
        "correct": results.pack(right),
        "items": len(right),
    }


# --- passages and rows ---------------------------------------------------------------------------


@functools.cache
def articles(split: str) -> dict[str, str]:
    """Articles by id."""
    return {row.row_id: row.content["text"] for row in split_rows("bbc_news")[split]}


@functools.cache
def passages() -> dict[str, tuple[str, int, int]]:
    """Passages of the train articles: their texts, and where they stand."""
    return {
        text[start:end]: (name, start, end)
        for name, text in articles("train").items()
        for start, end in cut_passages(text)
    }


def questions(split: str) -> list[Sample]:
    """The questions that people of this book wrote, with what is accepted as an answer."""
    return read_questions(QUESTIONS, articles(split))


def by_rule(amount: int, seed: int) -> list[Sample]:
    """So many rule questions, drawn from those about all passages."""
    made = cloze_questions(list(passages()), random_state=seed)
    order = np.random.default_rng(seed).permutation(len(made))[:amount]
    return [made[row] for row in order]


def rows_of(job: Job) -> list[Sample]:
    """The rows of an arm."""
    seed, rows = job["random_state"], []
    if job["rows"] in (RULE, BOTH):
        rows += by_rule(RULES, seed)
    if job["rows"] in (TEACHER, BOTH):
        rows += [
            row for row in read_written(seed)
            if row.origin["returned"] and check_question(row, COPIED[0]) is None
        ]  # fmt: skip
    return rows


# --- what the teacher writes ---------------------------------------------------------------------


def write(seed: int, prompts: int = PROMPTS, batch: int = BATCH) -> dict[str, Any]:
    """Let the teacher ask, ask back, and keep what is well formed; return the record."""
    teacher = LocalTeacher(QWEN)
    held = [row.input for split in ("validation", "test") for row in questions(split)]
    with meter.Meter() as cost:
        written = ListGenerator(
            teacher, examples=0, temperature=(0.7, 0.7), batch_size=batch, max_calls=prompts,
            patience=prompts,
        ).generate(
            TASK, count=prompts, random_state=seed, passages=list(passages()), test_texts=held,
            folder=_folder(),
        )  # fmt: skip
    rows = [row for row in written.samples if check_question(row) is None]
    said, seconds = ask(teacher, rows, examples=1)
    with meter.Meter() as back:
        found = first_student(seed).predict([(row.input, row.context) for row in rows])
    keys = [row.output for row in rows]
    same = normalized_match(keys, said), normalized_match(keys, found)
    write_file(rows, list(zip(*(each.tolist() for each in same), strict=True)), seed)
    returned = same[0] | same[1]
    counts = {
        f"returned, most_copied {copied:g}": sum(
            bool(back) and check_question(row, copied) is None
            for row, back in zip(rows, returned, strict=True)
        )
        for copied in COPIED
    }
    return {
        "split": "train",
        "labels": len(rows),
        **fit_fields(cost),
        "seconds": {
            "write": round(written.seconds, 1), "round_trip": round(seconds + back.seconds, 1),
        },
        "metrics": {
            **dict(written.yields), "after check_question": len(rows),
            "teacher answers the same": int(same[0].sum()),
            "first student answers the same": int(same[1].sum()), **counts,
        },
    }  # fmt: skip


def ask(teacher: LocalTeacher, rows: Sequence[Sample], examples: int) -> tuple[list[str], float]:
    """The teacher's answers to questions about passages, likeliest tokens, and the seconds."""
    head = f"Task: {TASK.instruction}"
    shown = [_block(*EXAMPLE[:2]) + f" {EXAMPLE[2]}"] if examples else []
    prompts = ["\n\n".join([head, *shown, _block(row.context, row.input)]) for row in rows]
    texts, seconds = replies(Path(__file__).stem, teacher, prompts, max_new_tokens=24, stop=("\n",))
    return [(plain_answer(text) or "").removesuffix(".") for text in texts], seconds


def _block(passage: str, question: str) -> str:
    return f"Passage: {one_line(passage)}\nQuestion: {one_line(question)}\nAnswer:"


def _file(seed: int) -> Path:
    return GENERATED / f"{TASK_NAME}-{QWEN}-{seed}.jsonl.gz"


def write_file(rows: Sequence[Sample], same: Sequence[tuple[bool, bool]], seed: int) -> None:
    """Keep rows as positions in articles, with who of teacher and student answers the same."""
    lines = []
    for row, (teacher, student) in zip(rows, same, strict=True):
        name, start, end = passages()[row.context]
        first, last, _ = (spans_of(row.context, [(row.output, "answer")]) or ())[0]
        answer = [start + first, start + last]
        record = {"id": name, "passage": [start, end], "question": row.input, "answer": answer}
        lines.append(json.dumps({**record, "teacher": teacher, "student": student}))
    _file(seed).parent.mkdir(parents=True, exist_ok=True)
    _file(seed).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def read_written(seed: int) -> list[Sample]:
    """The teacher's rows; `origin["returned"]` says whether one made the round trip."""
    texts, rows = articles("train"), []
    for line in gzip.decompress(_file(seed).read_bytes()).decode().splitlines():
        record = json.loads(line)
        text, origin = texts[record["id"]], {"returned": record["teacher"] or record["student"]}
        passage, answer = slice(*record["passage"]), slice(*record["answer"])
        rows.append(Sample(record["question"], text[answer], text[passage], origin=origin))
    return rows


# --- what needs no training ----------------------------------------------------------------------


def untrained(job: Job, held: Sequence[Sample]) -> tuple[list[str], float]:
    """Answers of what needs no training, and a teacher's seconds."""
    if job["method"] == ASKED:
        return ask(LocalTeacher(QWEN), held, job["examples"])
    return [nearest(row.input, row.context) for row in held], 0.0


MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
NUMBER = (
    r"(?!(?:19|20)\d\d\b)\d+(?:[.,]\d+)*(?: (?:million|billion|trillion))?|two|three|four|five|six|"
    "seven|eight|nine|ten|eleven|twelve"
)
NAME = r"[A-Z][\w&-]*(?: (?:(?:of|the|de) )?[A-Z][\w&-]*)*"
# What a question asks for, and what such an answer looks like; the first line that fits counts.
TYPES = (
    (
        r"how long|how old|how many (?:day|month|year)s",
        rf"(?:{NUMBER}|a|an)[ -](?:second|minute|hour|day|week|month|year|decade)s?|{NUMBER}",
    ),
    ("how many", NUMBER),
    (
        "how much|how (?:big|large)|(?:what|which) (?:share|proportion|percentage|price|sum)|cost",
        rf"[£$€]\d+(?:[.,]\d+)*(?:m|bn)?|\d+(?:[.,]\d+)*%|{NUMBER}",
    ),
    (
        "when|(?:what|which) (?:time|year|month|day)",
        rf"(?:\d\d? )?(?:{MONTH})(?: \d\d?)?(?:,? \d{{4}})?|(?:19|20)\d\d|midnight|"
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|(?:next|last) \w+",
    ),
    ("", NAME),
)
EMPTY = "a about an and are at be by did do does for from had has have he her his how in is it its \
many much not of on or she that the their they this to was were what when where which who whose \
will with would"


def nearest(question: str, passage: str) -> str:
    """Return the first words of the type that is asked for in the sentence nearest to a question.

    The nearest sentence shares most words with the question; where it holds none of the type, the
    next one does. Nothing if there is none.
    """
    asked = _words(question)
    answer = next(found for cue, found in TYPES if re.search(rf"\b(?:{cue})\b", question.lower()))
    sentences = re.split(r"(?<=[.!?])[\"']?\s+|\n+", passage)
    for sentence in sorted(sentences, key=lambda one: -len(asked & _words(one))):
        for match in re.finditer(rf"(?<!\w)(?:{answer})(?!\w)", sentence):
            found = match.group()
            # One capital at the beginning of a sentence is no name, unless it also stands inside.
            opens = not match.start() and " " not in found and found.isalpha()
            if opens and not re.search(rf"[a-z,] {found}\b", passage):
                continue
            if _words(found) and not _words(found) & asked:
                return found
    return ""


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - set(EMPTY.split())


if __name__ == "__main__":
    in_stages(__file__, (first_jobs, with_teacher, comparisons), run)
