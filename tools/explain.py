"""What `graphgrad inspect --explain` does: the delta of one node, derived step by step.

A run is explained on a batch of its own, with the parameters of its newest checkpoint, computed
again in float64; a model on the small batch and the shaken parameters of `graphgrad check`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from graphgrad.graph import Graph
from graphgrad.inspection.explain import Explanation, explain
from graphgrad.inspection.explain_text import Style, rows, text_lines
from graphgrad.models import BUILTIN
from graphgrad.tools.check import shaken
from graphgrad.training.files import format_json
from graphgrad.training.progress import displayable
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model
from graphgrad.training.trainer import open_run

STYLES: Mapping[Style, str] = {
    "title": "bold", "formula": "cyan", "text": "", "good": "green", "bad": "bold red",
    "faint": "dim",
}  # fmt: skip

Subject = tuple[Graph, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
"""A forward graph in float64, its inputs and its state."""


def explain_node(arguments: argparse.Namespace) -> int:
    """Derives and prints; 1 where a line does not agree with the numbers."""
    graph, feeds, state = _subject(arguments.run, arguments.batch)
    explanation = explain(graph, arguments.explain, feeds, state, steps=arguments.depth)
    if arguments.json:
        print(format_json(explanation.to_dict(), "the explanation"))
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
        print(displayable(line, sys.stdout.encoding))


def _subject(name: str, batch: int | None) -> Subject:
    """A run in float64 where the name is a folder, else a model as `check` sees it."""
    if name not in BUILTIN and Path(name).is_dir():
        opened = open_run(name, BUILTIN)
        for warning in opened.warnings:
            print(f"note: {warning}", file=sys.stderr)
        if opened.settings.surgery:
            print("note: the run cuts deltas; the derivation shows them uncut", file=sys.stderr)
        settings = with_values(opened.settings, {"dtype": "float64"})
        task = opened.model.task(settings, opened.task.files)
        state = {key: value.astype(np.float64) if value.dtype.kind == "f" else value
                 for key, value in opened.state.items()}  # fmt: skip
        return task.graph, task.feeds(opened.step if batch is None else batch), state
    model = load_model(name, BUILTIN)
    settings = with_values(model.settings, {**model.check, "dtype": "float64"}, model.name)
    task = model.task(settings, {})
    return task.graph, task.feeds(batch or 0), shaken(task.graph, settings.seed)
