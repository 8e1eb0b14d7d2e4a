"""`graphgrad render`: the graph of a model or a run as text, picture or data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.models import BUILTIN
from graphgrad.rendering import FORMATS, View, render
from graphgrad.rendering.view import PARAMETERS
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model
from graphgrad.training.trainer import open_run

HELP = "draw a model's graph: every node with its delta beside it"
DESCRIPTION = """Prints the graph of MODEL (a built-in name, the path of a .py file, a run folder)
as a tree of its scopes with the formula of every value and every delta, or draws it: svg, png and
pdf need Graphviz (`dot`); txt, dot and json need nothing.

    graphgrad render feedforward
    graphgrad render feedforward --output network.svg
    graphgrad render transformer --set layers=6 --depth 3 --forward --output forward.pdf
    graphgrad render runs/transformer-001 --deltas nodes --format dot
"""
_BINARY = ("png", "pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("model", help=f"{', '.join(BUILTIN)}, a .py file, or a run folder")
    parser.add_argument("--output", "-o", metavar="FILE", help="the file to write (default: print)")
    parser.add_argument("--format", choices=FORMATS, help="default: FILE's ending, else txt")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--deltas", choices=("contributions", "nodes"), nargs="?",
                      const="contributions", default="contributions",
                      help="draw each delta beside its node (the default), or with `nodes` "
                      "everything that the deltas are computed with")  # fmt: skip
    what.add_argument("--forward", action="store_true", help="leave the deltas out")
    parser.add_argument("--parameters", choices=PARAMETERS, default="auto",
                        help="as nodes, on edges, or in the boxes that use them")  # fmt: skip
    parser.add_argument("--depth", type=int, metavar="N",
                        help="make one box of each scope deeper than N")  # fmt: skip
    parser.add_argument("--fold", action=argparse.BooleanOptionalAction,
                        help="draw equal layers once (default: in large graphs)")  # fmt: skip
    parser.add_argument("--constants", action="store_true", help="draw constants too")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                        help="change a setting; may be repeated")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Draws; prints the text, or says what was written."""
    form = arguments.format or (None if arguments.output else "txt")
    if form in _BINARY and not arguments.output and sys.stdout.isatty():
        raise ConfigurationError(
            f"{form} is no text: a terminal cannot show it",
            fix=f"graphgrad render {arguments.model} --output graph.{form}",
        )
    view = View(
        deltas="none" if arguments.forward else arguments.deltas, parameters=arguments.parameters,
        constants=arguments.constants, fold=arguments.fold, depth=arguments.depth,
    )  # fmt: skip
    graph = _graph(arguments.model, arguments.set)
    if not arguments.forward:
        graph = derive(graph, graph.outputs["loss"])
    content = render(graph, Path(arguments.output) if arguments.output else str(form), view, form)
    if arguments.output:
        print(f"written {arguments.output} ({len(content):,} bytes)")
    elif form in _BINARY:
        sys.stdout.buffer.write(content)
    else:
        print(content.decode(), end="")
    return 0


def _graph(name: str, assignments: list[str]) -> Graph:
    """The forward graph of a run folder, where the name is one, or of a model."""
    if name not in BUILTIN and Path(name).is_dir():
        values = dict(text.partition("=")[::2] for text in assignments)
        return open_run(name, BUILTIN, values).task.graph
    model = load_model(name, BUILTIN)
    return model.task(with_assignments(model.settings, assignments), {}).graph
