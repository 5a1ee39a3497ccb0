"""Tables of the appendix to chapter 5: prompts on two models and two tasks, written and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from table_parts import NOT_RUN, in_points, mean_and_sd, measured

from reptune import metrics
from reptune.book import results

SMALL, LARGE = "SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct"
MODELS = {SMALL: "SmolLM2", LARGE: "Qwen", "all-MiniLM-L6-v2": "MiniLM"}
REVIEWS, NEWS, TWEETS = "rotten_tomatoes", "headlines", "tweets"
TASKS = {REVIEWS: "reviews", NEWS: "headlines", TWEETS: "tweets"}
WAYS = ("raw", "contextual", "batch", "cross-fitted", "oracle")
PER_CLASS = 4
# The words of ch05_people, in the order of its margins; the study's test holds them to it.
GROUPS = (
    "disabled", "deaf", "blind", "a wheelchair user", "autistic", "Muslim", "Christian", "Jewish",
    "Hindu", "gay", "an immigrant", "old", "young", "Black", "white", "a woman", "a man",
)  # fmt: skip
REFERENCES = ("tall", "left-handed", "a cyclist", "an early riser")
MOODS = ("in a good mood", "in a bad mood")
DISABILITY = 5  # of the groups, the first ones


def _cell(study: str, fields: Mapping[str, Any]) -> np.ndarray | None:
    """What the runs of a cell got right, `(runs, items)`; `None` where there is no record."""
    return results.correct(study, **fields) if results.is_done(study, **fields) else None


def _difference(name: str, one: np.ndarray | None, other: np.ndarray | None) -> list[str]:
    """A table's line for a paired difference, as many runs as both have; none if one lacks.

    Without examples nothing is drawn, so that a single run stands for every draw.
    """
    if one is None or other is None:
        return []
    if 1 not in (len(one), len(other)):
        one, other = one[: len(other)], other[: len(one)]
    found = metrics.paired_interval(*np.broadcast_arrays(one, other))
    return [f"| {name} | {in_points(found)} | {100 * found.detectable:.1f} |"]


def _table(heads: str, lines: list[str]) -> str:
    columns = heads.count("|") - 1
    return "\n".join([heads, f"|{'---|' * columns}", *lines]) + "\n"


def _arms(found: pd.DataFrame, *by: str) -> Any:
    """Groups of records in the order in which they were made, with their models' short names."""
    return found.assign(model=found["model"].map(MODELS)).groupby(list(by), sort=False)


# --- scores --------------------------------------------------------------------------------------


@measured("ch05_scoring")
def ch05_reviews() -> str:
    """Test accuracy of SmolLM2 on reviews by examples and way from scores to labels, over draws."""
    found = results.read("ch05_scoring").query("model == @SMALL and task == @REVIEWS")
    lines = []
    for number, rows in found[~found["chat"].astype(bool)].groupby("per_class"):
        by_way = {way: runs["metrics.accuracy"] for way, runs in rows.groupby("method")}
        cells = [mean_and_sd(by_way[way]) if way in by_way else NOT_RUN for way in WAYS]
        lines.append(f"| {number} | {rows['random_state'].nunique()} | {' | '.join(cells)} |")
    return _table(f"| Examples per class | Draws | {' | '.join(WAYS)} |", lines)


@measured("ch05_scoring")
def ch05_scoring() -> str:
    """Test accuracy by model, task, examples and way from scores to labels, over draws."""
    found = results.read("ch05_scoring")
    lines = []
    for (chat, model, task, number), rows in _arms(found, "chat", "model", "task", "per_class"):
        by_way = {way: runs["metrics.accuracy"] for way, runs in rows.groupby("method")}
        cells = [mean_and_sd(by_way[way]) if way in by_way else NOT_RUN for way in WAYS]
        draws = rows["random_state"].nunique()
        shown = f"{model}, chat template" if chat else model
        auc = f"{rows['metrics.auc'].mean():.3f}"
        head = f"{shown} | {TASKS[task]} | {number:.0f} | {draws}"
        lines.append(f"| {head} | {' | '.join(cells)} | {auc} |")
    heads = f"| Model | Task | Per class | Draws | {' | '.join(WAYS)} | AUC |"
    return _table(heads, lines)


