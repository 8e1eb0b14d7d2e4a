"""`graphgrad render`: draws the graph of a model or a run as text, picture or data."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.files import write_atomically
from graphgrad.formats import FORMATS, render
from graphgrad.graph import Graph
from graphgrad.lecture.architecture import overview
from graphgrad.lecture.image import FORMATS as DRAWN
from graphgrad.lecture.image import scene_image
from graphgrad.models import BUILTIN
from graphgrad.page import build_page
from graphgrad.page.run_page import graph_of_run, run_page
from graphgrad.page.run_sections import Shown, state_sections
from graphgrad.passes import mixed_precision, sizes_of
from graphgrad.performance.traffic import traffic_of
from graphgrad.rendering import View
from graphgrad.rendering.annotations import Annotations, annotations_of
from graphgrad.rendering.example import example_annotations, one_example
from graphgrad.rendering.view import DIRECTIONS, PARAMETERS
from graphgrad.tools.decoding_graphs import GRAPHS, graph_in_use
from graphgrad.tools.opening import (
    batch_of,
    folder_of,
    is_run,
    model_of,
    refuse_model_option,
    run_of,
)
from graphgrad.tools.options import (
    CHECKPOINT_OPTION,
    MODEL_OPTION,
    PRECISION_OPTION,
    TARGET_OPTION,
    OneOf,
    Option,
    add_options,
    assignments_of,
)
from graphgrad.tools.streams import say, tell, write_document
from graphgrad.training.runs import OpenRun
from graphgrad.training.settings import TrainingSettings, assigned, with_assignments
from graphgrad.training.shared_state import graph_of_ranks
from graphgrad.training.task import Task

HELP = "draw a model's graph: every node with its delta beside it"
DESCRIPTION = """Prints the graph of MODEL (a built-in name, the path of a .py file, a run folder)
as a tree of its scopes with the formula of every value and every delta, or draws it: svg, png and
pdf need Graphviz (`dot`); txt, dot, json, html and mermaid need nothing. html is one offline page
to explore; for a run it shows the figures, the attention, the passes and the history, too. Pictures
of a run contain its step and loss, and figures of every value and delta on its next batch.

    graphgrad render feedforward
    graphgrad render feedforward --output network.svg
    graphgrad render transformer --fold --forward --direction up --output figure.svg
    graphgrad render transformer --fold --format mermaid
    graphgrad render transformer --set layers=6 --depth 3 --forward --output forward.pdf
    graphgrad render transformer --precision bf16 --output casts.svg
    graphgrad render runs/transformer-001 --deltas nodes --format dot
    graphgrad render runs/transformer-001 --output step.html
    graphgrad render runs/transformer-001 --text "de: 22. November 2026" --output it.html
    graphgrad render runs/transformer-001 runs/transformer-002 --output both.html
    graphgrad render runs/feedforward-001 --example 0 --output example.svg
    graphgrad render transformer --overview --output overview.svg
    graphgrad render transformer --graph decoding --output decoding.svg
    graphgrad render transformer --ranks 2 --output sent.svg
