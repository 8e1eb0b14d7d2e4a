"""Opening a run: what does not belong together is refused, and a refusal changes nothing."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest
from small_runs import QUIET, STEPS, Model, Settings, again, new, state_bytes

from graphgrad.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    EnvironmentLimitError,
    GraphgradError,
)
from graphgrad.training import runs
from graphgrad.training.checkpoint import checkpoint_steps, save_checkpoint
from graphgrad.training.configuration import read_configuration, write_configuration
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.trainer import train


@pytest.fixture
def model():
    return Model()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def trained(model, tmp_path):
    train(new(model, tmp_path / "run"), progress=QUIET())
    return tmp_path / "run"


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


# ---------------------------------------------------------------- checkpoints that are gone


def emptied(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.mkdir()


def unmounted(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.symlink_to("/mnt/of/nobody")


@pytest.mark.parametrize("gone", [emptied, unmounted, shutil.rmtree])
@pytest.mark.parametrize("begun", [True, False])
def test_a_run_without_checkpoints_has_lost_them(model, tmp_path, gone, begun):
    run = new(model, tmp_path / "run", inspect_every=0)
    if begun:
        train(run, progress=QUIET())
    gone(run.folder.checkpoints)
    before = contents(run.folder.path)
    with pytest.raises(CheckpointError, match="checkpoints are gone") as error:
        again(model, tmp_path / "run", steps=99)
    assert "mount it" in error.value.fix
    assert contents(run.folder.path) == before


def test_checkpoints_that_go_while_the_run_is_open_are_missed_before_anything_is_dropped(
    model, trained
):
    resumed = again(model, trained, steps=STEPS + 3)
    emptied(trained / "checkpoints")
    before = contents(trained)
    with pytest.raises(CheckpointError, match="was trained meanwhile"):
        train(resumed, progress=QUIET())
    assert contents(trained) == before


def test_a_run_that_has_done_nothing_says_so(model, tmp_path):
    new(model, tmp_path / "run")
    opened = again(model, tmp_path / "run")
    assert opened.step == 0 and "untrained" in opened.warnings[0]
    train(opened, progress=QUIET())
    assert again(model, tmp_path / "run").warnings == ()


# ---------------------------------------------------------------- files that do not belong together


def test_a_text_of_another_run_is_named(model, trained):
    (trained / "note.txt").write_text("kepT", encoding="utf-8")
    with pytest.raises(DataError, match=r"note\.txt was altered or is of another run"):
        again(model, trained)


def test_a_configuration_that_was_edited_is_named(model, trained):
    path = trained / "configuration.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"learning_rate": 0.001', '"learning_rate": 0.002'))
    with pytest.raises(ConfigurationError, match="its seal does not match") as error:
        again(model, trained)
    assert "--set KEY=VALUE" in error.value.fix


def test_the_configuration_of_another_run_is_named_although_it_is_whole(model, trained, tmp_path):
    new(model, tmp_path / "other", learning_rate=0.5)
    shutil.copy(tmp_path / "other" / "configuration.json", trained)
    with pytest.raises(CheckpointError, match="of another run"):
        again(model, trained)


def test_the_checkpoints_of_another_run_are_named(model, trained, tmp_path):
    train(new(model, tmp_path / "other", learning_rate=0.5), progress=QUIET())
    shutil.rmtree(trained / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", trained / "checkpoints")
    with pytest.raises(CheckpointError, match="of another run"):
        again(model, trained)


@pytest.mark.parametrize(
    ("settings", "files", "parts"),
    [
        ({"size": 3, "seed": 4}, {}, ["settings", "seed"]),
        ({"batch_size": 2}, {}, ["settings", "batch_size"]),
        ({}, {"note.txt": "0" * 64}, ["note.txt"]),
    ],
)
def test_what_was_edited_and_sealed_anew_does_not_fit_the_checkpoint(
    model, trained, settings, files, parts
):
    folder = RunFolder.open(trained)
    kept = read_configuration(folder)
    changed = dataclasses.replace(
        kept, settings={**kept.settings, **settings}, files={**kept.files, **files}
    )
    write_configuration(folder, changed)
    with pytest.raises(GraphgradError) as error:
        again(model, trained)
    assert all(part in str(error.value) for part in parts)


def test_a_state_of_another_step_than_its_checkpoint_is_named(model, trained):
    opened = again(model, trained)
    shutil.rmtree(trained / "checkpoints")
    details = runs.bindings(opened.configuration, opened.settings, opened.task.graph)
    for step in (17, 5):
        save_checkpoint(trained / "checkpoints", step, opened.state, details)
        with pytest.raises(CheckpointError, match=f"step 12, and the checkpoint says {step}"):
            again(model, trained)


def test_another_graph_is_told(model, trained, monkeypatch):
    forward = model.task

    def changed(settings, files):
        made = forward(settings, files)
        graph = made.graph
        return dataclasses.replace(made, graph=type(graph)({"loss": graph.outputs["loss"] * 2.0}))

    monkeypatch.setattr(model, "task", changed)
    (warning,) = again(model, trained).warnings
    assert "the graph of the model is not the one" in warning


# ---------------------------------------------------------------- runs of an older format


def made_old(folder):
    """The run as graphgrad left it before it had seals, identities and a first checkpoint."""
    read = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    old = {"model": read["model"], "settings": read["settings"], "files": sorted(read["files"])}
    (folder / "configuration.json").write_text(json.dumps(old), encoding="utf-8")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["sum"]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    opened = runs.load_checkpoint(folder / "checkpoints")
    shutil.rmtree(folder / "checkpoints")
    save_checkpoint(folder / "checkpoints", opened.step, opened.arrays, {})


def test_an_older_run_is_opened_with_a_note_and_goes_on_sealed(model, tmp_path):
    whole = new(model, tmp_path / "whole", steps=STEPS + 4)
    train(whole, progress=QUIET())
    run = new(model, tmp_path / "run")
    train(run, progress=QUIET())
    made_old(run.folder.path)
    opened = again(model, tmp_path / "run", steps=STEPS + 4, learning_rate=0.002)
    assert "older graphgrad" in opened.warnings[0] and opened.step == STEPS
    train(opened, progress=QUIET())
    assert [line["step"] for line in RunFolder.open(tmp_path / "run").metrics()] == list(
        range(1, STEPS + 5)
    )
    resumed = again(model, tmp_path / "run")
    assert resumed.warnings == () and resumed.before.sealed
    (tmp_path / "run" / "note.txt").write_text("another")
    with pytest.raises(DataError, match="altered"):
        again(model, tmp_path / "run")


def test_a_new_run_takes_no_checkpoint_of_an_older_one(model, trained):
    opened = again(model, trained)
    shutil.rmtree(trained / "checkpoints")
    save_checkpoint(trained / "checkpoints", opened.step, opened.state, {})
    with pytest.raises(CheckpointError, match="of another run"):
        again(model, trained)


# ---------------------------------------------------------------- what a refusal changes


def test_a_refused_resume_is_not_written_down(model, trained):
    def refuse(step, feeds):
        raise DataError("there is no such file", "/typo")

    before = contents(trained)
    model.before_step = refuse
    for values in ({"learning_rate": 0.5}, {"steps": 99}):
        with pytest.raises(DataError):
            train(again(model, trained, **values), progress=QUIET())
        assert contents(trained) == before


def test_a_setting_of_a_finished_run_is_written_when_all_went_well(model, trained, monkeypatch):
    resumed = again(model, trained, learning_rate=0.5)
    before = contents(trained)

    def refuse(state):
        raise DataError("there is no such file", "/typo")

    broken = dataclasses.replace(resumed, task=dataclasses.replace(resumed.task, evaluate=refuse))
    with pytest.raises(DataError):
        train(broken, progress=QUIET())
    changed = {path.name for path, data in contents(trained).items() if before.get(path) != data}
    assert changed == {"log.txt"}
    train(resumed, progress=QUIET())
    assert again(model, trained).settings.learning_rate == 0.5


# ---------------------------------------------------------------- two at once


def test_a_run_that_went_on_meanwhile_is_not_taken_back(model, trained):
    late = again(model, trained, steps=STEPS + 5)
    train(again(model, trained, steps=STEPS + 20), progress=QUIET())
    before = contents(trained)
    with pytest.raises(CheckpointError, match=r"opened at step 12, .* reached step 32") as error:
        train(late, progress=QUIET())
    assert "resume it again" in error.value.fix
    assert contents(trained) == before


def test_a_run_whose_settings_were_changed_meanwhile_is_opened_again_first(model, trained):
    late = again(model, trained, steps=STEPS + 5)
    train(again(model, trained, learning_rate=0.5), progress=QUIET())
    with pytest.raises(CheckpointError, match="was trained meanwhile"):
        train(late, progress=QUIET())


def test_one_open_run_may_be_trained_twice(model, tmp_path):
    run = new(model, tmp_path / "run")
    train(run, progress=QUIET())
    train(run, progress=QUIET())
    assert len(run.folder.metrics()) == STEPS


def test_a_damaged_newest_checkpoint_does_not_look_like_another_process(model, trained):
    (trained / "checkpoints" / "step-000000012" / "state.safetensors").write_bytes(b"")
    resumed = again(model, trained)
    assert resumed.step == 10
    train(resumed, progress=QUIET())
    assert checkpoint_steps(trained / "checkpoints") == (5, 10, 12)


def test_a_folder_that_another_process_holds_is_left_alone(model, tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    with folder.lock():
        with pytest.raises(EnvironmentLimitError, match="is being written"):
            new(model, tmp_path / "run")
        assert (tmp_path / "run").is_dir()
        (tmp_path / "run" / "configuration.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="already holds a run"):
        new(model, tmp_path / "run")
    assert (tmp_path / "run" / "configuration.json").read_text() == "{}"


def test_what_came_into_the_folder_before_the_lock_is_kept(model, tmp_path, monkeypatch):
    lock = RunFolder.lock

    def late(folder):
        (folder.path / "precious.txt").write_text("mine")
        return lock(folder)

    monkeypatch.setattr(RunFolder, "lock", late)
    with pytest.raises(ConfigurationError, match=r"not empty: it holds precious\.txt"):
        new(model, tmp_path / "run")
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


def test_only_what_was_made_is_taken_away_again(model, tmp_path, monkeypatch):
    def fail(folder, configuration):
        (folder.path / "precious.txt").write_text("mine")
        raise DataError("planted")

    monkeypatch.setattr(runs, "write_configuration", fail)
    with pytest.raises(DataError, match="planted"):
        new(model, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "precious.txt"}


RACE = """
import sys
sys.path[:0] = sys.argv[2:]
from small_runs import QUIET, Model, Settings
from graphgrad.errors import GraphgradError
from graphgrad.training.runs import create_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train
model = load_model("small", {"small": Model()})
print("ready", flush=True)
sys.stdin.readline()
try:
    train(create_run(model, Settings(), sys.argv[1]), progress=QUIET())
    print("trained")
