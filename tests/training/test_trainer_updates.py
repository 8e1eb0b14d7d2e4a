"""Updates that are not finite, and going on from an older checkpoint."""

import os

import numpy as np
import pytest
from small_runs import QUIET, STEPS, Model, again, losses, new, state_bytes

import graphgrad as gg
from graphgrad.errors import CheckpointError, NonFiniteError
from graphgrad.tools.main import main
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint
from graphgrad.training.task import Task
from graphgrad.training.trainer import train


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# ---------------------------------------------------------------- updates that are not finite

OVERFLOWING = {
    "learning_rate": 1e38,
    "schedule": "constant",
    "warmup": 0,
    "clip_norm": 0.0,
    "optimiser": "sgd",
}


def test_the_last_step_does_not_finish_with_parameters_that_are_not_finite(model, tmp_path):
    run = new(model, tmp_path / "run", steps=1, **OVERFLOWING)
    with pytest.raises(NonFiniteError, match="step 1: the next value of 'weight' is not finite"):
        train(run, progress=QUIET())
    assert np.isnan(run.state["weight"]).any() or np.isinf(run.state["weight"]).any()
    assert checkpoint_steps(run.folder.checkpoints) == (0,) and run.folder.metrics() == []
    assert not (run.folder.path / "evaluation.json").exists()
    log = (run.folder.path / "log.txt").read_text(encoding="utf-8")
    assert "step 1: the next value of 'weight' is not finite" in log and "finished" not in log


def test_no_checkpoint_holds_what_is_not_finite_and_the_run_goes_on_from_before(model, tmp_path):
    run = new(model, tmp_path / "run", steps=3, checkpoint_every=1, optimiser="sgd")
    train(run, progress=QUIET())
    run = again(model, tmp_path / "run", steps=STEPS, **OVERFLOWING)
    with pytest.raises(NonFiniteError, match="step 4: the next value of 'weight'") as error:
        train(run, progress=QUIET())
    assert "--step N" in error.value.fix and "learning_rate" in error.value.fix
    saved = load_checkpoint(run.folder.checkpoints)
    assert saved.step == 3 and all(np.isfinite(array).all() for array in saved.arrays.values())
    run = again(model, tmp_path / "run", learning_rate=1e-3)
    train(run, progress=QUIET())
    assert [line["step"] for line in run.folder.metrics()] == list(range(1, STEPS + 1))


def with_own_state(model, first, following):
    """The small model with a state of its own beside the weight."""
    task = model.task

    def changed(settings, files):
        made = task(settings, files)
        own = gg.state("own", (2,), gg.full(first))
        graph = gg.Graph(made.graph.outputs, {own: following(own)}, made.graph.names)
        return Task(graph, made.feeds, made.evaluate)

    model.task = changed
    return model


def test_a_state_of_the_models_own_may_be_infinite(model, tmp_path):
    run = new(with_own_state(model, np.inf, lambda own: gg.minimum(own, np.inf)), tmp_path / "run")
    train(run, progress=QUIET())
    assert np.isinf(load_checkpoint(run.folder.checkpoints).arrays["own"]).all()


def test_a_state_of_the_models_own_is_not_saved_as_nan(model, tmp_path):
    run = new(with_own_state(model, np.inf, lambda own: own - own), tmp_path / "run")
    with pytest.raises(NonFiniteError, match="step 4: the next value of 'own' is not finite"):
        train(run, progress=QUIET())
    assert checkpoint_steps(run.folder.checkpoints) == (0,)


# ---------------------------------------------------------------- from an older step


def test_going_on_from_an_older_step_ends_with_the_same_bytes(model, tmp_path):
    run = new(model, tmp_path / "run")
    train(run, progress=QUIET())
    state, lines = state_bytes(run.state), losses(run.folder)
    assert checkpoint_steps(run.folder.checkpoints) == (5, 10, 12)
    resumed = again(model, tmp_path / "run", step=5)
    assert resumed.step == 5
    (note,) = resumed.warnings
    assert "from step 5" in note and "10, 12" in note and "removed" in note
    assert checkpoint_steps(resumed.folder.checkpoints) == (5, 10, 12)  # nothing before it trains
    seen = []
    model.before_step = lambda number, feeds: seen.append(
        checkpoint_steps(resumed.folder.checkpoints)
    )
    train(resumed, progress=QUIET())
    assert seen[0] == (5, 10, 12) and seen[1] == (5,)  # the first is the look at the data
    assert state_bytes(resumed.state) == state and losses(resumed.folder) == lines
    log = (resumed.folder.path / "log.txt").read_text(encoding="utf-8")
    assert "discards what came after it: the checkpoints of steps 10, 12" in log


def test_stopped_right_after_going_back_the_run_is_where_it_went_back_to(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())

    def stop(step, feeds):
        if step == 7:
            raise ZeroDivisionError("planted")

    model.before_step = stop
    with pytest.raises(ZeroDivisionError):
        train(again(model, tmp_path / "run", step=5), progress=QUIET())
    model.before_step = lambda step, feeds: None
    assert again(model, tmp_path / "run").step == 5


def test_a_step_without_a_checkpoint_is_an_error_that_lists_the_others(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    with pytest.raises(CheckpointError, match="no checkpoint of step 7") as error:
        again(model, tmp_path / "run", step=7)
    assert "5, 10, 12" in error.value.fix


def test_the_newest_step_by_number_gives_up_nothing(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    assert again(model, tmp_path / "run", step=12).warnings == ()


def test_the_command_says_what_it_gives_up(tmp_path, capsys):
    folder = str(tmp_path / "run")
    small = ["--set", "steps=6", "--set", "checkpoint_every=2"]
    assert main(["train", "feedforward", "--run", folder, *small]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", folder, "--step", "4"]) == 0
    out = capsys.readouterr().out
    assert "note: resuming from step 4 discards" in out and "steps 4 to 6" in out
    assert main(["train", "feedforward", "--step", "4"]) == 2
    assert "--resume DIR --step 4" in capsys.readouterr().err