"""
MIXED = True
_BINARY = ("png", "pdf")


OPTIONS = (
    Option("model", help=f"{', '.join(BUILTIN)}, a .py file, or a run folder"),
    Option(
        "others", nargs="*", metavar="RUN", help="for the page of a run, runs to draw beside it"
    ),
    MODEL_OPTION,
    CHECKPOINT_OPTION,
    Option("--output", "-o", metavar="FILE", help="the file to write (default: print)"),
    Option("--format", choices=FORMATS, help="default: FILE's ending, else txt"),
    OneOf(
        Option(
            "--deltas",
            choices=("contributions", "nodes"),
            nargs="?",
            const="contributions",
            default="contributions",
            help="draw each delta beside its node (the default), or with `nodes` "
            "all nodes of their computation",
        ),
        Option("--forward", action="store_true", help="leave the deltas out"),
    ),
    Option(
        "--parameters",
        choices=PARAMETERS,
        default="auto",
        help="as nodes, on edges, or in the boxes that use them",
    ),
    Option("--depth", type=int, metavar="N", help="make one box of each scope deeper than N"),
    Option(
        "--fold",
        action=argparse.BooleanOptionalAction,
        help="draw equal layers once and the whole at a glance (default: equal "
        "layers of large graphs)",
    ),
    Option(
        "--direction",
        choices=DIRECTIONS,
        default="auto",
        help="the direction in which values flow (default: down; neurons: right)",
    ),
    Option(
        "--figures",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="for a run, write the figures of one batch into the picture (the "
        "default), or draw the graph alone",
    ),
    Option("--constants", action="store_true", help="draw constants too"),
    Option(
        "--overview",
        action="store_true",
        help="draw the layers of a Transformer at a glance, as the paper does (svg, png, pdf)",
    ),
    Option(
        "--graph",
        choices=GRAPHS,
        default="training",
        help="the graph of training, or those in use: of the encoder, or of a step of decoding",
    ),
    Option(
        "--ranks",
        type=int,
        metavar="N",
        default=1,
        help="draw the training step of one of N ranks, with what they exchange (default: 1)",
    ),
    Option(
        "--batch", type=int, metavar="N", help="for a run, the batch of step N (default: the next)"
    ),
    Option(
        "--example", type=int, metavar="I", help="for a run, the values of example I of the batch"
    ),
    Option(
        "--text",
        metavar="TEXT",
        action="append",
        default=[],
        help="for the page of a run, a sentence whose attention it shows; may be repeated",
    ),
    TARGET_OPTION,
    PRECISION_OPTION,
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated",
    ),
)


@dataclass(frozen=True)
class _Model:
    """A model that nobody has trained, and what its products read."""

    task: Task
    settings: TrainingSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Draws; prints the result, or writes it to a file."""
    form = arguments.format or (None if arguments.output else "txt")
    if form in _BINARY and not arguments.output and sys.stdout.isatty():
        raise ConfigurationError(
            f"{form} is not text: a terminal cannot show it",
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
    as_page = (form or str(output and output.suffix).lower().removeprefix(".")) == "html"
    _need_a_page(arguments, as_page)
    _need_ranks(arguments)
    if arguments.overview:
        content = _overview(arguments, form or "")
        if output:
            write_atomically(output, content)
    elif as_page:
        content = _page(arguments, view)
        if output:
            write_atomically(output, content)
    else:
        found = _run_or_task(arguments)
        _need_a_run(arguments, found)
        in_use = arguments.graph != "training"
        name = Path(arguments.model).stem
        graph = (
            graph_in_use(found.task, arguments.graph, name) if in_use else _drawn(found, arguments)
        )
        shown = arguments.figures and not in_use
        annotations = _annotations(found, graph, arguments) if shown else None
        content = render(graph, output or str(form), view, form, annotations=annotations)
    if arguments.output:
        say(f"written {arguments.output} ({len(content):,} bytes)")
    else:
        write_document(content)
    return 0


def _overview(arguments: argparse.Namespace, form: str) -> bytes:
    """The layers of a model at a glance."""
    form = form or Path(arguments.output).suffix.lower().removeprefix(".")
    if form not in DRAWN:
        raise ConfigurationError(
            "--overview is a picture", fix=f"-o overview.svg, or .{', .'.join(DRAWN[1:])}"
        )
    if arguments.graph != "training":
        raise ConfigurationError("--overview draws the model", fix="leave --graph out")
    scene = overview(_run_or_task(arguments).task.graph, arguments.model)
    return scene_image(scene, form, f"{arguments.model} at a glance")


def _page(arguments: argparse.Namespace, view: View) -> bytes:
    """The page of a model's graph, or of a run with all sections for its newest state."""
    found = _run_or_task(arguments)
    _need_a_run(arguments, found)
    if arguments.graph != "training":
        graph = graph_in_use(found.task, arguments.graph, Path(arguments.model).stem)
        return build_page(graph, title=f"{arguments.model} {arguments.graph}", view=view).encode()
    values = arguments.text or arguments.example is not None or arguments.batch is not None
    if arguments.forward and values:
        raise ConfigurationError("--forward leaves the values of a run out", fix="leave it out")
    if isinstance(found, OpenRun) and arguments.ranks == 1:
        others = [folder_of(path) for path in arguments.others]
        batch = batch_of(arguments.batch, found.next_batch)
        shown = Shown(batch, arguments.example, arguments.text, arguments.target)
        return run_page(
            found, view, others, known=None if arguments.forward else state_sections(found, shown)
        )
    graph = _drawn(found, arguments)
    title = Path(arguments.model).stem or arguments.model
    return build_page(
        graph, title=title, sizes=sizes_of(graph, found.task.feeds(0)), view=view
    ).encode()


def _drawn(found: OpenRun | _Model, arguments: argparse.Namespace) -> Graph:
    """The forward graph, or the graph with deltas, with the casts of mixed precision.

    That of a model has all deltas; that of a run, or of several ranks, is the graph of its training
    step.
    """
    if arguments.ranks > 1:
        return _of_a_rank(found, arguments)
    if isinstance(found, OpenRun):
        return graph_of_run(found, arguments.forward)
    graph = found.task.graph
    graph = graph if arguments.forward else derive(graph, graph.outputs["loss"])
    return mixed_precision(graph, found.settings.precision)


def _of_a_rank(found: OpenRun | _Model, arguments: argparse.Namespace) -> Graph:
    """The graph that each of several ranks runs; says what they send."""
    task, settings = found.task, found.settings
    graph = task.graph if arguments.forward else task.step(task.graph, settings)
    split = graph_of_ranks(graph, settings, arguments.ranks).graph
    text = f"{arguments.ranks} ranks: {traffic_of(split)}"
    if arguments.output:
        say(text)
    else:
        tell(text)
    return mixed_precision(split, settings.precision)


def _annotations(
    found: OpenRun | _Model, graph: Graph, arguments: argparse.Namespace
) -> Annotations | None:
    """Annotations of a run at a batch or one example; a model has none, as nothing is trained."""
    if not isinstance(found, OpenRun):
        return None
    batch = batch_of(arguments.batch, found.next_batch)
    feeds = found.task.feeds(batch)
    name = found.folder.path.name
    if arguments.example is None:
        return annotations_of(graph, feeds, found.state, name, found.step, batch)
    feeds = one_example(graph, feeds, arguments.example)
    return example_annotations(
        graph, feeds, found.state, name, found.step, batch, arguments.example
    )


def _need_a_page(arguments: argparse.Namespace, as_page: bool) -> None:
    """Raises ConfigurationError for further runs and texts, which only the page of a run shows."""
    page = as_page and not arguments.overview and is_run(arguments.model)
    if arguments.others and (not page or arguments.forward or arguments.graph != "training"):
        raise ConfigurationError(
            f"{arguments.others[0]}: only the page of a run's training shows several runs",
            fix="graphgrad render RUN RUN -o page.html",
        )
    if (arguments.text or arguments.target) and (arguments.overview or not as_page):
        raise ConfigurationError(
            "--text is for the page of a run",
            fix="-o page.html; as a picture: graphgrad plot RUN --what heads --text …",
        )
    if arguments.target and not arguments.text:
        raise ConfigurationError("--target is the answer to a text", fix="give --text, too")


def _need_ranks(arguments: argparse.Namespace) -> None:
    """Raises ConfigurationError for ranks of what several do not run."""
    if arguments.ranks < 1:
        raise ConfigurationError(f"--ranks {arguments.ranks} are no processes", fix="--ranks 2")
    if arguments.ranks > 1 and (arguments.overview or arguments.graph != "training"):
        raise ConfigurationError("ranks share the step of training", fix="leave --ranks out")


def _need_a_run(arguments: argparse.Namespace, found: OpenRun | _Model) -> None:
    """Raises ConfigurationError for options that only have a meaning with the values of a run."""
    for name in ("batch", "example", "text"):
        if getattr(arguments, name) in (None, []):
            continue
        if not isinstance(found, OpenRun) or arguments.graph != "training":
            raise ConfigurationError(
                f"--{name} is for the values of a run's training step", fix=f"leave --{name} out"
            )


def _run_or_task(arguments: argparse.Namespace) -> OpenRun | _Model:
    """The run, if the name is that of a folder, or the task of a model."""
    if is_run(arguments.model):
        values = assigned(assignments_of(arguments))
        return run_of(
            arguments.model,
            values,
            model_file=arguments.model_file,
            checkpoint=arguments.checkpoint,
        )
    refuse_model_option(arguments.model_file, arguments.checkpoint)
    model = model_of(arguments.model)
    settings = with_assignments(model.settings, assignments_of(arguments))
    return _Model(model.task(settings, {}), settings)
