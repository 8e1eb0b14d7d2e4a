"""`graphgrad check`: the program that trains against the reference, of models and of runs."""

import json

import pytest

from graphgrad.tools.main import main

MODEL = """
from dataclasses import dataclass

import numpy as np

import graphgrad as gg
from graphgrad.ops.rules import elementwise
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

halved = elementwise(
    "halved", "x / 2", "{0} * FACTOR", compute=lambda xp, out, x: xp.multiply(x, 0.5, out=out),
    delta=lambda delta, y, x: (delta * 0.5,), delta_formula="δ / 2",
)
CHECK = {"batch_size": 3}

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 2
    batch_size: int = 64

def task(settings, files):
    x = gg.input("x", ("batch", 128), settings.dtype)
    w = gg.parameter("w", (128,), gg.normal(1.0), settings.dtype)
    loss = gg.mean(gg.tanh(halved(x * w, name="half")), name="loss")
    def feeds(step):
        drawn = np.random.default_rng(step).normal(size=(settings.batch_size, 128))
        return {"x": drawn.astype(settings.dtype)}
    return Task(gg.Graph({"loss": loss}), feeds, lambda state: {"loss": 0.0, "examples": 1})
"""


@pytest.fixture
def model(tmp_path):
    def write(factor):
        path = tmp_path / "model.py"
        path.write_text(MODEL.replace("FACTOR", factor), encoding="utf-8")
        return str(path)

    return write


def test_a_right_program_is_told_in_one_line(model, capsys):
    assert main(["check", model("0.5")]) == 0
    out = capsys.readouterr().out
    assert "the program that trains agrees with the reference" in out and "kernels" in out


def test_a_wrong_kernel_is_named_where_every_delta_is_right(model, capsys):
    path = model("0.51")
    assert main(["check", path]) == 1
    out = capsys.readouterr().out
    assert "wrong  " not in out  # the finite differences find nothing: they use no kernel
    assert "the program that trains is wrong" in out and "computed by kernel_" in out
    line = 1 + MODEL.splitlines().index(
        next(each for each in MODEL.splitlines() if "loss =" in each)
    )
    assert f"declared at {path}:{line}" in out


def test_the_report_has_both_figures(model, capsys):
    assert main(["check", model("0.51"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["program"]["difference"]
    assert found["program"] != found["reference"] and found["step"].startswith("kernel_")
    assert found["origin"] and found["index"] is not None
    assert main(["check", model("0.5"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["program"]
    assert report["difference"] is None and report["values"] > 0 < report["kernels"]


def test_a_run_is_compared_from_its_state(tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["train", "feedforward", "--run", folder, "--set", "steps=3"]) == 0
    capsys.readouterr()
    assert main(["check", folder, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "feedforward" and report["counts"]["ok"] > 0
    assert report["program"]["difference"] is None
    assert main(["check", folder, "--lint"]) == 0


def test_a_program_without_kernels_is_compared_too(model, capsys):
    assert main(["check", model("0.51"), "--set", "fuse=false"]) == 0
    assert "0 of them kernels" in capsys.readouterr().out
