"""Tables of commands: aligned, never markup, and exact as CSV."""

import csv
import io
import math

import pytest
from rich.console import Console

from graphgrad.tools.tables import (
    Table,
    print_csv,
    print_table,
    rich_table,
    shown,
    sparkline,
    text_lines,
)

HOSTILE = '[red]x[/red], "q"\n\x1b[2J<script>'
TABLE = Table(
    ("node", "course", "norm"),
    [(HOSTILE, "▁█", 1 / 3), ("y.delta", "", None), ("z", "", math.nan)],
    numbers=2,
)


def test_plain_lines_are_aligned():
    lines = list(text_lines(TABLE))
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert lines[1].startswith('[red]x[/red], "q"\\n\\x1b[2J<script>')
    assert lines[1].endswith("0.333")
    assert lines[2].endswith("  -") and lines[3].endswith("  -")


def test_into_a_pipe_goes_plain_text(capsys):
    print_table(TABLE)
    assert capsys.readouterr().out.splitlines() == list(text_lines(TABLE))


def test_a_terminal_gets_a_table_without_markup(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(TABLE)
    text = capsys.readouterr().out
    assert "[red]x[/red]" in text and "\x1b[2J" not in text and "0.333" in text


def test_the_rows_of_deltas_are_coloured_and_only_those():
    rows = [("y", 1.0), ("y.delta", 2.0), ("z.delta", 3.0)]
    table = Table(("node", "norm"), rows, deltas={"y.delta": "y"})
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(rich_table(table))
    lines = console.file.getvalue().splitlines()
    assert ["\x1b[35m" in line for line in lines[1:]] == [False, True, False]


def test_a_long_name_is_folded_not_lost():
    console = Console(width=40, file=io.StringIO())
    console.print(rich_table(Table(("node", "norm"), [("a" * 100, 1.0)])))
    assert console.file.getvalue().count("a") == 100


def test_csv_has_all_digits_and_reads_back(capsys):
    print_csv(TABLE)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["node", "course", "norm"] and len(rows) == 4
    assert float(rows[1][2]) == 1 / 3 and rows[2][2] == rows[3][2] == ""
    assert "\x1b" not in rows[1][0]


@pytest.mark.parametrize(
    "cell, text",
    [(None, "-"), (math.nan, "-"), (3, "3"), (0.0, "0"), (123456.0, "1.23e+05"), ("a\tb", "a\\tb")],
)
def test_cells(cell, text):
    assert shown(cell) == text


def test_a_sparkline_shows_the_course():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0]) == "▁▁" and sparkline([]) == ""
    assert sparkline([math.nan, 1, math.inf, 2]) == " ▁ █"
    assert len(sparkline(list(range(1000)))) == 16
    assert sparkline([-1e308, 1e308]) == "▁█"  # whose difference is no number
