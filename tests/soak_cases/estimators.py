"""Saves, loads and fits that are killed, interrupted, or given damaged folders."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from seqeval.metrics import f1_score, precision_score, recall_score

from reptune import metrics
from reptune.book import results
from reptune.estimator import SavedEstimator
from reptune.pretraining import continue_pretraining
from tests import tiny
from tests.contract.cases import CASES, Case, save_models

Cases = Iterator[tuple[str, Callable[[], None]]]

MANIFEST = "reptune.json"
LOAD_SECONDS = 10.0  # a tiny model loads in a tenth of a second; a bomb never ends
WAYS = ("flip", "flip", "cut", "delete", "append", "zero", "swap", "plant")
# Files that the libraries look for, so that one which was not saved could change what is loaded.
PLANTED = (
    "adapter_config.json", "adapter_model.safetensors", "added_tokens.json", "chat_template.jinja",
    "generation_config.json", "model.safetensors.index.json", "modules.json", "params.json",
    "special_tokens_map.json", "tokenizer.model", "tokenizer_config.json", "vocab.txt",
    "sentence_bert_config.json", "config_sentence_transformers.json", "preprocessor_config.json",
    "pytorch_model.bin", "consolidated.safetensors", "processor_config.json",
)  # fmt: skip
STRANGE = (
    None, True, 0, -1, 1, 2.5, 1e308, 10**9, 10**30, "", "x", "../x", "\x00", [], {}, [1], [[]],
    {"a": 1}, "NaN", float("nan"), float("inf"),
)  # fmt: skip


# --- folders, changed on purpose -----------------------------------------------------------------


def reseal(folder: Path) -> None:
    """Write the files' hashes anew, as whoever changes a file on purpose can."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    for value in manifest.values():
        if isinstance(value, dict):
            for name, old in value.items():
                if isinstance(old, str) and len(old) == 64 and (folder / name).is_file():
                    value[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest), "utf-8")


def set_config(folder: Path, **changes: Any) -> None:
    """Change a model's configuration, with hashes that fit."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    reseal(folder)


def damage_weights(folder: Path, value: float) -> None:
    """Put `value` into the largest weight, with hashes that fit."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    largest = max(weights, key=lambda name: weights[name].numel())
    weights[largest].view(-1)[0] = value
    save_file(weights, path, metadata={"format": "pt"})
    reseal(folder)


# --- the world of a soak -------------------------------------------------------------------------


