"""`graphgrad inspect` over recorded steps and over two runs."""

import csv
import io
import json

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.reports.history import read_history
from graphgrad.tools import inspect
from graphgrad.tools.main import main, parser
from graphgrad.training.run_folder import RunFolder

OPTIONS = ["--set", "steps=12", "--set", "checkpoint_every=6", "--set", "batch_size=8"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the lecture's network from different seeds; both recorded every 4 steps."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        assert (
            main(
                [
                    "train",
                    "feedforward",
                    "--run",
                    str(folder / f"seed{seed}"),
                    *OPTIONS,
                    "--set",
                    f"seed={seed}",
                    "--inspect-every",
                    "4",
                ]
            )
            == 0
        )
    return str(folder / "seed0"), str(folder / "seed1")


def out(capsys, *words):
    capsys.readouterr()
    assert main(["inspect", *words]) == 0
    return capsys.readouterr().out


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_steps_are_columns_and_values_and_deltas_rows(runs, capsys):
    found = rows(out(capsys, runs[0], "--steps", "--node", "hidden.h2.*"))
    assert found[0] == ["node", "course", "step", "1", "step", "4", "step", "8", "step", "12"]
    history = read_history(RunFolder.open(runs[0]))
    by_name = {row[0]: row[2:] for row in found[1:]}
    assert set(by_name) >= {"hidden.h2.a", "hidden.h2.a.delta", "hidden.h2.z", "hidden.h2.z.delta"}
    assert all(name.startswith("hidden.h2.") for name in by_name)
    for name in by_name:
        assert by_name[name] == [f"{value:.3g}" for value in history.of(name, "norm")]


def test_update_ratios_are_of_parameters_only(runs, capsys):
    found = rows(
        out(
            capsys,
            runs[0],
            "--steps",
            "--figure",
            "update_ratio",
            "--sort",
            "update_ratio",
            "--limit",
            "3",
        )
    )
    assert len(found) == 4 and all("->" in row[0] or ".bias" in row[0] for row in found[1:])
    assert [float(row[-1]) for row in found[1:]] == sorted(
        (float(row[-1]) for row in found[1:]), reverse=True
    )


def test_csv_and_json_hold_every_figure_of_every_step(runs, capsys):
    history = read_history(RunFolder.open(runs[0])).chosen(["hidden.h1.z"])
    lines = list(
        csv.DictReader(
            io.StringIO(out(capsys, runs[0], "--steps", "--csv", "--node", "hidden.h1.z"))
        )
    )
    assert [(int(line["step"]), line["node"]) for line in lines] == [
        (step, name) for step in (1, 4, 8, 12) for name in history.names
    ]
    for line in lines:
        value = history.of(line["node"], "std")[history.steps.index(int(line["step"]))]
        assert float(line["std"]) == value and line["update_ratio"] == ""
    found = json.loads(out(capsys, runs[0], "--steps", "--json", "--node", "hidden.h1.z"))
    assert found["steps"] == [1, 4, 8, 12] and tuple(found["names"]) == history.names
    values = np.array(found["values"], float)  # null is NaN
    np.testing.assert_array_equal(values, history.values)


def test_conditions_filter_the_last_step(runs, capsys):
    text = out(capsys, runs[0], "--steps", "--where", "update_ratio>0", "--csv")
    names = {line["node"] for line in csv.DictReader(io.StringIO(text))}
    assert names and all("->" in name or ".bias" in name for name in names)
    assert out(capsys, runs[0], "--where", "norm<0", "--csv").count("\n") == 1


def test_one_batch_as_csv(runs, capsys):
    text = out(capsys, runs[0], "--node", "hidden.h2.z", "--csv")
    lines = {line["node"]: line for line in csv.DictReader(io.StringIO(text))}
    report = json.loads(out(capsys, runs[0], "--node", "hidden.h2.z", "--json"))["nodes"][0]
    assert list(lines) == ["hidden.h2.z", "hidden.h2.z.delta"]
    for figure in ("mean", "std", "norm", "zeros", "maximum"):
        assert float(lines["hidden.h2.z"][figure]) == report["value"][figure]
        assert float(lines["hidden.h2.z.delta"][figure]) == report["delta"][figure]


@pytest.mark.parametrize("steps", [[], ["--steps"]], ids=["one batch", "recorded"])
def test_two_runs_side_by_side(runs, capsys, steps):
    found = json.loads(
        out(capsys, *runs[:1], "--compare", runs[1], *steps, "--json", "--figure", "delta_norm")
    )
    ratios = [abs(np.log(node["ratio"])) for node in found["nodes"] if node["ratio"]]
    assert len(ratios) > 20 and ratios == sorted(ratios, reverse=True) and ratios[0] > 0
    own = json.loads(out(capsys, runs[1], "--node", "hidden.h2.z", "--batch", "12", "--json"))
    if not steps:
        (pair,) = [node for node in found["nodes"] if node["name"] == "hidden.h2.z"]
        assert pair["second"] == own["nodes"][0]["delta"]["norm"]
    table = rows(out(capsys, runs[0], "--compare", runs[1], *steps, "--limit", "2"))
    assert table[0] == ["node", "first", "second", "ratio"] and len(table) == 3
    lines = out(capsys, runs[0], "--compare", runs[1], *steps, "--csv", "--where", "norm>1")
    assert all(float(line["first"]) > 1 for line in csv.DictReader(io.StringIO(lines)))


def test_a_run_is_like_itself(runs, capsys):
    found = json.loads(out(capsys, runs[0], "--compare", runs[0], "--json"))
    assert all(node["first"] == node["second"] for node in found["nodes"])
    assert found["only_first"] == found["only_second"] == []


def test_mistakes_are_named(runs):
    def fails(error, match, *words):
        arguments = parser().parse_args(["inspect", *words])
        with pytest.raises(error, match=match):
            inspect.run(arguments)

    fails(ConfigurationError, "no figure 'sdt'", runs[0], "--steps", "--figure", "sdt")
    fails(ConfigurationError, "no figure 'update_ratio'", runs[0], "--sort", "update_ratio")
    fails(ConfigurationError, "not a condition", runs[0], "--where", "zeros")
    fails(ConfigurationError, "sorts by the diff", runs[0], "--compare", runs[1], "--sort", "norm")
    fails(UnknownNameError, "no node with|nothing is recorded", runs[0], "--steps", "--node", "q.*")
    fails(UnknownNameError, "there is no run", runs[0], "--compare", runs[0] + "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--explain", "hidden.h1.a", "--steps"), "--steps does nothing"),
        (("--explain", "hidden.h1.a", "--limit", "0"), "--limit does nothing"),
        (("--explain", "hidden.h1.a", "--node", "x*"), "--node does nothing"),
        (("--depth", "3"), "--depth belongs to --explain"),
        (("--figure", "std"), "--figure belongs to --steps and --compare"),
        (("--limit", "-1"), "--limit must be at least 0, not -1"),
    ],
)
def test_an_option_without_effect_is_refused(runs, words, message):
    with pytest.raises(ConfigurationError, match=message):
        inspect.run(parser().parse_args(["inspect", runs[0], *words]))
    with pytest.raises(SystemExit):
        parser().parse_args(["inspect", runs[0], "--json", "--csv"])
