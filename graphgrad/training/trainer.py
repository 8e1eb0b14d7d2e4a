"""Training: one program call a step, and everything around it that makes a run safe to leave alone.

The state is the whole truth of a run: parameters, moments, step count, seed. What a step computes
depends on the state and the step's number alone (batches and dropout are functions of it), so an
interrupted run that goes on from a checkpoint ends with the same bytes as one that was never
interrupted, on the same machine with the same threads.

A step whose loss or gradient is not finite changes nothing: the run stops, and the state it stopped
with can be looked into.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from graphgrad.compile import Compiled, compile, initial_state
from graphgrad.errors import CheckpointError, ConfigurationError, NonFiniteError
from graphgrad.graph import Graph
from graphgrad.training.checkpoint import load_checkpoint, save_checkpoint
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.optimisers import SEED, STEP, training_step
from graphgrad.training.progress import Progress
from graphgrad.training.run_folder import (
    CONFIGURATION,
    ENVIRONMENT,
    RunFolder,
    describe_environment,
)
from graphgrad.training.settings import TrainingSettings, with_values
from graphgrad.training.task import ModelFile, Task, load_model

EVALUATION = "evaluation.json"

Explain = Callable[[Graph, Mapping[str, np.ndarray], Mapping[str, np.ndarray]], str]
"""Names the first node that is not finite, from the training graph, the inputs and the state."""


@dataclass(frozen=True)
class OpenRun:
    """A run folder with everything that its use needs."""

    folder: RunFolder
    model: ModelFile
    settings: TrainingSettings
    task: Task
    state: dict[str, np.ndarray]
    step: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `finished`, or `interrupted` with a checkpoint to resume from."""

    ending: str
    step: int
    figures: Mapping[str, float]


def create_run(
    model: ModelFile, settings: TrainingSettings, path: str | Path | None = None
) -> OpenRun:
    """A fresh run folder: configuration, environment, vocabularies and the initial state.

    The data is read before the folder is made, so a wrong file leaves nothing behind.
    """
    task = model.task(settings, {})
    folder = RunFolder.create(path, name=model.short_name)
    with folder.lock():
        folder.write_json(ENVIRONMENT, describe_environment())
        for name, text in task.files.items():
            folder.write_text(name, text)
        configuration = {"model": model.name, "settings": dataclasses.asdict(settings),
                         "files": sorted(task.files)}  # fmt: skip
        folder.write_json(CONFIGURATION, configuration)
    return OpenRun(folder, model, settings, task, first_state(task, settings), 0)


def open_run(
    path: str | Path, builtin: Mapping[str, ModuleType], values: Mapping[str, Any] | None = None
) -> OpenRun:
    """The run at `path` as its newest good checkpoint left it; `values` change its settings."""
    folder = RunFolder.open(path)
    where = str(folder.path / CONFIGURATION)
    configuration = folder.read_json(CONFIGURATION)
    if not isinstance(configuration, dict) or set(configuration) != {"model", "settings", "files"}:
        raise ConfigurationError("the configuration of the run is damaged", where)
    model = load_model(str(configuration["model"]), builtin)
    settings = with_values(model.settings, configuration["settings"], where)
    settings = with_values(settings, values or {})
    files = {str(name): folder.read_text(str(name)) for name in configuration["files"]}
    task = model.task(settings, files)
    try:
        found = load_checkpoint(folder.checkpoints)
    except CheckpointError:
        if any(folder.checkpoints.glob("step-*")):
            raise
        return OpenRun(folder, model, settings, task, first_state(task, settings), 0)
    _check_fit(found.arrays, first_state(task, settings), str(found.path))
    return OpenRun(folder, model, settings, task, found.arrays, found.step, found.warnings)


def first_state(task: Task, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The state before the first step."""
    state = initial_state(training_step(task.graph, settings), settings.seed)
    if SEED in state:
        state[SEED][...] = settings.seed
    return state


def train(run: OpenRun, explain: Explain | None = None, progress: Progress | None = None) -> Outcome:
    """Trains to the last step, or until it is interrupted; either way a checkpoint is saved."""
    settings, task, state = run.settings, run.task, run.state
    graph = training_step(task.graph, settings)
    compiled = compile(graph, guards=("loss", "gradient_norm"))
    shown = progress or Progress(settings.steps, run.step)
    step = int(state[STEP])
    with run.folder.lock(), shown, InterruptGuard() as interrupt:
        run.folder.truncate_metrics(step)
        run.folder.log(f"training from step {step} to {settings.steps}")
        saved = step if step else -1
        while step < settings.steps and not interrupt.requested:
            record = _one_step(run, compiled, graph, step, explain)
            step += 1
            last = step == settings.steps
            run.folder.append_metrics(record, durable=last)
            shown.update(step, record["loss"], record["learning_rate"], int(record["tokens"]))
            if step % settings.evaluate_every == 0 and not last:
                _show(run, shown, step)
            if step % settings.checkpoint_every == 0 or last:
                _save(run, step)
                saved = step
        if saved != step and step > 0:
            _save(run, step)
        if step < settings.steps:
            run.folder.log(f"interrupted after step {step}")
            return Outcome("interrupted", step, {})
    with run.folder.lock():
        figures = task.evaluate(state)
        run.folder.write_json(EVALUATION, {"step": step, **figures})
        run.folder.log(f"finished: {figures}")
    return Outcome("finished", step, figures)


def _one_step(
    run: OpenRun, compiled: Compiled, graph: Graph, step: int, explain: Explain | None
) -> dict[str, Any]:
    """One call of the program; the line of metrics that it gives."""
    started = time.perf_counter()
    feeds = run.task.feeds(step)
    try:
        results = compiled(run.state, **feeds)
    except NonFiniteError as error:
        detail = explain(graph, feeds, run.state) if explain is not None else ""
        run.folder.log(f"step {step}: {error}")
        raise NonFiniteError(
            f"step {step + 1}: {detail or error.problem}; the state is as it was before the step",
            error.where if not detail else "",
            "lower learning_rate, set clip_norm, or look into the node that is named",
        ) from None
    return {
        "step": step + 1,
        "loss": float(results["loss"]),
        "gradient_norm": float(results["gradient_norm"]),
        "learning_rate": float(results["learning_rate"]),
        "tokens": run.task.tokens(feeds),
        "seconds": round(time.perf_counter() - started, 6),
    }


def _show(run: OpenRun, progress: Progress, step: int) -> None:
    """What the model can do by now: figures on held-out data, and examples."""
    if run.task.validate is not None:
        figures = run.task.validate(run.state)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress.message(f"step {step}  held-out: {text}")
        run.folder.log(f"step {step} held-out: {text}")
    for line in run.task.examples(run.state):
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
