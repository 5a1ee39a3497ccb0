"""A saved model as ONNX: exported, compared with the original, and written only if it agrees."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import json
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from reptune import metrics, runtime
from reptune.baselines import VOCABULARY, TfidfClassifier
from reptune.checks import (
    check_labels,
    check_multilabels,
    check_number,
    check_texts,
    did_you_mean,
    listed,
)
from reptune.classification import FineTunedClassifier
from reptune.estimator import SavedEstimator
from reptune.fewshot import FrozenClassifier, SetFitClassifier
from reptune.fewshot.head import LabelwiseHead, LinearHead
from reptune.folders import check_replaceable, file_hashes, write_folder
from reptune.ner import EntityTagger
from reptune.ner.alignment import OVERLAP
from reptune.ner.features import LONGEST_WORD
from reptune.ner.labels import check_tagged
from reptune.pipeline.examples import kind_of
from reptune.pipeline.intervals import difference_interval, share_interval
from reptune.pipeline.onnx_int8 import quantize
from reptune.tokens import check_max_length, model_limit, special_ids

MARKER = "reptune-onnx.json"  # `onnx_runner` has it and the format's number too
FORMAT = 1
FORMATS = ("onnx", "onnx-int8")
OPSET = 17
COUNTED = "head.npz"  # the weights of TF-IDF
LARGEST_DIFFERENCE = 1e-3  # between logits in float32; more means that the graph is another model
GENERATED = 200  # texts to compare on where none are given
LONGEST_GENERATED = 512  # tokens
LATENCIES, THROUGHPUT, ROUNDS = 50, 512, 2  # inputs one by one, inputs in batches, and how often

_README = """# An exported model

`pip install {packages}`, then, in this folder, without PyTorch or reptune:

    from runner import Runner
    runner = Runner(".")
    runner.predict({example})
    runner.predict_proba({example})

What it was compared with, and how fast it is: `export.md`.
"""


@dataclass(frozen=True)
class Speed:
    """How fast a model is, end to end, tokenizing included.

    Attributes:
        p50_ms: Median latency of one input at a time, in milliseconds.
        p95_ms: The latency that 19 of 20 inputs do not exceed.
        per_second: Inputs per second in batches.
        megabytes: Size of the weights, in 10^6 bytes.
    """

    p50_ms: float
    p95_ms: float
    per_second: float
    megabytes: float


@dataclass(frozen=True)
class Score:
    """A score of the original and of the export on the same rows, with 95% intervals.

    Attributes:
        metric: `accuracy`, `micro_f1` or `entity_f1`.
        before: Of the original.
        after: Of the export.
        difference: Export minus original, paired.
    """

    metric: str
    before: metrics.Interval
    after: metrics.Interval
    difference: metrics.Interval


@dataclass(frozen=True)
class ExportReport:
    """What an export is like, measured beside the original.

    Attributes:
        to: `onnx` or `onnx-int8`.
        folder: Where it was written.
        compared_on: How many inputs both read.
        given: Whether those were the user's rows; else they are random words.
        logit_difference: The largest between the two, on any input and class.
        agreement: Share of inputs with the same label or labels; of words with the same tag.
        score: On the user's rows; `None` without them.
        pytorch: Speed and size of the original, which for TF-IDF is scikit-learn's.
        onnx: Speed and size of the export.
        threads: That both used.
        cpu_int8: Whether this CPU has instructions for int8 (VNNI); `None` where that is unknown.
        versions: Of Python and the libraries.
        engines: What computes the original, and the export.
    """

    to: str
    folder: str
    compared_on: int
    given: bool
    logit_difference: float
    agreement: float
    score: Score | None
    pytorch: Speed
    onnx: Speed
    threads: int
    cpu_int8: bool | None
    versions: dict[str, str]
    engines: tuple[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the report as Markdown."""
        rows = "your rows" if self.given else "texts of random words; no score was measured"
        lines = [
            f"# Export to {self.to}",
            "",
            f"Compared on {self.compared_on:,} inputs ({rows}):",
            f"largest logit difference {self.logit_difference:.2g}, "
            f"equal predictions {self.agreement:.2%}.",
        ]
        if self.score is not None:
            name = self.score.metric.replace("_", " ")
            lines += [
                f"{name.capitalize()} with 95% interval: {self.engines[0]} {self.score.before}, "
                f"export {self.score.after}, paired difference {self.score.difference}.",
            ]
        lines += [
            "",
            f"| {self.threads} thread(s) | p50, ms | p95, ms | inputs per second | weights, MB |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {name} | {speed.p50_ms:.2f} | {speed.p95_ms:.2f} | {speed.per_second:,.0f} "
                f"| {speed.megabytes:,.1f} |"
                for name, speed in zip(self.engines, (self.pytorch, self.onnx), strict=True)
            ),
            "",
            f"{self.onnx.per_second / self.pytorch.per_second:.1f} times as many inputs per second "
            f"as {self.engines[0]}, measured in turn on this machine. Latencies are those of one "
            "input at a time.",
        ]
        if self.to == "onnx-int8" and self.cpu_int8 is not None:
            has = "has" if self.cpu_int8 else "lacks"
            lines += ["", f"This CPU {has} instructions for int8 (VNNI); others differ in speed."]
        return "\n".join(lines)


