"""Predict for a table of any length: shard by shard, so that a killed run continues where it was.

The rows are scored in shards whose limits depend on the table alone. Each shard is a file beside
the output, renamed when it is whole, and when all are there they become the output at once. A
shard is scored by itself, so the bytes do not depend on when a run was killed, or on how many
processes shared the work.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any

from reptune import runtime
from reptune.checks import check_number, check_whole_number, is_missing
from reptune.data.files import existing_file
from reptune.data.streams import Row, Rows, open_rows
from reptune.data.tables import DELIMITED
from reptune.estimator import SavedEstimator
from reptune.folders import MANIFEST, file_hashes, find_folder, read_manifest
from reptune.pipeline.examples import kind_of
from reptune.pipeline.exported import Exported, open_model
from reptune.pipeline.shards import Form, Parts, Table, alone
from reptune.version import __version__

SHARD_ROWS = 10_000  # as many as an estimator sorts by length together
SHARD_CHARACTERS = 8_000_000  # a shard of long texts ends earlier, for the sake of memory
DIGITS = 6  # of a probability
WRITTEN = {"text": "output", "span": "answer"}  # the column of a model that gives texts, by kind


@dataclass
class Summary:
    """What a run of `predict_file` or `predict_on_ray` did.

    Attributes:
        rows: How many rows the output has.
        seconds: How long this run took, with loading the model.
        rows_per_second: Of the rows that this run scored.
        continued: How many of the rows an earlier, killed run had scored.
        empty: How many rows had no text, and so got no label.
        abstained: How many rows got no label because their probability was too low.
        labels: How many rows got each label, or how many entities each type has, most first.
    """

    rows: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0
    continued: int = 0
    empty: int = 0
    abstained: int = 0
    labels: dict[str, int] = field(default_factory=dict)


def predict_file(
    model: str | Path,
    source: str | Path | IO[bytes],
    out: str | Path | IO[bytes],
    *,
    text: str | None = None,
    text2: str | None = None,
    separator: str | None = None,
    several: str | None = None,
    abstain: float | str | None = None,
    prefix: str = "",
    kind: str | None = None,
    shard_rows: int = SHARD_ROWS,
    restart: bool = False,
    progress: Callable[[int, int | None], Any] | None = None,
) -> Summary:
    r"""Add a model's predictions to each row of a table; memory does not grow with the table.

    All columns are kept, and these are added. A classifier adds `label` and `probability`, that of
    the label. Where a text may have several labels, both hold one entry per label: joined by
    `several` in CSV and TSV, lists in JSON lines and Parquet. A tagger adds `entities`, a list of
    `{"start", "end", "text", "type", "probability"}` (as JSON text in CSV and TSV), with offsets
    in characters. A model that writes a text adds `output`, one that finds the answer to a question
    `answer`. A row whose text is empty gets none of them. Parquet keeps the types of Parquet;
    of other tables the columns become strings there, and what is no string in JSON its JSON text.

    A run that is killed leaves what it has scored in `OUT.parts`, and the same call continues
    there. `out` is replaced at the end, at once.

    Args:
        model: The folder of a saved model, or of what `export_model` made of one, which is faster
            on a CPU and needs onnxruntime.
        source: A table, `.csv`, `.tsv`, `.jsonl` or `.parquet`, all but `.parquet` also with
            `.gz`; or a binary stream, which a killed run cannot continue.
        out: A file with one of these suffixes, or a binary stream, which gets each shard as soon
            as it is scored.
        text: The column of the texts; `None` for the one that the model was trained on, or
            `"text"`.
        text2: The column of the second texts of pairs, or of the passages.
        separator: What stands between the fields of a CSV or TSV source; see `read_table`.
        several: What joins several labels of a text in CSV and TSV; `None` for what the model's
            training table had, or `";"`.
        abstain: Give a row whose probability is below this no label, and add the column
            `abstained`; `"auto"` for the threshold that was saved with the model.
        prefix: What the names of the added columns begin with.
        kind: The format of streams, such as `"jsonl"`; `None` for CSV.
        shard_rows: Rows per shard, at most. Another number may change a probability's last digit.
        restart: Throw away what an earlier run left in `OUT.parts`.
        progress: Called after each shard with the number of rows that this run has scored, and of
            those that it has to score; `None` where that is not known.

    Raises:
        FileNotFoundError: If the model or the source is missing.
        ValueError: If an argument, the model or a row is bad, the table has a column of an added
            one's name, another run writes `out`, or `OUT.parts` belongs to another model, table or
            other options.
        OSError: If the output cannot be written; a file that was there before is unchanged.

    >>> import tempfile
    >>> from reptune import TfidfClassifier
    >>> folder = Path(tempfile.mkdtemp())
    >>> texts = ["cold soup", "a dull film", "fresh bread", "a great film"]
    >>> model = TfidfClassifier().fit(texts, ["food", "film", "food", "film"])
    >>> _ = (folder / "new.csv").write_text("id,body\n1,the bread\n2,that film\n")
    >>> done = predict_file(
    ...     model.save(folder / "model"), folder / "new.csv", folder / "out.csv", text="body"
    ... )
    >>> done.rows, done.labels
    (2, {'food': 1, 'film': 1})
    >>> print((folder / "out.csv").read_text().splitlines()[0])
    id,body,label,probability
    """
    started = time.monotonic()
    is_stream = hasattr(out, "write")
    _check_paths(source, out)
    form = Form.of_stream(kind) if is_stream else Form.of_file(out)
    scorer, rows = _prepared(
        source, form, model=str(model), text=text, text2=text2, separator=separator,
        several=several, abstain=abstain, prefix=prefix, kind=kind, shard_rows=shard_rows,
    )  # fmt: skip
    if is_stream:
        counts = _to_stream(scorer, rows, out, progress)
        return _summary(counts, 0, started)
    total = None
    if not hasattr(source, "read"):
        total, _ = _check_rows(scorer, rows)
        rows = _opened(scorer.job, source)
    with alone(Path(out)), rows:
        parts = Parts(Path(out), form)
        plan = _plan(scorer, source)
        parts.begin(plan, restart)
        earlier = parts.rows
        left = None if total is None else total - earlier
        for index, shard in enumerate(_shards(rows, shard_rows)):
            if index not in parts.counts:
                parts.write(index, *scorer.encoded(shard, header=index == 0))
                _tell(progress, parts.rows - earlier, left)
            del shard  # or it would be there while the next one is read
        _check_unchanged(source, plan)
        parts.join()
    return _summary(parts.counts.values(), earlier, started)


def predict_on_ray(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    workers: int = 2,
    text: str | None = None,
    text2: str | None = None,
    separator: str | None = None,
    abstain: float | str | None = None,
    prefix: str = "",
    shard_rows: int = SHARD_ROWS,
    restart: bool = False,
    progress: Callable[[int, int | None], Any] | None = None,
) -> Summary:
    """Do as `predict_file` in several processes, on one machine or a cluster, under Ray Data.

    Each worker loads the model once and reads the source itself, so model, source and `out` must
    be where every worker finds them under the same path. A worker that dies is replaced, and its
    shard scored again.

    Args:
        model: As in `predict_file`, and so is all that is not explained here.
        source: A table.
        out: A folder, which must not exist yet. It gets one Parquet file per shard, and appears
            when all of them are whole.
        workers: Processes that score. For a cluster call `ray.init` before, else this starts Ray
            on this machine with a core for each of them, and stops it at the end.
        text: The column of the texts.
        text2: The column of the second texts of pairs.
        separator: What stands between the fields of the source.
        abstain: As in `predict_file`.
        prefix: What the names of the added columns begin with.
        shard_rows: Rows per shard, at most.
        restart: Throw away what an earlier run left in `OUT.parts`.
        progress: As in `predict_file`.

    Raises:
        FileNotFoundError: If the model or the source is missing.
        ValueError: As in `predict_file`, if `out` exists, or Ray is not installed.
        OSError: If the output cannot be written.
    """
    started = time.monotonic()
    check_whole_number("workers", workers)
    _ray()
    if Path(out).exists():
        raise ValueError(f"{out} exists; choose a folder that does not, or remove it first.")
    _check_paths(source, out)
    source, out = Path(source).resolve(), Path(out).resolve()  # a worker's folder is another one
    scorer, rows = _prepared(
        source, Form(".parquet"), model=str(Path(model).resolve()), text=text, text2=text2,
        separator=separator, several=None, abstain=abstain, prefix=prefix, kind=None,
        shard_rows=shard_rows,
    )  # fmt: skip
    total, shards = _check_rows(scorer, rows)
    with alone(out):
        parts = Parts(out, scorer.job.form)
        plan = _plan(scorer, source)
        parts.begin(plan, restart)
        earlier = parts.rows
        missing = [index for index in range(shards) if index not in parts.counts]
        for index in _on_ray(scorer.job, source, out, missing, workers) if missing else ():
            parts.counts[index] = parts.count(index)
            _tell(progress, parts.rows - earlier, total - earlier)
        _check_unchanged(source, plan)
        parts.keep()
    return _summary(parts.counts.values(), earlier, started)


# --- what is to be done --------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What decides the bytes of a shard, beside its rows."""

    model: str
    text: str
    text2: str | None
    separator: str | None
    several: str
    abstain: float | None
    prefix: str
    kind: str | None
    shard_rows: int
    columns: tuple[str, ...]
    form: Form


