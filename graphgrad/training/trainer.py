"""Training: one program call a step, and everything around it that makes a run safe to leave alone.

The state is the whole truth of a run: parameters, moments, step count, seed. What a step computes
depends on the state and the step's number alone (batches and dropout are functions of it), so an
interrupted run that goes on from a checkpoint ends with the same bytes as one that was never
interrupted, on the same machine with the same threads.

A step whose loss or gradient is not finite changes nothing, and the run stops. No checkpoint is
made of the state that led there, so that resuming goes back to one before; resumed with
`checkpoint_every=1` the run comes to the same step again with the state saved. Nor is a checkpoint
made of parameters that are not finite themselves, as an update can overflow that the loss of its
step does not show: the run stops at that step, and it is not recorded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError, NonFiniteError
from graphgrad.figures.non_finite import first_non_finite
from graphgrad.figures.recording import Recorder, recorded_names
from graphgrad.training.announcement import announcement
from graphgrad.training.checkpoint import remove_after, save_checkpoint, tidy_checkpoints
from graphgrad.training.configuration import bindings, read_configuration, write_configuration
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.metrics_file import METRICS
from graphgrad.training.optimisers import STEP
from graphgrad.training.progress import Progress
from graphgrad.training.runs import OpenRun, require_unchanged
from graphgrad.training.task import read_only
from graphgrad.training.trust import trust
from graphgrad.training.verification import overflown, verify_first_step
from graphgrad.training.waiting import Waiting

EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `finished`, or `interrupted` with a checkpoint to resume from."""

    ending: str
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class _Programs:
    """What computes the steps: the plain program, and where figures are recorded, another."""

    plain: Compiled
    recorder: Recorder | None = None
    history: HistoryWriter | None = None

    def run(
        self, state: dict[str, np.ndarray], feeds: dict[str, np.ndarray], step: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The results of step `step` (counted from 1), and its figures where they are recorded."""
        if self.recorder is None or self.history is None or not self.history.wants(step):
            return self.plain(state, **feeds), None
        return self.recorder.run(state, feeds)


def train(run: OpenRun, progress: Progress | None = None, verify: bool = False) -> Outcome:
    """Trains to the last step, or until it is interrupted; either way a checkpoint is saved.

    Before it, the first step is compared with the plain program where that costs little, with
    `verify` in any case (see verification.py). Where the settings say `inspect_every`, figures are
    recorded into the run's history.
    """
    settings, task, done = run.settings, run.task, int(run.state[STEP])
    check_settings(run)
    recorder = None
    if settings.inspect_every:
        recorder = Recorder(run.graph, settings.inspect_patterns, settings.fuse)
    first = task.feeds(done)  # what is wrong with the data shows before anything is written
    compiled = compile(run.graph, guards=("loss", "gradient_norm"), fuse=settings.fuse)
    verified = ""
    if done < settings.steps and (settings.fuse or verify):
        verified = verify_first_step(compiled, first, run.state, verify)
    shown = progress or Progress(settings.steps, done)
    for line in announcement(run, compiled):
        shown.message(line)
    with run.folder.lock():
        require_unchanged(run)
        if done < settings.steps:
            _keep_configuration(run)
        if run.gives_up:
            remove_after(run.folder.checkpoints, done)
            run.folder.log("\n".join(run.warnings))
        tidy_checkpoints(run.folder.checkpoints, run.checkpoint, done, settings.keep_checkpoints)
        run.folder.truncate(done)
        if missing := run.folder.metrics_missing(done):
            shown.message(f"note: {METRICS} has no record of {missing}")
            run.folder.log(f"note: {METRICS} has no record of {missing}")
        programs = _programs(run, compiled, recorder)
        for line in filter(None, (verified, f"training from step {done} to {settings.steps}")):
            run.folder.log(line)
        with shown, InterruptGuard() as interrupt:
            step = _steps(run, programs, shown, interrupt)
            if step == settings.steps:
                shown.message("evaluating on held-out data")
        if step < settings.steps:
            run.folder.log(f"interrupted after step {step}")
            return Outcome("interrupted", step, {})
        try:
            figures = _figures(run, shown, quick=False)
        except KeyboardInterrupt:
            return Outcome("interrupted", step, {})
        _keep_configuration(run)  # where no step was left to train, not before all went well
        written = {"step": step, **json_figures(figures), **_signatures(run)}
        run.folder.write_json(EVALUATION, written)
        run.folder.log(f"finished: {figures}")
    return Outcome("finished", step, figures)


def _figures(run: OpenRun, shown: Progress, quick: bool) -> dict[str, float]:
    """The figures on held-out data, of some of it if `quick`; who waits is told how long."""
    task, state = run.task, read_only(run.state)
    if task.measure is not None:
        return task.measure(state, Options(), Waiting(say=shown.message), quick)
    if not quick:
        return task.evaluate(state)
    return task.validate(state) if task.validate is not None else {}


def _keep_configuration(run: OpenRun) -> None:
    """Writes what the run goes on with, where that is not what it was made with."""
    if read_configuration(run.folder) != run.configuration:
        write_configuration(run.folder, run.configuration)
    trust(run.model)


def check_settings(run: OpenRun) -> None:
    """ConfigurationError for settings that the run cannot go on with, UnknownNameError for names
    to record that it does not have."""
    settings, done = run.settings, int(run.state[STEP])
    if done > settings.steps:
        raise ConfigurationError(
            f"the run has done {done} steps already, and steps is {settings.steps}",
            run.folder.path,
            f"set steps to more than {done}",
        )
    if settings.inspect_every:
        recorded_names(run.graph, settings.inspect_patterns)


def _programs(run: OpenRun, compiled: Compiled, recorder: Recorder | None) -> _Programs:
    if recorder is None:
        return _Programs(compiled)
    history = HistoryWriter(
        run.folder.history,
        recorder.names,
        recorder.statistics,
        run.settings.inspect_every,
        run.folder.identity,
        recorder.deltas,
    )
    return _Programs(compiled, recorder, history)


def _steps(run: OpenRun, programs: _Programs, shown: Progress, interrupt: InterruptGuard) -> int:
    """Trains and saves; the number of the step after which it stopped."""
    settings, step = run.settings, int(run.state[STEP])
    saved = step
    while step < settings.steps and not interrupt.requested:
        record, figures = _one_step(run, programs, step)
        step += 1
        last = step == settings.steps
        saving = last or interrupt.requested or step % settings.checkpoint_every == 0
        if saving:
            _need_finite(run, step)
        unit = run.task.unit
        shown.update(step, record["loss"], record["learning_rate"], record[unit], unit)
        if step % settings.evaluate_every == 0 and not last:  # the last is evaluated when saved
            record |= _show(run, shown, step)
        run.folder.append_metrics(record, durable=saving)
        if programs.history is not None and figures is not None:
            programs.history.append(step, figures, durable=saving)
        if saving:
            _save(run, step)
            saved = step
    if saved != step:
        _need_finite(run, step)
        _save(run, step)
    return step


def _need_finite(run: OpenRun, step: int) -> None:
    """NonFiniteError where the update of a step was too much for the numbers."""
    own = run.task.graph.states.keys() - run.task.graph.parameters.keys()
    if (found := overflown(run.state, own)) is not None:
        name, problem = found
        raise _not_finite(run, step, problem, run.graph.states[name].origin)


def _not_finite(run: OpenRun, step: int, problem: str, where: object) -> NonFiniteError:
    """The error that ends a run at a step, which is written to its log."""
    run.folder.log(f"step {step}: {problem}")
    return NonFiniteError(
        f"step {step}: {problem}",
        where,
        "go on from the last checkpoint, or from an older one (--step N), with a lower "
        "learning_rate or with clip_norm set; with --set checkpoint_every=1 it stops here again "
        "and the state can be inspected",
    )


def json_figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    """The figures as JSON can hold them: None where one is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _one_step(
    run: OpenRun, programs: _Programs, step: int
) -> tuple[dict[str, Any], np.ndarray | None]:
    """One call of a program: the line of metrics that it gives, and the figures of its nodes."""
    started = time.perf_counter()
    feeds = run.task.feeds(step)
    try:
        results, figures = programs.run(run.state, feeds, step + 1)
    except NonFiniteError as error:
        found = first_non_finite(run.graph, feeds, run.state)
        problem, where = (str(found), found.origin) if found else (error.problem, error.where)
        raise _not_finite(run, step + 1, problem, where) from None
    record = {
        "step": step + 1,
        "loss": float(results["loss"]),
        "gradient_norm": float(results["gradient_norm"]),
        "learning_rate": float(results["learning_rate"]),
        run.task.unit: run.task.count(feeds),
        "seconds": round(time.perf_counter() - started, 6),
    }
    return record, figures


def _show(run: OpenRun, progress: Progress, step: int) -> dict[str, Any]:
    """What the model can do by now: figures on held-out data, and examples.

    Gives the figures under the names that the metrics have them by.
    """
    figures = _figures(run, progress, quick=True)
    if figures:
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress.message(f"step {step}  held-out: {text}")
        run.folder.log(f"step {step} held-out: {text}")
    for line in run.task.examples(read_only(run.state)):
        progress.message(f"    {line}")
        run.folder.log(line)
    named = {f"held_out_{name}": value for name, value in figures.items() if name != "examples"}
    return named | _signatures(run)


def _signatures(run: OpenRun) -> dict[str, Any]:
    """How figures are computed that have several definitions, where there are any."""
    signatures = dict(run.task.signatures())
    return {"signatures": signatures} if signatures else {}


def _save(run: OpenRun, step: int) -> None:
    details = bindings(run.configuration, run.settings, run.task.graph)
    save_checkpoint(run.folder.checkpoints, step, run.state, details, run.settings.keep_checkpoints)