def export_model(
    model: SavedEstimator | str | Path,
    out: str | Path,
    *,
    to: Literal["onnx", "onnx-int8"] = "onnx",
    check: tuple[Sequence[Any], Sequence[Any]] | None = None,
    min_agreement: float = 0.99,
) -> ExportReport:
    """Export a model to ONNX, compare it with the original, and write it if it agrees.

    The folder holds `model.onnx`, `tokenizer.json`, `reptune-onnx.json` (labels, temperature,
    thresholds, tags, the card, hashes), `runner.py`, which needs onnxruntime, tokenizers and NumPy
    only, `README.md` and `export.md`, the report. For TF-IDF there is no graph: `vocabulary.json`
    and `head.npz` take its place, and the runner needs NumPy only.

    Args:
        model: A fitted `FineTunedClassifier`, `FrozenClassifier`, `SetFitClassifier`,
            `EntityTagger` or `TfidfClassifier`, or the folder of one.
        out: The folder to write.
        to: `onnx` keeps float32; `onnx-int8` computes matrix products and stores embeddings in
            whole numbers of 8 bits, `reptune.pipeline.onnx_int8.quantize`; not for TF-IDF.
        check: Held-out inputs and targets, such as texts and labels; `None` compares on texts of
            random words, which tells no score.
        min_agreement: The least share of equal predictions, 0 to 1.

    Raises:
        ValueError: If the model cannot be exported, an argument is bad, a package is missing, or
            the export differs too much from the original; then nothing is written.
        OSError: If the folder cannot be written.
    """
    check_number("min_agreement", min_agreement, least=0, most=1)
    check_replaceable(out, MARKER)
    if isinstance(model, str | Path):
        from reptune.estimator import load

        model = load(model)
    check_exportable(model, to)
    parts = _parts_of(model)
    given = None if check is None else _checked(model, *check)
    report: list[ExportReport] = []

    def write(folder: Path) -> None:
        _write_model(model, parts, folder, to)
        _write_rest(model, parts, folder)
        report.append(_gated(model, parts, folder, Path(out), to, given, min_agreement))
        (folder / "export.md").write_text(f"{report[0]}\n", encoding="utf-8")

    write_folder(out, write, marker=MARKER)
    return report[0]


