"""The moving average of the parameters: its values, its use, and that it changes no training."""

import os

import numpy as np
import pytest
from small_runs import QUIET, Model, again, interrupt, new, state_bytes

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.errors import DeclarationError
from graphgrad.graph import initial_state
from graphgrad.training.averaging import average_run
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.moving_average import average_of
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.trainer import train

AVERAGE = average_of("weight")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def quadratic():
    w = gg.parameter("w", (3,), 2.0, "float64")
    return gg.Graph({"loss": gg.mean((w - gg.input("x", ("batch", 3), "float64")) ** 2.0)})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_averages_follow_their_formula(accumulate):
    settings = TrainingSettings(
        average_decay=0.6, learning_rate=0.1, warmup=0, accumulate=accumulate, dtype="float64"
    )
    step = training_step(quadratic(), settings)
    run, state = compile(step, fuse=True), initial_state(step)
    generator, expected, seen = np.random.default_rng(0), np.zeros(3), []
    for n in range(1, 21):
        for part in range(accumulate):
            before = state["average.w"].copy()
            run(state, x=generator.normal(size=(2, 3)))
            if part < accumulate - 1:
                np.testing.assert_array_equal(state["average.w"], before)
        keeps = min(0.6, (n - 1) / (n + 9))
        expected = keeps * expected + (1 - keeps) * state["w"]
        seen.append(keeps)
        np.testing.assert_allclose(state["average.w"], expected, rtol=1e-12)
    assert seen[0] == 0 and seen[-1] == 0.6  # the first is the parameter, the last the setting's


def test_a_run_trains_alike_and_is_measured_with_its_averages(tmp_path):
    plain = new(Model(), tmp_path / "plain", keep_last=9)
    kept = new(Model(), tmp_path / "kept", keep_last=9, average_decay=0.9)
    ends = [train(run, progress=QUIET()) for run in (plain, kept)]
    assert (plain.state["weight"] == kept.state["weight"]).all()
    assert ends[0].figures["loss"] != ends[1].figures["loss"]
    looks = [[line.get("held_out_loss") for line in run.folder.metrics()] for run in (plain, kept)]
    assert looks[0] != looks[1]
    opened = again(Model(), tmp_path / "kept")
    np.testing.assert_array_equal(opened.weights["weight"], opened.state[AVERAGE])
    assert opened.task.evaluate(opened.weights)["loss"] == ends[1].figures["loss"]
    own = again(Model(), tmp_path / "kept", use_average=False)
    assert own.task.evaluate(own.weights)["loss"] == ends[0].figures["loss"]
    start = new(Model(), tmp_path / "start", average_decay=0.9)  # before the first step: zeros
    np.testing.assert_array_equal(start.weights["weight"], start.state["weight"])
    mean = average_run(tmp_path / "kept", (5, 10), tmp_path / "mean", {"small": Model()})
    each = [load_checkpoint(kept.folder.checkpoints, step).arrays[AVERAGE] for step in (5, 10)]
    np.testing.assert_allclose(mean.weights["weight"], sum(each) / 2, rtol=1e-6)


def test_a_run_with_all_of_it_resumes_to_the_same_bytes(tmp_path):
    values = {"average_decay": 0.9, "accumulate": 3, "keep_best": 2, "schedule": "wsd"}
    whole = new(Model(), tmp_path / "whole", **values)
    train(whole, progress=QUIET())
    model = Model()
    model.before_step = lambda n, feeds: interrupt() if n == 16 else None
    run = new(model, tmp_path / "parts", **values)
    assert train(run, progress=QUIET()).ending == "interrupted"
    model.before_step = lambda n, feeds: None
    run = again(model, tmp_path / "parts")
    assert run.next_batch == 17
    train(run, progress=QUIET())
    assert state_bytes(run.state) == state_bytes(whole.state)


def test_a_model_cannot_have_a_state_of_that_name():
    x = gg.input("x", ("batch", 3))
    mine = gg.state("average.w", (3,))
    loss = gg.mean((x - gg.parameter("w", (3,)) - mine) ** 2.0)
    with pytest.raises(DeclarationError, match=r"calls a state 'average\.w'"):
        training_step(gg.Graph({"loss": loss}), TrainingSettings(average_decay=0.9))
