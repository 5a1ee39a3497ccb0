"""Does continued pretraining help where the task is to tag words?

Written before any record. BioBERT, the example that chapter 3 begins with, was judged by named
entity recognition, among others, and a tagger reads the states of the words, which masked-LM
training does train, not [CLS]. So this is where adapted encoders should gain, if anywhere, at
MiniLM's size.

**Arms.** MiniLM as shipped; the general start; task-adaptive, which goes on from the general start
on the training sentences of CoNLL-2003, without tags: 250 steps, rate 3e-4, 30% masked, as the
task-adaptive encoder of reviews. **What speaks against a clean comparison**: the general start has
read these 14,041 sentences too, beside BBC articles, about three passes in 1,500 low-rank steps. So
task-adaptive minus as shipped is the worth of the head, news and task together, and task-adaptive
minus general start is only what one or two more passes with all weights add; neither says what the
sentences of a task do for an encoder that had a masked-LM head from the beginning.

**Test**: 3,453 sentences less those whose words, lowercased, are a sentence of the training split,
which the encoders have read; how many is printed and recorded. Validation is treated alike, and the
sentences of both are kept out of the texts to pretrain on. Tokens are uncased, no capitals marked.

**Tuned**: `EntityTagger`, at least 300 steps: batches of 16 from 500 sentences on (10 passes over
500, 3 over 2,000), of 8 below (24 passes over 100, 100 over 20). **Frozen**: `FrozenTagger`, a
logistic regression on the standardized state of each word's first token. Random draws from seed 42
on, a smaller one within a larger one, the same for all arms; a draw's seed is the training's too.
500 sentences: ten draws as shipped and task-adaptive, tuned and frozen, three of the general start.
20, 100 and 2,000 sentences: three draws; the general start is only frozen there.

**Chosen on validation**, for each arm, with 500 sentences of draw 42, by F1: the rate from 1e-4,
2e-4 and 4e-4, and the frozen arm's C from 1e-3 to 1 in powers of ten. Where the best lies at an
edge, one value beyond it is tried (half or twice; a tenth or ten times); if that one is best, it is
used, the record says `at_edge`, and what is said of that arm is said with that reservation. The
other sizes take the values of 500. Test is scored with the chosen values alone.

**Primary comparison**: entity F1, task-adaptive minus as shipped, tuned, 500 sentences, ten draws,
test; the interval is `paired_f1_interval` over stories and draws, which draws the seeds of the two
sides apart and so is a little wide. Above zero: pretraining on a task's own text helped
where words are tagged. Below zero: it hurt even there. Holds zero: it did nothing that this can
see. Secondary, without a correction for their number: the other sizes, frozen encoders, the general
start minus as shipped, and task-adaptive minus the general start.

**Smallest detectable difference.** With 500 sentences the F1 of three draws was 0.803, 0.814 and
0.812 on validation (`ch04_label_curve`): a standard deviation of 0.6 points, so ±0.5 for a
difference over ten draws; two runs differ on sentences by about as much again. With ±0.8 points
together, 1.43 times that is 1.1 points of F1 in four of five tries. What holds in the end, 1.43
times half of the interval's width, stands beside each result.

**Planned**: 5,200 core-seconds, 44 minutes on two cores, a thread and a job on each. The encoder:
250 steps of 2.3 s on a thread (see `ch03_readout`), 580 s; on both cores 353 s. A step of 16
sentences took 0.20 s in `ch04_label_curve` (77 s for 384), so one of 8 should take 0.15 s. Tagging
3,300 sentences takes about 15 s, a job's start 8 s. In seconds, with scoring:

    the encoder                                                                   580
    500 sentences: 9 fits of 78 to choose and 3 tests of 15, 20 more of 87      2,490
    20, 100 and 2,000 sentences: 6 fits each of 68, 70 and 116                  1,520
    frozen, three arms of 190                                                     570
    a rate beyond an edge                                                          80

**Cut to fit**: the general start tuned at other sizes than 500; ten draws at other sizes than 500;
a choice of values for each size, and on more than one draw. If time runs out, 20 tuned sentences
are the last jobs, and the first to go.
"""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from shared import conditions
from shared.common import MODEL, Job, fit_fields, in_stages
from shared.conditions import (
    CHOICE,
    COMPARISON,
    FINE_TUNED,
    FIRST_SEED,
    FROZEN,
    MADE,
    PROBE,
    Condition,
    chosen,
    chosen_rate,
    compared,
    comparison,
    condition_of,
    ending_loss,
    finals_of,
    made,
    making_job,
    minus_shipped,
    passes,
    search,
)
from shared.encoders import GENERAL, HELD_OUT, SHIPPED, USUAL, folder_of
from shared.entities import (
    NEWSWIRE,
    UNMARKED,
    FrozenTagger,
    Tagged,
    documents,
    score_fields,
    some,
    splits,
)
from transformers import AutoModel, AutoTokenizer