def _prepared(source: Any, form: Form, **given: Any) -> tuple[Scorer, Rows]:
    """Return what scores a shard, and the rows, of which the header is read."""
    check_whole_number("shard_rows", given["shard_rows"])
    model = open_model(given["model"])
    if not hasattr(model, "predict_proba") and kind_of(model) not in WRITTEN:
        raise ValueError(
            f"{given['model']} holds a {type(model).__name__}, which gives no labels; use its "
            "predict in Python."
        )
    known = (model.card_ or {}).get("columns") or {}
    given["text"] = given["text"] or known.get("text") or "text"
    given["text2"] = _second(model, given["text2"], known.get("text2"), given["model"])
    given["several"] = given["several"] or known.get("several") or ";"
    given["abstain"] = _threshold(model, given["abstain"], given["model"])
    job = Job(**given, form=form, columns=())
    rows = _opened(job, source)
    schema = None
    if rows.kind == ".parquet" and form.suffix == ".parquet":
        import pyarrow.parquet as pq

        schema = pq.read_schema(source).remove_metadata()  # what pandas noted of its own index
    try:
        return Scorer(model, replace(job, columns=tuple(rows.columns)), schema), rows
    except BaseException:
        rows.close()
        raise


def _second(
    model: SavedEstimator | Exported, given: str | None, trained_on: str | None, folder: str
) -> str | None:
    """Return the column of the second texts, or raise unless it is there for pairs alone."""
    pairs = kind_of(model) in ("pair", "span")
    column = (given or trained_on) if pairs else given
    if pairs and column is None:
        raise ValueError(
            f"{folder} reads pairs of texts; name the column of the second ones with text2."
        )
    if column is not None and not pairs:
        raise ValueError(f"text2={column!r}, but {folder} reads one text; leave text2 out.")
    return column


