"""Computes one step of a run: a program call for each of its batches, and its line of metrics.

A step whose loss or gradient is not finite changes nothing and ends the run, with the name of the
first node that is not finite; so does an update that overflows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.compile import Compiled
from graphgrad.errors import NonFiniteError
from graphgrad.figures.non_finite import first_non_finite
from graphgrad.figures.recording import Recorder
from graphgrad.passes import PASSES, PRECISION_PASSES
from graphgrad.training.accumulation import LOSS_OF_STEP, PART
from graphgrad.training.ahead import Ahead
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.kept_rates import KeptRates
from graphgrad.training.loss_scale import LOSS_SCALE
from graphgrad.training.runs import OpenRun
from graphgrad.training.shared_state import with_zeros
from graphgrad.training.task import Feeds
from graphgrad.training.tensorboard import EventWriter
from graphgrad.training.verification import overflown

Results = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Programs:
    """The programs of the steps: the plain one and, if figures are recorded, a second one."""

    plain: Compiled
    ahead: Ahead
    """The batches of the run, for the plain program."""
    recorder: Recorder | None = None
    history: HistoryWriter | None = None
    events: EventWriter | None = None
    rates: KeptRates | None = None
    """By which rates the plain program's products are computed."""

    def run(
        self, state: Mapping[str, np.ndarray], feeds: Feeds, step: int | None
    ) -> tuple[Results, np.ndarray | None]:
        """The results of the batch that ends step `step` (counted from 1), and its figures if they
        are recorded; None for a batch that ends none."""
        if self.recorder is None or self.history is None or not self.history.wants(step or 0):
            results = self.ahead.run(state, feeds)
            if self.rates is not None:
                self.rates.keep(self.plain)
            return results, None
        return self.recorder.run(state, feeds)


@dataclass(frozen=True)
class Step:
    """What a step gives: its line of metrics, and the figures of nodes where they are recorded."""

    record: dict[str, Any]
    figures: np.ndarray | None


def one_step(run: OpenRun, programs: Programs, step: int, interrupt: InterruptGuard) -> Step | None:
    """Computes the step after `step`; None where it was interrupted between two of its batches,
    the first of which are then part of the state."""
    started = time.perf_counter()
    task, batches = run.task, run.settings.accumulate
    done = int(run.state[PART]) if PART in run.state else 0
    first = step * batches
    count = sum(task.count(task.feeds(first + part)) for part in range(done))
    results: Results = {}
    figures = None
    for part in range(done, batches):
        if part > done and interrupt.requested and programs.ahead.whole:
            return None
        feeds = programs.ahead.feeds(first + part)
        try:
            results, figures = programs.run(
                run.state, feeds, step + 1 if part == batches - 1 else None
            )
        except NonFiniteError as error:
            passes = (*PASSES, *PRECISION_PASSES[run.settings.precision])
            found = first_non_finite(run.graph, feeds, with_zeros(run.graph, run.state), passes)
            problem, where = (str(found), found.origin) if found else (error.problem, error.where)
            raise not_finite(run, step + 1, problem, where) from None
        count += task.count(feeds)
    record = {
        "step": step + 1,
        "loss": float(results.get(LOSS_OF_STEP, results["loss"])),
        "gradient_norm": float(results["gradient_norm"]),
        "learning_rate": float(results["learning_rate"]),
        **({LOSS_SCALE: float(results[LOSS_SCALE])} if LOSS_SCALE in results else {}),
        task.unit: count,
        "seconds": round(time.perf_counter() - started, 6),
    }
    return Step(record, figures)


def need_finite(run: OpenRun, step: int) -> None:
    """Raises NonFiniteError where the update of a step has overflowed."""
    own = run.task.graph.states.keys() - run.task.graph.parameters.keys()
    if (found := overflown(run.state, own)) is not None:
        name, problem = found
        raise not_finite(run, step, problem, run.graph.states[name].origin)


def not_finite(run: OpenRun, step: int, problem: str, where: object) -> NonFiniteError:
    """The error that ends a run at a step; writes it to the log."""
    run.folder.log(f"step {step}: {problem}")
    return NonFiniteError(
        f"step {step}: {problem}",
        where,
        "go on from the last checkpoint, or from an older one (--step N), with a lower "
        "learning_rate or with clip_norm set; with --set checkpoint_every=1 it stops here again "
        "and the state can be inspected",
    )
