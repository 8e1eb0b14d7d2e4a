"""Averaging: the parameters of the new run are the means of those on the disk, and nothing else."""

import os
import shutil

import numpy as np
import pytest
from small_runs import QUIET, STEPS, Model, again, new

from graphgrad.errors import CheckpointError, ConfigurationError
from graphgrad.training.averaging import AVERAGE, average_run, best_steps, kept_steps, last_steps
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.trainer import train

BUILTIN = {"small": Model()}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def trained(tmp_path):
    values = {"keep_last": 5, "checkpoint_every": 3, "evaluate_every": 3, "keep_best": 1}
    run = new(Model(), tmp_path / "run", **values)
    train(run, progress=QUIET())
    assert kept_steps(run.folder) == (3, 6, 9, 12)
    return run


def test_parameters_are_means_and_the_rest_is_of_the_newest(trained, tmp_path):
    each = [load_checkpoint(trained.folder.checkpoints, step).arrays for step in (3, 9, 12)]
    made = average_run(trained.folder.path, (3, 9, 12), tmp_path / "mean", BUILTIN)
    mean = sum(arrays["weight"].astype(np.float64) for arrays in each) / 3
    assert made.state["weight"].dtype == np.float32 and made.step == 12
    np.testing.assert_array_equal(made.state["weight"], mean.astype(np.float32))
    assert not np.array_equal(made.state["weight"], each[-1]["weight"])
    opened = again(Model(), tmp_path / "mean")
    assert opened.step == 12 and not opened.warnings
    for name, array in each[-1].items():
        wanted = made.state["weight"] if name == "weight" else array
        np.testing.assert_array_equal(opened.state[name], wanted)
    note = opened.folder.read_json(AVERAGE)
    assert note["steps"] == [3, 9, 12] and note["identity"] == trained.configuration.run
    assert opened.configuration.run != trained.configuration.run
    assert opened.folder.read_text("note.txt") == "kept"
    goes_on = again(Model(), tmp_path / "mean", steps=STEPS + 2)
    assert train(goes_on, progress=QUIET()).step == STEPS + 2


def test_which_checkpoints_are_the_last_and_the_best(trained):
    folder = trained.folder
    by_loss = {
        line["step"]: line["held_out_loss"] for line in folder.metrics() if "held_out_loss" in line
    }
    assert last_steps(folder, 2) == (9, 12)
    assert best_steps(folder, 2, "loss") == tuple(sorted(sorted(by_loss, key=by_loss.get)[:2]))
    with pytest.raises(ConfigurationError, match="has 4 checkpoints, and 5 are") as caught:
        last_steps(folder, 5)
    assert "3, 6, 9, 12" in caught.value.fix and "keep_last=5" in caught.value.fix
    with pytest.raises(ConfigurationError, match="0 checkpoints with a held-out bleu"):
        best_steps(folder, 1, "bleu")
    with pytest.raises(ConfigurationError, match="mean of 0"):
        last_steps(folder, 0)


def test_nothing_is_averaged_from_a_damaged_or_a_foreign_checkpoint(trained, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of step 4"):
        average_run(trained.folder.path, (4, 12), tmp_path / "mean", BUILTIN)
    other = new(Model(), tmp_path / "other", checkpoint_every=3, keep_last=5)
    train(other, progress=QUIET())
    name = "step-000000009"
    shutil.rmtree(trained.folder.checkpoints / name)
    shutil.copytree(other.folder.checkpoints / name, trained.folder.checkpoints / name)
    with pytest.raises(CheckpointError, match="of another run"):
        average_run(trained.folder.path, (9, 12), tmp_path / "mean", BUILTIN)
    (trained.folder.checkpoints / "step-000000006" / "state.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="step-000000006 is damaged"):
        average_run(trained.folder.path, (6, 12), tmp_path / "mean", BUILTIN)
    assert not (tmp_path / "mean").exists()
    with pytest.raises(ConfigurationError, match="already holds a run"):
        average_run(trained.folder.path, (3, 12), other.folder.path, BUILTIN)
