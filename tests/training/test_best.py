"""The best checkpoints and early stopping: both follow from the metrics, so they resume exactly."""

import os

import numpy as np
import pytest
from small_runs import QUIET, STEPS, Model, again, interrupt, losses, new, state_bytes

from graphgrad.errors import CheckpointError, ConfigurationError, UnknownNameError
from graphgrad.training.best import Validations, checkpoint_called, lower_is_better
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint
from graphgrad.training.configuration import Configuration, write_configuration
from graphgrad.training.runs import open_run
from graphgrad.training.trainer import train


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Foretold(Model):
    """The small model with held-out figures that a test has written down, one for each look."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = scores

    def task(self, settings, files):
        made, scores = super().task(settings, files), self.scores

        def validate(state):
            look = int(state["run.step"]) // settings.evaluate_every
            return {"loss": 1.0, "score": scores[look - 1], "examples": 4}

        object.__setattr__(made, "validate", validate)
        return made


def scored(path, *scores, **values):
    settings = {"steps": len(scores) * 2, "evaluate_every": 2, "checkpoint_every": 100} | values
    return new(Foretold(*scores), path, best_metric="score", **settings)


@pytest.mark.parametrize(
    ("metric", "lower"),
    [("loss", True), ("perplexity", True), ("bits_per_byte", True), ("bleu", False)],
)
def test_which_way_a_figure_improves(metric, lower):
    assert lower_is_better(metric) is lower
    seen = Validations(metric)
    for step, value in ((1, 3.0), (2, 1.0), (3, 3.0), (4, 2.0), (5, float("nan"))):
        seen.add(step, {metric: value, "examples": 1})
    assert seen.ranked() == ([2, 4, 1, 3, 5] if lower else [1, 3, 4, 2, 5])
    assert seen.ranked([5, 4, 99]) == [4, 5]
    assert seen.without_improvement() == (3 if lower else 4)
    assert Validations(metric).without_improvement() == 0 and not Validations(metric).best(3)


def test_the_best_checkpoints_stay_beside_the_last(tmp_path):
    run = scored(tmp_path / "run", 5.0, 9.0, 8.0, 1.0, 2.0, 9.0, keep_best=2, keep_last=1)
    assert train(run, progress=QUIET()).step == 12
    assert checkpoint_steps(run.folder.checkpoints) == (4, 12)  # 9.0 twice; 12 is the last, too
    run = scored(tmp_path / "falling", 9.0, 8.0, 7.0, 6.0, keep_best=2, keep_last=1)
    train(run, progress=QUIET())
    assert checkpoint_steps(run.folder.checkpoints) == (2, 4, 8)
    for name, step in (("best", 2), ("last", 8), ("", 8), ("4", 4)):
        opened = open_run(tmp_path / "falling", {"small": Foretold()}, checkpoint=name)
        assert opened.step == step and not opened.gives_up and not opened.warnings
    with pytest.raises(UnknownNameError, match="no checkpoint called 'beste'") as caught:
        checkpoint_called(run.folder, "beste", "score")
    assert "best, last, or a step: 2, 4, 8" in caught.value.fix
    with pytest.raises(CheckpointError, match="no checkpoint of step 6"):
        open_run(tmp_path / "falling", {"small": Foretold()}, checkpoint="6")


def test_without_figures_no_checkpoint_is_the_best(tmp_path):
    run = new(Model(), tmp_path / "run", evaluate_every=50)
    train(run, progress=QUIET())
    with pytest.raises(UnknownNameError, match="no checkpoint of the run has a held-out loss"):
        checkpoint_called(run.folder, "best", "loss")


def test_a_run_stops_where_patience_ends_and_resumes_to_the_same(tmp_path):
    scores = (1.0, 3.0, 2.0, 3.0, 2.5, 9.0)  # 3.0 again is no improvement
    whole = scored(tmp_path / "whole", *scores, patience=3)
    shown = []
    progress = QUIET()
    progress.message = shown.append
    outcome = train(whole, progress=progress)
    assert (outcome.ending, outcome.step) == ("finished", 10)
    (why,) = (text for text in shown if text.startswith("stopped early"))
    assert "after step 10" in why and "score of step 4, 3, was not improved in 3" in why
    assert why in (whole.folder.path / "log.txt").read_text(encoding="utf-8")
    assert whole.folder.read_json("evaluation.json")["step"] == 10

    model = Foretold(*scores)
    run = scored(tmp_path / "parts", *scores, patience=3)
    for step in (5, 8):
        model.before_step = lambda n, feeds, at=step: interrupt() if n == at else None
        run = again(model, tmp_path / "parts")
        assert train(run, progress=QUIET()).ending == "interrupted"
    model.before_step = lambda n, feeds: None
    run = again(model, tmp_path / "parts")
    assert train(run, progress=QUIET()).step == 10
    ends = [load_checkpoint(each.folder.checkpoints) for each in (whole, run)]
    assert state_bytes(ends[0].arrays) == state_bytes(ends[1].arrays)
    assert losses(whole.folder) == losses(run.folder)

    stopped = again(Foretold(*scores), tmp_path / "whole")  # nothing is left, and more patience is
    assert train(stopped, progress=QUIET()).step == 10
    patient = again(Foretold(*scores), tmp_path / "whole", patience=4)
    assert train(patient, progress=QUIET()).step == 12


def test_a_metric_that_there_is_not_is_named_and_nothing_is_lost(tmp_path):
    run = new(Model(), tmp_path / "run", best_metric="blue")
    with pytest.raises(ConfigurationError, match="best_metric is 'blue'") as caught:
        train(run, progress=QUIET())
    assert "loss" in caught.value.fix and "--set best_metric" in caught.value.fix
    assert load_checkpoint(run.folder.checkpoints).step == 4
    resumed = again(Model(), tmp_path / "run", best_metric="loss")
    assert train(resumed, progress=QUIET()).step == STEPS


def test_the_last_step_is_looked_at_where_something_depends_on_it(tmp_path):
    for values, looked in (
        ({}, [4, 8]),
        ({"keep_best": 1}, [4, 8, 12]),
        ({"patience": 9}, [4, 8, 12]),
    ):
        run = new(Model(), tmp_path / "-".join(["run", *values]), **values)
        train(run, progress=QUIET())
        lines = run.folder.metrics()
        assert [line["step"] for line in lines if "held_out_loss" in line] == looked


def test_a_best_checkpoint_survives_a_kill_and_the_next_save(tmp_path):
    model = Foretold(9.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    run = scored(tmp_path / "run", *model.scores, keep_best=1, keep_last=1, checkpoint_every=3)
    model.before_step = lambda n, feeds: interrupt() if n == 9 else None
    train(again(model, tmp_path / "run"), progress=QUIET())
    model.before_step = lambda n, feeds: None
    assert checkpoint_steps(run.folder.checkpoints) == (2, 10)
    train(again(model, tmp_path / "run"), progress=QUIET())
    assert checkpoint_steps(run.folder.checkpoints) == (2, 12)
    first = load_checkpoint(run.folder.checkpoints, 2)
    assert int(first.arrays["run.step"]) == 2 and np.isfinite(first.arrays["weight"]).all()


def test_a_run_of_before_the_settings_had_these_names_is_opened(tmp_path):
    run = new(Model(), tmp_path / "run", keep_last=2)
    configuration = run.folder.read_json("configuration.json")
    old = configuration["settings"]
    old["keep_checkpoints"] = old.pop("keep_last")
    for name in ("keep_best", "best_metric", "patience", "accumulate"):
        del old[name]
    del configuration["seal"]
    write_configuration(
        run.folder,
        Configuration("small", "", old, configuration["files"], configuration["run"]),
    )
    assert again(Model(), tmp_path / "run").settings.keep_last == 2
