"""How many labels of CoNLL-2003's training text are wrong, found from out-of-fold probabilities?

Written before any record. A tagger that has not seen a sentence says how likely each tag of each
word is. Where it is sure of another tag than the corpus has, one of the two is wrong.

**Rule** (confident learning, Northcutt et al. 2021): a tag's threshold is the mean probability that
words with this tag get for it. A word is *flagged* if some tag's probability reaches that tag's
threshold and the likeliest of these tags is not the word's own. Probabilities are means of two
runs, seeds 42 and 43, each over three folds of whole stories, cut anew by the seed; 14,041
sentences, `ch04_final`'s setting with capitals marked.

**What is recorded**: flagged words, the sentences that hold one, and pairs of types, *given* and
*suggested*; no text. A flag is no error, so 100 flagged words, each of another sentence, are drawn
(seed 0) and judged by reading the sentence and its story, without knowing which of the two tags is
the corpus's. The verdicts lie in `data/ch04_label_errors.jsonl` as indices and words such as
"given" or "suggested"; who judged is said there. **Primary figure**: the share of flagged words
whose given tag is wrong, with its 95% interval (Wilson), and that share of all flagged words as an
estimate of how many errors the rule has found. It says nothing about those that it has missed.

**Planned**: 6 fits of 375 s and 60 s to tag, 2,600 core-seconds, 22 minutes on two cores.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shared.common import MODEL, SEEDS, Job, fit_fields, in_stages
from shared.entities import NEWSWIRE, documents, splits, tagger

from reptune import meter
from reptune.pipeline.intervals import share_interval

STUDY = Path(__file__).stem
FOLDER = Path(__file__).resolve().parents[1] / "_build" / "label_errors"
VERDICTS = Path(__file__).parent / "data" / f"{STUDY}.jsonl"
RUNS, FOLDS, SAMPLED = SEEDS[:2], 3, 100
FOLD, FLAGS, JUDGED = "fold", "flags", "judged"


# --- jobs ----------------------------------------------------------------------------------------


def runs() -> Iterator[Job]:
    """Every fold of every run."""
    for seed in RUNS:
        for fold in range(FOLDS):
            yield {**job(FOLD, seed), "fold": fold}


def flags() -> Iterator[Job]:
    """What the rule flags."""
    yield job(FLAGS, RUNS[0])


def judged() -> Iterator[Job]:
    """What reading says of the drawn words; nothing before they have been read."""
    if VERDICTS.exists():
        yield job(JUDGED, RUNS[0])


def job(step: str, seed: int) -> Job:
    """What tells a job from the others."""
    return {
        "method": "confident learning", "model": MODEL, "task": NEWSWIRE, "random_state": seed,
        "split": "train", "step": step,
    }  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    if job["step"] == FOLD:
        yield tag_fold(job["random_state"], job["fold"])
    elif job["step"] == FLAGS:
        yield flag()
    else:
        yield judge()


# --- out-of-fold probabilities -------------------------------------------------------------------


def fold_of_sentences(seed: int) -> np.ndarray:
    """The fold of each training sentence; a story is never cut."""
    numbers = np.array(documents(NEWSWIRE, "train"))
    of_story = np.random.default_rng(seed).permutation(numbers.max() + 1) % FOLDS
    return of_story[numbers]


def tag_fold(seed: int, fold: int) -> dict[str, Any]:
    """Train on the other folds; keep the probabilities of this one's words."""
    tokens, gold = splits(NEWSWIRE)["train"]
    folds = fold_of_sentences(seed)
    rest, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    model = tagger(seed, mark_case=True)
    with meter.Meter() as cost:
        model.fit([tokens[row] for row in rest], [gold[row] for row in rest])
    rows = model.predict_proba([tokens[row] for row in held])
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez(FOLDER / f"{seed}-{fold}.npz", rows=held, probabilities=np.concatenate(rows))
    own = np.concatenate([row[np.arange(len(row)), labels_of(gold[at], model.classes_.tolist())]
                          for row, at in zip(rows, held, strict=True)])  # fmt: skip
    return {
        "labels": len(rest), **fit_fields(cost),
        "metrics": {"mean_probability_of_given": float(own.mean())},
    }  # fmt: skip


