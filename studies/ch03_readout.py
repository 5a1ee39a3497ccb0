"""Do adapted encoders lose for what they know, or for how they were read and trained?

Written before any record. `ch03_transfer` fine-tuned from [CLS] and the pooler, 63 to 96 steps with
100 and 500 labels, and found domain-adaptive 7.4 points below MiniLM as shipped (500 labels,
interval −9.9 to −5.1), below even the probe of its own frozen vectors. But masked-LM training
leaves [CLS] and the pooler alone, four of ten runs with 100 labels had learned nothing, the rates
had been chosen with 1,000 labels, and the probes had one penalty for vectors whose mean cosine
differs from arm to arm. Here the same encoders are read and trained as suits them.

**Arms.** As shipped, general start, domain-adaptive, task-adaptive (`shared/encoders.py`).
Fine-tuned from the mean of the last states (`MeanPooled`) or from [CLS] and the pooler, with the
same trainer, loss and batches; at least 300 steps: 10 passes over 500 labels in batches of 16, 24
over 100 labels in batches of 8. Every record holds the training loss at the end, which says whether
a run has learned its labels. Probes: a logistic regression on the mean vectors, each feature
standardized by the labeled texts. Texts are cut at 64 tokens.

**Draws.** From seed 42 on, the same texts for all arms; a draw's seed is the training's too. Rotten
Tomatoes: from the mean, 500 labels, ten draws as shipped and domain-adaptive, three for the other
two; from the mean, 100 labels, five draws as shipped and domain-adaptive; from [CLS], 500 labels,
three draws of those two. BBC topics, where reviews should teach nothing, as the control: from the
mean, 100 labels, three draws of those two. Probes: ten draws of 100 and of 500 labels for all four
arms, five of 100 labels of topics.

**Chosen on validation.** The rate, for each arm, size and readout, from 3e-5, 1e-4 and 3e-4 by mean
accuracy, on draw 42, and on 42 and 43 where there are ten draws. Where the best lies at an edge, a
rate three times beyond it is tried (1e-5 or 9e-4); if that one is best, it is used, the record says
`at_edge`, and what is said of that arm is said with that reservation. Of equal rates the lower is
taken. The probes' C, for each arm and size, from 1e-4 to 1 in powers of ten by mean accuracy on
validation over all draws, with one power beyond an edge. Test is scored with the chosen values
alone.

**Primary comparison**: domain-adaptive minus as shipped, from the mean, 500 labels, ten draws,
test; the interval is a paired bootstrap over texts and draws. Below zero: the claim that reading
reviews first hurts here is earned. Holds zero: the claim is withdrawn, the old gap was readout and
too few steps, and nothing is said of a gain. Above zero: the claim is reversed. Secondary, marked
so where they are told, without a correction for their number: fine-tuned minus probe within each
arm (an adapted encoder below its own probe has not been trained well, and then no verdict is passed
on it); [CLS] minus mean within each arm; the other arms, sizes and the control minus as shipped;
the probes.

**Smallest detectable difference.** Of ten draws the old records give intervals of ±2.4 points
fine-tuned with 500 labels and ±2.0 frozen; 1.43 times that is 3 points in four of five tries. With
three draws a cell tells apart what lies 4 to 5 points apart, with 308 test topics no less. What
holds in the end, 1.43 times half of the interval's width, stands beside each result.

**Added after the records of the rest**, and before its own: the average of MiniLM as shipped and
domain-adaptive, frozen, under the same probes. `ch03_averages` found it 2.4 points ahead with 500
labels, under one penalty for all arms; here the penalty is chosen and the features are
standardized, as for the others. If its interval minus as shipped holds zero, that gain is not told
from a penalty that suited one arm better.

**Planned**: 12,300 core-seconds, 103 minutes on two cores, a thread and a job on each. Making the
encoders, whose folders are not kept: 1,250 steps of 2.3 s on a thread beside another
(`ch03_choices` took 274 s for 120), 2,880 s; on both cores `ch03_encoders` took 1,411 s for
domain-adaptive and 353 s for task-adaptive. A step of 16 sentences took 0.32 s in `ch03_transfer`
(31 s for 96, 20 s for 63), where the last block computes [CLS] alone; without that it should take
0.36 s, and with half the batch 0.24 s, since about 0.1 s goes to the optimizer whatever the batch.
A step of 16 articles of 128 tokens took 1.11 s (70 s for 63), so one of 8 and 64 tokens should take
0.39 s. Encoding 1,066 sentences takes 12 s (88 s for 7,464); a job's start 8 s. In seconds, with
scoring:

    from the mean, 500 labels: 12 fits of 127 to choose, 16 more of 135         3,680
    the other two arms: 6 of 127, 4 of 135                                      1,300
    from [CLS], 500 labels: 6 of 114, 4 of 122                                  1,170
    from the mean, 100 labels: 6 of 85, 8 of 93                                 1,250
    topics: 6 of 131, 4 of 139                                                  1,340
    probes: 4 of 90 and 2 of 50                                                   460
    two rates beyond an edge                                                      250

With the 44 minutes of `ch03_entities` that makes 147 of 150. **Cut to fit**: the arm "both" (two
more minutes of fits for each draw and six to make it); [CLS] with 100 labels; ten draws anywhere
but in the primary comparison; all but two draws to choose a rate; [CLS] for the general start and
task-adaptive; articles beyond 64 tokens. If time runs out, the topics are the last jobs, and the
first to go.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shared.common import (
    MODEL,
    FrozenEmbeddings,
    Job,
    few_shot,
    fit_fields,
    in_stages,
    score_fields,
    splits,
)
from shared.conditions import (
    CHOICE,
    COMPARISON,
    FINE_TUNED,
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
    ready,
    search,
)
from shared.encoders import (
    ARMS,
    DOMAIN,
    GENERAL,
    HALF_DOMAIN,
    SHIPPED,
    TASK,
    TASK_OF,
)
from shared.pooled import MeanPooledClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reptune import meter
from reptune.book import results
from reptune.classification import FineTunedClassifier
from reptune.metrics import paired_interval

STUDY = Path(__file__).stem
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
CLASSES = {REVIEWS: 2, NEWS: 5}
MAX_LENGTH = 64
BATCH = {100: 8, 500: 16}  # labels: texts per step
RATES, RATE_FACTOR = (3e-5, 1e-4, 3e-4), 3
PENALTIES, PENALTY_FACTOR = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 10
MEAN, CLS = "mean", "[CLS]"
PAIR, OTHERS = (SHIPPED, DOMAIN), (GENERAL, TASK)
HALVES = (HALF_DOMAIN,)
# In the order of what is needed most.
TUNED = (
    Condition(PAIR, REVIEWS, FINE_TUNED, MEAN, 500, draws=10, chosen_on=2),
    Condition(PAIR, REVIEWS, FINE_TUNED, CLS, 500, draws=3),
    Condition(PAIR, REVIEWS, FINE_TUNED, MEAN, 100, draws=5),
    Condition(OTHERS, REVIEWS, FINE_TUNED, MEAN, 500, draws=3),
    Condition(PAIR, NEWS, FINE_TUNED, MEAN, 100, draws=3),
)
PROBED = (
    Condition(PAIR + OTHERS + HALVES, REVIEWS, PROBE, MEAN, 500, draws=10),
    Condition(PAIR + OTHERS + HALVES, REVIEWS, PROBE, MEAN, 100, draws=10),
    Condition(PAIR, NEWS, PROBE, MEAN, 100, draws=5),
)


# --- jobs ----------------------------------------------------------------------------------------


def first_jobs() -> list[Job]:
    """Encoders, rates and probes, so that no job waits long for an encoder; the control last."""
    making = [making_job(arm, TASK_OF[ARMS[arm].texts or ""]) for arm in (DOMAIN, TASK)]
    choices = [job for condition in TUNED for job in condition.choice_jobs()]
    pairs = dict.fromkeys((arm, probed.task) for probed in PROBED for arm in probed.arms)
    probes = [{"method": arm, "model": MODEL, "task": task, "step": FROZEN} for arm, task in pairs]
    return making + sorted(
        choices + probes, key=lambda job: (job["task"] == NEWS, job["method"] in (DOMAIN, TASK))
    )


def final_jobs() -> Iterator[Job]:
    """The draws that have chosen nothing, each a job."""
    return finals_of(TUNED)


def comparison_jobs() -> Iterator[Job]:
    """The primary comparison first, then the secondary ones."""
    yield from minus_shipped(TUNED + PROBED)
    for condition in TUNED:
        for arm in condition.arms:
            fields = condition.fields(arm)
            yield comparison(fields, {**fields, "trained": PROBE, "readout": MEAN})
            if condition.readout == CLS:
                yield comparison(fields, {**fields, "readout": MEAN})


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    if job["step"] == MADE:
        yield made(job["method"], ready)
    elif job["step"] == FROZEN:
        yield from probed(job["method"], job["task"])
    elif job["step"] == COMPARISON:
        yield compared(STUDY, job, TUNED + PROBED, results.correct, paired_interval)
    elif job["step"] == CHOICE:
        condition = condition_of(job, TUNED)
        yield from chosen(
            lambda rate, seed: Fitted(job, rate, seed), condition.seeds()[: condition.chosen_on],
            RATES, RATE_FACTOR, "accuracy",
        )  # fmt: skip
    else:
        rate = chosen_rate(STUDY, condition_of(job, TUNED).fields(job["method"]))
        fitted = Fitted(job, rate, job["random_state"])
        yield {**fitted.fields, "learning_rate": rate, **fitted.score("test")}


# --- encoders ------------------------------------------------------------------------------------


# --- the readouts --------------------------------------------------------------------------------

CLASSIFIERS = {MEAN: MeanPooledClassifier, CLS: FineTunedClassifier}


class Fitted:
    """A classifier fitted in a job's condition to one draw of labels.

    Attributes:
        fields: What all records of the fit hold.
    """

    def __init__(self, job: Job, rate: float, seed: int) -> None:
        labels, self._task = job["labels"], job["task"]
        self._classifier = CLASSIFIERS[job["readout"]](
            ready(job["method"]), learning_rate=rate, batch_size=BATCH[labels],
            num_epochs=passes(labels, BATCH[labels]), max_length=MAX_LENGTH, random_state=seed,
            show_progress=False,
        )  # fmt: skip
        with meter.Meter() as cost:
            self._classifier.fit(*few_shot(self._task, labels // CLASSES[self._task], seed))
        self.fields = {
            **fit_fields(cost),
            "random_state": seed,
            "batch_size": BATCH[labels],
            "num_epochs": passes(labels, BATCH[labels]),
            "training_loss": ending_loss(self._classifier.history_),
        }

    def score(self, split: str) -> dict[str, Any]:
        """Return accuracy, and which texts are right, as record fields."""
        texts, labels = splits(self._task)[split]
        return {"split": split, **score_fields(self._classifier.predict(texts) == labels)}


# --- what validation chooses ---------------------------------------------------------------------


# --- probes --------------------------------------------------------------------------------------


def probed(arm: str, task: str) -> list[dict[str, Any]]:
    """Return the test records of an arm's probes; each text is encoded once."""
    vectors = FrozenEmbeddings(ready(arm), max_length=MAX_LENGTH)
    with meter.Meter() as cost:
        records = [
            {**condition.fields(arm), **record}
            for condition in PROBED
            if condition.task == task and arm in condition.arms
            for record in _probed(condition, vectors)
        ]
    return [{**record, **fit_fields(cost)} for record in records]  # the seconds of all together