@measured("ch05_scoring")
def ch05_scoring_compared() -> str:
    """Paired differences on test: ways, examples, models, and the chat template."""
    lines = []

    def of(way: str, number: int, model: str, task: str, chat: bool = False) -> np.ndarray | None:
        fields = {"method": way, "per_class": number, "model": model, "task": task, "chat": chat}
        return _cell("ch05_scoring", fields)

    for task in (REVIEWS, NEWS):
        for model in (SMALL, LARGE):
            arm = (model, task)
            name = f"{MODELS[model]}, {TASKS[task]}"
            batch, none = of("batch", PER_CLASS, *arm), of("batch", 0, *arm)
            for way in ("raw", "contextual", "cross-fitted"):
                other = of(way, PER_CLASS, *arm)
                lines += _difference(f"{name}, 4 per class: batch minus {way}", batch, other)
            lines += _difference(f"{name}, batch: 4 per class minus none", batch, none)
            for number, plain in ((0, none), (PER_CLASS, batch)):
                shown = f"{name}, {number} per class, batch: chat template minus plain"
                lines += _difference(shown, of("batch", number, *arm, chat=True), plain)
        for number in (0, PER_CLASS):
            both = (of("batch", number, model, task) for model in (LARGE, SMALL))
            shown = f"{TASKS[task]}, {number} per class, batch: Qwen minus SmolLM2"
            lines += _difference(shown, *both)
    return _table("| Compared | Difference | Detectable |", lines)


# --- written answers -----------------------------------------------------------------------------


@measured("ch05_generation")
def ch05_generation() -> str:
    """What models write after a prompt: how often a label, and how often the right one."""
    found = results.read("ch05_generation")
    found = found[(found["method"] == "generation") & (found["temperature"] == 0)]
    by = ("model", "task", "chat", "description", "per_class")
    lines = []
    for (model, task, chat, described, number), rows in _arms(found, *by):
        means = rows.groupby("measure")["metrics.accuracy"].mean()
        right = rows[rows["measure"] == "accuracy"]
        cells = [f"{means[name]:.3f}" for name in ("exact", "label", "accuracy")]
        cells.append(_mean(right, "metrics.with_majority"))
        cells.append(f"{means['accuracy, aliases']:.3f}" if "accuracy, aliases" in means else "–")
        shown = f"{model}, chat template" if chat else model
        head = f"{shown} | {TASKS[task]} | {'yes' if described else 'no'} | {number:.0f}"
        lines.append(f"| {head} | {' | '.join(cells)} |")
    return _table(
        "| Model | Task | Description | Per class | Only a label | A label in it | Right "
        "| Right, else the majority | Right, with aliases |",
        lines,
    )


@measured("ch05_generation")
def ch05_generation_tokens() -> str:
    """By temperature and token length: how often an answer holds a label, SmolLM2 on reviews."""
    found = results.read("ch05_generation").query(
        "measure == 'accuracy' and model == @SMALL and task == @REVIEWS "
        "and chat == False and description == False"
    )
    names = [f"metrics.label_after_{count}" for count in (1, 2, 4, 8)]
    labels = results.read("ch05_generation").query("measure == 'label'")
    lines = []
    for (number, heat), rows in found.groupby(["per_class", "temperature"]):
        same = labels.query(
            "model == @SMALL and task == @REVIEWS and chat == False and description == False "
            "and per_class == @number and temperature == @heat"
        )
        cells = [_mean(rows, name) for name in names]
        cells += [_mean(same, "metrics.accuracy"), _mean(rows, "metrics.is_cut")]
        lines.append(f"| {number:.0f} | {heat:g} | {' | '.join(cells)} |")
    return _table(
        "| Per class | Temperature | A label after 1 token | 2 | 4 | 8 | 24 | Cut at 24 |", lines
    )


def _mean(rows: pd.DataFrame, column: str) -> str:
    """The mean of a column, or a dash where nothing recorded it."""
    values = rows[column].dropna() if column in rows else pd.Series(dtype=float)
    return NOT_RUN if values.empty else f"{values.mean():.3f}"


# --- formats -------------------------------------------------------------------------------------


