"""Does a prompt beat a new head, with 16 labels per class? Four tasks and one of grades; test.

Written before any record. Chapter 6 has so far asked its questions of one data set. Here the same
model is fine-tuned through a prompt and through a new head, in one and the same loop
(`shared/standard.py`), on the tasks of `shared/suite.py`: the sentiment of review sentences (T1),
the topics of headlines (T2), a title and an opening of one article or of two (T3), two sentences of
the same sentiment or not (T4), and, for regression, titles and openings in three grades (T5).

**Models.** MiniLM with the general start for all tasks, SmolLM2-135M-Instruct without its chat
template, and, where it is at hand, this book's small BERT, which has read reviews alone. The start
has read the articles that labels are drawn from, without the labels, but none that is tested.

**Arms.** Standard fine-tuning. The prompt: untrained; calibrated on 200 unlabeled texts; with a
bias per class from the labels; tuned; tuned with demonstrations (one per class; at test one draw of
them for SmolLM2, two for MiniLM); with automatic words (30 candidates per class); with automatic
templates (20 by SmolLM2, `" ."` appended, a pair read as "a | b"). Of words and of templates the
best three by calibrated likelihood on the draw are tuned, and development chooses; the three
templates are an ensemble too. Three words per label. Students of 1,000 unlabeled texts with a new
head: of the prompt and the three templates, mean probability at temperature 2 (self-training), or
of SmolLM2's prompt (distillation). Frozen embeddings, a threshold on the cosine, SetFit with 16 and
32 labels per class, TF-IDF. All labels, one seed, as a limit: no verdict.

**Seeds.** Draws 42 to 46 of 16 labels per class, the next 16 per class for development; pilot draws
0 and 1. AdamW 0.01, warm-up 0.1, batch 8; MiniLM 120 steps with ten evaluations, SmolLM2 60 with
five, in all arms alike.

**Chosen on development, never on validation or test.** One rate per model and family (prompts, new
heads) for all tasks and draws: best mean accuracy, ties by likelihood, on the pilot draws of T1 and
T2 (SmolLM2: draw 0); where the best is at an edge, one value more. The checkpoint of a fit: the
same on its development texts. Two rules guard the control, on the pilot: if the package's own
class with MiniLM's pooler (`FineTunedClassifier`, 30 epochs) is more than a point better than the
new head, P2 takes that; if the loss of SmolLM2's new head on its own draw ends above half of
guessing's at every rate, it gets 120 steps. T1's template was the better of two on validation in
`ch06_choices`; the other templates and words were written without a trial.

**Primary comparisons**: the mean over tasks, equally weighted, of the difference in accuracy.

| | | tasks | confirmed | refuted, if not confirmed |
|---|---|---|---|---|
| P1 | SmolLM2: prompt - standard | T1-T4 | low > 0 | high < 2 points |
| P2 | MiniLM: prompt - standard | T1-T4 | low > 0 | high < 2 points |
| P3 | MiniLM: automatic templates - manual | T1-T4 | low > -2 points, high >= 0 | high < 0 |
| P4 | SmolLM2: demonstrations - none | T1, T2 | low > 0 | high < 1 point |

All else is **undecided**, and so is what two 95% intervals do not both say: the bootstrap over
items and draws, and a t interval over the draws' means, because a percentile bootstrap of five
draws is too narrow. Both are also recorded at 98.75%, for four comparisons. "Refuted" means this
model, these tasks and, in P3, this search. Each mean is also recorded over the tasks where the
better side's interval lies above chance: a floor is no evidence. These means, single tasks and the
comparisons in `SECONDARY` have intervals and no verdict.

**Smallest detectable differences**, 1.43 times half an interval. Half widths by task, from earlier
records: P1 4, 4, 6, 4 points; P2 2.7, 3, 6, 3; P3 2.5, 3, 6, 3; P4 3, 4. Of the means 2.3, 2.0, 1.9
and 2.5, so 3.3, 2.8, 2.8 and 3.6 points are detectable. The paper's ten points on sentiment would
be seen; its gain from demonstrations would not, and P4 will probably end undecided.

**Doubts, said now.** P1's rate rests on one draw of two tasks. SmolLM2 may have read these data,
which lifts its prompt more than its new head. MiniLM has learned to fill masks for 1,500 steps,
which is little. SetFit and frozen embeddings see no development labels, but for the row with 32. T4
is near chance by construction: two sentences read rightly with probability p agree rightly in p² +
(1-p)². Its test sentences are T1's, so means are slightly less certain than their intervals say.
The published protocol takes 1,000 steps, a grid per draw, 100 candidates, and 16 sets of
demonstrations at test.

**Time.** `ch06_final`, one thread beside another: MiniLM 0.08 s per step, 0.7 ms per token trained
and 0.23 ms per token read; SmolLM2 0.25 s, 7.3 ms and 2.0 ms. Prompts of T1 to T4 have 31, 13, 47
and 54 tokens, SmolLM2's 32, 14, 51 and 61. So a fit with its evaluations takes MiniLM 33, 21, 45
and 50 s, SmolLM2 137, 75, 210 and 248 s; test 8, 2, 7, 7 s and 68, 17, 63, 65 s; a process 12.

| | core-seconds | core-hours in all |
|---|---|---|
| pilot, MiniLM: 3 rates, 3 methods, 2 draws, T1 and T2 | 1,100 | 0.3 |
| pilot, SmolLM2: 3 rates, 2 methods, 1 draw, T1 and T2 | 1,200 | 0.6 |
| untrained | 440 | 0.8 |
| prompt and standard, MiniLM (P2): 2 x 5 x (149 + 24) s | 1,800 | 1.3 |
| the same, SmolLM2 (P1), T3 last: 2 x 5 x (670 + 213) s | 8,990 | 3.8 |
| automatic templates (P3): 20 searches of 30 s, 60 fits | 3,360 | 4.7 |
| demonstrations, SmolLM2 (P4): 10 fits of 382 s, test 205 and 103 s | 5,480 | 6.2 |
| frozen, cosine, SetFit, TF-IDF | 1,200 | 6.5 |
| the small BERT; its pilot comes first | 1,140 | 6.9 |
| automatic words: 60 fits | 2,480 | 7.6 |
| demonstrations, MiniLM | 3,000 | 8.4 |
| three words; students; regression | 2,560 | 9.1 |
| all labels, MiniLM | 1,500 | 9.5 |
| 1,000 steps, T1, draws 42 to 44 | 1,600 | 10.0 |

With 30% in reserve 13 core-hours, 6.5 hours of two cores. If SmolLM2 takes more than three hours of
a core for T1, T2 and T4, it drops T3 before any record of it. Left out of the plan: SmolLM2 with
all labels, Qwen untrained, the review start, 1,000 steps on T2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from shared import standard, suite
from shared.common import Job, fit_fields, in_stages, score_fields
from shared.standard import CAUSAL, FROZEN, MINILM, MODELS, PACKAGE, PROMPT, SHOWN, SMALL, STANDARD
from shared.suite import AGREEMENT, ARTICLES, FOUR, GRADES, PAIRS, SINGLE, STUDY
from sklearn.linear_model import LinearRegression

from reptune import assets, meter
from reptune.book import results
from reptune.cloze import load_prompt_model, rank_templates, search_words
from reptune.cloze.template_search import CausalGenerator
from reptune.incontext import calibrated

FOLDER = Path(__file__).resolve().parents[1] / "_build" / STUDY  # what teachers answer
DRAWS = [42, 43, 44, 45, 46]
UNTRAINED, CALIBRATED, BIASED = "prompt, untrained", "untrained, calibrated", "untrained, biases"
WORDS, TEMPLATES = "prompt, automatic words", "prompt, automatic templates"
ENSEMBLE, LINE = "prompt, ensemble of templates", "cosine, straight line"
SELF, DISTILLED = "self-training", "distillation from SmolLM2"
CANDIDATES = 3  # words, or templates, that are tuned
BEAM = {"beam_width": 20, "max_tokens": 6}  # of the search for templates
STUDENT, TEMPERATURE = {"num_steps": 250, "batch_size": 16}, 2
WHOLE, EPOCHS = {"batch_size": 16, "patience": None}, 2
BUDGET = 3 * 3600  # core-seconds of SmolLM2 on T1, T2 and T4, beyond which it drops T3

# Beside the primary comparisons, whose names are those of `suite.RULES`; no verdict.
SECONDARY = [
    *((model, PROMPT, other, FOUR) for model in MODELS for other in (CALIBRATED, BIASED)),
    (SMALL, PROMPT, STANDARD, FOUR),
    (MINILM, TEMPLATES, WORDS, FOUR), (MINILM, ENSEMBLE, TEMPLATES, FOUR),
    (MINILM, SHOWN, PROMPT, FOUR), (MINILM, standard.SEVERAL, PROMPT, SINGLE),
    (MINILM, SELF, PROMPT, SINGLE), (MINILM, DISTILLED, PROMPT, SINGLE),
    (MINILM, PROMPT, standard.SETFIT, FOUR), (MINILM, PROMPT, FROZEN, FOUR),
    (MINILM, standard.LONG_PROMPT, standard.LONG_STANDARD, SINGLE[:1]),
]  # fmt: skip


# --- jobs, in stages that read what the ones before have left -------------------------------------


def _jobs(
    kind: str,
    methods: Iterable[str],
    model: str,
    tasks: Iterable[str],
    draws: list[int] | None = None,
    together: bool = True,
) -> Iterator[Job]:
    """Yield a job for each task and method, or for each draw too where a fit takes minutes."""
    draws = DRAWS if draws is None else draws
    for task, method in itertools.product(tasks, methods):
        for some in [draws] if together else [[draw] for draw in draws]:
            yield {"kind": kind, "method": method, "model": model, "task": task, "draws": some}


def models() -> list[str]:
    """The models; the small BERT where it is at hand."""
    return [model for model in MODELS if model != SMALL or SMALL in assets.names()]


def pilots() -> Iterator[Job]:
    """The rates of the grids, and the guard of the control."""
    for model in models():
        for rate, method in itertools.product(MODELS[model].rates, families(model)):
            yield from _rate_jobs(method, model, rate)


def further_pilots() -> Iterator[Job]:
    """One rate more, where the best is at an edge."""
    for model in models():
        for method in families(model):
            rate = standard.beyond_edge(method, model)
            yield from [] if rate is None else _rate_jobs(method, model, rate)


def families(model: str) -> tuple[str, ...]:
    """What has a rate of its own."""
    return (PROMPT, STANDARD, PACKAGE) if model == MINILM else (PROMPT, STANDARD)


def _rate_jobs(method: str, model: str, rate: float) -> Iterator[Job]:
    for job in _jobs("rate", [method], model, SINGLE, list(MODELS[model].pilot_draws)):
        yield {**job, "learning_rate": rate}


def masked() -> Iterator[Job]:
    """The untrained prompts, and the sides of P2."""
    for model in (MINILM, CAUSAL):
        yield from _jobs("untrained", [UNTRAINED], model, FOUR)
    sides = dict.fromkeys((PROMPT, STANDARD, standard.control(MINILM)))
    yield from _jobs("test", sides, MINILM, FOUR)


def causal() -> Iterator[Job]:
    """The sides of P1, as far as they are run in any case."""
    yield from _jobs("test", (PROMPT, STANDARD), CAUSAL, (*SINGLE, AGREEMENT), together=False)


def searched_and_shown() -> Iterator[Job]:
    """The rest of P1, if it is affordable; then P3 and P4."""
    left = [task for task in causal_tasks() if task == ARTICLES]
    yield from _jobs("test", (PROMPT, STANDARD), CAUSAL, left, together=False)
    yield from _jobs("search", [TEMPLATES], MINILM, FOUR, together=False)
    yield from _jobs("test", [SHOWN], CAUSAL, SINGLE, together=False)


def primary() -> Iterator[Job]:
    """What P1 to P4 come to."""
    yield _comparison("P1", CAUSAL, PROMPT, STANDARD, causal_tasks())
    yield _comparison("P2", MINILM, PROMPT, standard.control(MINILM), FOUR)
    yield _comparison("P3", MINILM, TEMPLATES, PROMPT, FOUR)
    yield _comparison("P4", CAUSAL, SHOWN, PROMPT, SINGLE)


def others() -> Iterator[Job]:
    """All else, in the order in which it would be missed."""
    for model in models():
        yield from _jobs("baseline", [FROZEN], model, FOUR)
    yield from _jobs("baseline", [standard.SETFIT], MINILM, FOUR)
    yield from _jobs("baseline", [standard.COSINE], MINILM, PAIRS)
    yield from _jobs("baseline", (standard.MORE_SETFIT, standard.COUNTS), MINILM, SINGLE)
    if SMALL in models():
        yield from _jobs("untrained", [UNTRAINED], SMALL, FOUR)
        yield from _jobs("test", (PROMPT, STANDARD), SMALL, FOUR)
    yield from _jobs("search", [WORDS], MINILM, FOUR)
    yield from _jobs("test", [SHOWN], MINILM, FOUR)
    yield from _jobs("test", [standard.SEVERAL], MINILM, SINGLE)
    yield from _jobs("student", (SELF, DISTILLED), MINILM, SINGLE)
    yield from _jobs("regression", [UNTRAINED], MINILM, [GRADES], DRAWS[:1])
    yield from _jobs("regression", (LINE, PROMPT, STANDARD), MINILM, [GRADES])
    limits = (standard.ALL_PROMPT, standard.ALL_STANDARD)
    yield from _jobs("limit", limits, MINILM, FOUR, DRAWS[:1])
    long = (standard.LONG_PROMPT, standard.LONG_STANDARD)
    yield from _jobs("test", long, MINILM, SINGLE[:1], DRAWS[:3])


def secondary() -> Iterator[Job]:
    """The other comparisons."""
    for model, first, minus, tasks in SECONDARY:
        if model in models():
            known = causal_tasks() if model == CAUSAL else FOUR
            some = [task for task in tasks if task in known]
            yield _comparison("secondary", model, first, minus, some)


STAGES = (
    pilots, further_pilots, masked, causal, searched_and_shown, primary, others, secondary,
)  # fmt: skip


def _comparison(name: str, model: str, first: str, minus: str, tasks: Iterable[str]) -> Job:
    job = {"kind": "comparison", "method": name, "model": model}
    return {**job, "first": first, "minus": minus, "tasks": list(tasks)}


def causal_tasks() -> tuple[str, ...]:
    """The tasks of SmolLM2: all four, unless three took more than the budget."""
    table = results.read(STUDY)
    if table.empty:
        return FOUR
    rows = (table["kind"] == "test") & (table["model"] == CAUSAL) & (table["task"] != ARTICLES)
    rows &= table["method"].isin((PROMPT, STANDARD))
    spent = table.loc[rows, ["seconds.fit", "seconds.predict"]].sum().sum()
    return tuple(task for task in FOUR if spent <= BUDGET or task != ARTICLES)


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    yield from {
        "rate": try_rate,
        "untrained": ask,
        "test": test,
        "search": search,
        "baseline": fit_baseline,
        "student": teach,
        "regression": regress,
        "limit": take_all,
        "comparison": compare,
    }[job["kind"]](job)


# --- fits ----------------------------------------------------------------------------------------


def try_rate(job: Job) -> Iterator[dict[str, Any]]:
    """Fit at one rate; what counts is development."""
    method, model = job["method"], job["model"]
    for draw in job["draws"]:
        over = {"learning_rate": job["learning_rate"], "num_steps": MODELS[model].num_steps}
        fields = standard.fitted(method, model, job["task"], draw, **over)[1]
        yield {**fields, "split": "development", "metrics": fields["development"]}


def test(job: Job) -> Iterator[dict[str, Any]]:
    """Fit on each draw and score test; keep what the prompt would teach."""
    method, model, task = job["method"], job["model"], job["task"]
    for draw in job["draws"]:
        logits, fields = standard.fitted(method, model, task, draw)
        yield standard.on_test(logits, task, fields)[1]
        if method == PROMPT and model != SMALL and task in SINGLE:
            keep_answers(method, model, task, draw, [logits])


def take_all(job: Job) -> Iterator[dict[str, Any]]:
    """Train on every label of the pool; no checkpoint, since development is part of it."""
    method, model, task = job["method"], job["model"], job["task"]
    inputs, labels = suite.examples(task, "train")
    steps = EPOCHS * len(labels) // WHOLE["batch_size"]
    for draw in job["draws"]:
        classifier = standard.build(method, model, task, draw, num_steps=steps, **WHOLE)
        with meter.Meter() as cost:
            classifier.fit(inputs, labels)
        fields = {"labels": len(labels), "random_state": draw, **fit_fields(cost)}
        yield standard.on_test(classifier.logits, task, fields)[1]


def keep_answers(
    method: str, model: str, task: str, draw: int, teachers: list[Callable[[list], np.ndarray]]
) -> None:
    """Keep the mean probabilities that teachers give unlabeled texts, softened."""
    texts = suite.unlabeled(task, suite.UNLABELED, draw)
    shares = [softmax(logits(texts) / TEMPERATURE, axis=1) for logits in teachers]
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.save(_answers(method, model, task, draw), np.mean(shares, axis=0))


def _answers(method: str, model: str, task: str, draw: int) -> Path:
    return FOLDER / f"{model}, {method}, {task}, {draw}.npy"


def teach(job: Job) -> Iterator[dict[str, Any]]:
    """Train a student with a new head on what teachers answer; its checkpoint is chosen as ever."""
    model, task = job["model"], job["task"]
    for draw in job["draws"]:
        if job["method"] == DISTILLED:
            shares = np.load(_answers(PROMPT, CAUSAL, task, draw))
        else:  # the mean of the prompt and of each template
            own, of_templates = (
                np.load(_answers(teacher, model, task, draw)) for teacher in (PROMPT, TEMPLATES)
            )
            shares = (own + CANDIDATES * of_templates) / (1 + CANDIDATES)
        train, development = suite.draw(task, draw)
        texts = suite.unlabeled(task, suite.UNLABELED, draw)
        student = standard.build(STANDARD, model, task, draw, **STUDENT)
        with meter.Meter() as cost:
            student.fit_shares(texts, shares, validation=development)
        fields = {"labels": len(train[1]), "random_state": draw, **fit_fields(cost)}
        yield standard.on_test(student.logits, task, fields)[1]


# --- prompts that are not trained, words and templates that are found ----------------------------


def ask(job: Job) -> Iterator[dict[str, Any]]:
    """Score the untrained prompt: as it is, calibrated, and with the biases of each draw."""
    model, task = job["model"], job["task"]
    own = standard.settings(UNTRAINED, model, task, DRAWS[0]) | {"num_steps": 0, "patience": None}
    with meter.Meter() as cost:  # no label is read
        classifier = standard.Prompted(model, **own).fit(*suite.draw(task, DRAWS[0])[0])
    said = {"labels": 0, "random_state": DRAWS[0], **fit_fields(cost)}
    logits, record = standard.on_test(classifier.logits, task, said)
    yield record
    labels = suite.examples(task, "test")[1]
    others = classifier.logits(suite.unlabeled(task, suite.CALIBRATION))
    even = np.log(calibrated(logits, others))
    yield {**record, "method": CALIBRATED, **standard.graded(even, labels)}
    for draw in job["draws"]:
        inputs, known = suite.draw(task, draw)[0]
        biases = suite.class_biases(classifier.logits(inputs), known)
        said = {"method": BIASED, "labels": len(known), "biases": biases.tolist()}
        scores = standard.graded(logits + biases, labels)
        yield {**record, **said, "random_state": draw, **scores}


def search(job: Job) -> Iterator[dict[str, Any]]:
    """Tune what a search proposes; score each, the best on development, and all together."""
    method, model, task = job["method"], job["model"], job["task"]
    for draw in job["draws"]:
        with meter.Meter() as cost:
            changes = PROPOSALS[method](model, task, draw)
        tuned, records, shares = [], [], []
        for number, change in enumerate(changes):
            logits, fields = standard.fitted(PROMPT, model, task, draw, **change)
            found, record = standard.on_test(logits, task, {**fields, "candidate": number})
            record["seconds"] |= {"search": round(cost.seconds, 2)}
            tuned.append(logits)
            records.append(record)
            shares.append(softmax(found, axis=1))
            yield {**record, "method": f"{method}, one of {CANDIDATES}"}
        # By accuracy on development, ties by likelihood.
        yield max(records, key=lambda record: tuple(record["development"].values()))
        if method == TEMPLATES:
            labels = suite.examples(task, "test")[1]
            together = standard.graded(np.log(np.mean(shares, axis=0)), labels)
            yield {**records[0], "method": ENSEMBLE, **together}
            if task in SINGLE:
                keep_answers(method, model, task, draw, tuned)


def words_for(model: str, task: str, draw: int) -> list[dict[str, Any]]:
    """The words with the best calibrated likelihood on a draw."""
    own, train = standard.settings(WORDS, model, task, draw), suite.draw(task, draw)[0]
    prompt_model = load_prompt_model(model, own["adapter"])
    found = search_words(
        prompt_model, own["template"], *train, top_k=30, top_n=CANDIDATES, by="likelihood"
    )
    return [{"words": words} for words, *_ in found]


def templates_for(model: str, task: str, draw: int) -> list[dict[str, Any]]:
    """The templates, of those that a causal model writes, with the best calibrated likelihood."""
    own, pairs = standard.settings(TEMPLATES, model, task, draw), task in PAIRS
    inputs, labels = suite.draw(task, draw)[0]
    texts = [" | ".join(pair) for pair in inputs] if pairs else inputs
    length = 96 if pairs else 48
    writer = CausalGenerator(CAUSAL, max_text_tokens=length, **BEAM)
    written = writer.generate(texts, labels.tolist(), own["words"], num_templates=20)
    patterns = [f"{pattern} ." for pattern, _ in written]
    if pairs:
        patterns = [pattern.replace("{text}", "{text} | {text2}") for pattern in patterns]
    prompt_model = load_prompt_model(model, own["adapter"])
    ranked = rank_templates(prompt_model, patterns, own["words"], inputs, labels)
    return [{"template": pattern} for pattern, *_ in ranked[:CANDIDATES]]


PROPOSALS = {WORDS: words_for, TEMPLATES: templates_for}


# --- without a prompt ----------------------------------------------------------------------------


def fit_baseline(job: Job) -> Iterator[dict[str, Any]]:
    """Fit on each draw and score test."""
    method, model, task = job["method"], job["model"], job["task"]
    held, labels = suite.examples(task, "test")
    count = suite.PER_CLASS * (2 if method == standard.MORE_SETFIT else 1)
    for draw in job["draws"]:
        train = suite.draw(task, draw, count)[0]
        with meter.Meter() as cost:
            predict = standard.baseline(method, model, draw, *train)
        found = np.asarray(predict(held))
        yield {
            "split": "test", "labels": len(train[1]), "random_state": draw, **fit_fields(cost),
            "predicted": "".join(map(str, found)), **score_fields(found == labels),
        }  # fmt: skip


def regress(job: Job) -> Iterator[dict[str, Any]]:
    """Put pairs on a scale from 0 to 1, the grades' half."""
    method, model, task = job["method"], job["model"], job["task"]
    held, grades = suite.examples(task, "test")
    for draw in job["draws"]:
        (pairs, shares), validation = ((one, its / 2) for one, its in suite.draw(task, draw))
        with meter.Meter() as cost:
            if method == LINE:
                line = LinearRegression().fit(standard.cosines(model, pairs)[:, None], shares)
                found = line.predict(standard.cosines(model, held)[:, None])
            else:
                tuned = standard.regressor(method, model, task, draw)
                found = tuned.fit(pairs, shares, validation=validation).predict(held)
        yield {
            "split": "test", "labels": 0 if method == UNTRAINED else len(shares),
            "random_state": draw, **fit_fields(cost), "items": len(held),
            "shares": np.round(found, 3).tolist(),
            "metrics": {
                "pearson": float(np.corrcoef(found, grades)[0, 1]),
                "mae": float(np.abs(found - grades / 2).mean()),
            },
        }  # fmt: skip