class World:
    """Tiny models, fitted estimators and saved folders, made once.

    Args:
        root: A folder to make them in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = save_models(root / "models")
        self.cases = CASES
        self._fitted: dict[tuple[str, int], Any] = {}
        self._masters: dict[str, Path] = {}
        self._pretrained: bytes | None = None

    def fitted(self, case: Case, version: int = 0) -> Any:
        """One of two fitted estimators of a case, which predict differently."""
        key = case.name, version
        if key not in self._fitted:
            inputs, targets = case.inputs, case.targets
            if version:
                inputs, targets = inputs[2:], targets[2:]
            self._fitted[key] = case.new(self.models).fit(inputs, targets)
        return self._fitted[key]

    def master(self, case: Case) -> Path:
        """A saved folder of the first of them, to be copied."""
        if case.name not in self._masters:
            name = case.name.replace(" ", "_").replace(",", "")
            self._masters[case.name] = self.fitted(case).save(self.root / "masters" / name)
        return self._masters[case.name]

    def pretrained(self) -> bytes:
        """The weights of a continued pretraining that nothing has interrupted."""
        if self._pretrained is None:
            _pretrain(self, self.root / "pretrained")
            self._pretrained = (self.root / "pretrained" / "model.safetensors").read_bytes()
        return self._pretrained

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh folder, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            yield Path(folder)


def _same(case: Case, estimator: Any, other: Any) -> bool:
    """Whether two estimators give the same bits and labels."""
    one, two = case.output(estimator), case.output(other)
    if one.shape != two.shape or not np.array_equal(one, two):
        return False
    inputs = case.new_inputs
    return bool(np.array_equal(np.hstack(estimator.predict(inputs)),
                               np.hstack(other.predict(inputs))))  # fmt: skip


# --- kills ---------------------------------------------------------------------------------------


def killed(work: Callable[[], Any], delay: float, number: int = signal.SIGKILL) -> None:
    """Run `work` in a forked child and send it a signal after `delay` seconds.

    Args:
        work: What the child does; it may end by itself.
        delay: Seconds; with `number=0`, which is no signal, how long it may take.
        number: The signal.

    Raises:
        AssertionError: If the child ends by an error, or did not end when it had to.
    """
    with tempfile.TemporaryFile("w+") as said:
        # Kept back until the child is ready: an interrupt in the midst of a fork would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = os.fork()
        if child == 0:
            _run_child(work, said)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        status = _end_of(child, delay, number)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            said.seek(0)
            raise AssertionError(f"the child failed instead of stopping: {said.read()[-1500:]}")


def _end_of(child: int, delay: float, number: int) -> int:
    """Wait, send the signal, and return how the child ended."""
    until = time.monotonic() + delay
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(min(0.0005 if number else 0.01, max(0.0, until - time.monotonic())))
    if not number:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError(f"no end in {delay} s")
    while True:  # again, for an interrupt inside a destructor is printed and forgotten
        os.kill(child, number)
        for _ in range(1000):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            time.sleep(0.001)


def _run_child(work: Callable[[], Any], said: Any) -> None:
    """Work until the interrupt; never return."""
    status = 0
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = sys.stderr = said  # an interrupt inside a destructor is printed there
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        work()
    except KeyboardInterrupt:
        pass
    except BaseException:
        traceback.print_exc(file=said)
        said.flush()
        status = 3
    finally:
        os._exit(status)


def _forever(call: Callable[[int], Any]) -> Callable[[], None]:
    def loop() -> None:
        turn = 0
        while True:
            call(turn)
            turn += 1

    return loop


def _only_the_model(folder: Path) -> None:
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["model"], f"litter after the next save: {left}"


def save_kill_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill saves at random moments; the old or the new model must load, and litter be swept."""
    for _ in range(count):
        case, delay = rng.choice(world.cases), rng.uniform(0, 0.15)

        def check(case: Case = case, delay: float = delay) -> None:
            both = [world.fitted(case, version) for version in (0, 1)]
            with world.folder() as folder:
                both[1].save(folder / "model")
                killed(_forever(lambda turn: both[turn % 2].save(folder / "model")), delay)
                loaded = case.kind.load(folder / "model")
                assert any(_same(case, loaded, one) for one in both), "neither old nor new"
                both[0].save(folder / "model")
                _only_the_model(folder)
                assert _same(case, case.kind.load(folder / "model"), both[0])

        yield f"save of {case.name} killed after {delay:.4f} s", check


class Note(SavedEstimator):
    """The least that can be saved, so that nearly all of the time goes into the folder."""

    _FILES = ("note.json",)

    def __init__(self, model: str = "none") -> None:
        self.model = model

    def fit(self, texts: Any, labels: Any) -> Note:
        """Keep a number."""
        self.number_, self.classes_ = int(labels), np.array([0, 1])
        return self

    def _write(self, folder: Path) -> None:
        (folder / "note.json").write_text(json.dumps([self.number_] * 50))

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        numbers = json.loads((folder / "note.json").read_text())
        if len(numbers) != 50 or len(set(numbers)) != 1:
            raise ValueError(f"torn: {numbers}")
        self.number_ = numbers[0]


def write_kill_cases(
    rng: random.Random, count: int, world: World, number: int = signal.SIGKILL
) -> Cases:
    """Stop a tight loop of saves by a signal: the last or the one before must load."""
    for _ in range(count):
        delay = rng.uniform(0, 0.03)

        def check(delay: float = delay) -> None:
            with world.folder() as folder:
                Note().fit(None, -1).save(folder / "model")
                killed(
                    _forever(lambda turn: Note().fit(None, turn).save(folder / "model")),
                    delay, number,
                )  # fmt: skip
                assert Note.load(folder / "model").number_ >= -1
                Note().fit(None, 7).save(folder / "model")
                _only_the_model(folder)
                assert Note.load(folder / "model").number_ == 7

        yield f"tight saves, signal {number} after {delay:.5f} s", check


def load_kill_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill a load, sometimes of a folder that a killed save has left."""
    for _ in range(count):
        case = rng.choice(world.cases)
        first, second = rng.uniform(0, 0.05), rng.uniform(0, 0.05)

        def check(case: Case = case, first: float = first, second: float = second) -> None:
            estimator = world.fitted(case)
            with world.folder() as folder:
                estimator.save(folder / "model")
                killed(_forever(lambda _: estimator.save(folder / "model")), first)
                killed(_forever(lambda _: case.kind.load(folder / "model")), second)
                assert _same(case, case.kind.load(folder / "model"), estimator)

        yield f"load of {case.name} killed after {second:.4f} s", check


def fit_kill_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill a fit that saves at its end: what is saved is the old model, or the new."""
    for _ in range(count):
        case, delay = rng.choice(world.cases), rng.uniform(0, 0.6)

        def check(case: Case = case, delay: float = delay) -> None:
            old = world.fitted(case)
            with world.folder() as folder:
                old.save(folder / "model")

                def work() -> None:
                    inputs, targets = case.inputs[2:], case.targets[2:]
                    case.new(world.models).fit(inputs, targets).save(folder / "model")

                killed(work, delay)
                loaded = case.kind.load(folder / "model")
                new = world.fitted(case, 1)
                assert _same(case, loaded, old) or _same(case, loaded, new)

        yield f"fit of {case.name} killed after {delay:.3f} s", check


