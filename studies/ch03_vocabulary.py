"""A foreign vocabulary: does reading docstrings help a BERT that read reviews to sort docstrings?

Written before any record. Reviews and news share most of their words; docstrings of NumPy, SciPy,
scikit-learn and pandas do not. All four are under BSD licenses, so that examples can be printed.
They are read with `ast` from the installed source files, nothing of which is imported.

**Task.** Which submodule (`scipy.stats`, `pandas.io`, …) is a docstring from? The 12 public
submodules with most docstrings, at most 300 of each, near duplicates dropped, a third for
validation and a third for test. **Names that give the label away are masked**: dotted names, the
names of libraries and submodules, the object's own name, and every name with an underscore or an
inner capital that the libraries define as a function or class; each becomes the word `name`.
Examples of code are cut out. Names of parameters stay: they are what such a text is about. Counts
depend on the installed versions, which the records hold.

**Tokens per 100 words** of the docstrings (test part) and of held-out reviews and news: with the
reviews' vocabulary of 8,000, with MiniLM's 30,522, with 8,000 trained on the docstrings. A count
without an interval: it describes these texts.

**Arms**, three seeds each, from the lineage of `ch03_lineage`, which comes first: *base*;
*base + docstrings*, 800 steps on the docstrings that no score is taken on, those of other
submodules included; *base + reviews*, **the control**, 800 steps on more reviews, made there.

**Primary comparison**: *base + docstrings* minus *base + reviews*, accuracy on test, fine-tuned on
8 docstrings per submodule; draws 42 and 43, taken together within each seed, because one encoder's
draws are no independent lineages. `metrics.paired_interval` over docstrings and seeds. **It helps**
if the interval lies above 0, **it hurts** if it lies below; if it holds 0, there is **no gain worth
the hours** where it ends below 2 points, and otherwise the answer is open. **Smallest detectable
difference**: with 700 test docstrings of which the two arms disagree on a quarter, 5.3 points with
one fit in four of five tries; six fits take away part of it. 1.43 times half of the interval's
width is recorded.

**Beside it**: both against *base*; the same frozen (mean of the vectors, features standardized,
draws 42 to 46); masked loss on held-out docstrings and reviews. **The check beforehand**: how far
held-out loss falls in a quarter of the steps, on docstrings and, in the control, on reviews.

**Chosen on validation**: the rate of the pretraining by held-out loss after 200 steps from the base
of seed 42; rate or penalty of each arm by accuracy with draw 0 (frozen: 0 and 1), which no test
takes. Fixed: 15 passes in batches of 4 (360 steps).

**Time**, by the arithmetic and the assumption of `ch03_lineage` (60 GFLOP/s and core, one thread):
continuations 4.9 million tokens, 0.52 core-hours, short runs 1.2 million, 0.13; 9 fits to choose
and 18 to test, of 184 thousand tokens each, 0.47; scoring, frozen vectors and held-out loss some
0.2. Together 1.3 core-hours, 40 minutes on two cores. A pretraining that is killed goes on at its
last checkpoint.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from datasets import Dataset
from shared import lineage
from shared.common import MODEL, SEEDS, FrozenEmbeddings, Job, fit_fields, in_stages
from shared.lineage import (
    BASE,
    CONTROL,
    DOCSTRINGS,
    DOCUMENTED,
    FINE_TUNED,
    FROZEN,
    NAME,
    PENALTIES,
    PILOT_SEED,
    best,
    encoder,
)

from reptune import data, meter
from reptune.data.duplicates import Row, drop_near_duplicates
from reptune.models.masked import load_tokenizer

STUDY = lineage.CHOSEN_IN[DOCUMENTED]
LIBRARIES = {"numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn", "pandas": "pandas"}
SKIPPED = {  # tests, builds, and code that others wrote
    "tests", "testing", "conftest.py", "externals", "_external", "_vendored", "vendor",
    "distutils", "f2py", "array_api_compat", "array_api_extra",
}  # fmt: skip
ALSO_NAMES = ("np", "sp", "pd", "scikit", "learn")  # how the libraries are called in their texts
MASK = "name"
LEAST_WORDS = 30
CLASSES, MOST_PER_CLASS = 12, 300
PER_CLASS = 8
ARMS = (BASE, CONTROL, DOCUMENTED)
PAIRS = ((DOCUMENTED, CONTROL), (DOCUMENTED, BASE), (CONTROL, BASE))
DRAWS = {FINE_TUNED: (42, 43), FROZEN: (42, 43, 44, 45, 46)}
CHOICE_DRAWS = {FINE_TUNED: (0,), FROZEN: (0, 1)}
SETTINGS = {"num_epochs": 15, "batch_size": 4, "max_length": 128}
RATES = (5e-5, 2e-4, 8e-4)
PRETRAINING_RATES = (1e-4, 3e-4, 1e-3)
PILOT_STEPS = 200
TASK = "docstring_submodules"


# --- docstrings ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Docstring:
    """A docstring with its submodule, such as `scipy.stats`, and the name of what it documents."""

    submodule: str
    name: str
    text: str


def read_library(library: str) -> list[Docstring]:
    """Every docstring of a library's functions and classes, from its source files."""
    spec = importlib.util.find_spec(library)  # of a top-level name, which imports nothing
    return read_docstrings(Path(spec.submodule_search_locations[0]))


