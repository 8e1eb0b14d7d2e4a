"""`graphgrad inspect`: prints figures of the value and the delta of every node of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from graphgrad.errors import ConfigurationError
from graphgrad.explain.derivation import STEPS
from graphgrad.figures.array_figures import FIGURES, Figures
from graphgrad.figures.node_report import NodeReport, inspect_values
from graphgrad.graph.types import shape_text
from graphgrad.passes import PASSES, PRECISION_PASSES, Pass
from graphgrad.reports.filters import (
    REPORTED,
    Condition,
    figures_of_report,
    known_figure,
    parse_condition,
)
from graphgrad.reports.filters import ordered as ordered_items
from graphgrad.strict_json import format_json
from graphgrad.text import printable
from graphgrad.tools.explain import explain_node
from graphgrad.tools.inspect_runs import RECORDED, batch_table, show_comparison, show_steps
from graphgrad.tools.opening import backend_values, batch_of, run_of
from graphgrad.tools.options import (
    BACKEND_OPTION,
    CHECKPOINT_OPTION,
    MODEL_OPTION,
    OneOf,
    Option,
    add_options,
)
from graphgrad.tools.streams import say, write_document
from graphgrad.tools.tables import print_csv
from graphgrad.training.optimisers import derived_graph

HELP = "show the value and the delta of every node of a run, in figures"
DESCRIPTION = """Computes one batch of RUN with the parameters of its newest checkpoint and prints,
for every node, figures of its value z and of its delta δ = ∂L/∂z, and the contributions whose sum
is δ, each with its share. --explain derives one delta in symbols instead, --steps shows the figures
that were recorded in training, --compare a second run beside this one. The run is not changed.

    graphgrad inspect runs/transformer-001 --node "decoder.0.cross_attention.*"
    graphgrad inspect runs/transformer-001 --sort delta_norm --limit 10
    graphgrad inspect runs/transformer-001 --where "zeros>0.5" --where "delta_norm>0"
    graphgrad inspect runs/feedforward-001 --node hidden.h2.a --json
    graphgrad inspect runs/transformer-001 --steps --figure std
    graphgrad inspect runs/transformer-001 --compare runs/transformer-002 --limit 20
    graphgrad inspect runs/transformer-001 --node "*.scores" --by head
    graphgrad inspect transformer --explain decoder.output.logits
"""
_HEADINGS = (
    "node",
    "operation",
    "shape",
    "",
    "mean",
    "std",
    "norm",
    "min",
    "max",
    "zeros",
    "not finite",
)
_NUMBERS = 4  # columns from this one on are figures, aligned to the right


OPTIONS = (
    Option("run", help="a run folder; with --explain also a model"),
    MODEL_OPTION,
    BACKEND_OPTION,
    CHECKPOINT_OPTION,
    Option(
        "--node",
        metavar="PATTERN",
        action="append",
        default=[],
        help="a name, or a pattern with * and ?; may be repeated",
    ),
    Option(
        "--by",
        metavar="AXIS",
        help="a row for each index of this axis, such as head or query, of nodes that have it",
    ),
    Option(
        "--sort",
        choices=RECORDED,
        metavar="FIGURE",
        help=f"largest first: {', '.join(FIGURES)}, or delta_…; with --steps also "
        "update_ratio, of the last step",
    ),
    Option(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="only nodes that meet this, such as 'zeros>0.5'; may be repeated",
    ),
    Option(
        "--steps",
        action="store_true",
        help="show what was recorded by `graphgrad train --inspect-every N`",
    ),
    Option(
        "--compare",
        metavar="RUN2",
        help="show a figure of each node in both runs, largest difference first",
    ),
    Option(
        "--figure", metavar="FIGURE", help="with --steps and --compare: the figure to show (norm)"
    ),
    Option("--limit", type=int, metavar="N", help="print the first N nodes only"),
    Option(
        "--batch",
        type=int,
        metavar="STEP",
        help="the batch of this step (default: the run's next)",
    ),
    Option(
        "--explain",
        metavar="NODE",
        help="derive the delta of this node step by step, each checked by value",
    ),
    Option(
        "--depth",
        type=int,
        metavar="N",
        default=STEPS,
        help="with --explain: stop after N steps (%(default)s)",
    ),
    OneOf(
        Option("--json", action="store_true", help="print one JSON object"),
        Option("--csv", action="store_true", help="print comma-separated values with all digits"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Computes and prints the figures."""
    _reject_ignored_options(arguments)
    if arguments.explain:
        return explain_node(arguments)
    if arguments.compare:
        return show_comparison(arguments)
    if arguments.steps:
        return show_steps(arguments)
    sort = known_figure(arguments.sort, REPORTED) if arguments.sort else None
    conditions = [parse_condition(text) for text in arguments.where]
    opened = run_of(
        arguments.run,
        backend_values(arguments),
        model_file=arguments.model_file,
        checkpoint=arguments.checkpoint,
    )
    graph = opened.task.graph
    step = batch_of(arguments.batch, opened.next_batch)
    reports = ordered(
        inspect_values(
            derived_graph(graph, opened.settings),
            opened.task.feeds(step),
            opened.state,
            arguments.node or ("*",),
            passes=_passes_of(opened.settings.precision),
            backend=opened.settings.backend,
            by=arguments.by or "",
        ),
        sort,
        arguments.limit,
        conditions,
    )
    if arguments.csv:
        print_csv(batch_table(reports))
    elif arguments.json:
        nodes = [report.to_dict() for report in reports]
        report = {
            "run": str(opened.folder.path),
            "step": opened.step,
            "batch": step,
            "nodes": nodes,
        }
        write_document(format_json(report, "the report") + "\n")
    elif sys.stdout.isatty():
        Console(highlight=False).print(*blocks(reports), sep="\n")
    else:
        for line in text_lines(reports):
            say(line)
    return 0