def append_kill_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill appends to a study's records: what was acknowledged is there, whole and once."""
    record = {
        "study": "soak", "method": "m", "task": "t", "model": "none", "labels": 1,
        "split": "test", "metrics": {"accuracy": 0.5}, "seconds": {"fit": 1.0},
        "peak_memory_mb": 1,
    }  # fmt: skip
    for _ in range(count):
        delay, size = rng.uniform(0, 0.08), rng.randint(1, 3)

        def check(delay: float = delay, size: int = size) -> None:
            def add(turn: int) -> None:
                results.append_all(
                    [{**record, "random_state": turn, "part": part} for part in range(size)],
                    Path(__file__),
                )
                (folder / "known").write_text(str(turn))

            with world.folder() as folder, _environment("REPTUNE_RESULTS", str(folder)):
                killed(_forever(add), delay)
                said = (folder / "known").read_text() if (folder / "known").exists() else ""
                rows = results.read("soak")
                turns = rows["random_state"].tolist() if len(rows) else []
                whole = sorted(set(turns))
                assert whole == list(range(len(whole))), f"a hole: {whole}"
                assert len(turns) == size * len(whole), "a job is there in part"
                assert len(whole) >= (int(said) + 1 if said else 0), "an acknowledged one is lost"
                add(len(whole))
                assert len(results.read("soak")) == size * (len(whole) + 1)

        yield f"results.append of {size} killed after {delay:.4f} s", check


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


# --- interrupts ----------------------------------------------------------------------------------


def interrupted_fit_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Interrupt a fit of a fitted estimator at a random moment: it stays as it was."""
    for _ in range(count):
        case, delay = rng.choice(world.cases), rng.uniform(1e-4, 0.4)

        def check(case: Case = case, delay: float = delay) -> None:
            own = copy.deepcopy(world.fitted(case))
            fields = dict(vars(own))
            with world.folder() as folder, _temporary_files_in(folder):
                try:
                    with _interrupt(delay):
                        own.fit(case.inputs[2:], case.targets[2:])
                    expected = world.fitted(case, 1)
                except KeyboardInterrupt:
                    expected = world.fitted(case)
                    assert vars(own).keys() == fields.keys(), "fields came or went"
                    assert all(vars(own)[name] is value for name, value in fields.items())
                left = [path.name for path in folder.iterdir()]
                assert not left, f"temporary files left: {left}"
            assert _same(case, own, expected)

        yield f"fit of {case.name} interrupted after {delay:.4f} s", check


@contextlib.contextmanager
def _interrupt(delay: float) -> Iterator[None]:
    """Raise a `KeyboardInterrupt` inside the block after `delay` seconds, if it lasts so long."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before, gradients = signal.signal(signal.SIGALRM, interrupt), torch.is_grad_enabled()
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        # An interrupt within PyTorch's own `no_grad` can leave gradients off for the whole process.
        torch.set_grad_enabled(gradients)


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


# --- damaged folders -----------------------------------------------------------------------------


class TooSlow(BaseException):
    """A load that does not answer; no `except Exception` takes it for a damaged file."""