from reptune import assets, data, meter
from reptune.book import results
from reptune.metrics import Interval, counts_by_document, paired_f1_interval
from reptune.ner import EntityTagger
from reptune.pretraining import continue_pretraining

STUDY = Path(__file__).stem
ADAPTIVE = "task-adaptive, newswire"
NUM_STEPS = 250
CHOSEN_WITH = 500  # sentences
BATCH = {20: 8, 100: 8, 500: 16, 2000: 16}  # sentences in all: in a step
RATES, RATE_FACTOR = (1e-4, 2e-4, 4e-4), 2
PENALTIES, PENALTY_FACTOR = (1e-3, 1e-2, 1e-1, 1.0), 10
FIRST_TOKEN = "first token"

PAIR = (SHIPPED, ADAPTIVE)


def _condition(arms: tuple[str, ...], trained: str, sentences: int, draws: int) -> Condition:
    chosen_on = int(trained == FINE_TUNED and sentences == CHOSEN_WITH)
    return Condition(arms, NEWSWIRE, trained, FIRST_TOKEN, sentences, draws, chosen_on)


# In the order of what is needed most.
TUNED = (
    _condition(PAIR, FINE_TUNED, 500, draws=10),
    _condition((GENERAL,), FINE_TUNED, 500, draws=3),
    _condition(PAIR, FINE_TUNED, 100, draws=3),
    _condition(PAIR, FINE_TUNED, 2000, draws=3),
    _condition(PAIR, FINE_TUNED, 20, draws=3),
)
PROBED = tuple(
    _condition((*PAIR, GENERAL), PROBE, sentences, draws)
    for sentences, draws in {500: 10, 20: 3, 100: 3, 2000: 3}.items()
)


# --- jobs ----------------------------------------------------------------------------------------


def first_jobs() -> list[Job]:
    """The encoder, the rates and the frozen arms; what needs the encoder comes last."""
    choices = [job for condition in TUNED if condition.chosen_on for job in condition.choice_jobs()]
    frozen = [
        {"method": arm, "model": MODEL, "task": NEWSWIRE, "step": FROZEN} for arm in PROBED[0].arms
    ]
    making = [making_job(ADAPTIVE, NEWSWIRE)]
    return making + sorted(choices + frozen, key=lambda job: job["method"] == ADAPTIVE)


def final_jobs() -> Iterator[Job]:
    """The draws that choose nothing, each a job."""
    return finals_of(TUNED)


def comparison_jobs() -> Iterator[Job]:
    """The primary comparison first, then the secondary ones."""
    yield from minus_shipped(TUNED + PROBED)
    for condition in (TUNED[0], *PROBED):
        yield comparison(condition.fields(ADAPTIVE), condition.fields(GENERAL))


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    if job["step"] == MADE:
        yield made(job["method"], ready)
    elif job["step"] == FROZEN:
        yield from frozen(job["method"])
    elif job["step"] == COMPARISON:
        yield compared(STUDY, job, TUNED + PROBED, results.counts, by_story)
    elif job["step"] == CHOICE:
        condition = condition_of(job, TUNED)
        yield from chosen(
            lambda rate, seed: Fitted(job, rate, seed), condition.seeds()[: condition.chosen_on],
            RATES, RATE_FACTOR, "f1",
        )  # fmt: skip
    else:
        fields = condition_of(job, TUNED).fields(job["method"])
        rate = chosen_rate(STUDY, {**fields, "labels": CHOSEN_WITH})
        fitted = Fitted(job, rate, job["random_state"])
        yield {**fitted.fields, "learning_rate": rate, **fitted.score("test")}


# --- sentences -----------------------------------------------------------------------------------


def lowered(words: list[str]) -> tuple[str, ...]:
    """Return what makes two sentences equal for an encoder that lowercases its input."""
    return tuple(word.lower() for word in words)


def unseen(held_out: Tagged, train: Tagged) -> Tagged:
    """Return the held-out sentences whose words, lowercased, are no training sentence's."""
    known = {lowered(words) for words in train[0]}
    kept = [row for row, words in enumerate(held_out[0]) if lowered(words) not in known]
    return [held_out[0][row] for row in kept], [held_out[1][row] for row in kept]


def by_story(first: np.ndarray, second: np.ndarray) -> Interval:
    """Return the interval of a difference on test, over whole stories and draws."""
    stories = kept_stories()
    return paired_f1_interval(*(counts_by_document(side, stories) for side in (first, second)))


@functools.cache
def kept_stories() -> tuple[int, ...]:
    """Return the story of each test sentence that is scored."""
    known = {lowered(words) for words in splits(NEWSWIRE)["train"][0]}
    numbers = documents(NEWSWIRE, "test")
    words = splits(NEWSWIRE)["test"][0]
    pairs = zip(numbers, words, strict=True)
    return tuple(number for number, sentence in pairs if lowered(sentence) not in known)


