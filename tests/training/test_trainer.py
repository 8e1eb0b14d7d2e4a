"""The training loop: what a run leaves on disk, and that stopping never changes where it ends."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    EnvironmentLimitError,
    NonFiniteError,
    UnknownNameError,
)
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.layers import dropout
from graphgrad.models import transformer
from graphgrad.ops import half_squared_error, matmul
from graphgrad.tools.train import explain
from graphgrad.training.checkpoint import STATE, checkpoint_steps, load_checkpoint
from graphgrad.training.optimisers import SEED, STEP, randomness_of_run
from graphgrad.training.progress import Progress
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task, load_model
from graphgrad.training.trainer import create_run, open_run, train

STEPS = 12
QUIET = partial(Progress, STEPS, stream=io.StringIO())


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """A small regression with dropout, so that seed and step count matter."""

    steps: int = STEPS
    batch_size: int = 4
    size: int = 3
    checkpoint_every: int = 5
    evaluate_every: int = 4
    warmup: int = 3


def forward(settings, training):
    x = input("x", ("batch", settings.size), settings.dtype)
    truth = input("truth", ("batch", 2), settings.dtype)
    weight = parameter("weight", (settings.size, 2), normal(1.0), settings.dtype)
    randomness = randomness_of_run() if training else None
    y = matmul(dropout(x, 0.5, randomness), weight, name="y")
    return Graph({"loss": half_squared_error(y, truth, name="loss")})


def examples(settings, step):
    generator = np.random.default_rng([settings.seed, step])
    x = generator.normal(size=(settings.batch_size, settings.size)).astype(settings.dtype)
    return {"x": x, "truth": (x[:, :2] * 2).astype(settings.dtype)}


class Model:
    """The module of the small model; `before_step` and `figures` are what a test plants."""

    Settings = Settings

    def __init__(self):
        self.before_step = lambda step, feeds: None
        self.figures = {}

    def task(self, settings, files):
        scored = compile(forward(settings, training=False))

        def feeds(step):
            made = examples(settings, step)
            self.before_step(step, made)
            return made

        def evaluate(state):
            loss = float(scored(state, **examples(settings, 10**6))["loss"])
            return {"loss": loss, "examples": 4, **self.figures}

        return Task(forward(settings, training=True), feeds, evaluate, validate=evaluate,
                    examples=lambda state: ["an example"], files={"note.txt": "kept"})  # fmt: skip


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def new(model, path, **values):
    return create_run(load_model("small", {"small": model}), Settings(**values), path)


def again(model, path, **values):
    return open_run(path, {"small": model}, values)


def state_bytes(state):
    return {name: array.tobytes() for name, array in state.items()}


def losses(folder):
    """The lines of metrics without the one figure that is a time."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.metrics()]


def at_step(number, action):
    """Does something in the middle of a step; the loop's look at its first data is no step."""
    calls = []

    def before(step, feeds):
        calls.append(step)
        if step == number and len(calls) > 1:
            action()

    return before


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def crash():
    raise ZeroDivisionError("planted")


# ---------------------------------------------------------------- what a run leaves


def test_a_finished_run_has_everything(model, tmp_path):
    run = new(model, tmp_path / "run", seed=3)
    outcome = train(run, progress=QUIET())
    assert (outcome.ending, outcome.step) == ("finished", STEPS)
    names = {entry.name for entry in run.folder.path.iterdir()} - {".lock"}
    assert names == {"configuration.json", "environment.json", "metrics.jsonl", "log.txt",
                     "note.txt", "checkpoints", "evaluation.json"}  # fmt: skip
    configuration = run.folder.read_json("configuration.json")
    assert configuration["model"] == "small" and configuration["files"] == ["note.txt"]
    assert configuration["settings"]["seed"] == 3
    assert Settings(**configuration["settings"]) == run.settings
    assert run.folder.read_json("environment.json")["packages"]["numpy"] == np.__version__
    assert checkpoint_steps(run.folder.checkpoints) == (5, 10, 12)
    saved = load_checkpoint(run.folder.checkpoints)
    assert state_bytes(saved.arrays) == state_bytes(run.state)
    assert int(saved.arrays[STEP]) == STEPS and int(saved.arrays[SEED]) == 3
    assert run.folder.read_json("evaluation.json") == {"step": STEPS, **outcome.figures}


