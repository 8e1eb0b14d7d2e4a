"""`graphgrad plot`: draws plots of a run into PNG, SVG or PDF files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from graphgrad.backprop import derive
from graphgrad.backprop.selection import matching
from graphgrad.errors import ConfigurationError, GraphgradError, UnknownNameError
from graphgrad.figures.attention_maps import attention_maps
from graphgrad.figures.recording import figure_table
from graphgrad.figures.token_labels import token_labels
from graphgrad.files import make_folder, write_atomically
from graphgrad.graph import Graph
from graphgrad.lecture.head_lines import lines_scene
from graphgrad.lecture.heads import ALL, word_of
from graphgrad.lecture.image import scene_figure
from graphgrad.lecture.scene import Scene, stacked
from graphgrad.lecture.sentences import SentenceAttention, sentence_attentions
from graphgrad.rendering.plot_attention import plot_attention
from graphgrad.rendering.plot_flow import plot_flow
from graphgrad.rendering.plot_fonts import lacking_note, need_matplotlib, set_fonts
from graphgrad.rendering.plot_held_out import plot_held_out
from graphgrad.rendering.plot_steps import plot_metrics, plot_recorded, plot_spread
from graphgrad.rendering.plot_style import FORMATS, encoded, format_of, styled
from graphgrad.rendering.plots import plot_loss, plot_schedule, plot_updates
from graphgrad.reports.history import History, read_history
from graphgrad.tools.opening import batch_of, folder_of, run_of
from graphgrad.tools.options import (
    CHECKPOINT_OPTION,
    MODEL_OPTION,
    TARGET_OPTION,
    Option,
    add_options,
)
from graphgrad.tools.streams import say, tell
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.trainer import EVALUATION

HELP = "draw figures over the steps of runs, gradient flow, update ratios or attention of a run"
DESCRIPTION = """Draws a plot of RUN into a file: PNG, SVG or PDF, by the ending of its name.

    graphgrad plot runs/transformer-001
    graphgrad plot runs/transformer-001 runs/transformer-002 --what metrics -o both.svg
    graphgrad plot runs/transformer-001 --what metrics --figure loss --figure gradient_norm
    graphgrad plot runs/transformer-001 --what recorded --node "decoder.*.scores*" -o x.png
    graphgrad plot runs/transformer-001 --what attention --node "decoder.*" -o attention.svg
    graphgrad plot runs/transformer-001 --what heads --text "de: 22. November 2026" -o heads.svg
    graphgrad plot runs/transformer-001 --what all

