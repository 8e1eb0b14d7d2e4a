"""`graphgrad render`: the graph of a model or a run as text, picture or data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.files import write_atomically
from graphgrad.formats import FORMATS, render
from graphgrad.graph import Graph
from graphgrad.models import BUILTIN
from graphgrad.page import build_page
from graphgrad.page.run_sections import run_sections
from graphgrad.passes import sizes_of
from graphgrad.rendering import View
from graphgrad.rendering.figures import Figures, figures_of
from graphgrad.rendering.view import DIRECTIONS, PARAMETERS
from graphgrad.tools.opening import (
    add_model_option,
    is_run,
    model_of,
    refuse_model_option,
    run_of,
)
from graphgrad.tools.streams import say, write_document
from graphgrad.training.runs import OpenRun
from graphgrad.training.settings import assigned, with_assignments
from graphgrad.training.task import Task

HELP = "draw a model's graph: every node with its delta beside it"
DESCRIPTION = """Prints the graph of MODEL (a built-in name, the path of a .py file, a run folder)
as a tree of its scopes with the formula of every value and every delta, or draws it: svg, png and
pdf need Graphviz (`dot`); txt, dot, json, html and mermaid need nothing. html is one page to walk
around in, offline; of a run it shows the figures, the attention, the passes and the history too.
Pictures of a run say its step and loss, and what every value and delta is on its next batch.

    graphgrad render feedforward
    graphgrad render feedforward --output network.svg
    graphgrad render transformer --fold --forward --direction up --output figure.svg
    graphgrad render transformer --fold --format mermaid
    graphgrad render transformer --set layers=6 --depth 3 --forward --output forward.pdf
    graphgrad render runs/transformer-001 --deltas nodes --format dot
    graphgrad render runs/transformer-001 --output step.html
"""
_BINARY = ("png", "pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("model", help=f"{', '.join(BUILTIN)}, a .py file, or a run folder")
    add_model_option(parser)
    parser.add_argument("--output", "-o", metavar="FILE", help="the file to write (default: print)")
    parser.add_argument("--format", choices=FORMATS, help="default: FILE's ending, else txt")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--deltas",
        choices=("contributions", "nodes"),
        nargs="?",
        const="contributions",
        default="contributions",
        help="draw each delta beside its node (the default), or with `nodes` "
        "everything that the deltas are computed with",
    )
    what.add_argument("--forward", action="store_true", help="leave the deltas out")
    parser.add_argument(
        "--parameters",
        choices=PARAMETERS,
        default="auto",
        help="as nodes, on edges, or in the boxes that use them",
    )
    parser.add_argument(
        "--depth", type=int, metavar="N", help="make one box of each scope deeper than N"
    )
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        help="draw equal layers once and the whole at a glance (default: equal "
        "layers of large graphs)",
    )
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default="auto",
        help="the way that values flow (default: down; neurons: right)",
    )
    parser.add_argument(
        "--figures",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="of a run, write the figures of one batch into the picture (the "
        "default), or draw the graph alone",
    )
    parser.add_argument("--constants", action="store_true", help="draw constants too")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draws; prints the text, or says what was written."""
    form = arguments.format or (None if arguments.output else "txt")
    if form in _BINARY and not arguments.output and sys.stdout.isatty():
        raise ConfigurationError(
            f"{form} is no text: a terminal cannot show it",
            fix=f"graphgrad render {arguments.model} --output graph.{form}",
        )
    view = View(
        deltas="none" if arguments.forward else arguments.deltas,
        parameters=arguments.parameters,
        constants=arguments.constants,
        fold=arguments.fold,
        depth=arguments.depth,
        direction=arguments.direction,
    )
    output = Path(arguments.output) if arguments.output else None
    if (form or str(output and output.suffix).lower().removeprefix(".")) == "html":
        content = _page(arguments, view)
        if output:
            write_atomically(output, content)
    else:
        found = _run_or_task(arguments)
        graph = _drawn(found, arguments.forward)
        figures = _figures(found, graph) if arguments.figures else None
        content = render(graph, output or str(form), view, form, figures=figures)
    if arguments.output:
        say(f"written {arguments.output} ({len(content):,} bytes)")
    else:
        write_document(content)
    return 0


def _page(arguments: argparse.Namespace, view: View) -> bytes:
    """The page of a model's graph, or of a run with everything that its newest state shows."""
    found = _run_or_task(arguments)
    task = found.task if isinstance(found, OpenRun) else found
    sections = {} if arguments.forward or isinstance(found, Task) else run_sections(found)
    graph = _drawn(found, arguments.forward)
    feeds = task.feeds(found.step if isinstance(found, OpenRun) else 0)
    title = Path(arguments.model).stem or arguments.model
    return build_page(
        graph, sections=sections, title=title, sizes=sizes_of(graph, feeds), view=view
    ).encode()


def _drawn(found: OpenRun | Task, forward: bool) -> Graph:
    """The forward graph; else a model's with all its deltas, or what a step of a run computes: the
    deltas that it needs, cut as its settings say, and its updates."""
    if isinstance(found, OpenRun):
        return found.task.graph if forward else found.graph
    return found.graph if forward else derive(found.graph, found.graph.outputs["loss"])


def _figures(found: OpenRun | Task, graph: Graph) -> Figures | None:
    """Figures of a run at its next batch; a model has none, as nothing is trained."""
    if not isinstance(found, OpenRun):
        return None
    feeds = found.task.feeds(found.step)
    return figures_of(graph, feeds, found.state, found.folder.path.name, found.step, found.step)


def _run_or_task(arguments: argparse.Namespace) -> OpenRun | Task:
    """The run of a folder, where the name is one, or the task of a model."""
    if is_run(arguments.model):
        values = assigned(arguments.set)
        return run_of(arguments.model, values, model_file=arguments.model_file)
    refuse_model_option(arguments.model_file)
    model = model_of(arguments.model)
    return model.task(with_assignments(model.settings, arguments.set), {})
