"""Self-consistency: outputs that several answers agree on, labels that a second model confirms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from reptune.checks import check_number, check_whole_number
from reptune.prompt2model.filters import Kept, input_key, keep_where
from reptune.prompt2model.task import Demonstration, Sample


class Labeler(Protocol):
    """What gives texts the probabilities of a task's labels."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return shape `(n, labels)`, in the order of the task's labels."""
        ...


def vote(samples: Sequence[Sample], demonstrations: Sequence[Demonstration] = ()) -> Kept:
    """Give equal inputs one output: the user's where there is one, else the most frequent.

    Where two outputs are equally frequent nothing says which is right, least of all their length,
    so the input is dropped.

    Args:
        samples: Any; of equal inputs the first one with the winning output stays.
        demonstrations: The user's own examples, which overrule any number of votes.

    >>> rows = [Sample("1+1", "2"), Sample("1+1", "3"), Sample("1+1 ", "2"), Sample("2+2", "4")]
    >>> [(row.input, row.output) for row in vote(rows).samples]
    [('1+1', '2'), ('2+2', '4')]
    >>> vote([Sample("1+1", "2"), Sample("1+1", "eleven")])
    Kept(samples=[], dropped=2, reason='tied or outvoted output')

    Source: Wang et al., *Self-Consistency Improves Chain of Thought Reasoning in Language Models*
    (2023); chapter 7.
    """
    ballots: dict[tuple[str, str], Counter] = {}
    for sample in samples:
        ballots.setdefault(input_key(sample), Counter())[sample.output] += 1
    told = {input_key(Sample(given.input, "")): given.output for given in demonstrations}
    kept: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        key = input_key(sample)
        if key not in kept and sample.output == (told.get(key) or _winner(ballots[key])):
            kept[key] = sample
    return Kept(list(kept.values()), len(samples) - len(kept), "tied or outvoted output")


def _winner(ballot: Counter) -> str | None:
    (first, most), *others = ballot.most_common(2)
    return None if others and others[0][1] == most else first


@dataclass(frozen=True)
class Relabeled:
    """What is left where a second model confirms the label, and what its votes were worth.

    Attributes:
        kept: The samples that stay, how many went and why.
        stays: For each sample, whether it does.
        disagreed: Share of the samples for which the labeler's first choice is another label.
        orders_differ: Share for which not all prompt orders have the same first choice.
        vote_changed: Share for which all orders together decide otherwise about keeping than the
            first order alone: what the votes changed.
    """

    kept: Kept
    stays: tuple[bool, ...]
    disagreed: float
    orders_differ: float
    vote_changed: float


def relabel(
    samples: Sequence[Sample],
    labeler: Labeler | Sequence[Labeler],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
) -> Relabeled:
    """Keep the samples whose label another model confirms.

    The labeler should not be what wrote the samples: a model agrees with itself.

    Args:
        samples: Of a classification.
        labeler: What gives probabilities, or several that vote by their mean, such as
            `prompt_labelers(…)`, one model under several orders of the prompt.
        labels: All labels, in the order of the labeler's columns.
        threshold: The least mean probability of the sample's label; it must also be the highest.

    Raises:
        ValueError: If a sample's label is none of `labels`, or a labeler returns no
            probabilities.

    >>> class Keyword:
    ...     def probabilities(self, texts):
    ...         return np.array([[0.9, 0.1] if "fine" in text else [0.2, 0.8] for text in texts])
    >>> rows = [Sample("a fine film", "good"), Sample("a dull film", "good")]
    >>> relabel(rows, Keyword(), ["good", "bad"]).kept
    Kept(samples=[Sample(input='a fine film', ...)], dropped=1, reason='label not confirmed')

    Source: chapter 7.
    """
    check_number("threshold", threshold, least=0, most=1)
    labelers = list(labeler) if isinstance(labeler, Sequence) else [labeler]
    known, reason = list(labels), "label not confirmed"
    strange = sorted({sample.output for sample in samples} - set(known))
    if strange:
        raise ValueError(f"label {strange[0]!r} is none of {known}; pass all of the task's labels.")
    if not samples or not labelers:
        stays = (True,) * len(samples)
        return Relabeled(keep_where(samples, stays, reason), stays, 0.0, 0.0, 0.0)
    texts = [sample.input for sample in samples]
    votes = np.stack([_checked(one.probabilities(texts), texts, known) for one in labelers])
    given = np.array([known.index(sample.output) for sample in samples])
    mean, first = votes.mean(axis=0), votes.argmax(axis=2)
    confirmed = _confirms(mean, given, threshold)
    stays = tuple(confirmed.tolist())
    return Relabeled(
        keep_where(samples, stays, reason),
        stays,
        disagreed=float((mean.argmax(axis=1) != given).mean()),
        orders_differ=float((first != first[0]).any(axis=0).mean()),
        vote_changed=float((confirmed != _confirms(votes[0], given, threshold)).mean()),
    )


def _confirms(probabilities: np.ndarray, given: np.ndarray, threshold: float) -> np.ndarray:
    own = probabilities[np.arange(len(given)), given]
    return (probabilities.argmax(axis=1) == given) & (own >= threshold)


def _checked(values: Any, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.shape != (len(texts), len(labels)):
        raise ValueError(
            f"the labeler returned shape {array.shape} for {len(texts)} texts and {len(labels)} "
            "labels; it must return a probability for each text and label."
        )
    sums = array.sum(axis=1)
    if not np.isfinite(array).all() or (array < 0).any() or (abs(sums - 1) > 1e-3).any():
        raise ValueError("the labeler's rows are no probabilities; each must sum to 1.")
    return array


@dataclass(frozen=True)
class PromptLabeler:
    """A causal model that labels texts by how likely each label is as its answer.

    The mean of a label's scores over all the texts is taken away before they become
    probabilities, so that a label which the model always likes gains nothing. That supposes that
    the labels are about equally frequent among the texts, as those of generated samples are.

    Args:
        model: What has `continuation_scores(prompts, continuations)`, such as a
            `reptune.models.causal.CausalLM`, or holds it as `lm`, as a `LocalTeacher` does. It
            scores a text once in the labeler's life.
        instruction: What to decide.
        labels: What to choose from.
        order: Which order of the labels the prompt shows: 0 for their own.

    >>> class Likes:  # always prefers the first label, and "fine" makes it more so
    ...     def continuation_scores(self, prompts, labels):
    ...         return np.array([[1.0 if "fine" in text else 0.5, 0.0] for text in prompts])
    >>> labeler = PromptLabeler(Likes(), "Is the film good or bad?", ("good", "bad"))
    >>> labeler.probabilities(["a fine film", "a dull film"]).argmax(axis=1)
    array([0, 1])

    Source: Zhou et al., *Batch Calibration* (2024); chapters 5 and 7.
    """

    model: Any
    instruction: str
    labels: Sequence[str]
    order: int = 0
    _scores: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return shape `(n, labels)`, in the order of `labels`, whichever the prompt shows."""
        new = [text for text in dict.fromkeys(texts) if text not in self._scores]
        if new:
            found = getattr(self.model, "lm", self.model).continuation_scores(
                [self.prompt(text) for text in new], [f" {label}" for label in self.labels]
            )
            self._scores.update(zip(new, np.asarray(found), strict=True))
        scores = np.stack([self._scores[text] for text in texts])
        scores = scores - scores.mean(axis=0)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def prompt(self, text: str) -> str:
        """Return what the model reads."""
        shown = np.random.default_rng(self.order).permutation(len(self.labels))
        if self.order == 0:
            shown = np.arange(len(self.labels))
        choices = ", ".join(self.labels[index] for index in shown)
        head = f"{self.instruction}\nPossible answers: {choices}"
        return f"{head}\n\nInput: {' '.join(text.split())}\nAnswer:"


def prompt_labelers(
    model: Any, instruction: str, labels: Sequence[str], orders: int = 3
) -> list[PromptLabeler]:
    """Return labelers that differ in the order in which the prompt names the labels.

    Two labels have two orders, and no more labelers than orders come back.
    """
    check_whole_number("orders", orders)
    found: dict[str, PromptLabeler] = {}
    for order in range(100 * orders):
        labeler = PromptLabeler(model, instruction, tuple(labels), order)
        found.setdefault(labeler.prompt(""), labeler)
        if len(found) == orders:
            break
    return list(found.values())
