"""`graphgrad inspect`: figures of a run as text, table and JSON."""

import argparse
import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from graphgrad.errors import UnknownNameError
from graphgrad.figures.array_figures import Figures
from graphgrad.figures.node_report import NodeReport
from graphgrad.models import BUILTIN
from graphgrad.tools import inspect
from graphgrad.training.runs import create_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of the lecture's network that is not trained yet."""
    found = load_model("feedforward", BUILTIN)
    folder = tmp_path_factory.mktemp("runs") / "run"
    create_run(found, with_assignments(found.settings, ["batch_size=10"]), folder)
    return str(folder)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=inspect.DESCRIPTION)
    inspect.add_arguments(parser)
    return parser.parse_args(words)


def report(name: str, mean: float | None, delta: float | None) -> NodeReport:
    def statistics(mean: float | None) -> Figures:
        return Figures((2,), mean, 1.0, 2.0, -1.0, 1.0, 0.5, 0)

    return NodeReport(
        name,
        "tanh",
        (2,),
        "here:1",
        statistics(mean),
        None if delta is None else statistics(delta),
        "",
        "",
        (),
    )


def test_the_plain_text_is_aligned_and_says_where_deltas_come_from(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.run(parse(run_folder, "--node", "hidden.h2.*")) == 0
    captured = capsys.readouterr()
    assert "untrained" in captured.err
    lines = captured.out.splitlines()
    assert lines[0].split() == [
        "node",
        "operation",
        "shape",
        "mean",
        "std",
        "norm",
        "min",
        "max",
        "zeros",
        "not",
        "finite",
    ]
    z = next(number for number, line in enumerate(lines) if line.startswith("hidden.h2.z "))
    assert lines[z].split()[1:4] == ["sigmoid", "[10]", "z"] and lines[z + 1].split()[0] == "δ"
    assert len(lines[z]) == len(lines[z + 1]) == len(lines[0])
    assert lines[z + 2].startswith("    δ = δ[output.y1.from_h2] · w.h2->y1   (")
    assert lines[z + 4].startswith("      + δ[output.y3.from_h2] · w.h2->y3   (")
    assert "\x1b" not in captured.out


def test_json_holds_all_figures(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.run(parse(run_folder, "--node", "hidden.h2.a", "--json", "--batch", "3")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["step"], found["batch"]) == (run_folder, 0, 3)
    (node,) = found["nodes"]
    assert node["name"] == "hidden.h2.a" and node["delta_formula"] == "δ[z] · z · (1 - z)"
    assert math.isfinite(node["delta"]["norm"]) and node["contributions"][0]["share"] == 1.0


def test_a_terminal_gets_a_block_a_node_in_eighty_columns(
    run_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert inspect.run(parse(run_folder, "--node", "hidden.h2.a")) == 0
    text = capsys.readouterr().out
    assert "hidden.h2.a" in text and "δ = δ[z] · z · (1 - z)" in text


def test_blocks_are_narrow_and_read_no_markup() -> None:
    output = io.StringIO()
    console = Console(width=80, file=output)
    console.print(*inspect.blocks([report("[red]x[/red]", 1.0, 2.0)]), sep="\n")
    text = output.getvalue()
    assert "[red]x[/red]  tanh [2]" in text and max(map(len, text.splitlines())) <= 80


def test_largest_first_and_what_has_no_figure_last() -> None:
    reports = [report("a", 1.0, None), report("b", -3.0, 0.1), report("c", None, -0.2)]

    def names(sort: str | None, limit: int | None = None) -> list[str]:
        return [item.name for item in inspect.ordered(reports, sort, limit)]

    reports.append(report("d", 0.0, None))
    assert names("mean") == ["b", "a", "d", "c"]
    assert names("delta_mean") == ["c", "b", "a", "d"]
    assert (
        names(None) == ["a", "b", "c", "d"] and names("mean", 1) == ["b"] and names("mean", 0) == []
    )


def test_control_characters_of_names_are_written_out() -> None:
    lines = list(inspect.text_lines([report("a\x1b[2J\nb", 1.0, None)]))
    assert len(lines) == 2 and "a\\x1b[2J\\nb" in lines[1]
    assert " - " not in lines[1]
    assert list(inspect.text_lines([])) == [
        "node  operation  shape    mean  std  norm  min  max  zeros  not finite"
    ]


def test_mistakes_are_named(run_folder: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        inspect.run(parse(run_folder, "--node", "hiden.2.a"))
    with pytest.raises(SystemExit):
        parse(run_folder, "--sort", "size")


def test_nothing_of_the_run_changes(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path(run_folder).rglob("*") if path.is_file()}

    before = files()
    assert inspect.run(parse(run_folder, "--sort", "delta_norm", "--limit", "2")) == 0
    assert files() == before
    assert len([line for line in capsys.readouterr().out.splitlines() if " z " in line]) == 2


def test_the_help_is_one_line() -> None:
    assert "\n" not in inspect.HELP and len(inspect.HELP) < 80