def check_exportable(model: SavedEstimator, to: str) -> None:
    """Raise a `ValueError` if this model has no such export, or a package is missing for it."""
    if to not in FORMATS:
        raise ValueError(f"to={to!r}{did_you_mean(str(to), FORMATS)}; use {' or '.join(FORMATS)}.")
    if isinstance(model, TfidfClassifier):
        if to == "onnx-int8":
            raise ValueError(
                "TfidfClassifier has no onnx-int8: it has one weight per word and class, and no "
                "matrix products that 8 bits would make faster; use --to onnx."
            )
        return
    if not isinstance(
        model, FineTunedClassifier | FrozenClassifier | SetFitClassifier | EntityTagger
    ):
        raise ValueError(
            f"{type(model).__name__} cannot be exported to ONNX: it is no encoder with a head, so "
            "there is no graph to export. FineTunedClassifier, FrozenClassifier, SetFitClassifier, "
            "EntityTagger and TfidfClassifier can."
        )
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'an export needs {" and ".join(missing)}; pip install "reptune[export]"')


# --- what is exported ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """What an export is made of, whichever class it came from.

    `max_length` is in tokens, `None` where the model takes texts of any length; `warns` says
    whether a text that is cut is worth a warning. TF-IDF has neither a graph nor a tokenizer.
    """

    words: list[str]  # of the vocabulary
    size: int  # of the original's weights, in bytes
    graph: Any
    tokenizer: Any
    inputs: tuple[str, ...]
    max_length: int | None
    warns: bool


def _parts_of(model: SavedEstimator) -> _Parts:
    if isinstance(model, TfidfClassifier):
        words = model.vectorizer_.get_feature_names_out().tolist()
        size = sum(array.nbytes for array in _counted_arrays(model).values())
        size += sum(len(word.encode()) for word in words)
        return _Parts(words, size, None, None, (), None, False)
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    if isinstance(model, FrozenClassifier | SetFitClassifier):
        body = model.body_
        graph: nn.Module = _Embedded(_copied(body), *_head_of(model))
        tokenizer, length = body.tokenizer, body.max_seq_length
    else:
        tokenizer = model.tokenizer_
        length = check_max_length(model.max_length, model_limit(tokenizer, model.model_))
        if isinstance(model, EntityTagger) and model.mark_case:
            inputs = (*inputs, "token_type_ids")
        graph = _Logits(_copied(model.model_), inputs)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"the tokenizer {type(tokenizer).__name__} has no tokenizer.json, which the exported "
            "model's runner reads; train with another encoder."
        )
    if length is not None and length > 2**31:  # a tokenizer that names no limit says 10^30
        length = None
    if isinstance(model, EntityTagger) and length is None:
        raise ValueError("the tagger's encoder names no limit; set max_length and train again.")
    size = sum(part.numel() * part.element_size() for part in graph.state_dict().values())
    return _Parts(
        sorted(tokenizer.get_vocab()), size, graph.eval(), tokenizer, inputs,
        None if length is None else int(length), model.max_length is None,
    )  # fmt: skip


def _copied(module: nn.Module) -> Any:
    """Return a copy in float32 on the CPU, so that tracing changes nothing of the original."""
    copied = copy.deepcopy(module).cpu().float().eval()
    for part in copied.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation("eager")  # a graph of plain products is a tenth faster
    return copied


def _head_of(
    model: FrozenClassifier | SetFitClassifier,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return weights `(classes, dimensions)`, biases, and whether the softmax couples classes."""
    head = model.head_
    if not isinstance(head, LabelwiseHead | LinearHead) and (
        type(head).__name__ != "LogisticRegression"
    ):
        raise ValueError(
            f"the head {type(head).__name__} cannot be exported; use head=None, 'differentiable' "
            "or a LogisticRegression."
        )
    weight, bias = np.asarray(head.coef_), np.asarray(head.intercept_)
    if len(weight) == 1 and len(model.classes_) == 2:  # scikit-learn has one row for two classes
        weight, bias = np.vstack([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias, not isinstance(head, LabelwiseHead)


class _Logits(nn.Module):
    """A `transformers` model with named inputs, in the order that the exporter passes them."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


class _Embedded(nn.Module):
    """A sentence transformer with its pooling and normalization, and a head, as one graph."""

    def __init__(
        self, body: nn.Module, weight: np.ndarray, bias: np.ndarray, coupled: bool
    ) -> None:
        super().__init__()
        self.body, self.coupled = body, coupled
        self.register_buffer("weight", torch.tensor(weight.T, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        scores = self.body(features)["sentence_embedding"] @ self.weight + self.bias
        return torch.log_softmax(scores, dim=-1) if self.coupled else scores


# --- files ---------------------------------------------------------------------------------------


def _counted_arrays(model: TfidfClassifier) -> dict[str, np.ndarray]:
    head = model.head_
    return {"idf": model.vectorizer_.idf_, "coef": head.coef_, "intercept": head.intercept_}


def _write_model(model: SavedEstimator, parts: _Parts, folder: Path, to: str) -> None:
    if isinstance(model, TfidfClassifier):
        words = json.dumps(parts.words, ensure_ascii=False)
        (folder / VOCABULARY).write_text(words, encoding="utf-8")
        np.savez(folder / COUNTED, **_counted_arrays(model))
        return
    path = folder / "model.onnx"
    sample = _sample(parts)
    axes = {name: {0: "batch", 1: "tokens"} for name in parts.inputs}
    with runtime.quiet(), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that tracing fixes sizes: the comparison shows if it did
        torch.onnx.export(
            parts.graph, sample, str(path), dynamo=False, opset_version=OPSET,
            input_names=list(parts.inputs), output_names=["logits"],
            dynamic_axes={**axes, "logits": {0: "batch"}},
        )  # fmt: skip
    if to == "onnx-int8":
        quantize(path)


def _sample(parts: _Parts) -> tuple[torch.Tensor, ...]:
    """Return two texts of different lengths, so that the mask is traced too."""
    ids = parts.tokenizer(["a a a a a", "a a"])["input_ids"]
    width = max(map(len, ids))
    tokens = torch.full((2, width), _pad_id(parts.tokenizer))
    mask = torch.zeros((2, width), dtype=torch.long)
    for row, found in enumerate(ids):
        tokens[row, : len(found)], mask[row, : len(found)] = torch.tensor(found), 1
    return (tokens, mask, torch.zeros_like(mask))[: len(parts.inputs)]


def _pad_id(tokenizer: Any) -> int:
    return int(getattr(tokenizer, "pad_token_id", None) or 0)


def _write_rest(model: SavedEstimator, parts: _Parts, folder: Path) -> None:
    counted = isinstance(model, TfidfClassifier)
    if not counted:
        tokenizer = parts.tokenizer.backend_tokenizer.to_str()
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("onnx_runner.py"), folder / "runner.py")
    kind = kind_of(model)
    example = '[["Ada", "wrote", "it", "."]]' if kind == "tags" else '["a text", "another one"]'
    packages = "numpy" if counted else "onnxruntime tokenizers numpy"
    readme = _README.format(example=example, packages=packages)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    thresholds = getattr(model, "thresholds_", None)
    config = {
        "format": FORMAT,
        "kind": kind,
        "class": type(model).__name__,
        "classes": model.classes_.tolist(),
        "temperature": float(getattr(model, "temperature_", 1.0)),
        "thresholds": None if thresholds is None else np.asarray(thresholds).tolist(),
        "several": ((model.card_ or {}).get("columns") or {}).get("several"),
        "max_length": parts.max_length,
        "ngrams": int(model.vectorizer_.ngram_range[1]) if counted else None,
        "truncation_side": getattr(parts.tokenizer, "truncation_side", None),
        "warns": parts.warns,
        "pad_id": _pad_id(parts.tokenizer),
        "tags": _tag_settings(model, parts) if isinstance(model, EntityTagger) else None,
        "card": model.card_,
        "versions": _versions(),
        "files": file_hashes(folder, without=MARKER),
    }
    text = json.dumps(config, indent=2, default=runtime.as_json, ensure_ascii=False)
    (folder / MARKER).write_text(text, encoding="utf-8")


def _tag_settings(model: EntityTagger, parts: _Parts) -> dict[str, Any]:
    before, after = special_ids(parts.tokenizer)
    return {
        "shares": model.shares_.tolist(),
        "mark_case": bool(model.mark_case),
        "by_sentence": bool(model.by_sentence),
        "before": before,
        "after": after,
        "overlap": OVERLAP,
        "longest_word": LONGEST_WORD,
    }


def _versions() -> dict[str, str]:
    found = runtime.versions()
    for name in ("onnx", "onnxruntime"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


# --- the comparison ------------------------------------------------------------------------------


def _checked(
    model: SavedEstimator, inputs: Sequence[Any], targets: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Return the user's rows in lists, or raise a `ValueError` where they do not fit the model."""
    if isinstance(model, EntityTagger):
        return check_tagged(inputs, targets, "check ")
    texts, labels = check_texts(inputs, "check texts"), listed(targets, "check labels", "labels")
    if kind_of(model) == "labels":
        check_multilabels(labels, len(texts), num_classes=0)
        return texts, labels
    found = check_labels(labels, len(texts))
    unknown = np.setdiff1d(found, model.classes_)
    if len(unknown) or found.dtype.kind != model.classes_.dtype.kind:
        odd = (unknown if len(unknown) else found)[0].item()
        known = model.classes_.tolist()
        raise ValueError(f"check: the label {odd!r} is not one of the model's, {known}.")
    return texts, found.tolist()


def _gated(
    model: Any,
    parts: _Parts,
    folder: Path,
    out: Path,
    to: str,
    given: tuple[list[Any], list[Any]] | None,
    min_agreement: float,
) -> ExportReport:
    """Return the report, or raise a `ValueError` with the figures that are too bad."""
    from reptune.pipeline.onnx_runner import Runner

    if hasattr(model, "model_"):
        model.model_.eval()  # dropout would be compared too
    counted = isinstance(model, TfidfClassifier)
    threads = 1 if counted else torch.get_num_threads()
    runner = Runner(folder, threads=threads)
    kind = kind_of(model)
    inputs = given[0] if given else generated_inputs(parts.words, parts.max_length, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of texts that are cut, by both alike
        ours, theirs = model.predict(inputs), runner.predict(inputs)
        difference = _largest_difference(model.logits(inputs), runner.logits(inputs))
        agreement = _agreement(kind, ours, theirs)
        _check_gate(to, difference, agreement, min_agreement, len(inputs), given is not None)
        score = None if given is None else _score(kind, given[1], ours, theirs)
        speeds = _measured(model, runner, inputs)
    files = [folder / name for name in ("model.onnx", VOCABULARY, COUNTED)]
    sizes = (parts.size, sum(path.stat().st_size for path in files if path.is_file()))
    pytorch, onnx = (Speed(*s, size / 1e6) for s, size in zip(speeds, sizes, strict=True))
    return ExportReport(
        to, str(out), len(inputs), given is not None, difference, agreement, score, pytorch, onnx,
        threads, _cpu_int8(), _versions(),
        ("scikit-learn", "NumPy") if counted else ("PyTorch", to),
    )  # fmt: skip


def _check_gate(
    to: str, difference: float, agreement: float, least: float, num: int, given: bool
) -> None:
    found = (
        f"the largest logit difference is {difference:.3g} and {agreement:.2%} of the predictions "
        f"are equal, on {num:,} {'of your rows' if given else 'texts of random words'}"
    )
    if to == "onnx" and not difference <= LARGEST_DIFFERENCE:  # NaN is no less
        raise ValueError(
            f"the export computes something else than the model: {found}; at most "
            f"{LARGEST_DIFFERENCE:g} is allowed. Nothing was written; use another model."
        )
    if not (agreement >= least and np.isfinite(difference)):
        cure = "use --to onnx" if to == "onnx-int8" else "use another model"
        hint = "" if given else ", or pass rows of your own with --check, which say more"
        raise ValueError(
            f"the export changes too many predictions: {found}; at least {least:.2%} must be. "
            f"Nothing was written; {cure}{hint}."
        )


def generated_inputs(words: Sequence[str], max_length: int | None, kind: str) -> list[Any]:
    """Return texts of random words of the vocabulary, of all lengths, to compare models on.

    Among them are an empty text, accents, emoji and one that is longer than the model takes.

    Args:
        words: The vocabulary; the words of an entry with spaces stay together.
        max_length: Tokens that the model takes; `None` for any number.
        kind: With `"tags"` the texts come as lists of words, none of them empty.
    """
    words = [word for word in words if word.replace(" ", "").isalpha()] or words or ["a"]
    generator = np.random.default_rng(0)
    longest = min(max_length or LONGEST_GENERATED, LONGEST_GENERATED)
    lengths = np.exp(generator.uniform(0, np.log(longest), GENERATED)).astype(int)
    rows = [generator.choice(words, length).tolist() for length in [*lengths, longest + 8]]
    rows += [["Zoë", "café", "naïve", "東京", "🙂👍🏽", "\u200d", "…"], ["O'Brien", "U.S.", "$3.5"]]
    rows = [[word.capitalize() if index % 5 == 0 else word for index, word in enumerate(row)]
            for row in rows]  # fmt: skip
    if kind == "tags":
        return rows
    return [*(" ".join(row) for row in rows), "", " \n"]


def _largest_difference(ours: Any, theirs: Any) -> float:
    pairs = [(ours, theirs)] if isinstance(ours, np.ndarray) else zip(ours, theirs, strict=True)
    return float(np.max([np.abs(one - other).max() for one, other in pairs]))


def _agreement(kind: str, ours: Any, theirs: Any) -> float:
    """Return the share of equal predictions; of tags, word by word."""
    if kind == "tags":
        ours, theirs = (np.concatenate([np.array(row) for row in rows]) for rows in (ours, theirs))
    return float(np.mean([one == other for one, other in zip(ours, theirs, strict=True)]))


def _score(kind: str, targets: Any, ours: Any, theirs: Any) -> Score:
    if kind == "label":
        before, after = (
            np.array([guess == true for guess, true in zip(guesses, targets, strict=True)])
            for guesses in (ours, theirs)
        )
        interval, paired, metric = share_interval, difference_interval, "accuracy"
    else:
        count = metrics.entity_counts if kind == "tags" else _label_counts
        before, after = count(targets, ours), count(targets, theirs)
        interval, paired = metrics.f1_interval, metrics.paired_f1_interval
        metric = "entity_f1" if kind == "tags" else "micro_f1"
    return Score(metric, interval(before), interval(after), paired(after, before))


def _label_counts(gold: Any, predicted: Any) -> np.ndarray:
    """Return how many labels of each text are right, predicted and true, shape `(n, 3)`."""
    sets = [(set(true), set(guess)) for true, guess in zip(gold, predicted, strict=True)]
    return np.array([(len(true & guess), len(guess), len(true)) for true, guess in sets])


def _measured(model: Any, runner: Any, inputs: list[Any]) -> list[tuple[float, float, float]]:
    """Return p50 and p95 in milliseconds and inputs per second of both, measured in turn."""
    singles = [inputs[i] for i in np.linspace(0, len(inputs) - 1, LATENCIES).astype(int)]
    many = [inputs[i] for i in np.linspace(0, len(inputs) - 1, THROUGHPUT).astype(int)]
    many = many if len(inputs) >= THROUGHPUT else inputs
    latencies: list[list[float]] = [[], []]
    rates: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for which, predict in enumerate((model.predict, runner.predict)):
            predict(singles[:1])  # warm up
            latencies[which] += [_seconds(predict, [one]) for one in singles]
            rates[which].append(len(many) / _seconds(predict, many))
    return [
        (*np.percentile(np.array(seconds) * 1000, [50, 95]).tolist(), float(np.median(rate)))
        for seconds, rate in zip(latencies, rates, strict=True)
    ]


def _seconds(predict: Callable[[list[Any]], Any], inputs: list[Any]) -> float:
    start = time.perf_counter()
    predict(inputs)
    return time.perf_counter() - start


def _cpu_int8() -> bool | None:
    """Return whether the CPU multiplies 8-bit integers in one step; `None` where unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return None
    return not {"avx512_vnni", "avx_vnni", "asimddp"}.isdisjoint(flags)