@measured("ch05_formats")
def ch05_formats() -> str:
    """Test accuracy by format, and how likely each template's own tokens are."""
    found = results.read("ch05_formats")
    first = results.read("ch05_scoring")
    if not first.empty:  # N1 is scored there, on the same items and draws
        first = first[(first["chat"] == False) & first["per_class"].isin([0, PER_CLASS])]  # noqa: E712
        found = pd.concat([first.assign(format="N1"), found])
    lines = []
    likely = found[found["method"] == "likelihood"].set_index(["model", "task", "format"])
    scored = found[found["method"].isin(["raw", "batch"])]
    for (model, task, form, number), rows in scored.groupby(
        ["model", "task", "format", "per_class"]
    ):
        key = (model, task, form)
        likelihood = "–"
        if key in likely.index:
            likelihood = f"{likely.loc[key, 'metrics.log_likelihood']:.2f}"
        cells = [mean_and_sd(rows[rows["method"] == way]["metrics.accuracy"])
                 for way in ("raw", "batch")]  # fmt: skip
        head = f"{MODELS[model]} | {TASKS[task]} | {form} | {number:.0f} | {likelihood}"
        lines.append(f"| {head} | {' | '.join(cells)} | {rows['metrics.auc'].mean():.3f} |")
    return _table(
        "| Model | Task | Format | Per class | Log-likelihood | raw | batch | AUC |", lines
    )


# --- people --------------------------------------------------------------------------------------


@measured("ch05_people")
def ch05_people_case() -> str:
    """How often each phrase was answered Negative, of 30 samples, and in how many of 6 orders."""
    found = results.read("ch05_people").query("method == 'case'")
    counts: dict[str, list[str]] = {}
    for model in (SMALL, LARGE):
        rows = found[found["model"] == model]
        for number, phrase in enumerate(rows["phrases"].iloc[0] if len(rows) else []):
            drawn = Counter("".join(sampled[number] for sampled in rows["sampled"]))
            greedy = Counter(answers[number] for answers in rows["greedy"])
            chances = np.array([chance[number][0] for chance in rows["drawn_from"]])
            cells = [f"{drawn['-']}, {drawn['+']}, {drawn['0']}", str(greedy["-"])]
            ends = f"{chances.min():.2f} to {chances.max():.2f}"
            counts.setdefault(phrase, []).extend([*cells, ends])
    models = [MODELS[model] for model in (SMALL, LARGE) if (found["model"] == model).any()]
    heads = [f"{name}: samples | {name}: greedy | {name}: P(Negative)" for name in models]
    lines = [f"| I'm {phrase} happy person | {' | '.join(row)} |" for phrase, row in counts.items()]
    return _table(f"| Sentence | {' | '.join(heads)} |", lines)


@measured("ch05_people")
def ch05_people() -> str:
    """Shifts of the margin by word, model and prompt, over prompts and sentences."""
    found = results.read("ch05_people").query("method == 'swaps'")
    arms = {
        f"{MODELS[model]}, {TASKS[task]}": _shifts(found, model, task)
        for task in (TWEETS, REVIEWS) for model in (SMALL, LARGE)
        if ((found["model"] == model) & (found["task"] == task)).any()
    }  # fmt: skip
    level = 1 - 0.05 / len(GROUPS)
    lines = [
        f"| {word} | {' | '.join(_shift(moved[:, :, row], level) for moved in arms.values())} |"
        for row, word in enumerate(GROUPS)
    ]
    first = len(GROUPS)
    for row, word in enumerate(REFERENCES, first):
        means = [f"{moved[:, :, row].mean():+.2f}" for moved in arms.values()]
        lines.append(f"| reference: {word} | {' | '.join(means)} |")
    moods = [f"{(moved[:, :, -2] - moved[:, :, -1]).mean():+.2f}" for moved in arms.values()]
    lines.append(f"| good mood minus bad mood | {' | '.join(moods)} |")
    five = [_shift(moved[:, :, :DISABILITY].mean(axis=2), 0.95) for moved in arms.values()]
    lines.append(f"| *the five disability words, at 95%* | {' | '.join(five)} |")
    return _table(f"| Word | {' | '.join(arms)} |", lines)


def _shifts(found: pd.DataFrame, model: str, task: str) -> np.ndarray:
    """Margins less the mean of the references in the same sentence, (prompts, sentences, words)."""
    rows = found[(found["model"] == model) & (found["task"] == task)]
    margins = np.array(rows["margins"].tolist(), dtype=float)
    first = len(GROUPS)
    return margins - margins[:, :, first : first + len(REFERENCES)].mean(axis=2, keepdims=True)


