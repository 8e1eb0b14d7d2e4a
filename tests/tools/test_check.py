"""`graphgrad check`: verdicts as text and JSON, exit codes, and the state it checks with."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from graphgrad.checks.finite_differences import Verdict
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.graph import ONES, Graph, initial_state, input, normal, parameter, state
from graphgrad.ops import sum
from graphgrad.tools import check

MODEL = """
from dataclasses import dataclass, replace
import numpy as np
from graphgrad.graph import Graph, input, parameter
from graphgrad.ops import half_squared_error, matmul, tanh
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    width: int = 300
    rule: str = "right"

CHECK = {"width": 2}
RULES = {"right": tanh.delta, "wrong": lambda delta, y, x: (delta * (1.0 - y),)}

def task(settings, files):
    x = input("x", ("batch", 2), settings.dtype)
    truth = input("truth", ("batch", settings.width), settings.dtype)
    w = parameter("w", (2, settings.width), dtype=settings.dtype)
    activation = replace(tanh, name="activation", delta=RULES[settings.rule])
    y = activation(matmul(x, w, name="a"), name="z")
    graph = Graph({"loss": half_squared_error(y, truth, name="loss")})
    assert settings.dtype == "float32" or settings.width < 10, "the settings of CHECK count"
    data = {"x": np.ones((4, 2)), "truth": np.ones((4, settings.width))}
    return Task(graph, lambda step: data, lambda state: {"loss": 0.0, "examples": 0})
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "checked_model.py"
    path.write_text(MODEL)
    return str(path)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=check.DESCRIPTION)
    check.add_arguments(parser)
    return parser.parse_args(words)


def test_a_right_model_passes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(parse(model)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["verdict", "node", "operation", "shape", "relative", "error"]
    assert [line.split()[1] for line in lines if line.startswith("ok ")] == [
        "x",
        "truth",
        "w",
        "a",
        "z",
        "loss",
    ]
    assert lines[-2].startswith("checked_model: 6 ok, in ")
    assert lines[-1].startswith("the program that trains agrees with the reference (")


def test_a_wrong_rule_is_named_and_the_exit_code_is_one(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.run(parse(model, "--set", "rule=wrong", "--node", "w", "--node", "z")) == 1
    text = capsys.readouterr().out
    assert "wrong    w     parameter   [2, 2]" in text
    assert "    suspect: z, activation: δ · (1 - y²)\n" in text
    assert "    by differences " in text and "checked_model.py:" in text
    line = text.split("suspect: z, activation: δ · (1 - y²)\n")[1].splitlines()
    assert line[0].endswith("checked_model.py:22") and "declared at" in line[0]
    assert line[1].endswith("checked_model.py:15") and "rule is written at" in line[1]
    assert "checked_model: 1 wrong, 1 ok, in " in text


def test_each_tail_of_a_named_node_is_compared_on_its_own(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.run(parse(model, "--set", "rule=wrong", "--node", "a")) == 1
    text = capsys.readouterr().out
    assert "    wrong    <- z  activation: δ · (1 - y²)   by differences " in text
    assert check.run(parse("feedforward", "--node", "hidden.h2.z")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "<-" in line]
    assert [line.split()[:3] for line in lines] == [
        ["ok", "<-", f"output.y{k}.from_h2"] for k in (1, 2, 3)
    ]


def test_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(parse(model, "--json", "--set", "rule=wrong", "--node", "?")) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"wrong": 3, "ok": 1} and found["model"] == model
    verdicts = {item["name"]: item for item in found["verdicts"]}
    assert verdicts["w"]["suspect"] == "z" and verdicts["z"]["verdict"] == "ok"
    assert verdicts["w"]["shape"] == [2, 2]


def test_built_in_models_pass(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("feedforward", "attention"):
        assert check.run(parse(name, "--json")) == 0
        assert set(json.loads(capsys.readouterr().out)["counts"]) == {"ok"}


def test_parameters_of_one_constant_are_shaken() -> None:
    x, zeros = input("x", 3, "float64"), parameter("zeros", 3, dtype="float64")
    ones = parameter("ones", 3, ONES, "float64")
    drawn = parameter("drawn", 3, normal(1.0), "float64")
    step = state("step", dtype="int32")
    graph = Graph({"loss": sum(x * zeros * ones * drawn)}, {step: step + 1})
    before, found = initial_state(graph, 4), check.shaken(graph, 4)
    assert np.ptp(found["zeros"]) > 0 and np.all(np.abs(found["ones"] - 1) < 0.5)
    assert np.array_equal(found["drawn"], before["drawn"]) and found["step"] == before["step"]
    again = check.shaken(graph, 4)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_names_are_one_line_each() -> None:
    verdict = Verdict("a\n\x1b[2J", "tanh", (2,), "kink", 1.0, 0.5, 0.5, "δ[z]")
    assert list(check.text_lines([verdict])) == [
        "verdict  node        operation  shape  relative error",
        "kink     a\\n\\x1b[2J  tanh       [2]    5.0e-01",
        "    by differences 1, by δ 0.5",
        "    δ = δ[z]",
    ]


def test_mistakes_are_named(model: str) -> None:
    with pytest.raises(UnknownNameError, match="no node is called 'q'"):
        check.run(parse(model, "--node", "q"))
    with pytest.raises(ConfigurationError, match="there is no setting"):
        check.run(parse(model, "--set", "weight=1"))


def test_the_help_is_one_line() -> None:
    assert "\n" not in check.HELP and len(check.HELP) < 80


RISKY = MODEL.replace(
    'y = activation(matmul(x, w, name="a"), name="z")',
    'y = log(activation(matmul(x, w), name="z"), name="risk")',
).replace("import half", "import log, half")


def test_lint_names_what_is_likely_to_go_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "risky.py"
    path.write_text(RISKY)
    assert check.run(parse(str(path), "--lint", "--set", "width=3")) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("risk (log): log of a value that can be 0 or negative: NaN\n  where: ")
    assert f"{path}:22" in shown and "risky: 1 finding, " in shown
    assert check.run(parse(str(path), "--lint", "--set", "width=3", "--json")) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["node"] == "risk"
    assert check.run(parse("transformer", "--lint")) == 0
    assert capsys.readouterr().out.startswith("transformer: clean, ")
