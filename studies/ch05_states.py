"""A causal model's hidden states under a logistic regression, chosen without peeking.

Question. Which block and which pooling to read had been chosen on 1,066 validation labels. What is
left of the gain over sentence embeddings when the choice uses the few training labels alone?

Candidates, 54: blocks at one to six sixths of the model (SmolLM2 5 to 30, Qwen 4 to 24) x the last
token of the text, the mean over its tokens, the last token of the prompt `Review: … Sentiment:`
(for headlines `Headline: … Section:`) x C 0.01, 0.1, 1; all standardized. Choice: stratified
cross-validation on the training draw, 4 folds, 5 times, highest mean log-likelihood (accuracy on 32
labels moves in steps of 3 points and ties), ties to the first in the order above; then fitted on
all of the draw, and scored once on test.

Rows, for the same draws: "chosen"; "fixed rule", the middle block, last token, C = 0.01 (found by
peeking on reviews with SmolLM2, where it therefore proves nothing; a clean test on headlines and
for Qwen); "last block", last token, C = 0.01; "peeked", SmolLM2 only, the block and pooling with
the best mean validation accuracy over all draws, C = 0.01, as the chapter had it; and MiniLM's
sentence embeddings, with C "chosen" by the same cross-validation, and with "chapter 2's head".

Runs. SmolLM2-135M-Instruct: Rotten Tomatoes, all 1,066 test sentences, 4, 16 and 64 labels per
class, draws 42 to 51; headlines, 308, 16 per class, ten draws. Qwen2.5-Coder-0.5B-Instruct: 16 per
class, draws 42 to 46, 400 reviews and 308 headlines. MiniLM on the same draws.

Primary comparison (P3). SmolLM2, reviews, 32 labels, ten draws x 1,066 items: "chosen" minus
MiniLM "chosen". "Worth more on the same labels" if the 95% interval lies above 0; "not
distinguishable" if it holds 0, with its half width. Then what the choice costs, peeked minus
chosen, and how often each block was chosen. Headlines and Qwen are described: the same direction,
not distinguishable, or reversed.

Chosen. Block, pooling and C, on the draw's own labels as said. "Peeked" alone reads validation.
Known in advance: peeked against MiniLM on draws 42 to 46, 0.101 [0.064, 0.138] with 32 labels; if
P3 falls under 0.064, peeking had been part of it. The last token at block 15 minus the prompt's at
25 was 0.017 [-0.012, 0.045], so the pooling may vary between draws at no cost.

Smallest detectable difference of P3 (four tries of five): deviation over draws 0.035, items 0.011,
so 4.3 points; with the choice's own noise (a deviation of 0.05, assumed) 5.4.

Hours. SmolLM2 reads a text in 0.079 s, Qwen in 0.18, a headline takes half of that: SmolLM2 on
reviews (2,346 texts and 1,066 of validation) x 3 x 0.079 s and 32,400 fits x 15 ms = 1,300 s,
headlines 1,300 x 3 x 0.035 s and 216 s; Qwen 380 s and 260 s; MiniLM 100 s. With loading 2,400 s,
0.7 core-hours.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from shared.asking import (
    DRAWS,
    LARGE,
    NEWS,
    REVIEWS,
    SMALL,
    TEN_DRAWS,
    examples,
    only,
    packed,
    prompts,
    some,
)
from shared.common import FrozenEmbeddings, Job, fit_fields, main
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reptune import meter
from reptune.models.causal import CausalLM, load_causal_lm

MINILM = "all-MiniLM-L6-v2"
POOLINGS = ("last token", "mean", "last token of the prompt")
STRENGTHS = (0.01, 0.1, 1.0)
SIXTHS, MIDDLE = 6, 2  # states are read after each sixth of the blocks; half of them is the third
FOLDS, REPEATS = 4, 5
CHOSEN, RULE, LAST_BLOCK, PEEKED = "chosen", "fixed rule", "last block", "peeked"
HEAD, HEAD_C = "chapter 2's head", 10  # as `shared.common.FrozenEmbeddings` fits it
PER_CLASS = 16
SIZES = {REVIEWS: (4, PER_CLASS, 64), NEWS: (PER_CLASS,)}  # for Qwen 16 alone
EVERYTHING = 10**6  # items: all there are

Candidate = tuple[int, int, float]  # which sixth, which pooling, C
FIXED: dict[str, Candidate] = {
    RULE: (MIDDLE, 0, STRENGTHS[0]),
    LAST_BLOCK: (SIXTHS - 1, 0, STRENGTHS[0]),
}

JOBS = [
    {"model": model, "task": task}
    for model, task in (
        (SMALL, REVIEWS), (MINILM, REVIEWS), (SMALL, NEWS), (MINILM, NEWS),
        (LARGE, REVIEWS), (LARGE, NEWS),
    )
]  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Read every text once; fit on each draw, and score on test."""
    with meter.Meter() as cost:
        vectors = Vectors(job["model"], job["task"])
        tests = [(vectors.of(texts), labels) for texts, labels in test_sets(job)]
        peeked = peek(vectors, job) if job["model"] == SMALL else {}
    for per_class, draw in draws_of(job):
        train = drawn(vectors, job["task"], per_class, draw)
        for method, pick in picks(job["model"], train, draw, peeked.get(per_class)).items():
            for fields in scored(train, tests, pick, plain=method == HEAD):
                yield {
                    "method": method,
                    "split": "test",
                    "labels": len(train[1]),
                    "per_class": per_class,
                    "random_state": draw,
                    "block": vectors.blocks[pick[0]],
                    **fit_fields(cost),
                    **fields,
                }


