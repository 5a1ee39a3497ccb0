"""The loop of SetFit, cloze and pretraining: rates, AdamW's groups, evaluations, early stops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from reptune import training
from reptune.training import EarlyStopping, Loop, adamw, evaluation_steps, rate_share

cheap = settings(max_examples=100, deadline=None, database=None)


# --- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schedule", "warmup", "shares"), [
    # Five steps. A warm-up of 0.1 rounds up to one step.
    ("linear", 0.0, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
    ("linear", 0.1, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
    ("linear", 0.4, [1 / 2, 1, 3 / 4, 2 / 4, 1 / 4]),
    ("linear", 1.0, [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]),
    ("held", 0.0, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
    ("held", 0.1, [1, 1, 3 / 4, 2 / 4, 1 / 4]),
    ("held", 0.4, [1 / 2, 1, 1, 2 / 3, 1 / 3]),
    ("held", 1.0, [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]),
    ("from_zero", 0.0, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
    ("from_zero", 0.1, [0, 1, 3 / 4, 2 / 4, 1 / 4]),
    ("from_zero", 0.4, [0, 1 / 2, 1, 2 / 3, 1 / 3]),
    ("from_zero", 1.0, [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5]),
])  # fmt: skip
def test_the_rate_by_hand(schedule, warmup, shares):
    found = [rate_share(step, 5, warmup, schedule) for step in range(1, 6)]
    assert found == pytest.approx(shares)


@given(st.integers(1, 60), st.floats(0, 1))
@cheap
def test_from_zero_is_the_library_s_schedule(num_steps, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(warmup * num_steps), num_steps)
    for step in range(1, num_steps + 1):
        assert rate_share(step, num_steps, warmup, "from_zero") == schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()


@given(st.integers(1, 60), st.floats(0, 1), st.sampled_from(["linear", "held"]))
@cheap
def test_each_step_trains_and_one_has_the_peak(num_steps, warmup, schedule):
    shares = [rate_share(step, num_steps, warmup, schedule) for step in range(1, num_steps + 1)]
    assert all(0 < share <= 1 for share in shares) and max(shares) == 1
    peak = shares.index(1)
    assert shares[:peak] == sorted(shares[:peak])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)


@pytest.mark.parametrize(("step", "warmup", "message"), [
    (0, 0.1, "step=0 of 5; use 1 to 5"), (6, 0.1, "step=6 of 5"), (1, 1.5, "warmup=1.5"),
])  # fmt: skip
def test_what_is_no_step(step, warmup, message):
    with pytest.raises(ValueError, match=message):
        rate_share(step, 5, warmup)


# --- AdamW ---------------------------------------------------------------------------------------


def test_adamw_decays_what_the_library_decays(tiny_encoder, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    model.bert.embeddings.requires_grad_(False)
    trainer = Trainer(model, TrainingArguments(str(tmp_path), use_cpu=True, report_to="none"))
    decayed = set(trainer.get_decay_parameter_names(model))
    names = {parameter: name for name, parameter in model.named_parameters()}
    first, second = adamw(model, 1e-3, 0.3).param_groups
    assert (first["weight_decay"], second["weight_decay"], first["lr"]) == (0.3, 0.0, 1e-3)
    found = [{names[parameter] for parameter in group["params"]} for group in (first, second)]
    open_names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert found[0] == decayed & open_names and found[1] == open_names - decayed
    assert found[0] and found[1]


# --- the loop ------------------------------------------------------------------------------------


class Line(nn.Module):
    """One weight; the loss of a step is the weight times a slope."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def loop(model, num_steps=5, **changes):
    options = {"learning_rate": 0.1, "weight_decay": 0.0, "warmup": 0.0} | changes
    return Loop(model, num_steps=num_steps, **options)


def test_the_loop_takes_adamw_steps_at_the_schedule_s_rates():
    model, reference = Line(), Line()
    history = loop(model, warmup=0.4).run(lambda step: (model.weight * step).sum())
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.1, weight_decay=0.0)
    losses = []
    for step, share in zip(range(1, 6), [1 / 2, 1, 3 / 4, 2 / 4, 1 / 4], strict=True):
        optimizer.param_groups[0]["lr"] = 0.1 * share
        loss = (reference.weight * step).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append({"step": step, "loss": loss.item()})
    torch.testing.assert_close(model.weight, reference.weight)
    assert [record["step"] for record in history] == [1, 2, 3, 4, 5]
    assert [r["loss"] for r in history] == pytest.approx([r["loss"] for r in losses])


@pytest.mark.parametrize(("num_steps", "evaluations", "steps"), [
    (10, 5, {2, 4, 6, 8, 10}), (10, 3, {4, 7, 10}), (3, 10, {1, 2, 3}), (1, 1, {1}),
])  # fmt: skip
def test_evaluations_are_spread_and_the_last_step_has_one(num_steps, evaluations, steps):
    assert evaluation_steps(num_steps, evaluations) == steps


def test_callbacks_get_each_record_as_it_comes():
    model, seen, told = Line(), [], []
    trained = loop(model, num_steps=3, callbacks=[seen.append, lambda r: told.append(len(seen))])
    history = trained.run(
        lambda step: model.weight.sum(), evaluate=lambda: {"eval_accuracy": 0.5}, looks={2, 3}
    )
    assert seen == history and told == [1, 2, 3, 4, 5]
    assert [set(record) for record in history] == [
        {"step", "loss"}, {"step", "loss"}, {"step", "eval_accuracy"},
        {"step", "loss"}, {"step", "eval_accuracy"},
    ]  # fmt: skip


