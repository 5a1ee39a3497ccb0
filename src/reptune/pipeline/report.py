"""A model's card as a report for people: `report.md`, and `report.html` in one file of its own."""

from __future__ import annotations

import contextlib
import errno
import math
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reptune.pipeline.pages import (
    Block,
    Figure,
    Section,
    Table,
    as_markdown_page,
    as_page,
    reliability_diagram,
)

MOST_LABELS = 20  # of a confusion matrix that is drawn whole
MOST_PAIRS = 20  # of confused labels in a table
MOST_ERRORS = 20
MOST_CHARACTERS = 400  # of a text that is shown
MOST_IN_NAME = 60  # of a label that is shown

Card = Mapping[str, Any]


def write_report(
    card: Card, errors: Sequence[Card], folder: str | Path, title: str | None = None
) -> None:
    """Write `report.md` and `report.html` into a folder, each replaced as one.

    The page needs no network and runs no script. Whatever comes from data (texts, labels, names)
    is escaped, cut where it is long, and shown without characters that would hide or turn it.

    Args:
        card: What is known of a model: see `SavedEstimator.card_`. A part that is missing or
            `None` is left out, or said to be unknown.
        errors: Rows that the model was not trained on and got wrong, each with `text`, `label`,
            `predicted` and `probability` (0 to 1, or `None`); `text` may be a pair of texts.
        folder: Where to write; it is made where it is missing.
        title: Of the report; by default it names the method and the data.

    Raises:
        OSError: If the disk is full or the folder cannot be written to; a report that was there
            before stays.
    """
    title = shown(title or _title(card), 120)
    sections = _sections(card, errors)
    folder = Path(folder)
    _write(folder / "report.md", as_markdown_page(title, summary_line(card), sections))
    _write(folder / "report.html", as_page(title, summary_line(card), sections))


def summary_line(card: Card) -> str:
    """Return the score and what it rests on in one line, for a terminal.

    >>> score = {"metric": "accuracy", "estimate": 0.912, "low": 0.871, "high": 0.941, "rows": 250}
    >>> summary_line({"score": score, "baseline": {"title": "majority class", "estimate": 0.5}})
    'accuracy 91.2% [87.1%, 94.1%] on 250 rows; majority class 50.0%'
    """
    score = card.get("score")
    if not score:
        return "not scored"
    metric = score.get("metric") or "score"
    line = f"{_metric_name(metric)} {_value(metric, score.get('estimate'))}"
    if _known(score.get("low")) and _known(score.get("high")):
        line += f" [{_value(metric, score['low'])}, {_value(metric, score['high'])}]"
    if score.get("rows"):
        line += f" on {score['rows']:,} rows"
    baseline = card.get("baseline")
    if baseline:
        title = shown(baseline.get("title") or "baseline")
        line += f"; {title} {_value(metric, baseline.get('estimate'))}"
    return line


def shown(value: Any, most: int = MOST_IN_NAME) -> str:
    """Return a text or a label as a report shows it: cut, and with nothing that hides or turns it.

    Control characters and those that change the direction of writing are replaced; a text with
    letters that run from right to left is kept apart from what stands around it.

    Args:
        value: A text, a label, a list of labels, or a pair of texts.
        most: Characters that are shown.
    """
    if isinstance(value, list | tuple):
        if not value:
            return "(none)"
        each = max(10, most // len(value))
        return " | ".join(shown(part, each) for part in value[:most])
    text = "–" if value is None else str(value)
    cut, left = text[:most], len(text) - most
    cleaned = "".join(_visible(character) for character in cut)
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in cleaned):
        cleaned = f"\u2068{cleaned}\u2069"
    return f"{cleaned}… ({left:,} more characters)" if left > 0 else cleaned


