"""The training loop when something is wrong: numbers, files, the disk, processes, a signal."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import small_runs
from small_runs import (
    QUIET,
    STEPS,
    Model,
    Settings,
    again,
    at_step,
    losses,
    new,
    state_bytes,
)

from graphgrad.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    EnvironmentLimitError,
    NonFiniteError,
    UnknownNameError,
)
from graphgrad.models import transformer
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint
from graphgrad.training.checkpoint_format import STATE
from graphgrad.training.optimisers import STEP
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def whole(model, tmp_path):
    """An uninterrupted run: its last state and its metrics."""
    run = new(model, tmp_path / "whole")
    train(run, progress=QUIET())
    return state_bytes(run.state), losses(run.folder)


# ---------------------------------------------------------------- what is not finite


@pytest.fixture
def poisoned(model):
    def plant(step, feeds):
        if step == 7:
            feeds["x"][1, 2] = np.inf

    model.before_step = plant
    return model


def test_a_step_that_is_not_finite_stops_the_run_with_its_state_unchanged(poisoned, tmp_path):
    run = new(poisoned, tmp_path / "run", checkpoint_every=1)
    with pytest.raises(NonFiniteError) as error:
        train(run, progress=QUIET())
    assert error.value.problem.startswith("step 8: the value x ")
    assert "learning_rate" in error.value.fix and "clip_norm" in error.value.fix
    saved = load_checkpoint(run.folder.checkpoints)
    assert saved.step == 7
    assert state_bytes(saved.arrays) == state_bytes(run.state)
    assert len(run.folder.metrics()) == 7
    assert not (run.folder.path / "evaluation.json").exists()
    log = (run.folder.path / "log.txt").read_text(encoding="utf-8")
    assert error.value.problem in log


def test_the_failed_step_is_looked_at_once_with_its_batch_and_state(
    poisoned, tmp_path, monkeypatch
):
    seen = []

    def finding_nothing(graph, feeds, state, *others):
        seen.append((graph["optimiser.weight.next"], feeds["x"], int(state[STEP])))

    monkeypatch.setattr("graphgrad.training.stepping.first_non_finite", finding_nothing)
    run = new(poisoned, tmp_path / "run")
    with pytest.raises(NonFiniteError, match="step 8: loss is "):
        train(run, QUIET())
    assert len(seen) == 1
    assert np.isinf(seen[0][1][1, 2]) and seen[0][2] == 7


def test_the_input_that_was_planted_is_named(poisoned, tmp_path):
    run = new(poisoned, tmp_path / "run")
    with pytest.raises(NonFiniteError) as error:
        train(run, QUIET())
    assert re.match(r"step 8: the value x \[4, 3\] .*1 infinite", error.value.problem)
    assert re.match(rf"{re.escape(small_runs.__file__)}:\d+$", error.value.where)


def test_a_huge_learning_rate_names_a_node_of_the_model(model, tmp_path):
    run = new(model, tmp_path / "run", learning_rate=1e30, clip_norm=0.0, optimiser="sgd")
    with pytest.raises(NonFiniteError) as error:
        train(run, QUIET())
    assert re.match(r"step \d+: the (value|delta|next value) \w", error.value.problem)
    assert "not finite" in error.value.problem


def test_after_a_stop_the_run_goes_on_from_the_checkpoint_before(poisoned, tmp_path):
    with pytest.raises(NonFiniteError):
        train(new(poisoned, tmp_path / "run"), progress=QUIET())
    poisoned.before_step = lambda step, feeds: None
    resumed = again(poisoned, tmp_path / "run")
    assert resumed.step == 5
    train(resumed, progress=QUIET())
    assert losses(resumed.folder)[-1]["step"] == STEPS


# ---------------------------------------------------------------- damage


def damage(folder, step):
    (path,) = folder.glob(f"step-{step:09d}*")
    state = path / STATE
    state.write_bytes(state.read_bytes()[:-8])


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_note(model, tmp_path, whole):
    train(new(model, tmp_path / "run"), progress=QUIET())
    damage(tmp_path / "run" / "checkpoints", 12)
    resumed = again(model, tmp_path / "run")
    assert resumed.step == 10
    assert len(resumed.warnings) == 1 and "step-000000012 is damaged" in resumed.warnings[0]
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == whole[0]
    assert losses(resumed.folder) == whole[1]


def test_a_run_with_damaged_checkpoints_only_names_each_and_starts_nothing(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    for step in (5, 10, 12):
        damage(tmp_path / "run" / "checkpoints", step)
    with pytest.raises(CheckpointError) as error:
        again(model, tmp_path / "run")
    assert all(f"step-{step:09d}" in error.value.problem for step in (5, 10, 12))


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"size": 4}, "size (3)"),
        ({"dtype": "float64"}, "dtype (float32)"),
        ({"optimiser": "sgd", "seed": "5"}, "seed (0), optimiser (adam)"),
        ({"batch_size": "5", "steps": "99"}, "batch_size (4)"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_what_a_run_keeps_for_good_is_not_changed(model, tmp_path, values, part, begun):
    run = new(model, tmp_path / "run")
    if begun:
        train(run, progress=QUIET())
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigurationError) as error:
        again(model, tmp_path / "run", **values)
    assert f"a run keeps its {part}:" in error.value.problem
    assert "what may change: steps," in error.value.fix and "learning_rate," in error.value.fix
    assert "size" not in error.value.fix and "seed" not in error.value.fix
    assert contents(tmp_path / "run") == before
    assert again(model, tmp_path / "run", size="3", seed=0).settings.size == 3, "no change"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"model": "small", "settings": {}}',
        '{"model": 3, "settings": {}, "files": []}',
        '{"model": "small", "settings": [], "files": []}',
        '{"model": "small", "settings": {}, "files": "note.txt"}',
        '{"model": "small", "settings": {}, "files": [3]}',
        '{"model": "small", "settings": {}, "files": [], "more": 1}',
    ],
)
def test_a_damaged_configuration_is_named(model, tmp_path, text):
    run = new(model, tmp_path / "run")
    (run.folder.path / "configuration.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="damaged") as error:
        again(model, tmp_path / "run")
    assert error.value.where.endswith("configuration.json")


@pytest.mark.parametrize(
    ("part", "kind"), [({"size": "many"}, ConfigurationError), ({"sise": 3}, ConfigurationError)]
)
def test_a_wrong_setting_in_the_configuration_is_named_with_its_file(model, tmp_path, part, kind):
    run = new(model, tmp_path / "run")
    path = run.folder.path / "configuration.json"
    read = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**read, "settings": part}), encoding="utf-8")
    with pytest.raises(kind) as error:
        again(model, tmp_path / "run")
    assert error.value.where == str(path)


def test_a_run_whose_model_is_gone_says_so(model, tmp_path):
    new(model, tmp_path / "run")
    with pytest.raises(UnknownNameError, match="'small'"):
        open_run(tmp_path / "run", {"transformer": transformer})


def test_a_run_that_lacks_a_file_says_so(model, tmp_path):
    run = new(model, tmp_path / "run")
    os.unlink(run.folder.path / "note.txt")
    with pytest.raises(DataError, match=r"note\.txt is missing"):
        again(model, tmp_path / "run")


# ---------------------------------------------------------------- the disk and other processes


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_disk_that_is_full_at_the_start_leaves_nothing(model, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, call, full)
    for path in (None, tmp_path / "run"):
        with pytest.raises(EnvironmentLimitError, match="disk is full"):
            new(model, path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("runs/*"))


def test_a_disk_that_fills_up_later_keeps_the_checkpoints_of_before(
    model, tmp_path, monkeypatch, whole
):
    run = new(model, tmp_path / "run")
    model.before_step = at_step(9, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(EnvironmentLimitError, match="disk is full"):
        train(run, progress=QUIET())
    assert checkpoint_steps(run.folder.checkpoints) == (0, 5)
    assert not list((tmp_path / "run").rglob(".saving-*"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    model.before_step = lambda step, feeds: None
    resumed = again(model, tmp_path / "run")
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == whole[0]
    assert losses(resumed.folder) == whole[1]


def test_two_processes_do_not_train_one_run(model, tmp_path):
    run = new(model, tmp_path / "run")
    with run.folder.lock(), pytest.raises(EnvironmentLimitError, match="is being written"):
        train(again(model, tmp_path / "run"), progress=QUIET())


def test_wrong_data_leaves_no_folder(model, tmp_path):
    def broken(settings, files):
        raise DataError("there is no such file", "train.en")

    small = SimpleNamespace(Settings=Settings, task=broken)
    with pytest.raises(DataError):
        create_run(load_model("small", {"small": small}), Settings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_never_made_into_a_run(model, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"precious\.txt"):
        new(model, tmp_path / "run")
    assert (tmp_path / "run" / "precious.txt").read_text(encoding="utf-8") == "mine"


# ---------------------------------------------------------------- a real Ctrl-C

ENDLESS = """
from dataclasses import dataclass
import numpy as np
from graphgrad.graph import Graph, full, input, parameter
from graphgrad.ops import half_squared_error
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 1000000
    checkpoint_every: int = 1000000
    evaluate_every: int = 1000000

def task(settings, files):
    w = parameter("w", (3,), full(1.0))
    loss = half_squared_error(w * input("x", (3,)), w * 0.0 + 2.0, name="loss")
    graph = Graph({"loss": loss})
    return Task(graph, lambda step: {"x": np.ones(3, np.float32)},
                lambda state: {"loss": 0.0, "examples": 0})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_once_and_says_how_to_go_on(tmp_path, number):
    model = tmp_path / "endless.py"
    model.write_text(ENDLESS, encoding="utf-8")
    folder = tmp_path / "a run"
    command = [
        sys.executable,
        "-m",
        "graphgrad.tools.main",
        "train",
        str(model),
        "--run",
        str(folder),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_for_lines(folder / "metrics.jsonl", 5, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert not errors
    assert len(list((folder / "checkpoints").iterdir())) == 2, "of the start, and of now"
    step = load_checkpoint(folder / "checkpoints").step
    assert f"interrupted after step {step}; saved." in output
    assert f"graphgrad train --resume '{folder}'" in output
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    assert json.loads(lines[-1])["step"] == step == len(lines)


def wait_for_lines(path, count, process):
    limit = time.monotonic() + 30
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)
