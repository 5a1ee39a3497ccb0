"""Device, seeds, several processes, scratch folders."""

import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from reptune import runtime
from reptune.classification import FineTunedClassifier
from tests.tiny import LABELS, TEXTS


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx2": True}, True)],
)
def test_a_cpu_uses_bf16_only_with_the_instructions_for_it(monkeypatch, instructions, expected):
    monkeypatch.setattr(runtime, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert runtime.precision() == {"bf16": expected, "fp16": False, "use_cpu": True}
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not runtime.precision()["bf16"], "an older PyTorch does not tell"


@pytest.mark.parametrize("native", [True, False])
def test_emulated_bf16_is_not_used(monkeypatch, native):
    asked = {}

    def supported(including_emulation=True):
        asked["including_emulation"] = including_emulation
        return native

    monkeypatch.setattr(runtime, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert runtime.precision() == {"bf16": native, "fp16": not native}
    assert asked == {"including_emulation": False}


def test_seeded_repeats_itself_and_restores_the_generators():
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    runtime.set_seed(0)
    first, rest = draw(), draw()
    runtime.set_seed(0)
    assert draw() == first
    with runtime.seeded(7):
        inside = draw()
    assert draw() == rest
    with runtime.seeded(7):
        assert draw() == inside


def test_seeds_may_be_numpy_s_and_bad_ones_are_named():
    def draw(seed):
        with runtime.seeded(seed):
            return random.random(), np.random.random(), torch.rand(1).item()

    assert draw(np.int64(3)) == draw(3)
    for bad in (-1, 2**32, 1.5, "3", True, np.random.RandomState(0)):
        with pytest.raises(ValueError, match="random_state="), runtime.seeded(bad):
            raise AssertionError("the block ran")


def test_threads_that_seed_take_turns():
    inside, draws = [], {}

    def work(seed):
        with runtime.seeded(seed), runtime.seeded(seed):  # a fit within a fit
            inside.append(seed)
            assert len(inside) == 1
            draws[seed] = []
            for _ in range(20):
                draws[seed].append((random.random(), np.random.random(), torch.rand(1).item()))
                time.sleep(0.001)
            inside.remove(seed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    together = dict(draws)
    for seed in range(4):
        work(seed)
    assert draws == together


@pytest.mark.parametrize("random_state", [0, None])
def test_fits_in_threads_give_what_they_give_one_after_the_other(tiny_encoder, random_state):
    """A fit without a seed reseeds the generators too, so it must wait for one that has a seed."""

    def fit(seed):
        one = FineTunedClassifier(tiny_encoder, num_epochs=3, learning_rate=5e-3, batch_size=2,
                                  fast=False, random_state=seed)  # fmt: skip
        return one.fit(TEXTS, LABELS).logits(TEXTS)

    expected = fit(1)
    with ThreadPoolExecutor(3) as pool:
        seeds = (1, random_state, 1)
        found = list(pool.map(fit, seeds))
    assert (found[0] == expected).all() and (found[2] == expected).all()


def _draws_in_a_child(queue):
    with runtime.seeded(0):
        queue.put(random.random())


def test_a_process_forked_while_another_thread_seeds_is_not_locked_out():
    fork = multiprocessing.get_context("fork")
    queue, entered, leave = fork.Queue(), threading.Event(), threading.Event()

    def hold():
        with runtime.seeded(1):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    child = fork.Process(target=_draws_in_a_child, args=(queue,))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    leave.set()
    thread.join()
    assert not alive and queue.get(timeout=5) == random.Random(0).random()


def test_rank_and_world_size_come_from_the_environment_of_a_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (runtime.rank(), runtime.world_size()) == (0, 1)
    monkeypatch.setenv("RANK", "3")  # some other program's: nothing may be left unsaved for it
    assert (runtime.rank(), runtime.world_size()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (runtime.rank(), runtime.world_size()) == (3, 4)
    monkeypatch.setenv("RANK", "third")
    with pytest.raises(ValueError, match="RANK is 'third' in the environment"):
        runtime.rank()


@pytest.mark.parametrize(("gpus", "expected"), [(1, "cuda"), (4, "cuda:2")])
def test_each_process_of_a_machine_gets_its_own_gpu(monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in (("RANK", "6"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    assert runtime.device() == torch.device(expected)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert runtime.device() == torch.device("cuda")


HOLD = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from reptune import runtime
with runtime.scratch_folder() as folder:
    (folder / "blocks").write_text("many")
    print("ready", flush=True)
    time.sleep(120)
"""


def test_the_scratch_folder_of_a_killed_process_is_swept_and_a_live_one_stays(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert [holder.stdout.readline() for holder in holders] == [b"ready\n"] * 2
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
        with runtime.scratch_folder() as folder:
            assert folder.is_dir() and not any(folder.iterdir())
            others = [path for path in tmp_path.iterdir() if path.is_dir() and path != folder]
            assert [(path / "blocks").read_text() for path in others] == ["many"]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()
    with pytest.raises(KeyboardInterrupt), runtime.scratch_folder():
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