def test_metrics_have_a_line_for_each_step(model, tmp_path):
    run = new(model, tmp_path / "run")
    train(run, progress=QUIET())
    lines = run.folder.metrics()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        assert line.keys() == {"step", "loss", "gradient_norm", "learning_rate", "tokens",
                               "seconds"}  # fmt: skip
        assert line["tokens"] == 4 and line["seconds"] >= 0 and line["loss"] > 0
    assert lines[2]["learning_rate"] == pytest.approx(run.settings.learning_rate)
    assert lines[-1]["learning_rate"] == pytest.approx(0.0)


def test_metrics_are_on_the_disk_before_the_checkpoint_that_needs_them(
    model, tmp_path, monkeypatch
):
    run, durable = new(model, tmp_path / "run"), []
    append = type(run.folder).append_metrics

    def noted(folder, record, durable_line=False, **keywords):
        durable.append(keywords.get("durable", durable_line))
        append(folder, record, **keywords)

    monkeypatch.setattr(type(run.folder), "append_metrics", noted)
    train(run, progress=QUIET())
    assert [number for number, flag in enumerate(durable, 1) if flag] == [5, 10, 12]


def test_held_out_figures_and_examples_are_shown_and_logged(model, tmp_path):
    run = new(model, tmp_path / "run")
    shown = []
    progress = QUIET()
    progress.message = shown.append
    train(run, progress=progress)
    text = "\n".join(shown)
    assert re.search(r"step 4 +held-out: loss \d", text)
    assert text.count("held-out: loss") == 2 and text.count("an example") == 2  # 4 and 8, not 12
    log = (run.folder.path / "log.txt").read_text(encoding="utf-8")
    for part in ("training from step 0 to 12", "step 8 held-out: loss", "finished: "):
        assert part in log


