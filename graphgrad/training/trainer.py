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

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from graphgrad.compile import Compiled, compile, initial_state
from graphgrad.errors import CheckpointError, ConfigurationError, NonFiniteError
from graphgrad.graph import Graph
from graphgrad.training.checkpoint import (
    checkpoint_steps,
    load_checkpoint,
    remove_after,
    save_checkpoint,
)
from graphgrad.training.environment import describe_environment
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.optimisers import SEED, STEP, training_step
from graphgrad.training.progress import Progress
from graphgrad.training.recorder import Recorder
from graphgrad.training.run_folder import CONFIGURATION, ENVIRONMENT, RunFolder
from graphgrad.training.settings import TrainingSettings, with_values
from graphgrad.training.task import ModelFile, Task, load_model, read_only
from graphgrad.training.verification import Arbiter, overflown, verify_first_step

EVALUATION = "evaluation.json"

Explain = Callable[
    [Graph, Mapping[str, np.ndarray], Mapping[str, np.ndarray]], tuple[str, str] | None
]
"""Names the first node that is not finite, and the line that declared it, from the training graph,
the inputs and the state."""


@dataclass(frozen=True)
class OpenRun:
    """A run folder with everything that its use needs."""

    folder: RunFolder
    model: ModelFile
    settings: TrainingSettings
    task: Task
    graph: Graph
    """The task's graph with deltas and updates: what a training step computes."""
    state: dict[str, np.ndarray]
    step: int
    warnings: tuple[str, ...] = ()
    gives_up: bool = False
    """It was opened at a step of the caller's choice: `train` removes what came after that."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `finished`, or `interrupted` with a checkpoint to resume from."""

    ending: str
    step: int
    figures: Mapping[str, float]


def create_run(
    model: ModelFile,
    settings: TrainingSettings,
    path: str | Path | None = None,
    check: Callable[[Graph], object] = lambda graph: None,
) -> OpenRun:
    """A fresh run folder: configuration, environment, vocabularies and the initial state.

    The data is read before the folder is made, so a wrong file leaves nothing behind; nor does a
    disk that is full before the run is complete. `check` may refuse the training graph before that.
    """
    task = model.task(settings, {})
    graph = training_step(task.graph, settings)
    check(graph)
    run = partial(OpenRun, model=model, settings=settings, task=task, graph=graph,
                  state=_drawn(graph, settings), step=0)  # fmt: skip
    folder = RunFolder.create(path, name=model.short_name)
    try:
        with folder.lock():
            folder.write_json(ENVIRONMENT, describe_environment())
            for name, text in task.files.items():
                folder.write_text(name, text)
            folder.write_json(CONFIGURATION, _configuration(run(folder)))
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)  # it was absent or empty before
        raise
    return run(folder)


