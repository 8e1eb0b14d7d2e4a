"""`graphgrad train` on a model with a planted NaN: the message names the node and its line."""

import pytest

from graphgrad.tools.main import main

MODEL = """
from dataclasses import dataclass
import numpy as np
from graphgrad.graph import Graph, full, input, parameter, scope
from graphgrad.ops import exp, log, mean, multiply, power, sqrt, subtract, tanh
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    steps: int = 20
    checkpoint_every: int = 1
    warmup: int = 0

def task(settings, files):
    x = input("x", ("batch", 3))
    w = parameter("w", (3,), full(1.0))
    with scope("net"):
        start = multiply(x, w, name="start")
        PLANTED
        middle = tanh(planted, name="middle")
        apart = subtract(middle, 0.5, name="apart")
        loss = mean(multiply(apart, apart), name="loss")

    def feeds(step):
        batch = np.full((2, 3), 0.5, np.float32)
        if step == 4:
            batch[1, 2] = BAD
        return {"x": batch}

    return Task(Graph({"loss": loss}), feeds, lambda state: {"loss": 0.0, "examples": 0})
"""


@pytest.mark.parametrize(
    "planted, bad, part, node, kind",
    [
        ('planted = log(start, name="planted")', "-1", "value", "net.planted [2, 3]", "NaN"),
        ('planted = sqrt(start, name="planted")', "-1", "value", "net.planted [2, 3]", "NaN"),
        ('planted = exp(start * 100.0, name="planted")', "1", "value", "net.planted [2, 3]", "inf"),
        # finite forward; backward √ divides by 0, and 0 · ∞ would be found further on
        ('planted = sqrt(start, name="planted")', "0", "delta", "net.start.delta [2, 3]", "inf"),
        (
            'planted = power(start, 0.5, name="planted")',
            "0",
            "delta",
            "net.planted.rule.power [2, 3]",
            "inf",
        ),
    ],
    ids=["log", "sqrt", "exp", "backward of sqrt", "backward of power"],
)
@pytest.mark.parametrize("recorded", [[], ["--inspect-every", "1"]], ids=["plain", "recorded"])
def test_a_planted_nan_is_named(
    tmp_path, capsys, monkeypatch, planted, bad, part, node, kind, recorded
):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    file = tmp_path / "planted.py"
    text = MODEL.replace("PLANTED", planted).replace("BAD", bad)
    file.write_text(text, encoding="utf-8")
    line = text.split("\n").index("        " + planted) + 1
    assert main(["train", str(file), "--run", str(tmp_path / "run"), *recorded]) == 2
    message = capsys.readouterr().err
    assert f"step 5: the {part} {node}" in message, message
    assert "is the first that is not finite" in message and kind in message
    assert f"{file}:{line}\n" in message, message
    assert message.count("\n") < 8 and "Traceback" not in message


def test_the_run_can_be_looked_into_where_it_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    file = tmp_path / "planted.py"
    planted = 'planted = log(start, name="planted")'
    file.write_text(MODEL.replace("PLANTED", planted).replace("BAD", "-1"), encoding="utf-8")
    run = str(tmp_path / "run")
    assert main(["train", str(file), "--run", run, "--inspect-every", "1"]) == 2
    capsys.readouterr()
    assert main(["inspect", run, "--where", "non_finite>0"]) == 0
    names = [
        line.split()[0]
        for line in capsys.readouterr().out.splitlines()[1:]
        if not line.startswith(" ")
    ]
    assert names[0] == "net.planted"
    assert main(["inspect", run, "--steps", "--figure", "minimum", "--node", "net.start"]) == 0
    assert "step 4" in capsys.readouterr().out  # the last that was whole