def labels_of(row: list[str], classes: list[str]) -> list[int]:
    """Tags as indices."""
    return [classes.index(tag) for tag in row]


def mean_probabilities() -> list[np.ndarray]:
    """Each training sentence's mean over runs, `(words, tags)`."""
    sizes = [len(row) for row in splits(NEWSWIRE)["train"][0]]
    sums: list[Any] = [0.0] * len(sizes)
    for seed in RUNS:
        for fold in range(FOLDS):
            kept = np.load(FOLDER / f"{seed}-{fold}.npz")
            ends = np.cumsum([sizes[row] for row in kept["rows"]])[:-1]
            parts = np.split(kept["probabilities"], ends)
            for row, part in zip(kept["rows"], parts, strict=True):
                sums[row] = sums[row] + part / len(RUNS)
    return sums


# --- the rule ------------------------------------------------------------------------------------


def suggestions(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """For each word the tag that the rule suggests, or the given one where it flags nothing.

    Args:
        probabilities: `(words, tags)`.
        given: The index of each word's tag.
    """
    tags = range(probabilities.shape[1])
    thresholds = np.array([probabilities[given == tag, tag].mean() for tag in tags])
    sure = np.where(probabilities >= thresholds, probabilities, -np.inf)
    return np.where(np.isfinite(sure.max(axis=1)), sure.argmax(axis=1), given)


def flagged() -> tuple[list[tuple[int, int, str, str]], int]:
    """Each flagged word as sentence, index, given and suggested tag; and how many words there are.

    Tags are in the order of `EntityTagger`: outside first, then by type.
    """
    gold = splits(NEWSWIRE)["train"][1]
    classes = sorted({tag for row in gold for tag in row}, key=lambda tag: (tag[2:], tag))
    given = np.array([classes.index(tag) for row in gold for tag in row])
    places = [(sentence, word) for sentence, row in enumerate(gold) for word in range(len(row))]
    found = suggestions(np.concatenate(mean_probabilities()), given)
    rows = [
        (*places[at], classes[given[at]], classes[found[at]])
        for at in np.flatnonzero(found != given)
    ]
    return rows, len(given)


def flag() -> dict[str, Any]:
    """Count what is flagged, and draw what is to be judged."""
    with meter.Meter() as cost:
        found, words = flagged()
    kinds = Counter(f"{kind(given)} > {kind(suggested)}" for _, _, given, suggested in found)
    drawn = sample(found)
    return {
        "labels": len(splits(NEWSWIRE)["train"][0]), **fit_fields(cost), "words": words,
        "pairs": dict(kinds.most_common()), "drawn": [list(map(int, row[:2])) for row in drawn],
        "metrics": {"flagged_words": len(found), "sentences": len({row[0] for row in found})},
    }  # fmt: skip


def kind(tag: str) -> str:
    """A tag's type, or "none"."""
    return tag[2:] or "none"


def sample(found: list[tuple[int, int, str, str]]) -> list[tuple[int, int, str, str]]:
    """So many flagged words to judge, one of a sentence, in an order drawn."""
    order = np.random.default_rng(0).permutation(len(found))
    of_sentence: dict[int, tuple[int, int, str, str]] = {}
    for at in order:
        of_sentence.setdefault(found[at][0], found[at])
    return list(of_sentence.values())[:SAMPLED]


def judge() -> dict[str, Any]:
    """What the verdicts say."""
    rows = [json.loads(line) for line in VERDICTS.read_text("utf-8").splitlines()]
    verdicts = Counter(row["wrong"] for row in rows if "wrong" in row)
    total = sum(verdicts.values())
    wrong = verdicts["given"] + verdicts["both"]
    share = share_interval([True] * wrong + [False] * (total - wrong))
    return {
        "labels": 0, "seconds": {"fit": 0.0}, "peak_memory_mb": 0, "verdicts": dict(verdicts),
        "items": total,
        "metrics": {"given_wrong": wrong / total, "low": share.low, "high": share.high},
    }  # fmt: skip


if __name__ == "__main__":
    in_stages(__file__, (runs, flags, judged), run)