def _passes_of(precision: str) -> tuple[Pass, ...]:
    """The passes before the values of a run are computed.

    fp16 is left out: without a loss scale, which is not among the nodes here, deltas would be 0.
    """
    return (*PASSES, *(PRECISION_PASSES[precision] if precision != "fp16" else ()))


def _reject_ignored_options(arguments: argparse.Namespace) -> None:
    """Raises ConfigurationError for an option that would have no effect."""
    if arguments.explain:
        for name in ("node", "by", "sort", "where", "steps", "compare", "figure", "limit", "csv"):
            value = getattr(arguments, name)
            if value is not None and value is not False and value != []:  # 0 is a limit
                raise ConfigurationError(
                    f"--explain derives one delta; --{name} does nothing", fix=f"leave --{name} out"
                )
    elif arguments.depth != STEPS:
        raise ConfigurationError("--depth belongs to --explain", fix="add --explain NODE")
    elif arguments.by and (arguments.steps or arguments.compare):
        raise ConfigurationError(
            "--by divides the values of one batch", fix="record them so: graphgrad train … --by"
        )
    elif arguments.figure and not (arguments.steps or arguments.compare):
        raise ConfigurationError(
            "--figure belongs to --steps and --compare",
            fix=f"--sort {arguments.figure} for one batch",
        )
    if arguments.backend and (arguments.explain or arguments.steps or arguments.compare):
        raise ConfigurationError(
            "--backend computes the figures of one batch", fix="leave --backend out"
        )
    if arguments.limit is not None and arguments.limit < 0:
        raise ConfigurationError(
            f"--limit must be at least 0, not {arguments.limit}", fix="--limit 10"
        )


def ordered(
    reports: Sequence[NodeReport],
    sort: str | None,
    limit: int | None,
    conditions: Sequence[Condition] = (),
) -> Sequence[NodeReport]:
    """The reports that meet the conditions, largest figures first, at most `limit` of them."""
    return ordered_items(reports, figures_of_report, sort, limit, conditions)


def text_lines(reports: Sequence[NodeReport]) -> Iterator[str]:
    """Aligned text: one line for the value, one for the delta, one for each contribution."""
    rows = [row for report in reports for row in _rows(report)]
    table = [_HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    yield _aligned(_HEADINGS, widths)
    for report in reports:
        for row in _rows(report):
            yield _aligned(row, widths)
        for number, line in enumerate(_formula(report)):
            yield f"    {'  +' if number else 'δ ='} {line}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column >= _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _rows(report: NodeReport) -> Iterator[tuple[str, ...]]:
    yield (
        printable(report.name),
        report.operation,
        shape_text(report.shape),
        "z",
        *_figures(report.value),
    )
    if report.delta is not None:
        yield ("", "", "", "δ", *_figures(report.delta))


def _figures(figures: Figures) -> Iterator[str]:
    for figure in (
        figures.mean,
        figures.std,
        figures.norm,
        figures.minimum,
        figures.maximum,
    ):
        yield "-" if figure is None else f"{figure:.3g}"
    yield f"{figures.zeros:.0%}"
    yield str(figures.non_finite)


def _formula(report: NodeReport) -> Iterator[str]:
    """The contribution of each tail, with its share if there are several."""
    for sent in report.contributions:
        share = f"   ({sent.share:.0%})" if len(report.contributions) > 1 else ""
        yield f"{sent.formula}{share}"
    if not report.contributions and report.delta_formula:
        yield report.delta_formula


def blocks(reports: Sequence[NodeReport]) -> Iterator[RenderableType]:
    """The reports for a terminal of 80 columns, one block per node."""
    for report in reports:
        shape = f"  {report.operation} {shape_text(report.shape)}"
        yield Text.assemble((printable(report.name), "bold"), (shape, "dim"))
        yield _figure_table(report)
        for number, line in enumerate(_formula(report)):
            yield Text(f"  {'  +' if number else 'δ ='} {line}", "magenta")
        yield Text("")


def _figure_table(report: NodeReport) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="dim")
    for heading in _HEADINGS[_NUMBERS - 1 :]:
        table.add_column(heading, justify="right", min_width=9 if heading else 3, no_wrap=True)
    for row in _rows(report):
        style = "magenta" if row[_NUMBERS - 1] == "δ" else ""
        table.add_row(*(Text(cell, style) for cell in row[_NUMBERS - 1 :]))
    return table