def test_figures_that_are_no_numbers_end_no_run(model, tmp_path):
    model.figures = {"loss": float("nan"), "ratio": float("inf")}
    run = new(model, tmp_path / "run")
    outcome = train(run, progress=QUIET())
    assert np.isnan(outcome.figures["loss"])
    evaluation = json.loads((run.folder.path / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation == {"step": STEPS, "loss": None, "examples": 4, "ratio": None}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model, tmp_path):
    ends = []
    for number, seed in enumerate((0, 0, 1)):
        run = new(model, tmp_path / str(number), seed=seed)
        train(run, progress=QUIET())
        ends.append(state_bytes(run.state)["weight"])
    assert ends[0] == ends[1] != ends[2]


# ---------------------------------------------------------------- stopping and going on


@pytest.fixture
def whole(model, tmp_path):
    """An uninterrupted run: its last state and its metrics."""
    run = new(model, tmp_path / "whole")
    train(run, progress=QUIET())
    return state_bytes(run.state), losses(run.folder)


@pytest.mark.parametrize("stop", range(STEPS))
def test_an_interrupted_run_ends_as_if_it_had_not_been(model, tmp_path, whole, stop):
    model.before_step = at_step(stop, interrupt)
    run = new(model, tmp_path / "run")
    outcome = train(run, progress=QUIET())
    if stop + 1 < STEPS:
        assert (outcome.ending, outcome.step) == ("interrupted", stop + 1)
        assert checkpoint_steps(run.folder.checkpoints)[-1] == stop + 1
    model.before_step = lambda step, feeds: None
    resumed = again(model, tmp_path / "run")
    assert train(resumed, progress=QUIET()).ending == "finished"
    assert state_bytes(resumed.state) == whole[0]
    assert losses(resumed.folder) == whole[1]


@pytest.mark.parametrize("stop", [0, 3, 5, 7, 11])
def test_a_crashed_run_goes_on_from_its_last_checkpoint(model, tmp_path, whole, stop):
    model.before_step = at_step(stop, crash)
    with pytest.raises(ZeroDivisionError):
        train(new(model, tmp_path / "run"), progress=QUIET())
    model.before_step = lambda step, feeds: None
    resumed = again(model, tmp_path / "run")
    assert resumed.step == stop // 5 * 5
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == whole[0]
    assert losses(resumed.folder) == whole[1]


def test_a_transformer_with_dropout_resumes_to_the_same_bytes(tmp_path):
    lines = "\n".join(f"{n % 7} {n % 5} {n % 3}" for n in range(60)) + "\n"
    (tmp_path / "lines").write_text(lines, encoding="utf-8")
    settings = transformer.Settings(
        layers=1, width=16, heads=2, inner=16, batch_size=4, dropout=0.2, label_smoothing=0.1,
        steps=10, warmup=2, checkpoint_every=100, evaluate_every=4, tokens="whitespace",
        source=str(tmp_path / "lines"), target=str(tmp_path / "lines"),
    )  # fmt: skip
    builtin = {"transformer": transformer}
    found = load_model("transformer", builtin)
    whole = create_run(found, settings, tmp_path / "whole")
    train(whole, progress=QUIET())
    first = create_run(found, settings, tmp_path / "parts")
    feeds = first.task.feeds

    def interrupted(step):
        if step == 6:
            interrupt()
        return feeds(step)

    object.__setattr__(first.task, "feeds", interrupted)
    assert train(first, progress=QUIET()).step == 7
    resumed = open_run(tmp_path / "parts", builtin)
    assert resumed.step == 7
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == state_bytes(whole.state)
    assert losses(resumed.folder) == losses(whole.folder)
    assert resumed.folder.read_json("evaluation.json") == whole.folder.read_json("evaluation.json")


def test_an_interrupt_before_the_first_step_leaves_a_run_to_resume(model, tmp_path, whole):
    model.before_step = lambda step, feeds: interrupt()
    with pytest.raises(KeyboardInterrupt):  # the look at the data is outside of the guard
        train(new(model, tmp_path / "run"), progress=QUIET())
    model.before_step = lambda step, feeds: None
    resumed = again(model, tmp_path / "run")
    assert resumed.step == 0
    assert any("no checkpoint yet" in warning for warning in resumed.warnings)
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == whole[0]


def test_an_interrupt_between_two_steps_is_saved_too(model, tmp_path, whole):
    """While examples are shown: after the step has decided that it needs no checkpoint."""
    run = new(model, tmp_path / "run")
    object.__setattr__(run.task, "examples", lambda state: [interrupt() or "an example"])
    outcome = train(run, progress=QUIET())
    assert (outcome.ending, outcome.step) == ("interrupted", 4)
    resumed = again(model, tmp_path / "run")
    assert resumed.step == 4
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == whole[0]


def test_an_interrupt_while_evaluating_loses_nothing(model, tmp_path, whole):
    run = new(model, tmp_path / "run", evaluate_every=100)

    def evaluate(state):
        interrupt()
        time.sleep(1)
        pytest.fail("the interrupt was swallowed")

    object.__setattr__(run.task, "evaluate", evaluate)
    outcome = train(run, progress=QUIET())
    assert (outcome.ending, outcome.step) == ("interrupted", STEPS)
    resumed = again(model, tmp_path / "run")
    assert resumed.step == STEPS
    assert train(resumed, progress=QUIET()).ending == "finished"
    assert state_bytes(resumed.state) == whole[0]
    assert resumed.folder.read_json("evaluation.json")["step"] == STEPS


def test_a_finished_run_can_be_extended_and_remembers_it(model, tmp_path):
    train(new(model, tmp_path / "run", schedule="constant"), progress=QUIET())
    longer = again(model, tmp_path / "run", steps="20")
    assert (longer.step, longer.settings.steps) == (STEPS, 20)
    train(longer, progress=QUIET())
    at_once = new(model, tmp_path / "at_once", schedule="constant", steps=20)
    train(at_once, progress=QUIET())
    assert state_bytes(longer.state) == state_bytes(at_once.state)
    assert again(model, tmp_path / "run").settings.steps == 20


def test_opening_a_run_changes_nothing(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    before = contents(tmp_path)
    again(model, tmp_path / "run", steps="20", learning_rate="1")
    assert contents(tmp_path) == before


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}  # fmt: skip


def test_fewer_steps_than_are_done_are_refused_before_anything_is_written(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match="has done 12 steps already, and steps is 7"):
        train(again(model, tmp_path / "run", steps=7), progress=QUIET())
    assert contents(tmp_path) == before


def test_missing_data_is_told_before_anything_is_written(model, tmp_path):
    def missing(step, feeds):
        raise DataError("there is no such file", "train.en")

    model.before_step = at_step(5, interrupt)
    train(new(model, tmp_path / "run"), progress=QUIET())
    before = contents(tmp_path)
    model.before_step = missing
    with pytest.raises(DataError):
        train(again(model, tmp_path / "run", steps=99), progress=QUIET())
    assert contents(tmp_path) == before


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
    assert error.value.problem.startswith("step 8: loss is ")
    assert "learning_rate" in error.value.fix and "clip_norm" in error.value.fix
    saved = load_checkpoint(run.folder.checkpoints)
    assert saved.step == 7
    assert state_bytes(saved.arrays) == state_bytes(run.state)
    assert len(run.folder.metrics()) == 7
    assert not (run.folder.path / "evaluation.json").exists()
    log = (run.folder.path / "log.txt").read_text(encoding="utf-8")
    assert error.value.problem in log


def test_the_callback_names_the_node(poisoned, tmp_path):
    seen = []

    def named(graph, feeds, state):
        seen.append((graph["optimiser.weight.next"], feeds["x"], int(state[STEP])))
        return "the node that I name", "model.py:3"

    run = new(poisoned, tmp_path / "run")
    with pytest.raises(NonFiniteError, match="step 8: the node that I name") as error:
        train(run, named, QUIET())
    assert error.value.where == "model.py:3"
    assert len(seen) == 1
    assert np.isinf(seen[0][1][1, 2]) and seen[0][2] == 7


def test_the_command_names_the_input_that_was_planted(poisoned, tmp_path):
    run = new(poisoned, tmp_path / "run")
    with pytest.raises(NonFiniteError) as error:
        train(run, explain, QUIET())
    assert re.match(r"step 8: the value x \[4, 3\] .*1 infinite", error.value.problem)
    assert re.match(rf"{re.escape(__file__)}:\d+$", error.value.where)


def test_a_huge_learning_rate_names_a_node_of_the_model(model, tmp_path):
    run = new(model, tmp_path / "run", learning_rate=1e30, clip_norm=0.0, optimiser="sgd")
    with pytest.raises(NonFiniteError) as error:
        train(run, explain, QUIET())
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
    ("values", "parts"),
    [
        ({"size": 4}, ["'weight'", "float32[3, 2]", "float32[4, 2]"]),
        ({"dtype": "float64"}, ["'weight'", "float32[3, 2]", "float64[3, 2]"]),
        ({"optimiser": "sgd"}, ["unknown", "'optimiser.weight.first_moment'"]),
        ({"optimiser": "momentum"}, ["lacks", "'optimiser.weight.velocity'"]),
    ],
)
def test_another_model_does_not_fit_the_checkpoint(model, tmp_path, values, parts):
    train(new(model, tmp_path / "run"), progress=QUIET())
    with pytest.raises(CheckpointError) as error:
        again(model, tmp_path / "run", **values)
    assert all(part in error.value.problem for part in parts)
    assert "step-000000012" in error.value.where
    assert "without changing" in error.value.fix


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"model": "small", "settings": {}}', '{"model": 3, "settings": {}, "files": []}',
     '{"model": "small", "settings": [], "files": []}',
     '{"model": "small", "settings": {}, "files": "note.txt"}',
     '{"model": "small", "settings": {}, "files": [3]}',
     '{"model": "small", "settings": {}, "files": [], "more": 1}'],
)  # fmt: skip
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
    assert checkpoint_steps(run.folder.checkpoints) == (5,)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_once_and_says_how_to_go_on(tmp_path, number):
    model = tmp_path / "endless.py"
    model.write_text(ENDLESS, encoding="utf-8")
    folder = tmp_path / "a run"
    command = [sys.executable, "-m", "graphgrad.tools.main", "train", str(model), "--run",
               str(folder)]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    try:
        wait_for_lines(folder / "metrics.jsonl", 5, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert not errors
    (checkpoint,) = (folder / "checkpoints").iterdir()
    step = load_checkpoint(folder / "checkpoints").step
    assert f"interrupted after step {step}; saved." in output
    assert f"graphgrad train --resume '{folder}'" in output
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    assert json.loads(lines[-1])["step"] == step == len(lines)
    shutil.rmtree(checkpoint)


def wait_for_lines(path, count, process):
    limit = time.monotonic() + 30
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)