# --- comparisons ---------------------------------------------------------------------------------


def compare(job: Job) -> Iterator[dict[str, Any]]:
    """The mean over the tasks with its verdict, the same above chance, and each task."""
    tasks, pairs = job["tasks"], {}
    with meter.Meter() as cost:
        for task in tasks:
            same = {"model": job["model"], "task": task, "split": "test"}
            both = (results.correct(STUDY, method=job[side], **same) for side in ("first", "minus"))
            pairs[task] = np.broadcast_arrays(*both)  # what draws nothing counts in each draw
    learned = [task for task in tasks if suite.above_chance(pairs[task], task)]
    groups = {"mean": tasks, "mean above chance": learned, **{task: [task] for task in tasks}}
    for task, some in groups.items():
        if not some:
            continue  # nothing is above chance
        found = suite.compared([pairs[one] for one in some])
        ends = [(found[f"{kind}low"], found[f"{kind}high"]) for kind in ("", "t_")]
        said = suite.verdict(job["method"], ends) if job["method"] in suite.RULES else None
        yield {
            "task": task, "labels": 0, "random_state": DRAWS[0], "split": "test", "over": some,
            "draws": len(pairs[some[0]][0]), "metrics": found, **fit_fields(cost),
            "verdict": said if task == "mean" else None,
        }  # fmt: skip


if __name__ == "__main__":
    in_stages(__file__, STAGES, run)