def open_run(
    path: str | Path,
    builtin: Mapping[str, ModuleType],
    values: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> OpenRun:
    """The run at `path` as its newest good checkpoint left it, or the one of `step`; `values`
    change its settings."""
    folder = RunFolder.open(path)
    where = str(folder.path / CONFIGURATION)
    name, settings_read, names = _read_configuration(folder, where)
    model = load_model(name, builtin)
    settings = with_values(model.settings, settings_read, where)
    settings = with_values(settings, values or {})
    task = model.task(settings, {name: folder.read_text(name) for name in names})
    graph = training_step(task.graph, settings)
    run = partial(OpenRun, folder, model, settings, task, graph)
    fresh = _drawn(graph, settings)
    try:
        found = load_checkpoint(folder.checkpoints, step)
    except CheckpointError:
        if step is not None or any(folder.checkpoints.glob("step-*")):
            raise
        note = "the run has no checkpoint yet: its parameters are untrained"
        return run(fresh, 0, (note,))
    _check_fit(found.arrays, fresh, str(found.path))
    notes = found.warnings + _given_up(folder, step)
    return run(found.arrays, found.step, notes, gives_up=step is not None)


def _given_up(folder: RunFolder, step: int | None) -> tuple[str, ...]:
    """What is said of the checkpoints after a step that the caller has chosen."""
    later = [n for n in checkpoint_steps(folder.checkpoints) if step is not None and n > step]
    if not later:
        return ()
    steps = ", ".join(map(str, later))
    return (f"going on from step {step} gives up what came after it: the checkpoints of steps "
            f"{steps}, metrics and history are removed when training starts",)  # fmt: skip


def _configuration(run: OpenRun) -> dict[str, Any]:
    """What the file of that name holds."""
    return {"model": run.model.name, "settings": dataclasses.asdict(run.settings),
            "files": sorted(run.task.files)}  # fmt: skip


def _read_configuration(folder: RunFolder, where: str) -> tuple[str, dict[str, Any], list[str]]:
    """The model's name, the settings and the names of the files that a run was made with."""
    read = folder.read_json(CONFIGURATION)
    match read:
        case {"model": str(name), "settings": dict(settings), "files": list(names), **others}:
            if not others and all(isinstance(item, str) for item in names):
                return name, settings, names
    raise ConfigurationError("the configuration of the run is damaged", where,
                             "restore it from a copy, or start a new run")  # fmt: skip


def first_state(task: Task, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The state before the first step."""
    return _drawn(training_step(task.graph, settings), settings)


def _drawn(graph: Graph, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The first state of a training graph, from the seed of the settings."""
    state = initial_state(graph, settings.seed)
    if SEED in state:
        state[SEED][...] = settings.seed
    return state


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


def train(
    run: OpenRun,
    explain: Explain | None = None,
    progress: Progress | None = None,
    recorder: Recorder | None = None,
    arbiter: Arbiter | None = None,
    verify: bool = False,
) -> Outcome:
    """Trains to the last step, or until it is interrupted; either way a checkpoint is saved.

    Before it, the first step is compared with the plain program where that costs little, with
    `verify` in any case; `arbiter` names the node that differs (see verification.py). Where the
    settings say `inspect_every`, a `recorder` is needed: `make_recorder(run.graph)`.
    """
    settings, task, done = run.settings, run.task, int(run.state[STEP])
    _check_settings(run, recorder)
    compiled = compile(run.graph, guards=("loss", "gradient_norm"), fuse=settings.fuse)
    verified = ""
    if done < settings.steps:
        first = task.feeds(done)  # what is wrong with the data shows before anything is written
        if settings.fuse or verify:
            verified = verify_first_step(compiled, first, run.state, arbiter, verify)
    shown = progress or Progress(settings.steps, done)
    with run.folder.lock():
        if run.folder.read_json(CONFIGURATION) != _configuration(run):
            run.folder.write_json(CONFIGURATION, _configuration(run))
        if run.gives_up:
            remove_after(run.folder.checkpoints, done)
            run.folder.log("\n".join(run.warnings))
        run.folder.truncate(done)
        programs = _programs(run, compiled, recorder)
        for line in filter(None, (verified, f"training from step {done} to {settings.steps}")):
            run.folder.log(line)
        with shown, InterruptGuard() as interrupt:
            step = _steps(run, programs, explain, shown, interrupt)
            if step == settings.steps:
                shown.message("evaluating on held-out data")
        if step < settings.steps:
            run.folder.log(f"interrupted after step {step}")
            return Outcome("interrupted", step, {})
        try:
            figures = task.evaluate(read_only(run.state))
        except KeyboardInterrupt:
            return Outcome("interrupted", step, {})
        run.folder.write_json(EVALUATION, {"step": step, **json_figures(figures)})
        run.folder.log(f"finished: {figures}")
    return Outcome("finished", step, figures)


def _check_settings(run: OpenRun, recorder: Recorder | None) -> None:
    """ConfigurationError for settings that the run cannot go on with."""
    settings, done = run.settings, int(run.state[STEP])
    if done > settings.steps:
        raise ConfigurationError(
            f"the run has done {done} steps already, and steps is {settings.steps}",
            str(run.folder.path), f"set steps to more than {done}",
        )  # fmt: skip
    if settings.inspect_every and recorder is None:
        raise ConfigurationError(
            f"inspect_every is {settings.inspect_every}, and train() is given no recorder",
            str(run.folder.path),
            "recorder=graphgrad.inspection.recording.make_recorder(run.graph)",
        )  # fmt: skip


def _programs(run: OpenRun, compiled: Compiled, recorder: Recorder | None) -> _Programs:
    every = run.settings.inspect_every
    if recorder is None or not every:
        return _Programs(compiled)
    history = HistoryWriter(run.folder.history, recorder.names, recorder.statistics, every)
    return _Programs(compiled, recorder, history)


def _steps(
    run: OpenRun, programs: _Programs, explain: Explain | None, shown: Progress,
    interrupt: InterruptGuard,
) -> int:  # fmt: skip
    """Trains and saves; the number of the step after which it stopped."""
    settings, step = run.settings, int(run.state[STEP])
    saved = step
    while step < settings.steps and not interrupt.requested:
        record, figures = _one_step(run, programs, step, explain)
        step += 1
        last = step == settings.steps
        saving = last or interrupt.requested or step % settings.checkpoint_every == 0
        if saving:
            _need_finite(run, step)
        run.folder.append_metrics(record, durable=saving)
        if programs.history is not None and figures is not None:
            programs.history.append(step, figures, durable=saving)
        shown.update(step, record["loss"], record["learning_rate"], int(record["tokens"]))
        if step % settings.evaluate_every == 0 and not last:
            _show(run, shown, step)
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
        raise _not_finite(run, step, problem, str(run.graph.states[name].origin or ""))


def _not_finite(run: OpenRun, step: int, problem: str, where: str) -> NonFiniteError:
    """The error that ends a run at a step, which is written to its log."""
    run.folder.log(f"step {step}: {problem}")
    return NonFiniteError(
        f"step {step}: {problem}", where,
        "go on from the last checkpoint, or from an older one (--step N), with a lower "
        "learning_rate or with clip_norm set; with --set checkpoint_every=1 it stops here again "
        "and the state can be inspected",
    )  # fmt: skip


def json_figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    """The figures as JSON can hold them: None where one is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _one_step(
    run: OpenRun, programs: _Programs, step: int, explain: Explain | None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """One call of a program: the line of metrics that it gives, and the figures of its nodes."""
    started = time.perf_counter()
    feeds = run.task.feeds(step)
    try:
        results, figures = programs.run(run.state, feeds, step + 1)
    except NonFiniteError as error:
        found = explain(run.graph, feeds, run.state) if explain is not None else None
        problem, where = found or (error.problem, error.where)
        raise _not_finite(run, step + 1, problem, where) from None
    record = {
        "step": step + 1,
        "loss": float(results["loss"]),
        "gradient_norm": float(results["gradient_norm"]),
        "learning_rate": float(results["learning_rate"]),
        "tokens": run.task.tokens(feeds),
        "seconds": round(time.perf_counter() - started, 6),
    }
    return record, figures


def _show(run: OpenRun, progress: Progress, step: int) -> None:
    """What the model can do by now: figures on held-out data, and examples."""
    if run.task.validate is not None:
        figures = run.task.validate(read_only(run.state))
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress.message(f"step {step}  held-out: {text}")
        run.folder.log(f"step {step} held-out: {text}")
    for line in run.task.examples(read_only(run.state)):
        progress.message(f"    {line}")
        run.folder.log(line)


def _save(run: OpenRun, step: int) -> None:
    save_checkpoint(run.folder.checkpoints, step, run.state, {}, run.settings.keep_checkpoints)


def _check_fit(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], where: str
) -> None:
    """CheckpointError unless the checkpoint holds exactly what the model's state has."""
    for name in [*wanted, *arrays]:
        have, want = arrays.get(name), wanted.get(name)
        if have is None or want is None:
            verb = "lacks" if have is None else "has an unknown"
            raise CheckpointError(
                f"the checkpoint {verb} {name!r}", where,
                "it belongs to a model with other settings; resume without changing the model",
            )  # fmt: skip
        if have.shape != want.shape or have.dtype != want.dtype:
            raise CheckpointError(
                f"{name!r} is {have.dtype}{list(have.shape)} in the checkpoint and "
                f"{want.dtype}{list(want.shape)} in the model", where,
                "it belongs to a model with other settings; resume without changing the model",
            )  # fmt: skip
