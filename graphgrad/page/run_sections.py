"""Computes the sections of a page of a run: figures, attention, passes and program, history.

All are computed in the precision of the run from the newest checkpoint and one batch, as by
`graphgrad inspect` (for a finished run at the learning rate of its last step); the run is not
changed. A section without data (no attention, no recorded history) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.data.tokens import tokens_from_json
from graphgrad.errors import UnknownNameError
from graphgrad.page.section_attention import attention_section
from graphgrad.page.section_history import history_section
from graphgrad.page.section_passes import pass_section
from graphgrad.page.section_run import run_section
from graphgrad.page.section_training import training_section
from graphgrad.passes import mixed_precision, sizes_of
from graphgrad.reports.history import History, read_history
from graphgrad.training.optimisers import STEP
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import OpenRun
from graphgrad.training.translation_data import SOURCE_FILE, TARGET_FILE

GUARDS = ("loss", "gradient_norm")
"""The guards of a training step, as `train` sets them."""


def run_sections(run: OpenRun, batch: int | None = None) -> dict[str, Any]:
    """The sections of a page that have data: run, attention, passes, training and history.

    `batch` is the number of the batch to compute from, by default that of the run's next step.
    """
    return state_sections(run, batch) | recorded_sections(run)


def state_sections(run: OpenRun, batch: int | None = None) -> dict[str, Any]:
    """The sections that are computed from the run's state and one batch; this takes seconds."""
    step = run.next_batch if batch is None else batch
    feeds = run.task.feeds(step)
    graph = mixed_precision(run.graph, run.settings.precision)
    sizes, state = sizes_of(graph, feeds), _shown_state(run)
    found: dict[str, Any] = {
        "run": run_section(graph, feeds, state, run.folder.path.name, run.step, step),
        "attention": attention_section(graph, feeds, state, tokens_of(run.task.files)),
        "passes": pass_section(run.graph, sizes, GUARDS, run.settings.fuse, run.settings.precision),
    }
    return {name: section for name, section in found.items() if section is not None}


def recorded_sections(run: OpenRun, others: Sequence[RunFolder] = ()) -> dict[str, Any]:
    """The sections of what the run has recorded so far, its metrics beside those of others."""
    history, graph = _recorded(run), mixed_precision(run.graph, run.settings.precision)
    runs = [(folder.path.name, folder.metrics()) for folder in (run.folder, *others)]
    found = {
        "training": training_section(runs),
        "history": None if history is None else history_section(history, graph),
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


def tokens_of(files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The tokens of each input of ids, if the run is one of translation; else none."""
    if SOURCE_FILE not in files or TARGET_FILE not in files:
        return {}
    source, target = (
        tokens_from_json(files[name], name).tokens for name in (SOURCE_FILE, TARGET_FILE)
    )
    return {"source": source, "target_input": target, "target_output": target}


def _recorded(run: OpenRun) -> History | None:
    try:
        return read_history(run.folder)
    except UnknownNameError:  # nothing was recorded
        return None
