"""Computes the sections of a page of a run: figures, attention, passes and program, history.

All are computed from the newest checkpoint and one batch, as by `graphgrad inspect` (for a finished
run at the learning rate of its last step); the run is not changed. A section without data (no
attention, no recorded history) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.errors import UnknownNameError
from graphgrad.figures.token_labels import token_labels
from graphgrad.page.section_attention import attention_section
from graphgrad.page.section_history import history_section
from graphgrad.page.section_passes import pass_section
from graphgrad.page.section_run import run_section
from graphgrad.page.sentences import with_sentences
from graphgrad.passes import sizes_of
from graphgrad.rendering.example import one_example
from graphgrad.reports.history import History, read_history
from graphgrad.training.optimisers import STEP
from graphgrad.training.runs import OpenRun

GUARDS = ("loss", "gradient_norm")
"""The guards of a training step, as `train` sets them."""


def run_sections(
    run: OpenRun,
    batch: int | None = None,
    example: int | None = None,
    texts: Sequence[str] = (),
    answer: str = "",
) -> dict[str, Any]:
    """The sections `run`, `attention`, `passes` and `history` of a page that have data.

    `batch` is the number of the batch to compute from, by default that of the run's next step;
    `example` computes from one example of it. `texts` are sentences that the model reads, whose
    attention is shown before that of the batch, with `answer` or what the model answers.
    """
    step = run.next_batch if batch is None else batch
    feeds = run.task.feeds(step)
    if example is not None:
        feeds = one_example(run.graph, feeds, example)
    sizes = sizes_of(run.graph, feeds)
    tokens = token_labels(run.task.graph, run.task.files, run.task.labels)
    history, state = _recorded(run), _shown_state(run)
    found: dict[str, Any] = {
        "run": run_section(run.graph, feeds, state, run.folder.path.name, run.step, step),
        "attention": attention_section(run.graph, feeds, state, tokens),
        "passes": pass_section(run.graph, sizes, GUARDS, run.settings.fuse),
        "history": None if history is None else history_section(history, run.graph),
    }
    if example is not None:
        for section in (found["run"], found["attention"] or {}):
            section["example"] = example
    if texts:
        found["attention"] = with_sentences(found["attention"], run, texts, answer)
    return {name: section for name, section in found.items() if section is not None}


def _shown_state(run: OpenRun) -> Mapping[str, np.ndarray]:
    """The state of the run; of a finished run with the step counter reduced by one.

    A finished run has no next step, and most schedules end at a learning rate of 0, at which
    nothing would move. So one more step at the rate of the last one is shown.
    """
    if 0 < run.step == run.settings.steps:
        return {**run.state, STEP: run.state[STEP] - 1}
    return run.state


def _recorded(run: OpenRun) -> History | None:
    try:
        return read_history(run.folder)
    except UnknownNameError:  # nothing was recorded
        return None
