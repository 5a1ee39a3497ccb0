"""Chapter 7's tables: what one prompt brings, answers other than labels, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from table_parts import measured, with_interval

from reptune import metrics
from reptune.book import results

QWEN, SMOLLM = "Qwen2.5-Coder-0.5B-Instruct", "SmolLM2-135M-Instruct"

# What a prompt brings: `rows` of ch07_students, and what needs no student.
CHAPTER_7 = (
    ("label names", "none", "Label names, no training"),
    ("label phrases", "none", "Label phrases, no training"),
    ("teacher, examples, batch", "none", "The teacher itself, shown the examples, calibrated"),
    ("frozen", "the prompt's examples", "The prompt's examples"),
    ("frozen", "generated", "Rows that the teacher wrote"),
    ("frozen", "generated, small", "Rows that SmolLM2 wrote (three seeds)"),
    ("frozen", "retrieved", "Retrieved rows"),
    ("frozen", "both", "Written and retrieved rows"),
    ("frozen", "teacher labels, batch", "Real texts with the teacher's labels"),
    ("frozen", "2,500 labels", "2,500 human labels"),
    ("frozen", "all labels", "All human labels"),
    ("frozen, C = 0.3", "generated", "C = 0.3: rows that the teacher wrote"),
    ("frozen, C = 0.3", "generated, small", "C = 0.3: rows that SmolLM2 wrote (three seeds)"),
    ("frozen, C = 0.3", "generated, confirmed", "C = 0.3: the same, confirmed by label names"),
    ("frozen, C = 0.3", "retrieved", "C = 0.3: retrieved rows"),
    ("frozen, C = 0.3", "both", "C = 0.3: written and retrieved rows"),
    ("frozen, C = 0.3", "teacher labels, batch", "C = 0.3: real texts, the teacher's labels"),
    ("frozen, C = 0.3", "all labels", "C = 0.3: all human labels"),
)


@measured("ch07_students")
def ch07_students() -> str:
    """Test accuracy of what one prompt brings, frozen encoders, beside no training."""
    found = results.read("ch07_students")
    lines = [
        "| What it learned from | Encoder | Sentiment | Topics |",
        "|---|---|---|---|",
    ]
    for method, rows, shown in CHAPTER_7:
        arm = found[(found.method == method) & (found.rows == rows) & (found.split == "test")]
        for model in sorted(arm.model.unique(), key=lambda name: ("mpnet" not in name, name)):
            if "SmolLM2" in model:
                continue
            fields = {"method": method, "rows": rows, "model": model, "split": "test"}
            cells = [
                with_interval("ch07_students", task=task, **fields)
                for task in ("rotten_tomatoes", "bbc_news")
            ]
            lines.append(f"| {shown} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@measured("ch07_students")
def ch07_teachers() -> str:
    """Students of what Qwen wrote minus students of what SmolLM2 wrote, on the same seeds."""
    rows = []
    for model in ("all-mpnet-base-v2", "all-MiniLM-L6-v2"):
        fields = {"method": "frozen, C = 0.3", "model": model, "split": "test"}
        small = results.correct("ch07_students", rows="generated, small", **fields)
        fields["task"] = "rotten_tomatoes"  # Qwen wrote for another one, too
        large = results.correct("ch07_students", rows="generated", **fields)
        rows.append((f"{model}: rows of Qwen minus rows of SmolLM2",
                     metrics.paired_interval(large[: len(small)], small)))  # fmt: skip
    return _differences(rows)


# --- answers that are no labels -------------------------------------------------------------------

QUESTIONS = (
    ("nearest sentence", "none", None, "A rule: the nearest sentence"),
    ("asked", "none", 0, "The teacher, no example"),
    ("asked", "none", 1, "The teacher, one example"),
    ("student", "rule", None, "Student of 500 questions by rule"),
    ("student", "teacher", None, "Student of the teacher's questions"),
    ("student", "both", None, "Student of both"),
)


@measured("ch07_questions")
def ch07_questions() -> str:
    """Test scores of what answers a question about a passage."""
    found = results.read("ch07_questions")
    lines = [
        "| What answers | Learned from | Seeds | Right | F1 of words | Copied from the passage |",
        "|---|---:|---:|---|---|---|",
    ]  # fmt: skip
    for method, rows, examples, shown in QUESTIONS:
        arm = found[(found.method == method) & (found.rows == rows)]
        arm = arm if examples is None else arm[arm.examples == examples]
        fields = {"method": method, "rows": rows, "split": "test"}
        right = with_interval(
            "ch07_questions", **fields, **({} if examples is None else {"examples": examples})
        )
        cells = [f"{arm[f'metrics.{name}'].mean():.3f}" for name in ("answer_f1", "verbatim")]
        lines.append(
            f"| {shown} | {_span(arm.labels)} | {len(arm)} | {right} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


@measured("ch07_questions")
def ch07_questions_compared() -> str:
    """Students of more rows minus students of the rule's questions, and minus no training."""
    both, rule = ({"method": "student", "rows": rows} for rows in ("both", "rule"))
    nearest = {"method": "nearest sentence"}
    pairs = (
        (both, rule, "Student of both minus student of the rule's (planned)"),
        ({**both, "rows": "teacher"}, rule, "Student of the teacher's minus student of the rule's"),
        (rule, nearest, "Student of the rule's minus the nearest sentence"),
        (both, nearest, "Student of both minus the nearest sentence"),
        (
            both,
            {"method": "asked", "examples": 1},
            "Student of both minus the teacher, one example",
        ),
    )
    return _paired("ch07_questions", pairs)