def read_docstrings(root: Path) -> list[Docstring]:
    """Every docstring of the functions and classes in a package's folder, in order of the files."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).parts
        if SKIPPED.isdisjoint(parts):
            submodule = ".".join(part.removesuffix(".py") for part in parts[:2])
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    text = ast.get_docstring(node)
                    if text:
                        found.append(Docstring(submodule, node.name, text))
    return found


def without_code(text: str) -> str:
    """A docstring as prose: without examples of code and the lines under headings.

    An example begins with `>>>` and ends, with what it prints, at the next empty line.
    """
    kept, in_example = [], False
    for line in map(str.strip, text.splitlines()):
        in_example = line.startswith(">>>") or (in_example and bool(line))
        if not in_example and not re.fullmatch(r"[-=~^*]*", line):
            kept.append(line)
    return " ".join(" ".join(kept).split())


def giving_away(docstrings: Iterable[Docstring]) -> frozenset[str]:
    """Words, in lower case, that tell a submodule: its path, and names that look like names.

    A defined name that is an ordinary word, such as `mean`, stays a word.
    """
    names = set(ALSO_NAMES)
    for found in docstrings:
        names |= set(found.submodule.split("."))
        if "_" in found.name.strip("_") or re.search(r"[a-z0-9][A-Z]", found.name):
            names.add(found.name)
    return frozenset(name.lower() for name in names)


def mask_names(text: str, own: str, names: frozenset[str]) -> str:
    """A text with `MASK` for dotted names, for its object's own name and for those given.

    >>> mask_names("The mean of csr_matrix; see scipy.sparse.find, e.g. Mean", "mean", {"sparse"})
    'The name of csr_matrix; see name, e.g. name'
    """

    def replaced(match: re.Match) -> str:
        word = match.group()
        # Two letters and more on both sides of a point: "e.g." is no name.
        dotted = re.fullmatch(r"\w{2,}(?:\.\w{2,})+", word)
        return MASK if dotted or word.lower() in names or word.lower() == own.lower() else word

    return re.sub(r"\w+(?:\.\w+)*", replaced, text)


def cleaned(docstrings: list[Docstring]) -> list[Row]:
    """Docstrings as prose with names masked, of `LEAST_WORDS` words or more, near duplicates out.

    The submodule is the stratum.
    """
    names = giving_away(docstrings)
    rows, seen = [], set()
    for index, found in enumerate(docstrings):
        text = mask_names(without_code(found.text), found.name, names)
        if len(text.split()) >= LEAST_WORDS and text.lower() not in seen:
            seen.add(text.lower())
            rows.append(Row(str(index), text, found.submodule, {"text": text}))
    return drop_near_duplicates(rows)


def labeled(rows: list[Row]) -> dict[str, list[str]]:
    """Texts of the `CLASSES` largest public submodules, at most `MOST_PER_CLASS` of each.

    Which of them stay follows from a hash of the text, so that it depends on no order of files.
    """
    by_submodule: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if "." in row.stratum and not row.stratum.split(".")[1].startswith("_"):
            by_submodule[row.stratum].append(row.text)
    largest = sorted(by_submodule, key=lambda name: (-len(by_submodule[name]), name))[:CLASSES]
    return {
        name: sorted(by_submodule[name], key=lambda text: hashlib.sha256(text.encode()).digest())[
            :MOST_PER_CLASS
        ]
        for name in sorted(largest)
    }


def write_texts() -> dict[str, int]:
    """Read the libraries; keep the task's splits, and a corpus that shares nothing with them."""
    rows = cleaned([found for library in LIBRARIES for found in read_library(library)])
    texts = labeled(rows)
    pairs = [(text, name) for name, members in texts.items() for text in members]
    table = Dataset.from_dict({"text": [text for text, _ in pairs], "label": [n for _, n in pairs]})
    splits = data.split_table(table, held_out=1 / 3)
    kept = {
        split: {"text": list(part["text"]), "label": list(part["label"])}
        for split, part in splits.items()
    }
    held = [*kept["validation"]["text"], *kept["test"]["text"]]
    train, counts = data.domain_corpus([row.text for row in rows], held)
    lineage.write_corpus(DOCSTRINGS, train, kept["validation"]["text"], kept["test"]["text"])
    names = splits["train"].features["label"].names
    _task_file().write_text(json.dumps({"names": names, **kept}), "utf-8")
    task.cache_clear()
    return {**counts, "labeled": len(pairs)}


