"""`graphgrad render --output x.html`: the page of a model and of a run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from graphgrad.models import BUILTIN
from graphgrad.tools.main import main
from graphgrad.training.runs import create_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'id="page-data">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


def test_a_model_becomes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.html"
    assert main(["render", "feedforward", "--output", str(path)]) == 0
    data = data_of(path.read_text())
    assert data["title"] == "feedforward" and data["view"] == "mirror"
    assert data["sections"] == {} and data["sizes"]["batch"] > 1
    assert [item.name for item in tmp_path.iterdir()] == ["network.html"]
    assert "written" in capsys.readouterr().out


def test_forward_leaves_the_deltas_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "feedforward", "--forward", "--format", "html"]) == 0
    data = data_of(capsys.readouterr().out)
    assert data["view"] == "forward" and not data["hasDeltas"]


def test_a_run_becomes_a_page_with_its_figures(tmp_path: Path) -> None:
    model = load_model("feedforward", BUILTIN)
    run = create_run(model, with_assignments(model.settings, ["steps=1"]), tmp_path / "run-1")
    path = tmp_path / "run.html"
    assert main(["render", str(run.folder.path), "--output", str(path)]) == 0
    data = data_of(path.read_text())
    assert data["title"] == "run-1" and {"run", "passes"} <= set(data["sections"])
    assert any(node["part"] == "update" for node in data["nodes"])


def test_several_runs_are_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("feedforward", BUILTIN)
    settings = with_assignments(model.settings, ["steps=1"])
    runs = [create_run(model, settings, tmp_path / name / "run").folder for name in ("one", "two")]
    for number, folder in enumerate(runs):
        folder.append_metrics({"step": 1, "loss": 0.5 + number})
    one, two = (str(folder.path) for folder in runs)
    path = tmp_path / "both.html"
    assert main(["render", one, "-o", str(path), two]) == 0
    section = data_of(path.read_text())["sections"]["training"]
    assert section["runs"] == ["run", "run (2)"]
    assert [figure["name"] for figure in section["figures"]] == ["loss"]
    for words in (
        [one, two],
        [one, two, "-o", str(tmp_path / "x.svg")],
        [one, two, "--forward", "-o", str(path)],
        ["feedforward", two, "-o", str(path)],
    ):
        assert main(["render", *words]) == 2
        assert "shows several runs" in capsys.readouterr().err
    assert main(["render", one, str(tmp_path / "no"), "-o", str(path)]) == 2
    assert "there is no run no" in capsys.readouterr().err