def _threshold(
    model: SavedEstimator | Exported, abstain: float | str | None, folder: str
) -> float | None:
    if abstain is None:
        return None
    if kind_of(model) not in ("label", "pair"):
        raise ValueError(
            f"abstain={abstain!r} is for models that give each text one label; {folder} holds "
            "another kind. Leave it out."
        )
    if abstain != "auto":
        return check_number("abstain", abstain, least=0, most=1)
    saved = ((model.card_ or {}).get("abstention") or {}).get("threshold")
    if saved is None:
        raise ValueError(
            f"abstain='auto', but {folder} was saved without a threshold; pass a probability, such "
            "as 0.7, or train it with the costs of a wrong answer and of asking."
        )
    return check_number("abstain", saved, least=0)


def _check_paths(source: Any, out: Any) -> None:
    """Refuse an output that is the input or a folder, before a model is loaded."""
    if not hasattr(source, "read"):
        existing_file(source)
    if hasattr(out, "write"):
        return
    if Path(out).is_dir():
        raise ValueError(f"{out} is a folder; name a file in it.")
    same = not hasattr(source, "read") and Path(out).exists() and Path(out).samefile(source)
    if same:
        raise ValueError(f"the output {out} is the input; choose another file.")


def _plan(scorer: Scorer, source: Any) -> dict[str, Any]:
    """Return what must be the same for a run to continue another one."""
    job, model = scorer.job, scorer.model
    plan = {
        "input": _digest(source),
        "options": {name: value for name, value in asdict(job).items() if name != "model"},
        "device": runtime.device_name(),  # another number of threads rounds otherwise
        "versions": {"reptune": __version__, **runtime.versions()},
    }
    if isinstance(model, Exported):
        plan |= {"model": model.seal, "device": model.device}
    else:
        folder = find_folder(job.model)
        seal = read_manifest(folder).get("seal")
        plan["model"] = seal or file_hashes(folder, without=MANIFEST)
    return json.loads(json.dumps(plan))


