"""`graphgrad inspect --explain`: derives the delta of one node step by step.

For a run, the values are those of one batch with the parameters of its newest checkpoint,
recomputed in float64; for a model, those of the small batch and the parameters of `graphgrad
check`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.text import Text

from graphgrad.explain.explanation import Explanation, explain
from graphgrad.explain.explanation_text import Style, rows, text_lines
from graphgrad.graph import Graph
from graphgrad.strict_json import format_json
from graphgrad.tools.check import shaken
from graphgrad.tools.opening import batch_of, is_run, model_of, refuse_model_option, run_of
from graphgrad.tools.streams import say, tell, write_document
from graphgrad.training.settings import with_values

STYLES: Mapping[Style, str] = {
    "title": "bold",
    "formula": "cyan",
    "text": "",
    "good": "green",
    "bad": "bold red",
    "faint": "dim",
}

Subject = tuple[Graph, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
"""A forward graph in float64, its inputs and its state."""


def explain_node(arguments: argparse.Namespace) -> int:
    """Derives and prints; returns 1 if a line does not agree with the numbers."""
    graph, feeds, state = _subject(arguments)
    explanation = explain(graph, arguments.explain, feeds, state, steps=arguments.depth)
    if arguments.json:
        write_document(format_json(explanation.to_dict(), "the explanation") + "\n")
    else:
        show(explanation)
    return int(not explanation.agrees)


def show(explanation: Explanation) -> None:
    """Colour in a terminal, plain text elsewhere."""
    if sys.stdout.isatty():
        console = Console(highlight=False, soft_wrap=True)
        for row in rows(explanation):
            console.print(Text.assemble(*((text, STYLES[style]) for text, style in row)))
        return
    for line in text_lines(explanation):
        say(line)


def _subject(arguments: argparse.Namespace) -> Subject:
    """A run in float64 where the name is a folder, else a model as `check` sees it."""
    name, batch, model_file = arguments.run, arguments.batch, arguments.model_file
    if is_run(name):
        opened = run_of(name, model_file=model_file, checkpoint=arguments.checkpoint)
        if opened.settings.surgery:
            tell("note: the run cuts deltas; the derivation shows them uncut")
        settings = with_values(opened.settings, {"dtype": "float64", "precision": "fp32"})
        task = opened.model.task(settings, opened.task.files)
        state = {
            key: value.astype(np.float64) if value.dtype.kind == "f" else value
            for key, value in opened.state.items()
        }
        return task.graph, task.feeds(batch_of(batch, opened.next_batch)), state
    refuse_model_option(model_file, arguments.checkpoint)
    model = model_of(name)
    settings = with_values(
        model.settings, {**model.check, "dtype": "float64", "precision": "fp32"}, model.name
    )
    task = model.task(settings, {})
    return task.graph, task.feeds(batch_of(batch, 0)), shaken(task.graph, settings.seed)
