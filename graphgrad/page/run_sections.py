"""The sections of a page that show a run: figures, attention, passes and program, history.

All are computed from the newest checkpoint and one batch, as `graphgrad inspect` does (a finished
run at the learning rate of its last step); nothing of the run is changed. A section for which a run
has nothing (no attention, no recorded history) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgrad.data.tokens import tokens_from_json
from graphgrad.errors import UnknownNameError
from graphgrad.page.section_attention import attention_section
from graphgrad.page.section_history import history_section
from graphgrad.page.section_passes import pass_section
from graphgrad.page.section_run import run_section
from graphgrad.passes import sizes_of
from graphgrad.reports.history import History, read_history
from graphgrad.training.optimisers import STEP
from graphgrad.training.runs import OpenRun
from graphgrad.training.translation_data import SOURCE_FILE, TARGET_FILE

GUARDS = ("loss", "gradient_norm")
"""What `train` guards a step by."""


def run_sections(run: OpenRun, batch: int | None = None) -> dict[str, Any]:
    """The sections `run`, `attention`, `passes` and `history` of a page, as far as there are any.

    `batch` is the number of the batch that is looked at; by default that of the run's next step.
    """
    step = run.step if batch is None else batch
    feeds = run.task.feeds(step)
    sizes = sizes_of(run.graph, feeds)
    history, state = _recorded(run), _shown_state(run)
    found: dict[str, Any] = {
        "run": run_section(run.graph, feeds, state, run.folder.path.name, run.step, step),
        "attention": attention_section(run.graph, feeds, state, tokens_of(run.task.files)),
        "passes": pass_section(run.graph, sizes, GUARDS, run.settings.fuse),
        "history": None if history is None else history_section(history, run.graph),
    }
    return {name: section for name, section in found.items() if section is not None}


def _shown_state(run: OpenRun) -> Mapping[str, np.ndarray]:
    """The state, that of a finished run counted back by one step.

    A finished run has no next step, and most schedules give it a rate of 0, at which nothing moves:
    shown is one more step at the rate of the last one.
    """
    if 0 < run.step == run.settings.steps:
        return {**run.state, STEP: run.state[STEP] - 1}
    return run.state


def tokens_of(files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The tokens of each input of ids, where the run translates; else none."""
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