def _visible(character: str) -> str:
    hides = unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"
    turns = unicodedata.bidirectional(character) in (
        "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip
    return "\ufffd" if hides or turns else character


# --- what the report says ------------------------------------------------------------------------


def _sections(card: Card, errors: Sequence[Card]) -> list[Section]:
    parts: list[tuple[str, Callable[[], list[Block]]]] = [
        ("Score", lambda: _score(card)),
        ("Beside other ways", lambda: _rivals(card)),
        ("How it was measured", lambda: _measured(card)),
        ("Where the rows come from", lambda: _origins(card)),
        ("Which labels are confused", lambda: _confusion(card)),
        ("Can the probabilities be believed?", lambda: _calibration(card)),
        ("When to ask a person", lambda: _abstention(card)),
        ("The worst errors", lambda: _errors(card, errors)),
        ("Cost", lambda: _cost(card)),
        ("Model card", lambda: _model_card(card)),
        ("Versions", lambda: _versions(card)),
    ]
    found = [(heading, make()) for heading, make in parts]
    return [(heading, blocks) for heading, blocks in found if blocks]


def _title(card: Card) -> str:
    method, data = card.get("method") or {}, card.get("data") or {}
    title = str(method.get("title") or method.get("name") or "Model")
    name = data.get("name")
    return f"{title[:1].upper()}{title[1:]} on {shown(name)}" if name else title


_METRICS = {
    "accuracy": ("accuracy", "share of rows that got the right label"),
    "micro_f1": (
        "micro F1",
        "balance of two shares, counted over all labels of all rows: how many of the labels it "
        "gave were right, and how many of the right labels it gave",
    ),
    "exact_match": ("exact match", "share of rows whose text is right to the character"),
    "normalized_match": (
        "exact match, normalized",
        "share of rows whose answer is right but for case, punctuation and articles",
    ),
    "answer_f1": ("answer F1", "overlap of the words of an answer and of the right one"),
    "chrf": (
        "chrF++",
        "share of short runs of characters and words, 0 to 100, that the text and the right one "
        "have in common",
    ),
    "entity_f1": (
        "entity F1",
        "balance of two shares: how many of the entities it marked were right, in type and in "
        "both ends, and how many of the right entities it marked",
    ),
}
_TASKS = {
    "label": "gives a text one of {count} labels",
    "labels": "gives a text any number of {count} labels, or none",
    "pair": "gives a pair of texts one of {count} labels",
    "tags": "marks entities of {count} types in a text",
    "text": "writes a new text for each",
    "span": "finds the answer to a question in a passage",
}


def _score(card: Card) -> list[Block]:
    score = card.get("score")
    if not score:
        return ["This model was not scored, so nothing is known of how well it does."]
    metric, estimate = score.get("metric") or "score", score.get("estimate")
    name, meaning = _METRICS.get(metric, (_metric_name(metric), ""))
    text = f"{_capital(name)}: {_value(metric, estimate)}"
    if score.get("rows"):
        text += f" on {score['rows']:,} rows"
    text += "."
    if meaning:
        text += f" That is the {meaning}. Each row was scored by a model not trained on it."
    beside = [*_interval(score, metric), *_against_baseline(card, score), *_held_out(card, metric)]
    return [*_verdict(card), text, *beside, *_others(card)]


def _verdict(card: Card) -> list[Block]:
    """Return what `reptune build` concludes, and from which rows; it comes before the figures."""
    scored_on = card.get("scored_on")
    told = [card.get("verdict"), f"The score is on {scored_on}" if scored_on else ""]
    return [shown(text, MOST_CHARACTERS) for text in told if text]


def _interval(score: Card, metric: str) -> list[Block]:
    low, high = score.get("low"), score.get("high")
    if not (_known(low) and _known(high)):
        return ["Its interval was not computed, so how far chance moved it is not known."]
    level = f"{score.get('level') or 0.95:.0%}"
    return [
        f"The {level} interval runs from {_value(metric, low)} to {_value(metric, high)}: other "
        "rows of the same kind could have given a score anywhere in it. More scored rows make it "
        "narrower."
    ]


def _against_baseline(card: Card, score: Card) -> list[Block]:
    baseline = card.get("baseline")
    if not baseline or not _known(baseline.get("estimate")):
        # What `build` scores beside the model has a section of its own.
        return [] if card.get("rivals") else ["No baseline was recorded to compare it with."]
    value, low, high = baseline["estimate"], score.get("low"), score.get("high")
    metric = score.get("metric") or "score"
    text = f"Baseline ({shown(baseline.get('title') or 'no learning')}): {_value(metric, value)}. "
    if not (_known(low) and _known(high)):
        return [text.strip()]
    if low > value:
        return [f"{text}The whole interval lies above it: the model has learned something."]
    if high < value:
        return [f"{text}The whole interval lies below it: do not use this model."]
    return [
        f"{text}It lies within the interval, so these rows do not show that the model does better "
        "than that."
    ]


def _held_out(card: Card, metric: str) -> list[Block]:
    """Return the score on rows of the training file, where another file was the test."""
    known, name = card.get("held_out"), shown((card.get("data") or {}).get("name") or "training")
    if not known or not _known(known.get("estimate")):
        return []
    return [
        f"On rows of {name} that were held out in training: {_with_interval(metric, known)}. Where "
        "this is much higher, the rows that it learned from are unlike those of the test."
    ]


def _others(card: Card) -> list[Block]:
    main = (card.get("score") or {}).get("metric")
    rows = [
        [_capital(_metric_name(name)), _value(name, value)]
        for name, value in (card.get("scores") or {}).items()
        if _known(value) and name != main
    ]
    return [Table(["Other scores on the same rows", "Value"], rows)] if rows else []


def _measured(card: Card) -> list[Block]:
    splits, data = card.get("splits") or {}, card.get("data") or {}
    points = []
    for key, words in (("trained_on", "Rows trained on"), ("scored_on", "Rows scored on")):
        if splits.get(key) is not None:
            points.append(f"{words}: {splits[key]:,}")
    if splits.get("how"):
        points.append(_capital(shown(splits["how"], MOST_CHARACTERS)))
    points += [shown(note, MOST_CHARACTERS) for note in data.get("notes") or []]
    return [points] if points else []


def _confusion(card: Card) -> list[Block]:
    confusion = card.get("confusion")
    if not confusion:
        return []
    labels = [shown(label) for label in confusion["labels"]]
    counts = confusion["counts"]
    tags = card.get("kind") == "tags"
    what = "entities" if tags else "rows"
    blocks: list[Block] = []
    if len(labels) <= MOST_LABELS:
        blocks.append(
            f"Each line holds the {what} whose true label it names; its numbers say how many of "
            "them got the label at the head of each column. The stronger a cell's color, the "
            "larger its share of the line. What is right stands on the diagonal."
        )
        blocks.append(_matrix(labels, counts))
    if tags:
        blocks.append(
            "In the line “none” are entities that the model marked where there are none; in the "
            "column “none” are those that it missed."
        )
    return [*blocks, *_confused_pairs(labels, counts, what), *_weakest(labels, counts, what)]


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Return the matrix; columns have numbers where names would not fit on a phone."""
    fit = sum(map(len, labels)) <= 36
    heads = list(labels) if fit else [str(number) for number, _ in enumerate(labels, 1)]
    names = labels if fit else [f"{number}. {label}" for number, label in enumerate(labels, 1)]
    cells = [
        [name, *(f"{count:,}" for count in row)] for name, row in zip(names, counts, strict=True)
    ]
    shades = [[count / max(1, sum(row)) for count in row] for row in counts]
    return Table(["True ↓ predicted →", *heads], cells, shades)


def _confused_pairs(
    labels: Sequence[str], counts: Sequence[Sequence[int]], what: str
) -> list[Block]:
    pairs = [
        (count, labels[true], labels[other], sum(counts[true]))
        for true, row in enumerate(counts)
        for other, count in enumerate(row)
        if count and other != true
    ]
    if len(labels) <= MOST_LABELS or not pairs:
        return []
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        [true, other, f"{count:,}", f"{count / total:.0%}"]
        for count, true, other, total in pairs[:MOST_PAIRS]
    ]
    text = (
        f"There are {len(labels):,} labels, too many for a matrix. These are the pairs that are "
        f"confused most often, {len(rows):,} of {len(pairs):,}; the share is of the {what} that "
        "have the true label."
    )
    return [text, Table(["True label", "Predicted", _capital(what), "Share"], rows)]


def _weakest(labels: Sequence[str], counts: Sequence[Sequence[int]], what: str) -> list[Block]:
    """Return how well each label is found, the worst first."""
    found = []
    for index, label in enumerate(labels):
        true, given = sum(counts[index]), sum(row[index] for row in counts)
        right = counts[index][index]
        if true and label != "none":
            found.append((right / true, right / given if given else None, label, true))
    found.sort(key=lambda each: (each[0], each[2]))
    rows = [
        [label, f"{true:,}", f"{recall:.0%}", "never given" if exact is None else f"{exact:.0%}"]
        for recall, exact, label, true in found[:MOST_LABELS]
    ]
    if not rows:
        return []
    text = (
        f"How many of each label's {what} are found (recall), and how often the label is right "
        "where the model gives it (precision), the least found first. A share of a few "
        f"{what} says little."
    )
    if len(found) > len(rows):
        text += f" {len(rows)} of {len(found):,} labels are shown."
    return [text, Table(["Label", _capital(what), "Recall", "Precision"], rows)]


def _rivals(card: Card) -> list[Block]:
    """Return the scores of other ways on the same rows, as `reptune build` measures them."""
    rivals, score = card.get("rivals") or [], card.get("score") or {}
    if not rivals:
        return []
    metric = score.get("metric") or "score"
    rows = [["This model", _with_interval(metric, score), ""]]
    for rival in rivals:
        difference = rival.get("difference")
        apart = _with_interval(metric, difference, sign=True) if difference else ""
        rows.append([shown(rival["title"]), _with_interval(metric, rival.get("score")), apart])
    text = (
        "The same rows, answered in other ways. An interval of the difference that holds 0 means "
        "that these rows do not tell the two apart."
    )
    return [text, Table(["Way", _capital(_metric_name(metric)), "This model minus it"], rows)]


def _with_interval(metric: str, score: Card | None, sign: bool = False) -> str:
    if not score or not _known(score.get("estimate")):
        return "not measured"
    plus = "+" if sign and score["estimate"] > 0 else ""
    text = f"{plus}{_value(metric, score['estimate'])}"
    if _known(score.get("low")) and _known(score.get("high")):
        text += f" [{_value(metric, score['low'])}, {_value(metric, score['high'])}]"
    return text


def _origins(card: Card) -> list[Block]:
    """Return where the rows to learn from come from, and what became of those that were made."""
    origins = card.get("origins") or {}
    blocks: list[Block] = []
    if origins.get("rows"):
        rows = [[shown(name, 120), f"{count:,}"] for name, count in origins["rows"].items()]
        blocks.append(Table(["Origin", "Rows"], rows))
    if origins.get("yield"):
        rows = [[shown(step, 120), f"{count:,}"] for step, count in origins["yield"]]
        blocks += ["Of the rows that the teacher wrote:", Table(["Step", "Rows"], rows)]
    return [*blocks, *[shown(note, MOST_CHARACTERS) for note in origins.get("notes") or []]]


def _calibration(card: Card) -> list[Block]:
    calibration = card.get("calibration")
    if not calibration:
        return []
    blocks: list[Block] = []
    bins, error = calibration.get("bins") or [], calibration.get("ece")
    if _known(error):
        blocks.append(
            f"Confidence and accuracy differ by {100 * error:.1f} percentage points on average "
            "(the expected calibration error). Of predictions that are made with 80% confidence, "
            "80% should be right."
        )
    if bins:
        rows = [[f"{c:.1%}", f"{a:.1%}", f"{int(n):,}"] for c, a, n in bins]
        blocks.append(
            Figure(
                reliability_diagram(bins),
                "Each dot stands for predictions of about the same confidence; the number beside "
                "it says how many. Below the dashed line the model is too confident, above it too "
                "cautious. Dots of few predictions move by chance.",
                Table(["Mean confidence", "Share right", "Rows"], rows),
            )
        )
    temperature = calibration.get("temperature")
    if _known(temperature):
        blocks.append(_temperature_words(temperature))
    return blocks


def _temperature_words(temperature: float) -> str:
    text = f"Temperature, saved with the model: {temperature:.2f}. "
    if abs(temperature - 1) < 0.005:
        return f"{text}The probabilities are used as they come."
    done = "lowered" if temperature > 1 else "raised"
    return (
        f"{text}The logarithms of the probabilities are divided by it, which has {done} the "
        "confidence and changed no predicted label."
    )


def _abstention(card: Card) -> list[Block]:
    found = card.get("abstention")
    if not found:
        return []
    metric = (card.get("score") or {}).get("metric") or "accuracy"
    text = ""
    if _known(found.get("cost_wrong")) and _known(found.get("cost_ask")):
        text = (
            f"A wrong answer is taken to cost {found['cost_wrong']:g} and a question to a person "
            f"{found['cost_ask']:g}. "
        )
    if _known(found.get("threshold")):
        text += "At these costs the model should answer from a confidence of "
        text += f"{found['threshold']:.1%} on."
    share, score = found.get("answered"), found.get("score_answered")
    if _known(share):
        text += f" It then answers {share:.1%} of the scored rows"
        text += f", with {_metric_name(metric)} {_value(metric, score)}." if _known(score) else "."
    return [text.strip()] if text else []


def _errors(card: Card, errors: Sequence[Card]) -> list[Block]:
    if not errors:
        return ["No errors were given to this report."] if card.get("score") else []
    worst = sorted(errors, key=lambda error: -(error.get("probability") or 0))[:MOST_ERRORS]
    rows = [
        [
            re.sub(r"\s*\n\s*", "\n", shown(error.get("text", ""), MOST_CHARACTERS)),
            shown(error.get("label", "")),
            shown(error.get("predicted", "")),
            f"{error['probability']:.1%}" if _known(error.get("probability")) else "",
        ]
        for error in worst
    ]
    text = (
        "These errors on held-out rows are those that the model was most sure of. Read them first: "
        "some may be labels to correct in the data."
    )
    return [text, Table(["Text", "True", "Predicted", "Confidence"], rows)]


def _cost(card: Card) -> list[Block]:
    cost = card.get("cost") or {}
    points = []
    if _known(cost.get("fit_seconds")):
        points.append(f"Training: {_seconds(cost['fit_seconds'])}")
    if _known(cost.get("peak_memory_mb")):
        points.append(f"Highest memory: {cost['peak_memory_mb']:,.0f} MB")
    if _known(cost.get("texts_per_second")):
        points.append(f"Prediction: {cost['texts_per_second']:,.4g} texts per second")
    if cost.get("device"):
        points.append(f"On: {shown(cost['device'])}")
    return [points] if points else []


def _model_card(card: Card) -> list[Block]:
    method, data = card.get("method") or {}, card.get("data") or {}
    columns = card.get("columns") or {}
    told = [_use(card), _origin(card, method, data)]
    blocks: list[Block] = [sentence for sentence in told if sentence]
    read = [f"{key}: {shown(name)}" for key, name in columns.items() if name]
    if read:
        blocks.append(f"Columns that were read: {', '.join(read)}.")
    if method.get("settings"):
        rows = [[shown(name), shown(value)] for name, value in method["settings"].items()]
        blocks.append(Table(["Setting", "Value"], rows))
    if card.get("labels"):
        names = [shown(label) for label in card["labels"][:200]]
        more = len(card["labels"]) - len(names)
        rest = f" and {more:,} more" if more else ""
        blocks.append(f"Labels ({len(card['labels']):,}): {', '.join(names)}{rest}.")
    return [*blocks, "What the numbers above do not say:", _limits(card)]


def _use(card: Card) -> str:
    """Return what the model is for, in a sentence; nothing where that is not known."""
    task, labels = _TASKS.get(card.get("kind", "")), card.get("labels") or []
    if not task or ("{count}" in task and not labels):
        return ""
    source = (card.get("data") or {}).get("name")
    like = f", for texts like those in {shown(source)}" if source else ""
    return f"Intended use: it {task.format(count=f'{len(labels):,}')}{like}."


def _origin(card: Card, method: Card, data: Card) -> str:
    parts = []
    name = method.get("title") or method.get("name")
    if name:
        parts.append(f"Method: {shown(name)}")
        if method.get("class"):
            parts[-1] += f" ({shown(method['class'])})"
        if method.get("model"):
            parts[-1] += f", from the model {shown(method['model'])}"
    if data.get("name"):
        parts.append(f"Data: {shown(data['name'])}")
        if data.get("rows") is not None:
            parts[-1] += f", {data['rows']:,} rows"
    if card.get("date"):
        parts.append(f"Date: {shown(card['date'])}")
    return f"{'. '.join(parts)}." if parts else ""


def _limits(card: Card) -> list[str]:
    limits = [
        "How it does on other texts: another source, another domain, another language or another "
        "time. Score it again on labeled rows from there.",
        "How it does on each group of people or each kind of text: one score is an average.",
        "Whether the labels are right. The model learned them as they are, and is scored by them.",
    ]
    if card.get("kind") in ("label", "pair"):
        limits.append(
            "What to do with a text that fits none of the labels: the model gives it one of them "
            "all the same."
        )
    rows = (card.get("score") or {}).get("rows")
    if rows and rows < 200:
        limits.append(f"Much about rare mistakes: {rows:,} scored rows hold few of them.")
    return limits


def _versions(card: Card) -> list[Block]:
    rows = [[shown(name), shown(value)] for name, value in (card.get("versions") or {}).items()]
    blocks: list[Block] = [Table(["Package", "Version"], rows)] if rows else []
    data = card.get("data") or {}
    if data.get("sha256"):
        blocks.append(f"SHA-256 of the data: {shown(data['sha256'], 64)}")
    return blocks


# --- numbers in words ----------------------------------------------------------------------------


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _value(metric: str, value: Any) -> str:
    """Return a score as it is usually written: accuracy as a percentage, F1 as a number."""
    if not _known(value):
        return "not measured"
    if metric == "chrf":
        return f"{value:.1f}"
    return f"{value:.1%}" if metric.endswith(("match", "accuracy")) else f"{value:.3f}"


def _metric_name(metric: str) -> str:
    known = _METRICS.get(metric)
    return known[0] if known else shown(metric).replace("_", " ").replace("f1", "F1")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.3g} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


# --- files ---------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    """Write a file under another name first, so that the old or the new one is whole."""
    written: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.",
            delete=False,
        ) as file:  # fmt: skip
            written = Path(file.name)
            file.write(text)
        written.chmod(0o644)
        written.replace(path)
    except OSError as error:
        cure = "free some space" if error.errno == errno.ENOSPC else "choose another folder"
        raise OSError(
            error.errno or errno.EIO, f"{path} could not be written ({error}); {cure}"
        ) from error
    finally:
        if written is not None:
            with contextlib.suppress(OSError):
                written.unlink(missing_ok=True)
