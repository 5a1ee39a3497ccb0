"""What the studies of chapter 7 share: the prompts, their test sets, and the rows written for them.

What a teacher wrote is kept in `studies/data/generated/`, one compressed file for each task,
teacher and seed, so that students can be trained on it without asking the teacher again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reptune import data
from reptune.assets import cache_dir
from reptune.data.duplicates import normalize
from reptune.prompt2model.dataset_retriever import CatalogRetriever
from reptune.prompt2model.prompt import parse_prompt
from reptune.prompt2model.task import Sample, Task
from shared.common import FrozenEmbeddings, splits

QWEN, SMOLLM = "Qwen2.5-Coder-0.5B-Instruct", "SmolLM2-135M-Instruct"
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
SENTIMENT, TOPICS = "rotten_tomatoes", "bbc_news"
SEEDS = (42, 43, 44, 45, 46)  # of generation; the same seed then trains the students
ROWS = 1000  # that the teacher is asked for

# As a user would write them: a sentence, and two examples for each label, invented here.
PROMPTS = {
    SENTIMENT: """Decide whether a sentence from a film review is positive or negative about the \
film.

"A warm, funny story that never talks down to its audience." -> positive
"The two leads are so good that you forget how often you have seen this plot." -> positive
"Ninety minutes of noise in search of an idea." -> negative
"I wanted to like it, but the jokes fall flat and the ending makes no sense." -> negative
""",
    TOPICS: """Sort the beginning of a news article into one of five sections: business, \
entertainment, politics, sport or tech.

"Shares in the airline rose by 4% after it reported higher profits." -> business
"The central bank has left interest rates unchanged for a third month." -> business
"The singer will open the festival with songs from her new album." -> entertainment
"The thriller led the box office for a second weekend, ahead of two comedies." -> entertainment
"Ministers face a vote on the new housing bill in parliament next week." -> politics
"The opposition leader has called for an inquiry into party donations." -> politics
"The striker scored twice as the home side reached the cup final." -> sport
"The champion withdrew from the tournament with a knee injury." -> sport
"A new phone with a folding screen goes on sale in May, its maker said." -> tech
"Security experts warn of a worm that spreads through shared folders." -> tech
""",
}
# The label names of the prompts, in the order of the data set's label ids.
NAMES = {
    SENTIMENT: ("negative", "positive"),
    TOPICS: ("business", "entertainment", "politics", "sport", "tech"),
}
MAX_LENGTH = 128  # tokens that students read: all of a sentence, the beginning of an article
GENERATED = Path(__file__).resolve().parents[1] / "data" / "generated"


def task_of(name: str) -> Task:
    """The task that a prompt describes, as the parser reads it; it must name the right labels."""
    task = parse_prompt(PROMPTS[name])
    if task.kind != "classification" or set(task.labels) != set(NAMES[name]):
        raise ValueError(f"{name}: the parser read {task}")
    return task


def test_set(name: str) -> tuple[list[str], np.ndarray]:
    """Texts and label names of the test split."""
    return named(name, "test")


def named(name: str, split: str) -> tuple[list[str], np.ndarray]:
    """Texts and label names of a split."""
    texts, ids = splits(name)[split]
    return texts, np.array(NAMES[name])[ids]


def file_of(task: str, teacher: str, seed: int) -> Path:
    """Where the rows of a teacher lie."""
    return GENERATED / f"{task}-{teacher}-{seed}.jsonl.gz"


def write_generated(samples: list[Sample], file: Path) -> None:
    """Write rows; the same rows give the same bytes."""
    lines = [
        json.dumps({"input": s.input, "output": s.output, "origin": dict(s.origin)},
                   ensure_ascii=False)
        for s in samples
    ]  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def read_generated(task: str, teacher: str, seed: int) -> list[Sample]:
    """The rows that a teacher wrote."""
    lines = gzip.decompress(file_of(task, teacher, seed).read_bytes()).decode().split("\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [Sample(row["input"], row["output"], origin=row["origin"]) for row in rows]


def unlabeled(name: str, count: int, seed: int) -> list[str]:
    """Real texts of the task, without their labels, from the train split."""
    texts = data.load(name)["train"]["text"][:]
    order = np.random.default_rng(seed).permutation(len(texts))[:count]
    return [texts[row] for row in order]


def kept(name: str, key: Any, make: Callable[[], list[Any]]) -> list[Any]:
    """What `make` returns, from a file if it was made before; for what several jobs need.

    Args:
        name: Begins the file's name.
        key: All that it depends on; with another key it is made anew.
        make: Returns what JSON can hold.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    file = cache_dir() / "studies" / "prompted" / f"{name}-{digest}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(make()), encoding="utf-8")
        part.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))


class KeptEmbeddings(FrozenEmbeddings):
    """`FrozenEmbeddings` whose vectors outlive the process: many jobs embed the same texts.

    Its seconds say nothing, therefore; `ch07_cost` measures what a student costs.
    """

    def __init__(self, model: str, max_length: int, C: float = 10) -> None:
        super().__init__(model, max_length, C)
        self._folder = cache_dir() / "studies" / "vectors" / f"{model}-{max_length}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._read: set[str] = set()

    def encode(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts; one that any process encoded before is not encoded again."""
        self._read_new_files()
        names = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        new = [text for text in names if names[text] not in self._known]
        if new:
            vectors = self._embedder.encode(new, batch_size=64, show_progress_bar=False)
            self._keep([names[text] for text in new], np.asarray(vectors))
        return np.stack([self._known[names[text]] for text in texts])

    def _read_new_files(self) -> None:
        for file in sorted(self._folder.glob("*.npz")):
            if file.name not in self._read:
                with np.load(file) as stored:
                    self._known |= dict(zip(stored["names"], stored["vectors"], strict=True))
                self._read.add(file.name)

    def _keep(self, names: list[str], vectors: np.ndarray) -> None:
        self._known |= dict(zip(names, vectors, strict=True))
        part = self._folder / f"{os.getpid()}.part"
        with part.open("wb") as file:
            np.savez(file, names=np.array(names), vectors=vectors)
        target = f"{hashlib.sha256(''.join(names).encode()).hexdigest()[:16]}.npz"
        part.replace(self._folder / target)
        self._read.add(target)


def retrieved_pool(task: str, count: int) -> list[Sample]:
    """So many different rows of the data set that the catalog has for a task, always the same.

    So that some thousand long reviews have to be embedded, whatever is drawn of them.
    """

    def retrieve() -> list[list[str]]:
        found = CatalogRetriever().retrieve(
            task_of(task), exclude=[task], limit=count * 3 // 2, random_state=SEEDS[0]
        )
        return [[sample.input, sample.output] for sample in found.samples]

    rows = kept(f"retrieved-{task}", [PROMPTS[task], count], retrieve)
    return fresh([Sample(text, label) for text, label in rows], [], count)


def fresh(samples: Sequence[Sample], known: Sequence[Sample], count: int) -> list[Sample]:
    """The samples whose texts are not known, each once.

    Raises:
        ValueError: If there are fewer than `count`.
    """
    seen = {normalize(sample.input) for sample in known}
    found = []
    for sample in samples:
        if (text := normalize(sample.input)) not in seen:
            seen.add(text)
            found.append(sample)
    if len(found) < count:
        raise ValueError(f"{len(found)} of {len(samples)} rows are new; {count} are needed.")
    return found


def pairs_of(samples: Sequence[Sample]) -> tuple[list[str], np.ndarray]:
    """Texts and label names of rows."""
    return [sample.input for sample in samples], np.array([sample.output for sample in samples])