except GraphgradError as error:
    print("refused", error.problem)
"""


def test_of_four_that_begin_one_run_at_once_one_trains_it(model, tmp_path):
    paths = [os.path.dirname(sys.modules[Model.__module__].__file__), *sys.path]
    command = [sys.executable, "-c", RACE, str(tmp_path / "run"), *filter(None, paths)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        ends = sorted(racer.communicate(timeout=60)[0] for racer in racers)
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert ends[-1] == "trained\n", ends
    reasons = ("already holds a run", "is being written", "is not empty: it holds ")
    assert all(any(reason in end for reason in reasons) for end in ends[:-1]), ends
    assert again(model, tmp_path / "run").step == STEPS


# ---------------------------------------------------------------- what a killed process left


def test_metrics_that_were_cut_short_are_told(model, trained):
    path = trained / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    shown, progress = [], QUIET()
    progress.message = shown.append
    resumed = again(model, trained, steps=STEPS + 2)
    train(resumed, progress=progress)
    assert "note: metrics.jsonl has no record of steps 8 to 12" in shown
    assert "no record of steps 8 to 12" in (trained / "log.txt").read_text(encoding="utf-8")
    assert [line["step"] for line in resumed.folder.metrics()] == [*range(1, 8), 13, 14]


def test_resuming_a_finished_run_ends_what_a_kill_interrupted(model, trained):
    checkpoints = trained / "checkpoints"
    before = state_bytes(again(model, trained).state)
    (checkpoints / ".removing-1").mkdir()
    shutil.copytree(checkpoints / "step-000000005", checkpoints / "step-000000004")
    train(again(model, trained), progress=QUIET())
    names = sorted(path.name for path in checkpoints.iterdir())
    assert names == ["step-000000005", "step-000000010", "step-000000012"]
    assert state_bytes(again(model, trained).state) == before


def test_settings_bound_what_a_checkpoint_could_not_keep():
    for values in ({"keep_last": 10**15}, {"steps": 10**15}):
        with pytest.raises(ConfigurationError, match="below 1,000,000,000,000,000"):
            Settings(**values)