def load_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Load folders with a random change: refused by a `ValueError`, or the same model.

    Half of the changes to configurations come with hashes that fit; then another model may come
    out, but no raw error.
    """
    for number in range(count):
        case, seed = rng.choice(world.cases), rng.randrange(2**31)

        def check(case: Case = case, seed: int = seed) -> None:
            own = random.Random(seed)
            with world.folder() as root:
                folder = shutil.copytree(world.master(case), root / "model")
                said, sealed = _mutate(own, folder, world)
                _load_or_refuse(case, folder, world.fitted(case), said, sealed)

        yield f"load {number} of {case.name}, seed {seed}", check


def _load_or_refuse(case: Case, folder: Path, original: Any, said: str, sealed: bool) -> None:
    try:
        with _time_limit(LOAD_SECONDS):
            loaded = case.kind.load(folder)
            output = case.output(loaded)
    except (ValueError, FileNotFoundError) as error:
        assert str(error), f"{said}: an error without words"
        return
    except TooSlow:
        raise AssertionError(f"{said}: no answer in {LOAD_SECONDS} s") from None
    except BaseException as error:
        raise AssertionError(f"{said}: raw {type(error).__name__}: {error}") from error
    if sealed:
        assert np.isfinite(output).all(), f"{said}: it predicts NaN"
        return
    assert _same(case, loaded, original), f"{said}: loads silently, and predicts something else"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _mutate(rng: random.Random, folder: Path, world: World) -> tuple[str, bool]:
    """Change one file; say how, and whether the hashes fit the change."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    if path.suffix == ".json" and rng.random() < 0.6:
        said = _mutate_json(rng, path)
        sealed = path.name != MANIFEST and rng.random() < 0.5
        if sealed:
            reseal(folder)
        return f"{path.name}: {said}{' (sealed)' if sealed else ''}", sealed
    content = bytearray(path.read_bytes())
    way = rng.choice(WAYS)
    place = rng.randrange(max(1, len(content)))
    if way == "flip" and content:
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif way == "cut":
        path.write_bytes(content[:place])
    elif way == "append":
        path.write_bytes(bytes(content) + rng.randbytes(rng.randint(1, 40)))
    elif way == "zero":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
        path.write_bytes(content)
    elif way == "plant":
        return _plant(rng, folder, world), False
    elif way == "swap":
        other = world.master(rng.choice(world.cases)) / path.name
        if other.is_file():
            shutil.copyfile(other, path)
    else:
        path.unlink()
    return f"{path.name}: {way} at {place}", False


def _plant(rng: random.Random, folder: Path, world: World) -> str:
    """Add a file that a library may look for: another model's, or some JSON."""
    name = rng.choice(PLANTED)
    if (folder / name).exists():
        name = f"other_{name}"
    other = world.master(rng.choice(world.cases)) / name
    if other.is_file():
        shutil.copyfile(other, folder / name)
    else:
        content = {
            "weight_map": {"x": "../x.safetensors"}, "base_model_name_or_path": "x",
            "peft_type": "LORA", "model_max_length": 4, "[CLS]": 7, "pad_token": "good",
            "max_seq_length": 3, "do_lower_case": False,
        }  # fmt: skip
        (folder / name).write_text(json.dumps(content), "utf-8")
    return f"{name} planted"


def _mutate_json(rng: random.Random, path: Path) -> str:
    """Replace, remove or add a value somewhere in a JSON file."""
    content = json.loads(path.read_text("utf-8"))
    places = list(_places(content))
    strange = rng.choice(STRANGE)
    if not places or rng.random() < 0.05:
        path.write_text(json.dumps(strange), "utf-8")
        return f"all of it {strange!r}"
    holder, key = rng.choice(places)
    way = rng.choice(("replace", "replace", "remove", "add"))
    if way == "replace":
        holder[key] = strange
    elif way == "remove":
        del holder[key]
    elif isinstance(holder, dict):
        key = "unheard_of"
        holder[key] = strange
    else:
        holder.append(strange)
    path.write_text(json.dumps(content), "utf-8")
    return f"{way} {key!r} with {strange!r}"


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value: what holds it, and its key there."""
    if isinstance(content, dict | list):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield content, key
            yield from _places(content[key])


# --- the same again ------------------------------------------------------------------------------


def determinism_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Fit, copy, pickle, save and load: the same bits every time, in a forked process, too."""
    for _ in range(count):
        case = rng.choice(world.cases)
        way = rng.choice(("fit", "pickle", "deepcopy", "save", "fork") * 8 + ("hash seed",))

        def check(case: Case = case, way: str = way) -> None:
            first = world.fitted(case)
            with world.folder() as folder:
                again = _again(case, way, first, folder, world)
                assert _same(case, again, first), f"other bits after {way}"

        yield f"{case.name}, {way}", check


def _again(case: Case, way: str, first: Any, folder: Path, world: World) -> Any:
    if way == "pickle":
        return pickle.loads(pickle.dumps(first))
    if way == "deepcopy":
        return copy.deepcopy(first)
    if way == "save":
        return case.kind.load(first.save(folder / "model"))
    if way == "fit":
        np.random.seed(None)
        return case.new(world.models).fit(case.inputs, case.targets)
    if way == "fork":
        fit = case.new(world.models).fit
        killed(lambda: fit(case.inputs, case.targets).save(folder / "model"), 120, number=0)
    else:
        _fit_with_another_hash_seed(case, folder / "model", world)
    return case.kind.load(folder / "model")