def test_a_callback_that_raises_stops_the_loop():
    model = Line()

    def refuse(record):
        raise RuntimeError("enough")

    trained = loop(model, callbacks=[refuse])
    with pytest.raises(RuntimeError, match="enough"):
        trained.run(lambda step: model.weight.sum())
    assert trained.step == 1


@pytest.mark.parametrize(("patience", "steps_taken", "kept"), [(1, 3, 2), (2, 4, 2), (None, 6, 6)])
def test_patience_runs_out_and_the_best_weights_come_back(patience, steps_taken, kept):
    """The score rises until the second step; without patience, nothing is kept or restored."""
    model, scores, weights = Line(), iter([0.1, 0.9, 0.8, 0.9, 0.2, 0.3]), []

    def evaluate():
        weights.append(model.weight.item())
        return {"eval_accuracy": next(scores)}

    trained = loop(model, num_steps=6)
    trained.run(
        lambda step: model.weight.sum(), evaluate=evaluate, looks=set(range(1, 7)),
        patience=patience,
    )  # fmt: skip
    assert trained.step == steps_taken
    assert model.weight.item() == weights[kept - 1]


def test_a_lower_error_can_be_the_better_one():
    model, errors, weights = Line(), iter([0.9, 0.1, 0.5, 0.5]), []

    def evaluate():
        weights.append(model.weight.item())
        return {"eval_error": next(errors)}

    loop(model, num_steps=4).run(
        lambda step: model.weight.sum(), evaluate=evaluate, looks={1, 2, 3, 4}, patience=2,
        criterion="eval_error", greater_is_better=False,
    )  # fmt: skip
    assert len(weights) == 4 and model.weight.item() == weights[1]


def test_early_stopping_keeps_what_trains():
    model = nn.Linear(2, 2)
    model.bias.requires_grad = False
    stopper = EarlyStopping(model, patience=1)
    assert not stopper.should_stop(0.5)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
        model.bias += 1
    moved = model.bias.clone()
    assert stopper.should_stop(0.5), "no better score"
    assert stopper.should_stop(float("nan"))
    stopper.restore()
    assert torch.equal(model.weight, before) and torch.equal(model.bias, moved)


# --- the library's trainer, watched --------------------------------------------------------------


def fine_tuned(tiny_encoder, folder, watch_options, evaluates=False, num_epochs=4):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    items = [{"input_ids": [2, 5 + n, 3], "labels": n % 2} for n in range(8)]
    arguments = training.training_arguments(
        folder, len(items), num_epochs=num_epochs, learning_rate=1e-3, batch_size=4,
        weight_decay=0.0, warmup=0.0, random_state=0, device=torch.device("cpu"),
        half_precision=False, evaluation_batch_size=4 if evaluates else None,
    )  # fmt: skip
    watch = training.Watch(model, **watch_options)
    records = training.fine_tune(
        model, arguments, watch, train_dataset=items, eval_dataset=items if evaluates else None,
        compute_metrics=lambda prediction: {"accuracy": 0.25},
    )  # fmt: skip
    return model, records


def test_a_watch_records_losses_and_the_library_s_evaluations(tiny_encoder, tmp_path):
    seen = []
    _, records = fine_tuned(
        tiny_encoder, tmp_path, {"callbacks": [seen.append]}, evaluates=True, num_epochs=2
    )
    assert records == seen
    assert [list(record) for record in records] == 2 * [
        ["step", "epoch", "loss"], ["step", "epoch", "loss"],
        ["step", "epoch", "eval_loss", "eval_accuracy"],
    ]  # fmt: skip
    assert [record["step"] for record in records] == [1, 2, 2, 3, 4, 4]
    assert [record["epoch"] for record in records] == [0.5, 1, 1, 1.5, 2, 2]
    assert records[2]["eval_accuracy"] == 0.25


def test_a_watch_stops_and_returns_to_the_best_epoch(tiny_encoder, tmp_path):
    scores = iter([0.3, 0.8, 0.8, 0.1])
    kept = []

    def evaluate():
        kept.append(watched["model"].classifier.weight.detach().clone())
        return {"eval_f1": next(scores)}

    watched = {}
    original = training.Watch.__init__

    def noting(self, model, **options):
        watched["model"] = model
        original(self, model, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Watch, "__init__", noting)
        model, records = fine_tuned(
            tiny_encoder, tmp_path, {"patience": 1, "criterion": "eval_f1", "evaluate": evaluate}
        )
    assert [record["eval_f1"] for record in records if "eval_f1" in record] == [0.3, 0.8, 0.8]
    assert torch.equal(model.classifier.weight, kept[1]) and not torch.equal(kept[1], kept[2])


def test_the_device_asked_for_is_the_one_that_trains(tmp_path):
    arguments = training.training_arguments(
        tmp_path, 8, num_epochs=1, learning_rate=1e-3, batch_size=4, weight_decay=0.0, warmup=0.5,
        random_state=3, device=torch.device("cpu"), half_precision=False,
    )  # fmt: skip
    assert arguments.device == torch.device("cpu") and arguments.use_cpu and arguments.seed == 3
    assert not arguments.dataloader_pin_memory and arguments.eval_strategy == "no"
    assert (arguments.logging_steps, arguments.warmup_steps) == (1, 0.5)


def test_half_precision_is_for_the_machine_s_accelerator(monkeypatch):
    monkeypatch.setattr(training.options.runtime, "device", lambda: torch.device("cuda"))
    assert "half_precision" in training.options_on(torch.device("cuda", 1), True)
    assert "half_precision" not in training.options_on(torch.device("cpu"), True)
    assert training.options_on(torch.device("cpu"), ("cheap_dropout",)) == {"cheap_dropout"}