def _digest(source: Any) -> str | None:
    if hasattr(source, "read"):
        return None
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_unchanged(source: Any, plan: dict[str, Any]) -> None:
    if _digest(source) != plan["input"]:
        raise ValueError(f"{source} was changed while it was read; run it again with --restart.")


# --- rows and shards -----------------------------------------------------------------------------


def _opened(job: Job, source: Any) -> Rows:
    wanted = [name for name in (job.text, job.text2) if name]
    return open_rows(source, wanted, job.separator, job.kind if hasattr(source, "read") else None)


def _shards(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Yield rows in lists whose limits depend on the rows alone."""
    shard: list[Row] = []
    characters = 0
    for row in rows:
        shard.append(row)
        characters += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if len(shard) == most or characters >= SHARD_CHARACTERS:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard


def _check_rows(scorer: Scorer, rows: Rows) -> tuple[int, int]:
    """Return how many rows and shards there are, or raise for a bad row before any is scored."""
    total = shards = 0
    with rows:
        for shard in _shards(rows, scorer.job.shard_rows):
            scorer.inputs(shard)
            total, shards = total + len(shard), shards + 1
            del shard
    return total, shards


def _to_stream(
    scorer: Scorer, rows: Rows, out: IO[bytes], progress: Callable[..., Any] | None
) -> list[dict[str, Any]]:
    """Write each shard when it is scored, and return what is counted of each."""
    counts: list[dict[str, Any]] = []
    with rows:
        for index, shard in enumerate(_shards(rows, scorer.job.shard_rows)):
            data, count = scorer.encoded(shard, header=index == 0)
            out.write(data)
            out.flush()
            counts.append(count)
            _tell(progress, sum(count["rows"] for count in counts), None)
            del shard
    return counts


def _tell(progress: Callable[[int, int | None], Any] | None, done: int, total: int | None) -> None:
    if progress is not None:
        progress(done, total)


def _summary(counts: Iterable[dict[str, Any]], earlier: int, started: float) -> Summary:
    total: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for count in counts:
        total.update({name: count[name] for name in ("rows", "empty", "abstained")})
        labels.update(count["labels"])
    seconds = time.monotonic() - started
    return Summary(
        rows=total["rows"],
        seconds=seconds,
        rows_per_second=(total["rows"] - earlier) / seconds,
        continued=earlier,
        empty=total["empty"],
        abstained=total["abstained"],
        labels=dict(labels.most_common()),
    )


# --- what a shard becomes ------------------------------------------------------------------------


class Scorer:
    """A loaded model that turns the rows of a shard into the bytes of a file.

    Args:
        model: A classifier or a tagger.
        job: What is to be done.
        schema: The Arrow schema of a source that is Parquet, where the output is.

    Raises:
        ValueError: If the table has a column that is to be added, or labels hold what joins them.
    """

    def __init__(self, model: SavedEstimator | Exported, job: Job, schema: Any = None) -> None:
        self.job, self.model = job, model
        self._kind = kind_of(model)
        self._tags, self._several = self._kind == "tags", self._kind == "labels"
        self.added = {
            f"{job.prefix}{name}": kind
            for name, kind in _types(model).items()
            if name != "abstained" or job.abstain is not None
        }
        self._known = set(job.columns)
        self._check_names(self._known, "the table")
        joiner = job.several if self._several else None
        self._table = Table(job.form, job.columns, self.added, joiner, schema)
        for label in model.classes_.tolist() if self._several else ():
            if job.form.suffix in DELIMITED and job.several in str(label):
                raise ValueError(
                    f"label {label!r} holds {job.several!r}, which joins labels; choose another "
                    "several, or write .jsonl or .parquet."
                )

    def inputs(self, shard: Sequence[Row]) -> tuple[list[int], list[Any]]:
        """Return the numbers of the rows that have a text, and the texts or pairs of them.

        Raises:
            ValueError: If a text is no string, or a row does not fit the table.
        """
        columns = [name for name in (self.job.text, self.job.text2) if name]
        numbers, found = [], []
        for number, row in enumerate(shard):
            if row.values.keys() - self._known:
                self._check_further(row)
            if not any(_is_blank(row.values[name]) for name in columns):
                texts = tuple(row.text(name) for name in columns)
                numbers.append(number)
                found.append(texts if len(texts) > 1 else texts[0])
        return numbers, found

    def encoded(self, shard: Sequence[Row], header: bool) -> tuple[bytes, dict[str, Any]]:
        """Return the shard as bytes of a file with predictions, and what is counted of it."""
        numbers, found = self.inputs(shard)
        given: list[dict[str, Any]] = [self._nothing() for _ in shard]
        if found:
            scored = self._scored(found)
            for number, values in zip(numbers, scored, strict=True):
                given[number].update(values)
        count = {
            "rows": len(shard),
            "empty": len(shard) - len(found),
            "abstained": sum(bool(values.get("abstained")) for values in given),
            "labels": Counter(name for values in given for name in self._names(values)),
        }
        prefix = self.job.prefix
        rows = [
            {**row.values, **{prefix + name: value for name, value in values.items()}}
            for row, values in zip(shard, given, strict=True)
        ]
        return self._table.encoded(rows, header), count

    def _scored(self, found: list[Any]) -> list[dict[str, Any]]:
        if self._kind in WRITTEN:
            name = WRITTEN[self._kind]
            return [{name: text} for text in self.model.predict(found)]
        return self._entities(found) if self._tags else self._labels(found)

    def _nothing(self) -> dict[str, Any]:
        """Return what a row without a text gets."""
        if self._tags:
            return {"entities": []}
        if self._kind in WRITTEN:
            return {WRITTEN[self._kind]: None}
        nothing = [] if self._several else None
        abstained = {} if self.job.abstain is None else {"abstained": False}
        return {"label": nothing, "probability": nothing, **abstained}

    def _labels(self, texts: list[Any]) -> list[dict[str, Any]]:
        shares = self.model.predict_proba(texts)
        names = self.model.classes_.tolist()
        if self._several:
            rows = [(shares[i] >= self.model.thresholds_).nonzero()[0] for i in range(len(shares))]
            return [
                {"label": [names[i] for i in row], "probability": [_rounded(of[i]) for i in row]}
                for row, of in zip(rows, shares, strict=True)
            ]
        found = []
        for best, highest in zip(shares.argmax(axis=1), shares.max(axis=1), strict=True):
            values = {"label": names[best], "probability": _rounded(highest)}
            if self.job.abstain is not None:
                values["abstained"] = bool(highest < self.job.abstain)
                values["label"] = None if values["abstained"] else values["label"]
            found.append(values)
        return found

    def _entities(self, texts: list[str]) -> list[dict[str, Any]]:
        return [
            {
                "entities": [
                    {
                        "start": entity.start, "end": entity.end, "text": entity.text,
                        "type": entity.type, "probability": _rounded(entity.confidence),
                    }
                    for entity in entities
                ]
            }
            for entities in self.model.entities(texts)
        ]  # fmt: skip

    def _names(self, values: dict[str, Any]) -> list[str]:
        """Return what a row counts for in the summary."""
        if self._kind in WRITTEN:  # every row has another one
            return []
        if self._tags:
            return [entity["type"] for entity in values["entities"]]
        label = values["label"]
        labels = label if isinstance(label, list) else [] if label is None else [label]
        return [str(label) for label in labels]

    def _check_names(self, names: Collection[str], what: str) -> None:
        for name in self.added:
            if name in names:
                raise ValueError(
                    f"{what} has a column {name!r} already; give what is added other names with a "
                    "prefix, such as 'predicted_', or rename the column."
                )

    def _check_further(self, row: Row) -> None:
        """Check fields that the first object of JSON lines lacks."""
        self._check_names(row.values, row.where)
        if self.job.form.suffix != ".jsonl":
            name = next(name for name in row.values if name not in self._known)
            raise ValueError(
                f"{row.where} has the field {name!r}, which the first line lacks, so that a "
                f"{self.job.form.suffix} file would have no column for it; write .jsonl."
            )


def _types(model: SavedEstimator | Exported) -> dict[str, Any]:
    """Return the Arrow type of each column that a model adds."""
    import pyarrow as pa

    probability: Any = pa.float64()
    if kind_of(model) in WRITTEN:
        return {WRITTEN[kind_of(model)]: pa.string()}
    if hasattr(model, "entities"):
        names = {"start": pa.int64(), "end": pa.int64(), "text": pa.string(), "type": pa.string()}
        return {"entities": pa.list_(pa.struct({**names, "probability": probability}))}
    kinds = {"i": pa.int64(), "b": pa.bool_()}
    label: Any = kinds.get(model.classes_.dtype.kind, pa.string())
    if model.thresholds_ is not None:
        label, probability = pa.list_(label), pa.list_(probability)
    return {"label": label, "probability": probability, "abstained": pa.bool_()}


def _is_blank(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _rounded(share: float) -> float:
    return float(f"{share:.{DIGITS}g}")


# --- several processes ---------------------------------------------------------------------------


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise ValueError("several processes need Ray; install reptune[ray].") from None
    return ray


class RayScorer:
    """What a worker of Ray does: it loads the model once, and scores shards by their numbers.

    Args:
        job: What is to be done.
        source: The table.
        out: The output, beside which the shards go.
    """

    def __init__(self, job: Job, source: Path, out: Path) -> None:
        self._source, self._parts = source, Parts(out, job.form)
        self._scorer, self._rows = _prepared(source, job.form, **_given(job))
        self._shards = enumerate(_shards(self._rows, job.shard_rows))
        self._next = 0

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score a shard and write it."""
        for index in batch["shard"].tolist():
            self._parts.write(index, *self._scorer.encoded(self._shard(index), header=False))
        return batch

    def _shard(self, index: int) -> list[Row]:
        """Return a shard; its rows are read on from where the last one ended, if it is later."""
        if index < self._next:
            self._rows.close()
            self._rows = _opened(self._scorer.job, self._source)
            self._shards = enumerate(_shards(self._rows, self._scorer.job.shard_rows))
        self._next = index + 1
        return next(shard for number, shard in self._shards if number == index)


def _given(job: Job) -> dict[str, Any]:
    return {
        field.name: getattr(job, field.name)
        for field in fields(job)
        if field.name not in ("columns", "form")
    }


def _on_ray(job: Job, source: Path, out: Path, missing: list[int], workers: int) -> Iterator[int]:
    """Let workers write the missing shards, and yield the number of each that is whole."""
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        scored = ray.data.from_items([{"shard": index} for index in missing]).map_batches(
            RayScorer,
            fn_constructor_args=(job, source, out),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(missing))),
        )
        for row in scored.iter_rows():
            yield row["shard"]
    finally:
        if started:
            ray.shutdown()
