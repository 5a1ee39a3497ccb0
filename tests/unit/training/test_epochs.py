"""Batches over epochs, and the loop that trains on them."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reptune.training.epochs import epoch_batches, train_in_epochs

LENGTHS = [9, 2, 8, 3, 30, 31, 4]


def _settings(**changes):
    given = {
        "num_epochs": 3, "batch_size": 2, "weight_decay": 0.0, "warmup": 0.0, "patience": None,
        "callbacks": (), "random_state": 0, "show_progress": False,
    }  # fmt: skip
    return SimpleNamespace(**(given | changes))


@pytest.mark.parametrize("by_length", [False, True])
def test_each_epoch_holds_each_row_once_in_a_new_order(by_length):
    batches = epoch_batches(LENGTHS, 2, seed=0, by_length=by_length)
    epochs = [[next(batches) for _ in range(4)] for _ in range(3)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [2, 2, 2, 1]
        assert sorted(row for batch in epoch for row in batch) == list(range(len(LENGTHS)))
    assert epochs[0] != epochs[1] != epochs[2]
    again = epoch_batches(LENGTHS, 2, seed=0, by_length=by_length)
    assert [next(again) for _ in range(4)] == epochs[0]


def _train(settings, evaluate=None, fast=()):
    torch.manual_seed(0)
    layer, seen = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5)), []

    def loss_of(rows):
        assert layer.training
        seen.append(rows)
        return ((layer[0](torch.ones(len(rows), 1)) - 3.0) ** 2).mean()

    history = train_in_epochs(
        layer, LENGTHS, loss_of, settings, learning_rate=0.1, fast=fast, description="training",
        criterion="eval_loss", greater_is_better=False, evaluate=evaluate,
    )  # fmt: skip
    assert not layer.training
    return history, seen, layer


def test_the_steps_are_those_of_whole_epochs_with_a_look_after_each():
    looks = iter([3.0, 2.0, 1.0])
    history, seen, _ = _train(_settings(), lambda: {"eval_loss": next(looks)})
    assert len(seen) == 3 * math.ceil(len(LENGTHS) / 2)
    assert [row["step"] for row in history if "eval_loss" in row] == [4, 8, 12]
    for start in (0, 4, 8):
        assert sorted(row for batch in seen[start : start + 4] for row in batch) == list(range(7))


def test_patience_stops_on_a_loss_that_rises():
    looks = iter([1.0, 2.0, 3.0, 0.0])
    history, seen, _ = _train(
        _settings(num_epochs=4, patience=2), lambda: {"eval_loss": next(looks)}
    )
    assert history[-1] == {"step": 12, "eval_loss": 3.0} and len(seen) == 12


def test_a_look_that_draws_random_numbers_changes_no_training():
    plain, _, one = _train(_settings(), lambda: {"eval_loss": 0.0})
    drawing, _, two = _train(_settings(), lambda: {"eval_loss": 0 * float(torch.rand(()))})
    assert [row.get("loss") for row in plain] == [row.get("loss") for row in drawing]
    assert all(map(torch.equal, one.parameters(), two.parameters()))
