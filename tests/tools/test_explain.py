"""`graphgrad inspect --explain`: models and runs, plain, in colour and as JSON."""

import argparse
import json
from pathlib import Path

import pytest

from graphgrad.errors import UnknownNameError
from graphgrad.models import BUILTIN
from graphgrad.tools import inspect
from graphgrad.training.runs import create_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model

WRONG = """
from dataclasses import dataclass, replace
import numpy as np
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.ops import half_squared_error, matmul, tanh
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    pass

bad = replace(tanh, name="bad", delta=lambda delta, y, x: (delta,))

def task(settings, files):
    x = input("x", ("batch", 2), settings.dtype)
    truth = input("truth", ("batch", 2), settings.dtype)
    w = parameter("w", (2, 2), normal(1.0), settings.dtype)
    y = bad(matmul(x, w, name="a"), name="z")
    graph = Graph({"loss": half_squared_error(y, truth, name="loss")})
    data = {"x": np.ones((4, 2)), "truth": np.ones((4, 2))}
    return Task(graph, lambda step: data, lambda state: {"loss": 0.0, "examples": 0})
"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return parser.parse_args(words)


def test_a_model_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.run(parse("feedforward", "--explain", "hidden.h2.a")) == 0
    shown = capsys.readouterr().out
    assert "δ[z] = δ[output.y1.a] · w.h2->y1" in shown and "✓" in shown and "✗" not in shown
    assert max(map(len, shown.splitlines())) < 125


def test_a_run_is_explained_in_float64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("feedforward", BUILTIN)
    create_run(model, with_assignments(model.settings, ["batch_size=6"]), tmp_path / "run")
    words = (str(tmp_path / "run"), "--explain", "output.y1.a", "--batch", "3", "--json")
    assert inspect.run(parse(*words)) == 0
    captured = capsys.readouterr()
    assert "untrained" in captured.err
    found = json.loads(captured.out)
    assert found["shape"] == [6] and found["agrees"] and found["verdict"]["verdict"] == "ok"


def test_a_wrong_rule_is_shown_and_gives_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    assert inspect.run(parse(str(path), "--explain", "a")) == 1
    shown = capsys.readouterr().out
    assert "✗" in shown and f"to blame: z, bad: δ · (1 - y²)  {path}:19" in shown


def test_a_terminal_gets_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert inspect.run(parse("feedforward", "--explain", "hidden.h1.z", "--depth", "2")) == 0
    shown = capsys.readouterr().out
    assert "\x1b[" in shown and "taken as given" in shown


def test_an_unknown_node_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'hidden\.h\d\.a'"):
        inspect.run(parse("feedforward", "--explain", "hiden.h2.a"))