def _probed(condition: Condition, vectors: FrozenEmbeddings) -> Iterator[dict[str, Any]]:
    task, drawn = condition.task, {}
    for seed in condition.seeds():
        texts, labels = few_shot(task, condition.labels // CLASSES[task], seed)
        drawn[seed] = vectors.encode(texts), labels

    def right(penalty: float, split: str) -> dict[int, np.ndarray]:
        texts, labels = splits(task)[split]
        held = vectors.encode(texts)
        return {
            seed: probe(penalty).fit(*train).predict(held) == labels
            for seed, train in drawn.items()
        }

    found = search(
        PENALTIES, PENALTY_FACTOR, lambda C: float(np.mean(list(right(C, "validation").values())))
    )
    tried = {f"{value:g}": score for value, score in found.scores.items()}
    for seed, correct in right(found.best, "test").items():
        yield {
            "random_state": seed, "split": "test", "C": found.best, "at_edge": found.at_edge,
            "validation": tried, **score_fields(correct),
        }  # fmt: skip


def probe(C: float) -> Any:
    """A logistic regression on standardized features; `C` is the inverse of its penalty."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))


# --- comparisons ---------------------------------------------------------------------------------


if __name__ == "__main__":
    in_stages(__file__, (first_jobs, final_jobs, comparison_jobs), run)