@functools.cache
def scored(split: str) -> Tagged:
    """Return the sentences of a split that are scored."""
    return unseen(splits(NEWSWIRE)[split], splits(NEWSWIRE)["train"])


def dropped(split: str) -> int:
    """Return how many sentences of a split are not scored."""
    return len(splits(NEWSWIRE)[split][0]) - len(scored(split)[0])


def score(predicted: list[list[str]], split: str) -> dict[str, Any]:
    """Return the scores of predictions for the sentences that are scored, as record fields."""
    return {
        "split": split,
        "dropped": dropped(split),
        **score_fields(scored(split)[1], predicted),
    }


# --- encoders ------------------------------------------------------------------------------------


def ready(arm: str) -> str:
    """Return where an arm's encoder is, made by the first job that wants it; others wait."""
    if arm != ADAPTIVE:
        return conditions.ready(arm)
    start, folder = conditions.ready(GENERAL), folder_of(ADAPTIVE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if folder.exists():
            return str(folder)
        return str(
            continue_pretraining(
                start,
                newswire(),
                folder,
                validation=_joined("validation")[:HELD_OUT],
                num_steps=NUM_STEPS,
                **USUAL,
            )
        )


def newswire() -> list[str]:
    """Return the training sentences as texts, without those of validation and test."""
    held = _joined("validation") + _joined("test")
    return data.domain_corpus(_joined("train"), held)[0]


def _joined(split: str) -> list[str]:
    return [" ".join(words) for words in splits(NEWSWIRE)[split][0]]


# --- taggers -------------------------------------------------------------------------------------


class Fitted:
    """A tagger fitted in a job's condition to one draw of sentences.

    Attributes:
        fields: What all records of the fit hold.
    """

    def __init__(self, job: Job, rate: float, seed: int) -> None:
        setting = {
            "batch_size": BATCH[job["labels"]],
            "num_epochs": passes(job["labels"], BATCH[job["labels"]]),
        }
        self._tagger = EntityTagger(
            ready(job["method"]), learning_rate=rate, random_state=seed, show_progress=False,
            **setting, **UNMARKED,
        )  # fmt: skip
        with meter.Meter() as cost:
            self._tagger.fit(*some(NEWSWIRE, job["labels"], seed))
        loss = ending_loss(self._tagger.history_)
        self.fields = {
            **fit_fields(cost),
            **setting,
            "random_state": seed,
            "training_loss": loss,
        }

    def score(self, split: str) -> dict[str, Any]:
        """Return entity scores and counts as record fields."""
        return score(self._tagger.predict(scored(split)[0]), split)


class FrozenEncoder(FrozenTagger):
    """`FrozenTagger` on an encoder of one's choice; reads a sentence once, whatever C is.

    Args:
        model: An asset's name, or a folder.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        path = assets.resolve_model(model)
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._encoder = AutoModel.from_pretrained(path).eval()
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def encode(self, tokens: list[list[str]], size: int = 32) -> list[np.ndarray]:
        """Return each sentence's word vectors; one that was read before is not read again."""
        new = list({tuple(words): words for words in tokens if tuple(words) not in self._known})
        if new:
            vectors = super().encode([list(words) for words in new], size)
            self._known |= dict(zip(new, vectors, strict=True))
        return [self._known[tuple(words)] for words in tokens]

    def fit_with(self, C: float, train: Tagged) -> None:
        """Fit with another strength of the penalty."""
        self._head.set_params(C=C)
        self.fit(*train)


def frozen(arm: str) -> list[dict[str, Any]]:
    """Return the test records of a frozen arm."""
    tagger = FrozenEncoder(ready(arm))

    def fitted(C: float, sentences: int, seed: int, split: str) -> dict[str, Any]:
        tagger.fit_with(C, some(NEWSWIRE, sentences, seed))
        return score(tagger.predict(scored(split)[0]), split)

    def on_validation(C: float) -> float:
        return fitted(C, CHOSEN_WITH, FIRST_SEED, "validation")["metrics"]["f1"]

    with meter.Meter() as cost:
        found = search(PENALTIES, PENALTY_FACTOR, on_validation)
        tried = {f"{value:g}": f1 for value, f1 in found.scores.items()}
        setting = {"C": found.best, "at_edge": found.at_edge, "validation": tried}
        records = [
            {
                **condition.fields(arm), **setting, "random_state": seed,
                **fitted(found.best, condition.labels, seed, "test"),
            }
            for condition in PROBED
            for seed in condition.seeds()
        ]  # fmt: skip
    return [{**record, **fit_fields(cost)} for record in records]  # the seconds of all together


if __name__ == "__main__":
    print(
        f"{dropped('test')} of {len(splits(NEWSWIRE)['test'][0])} test sentences occur in "
        "training and are dropped",
        file=sys.stderr,
    )
    in_stages(__file__, (first_jobs, final_jobs, comparison_jobs), run)
