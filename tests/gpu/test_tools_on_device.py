"""The commands on a device that is this processor, and what they say where there is none."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cpu_device import needs_compiler
from train_command import SMALL, begin, write_lines

import graphgrad as gg
from graphgrad.models import transformer
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import TIMING, RecipeWorkload, Workload
from graphgrad.tools import train
from graphgrad.tools.main import main
from graphgrad.tools.peers import graphgrad_peer


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = main(list(words))
    out = capsys.readouterr()
    assert code == 0, out.err
    return out.out


@needs_compiler
def test_a_translation_run_is_trained_and_used_on_the_device(device, here, capsys):
    """With evaluation, decoding and recording on the way; every use gives what numpy gives."""
    write_lines(here)
    values = ("steps=2", "evaluate_every=2", "validation_size=2", "dtype=float64", "warmup=1")
    said(capsys, *begin(*values, "inspect_every=2", "backend=cupy"))
    log = Path("run/log.txt").read_text()
    assert "held-out" in log and "finished" in log
    assert device.captures >= 3  # the step, its recording twin, evaluation, decoding
    starts = device.starts
    own = said(capsys, "translate", "run", "one two", "--beam", "2", "--scores")
    assert device.starts > starts, "a run is used where it was trained"
    assert own == said(
        capsys, "translate", "run", "one two", "--beam", "2", "--scores", "--backend", "numpy"
    )
    found, wanted = (
        json.loads(said(capsys, "evaluate", "run", "--json", "--backend", backend))
        for backend in ("cupy", "numpy")
    )
    figures = {name for name, value in wanted.items() if isinstance(value, float)}
    assert "loss" in figures
    assert {n: found[n] for n in figures} == pytest.approx(
        {n: wanted[n] for n in figures}, rel=1e-6
    )


@needs_compiler
def test_a_run_of_a_device_is_used_where_there_is_none(device, here, capsys, monkeypatch):
    monkeypatch.setattr(train, "busy_note", lambda: "the processor is busy")
    words = ["train", "feedforward", "--set", "steps=3"]
    assert "busy" in said(capsys, *words, "--run", "other")
    assert "busy" not in said(capsys, *words, "--run", "run", "--backend", "cupy")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["evaluate", "run"]) == 0
    assert "note: the run is used on the processor: the backend cupy" in capsys.readouterr().err


@needs_compiler
@pytest.mark.parametrize("model", ["feedforward", "attention"])
def test_models_are_checked_inspected_and_profiled_on_the_device(device, here, capsys, model):
    assert "agrees with the reference" in said(capsys, "check", model, "--backend", "cupy")
    said(capsys, "train", model, "--run", "run", "--set", "steps=2")
    tables = [
        said(capsys, "inspect", "run", "--csv", "--backend", backend)
        for backend in ("cupy", "numpy")
    ]
    rows = [[line.split(",") for line in table.splitlines()] for table in tables]
    assert [row[0] for row in rows[0]] == [row[0] for row in rows[1]] and len(rows[0]) > 9
    norms = [np.array([float(row[3] or 0) for row in table[1:]]) for table in rows]
    np.testing.assert_allclose(*norms, 1e-4, 1e-6)
    profile = json.loads(
        said(capsys, "profile", model, "--json", "--steps", "2", "--backend", "cupy")
    )
    names = [name for line in profile["nodes"] for name in line["name"].split(", ")]
    assert "loss" in names and all(line["seconds"] > 0 for line in profile["nodes"])
    said(capsys, "profile", model, "--backend", "cupy", "--steps", "2", "--trace", "trace.json")
    events = json.loads(Path("trace.json").read_text())["traceEvents"]
    assert len(events) == len(profile["nodes"])


@needs_compiler
def test_a_language_model_writes_and_fills_on_the_device(device, here, capsys):
    tiny = ["layers=1", "width=8", "heads=2", "inner=8", "context=12", "batch_size=1", "steps=2"]
    Path("text.py").write_text("def close(self): return self.closed\n" * 60)
    for model, use in (
        ("gpt", ["generate", "run-gpt", "def ", "--length", "3", "--temperature", "0"]),
        ("bert", ["fill", "run-bert", "def [MASK]", "--top", "2"]),
    ):
        folder = f"run-{model}"
        words = ["train", model, "--text", "text.py", "--run", folder, "--backend", "cupy"]
        said(capsys, *words, *sets([*tiny, "tokens=character"]))
        found, wanted = (said(capsys, *use, "--backend", b) for b in ("cupy", "numpy"))
        assert found == wanted and found.strip()


@needs_compiler
def test_the_launches_of_decoding_are_timed(device, here, capsys):
    write_lines(here)
    values = sets([*SMALL, "source=train.en", "target=train.de", "batch_size=1"])
    words = ["profile", "transformer", "--what", "decoding", "--steps", "1", "--json", *values]
    profiled = said(capsys, *words, "--backend", "cupy")
    names = {name for line in json.loads(profiled)["nodes"] for name in line["name"].split(", ")}
    assert "candidate_logits" in names and any("cross_attention" in name for name in names)


COMMANDS = [
    ["train", "feedforward", "--run", "new"],
    ["evaluate", "run"],
    ["translate", "run", "text"],
    ["generate", "run"],
    ["fill", "run", "text"],
    ["inspect", "run"],
    ["check", "feedforward"],
    ["check", "run"],
    ["profile", "feedforward"],
    ["bench", "--size", "tiny", "--peers", "none"],
    ["bench", "--recipe", "multi30k-tiny", "--peers", "none"],
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in it, trained once: a command that is refused changes nothing there."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["train", "feedforward", "--run", str(folder / "run"), "--set", "steps=1"]
    assert main(words) == 0
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_in_one_sentence_what_is_missing(trained, capsys, monkeypatch, words):
    monkeypatch.chdir(trained)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main([*words, "--backend", "cupy"]) == 2
    error = capsys.readouterr().err
    assert error.count("the backend cupy needs CuPy, which is not installed") == 1
    assert "fix:   python -m pip install 'graphgrad[cuda13]'" in error
    assert "Traceback" not in error and not Path("new").exists()


@needs_compiler
def test_the_step_of_the_bench_and_the_peak_are_measured_on_the_device(device, monkeypatch):
    workload = Workload(16, 16, 2, 1, 30, 4, 4, batch=2)
    graph = graphgrad_peer.training_graph(workload, 0.0)
    state = gg.initial_state(graph, 0)
    parameters = {name: state[name] for name in graph.parameters}
    batch = {
        name.removeprefix(TIMING): value
        for name, value in batches_of(workload).items()
        if name.startswith(TIMING)
    }
    found, wanted = (
        graphgrad_peer.build(variant, workload, parameters, batch, 0.0)
        for variant in ("cupy:simplify", "")
    )
    losses = [[step() for _ in range(3)] for step in (found, wanted)]
    np.testing.assert_allclose(*losses, 1e-5)
    assert device.captures == 1
    monkeypatch.setattr(graphgrad_peer, "PEAK", 64)
    assert graphgrad_peer.peak_gflops("") is None and graphgrad_peer.peak_gflops("cupy:") > 0


@needs_compiler
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 1e-2)])
def test_the_updates_of_a_recipe_are_made_on_the_device(precision, tolerance, device):
    """A program for each shape, and the state stays there. In bf16 kernels of a device round what
    the processor does not, such as the weights of attention."""
    sizes = {"layers": 1, "width": 8, "heads": 2, "inner": 8, "dropout": 0.0, "clip_norm": 1.0}
    settings = dataclasses.replace(transformer.Settings(), **sizes, precision=precision)
    recipe = RecipeWorkload("r", "transformer", dataclasses.asdict(settings), [9, 9], 2, 1)
    graph = graphgrad_peer.recipe_graph(recipe, drops=False)
    state = gg.initial_state(graph, 0)
    parameters = {name: state[name] for name in graph.parameters}
    random = np.random.default_rng(0)
    batches = {
        f"{number}.{side}": random.integers(1, 9, (2, 3 + number), np.int32)
        for number in range(2)
        for side in ("source", "target_input", "target_output")
    }
    losses = []
    for variant in (f"cupy:{precision}", precision):
        given = {**batches, "rates": np.ones(2, np.float32)}
        step = graphgrad_peer.build_recipe(variant, recipe, parameters, given, 0.0)
        losses.append([step() for _ in range(6)])
    np.testing.assert_allclose(*losses, tolerance)
    assert device.captures == 2 and losses[0][5] < losses[0][1]


def test_a_peer_that_has_no_device_is_refused(device, capsys):
    assert main(["bench", "--backend", "cupy", "--peers", "pytensor"]) == 2
    error = capsys.readouterr().err
    assert "pytensor does not run on a device here" in error and "--peers torch" in error