loss, held_out, schedule, metrics and spread use the metrics that every run writes; metrics draws a
panel for each of them, a line for each run, and spread how their numbers are spread over the steps.
updates, recorded, and flow over steps, use the figures that `graphgrad train --inspect-every N`
records; recorded draws a figure of values and deltas over the steps, of each head where heads were
recorded (--by head). attention, and flow of a run without
recorded figures, use one batch with the parameters of the newest checkpoint. heads draws lines from
word to word, heads as colours, for a text that you type; dashed lines are the deltas of the scores.
"""


def run(arguments: argparse.Namespace) -> int:
    """Draws the plots and writes them."""
    need_matplotlib()
    _need_one_run(arguments)
    if (arguments.text or arguments.target or arguments.word) and arguments.what not in (
        "heads",
        "all",
    ):
        raise ConfigurationError(
            f"--text, --target and --word are read by heads, not by {arguments.what}",
            fix="--what heads",
        )
    folder = folder_of(arguments.run)
    if arguments.what == "all":
        return _draw_all(folder, arguments)
    file = Path(arguments.output or folder.path / "plots" / f"{arguments.what}.png")
    if format_of(file) not in FORMATS:
        raise ConfigurationError(
            f"the name {file.name} has no ending of a known format",
            file,
            f"end it with .{', .'.join(FORMATS)}",
        )
    _draw(folder, arguments, arguments.what, file)
    return 0


def _need_one_run(arguments: argparse.Namespace) -> None:
    """Raises ConfigurationError for runs and figures that a plot does not read."""
    arguments.run, *others = arguments.runs = arguments.run
    if others and arguments.what not in OF_RUNS:
        raise ConfigurationError(
            f"--what {arguments.what} draws one run, not {len(others) + 1}",
            fix=f"--what {' or '.join(OF_RUNS)}",
        )
    if arguments.figure and arguments.what not in OF_RUNS:
        raise ConfigurationError(
            f"--figure is for {', '.join(OF_RUNS)}, not for {arguments.what}",
            fix=f"--what metrics --figure {arguments.figure[0]:.60}",
        )
    if len(arguments.figure) > 1 and arguments.what == "recorded":
        raise ConfigurationError("recorded draws one figure", fix="give --figure once")


def _draw_all(folder: RunFolder, arguments: argparse.Namespace) -> int:
    """Draws every plot for which the run has data; names the others with the reason."""
    target = Path(arguments.output or folder.path / "plots")
    drawn = 0
    for what in PLOTS:
        try:
            _draw(folder, arguments, what, target / f"{what}.png")
            drawn += 1
        except GraphgradError as error:
            say(f"no {what}: {error.problem}")
    return 0 if drawn else 2


def _draw(folder: RunFolder, arguments: argparse.Namespace, what: str, file: Path) -> None:
    with styled():
        figure = PLOTS[what](folder, arguments)
        form = format_of(file)
        lacking = set_fonts(figure, escape=form != "svg")
        note = "" if form == "svg" else lacking_note(lacking)
        picture = encoded(figure, form)
    make_folder(file.parent)
    write_atomically(file, picture)
    say(f"written {file} ({len(picture):,} bytes)")
    if note:
        tell(f"note: {note}")


def _loss(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    evaluation = folder.read_json(EVALUATION) if (folder.path / EVALUATION).is_file() else {}
    return plot_loss(folder.metrics(), folder.path.name, evaluation)


def _held_out(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    return plot_held_out(folder.metrics(), folder.path.name)


def _schedule(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    return plot_schedule(folder.metrics(), folder.path.name)


def _updates(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    return plot_updates(read_history(folder).chosen(arguments.node), folder.path.name)


def _flow(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    try:
        history = read_history(folder)
    except UnknownNameError:
        history = _of_one_batch(arguments)
    return plot_flow(history.chosen(arguments.node), folder.path.name, _graph_of(arguments))


def _graph_of(arguments: argparse.Namespace) -> Graph | None:
    """The graph of the run's model; without its file there is a note, and a plot all the same."""
    try:
        return run_of(arguments.run, told=False, model_file=arguments.model_file).task.graph
    except GraphgradError as error:
        tell(f"note: blocks are not joined, as the model cannot be opened: {error.problem}")
        return None


def _of_one_batch(arguments: argparse.Namespace) -> History:
    """A history of one step, computed from the newest checkpoint."""
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    step = batch_of(arguments.batch, opened.next_batch)
    graph = opened.task.graph
    derived = derive(graph, graph.outputs["loss"])
    names, deltas, figures, values = figure_table(derived, opened.task.feeds(step), opened.state)
    return History((opened.step,), names, figures, values[None], deltas)