TIMES = (
    ("ch07_time_baselines", {"method": "document's date"}, "The document's date, always"),
    ("ch07_time_baselines", {"method": "dateparser"}, "`dateparser`"),
    ("ch07_time_baselines", {"method": "rules, sentence's cues"}, "Rules with a list of words"),
    ("ch07_time", {"method": "teacher asked", "rows": "0 examples"}, "The teacher, no example"),
    ("ch07_time", {"method": "teacher asked", "rows": "8 examples"}, "The teacher, eight examples"),
    ("ch07_time", {"method": "generator"}, "Student that writes the value (SmolLM2)"),
)
DIRECTIONS = {
    "teacher": "the teacher's checked sentences",
    "teacher, unchecked": "the teacher's unchecked sentences",
    "templates": "templates",
}
FILLED = {"rules": "rules", "dateparser": "`dateparser`"}
RIVALS = {
    "dateparser": "`dateparser`",
    "rules": "rules without a direction",
    "rules, sentence's cues": "rules with a list of words",
    "templates": "the same from templates",
    "teacher asked": "the teacher, eight examples",
}


@measured("ch07_time")
def ch07_time() -> str:
    """Test scores of what says which time an expression means."""
    arms = list(TIMES)
    for kind in ("fine-tuned", "frozen"):
        arms += [
            ("ch07_time", {"method": f"classifier, {kind}", "rows": rows, "slots": "rules"},
             f"Direction by MiniLM, {kind}, from {shown}")
            for rows, shown in DIRECTIONS.items()
        ]  # fmt: skip
    lines = ["| What answers | Seeds | Exact match | chrF++ |", "|---|---:|---:|---:|"]
    for study, fields, shown in arms:
        arm = _records(study, split="test", **fields)
        exact, near = (arm[f"metrics.{name}"].mean() for name in ("exact_match", "chrf"))
        lines.append(f"| {shown} | {len(arm)} | {exact:.3f} | {near:.1f} |")
    return "\n".join(lines) + "\n"


@measured("ch07_time")
def ch07_time_compared() -> str:
    """The fine-tuned classifier of directions minus what needs no training, over documents."""
    rows = []
    found = _records("ch07_time", method="comparison", rows="teacher")
    for number, (_, arm) in enumerate(found.iterrows()):
        minus = RIVALS.get(arm.minus, arm.minus)
        student = f"Direction with {FILLED.get(arm.slots)},"
        student = "Student that writes the value" if arm.model == SMOLLM else student
        ends = (arm[f"metrics.{name}"] for name in ("difference", "low", "high"))
        shown = f"{student} minus {minus}{' (planned)' if number == 0 else ''}"
        rows.append((shown, metrics.Interval(*ends)))
    return _differences(rows)


JAPANESE = (
    ({"method": "its argument"}, "A function that returns its argument"),
    ({"method": "greedy", "model": SMOLLM}, "SmolLM2 as it is, two examples"),
    ({"method": "student"}, "Student: SmolLM2 trained on the teacher's rows"),
    ({"method": "greedy", "model": QWEN, "shots": 0}, "The teacher, no example"),
    ({"method": "greedy", "model": QWEN, "shots": 2}, "The teacher, two examples"),
    ({"method": "temperature 0.7", "model": QWEN}, "The teacher, two examples, temperature 0.7"),
    ({"method": "greedy, in English"}, "The teacher, two examples, instructions in English"),
)


