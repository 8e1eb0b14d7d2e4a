"""Averages checkpoints of a run: a new run whose parameters are the means of theirs.

The mean of the last checkpoints is a better model than the last one where the learning rate is
still high at the end (Vaswani et al. 2017 take the last 5 or 20). Means are computed in float64 and
rounded once. What is averaged are the parameters, their moving averages, and the floating-point
states that the model declares itself (running statistics, say); the moments of the optimiser and
the counters are those of the newest checkpoint.

The result is a run folder of its own, complete with configuration and vocabularies, so every
command works on it. `average.json` in it says what it was made of.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from graphgrad.errors import CheckpointError, ConfigurationError
from graphgrad.training.best import Validations
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint
from graphgrad.training.configuration import bindings, check_bindings
from graphgrad.training.moving_average import average_of
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import OpenRun, open_run, write_run

AVERAGE = "average.json"
"""The file that says of which checkpoints a run is the average."""


def kept_steps(folder: RunFolder) -> tuple[int, ...]:
    """The steps after the start of which the run has checkpoints, ascending."""
    return tuple(step for step in checkpoint_steps(folder.checkpoints) if step)


def last_steps(folder: RunFolder, count: int) -> tuple[int, ...]:
    """The `count` last steps of which there are checkpoints. ConfigurationError for too few."""
    kept = kept_steps(folder)
    _need_as_many(folder, count, len(kept), "--set keep_last=")
    return kept[-count:]


def best_steps(folder: RunFolder, count: int, metric: str) -> tuple[int, ...]:
    """The `count` best kept steps by a held-out figure, ascending. ConfigurationError for too
    few."""
    ranked = Validations(metric, folder.metrics()).ranked(kept_steps(folder))
    _need_as_many(folder, count, len(ranked), "--set keep_best=", f" with a held-out {metric}")
    return tuple(sorted(ranked[:count]))


def average_run(
    path: str | Path,
    steps: Sequence[int],
    target: str | Path | None,
    builtin: Mapping[str, ModuleType],
    model_file: str | None = None,
) -> OpenRun:
    """Makes a run in `target` whose parameters are the means over the checkpoints of `steps`.

    Without a target it is a fresh one in `runs/`. Raises CheckpointError for a checkpoint that is
    missing, damaged or of another run; nothing is left on the disk then.
    """
    run = open_run(path, builtin, model_file=model_file, checkpoint=str(max(steps)))
    averaged = [name for name in _learned(run) if run.state[name].dtype.kind == "f"]
    sums = {name: np.zeros(run.state[name].shape, np.float64) for name in averaged}
    for step in steps:
        arrays = _checked(run, step)
        for name in averaged:
            sums[name] += arrays[name]
    state = dict(run.state)
    for name in averaged:
        state[name] = (sums[name] / len(steps)).astype(state[name].dtype)
    configuration = replace(run.configuration, run=secrets.token_hex(16))
    made_of = {
        "run": str(run.folder.path.resolve()),
        "identity": run.configuration.run,
        "steps": sorted(steps),
    }
    run = replace(run, state=state, configuration=configuration, before=configuration)
    name = f"{run.folder.path.resolve().name}-average"
    folder, checkpoint = write_run(run, target, name, {AVERAGE: made_of})
    listed = ", ".join(map(str, sorted(steps)))
    folder.log(f"the mean of the checkpoints of steps {listed} of {run.folder.path}")
    return replace(run, folder=folder, checkpoint=checkpoint, newest=run.step)


def _learned(run: OpenRun) -> list[str]:
    """The states that are averaged, by name: the model's, and the moving averages of them."""
    own = [*run.task.graph.states]
    return [*own, *(average_of(name) for name in own if average_of(name) in run.state)]


def _checked(run: OpenRun, step: int) -> Mapping[str, np.ndarray]:
    """The arrays of a checkpoint of the run. Raises CheckpointError where they do not fit."""
    found = load_checkpoint(run.folder.checkpoints, step)
    wanted = bindings(run.configuration, run.settings, run.task.graph)
    check_bindings(found.details, wanted, str(found.path))
    for name in _learned(run):
        if name not in found.arrays or found.arrays[name].shape != run.state[name].shape:
            raise CheckpointError(
                f"the checkpoint of step {step} has another {name!r} than that of step {run.step}",
                found.path,
                "average others",
            )
    return found.arrays


def _need_as_many(folder: RunFolder, wanted: int, there: int, setting: str, kind: str = "") -> None:
    if wanted < 1:
        raise ConfigurationError(f"the mean of {wanted} checkpoints", fix="1 or more")
    if there < wanted:
        steps = ", ".join(map(str, kept_steps(folder))) or "none"
        raise ConfigurationError(
            f"the run has {there} checkpoints{kind}, and {wanted} are to be averaged",
            folder.path,
            f"kept are those of steps {steps}; to keep more, train with {setting}{wanted}",
        )
