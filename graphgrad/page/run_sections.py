"""Computes the sections of a page of a run: figures, attention, passes and program, history.

All are computed in the precision of the run from the newest checkpoint and one batch, as by
`graphgrad inspect` (for a finished run at the learning rate of its last step); the run is not
changed. A section without data (no attention, no recorded history) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.errors import UnknownNameError
from graphgrad.figures.token_labels import token_labels
from graphgrad.page.section_attention import attention_section
from graphgrad.page.section_history import BUDGET, history_section
from graphgrad.page.section_passes import pass_section
from graphgrad.page.section_run import run_section
from graphgrad.page.section_training import training_section
from graphgrad.page.sentences import with_sentences
from graphgrad.passes import mixed_precision, sizes_of
from graphgrad.rendering.example import one_example
from graphgrad.reports.history import History, read_history
from graphgrad.training.optimisers import STEP
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import OpenRun

GUARDS = ("loss", "gradient_norm")
"""The guards of a training step, as `train` sets them."""


@dataclass(frozen=True)
class Shown:
    """What a page of a run shows, where it is not the whole batch of the run's next step."""

    batch: int | None = None
    """The number of the batch."""
    example: int | None = None
    """The example of the batch, instead of all."""
    texts: Sequence[str] = ()
    """Sentences that the model reads; their attention is shown before that of the batch."""
    target: str = ""
    """The answer to the texts, instead of the model's own."""


BATCH = Shown()
"""The whole batch of the run's next step."""


def run_sections(run: OpenRun, shown: Shown = BATCH) -> dict[str, Any]:
    """The sections of a page that have data: run, attention, passes, training and history."""
    return state_sections(run, shown) | recorded_sections(run)


def state_sections(run: OpenRun, shown: Shown = BATCH) -> dict[str, Any]:
    """The sections that are computed from the run's state and one batch; this takes seconds."""
    step = run.next_batch if shown.batch is None else shown.batch
    feeds = run.task.feeds(step)
    if shown.example is not None:
        feeds = one_example(run.graph, feeds, shown.example)
    tokens = token_labels(run.task.graph, run.task.files, run.task.labels)
    graph = mixed_precision(run.graph, run.settings.precision)
    sizes, state = sizes_of(graph, feeds), _shown_state(run)
    found: dict[str, Any] = {
        "run": run_section(graph, feeds, state, run.folder.path.name, run.step, step),
        "attention": attention_section(graph, feeds, state, tokens),
        "passes": pass_section(run.graph, sizes, GUARDS, run.settings.fuse, run.settings.precision),
    }
    if shown.example is not None:
        for section in (found["run"], found["attention"] or {}):
            section["example"] = shown.example
    if shown.texts:
        found["attention"] = with_sentences(found["attention"], run, shown.texts, shown.target)
    return {name: section for name, section in found.items() if section is not None}


def recorded_sections(run: OpenRun, others: Sequence[RunFolder] = ()) -> dict[str, Any]:
    """The sections of what the run has recorded so far, its metrics beside those of others."""
    graph = mixed_precision(run.graph, run.settings.precision)
    histories = [_recorded(folder) for folder in (run.folder, *others)]
    budget = BUDGET // len(histories)
    first, *rest = (
        None if history is None else history_section(history, known, budget)
        for history, known in zip(histories, (graph, *[None] * len(others)), strict=True)
    )
    runs = [(folder.path.name, folder.metrics()) for folder in (run.folder, *others)]
    found = {
        "training": training_section(runs),
        "history": first,
        "history_others": rest if any(rest) else None,
    }
    return {name: section for name, section in found.items() if section is not None}


def _shown_state(run: OpenRun) -> Mapping[str, np.ndarray]:
    """The state of the run; of a finished run with the step counter reduced by one.

    A finished run has no next step, and most schedules end at a learning rate of 0, at which
    nothing would move. So one more step at the rate of the last one is shown.
    """
    if 0 < run.step == run.settings.steps:
        return {**run.state, STEP: run.state[STEP] - 1}
    return run.state


def _recorded(folder: RunFolder) -> History | None:
    try:
        return read_history(folder)
    except UnknownNameError:  # nothing was recorded
        return None