def ensure_texts() -> None:
    """Write the texts if they are not there: a checkout has the records of the job that did."""
    lineage.FOLDER.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lineage.FOLDER / "docstrings.lock"):
        if not _task_file().exists():
            write_texts()


def _task_file() -> Path:
    return lineage.FOLDER / f"{TASK}.json"


@functools.cache
def task() -> dict[str, tuple[list[str], np.ndarray]]:
    """Texts and labels of each split, as `write_texts` left them.

    Raises:
        SystemExit: If nobody has written them.
    """
    if not _task_file().exists():
        raise SystemExit(f"{_task_file()} is missing; run this study from its start.")
    kept = json.loads(_task_file().read_text("utf-8"))
    kept.pop("names")
    return {split: (part["text"], np.array(part["label"])) for split, part in kept.items()}


def few(draw: int) -> tuple[list[str], np.ndarray]:
    """So many training docstrings of each submodule."""
    texts, labels = task()["train"]
    drawn = data.few_shot(Dataset.from_dict({"text": texts, "label": labels}), PER_CLASS, draw)
    return list(drawn["text"]), np.array(drawn["label"])


# --- jobs, in stages that read what the ones before have left -------------------------------------


def texts_first() -> Iterator[Job]:
    """The docstrings and what each vocabulary makes of them."""
    yield _job("texts", "docstrings", SEEDS[0])


def pilots() -> Iterator[Job]:
    """Short runs from the first base."""
    for rate in PRETRAINING_RATES:
        job = _job("pretraining rate", DOCUMENTED, PILOT_SEED)
        yield {**job, "learning_rate": rate}


def continuations() -> Iterator[Job]:
    """The encoders that read docstrings; of the others, the loss on docstrings."""
    for arm in reversed(ARMS):
        for seed in SEEDS:
            yield _job("encoder", arm, seed)


def choices() -> Iterator[Job]:
    """The settings of each arm, on validation."""
    for trained in (FINE_TUNED, FROZEN):
        for arm in ARMS:
            yield {**_job("choice", arm, SEEDS[0]), "trained": trained}


def tests() -> Iterator[Job]:
    """Each arm and seed."""
    for trained in (FINE_TUNED, FROZEN):
        for arm in reversed(ARMS):
            for seed in SEEDS:
                yield {**_job("test", arm, seed), "trained": trained}


def comparisons() -> Iterator[Job]:
    """What the records of the tests come to; the first is the primary one."""
    for trained in (FINE_TUNED, FROZEN):
        for arm, other in PAIRS:
            yield {**_job("comparison", arm, SEEDS[0]), "trained": trained, "minus": other}


STAGES = (texts_first, pilots, continuations, choices, tests, comparisons)


