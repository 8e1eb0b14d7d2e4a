"""The tables of `graphgrad inspect` beyond one batch: recorded steps, and two runs compared."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.figures.array_figures import FIGURES
from graphgrad.figures.node_report import NodeReport, inspect_values
from graphgrad.figures.recording import RECORDED_FIGURES, UPDATE_RATIO
from graphgrad.reports.comparison import RunComparison, compare
from graphgrad.reports.filters import (
    REPORTED,
    Condition,
    FigureTable,
    figures_of_history,
    figures_of_report,
    known_figure,
    ordered,
    parse_condition,
)
from graphgrad.reports.history import History, read_history
from graphgrad.strict_json import format_json
from graphgrad.tools.opening import batch_of, folder_of, run_of
from graphgrad.tools.streams import tell, write_document
from graphgrad.tools.tables import Table, print_csv, print_table, sparkline
from graphgrad.training.optimisers import derived_graph

RECORDED = (*REPORTED, UPDATE_RATIO)
"""The figures of a recorded node."""
COLUMNS = 6
"""The number of recorded steps in a table."""


def show_steps(arguments: argparse.Namespace) -> int:
    """`--steps`: prints one figure of each node at some recorded steps, or all as CSV or JSON."""
    history = read_history(folder_of(arguments.run)).chosen(arguments.node)
    figure = known_figure(arguments.figure or "norm", RECORDED_FIGURES)
    history = _selected(history, arguments)
    if arguments.csv:
        print_csv(_long_table(history))
    elif arguments.json:
        report = {"run": arguments.run, **_as_json(history)}
        write_document(format_json(report, "the history", None) + "\n")
    else:
        tell(
            f"{figure} at {len(history.steps)} recorded steps, {history.steps[0]} to "
            f"{history.steps[-1]}"
        )
        print_table(steps_table(history, figure))
    return 0


def _selected(history: History, arguments: argparse.Namespace) -> History:
    """The nodes that meet the conditions at the last step, sorted by a figure of that step."""
    tables = figures_of_history(history, history.steps[-1])
    nodes = ordered(
        tables,
        tables.__getitem__,
        _sort(arguments, RECORDED),
        arguments.limit,
        _conditions(arguments, RECORDED),
    )
    rank = {node: number for number, node in enumerate(nodes)}
    chosen = [name for name in history.names if history.node_of(name) in rank]
    return history.of_names(sorted(chosen, key=lambda name: rank[history.node_of(name)]))


def steps_table(history: History, figure: str) -> Table:
    """One row per value or delta: its bars, and the figure at evenly spaced steps."""
    count = min(COLUMNS, len(history.steps))
    positions = np.unique(np.linspace(0, len(history.steps) - 1, count).round().astype(int))
    rows = []
    for name in history.names:
        course = history.of(name, figure)
        if not np.all(np.isnan(course)):
            rows.append((name, sparkline(course.tolist()), *course[positions].tolist()))
    headings = ("node", "course", *(f"step {history.steps[position]}" for position in positions))
    return Table(headings, rows, numbers=2, deltas=history.deltas)


def _long_table(history: History) -> Table:
    """A row for each step and name, a column for each statistic."""
    rows = [
        (step, name, *values)
        for step, table in zip(history.steps, history.values.tolist(), strict=True)
        for name, values in zip(history.names, table, strict=True)
    ]
    return Table(("step", "node", *history.figures), rows, numbers=2)


def _as_json(history: History) -> dict[str, Any]:
    values = [
        [[None if not math.isfinite(value) else value for value in row] for row in step]
        for step in history.values.tolist()
    ]
    return {
        "steps": list(history.steps),
        "names": list(history.names),
        "statistics": list(history.figures),
        "values": values,
    }


def show_comparison(arguments: argparse.Namespace) -> int:
    """`--compare`: prints one figure of each node in two runs, largest difference first."""
    known = RECORDED if arguments.steps else REPORTED
    figure = known_figure(arguments.figure or "norm", known)
    if arguments.sort:
        raise ConfigurationError(
            "--compare sorts by the difference of --figure", fix=f"--figure {arguments.sort}"
        )
    tables = _recorded(arguments) if arguments.steps else _computed(arguments)
    first, second = _kept(tables, _conditions(arguments, known))
    found = compare(first, second, figure)
    pairs = found.pairs[: arguments.limit] if arguments.limit is not None else found.pairs
    table = Table(
        ("node", "first", "second", "ratio"),
        [(pair.name, pair.first, pair.second, pair.ratio) for pair in pairs],
    )
    if arguments.csv:
        print_csv(table)
    elif arguments.json:
        report = {
            "first": arguments.run,
            "second": arguments.compare,
            "figure": figure,
            "nodes": [pair.to_dict() for pair in pairs],
            "only_first": list(found.only_first),
            "only_second": list(found.only_second),
        }
        write_document(format_json(report, "the comparison") + "\n")
    else:
        tell(f"{figure} of each node: first {arguments.run}, second {arguments.compare}")
        print_table(table)
        _tell_unmatched(found)
    return 0


def _kept(
    tables: Sequence[Mapping[str, FigureTable]], conditions: Sequence[Condition]
) -> tuple[Mapping[str, FigureTable], Mapping[str, FigureTable]]:
    """The tables without the nodes whose figures in the first run do not meet the conditions."""
    first, second = tables
    excluded = {
        name
        for name, figures in first.items()
        if not all(condition.holds(figures) for condition in conditions)
    }
    one, other = (
        {name: figures for name, figures in table.items() if name not in excluded}
        for table in (first, second)
    )
    return one, other


def _tell_unmatched(found: RunComparison) -> None:
    for which, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
            tell(f"only the {which} has {len(names)} nodes: {some}")


def _recorded(arguments: argparse.Namespace) -> list[Mapping[str, FigureTable]]:
    """The recorded figures of both runs at the last step that both have."""
    first, second = (
        read_history(folder_of(path)).chosen(arguments.node)
        for path in (arguments.run, arguments.compare)
    )
    common = sorted(set(first.steps) & set(second.steps))
    if not common:
        raise ConfigurationError(
            f"no step is recorded by both {arguments.run} and {arguments.compare}",
            fix="leave --steps out to compare one batch with the parameters of both",
        )
    tell(f"step {common[-1]}")
    return [figures_of_history(history, common[-1]) for history in (first, second)]


def _computed(arguments: argparse.Namespace) -> list[Mapping[str, FigureTable]]:
    """Figures of the same batch of both runs, with the parameters of each."""
    tables: list[Mapping[str, FigureTable]] = []
    step = arguments.batch
    for path in (arguments.run, arguments.compare):
        opened = run_of(path, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
        step = batch_of(step, opened.next_batch)
        graph = opened.task.graph
        reports = inspect_values(
            derived_graph(graph, opened.settings),
            opened.task.feeds(step),
            opened.state,
            arguments.node or ("*",),
        )
        tables.append({report.name: figures_of_report(report) for report in reports})
    return tables


def _sort(arguments: argparse.Namespace, known: Sequence[str]) -> str | None:
    return known_figure(arguments.sort, known) if arguments.sort else None


def _conditions(arguments: argparse.Namespace, known: Sequence[str]) -> list[Condition]:
    return [parse_condition(text, known) for text in arguments.where]


def batch_table(reports: Sequence[NodeReport]) -> Table:
    """One row for each value and delta of one batch, one column for each figure, for CSV."""
    rows: list[tuple[str | float | None, ...]] = []
    for report in reports:
        for name, found in ((report.name, report.value), (report.delta_name, report.delta)):
            if found is not None:
                rows.append((name, *(getattr(found, figure) for figure in FIGURES)))
    return Table(("node", *FIGURES), rows)
