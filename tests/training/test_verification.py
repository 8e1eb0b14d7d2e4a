"""Training compares its first step with the plain program, and stops where a kernel is wrong."""

import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
from small_runs import QUIET, Model, new, state_bytes

import graphgrad as gg
from graphgrad.checks.agreement import compare_program
from graphgrad.errors import EnvironmentLimitError, NonFiniteError, PassError
from graphgrad.ops.rules import elementwise
from graphgrad.tools.main import main
from graphgrad.training import verification
from graphgrad.training.runs import create_run
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task, load_model
from graphgrad.training.trainer import train
from graphgrad.training.verification import verify_first_step

WIDTH = 128

wrong = elementwise(
    "wrong",
    "x / 2",
    "{0} * 0.52",  # not what `compute` says
    compute=lambda xp, out, x: xp.multiply(x, 0.5, out=out),
    delta=lambda delta, y, x: (delta * 0.5,),
    delta_formula="δ / 2",
)
infinite = elementwise(
    "infinite",
    "x",
    "{0} / 0.0",
    compute=lambda xp, out, x: xp.copyto(out, x),
    delta=lambda delta, y, x: (delta,),
    delta_formula="δ",
)


@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 2
    batch_size: int = 64
    warmup: int = 0


class WideModel:
    """A layer of 64 × 128 elements: what its kernel is made of is the test's."""

    Settings = Settings

    def __init__(self, operation):
        self.operation = operation

    def task(self, settings, files):
        x = gg.input("x", ("batch", WIDTH), settings.dtype)
        w = gg.parameter("w", (WIDTH, WIDTH), gg.normal(0.1), settings.dtype)
        z = gg.tanh(self.operation(gg.matmul(x, w, name="a"), name="half"), name="z")
        loss = gg.mean(z * z, name="loss")

        def feeds(step):
            shape = settings.batch_size, WIDTH
            return {"x": np.random.default_rng(step).normal(size=shape).astype(settings.dtype)}

        return Task(gg.Graph({"loss": loss}), feeds, lambda state: {"loss": 0.0, "examples": 1})


def run_of(operation, path, **values):
    model = WideModel(operation)
    return create_run(load_model("wide", {"wide": model}), Settings(**values), path)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("operation", [wrong, infinite])
def test_a_wrong_kernel_stops_the_run_before_its_first_step_and_is_named(operation, tmp_path):
    run = run_of(operation, tmp_path / "run")
    before = state_bytes(run.state)
    with pytest.raises(PassError, match="the program that trains is wrong") as error:
        train(run, progress=QUIET())
    assert "kernel_" in error.value.problem and "by the reference" in error.value.problem
    assert error.value.where.startswith(__file__) and "fuse=false" in error.value.fix
    assert state_bytes(run.state) == before and run.folder.metrics() == []
    assert [path.name for path in run.folder.checkpoints.glob("step-*")] == ["step-000000000"]


def test_the_figures_that_differ_are_told(tmp_path):
    with pytest.raises(PassError, match=r"loss 0\.\d+ and not 0\.\d+, gradient_norm "):
        train(run_of(wrong, tmp_path / "run"), progress=QUIET())


def test_the_plain_program_trains_what_the_kernel_does_not(tmp_path):
    run = run_of(wrong, tmp_path / "run", fuse=False)
    assert train(run, progress=QUIET(), verify=True).ending == "finished"


def test_what_costs_too_much_is_compared_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "SECONDS", 0.0)
    assert train(run_of(wrong, tmp_path / "run"), progress=QUIET()).ending == "finished"
    with pytest.raises(PassError):
        train(run_of(wrong, tmp_path / "other"), progress=QUIET(), verify=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_comparing_changes_no_byte_of_a_run(dtype, tmp_path, monkeypatch):
    compared = run_of(gg.gelu, tmp_path / "compared", dtype=dtype)
    train(compared, progress=QUIET(), verify=True)
    log = (compared.folder.path / "log.txt").read_text(encoding="utf-8")
    assert "the first step has the loss and gradient norm of the plain program" in log
    monkeypatch.setattr(verification, "SECONDS", 0.0)
    other = run_of(gg.gelu, tmp_path / "other", dtype=dtype)
    train(other, progress=QUIET())
    assert state_bytes(compared.state) == state_bytes(other.state)


def test_where_the_reference_differs_nowhere_it_was_rounding(tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "TOLERANCES", {4: -1.0})
    run = run_of(gg.gelu, tmp_path / "run")
    train(run, progress=QUIET())
    assert "by rounding" in (run.folder.path / "log.txt").read_text(encoding="utf-8")


def test_a_first_step_that_rightly_is_not_finite_is_told_as_that(tmp_path):
    model = Model()
    model.before_step = lambda step, feeds: feeds["x"].fill(np.nan)
    with pytest.raises(NonFiniteError, match=r"step 1: the value x .* NaN"):
        train(new(model, tmp_path / "run"), progress=QUIET(), verify=True)


def test_too_little_memory_for_two_programs_is_no_reason_not_to_train(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise EnvironmentLimitError("too little memory")

    run = run_of(gg.gelu, tmp_path / "run")
    compiled = gg.compile(run.graph, guards=("loss", "gradient_norm"), fuse=True)
    monkeypatch.setattr(verification, "_figures", refuse)
    feeds = run.task.feeds(0)
    assert verify_first_step(compiled, feeds, run.state) == ""
    with pytest.raises(EnvironmentLimitError):
        verify_first_step(compiled, feeds, run.state, always=True)


def test_the_command_says_that_it_compared(tmp_path):
    folder = tmp_path / "run"
    small = ["--set", "steps=2", "--set", "checkpoint_every=2"]
    assert main(["train", "feedforward", "--run", str(folder), "--verify", *small]) == 0
    assert "of the plain program" in (folder / "log.txt").read_text(encoding="utf-8")


def test_the_node_that_is_named_is_the_one_that_the_reference_finds(tmp_path):
    run = run_of(wrong, tmp_path / "run")
    compiled = gg.compile(run.graph, guards=("loss", "gradient_norm"), fuse=True)
    found = compare_program(compiled, run.task.feeds(0), run.state).difference
    with pytest.raises(PassError) as error:
        verify_first_step(compiled, run.task.feeds(0), run.state)
    assert error.value.problem.endswith(str(found)) and error.value.where == found.origin
    right = run_of(gg.gelu, tmp_path / "right")
    compiled = gg.compile(replace(right).graph, fuse=True)
    assert compare_program(compiled, right.task.feeds(0), right.state).difference is None