@measured("ch07_japanese")
def ch07_japanese() -> str:
    """The share of instructions whose code gives every expected result."""
    lines = [
        "| Who writes the code | Seeds | Solved | chrF++ | of right answers | of wrong ones "
        "| With comments |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for fields, shown in JAPANESE:
        arm = _records("ch07_japanese", split="test", **fields)
        if arm.empty:
            continue
        low, high = arm["interval"].iloc[0]  # Wilson's: the bootstrap knows no doubt about 0 of 40
        share = f"{arm['metrics.solved'].mean():.3f} [{low:.3f}, {high:.3f}]"
        if arm["metrics.solved"].nunique() > 1:
            share = with_interval("ch07_japanese", split="test", **fields)
        means = [arm[f"metrics.{name}"].mean() for name in ("chrf", "chrf_right", "chrf_wrong")]
        scores = " | ".join("–" if np.isnan(mean) else f"{mean:.1f}" for mean in means)
        commented = np.mean(["#" in answer for answer in arm["answers"].explode()])
        lines.append(f"| {shown} | {len(arm)} | {share} | {scores} | {commented:.0%} |")
    return "\n".join(lines) + "\n"


@measured("ch07_japanese")
def ch07_japanese_compared() -> str:
    """The students minus what they learned from and minus their own model; the teacher's language.

    Over instructions and, for students, seeds.
    """
    student = {"method": "student"}
    two = {"method": "greedy", "model": QWEN, "shots": 2}
    pairs = (
        (student, two, "Students minus the teacher with two examples (planned)"),
        (student, {**two, "shots": 0}, "Students minus the teacher with no example"),
        (student, {**two, "model": SMOLLM}, "Students minus SmolLM2 as it is"),
        ({**two, "shots": 0}, two, "The teacher: no example minus two examples"),
        ({"method": "greedy, in English"}, two, "The teacher: English instructions minus Japanese"),
    )
    return _paired("ch07_japanese", pairs)


# --- what the writing is worth --------------------------------------------------------------------


@measured("ch07_generation")
def ch07_variety() -> str:
    """Duplicates among 200 questions, one prompt against varied ones."""
    columns = {
        "exact_duplicates": "Exact duplicates of 200", "shared_8_grams": "Shared 8-grams",
        "cosine": "Cosine of 0.9 or more", "distinct_2": "Distinct pairs of words",
    }  # fmt: skip
    return _by_arm(_records("ch07_generation", method="questions"), "Prompts", columns)


@measured("ch07_generation")
def ch07_annealing() -> str:
    """Agreement with a judge, and diversity, by the temperatures of the writing."""
    lines = [
        "| Temperature | Rows | The judge agrees | Distinct pairs of words | Mean cosine |",
        "|---|---:|---|---|---|",
    ]
    for name, arm in _records("ch07_generation", method="annealing").groupby("arm", sort=False):
        agreed = metrics.mean_interval(_agreed(name))
        others = [_ranged(arm[f"metrics.{column}"]) for column in ("distinct_2", "mean_cosine")]
        lines.append(f"| {_heat(name)} | {arm.labels.sum():,} | {agreed} | {' | '.join(others)} |")
    return "\n".join(lines) + "\n"


@measured("ch07_generation")
def ch07_annealing_compared() -> str:
    """Differences in agreement; the rows are other ones each time, so nothing is paired."""
    rows = []
    for one, other, planned in (
        ("0.7 to 1.1", "0.5 to 1.7", " (planned)"), ("0.7 to 1.1", "0.7 to 0.7", ""),
        ("0.5 to 0.5", "0.7 to 1.1", ""),
    ):  # fmt: skip
        shares = [_agreed(name) for name in (one, other)]
        apart = shares[0].mean() - shares[1].mean()
        half = 1.96 * np.sqrt(sum(share.var() / share.size for share in shares))
        shown = f"{_heat(one)} minus {_heat(other)}{planned}"
        rows.append((shown, metrics.Interval(apart, apart - half, apart + half)))
    return _differences(rows)


def _agreed(arm: str) -> np.ndarray:
    """Whether the judge agrees with each row of an arm, all seeds in one row."""
    found = _records("ch07_generation", method="annealing", arm=arm)
    counts = (found["metrics.agreement"] * found.labels).round().astype(int)
    return np.repeat([1.0, 0.0], [counts.sum(), (found.labels - counts).sum()])


def _heat(arm: str) -> str:
    first, last = arm.split(" to ")
    return first if first == last else f"{first} rising to {last}"


@measured("ch07_generation")
def ch07_filters() -> str:
    """Validation accuracy of a student by what was done to the rows it learned from."""
    found = _records("ch07_generation", method="filters")
    raw = results.correct("ch07_generation", method="filters", arm="as written")
    lines = [
        "| Rows | Left | Read by the student | Accuracy (validation) | Minus as written |",
        "|---|---:|---:|---|---|",
    ]  # fmt: skip
    for name, arm in found.groupby("arm", sort=False):
        fields = {"method": "filters", "arm": name}
        gap = metrics.paired_interval(results.correct("ch07_generation", **fields), raw)
        apart = "" if name == "as written" else _signed(gap)
        scored = with_interval("ch07_generation", **fields)
        shown = name.replace("relabeled", "confirmed")
        shown += " (planned)" if name == "filtered and relabeled" else ""
        lines.append(f"| {shown} | {_span(arm.rows)} | {_span(arm.labels)} | {scored} | {apart} |")
    return "\n".join(lines) + "\n"


VOTES = {
    "disagreed": "SmolLM2, both orders together, gives another label",
    "orders_differ": "its two orders give different labels",
    "vote_changed": "the vote differs from the first order alone",
}


@measured("ch07_generation")
def ch07_votes() -> str:
    """How often a second model disagrees with the written labels, and with itself."""
    found = _records("ch07_generation", method="filters", arm="filtered")
    lines = ["| Share of the filtered rows for which | Mean (range over seeds) |", "|---|---|"]
    lines += [f"| {shown} | {_ranged(found[name])} |" for name, shown in VOTES.items()]
    return "\n".join(lines) + "\n"


COSTS = {
    "before": ("Seconds before the first label", "{:,.0f}"),
    "texts_per_second": ("Texts per second", "{:,.0f}"),
    "times_as_fast": ("Times as fast", "{:,.1f}"),
    "break_even": ("Cheaper from … texts on", "{:,.0f}"),
    "dollars_a_million": ("Dollars per million texts", "{:,.2f}"),
    "peak_memory_mb": ("Memory, MB", "{:,.0f}"),
}


@measured("ch07_cost")
def ch07_cost() -> str:
    """Speed, price and memory of the teacher and of its students: medians and ranges of rounds."""
    found = results.read("ch07_cost")
    steps = [f"seconds.{name}" for name in ("write", "fit", "export")]
    found["before"] = found[steps].sum(axis=1)  # none of the teacher's
    titles = " | ".join(title for title, _ in COSTS.values())
    lines = [f"| What labels | {titles} |", f"|---|{'---:|' * len(COSTS)}"]
    for name, arm in found.groupby("method", sort=False):
        cells = [_median(arm[column], shown) for column, (_, shown) in COSTS.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


# --- parts ----------------------------------------------------------------------------------------


def _records(study: str, **fields: object) -> pd.DataFrame:
    found = results.read(study)
    for name, value in fields.items():
        found = found[found[name] == value]
    return found


def _paired(study: str, pairs: Sequence[tuple[dict, dict, str]]) -> str:
    """A line for each pair of arms: their difference over items and seeds, on test."""
    rows = []
    for one, other, shown in pairs:
        ours = results.correct(study, split="test", **one)
        theirs = results.correct(study, split="test", **other)
        theirs = np.broadcast_to(theirs, ours.shape)
        rows.append((shown, metrics.paired_interval(ours, theirs)))
    return _differences(rows)


def _differences(rows: Sequence[tuple[str, metrics.Interval]]) -> str:
    """A line for each difference, with its interval and the smallest that could have been seen."""
    lines = [
        "| What is compared | Difference | Smallest that would have been seen |",
        "|---|---|---:|",
    ]
    for shown, found in rows:
        lines.append(f"| {shown} | {_signed(found)} | {found.detectable:.3f} |")
    return "\n".join(lines) + "\n"


def _signed(found: metrics.Interval) -> str:
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _by_arm(found: pd.DataFrame, what: str, columns: dict[str, str]) -> str:
    """A line for each arm: means over seeds, and their range."""
    lines = [f"| {what} | {' | '.join(columns.values())} |", f"|---|{'---|' * len(columns)}"]
    for name, arm in found.groupby("arm", sort=False):
        cells = [_ranged(arm[f"metrics.{column}"]) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ranged(values: pd.Series) -> str:
    """The mean over seeds, and the least and the most."""
    shown = "{:.0f}" if (values == values.round()).all() else "{:.2f}"
    ends = f"{shown} to {shown}".format(values.min(), values.max())
    return f"{shown.format(values.mean())} ({ends})"


def _median(values: pd.Series, shown: str) -> str:
    """The median with the range, or a dash where there is none."""
    values = values.dropna()
    if values.empty:
        return "–"
    ends = [shown.format(values.min()), shown.format(values.max())]
    middle = shown.format(values.median())
    return middle if len(set(ends)) == 1 else f"{middle} [{ends[0]}, {ends[1]}]"


def _span(counts: pd.Series) -> str:
    """One number, or the least and the most of several."""
    least, most = int(counts.min()), int(counts.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


TABLES = (
    *(
        ch07_students,
        ch07_teachers,
        ch07_questions,
        ch07_questions_compared,
        ch07_time,
        ch07_time_compared,
    ),
    *(ch07_japanese, ch07_japanese_compared, ch07_variety, ch07_annealing),
    *(ch07_annealing_compared, ch07_filters, ch07_votes),
    ch07_cost,
)
