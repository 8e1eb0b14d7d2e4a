"""A run keeps the rates of products that it began with, and is resumed by them."""

from __future__ import annotations

import json

import pytest
from small_runs import QUIET, Model, again, at_step, interrupt, new, state_bytes

import graphgrad as gg
from graphgrad.backends.numpy import COMPILES
from graphgrad.figures.recording import Recorder
from graphgrad.ranks import Lone
from graphgrad.training.environment import processor_name
from graphgrad.training.kept_rates import PRODUCTS, KeptRates
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.team import Team
from graphgrad.training.trainer import train

if not COMPILES:
    pytest.skip("the kernels are compiled by LLVM", allow_module_level=True)

from graphgrad.backends.numpy import product_classes
from graphgrad.backends.numpy.product_classes import CLASSES

OURS = {str(each): (2.0, 1.0) for each in CLASSES}
THEIRS = {str(each): (1.0, 2.0) for each in CLASSES}


def compiled(rates=None):
    """A compiled product."""
    x, w = gg.input("x", (8, 8)), gg.input("w", (8, 8))
    graph = gg.Graph({"y": gg.matmul(x, w)})
    return gg.compile(graph, fuse=True, product_rates=rates)


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Products of all sizes are large enough; on this machine ours are the faster ones."""
    monkeypatch.setattr("graphgrad.backends.numpy.backend.SMALLEST", 0)
    monkeypatch.setattr(product_classes, "SMALLEST", 0)
    monkeypatch.setattr("graphgrad.backends.numpy.backend.measured_rates", lambda: OURS)


def test_a_run_is_resumed_by_the_rates_that_it_began_with(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    first = KeptRates.read(folder)
    assert first.rates is None and not first.note
    run = compiled(THEIRS)
    first.keep(run)  # no program has needed them yet
    assert not (folder.path / PRODUCTS).exists()
    assert "np.matmul" not in compiled().program().source
    assert "matmul" in run.program().source
    first.keep(run)
    again = KeptRates.read(folder)
    assert again.rates == THEIRS and not again.note
    resumed = compiled(again.rates)
    assert resumed.program().source == run.program().source
    assert resumed.product_rates == THEIRS


def test_the_trainer_keeps_and_reads_them(tmp_path, monkeypatch):
    model, rates = Model(), {name: list(pair) for name, pair in OURS.items()}
    model.before_step = at_step(5, interrupt)
    assert train(new(model, tmp_path / "run"), progress=QUIET()).ending == "interrupted"
    assert json.loads((tmp_path / "run" / PRODUCTS).read_text())["rates"] == rates
    whole = new(Model(), tmp_path / "whole")
    train(whole, progress=QUIET())
    # the machine is measured otherwise before the run is resumed
    monkeypatch.setattr("graphgrad.backends.numpy.backend.measured_rates", lambda: THEIRS)
    resumed = again(Model(), tmp_path / "run")
    assert train(resumed, progress=QUIET()).ending == "finished"
    assert json.loads((tmp_path / "run" / PRODUCTS).read_text())["rates"] == rates
    assert state_bytes(resumed.state) == state_bytes(whole.state)


def test_another_processor_is_said_and_its_rates_count(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json(PRODUCTS, {"processor": "another", "rates": THEIRS})
    kept = KeptRates.read(folder)
    assert kept.rates == THEIRS and "the run began on another" in kept.note


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rates": {}}', json.dumps({"rates": 1})])
def test_damaged_rates_are_said_and_measured_anew(tmp_path, content):
    folder = RunFolder.create(tmp_path / "run")
    (folder.path / PRODUCTS).write_text(content)
    kept = KeptRates.read(folder)
    assert kept.rates is None and "damaged" in kept.note
    run = compiled(kept.rates)
    run.program()
    kept.keep(run)
    assert KeptRates.read(folder).rates == OURS


def test_ranks_and_what_is_recorded_go_by_them_too(tmp_path):
    """A team of one, and the program that records; the machine's own rates say otherwise."""
    model = Model()
    run = new(model, tmp_path / "run")
    (run.folder.path / PRODUCTS).write_text(
        json.dumps({"processor": processor_name(), "rates": THEIRS})
    )
    team = Team(run, Lone())
    recorder = Recorder(run.graph, fuse=True, product_rates=KeptRates.read(run.folder).rates)
    feeds = run.task.feeds(0)
    team.run(run.state, feeds)
    recorder.run(run.state, feeds)
    assert team.compiled.product_rates == THEIRS == recorder._compiled.product_rates