def draws_of(job: Job) -> list[tuple[int, int]]:
    """Labels per class, and draws."""
    few, many = ((PER_CLASS,), DRAWS), (SIZES[job["task"]], TEN_DRAWS)
    return list(product(*(few if job["model"] == LARGE else many)))


def test_sets(job: Job) -> list[tuple[list[str], np.ndarray]]:
    """Texts and labels of test: all, and of reviews a part that Qwen has the time for."""
    part, full = some(job["task"]), some(job["task"], most=EVERYTHING)
    if job["model"] == LARGE:
        return [part]
    return [full] if len(part[0]) == len(full[0]) else [full, part]


class Vectors:
    """Vectors of texts from a model; each text is read once.

    Args:
        model: A causal model's name, or `MINILM`.
        task: Whose prompt the last pooling puts around a text.

    Attributes:
        blocks: The numbers of the blocks that are read; `[None]` for sentence embeddings.
    """

    def __init__(self, model: str, task: str) -> None:
        self._known: dict[str, np.ndarray] = {}
        self._task = task
        if model == MINILM:
            self.blocks, self._lm = [None], FrozenEmbeddings(MINILM)
        else:
            self._lm = load_causal_lm(model)
            count = self._lm.model.config.num_hidden_layers
            self.blocks = [count * sixth // SIXTHS for sixth in range(1, SIXTHS + 1)]

    def of(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts, `(blocks, poolings, n, dimensions)`."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            read = self._read(new)
            self._known |= {text: read[:, :, row] for row, text in enumerate(new)}
        return np.stack([self._known[text] for text in texts], axis=2)

    def _read(self, texts: list[str]) -> np.ndarray:
        if not isinstance(self._lm, CausalLM):
            return self._lm.encode(texts)[None, None]
        ways = (texts, "last"), (texts, "mean"), (prompts(self._lm, self._task, texts), "last")
        found = [
            self._lm.hidden_states(shaped, layer=self.blocks, pooling=way, half_precision=True)
            for shaped, way in ways
        ]
        return np.stack(found, axis=1).astype(np.float32)


Labeled = tuple[np.ndarray, np.ndarray]  # vectors and labels


def drawn(vectors: Vectors, task: str, per_class: int, draw: int) -> Labeled:
    """Vectors and labels of a draw."""
    texts, labels = zip(*examples(task, per_class, draw), strict=True)
    return vectors.of(list(texts)), np.array(labels)


def picks(
    model: str, train: Labeled, draw: int, peeked: Candidate | None
) -> dict[str, tuple[int, int, float, float | None]]:
    """What each method reads: a sixth, a pooling, C, and the log-likelihood it was chosen by."""
    found = {CHOSEN: choose(*train, draw)}
    if model == MINILM:
        return {**found, HEAD: (0, 0, HEAD_C, None)}
    fixed = FIXED if peeked is None else {**FIXED, PEEKED: peeked}
    return {**found, **{name: (*candidate, None) for name, candidate in fixed.items()}}


def choose(vectors: np.ndarray, labels: np.ndarray, draw: int) -> tuple[int, int, float, float]:
    """The candidate with the highest cross-validated mean log-likelihood, the first of ties."""
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=draw)
    candidates = list(product(*map(range, vectors.shape[:2]), STRENGTHS))
    values = [
        cross_val_score(
            head(strength), vectors[sixth, pooling], labels, cv=folds, scoring="neg_log_loss"
        ).mean()
        for sixth, pooling, strength in candidates
    ]
    best = int(np.argmax(values))
    return (*candidates[best], float(values[best]))


def peek(vectors: Vectors, job: Job) -> dict[int, Candidate]:
    """For each number of labels, the block and pooling with the best mean validation accuracy."""
    texts, labels = some(job["task"], "validation", EVERYTHING)
    held = vectors.of(texts)
    right: dict[int, np.ndarray] = {}
    for per_class, draw in draws_of(job):
        train, known = drawn(vectors, job["task"], per_class, draw)
        scores = np.zeros(held.shape[:2])
        for place in np.ndindex(scores.shape):
            model = head(STRENGTHS[0]).fit(train[place], known)
            scores[place] = model.score(held[place], labels)
        right[per_class] = right.get(per_class, 0) + scores
    return {
        per_class: (*map(int, np.unravel_index(scores.argmax(), scores.shape)), STRENGTHS[0])
        for per_class, scores in right.items()
    }


def head(strength: float, plain: bool = False) -> Any:
    """A logistic regression, over standardized vectors unless `plain`."""
    regression = LogisticRegression(C=strength, max_iter=2000)
    return regression if plain else make_pipeline(StandardScaler(), regression)


def scored(
    train: Labeled, tests: list[Labeled], pick: tuple, plain: bool
) -> Iterator[dict[str, Any]]:
    """Fit on a draw what a method has picked; record fields for each test set."""
    sixth, pooling, strength, value = pick
    model = head(strength, plain).fit(train[0][sixth, pooling], train[1])
    for vectors, labels in tests:
        yield {
            "pooling": POOLINGS[pooling] if vectors.shape[0] > 1 else None,
            "C": strength,
            "log_likelihood": value,
            **packed(model.predict(vectors[sixth, pooling]), labels),
        }


if __name__ == "__main__":
    main(__file__, only(JOBS), run)