def _attention(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    step = batch_of(arguments.batch, opened.next_batch)
    graph = opened.task.graph
    tokens = token_labels(graph, opened.task.files, opened.task.labels)
    maps = attention_maps(graph, opened.task.feeds(step), opened.state, tokens, arguments.example)
    if arguments.node:
        chosen = {graph.name_of(node) for node in matching(graph, arguments.node, graph.nodes)}
        maps = tuple(item for item in maps if item.name in chosen)
        if not maps:
            raise UnknownNameError(
                "no attention has such a name", fix='--node "encoder.0.attention.*"'
            )
    return plot_attention(maps, folder.path.name)


def _heads(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    if not arguments.text:
        raise ConfigurationError("heads needs a text", fix='--what heads --text "a sentence"')
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    found = sentence_attentions(opened, arguments.text, arguments.target)
    if arguments.node:
        found = [item for item in found if any(fnmatchcase(item.name, p) for p in arguments.node)]
    if not found:
        raise UnknownNameError("no attention has such a name", fix='--node "decoder.*attention"')
    return scene_figure(stacked(_lines_of(found, arguments.word)))


def _lines_of(found: Sequence[SentenceAttention], word: str) -> list[tuple[str, Scene]]:
    """The lines of each attention; with a word, of those whose queries have it."""
    drawn, lacking = [], None
    for item in found:
        try:
            place = word_of(word or ALL, item.queries)
        except UnknownNameError as error:
            lacking = error
            continue
        if place is not None or not word:
            drawn.append((item.name, lines_scene(item, range(len(item.weights)), word=place)))
    if not drawn:
        raise lacking or UnknownNameError(f"{word!r:.60} is not among the tokens")
    return drawn


def _metrics_of(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    folders = map(folder_of, arguments.runs)
    return [(folder.path.name, folder.metrics()) for folder in folders]


def _metrics(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    return plot_metrics(_metrics_of(arguments), arguments.figure)


def _spread(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    return plot_spread(_metrics_of(arguments), arguments.figure)


def _recorded(folder: RunFolder, arguments: argparse.Namespace) -> Any:
    """A figure of the chosen nodes, or of those that were recorded by head."""
    found = []
    for each in map(folder_of, arguments.runs):
        history = read_history(each)
        by_part = [name for name in history.names if name.endswith("]")]
        chosen = arguments.node or not by_part
        found.append(
            (
                each.path.name,
                history.chosen(arguments.node) if chosen else history.of_names(by_part),
            )
        )
    return plot_recorded(found, (arguments.figure or ["norm"])[0])


PLOTS: Mapping[str, Callable[[RunFolder, argparse.Namespace], Any]] = {
    "loss": _loss,
    "held_out": _held_out,
    "schedule": _schedule,
    "metrics": _metrics,
    "spread": _spread,
    "recorded": _recorded,
    "flow": _flow,
    "updates": _updates,
    "attention": _attention,
    "heads": _heads,
}

OF_RUNS = ("metrics", "spread", "recorded")
"""The plots that draw several runs, and that read --figure."""

OPTIONS = (
    Option("run", nargs="+", help=f"a run folder; several are compared by {', '.join(OF_RUNS)}"),
    MODEL_OPTION,
    CHECKPOINT_OPTION,
    Option(
        "--what",
        metavar="WHAT",
        choices=(*PLOTS, "all"),
        default="loss",
        help=f"{', '.join(PLOTS)}, or all (%(default)s)",
    ),
    Option(
        "-o",
        "--output",
        metavar="FILE",
        help="the file to write (RUN/plots/WHAT.png; with --what all a folder)",
    ),
    Option(
        "--node",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only these nodes, for attention, flow, recorded and updates; may be repeated",
    ),
    Option(
        "--figure",
        metavar="NAME",
        action="append",
        default=[],
        help="only this metric, for metrics and spread; may be repeated; for recorded, which "
        "figure of the values (norm)",
    ),
    Option("--text", metavar="TEXT", help="the text that is read, for heads"),
    TARGET_OPTION,
    Option(
        "--word",
        metavar="WORD",
        default="",
        help="for heads, only the lines of this token, or of that with this number",
    ),
    Option(
        "--batch",
        type=int,
        metavar="STEP",
        help="the batch of this step (default: the run's next)",
    ),
    Option(
        "--example",
        type=int,
        metavar="I",
        default=0,
        help="which example of the batch, for attention (%(default)s)",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)
