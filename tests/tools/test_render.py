"""`graphgrad render`: models, files and run folders as text and pictures."""

import argparse
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.models import BUILTIN
from graphgrad.tools import render
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

MODEL = """
from dataclasses import dataclass
import numpy as np
from graphgrad.graph import Graph, input, normal, parameter, scope
from graphgrad.ops import half_squared_error, matmul, tanh
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    width: int = 3

CHECK = {"width": 2}

def task(settings, files):
    x = input("x", ("batch", 2), settings.dtype)
    truth = input("truth", ("batch", settings.width), settings.dtype)
    with scope("hidden"):
        w = parameter("w", (2, settings.width), normal(1.0), settings.dtype)
        y = tanh(matmul(x, w, name="a"), name="z")
    graph = Graph({"loss": half_squared_error(y, truth, name="loss")})
    data = {"x": np.ones((4, 2)), "truth": np.zeros((4, settings.width))}
    return Task(graph, lambda step: data, lambda state: {"loss": 0.0, "examples": 0})
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "my_model.py"
    path.write_text(MODEL)
    return str(path)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=render.DESCRIPTION)
    render.add_arguments(parser)
    return parser.parse_args(words)


def test_a_models_file_is_printed_as_a_tree(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert render.run(parse(model, "--set", "width=5")) == 0
    text = capsys.readouterr().out
    assert "├─ w  parameter : float32[2, 5]" in text and "δ = δ[z] · (1 - z²)" in text
    assert render.run(parse(model, "--forward")) == 0
    assert "δ" not in capsys.readouterr().out


def test_built_in_models_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert render.run(parse("feedforward", "--format", "dot")) == 0
    text = capsys.readouterr().out
    assert text.startswith("digraph") and "dir=back" in text and "x1→h2" in text
    assert render.run(parse("feedforward", "--format", "dot", "--parameters", "nodes")) == 0
    assert "x1→h2" not in capsys.readouterr().out


def test_a_run_folder_is_drawn_with_its_settings(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load_model(model, BUILTIN)
    create_run(found, with_assignments(found.settings, ["width=7"]), tmp_path / "run")
    assert render.run(parse(str(tmp_path / "run"), "--format", "json")) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert [2, 7] in [node["shape"] for node in nodes if node["name"] == "hidden.w"]


def test_a_picture_of_a_run_says_what_the_run_knows(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, run = load_model(model, BUILTIN), tmp_path / "run"
    create_run(found, found.settings, run)
    opened = open_run(run, BUILTIN)
    loss = {}
    for form in ("dot", "mermaid", "txt", "json"):
        assert render.run(parse(str(run), "--format", form)) == 0
        drawn = capsys.readouterr().out
        assert render.run(parse(model, "--format", form)) == 0
        assert drawn != capsys.readouterr().out, "not the picture of the untrained model"
        if form == "json":
            told = json.loads(drawn)["run"]
            assert (told["name"], told["step"], told["batch"]) == ("run", 0, 0)
            loss[form] = f"{told['loss']:.4g}"
        else:
            said = re.search(r"run · after step 0 · loss (\S+) on the batch of step 0", drawn)
            assert said is not None
            loss[form] = said[1]
    feeds, w = opened.task.feeds(0), opened.state["hidden.w"]
    errors = np.tanh(feeds["x"] @ w) - feeds["truth"]
    assert set(loss.values()) == {f"{0.5 * np.sum(errors**2):.4g}"}
    assert render.run(parse(str(run), "--format", "dot", "--no-figures")) == 0
    plainly = capsys.readouterr().out
    assert "after step" not in plainly and "‖δ‖" not in plainly and "hidden" in plainly


@needs_dot
def test_a_file_is_written_in_the_format_of_its_ending(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "graph.svg"
    assert render.run(parse(model, "-o", str(output), "--deltas", "nodes", "--depth", "3")) == 0
    assert output.read_bytes().startswith(b"<?xml")
    assert capsys.readouterr().out == f"written {output} ({output.stat().st_size:,} bytes)\n"


@needs_dot
def test_an_image_goes_to_a_pipe_but_not_to_a_terminal(
    model: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert render.run(parse(model, "--format", "png")) == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(ConfigurationError, match=r"--output graph\.png"):
        render.run(parse(model, "--format", "png"))


def test_mistakes_are_named(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'width'"):
        render.run(parse(model, "--set", "widht=5"))
    with pytest.raises(UnknownNameError, match="feedforward"):
        render.run(parse("feedforwrd"))
    with pytest.raises(ConfigurationError, match="formats: txt"):
        render.run(parse(model, "-o", str(tmp_path / "graph.bmp")))
    with pytest.raises(SystemExit):
        parse(model, "--forward", "--deltas", "nodes")
    assert not (tmp_path / "graph.bmp").exists()


def test_the_help_is_one_line() -> None:
    assert "\n" not in render.HELP and len(render.HELP) < 80


def test_a_glance_a_direction_and_mermaid_can_be_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("transformer", "--fold", "--forward", "--direction", "up", "--format")
    assert render.run(parse(*words, "mermaid")) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("flowchart BT") and "encoder.0 … encoder.1  ×2" in shown
    assert render.run(parse(*words, "dot")) == 0
    assert "rankdir=BT" in capsys.readouterr().out


def test_cut_deltas_of_a_run_are_drawn_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load_model("feedforward", BUILTIN)
    settings = with_assignments(found.settings, ["surgery=clip hidden.h2.z 0.1"])
    create_run(found, settings, tmp_path / "run")
    assert render.run(parse(str(tmp_path / "run"), "--format", "json")) == 0
    names = [node["names"] for node in json.loads(capsys.readouterr().out)["nodes"]]
    assert any("hidden.h2.z.delta.clip" in answered for answered in names)
    assert render.run(parse(str(tmp_path / "run"), "--forward", "--format", "json")) == 0
    assert "delta.clip" not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["txt", "dot", "mermaid", "html"])
def test_what_ranks_exchange_is_in_every_picture(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"picture.{form}"
    assert render.run(parse("attention", "--ranks", "2", "-o", str(file))) == 0
    assert "2 ranks: a step adds up 516 bytes over the ranks in 1 coll" in capsys.readouterr().out
    assert "516 bytes" in file.read_text(encoding="utf-8")
    assert render.run(parse("attention", "-o", str(file))) == 0
    assert "516 bytes" not in file.read_text(encoding="utf-8")


def test_ranks_share_nothing_but_training() -> None:
    for words in (("--ranks", "0"), ("--ranks", "2", "--graph", "encoding")):
        with pytest.raises(ConfigurationError, match="ranks"):
            render.run(parse("transformer", *words))