def _job(kind: str, arm: str, seed: int) -> Job:
    return {"kind": kind, "method": arm, "model": NAME, "task": TASK, "random_state": seed}


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    arm, seed = job["method"], job["random_state"]
    if job["kind"] != "texts":
        ensure_texts()
    if job["kind"] == "texts":
        yield from describe_texts()
    elif job["kind"] == "pretraining rate":
        yield lineage.pilot(arm, job["learning_rate"], PILOT_STEPS)
    elif job["kind"] == "encoder":
        yield from lineage.made(arm, seed, (DOCSTRINGS, lineage.REVIEWS))
    elif job["kind"] == "choice":
        yield from choose(arm, seed, job["trained"])
    elif job["kind"] == "test":
        yield from score(arm, seed, job["trained"])
    else:
        with meter.Meter() as cost:
            found = lineage.compared(STUDY, arm, job["minus"], trained=job["trained"])
        labels = PER_CLASS * CLASSES
        yield {"labels": labels, "split": "test", "metrics": found, **fit_fields(cost)}


def describe_texts() -> Iterator[dict[str, Any]]:
    """Keep the texts; how many tokens each vocabulary needs for a hundred words of each corpus."""
    with meter.Meter() as cost:
        left_out = write_texts()
        own = lineage.train_vocabulary(lineage.corpus(DOCSTRINGS)["train"])
        readers = {
            "reviews' vocabulary": lineage.tokenizer_of(lineage.vocabulary()),
            "MiniLM's vocabulary": load_tokenizer(MODEL),
            "docstrings' vocabulary": lineage.tokenizer_of(own),
        }
    train = lineage.corpus(DOCSTRINGS)["train"]
    shared = {
        "labels": 0, "split": "test", "left out": left_out, **fit_fields(cost),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES.values()},
        "submodules": {name: int(count) for name, count in sizes().items()},
    }  # fmt: skip
    for corpus in (DOCSTRINGS, lineage.REVIEWS, lineage.NEWS):
        texts = lineage.corpus(corpus)["test"]
        found = {
            name: lineage.tokens_per_100_words(texts, reader) for name, reader in readers.items()
        }
        if corpus == DOCSTRINGS:
            found |= {"texts to read": len(train), "words": sum(len(t.split()) for t in train)}
        yield {"corpus": corpus, "metrics": found, **shared}


def sizes() -> dict[str, int]:
    """How many docstrings each submodule has in all splits."""
    names = json.loads(_task_file().read_text("utf-8"))["names"]
    labels = np.concatenate([labels for _, labels in task().values()])
    return dict(zip(names, np.bincount(labels, minlength=len(names)), strict=True))


def choose(arm: str, seed: int, trained: str) -> Iterator[dict[str, Any]]:
    """Score every setting of an arm on validation, with draws that no test takes."""
    knob, values = _grid(trained)
    for draw in CHOICE_DRAWS[trained]:
        for value in values:
            fields = readout(encoder(arm, seed), trained, value, draw, "validation")
            yield {knob: value, "draw": draw, "split": "validation", **fields}


def score(arm: str, seed: int, trained: str) -> Iterator[dict[str, Any]]:
    """Score an arm's encoder with the setting that validation chose, on every draw."""
    knob, values = _grid(trained)
    value = best(STUDY, "accuracy", knob, kind="choice", method=arm, trained=trained)
    at_edge = value in (values[0], values[-1])
    for draw in DRAWS[trained]:
        fields = readout(encoder(arm, seed), trained, value, draw, "test")
        yield {knob: value, "at_edge": at_edge, "draw": draw, "split": "test", **fields}


def _grid(trained: str) -> tuple[str, tuple[float, ...]]:
    return ("learning_rate", RATES) if trained == FINE_TUNED else ("C", PENALTIES)


def readout(folder: Path, trained: str, value: float, draw: int, split: str) -> dict[str, Any]:
    """Fit on one draw with one setting; the fields of a record."""
    train, held = few(draw), task()[split]
    if trained == FINE_TUNED:
        return lineage.fine_tuned(
            folder, train, held, learning_rate=value, random_state=draw, **SETTINGS
        )
    return lineage.probed(_frozen(str(folder)), train, held, value)


@functools.cache  # a job reads one encoder, whose vectors serve every draw and penalty
def _frozen(folder: str) -> FrozenEmbeddings:
    return FrozenEmbeddings(folder, max_length=SETTINGS["max_length"])


if __name__ == "__main__":
    in_stages(__file__, STAGES, run)