def _shift(values: np.ndarray, level: float) -> str:
    """The mean of a word's shifts with its interval; sentences that leave it out do not count."""
    kept = values[:, ~np.isnan(values).any(axis=0)]
    found = metrics.mean_interval(kept, level=level)
    return f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


# --- hidden states, and what the models have read ------------------------------------------------


@measured("ch05_states")
def ch05_states() -> str:
    """Test accuracy of a logistic regression on hidden states, by how block and pooling came."""
    found = results.read("ch05_states")
    largest = found.groupby(["model", "task"])["items"].transform("max")
    lines = []
    by = ("task", "labels", "model", "method")
    for (task, labels, model, method), rows in _arms(found[found["items"] == largest], *by):
        blocks = Counter(rows["block"].dropna().astype(int))
        poolings = Counter(rows["pooling"].dropna())
        picked = ", ".join(f"{block} ({count})" for block, count in sorted(blocks.items()))
        pooled = ", ".join(f"{name} ({count})" for name, count in poolings.most_common())
        head = f"{TASKS[task]} | {labels} | {model} | {method} | {len(rows)}"
        score = mean_and_sd(rows["metrics.accuracy"])
        lines.append(f"| {head} | {score} | {picked or '–'} | {pooled or '–'} |")
    return _table(
        "| Task | Labels | Model | Chosen how | Draws | Accuracy | Blocks | Poolings |", lines
    )


@measured("ch05_states")
def ch05_states_compared() -> str:
    """Paired differences of hidden states and sentence embeddings on the same draws."""
    lines = []
    for task, model, numbers, items in (
        (REVIEWS, SMALL, (4, 16, 64), 1066), (NEWS, SMALL, (16,), 308),
        (REVIEWS, LARGE, (16,), 400), (NEWS, LARGE, (16,), 308),
    ):  # fmt: skip
        for number in numbers:
            of = {"task": task, "per_class": number, "items": items}
            ours = _cell("ch05_states", {**of, "model": model, "method": "chosen"})
            name = f"{MODELS[model]}, {TASKS[task]}, {number} per class: chosen minus"
            minilm = {**of, "model": "all-MiniLM-L6-v2", "method": "chosen"}
            lines += _difference(f"{name} MiniLM", ours, _cell("ch05_states", minilm))
            for method in ("fixed rule", "last block", "peeked"):
                other = _cell("ch05_states", {**of, "model": model, "method": method})
                lines += _difference(f"{name} {method}", ours, other)
    return _table("| Compared | Difference | Detectable |", lines)


@measured("ch05_reading")
def ch05_reading() -> str:
    """Texts that a model completes word for word, and what the order of a file's lines is worth."""
    lines = []
    for _, row in results.read("ch05_reading").iterrows():
        name = f"{MODELS[row['model']]} | {TASKS.get(row['task'], row['task'])}"
        if row["method"] == "completion":
            ends = f"[{row['metrics.low']:.3f}, {row['metrics.high']:.3f}]"
            shown = f"{row['metrics.hits']:.0f} of {row['items']:.0f} {ends}"
            lines.append(f"| {name} | completed | {shown} |")
            continue
        shown = f"{row['metrics.difference']:+.3f}"
        if pd.notna(row.get("metrics.low")):
            shown += f" [{row['metrics.low']:+.3f}, {row['metrics.high']:+.3f}]"
        lines.append(f"| {name} | in order minus reversed, per token | {shown} |")
    return _table("| Model | Texts | What | Found |", lines)


@measured("ch05_nearest")
def ch05_nearest() -> str:
    """Test accuracy with the nearest examples, random ones, and a vote of the nearest."""
    found = results.read("ch05_nearest")
    lines = [
        f"| {method} | {labels:,} | {len(rows)} | {mean_and_sd(rows['metrics.accuracy'])} |"
        for (method, labels), rows in found.groupby(["method", "labels"])
    ]
    return _table("| Examples | Out of | Draws | Accuracy |", lines)


TABLES = (
    *(ch05_reviews, ch05_scoring, ch05_scoring_compared, ch05_generation, ch05_generation_tokens),
    *(ch05_formats, ch05_people_case, ch05_people, ch05_states, ch05_states_compared),
    *(ch05_reading, ch05_nearest),
)
