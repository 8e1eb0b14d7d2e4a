"""Which sections a run has, from its newest state and one batch; nothing of the run changes."""

import io
from pathlib import Path

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.models import BUILTIN
from graphgrad.page import build_page
from graphgrad.page.run_sections import GUARDS, Shown, run_sections
from graphgrad.passes import sizes_of
from graphgrad.training.progress import Progress
from graphgrad.training.runs import OpenRun, create_run, open_run
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train


def made(name: str, folder: Path) -> OpenRun:
    model = load_model(name, BUILTIN)
    return create_run(model, with_values(model.settings, {"batch_size": 4}), folder / "run")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("feedforward", {"run", "passes"}), ("attention", {"run", "attention", "passes"})],
)
def test_a_run_has_the_sections_that_it_has_something_for(
    name: str, expected: set[str], tmp_path: Path
) -> None:
    run = made(name, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    state = {key: array.copy() for key, array in run.state.items()}
    sections = run_sections(run)
    assert sections.keys() == expected
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(np.array_equal(array, state[key]) for key, array in run.state.items())
    assert sections == run_sections(run), "the same run gives the same sections"
    assert build_page(run.graph, sections=sections) == build_page(run.graph, sections=sections)


def test_another_batch_gives_other_figures(tmp_path: Path) -> None:
    run = made("attention", tmp_path)
    first, second = run_sections(run), run_sections(run, Shown(batch=5))
    assert (first["run"]["batch"], second["run"]["batch"]) == (0, 5)
    assert first["run"]["rows"] != second["run"]["rows"]
    assert first["passes"] == second["passes"]


def test_a_finished_run_shows_a_step_at_the_rate_of_its_last(tmp_path: Path) -> None:
    model = load_model("feedforward", BUILTIN)
    values = {"steps": 5, "schedule": "linear", "learning_rate": 0.1, "evaluate_every": 100}
    run = create_run(model, with_values(model.settings, values), tmp_path / "run")
    train(run, progress=Progress(5, stream=io.StringIO()))
    finished = open_run(tmp_path / "run", BUILTIN)
    found = run_sections(finished)["run"]
    rates = [line["learning_rate"] for line in finished.folder.metrics()]
    assert found["step"] == 5 and found["outputs"]["learning_rate"] == pytest.approx(rates[-1])
    assert rates[-1] == pytest.approx(0.1 / 6, rel=1e-6)
    ratios = [entry["update"]["ratio"] for entry in found["nodes"].values() if "update" in entry]
    assert ratios and all(ratio > 0 for ratio in ratios)


def test_a_run_is_shown_in_its_precision(tmp_path: Path) -> None:
    model = load_model("attention", BUILTIN)
    values = {"batch_size": 4, "precision": "bf16"}
    run = create_run(model, with_values(model.settings, values), tmp_path / "run")
    sections = run_sections(run)
    passes, shown = sections["passes"], sections["run"]
    names = [step["name"] for step in passes["steps"]]
    assert names.index("in_bfloat16") < names.index("decompose")
    step = passes["steps"][names.index("in_bfloat16")]
    assert step["counts"]["added"] > 5 and step["purpose"].startswith("Mixed precision")
    assert sum(": bfloat16[" in line for line in passes["optimised"]) > 5
    compiled = compile(run.graph, guards=GUARDS, fuse=run.settings.fuse, precision="bf16")
    feeds = run.task.feeds(0)
    program = compiled.program(**sizes_of(run.graph, feeds))
    assert [line[:239] for line in program.source.split("\n")] == [
        line[:239] for line in passes["program"]
    ]
    found = compiled({name: array.copy() for name, array in run.state.items()}, feeds)
    for name in GUARDS:
        assert shown["outputs"][name] == pytest.approx(float(found[name]), 1e-5)
    rounded = [name for name in shown["nodes"] if name.endswith(".bfloat16")]
    assert len(rounded) > 5, "a cast has figures as the picture has it"