def _fit_with_another_hash_seed(case: Case, folder: Path, world: World) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.contract.cases import CASES; "
        "import torch; torch.set_num_threads(1); "
        "case = next(case for case in CASES if case.name == sys.argv[1]); "
        "models = {case.model: Path(sys.argv[2])}; "
        "case.new(models).fit(case.inputs, case.targets).save(sys.argv[3])"
    )
    subprocess.run(
        [sys.executable, "-c", code, case.name, str(world.models[case.model]), str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "123"}, cwd=Path(__file__).parents[2], check=True,
        capture_output=True,
    )  # fmt: skip


# --- references and resumed runs -----------------------------------------------------------------


def entity_score_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Scores of random tags, against those of seqeval."""
    for _ in range(count):
        seed = rng.randrange(2**31)

        def check(seed: int = seed) -> None:
            own = random.Random(seed)
            lengths = [own.randint(2, 12) for _ in range(own.randint(1, 8))]
            gold, predicted = ([_tags(own, length) for length in lengths] for _ in range(2))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a score without an entity
                expected = [
                    score(gold, predicted, zero_division=0)
                    for score in (precision_score, recall_score, f1_score)
                ]
            found = metrics.entity_scores(gold, predicted)
            np.testing.assert_allclose(
                [found["precision"], found["recall"], found["f1"]], expected, atol=1e-12
            )

        yield f"entity scores, seed {seed}", check


def _tags(rng: random.Random, length: int) -> list[str]:
    """Valid BIO2 tags, at random."""
    tags: list[str] = []
    while len(tags) < length:
        kind = rng.choice(("PER", "LOC", "X-Y", "MISC"))
        entity = [f"B-{kind}", *[f"I-{kind}"] * rng.choice((0, 0, 1, 3))]
        tags += ["O"] if rng.random() < 0.5 else entity
    return tags[:length]


def study_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill a study again and again; when it has come to its end, each record is there once."""
    for _ in range(count):
        delays = [rng.uniform(0, 0.06) for _ in range(rng.randint(1, 4))]

        def check(delays: list[float] = delays) -> None:
            with world.folder() as folder, _environment("REPTUNE_RESULTS", str(folder)):
                for delay in delays:
                    killed(_study, delay)
                before = len(results.read(Path(__file__).stem))
                killed(_study, 60, number=0)
                rows = results.read(Path(__file__).stem)
                found = sorted(zip(rows["random_state"], rows["split"], strict=True))
                wanted = [(job, split) for job in range(JOBS) for split in ("test", "validation")]
                assert found == wanted, f"{before} before the last run, then {found}"

        yield f"study killed after {', '.join(f'{delay:.4f} s' for delay in delays)}", check


JOBS = 6


def _run_job(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for split in ("test", "validation"):
        yield {
            "split": split, "metrics": {"accuracy": 0.5}, "seconds": {"fit": 1.0},
            "peak_memory_mb": 1,
        }  # fmt: skip


def _study() -> None:
    """A study's whole run in this process, with threads for its pool of processes."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
    from shared import common

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(1)

    concurrent.futures.ProcessPoolExecutor = Pool  # this process is a forked one, soon gone
    sys.argv = [Path(__file__).stem]
    fields = {"method": "m", "task": "t", "model": "none", "labels": 1}
    jobs = [{**fields, "random_state": number} for number in range(JOBS)]
    with contextlib.suppress(SystemExit):
        common.main(__file__, jobs, _run_job)


def pretraining_kill_cases(rng: random.Random, count: int, world: World) -> Cases:
    """Kill a continued pretraining again and again; its weights are those of a run unharmed."""
    for _ in range(count):
        delays = [rng.uniform(0, 0.5) for _ in range(rng.randint(1, 3))]

        def check(delays: list[float] = delays) -> None:
            with world.folder() as folder:
                for delay in delays:
                    killed(lambda: _pretrain(world, folder / "model"), delay)
                killed(lambda: _pretrain(world, folder / "model"), 120, number=0)
                found = (folder / "model" / "model.safetensors").read_bytes()
                assert found == world.pretrained(), "other weights than without kills"
                _only_the_model(folder)

        yield f"pretraining killed after {', '.join(f'{one:.3f} s' for one in delays)}", check


def _pretrain(world: World, folder: Path) -> None:
    texts = [f"{one} {other}" for one in tiny.TEXTS for other in tiny.TEXTS[:4]]
    continue_pretraining(
        world.models["masked"], texts, folder, num_steps=12, checkpoint_steps=2, batch_size=4,
        block_size=16, random_state=0,
    )  # fmt: skip
