"""The training loop: what a run leaves on disk, and that stopping never changes where it ends."""

import json
import os
import re
import time

import numpy as np
import pytest
from small_runs import (
    QUIET,
    STEPS,
    Model,
    Settings,
    again,
    at_step,
    crash,
    interrupt,
    losses,
    new,
    state_bytes,
)

from graphgrad.errors import (
    ConfigurationError,
    DataError,
)
from graphgrad.models import transformer
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint
from graphgrad.training.optimisers import SEED, STEP
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# ---------------------------------------------------------------- what a run leaves


def test_a_finished_run_has_everything(model, tmp_path):
    run = new(model, tmp_path / "run", seed=3)
    outcome = train(run, progress=QUIET())
    assert (outcome.ending, outcome.step) == ("finished", STEPS)
    names = {entry.name for entry in run.folder.path.iterdir()} - {".lock"}
    assert names == {
        "configuration.json",
        "environment.json",
        "metrics.jsonl",
        "log.txt",
        "note.txt",
        "checkpoints",
        "evaluation.json",
    }
    configuration = run.folder.read_json("configuration.json")
    assert configuration["model"] == "small" and list(configuration["files"]) == ["note.txt"]
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
        looked = {"held_out_loss", "samples"} if line["step"] in (4, 8) else set()
        assert line.keys() == {
            "step",
            "loss",
            "gradient_norm",
            "learning_rate",
            "examples",
            "seconds",
            *looked,
        }
        assert line["examples"] == 4 and line["seconds"] >= 0 and line["loss"] > 0
    rate = run.settings.learning_rate
    assert lines[2]["learning_rate"] == pytest.approx(rate)
    assert lines[-1]["learning_rate"] == pytest.approx(rate / (STEPS + 1 - 3))


def test_held_out_figures_in_the_metrics_are_those_that_were_shown(model, tmp_path):
    run, shown = new(model, tmp_path / "run"), []
    model.figures = {"ratio": float("inf"), "examples": 9}
    progress = QUIET()
    progress.message = shown.append
    train(run, progress=progress)
    for step in (4, 8):
        line = run.folder.metrics()[step - 1]
        (said,) = (text for text in shown if text.startswith(f"step {step} "))
        assert f"loss {line['held_out_loss']:.4g} " in said
        assert line["held_out_ratio"] == float("inf") and "held_out_examples" not in line


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
        layers=1,
        width=16,
        heads=2,
        inner=16,
        batch_size=4,
        dropout=0.2,
        label_smoothing=0.1,
        steps=10,
        warmup=2,
        checkpoint_every=100,
        evaluate_every=4,
        tokens="whitespace",
        source=str(tmp_path / "lines"),
        target=str(tmp_path / "lines"),
    )
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
    assert any("has done no step yet" in warning for warning in resumed.warnings)
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
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


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
