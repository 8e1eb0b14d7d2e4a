"""Trains the runs whose pages are tested, and evaluates the same batches for comparison.

Each costs seconds: tests take them from the fixtures of page/conftest.py, which build each
once in a session.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.data.dates import dates_corpus
from graphgrad.graph import Graph
from graphgrad.models import BUILTIN
from graphgrad.ops.evaluate import evaluate
from graphgrad.page import build_page
from graphgrad.page.run_sections import run_sections
from graphgrad.passes import sizes_of, specialise
from graphgrad.reports.history import History, read_history
from graphgrad.training.progress import Progress
from graphgrad.training.runs import OpenRun, create_run, open_run
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train

DATES = {
    "layers": 2,
    "width": 32,
    "heads": 4,
    "inner": 64,
    "batch_size": 16,
    "steps": 30,
    "inspect_every": 10,
}
WORDS = {
    "layers": 2,
    "width": 16,
    "heads": 2,
    "inner": 12,
    "batch_size": 6,
    "steps": 4,
    "inspect_every": 1,
    "tokens": "whitespace",
    "schedule": "constant",
}
HOSTILE_WORDS = (
    "<script>window.hacked=1</script>",
    "<img/src=x/onerror=window.hacked=1>",
    "]]>",
    "\\N",
    "n:port",
    "javascript:window.hacked=1",
    "\u202egnirts",
    "'\"`",
    "</style><b>",
    "x" * 10_000,
)


@dataclass(frozen=True)
class Trained:
    """A run, its page, and what the page must show."""

    html: str
    run: OpenRun
    graph: Graph
    """That of the page."""
    values: dict[str, np.ndarray]
    """By the names of the graph."""
    history: History
    sections: dict[str, Any]


def train_transformer(folder: Path, values: dict[str, Any]) -> OpenRun:
    """A run of the built-in Transformer with these settings, trained to its end."""
    model = load_model("transformer", BUILTIN)
    settings = with_values(model.settings, values)
    run = create_run(model, settings, folder)
    progress = Progress(settings.steps, 0, stream=io.StringIO())
    train(run, progress=progress)
    return open_run(folder, BUILTIN)


def evaluated(graph: Graph, run: OpenRun) -> dict[str, np.ndarray]:
    """Every value of the graph at the next batch of the run, by name, with no compiler between."""
    feeds = run.task.feeds(run.step)
    sized = specialise(graph, sizes_of(graph, feeds))
    computed = evaluate(sized, feeds, run.state)
    return {name: computed[node] for name, node in sized.names.items()}


def trained_on_dates(folder: Path) -> Trained:
    """On some of the built-in dates; its page is that of the whole training step, with sizes."""
    with pytest.MonkeyPatch.context() as patch:  # to write and encode them all takes seconds
        patch.setattr("graphgrad.data.builtin.dates_corpus", dates_corpus)
        patch.setattr("graphgrad.data.dates.TRAIN_EXAMPLES", 2_000)
        patch.setattr("graphgrad.data.dates.TEST_EXAMPLES", 20)
        return shown_on_dates(train_transformer(folder, DATES))


def shown_on_dates(run: OpenRun) -> Trained:
    """The run with its page."""
    sections = run_sections(run)
    sizes = sizes_of(run.graph, run.task.feeds(run.step))
    html = build_page(run.graph, sections=sections, title="dates", sizes=sizes)
    history = read_history(run.folder)
    return Trained(html, run, run.graph, evaluated(run.graph, run), history, sections)


def trained_on_words(folder: Path) -> Trained:
    """On hostile words; its page is that of values and deltas, and shows kernels."""
    generator = random.Random(5)
    files = {name: folder / name for name in ("source", "target")}
    for file in files.values():
        lines = [
            " ".join(
                [HOSTILE_WORDS[0], *generator.choices(HOSTILE_WORDS, k=generator.randint(2, 6))]
            )
            for _ in range(60)
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = {name: str(file) for name, file in files.items()}
    run = train_transformer(folder / "run", {**WORDS, **texts})
    with pytest.MonkeyPatch.context() as patch:  # arrays of tests are small, but kernels are shown
        patch.setattr("graphgrad.fusion.grouping.SMALLEST_KERNEL", 0)
        sections = run_sections(run)
    graph = derive(run.task.graph, "loss", run.task.graph.parameters.values())
    html = build_page(graph, sections=sections, title="run")
    return Trained(html, run, graph, evaluated(graph, run), read_history(run.folder), sections)
