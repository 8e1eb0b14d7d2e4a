"""Creates runs and opens them again, with checks that all files belong together.

A command works on an `OpenRun`: the folder, model, settings, task and state of a run. They are
checked to belong together (see `configuration.py` and `trust.py`).

A run has a checkpoint from the start, of the state before its first step. A run without any has
lost them (a disk that is not mounted, say); opening it is an error, not a new start.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from graphgrad.backends import need_backend
from graphgrad.errors import CheckpointError
from graphgrad.figures.recording import recorded_names
from graphgrad.graph import Graph, initial_state
from graphgrad.passes.shard_states import Shards
from graphgrad.training.accumulation import PART
from graphgrad.training.best import checkpoint_called
from graphgrad.training.checkpoint import (
    Checkpoint,
    checkpoint_steps,
    load_checkpoint,
    save_checkpoint,
)
from graphgrad.training.checkpoint_pieces import Ranges
from graphgrad.training.configuration import (
    Configuration,
    bindings,
    check_bindings,
    digests,
    read_configuration,
    read_texts,
    refuse_fixed,
    write_configuration,
)
from graphgrad.training.environment import describe_environment
from graphgrad.training.local_steps import outer_state
from graphgrad.training.loss_scale import fitted
from graphgrad.training.moving_average import with_averages
from graphgrad.training.optimisers import SEED, STEP
from graphgrad.training.run_folder import CONFIGURATION, ENVIRONMENT, RunFolder
from graphgrad.training.settings import TrainingSettings, with_values
from graphgrad.training.shared_state import graph_of_ranks, kept_of, wanted_by
from graphgrad.training.task import ModelFile, Task
from graphgrad.training.trust import model_of_run, trust

_RENAMED = {"keep_checkpoints": "keep_last"}
"""Settings that had another name when older runs were made."""


class Others(Protocol):
    """The other ranks, which keep their shares of the state of a run."""

    def averages(self, run: OpenRun) -> Mapping[str, np.ndarray]:
        """The moving averages of the parameters, whole, as far as they are shared."""

    def save(
        self, run: OpenRun, step: int, details: Mapping[str, Any], keep: int, best: Collection[int]
    ) -> None:
        """Saves a checkpoint, as `save_checkpoint` does."""


@dataclass(frozen=True)
class OpenRun:
    """A run folder with its model, settings, task, graph and state."""

    folder: RunFolder
    model: ModelFile
    settings: TrainingSettings
    task: Task
    graph: Graph
    """The graph of a training step: the task's graph with deltas and updates."""
    state: Mapping[str, np.ndarray]
    step: int
    before: Configuration
    """The folder's configuration when the run was opened."""
    configuration: Configuration
    """The configuration that is written when training starts."""
    checkpoint: Path
    """The folder from which the state was read."""
    newest: int
    """The step of the newest checkpoint, damaged or not, when the run was opened."""
    warnings: tuple[str, ...] = ()
    gives_up: bool = False
    """The caller chose the step: `train` removes everything recorded after it."""
    shards: Shards | None = None
    """What the shares hold, where `state` is that of one of several ranks."""
    others: Others | None = None
    """The other ranks, where states are sharded over them: a rank alone has no whole state, and
    none to save when another one is lost in the middle of an update."""

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The state with which the model is measured and shown: with the moving averages of its
        parameters where it has any, unless the settings say otherwise."""
        if not self.settings.use_average or not int(self.state[STEP]):
            return self.state
        if self.others is None:
            return with_averages(self.task.graph, self.state)
        return with_averages(self.task.graph, {**self.state, **self.others.averages(self)})

    @property
    def next_batch(self) -> int:
        """The number of the batch that is computed next, for `task.feeds`."""
        part = int(self.state[PART]) if PART in self.state else 0
        return self.step * self.settings.accumulate + part


def create_run(
    model: ModelFile,
    settings: TrainingSettings,
    path: str | Path | None = None,
    check: Callable[[OpenRun], None] = lambda run: None,
) -> OpenRun:
    """Makes a new run folder: configuration, environment, vocabularies and the initial state.

    The backend and the data are looked at, and names to record looked up, before the folder is
    made, so a missing device, a wrong file or a wrong name leaves nothing behind. Neither does what
    `check` raises, which is given the run before. If the disk is full before the run is complete,
    it is removed.
    """
    need_backend(settings.backend)
    task = _task(model, settings, {})
    graph = task.step(task.graph, settings)
    if settings.inspect_every:
        recorded_names(graph, settings.inspect_patterns, settings.inspect_by)
    state = _drawn(graph, settings)
    configuration = Configuration(
        model.name,
        model.digest,
        dataclasses.asdict(settings),
        digests(task.files),
        secrets.token_hex(16),
    )
    run = OpenRun(
        RunFolder(Path()),
        model,
        settings,
        task,
        graph,
        state,
        0,
        configuration,
        configuration,
        Path(),
        0,
    )
    check(run)
    folder, first = write_run(run, path, model.short_name)
    return dataclasses.replace(run, folder=folder, checkpoint=first)


def write_run(
    run: OpenRun, path: str | Path | None, name: str, notes: Mapping[str, object] | None = None
) -> tuple[RunFolder, Path]:
    """Writes the folder of a run that has none: its configuration, texts and state.

    Returns the folder, a fresh one called after `name` where `path` is None, and that of the
    checkpoint. `notes` are further files, of JSON. If the disk is full before the run is complete,
    nothing of it is left.
    """
    folder, files = RunFolder.create(path, name=name), run.task.files
    with folder.lock():
        folder.require_empty()  # another process may have been quicker
        try:
            folder.write_json(ENVIRONMENT, describe_environment())
            for file, text in files.items():
                folder.write_text(file, text)
            for file, value in (notes or {}).items():
                folder.write_json(file, value)
            details = bindings(run.configuration, run.settings, run.task.graph)
            saved = save_checkpoint(folder.checkpoints, run.step, run.state, details)
            write_configuration(folder, run.configuration)  # with it the folder is a run
        except BaseException:
            folder.discard([ENVIRONMENT, CONFIGURATION, *files, *(notes or {})])
            raise
    trust(run.model)
    return RunFolder.open(folder.path), saved


def open_run(
    path: str | Path,
    builtin: Mapping[str, ModuleType],
    values: Mapping[str, Any] | None = None,
    step: int | None = None,
    model_file: str | None = None,
    checkpoint: str = "",
    rank: int = 0,
    ranks: int = 1,
) -> OpenRun:
    """Opens the run at `path` at its newest undamaged checkpoint, or at the one of `step`.

    `checkpoint` is its name or step where the run is only looked at: best or last.

    `values` change settings; those that a run keeps raise ConfigurationError. `model_file` is the
    file that the user names for its model; without it `trust.py` decides whether it is run. `rank`
    is one of several `ranks` that train it: where they shard the state, its share is read.
    """
    folder = RunFolder.open(path)
    before = read_configuration(folder)
    model, notes = model_of_run(before.model, before.digest, builtin, model_file)
    kept = _kept_settings(model, before, folder)
    settings = with_values(kept, values or {})
    refuse_fixed(kept, settings, str(folder.path))
    texts = read_texts(folder, before)
    task = _task(model, settings, texts)
    graph = task.step(task.graph, settings)
    configuration = Configuration(
        model.name, model.digest, dataclasses.asdict(settings), digests(texts), before.run
    )
    newest = max(checkpoint_steps(folder.checkpoints), default=0)
    named = checkpoint_called(folder, checkpoint, settings.best_metric)
    shards = _shards_of(graph, settings, ranks)
    wanted = wanted_by(shards, rank)
    found = _loaded(folder, named if step is None else step, wanted)
    notes += check_bindings(
        found.details, bindings(configuration, settings, task.graph), str(found.path)
    )
    first = _drawn(graph, settings)
    arrays, changed = fitted(found.arrays, first, found.step)
    _check_fit(dataclasses.replace(found, arrays=arrays), first, wanted)
    notes += changed + found.warnings + _discarded(folder, step) + _untrained(found)
    return OpenRun(
        folder,
        model,
        settings,
        task,
        graph,
        kept_of(shards, rank, arrays),
        found.step,
        before,
        configuration,
        found.path,
        newest,
        notes,
        gives_up=step is not None,
        shards=shards if shards.rows else None,
    )


def _shards_of(graph: Graph, settings: TrainingSettings, ranks: int) -> Shards:
    """What the shares of some ranks hold; nothing where a rank keeps all of the state."""
    sharded = settings.shard_states and ranks > 1
    return graph_of_ranks(graph, settings, ranks) if sharded else Shards(graph, ranks)


def _kept_settings(model: ModelFile, before: Configuration, folder: RunFolder) -> TrainingSettings:
    """The settings of a run, under the names of today."""
    named = {_RENAMED.get(name, name): value for name, value in before.settings.items()}
    return with_values(model.settings, named, str(folder.path / CONFIGURATION))


def _untrained(found: Checkpoint) -> tuple[str, ...]:
    """A note about a run that has not begun."""
    return () if found.step else ("the run has done no step yet: its parameters are untrained",)


def _loaded(folder: RunFolder, step: int | None, wanted: Ranges) -> Checkpoint:
    """The checkpoint to resume from. Raises CheckpointError for a run that has lost them all."""
    try:
        return load_checkpoint(folder.checkpoints, step, wanted)
    except CheckpointError as error:
        if step is not None or checkpoint_steps(folder.checkpoints):
            raise
        raise CheckpointError(
            "the run's checkpoints are gone: there is none, not even of its start",
            folder.checkpoints,
            "if they are on another disk, mount it; else copy them back, or start a new run",
        ) from error


def require_unchanged(run: OpenRun) -> None:
    """Raises CheckpointError if the run was trained since it was opened; call it under its lock."""
    now = max(checkpoint_steps(run.folder.checkpoints), default=0)
    done = int(run.state[STEP])
    gone = done == run.step and not run.checkpoint.is_dir()
    known = read_configuration(run.folder) in (run.before, run.configuration)
    if gone or now > max(run.newest, done) or not known:
        raise CheckpointError(
            f"the run was trained meanwhile: it was opened at step {run.step}, and another process "
            f"has reached step {now}",
            run.folder.path,
            "resume it again",
        )


def _discarded(folder: RunFolder, step: int | None) -> tuple[str, ...]:
    """A note about the checkpoints after the step that the caller has chosen."""
    later = [n for n in checkpoint_steps(folder.checkpoints) if step is not None and n > step]
    if not later:
        return ()
    steps = ", ".join(map(str, later))
    return (
        f"resuming from step {step} discards what came after it: the checkpoints of steps "
        f"{steps}, metrics and history are removed when training starts",
    )


def _task(model: ModelFile, settings: TrainingSettings, files: Mapping[str, str]) -> Task:
    """The task of the model; of its batches only the first are given, if the settings say so."""
    task, count = model.task(settings, files), settings.overfit_batches
    if not count:
        return task
    feeds = task.feeds
    return dataclasses.replace(task, feeds=lambda number: feeds(number % count))


def first_state(task: Task, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The state before the first step."""
    return _drawn(task.step(task.graph, settings), settings)


def _drawn(graph: Graph, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The first state of a training graph, from the seed of the settings."""
    state = initial_state(graph, settings.seed) | outer_state(graph, settings)
    if SEED in state:
        state[SEED][...] = settings.seed
    return state


def _check_fit(found: Checkpoint, wanted: Mapping[str, np.ndarray], ranges: Ranges) -> None:
    """Raises CheckpointError unless the checkpoint holds exactly the arrays of the model, or of
    those with a range so many elements."""
    arrays, where = found.arrays, str(found.path)
    for name in [*wanted, *arrays]:
        have, want = arrays.get(name), wanted.get(name)
        if have is None or want is None:
            verb = "lacks" if have is None else "has an unknown"
            raise CheckpointError(
                f"the checkpoint {verb} {name!r}",
                where,
                "it belongs to a model with other settings; resume without changing the model",
            )
        first, last = ranges.get(name, (0, 0))
        shape = (last - first,) if name in ranges else want.shape
        if have.shape != shape or have.dtype != want.dtype:
            raise CheckpointError(
                f"{name!r} is {have.dtype}{list(have.shape)} in the checkpoint and "
                f"{want.dtype}{list(shape)} in the model",
                where,
                "it belongs to a model with other settings; resume without changing the model",
            )
    if STEP in arrays and int(arrays[STEP]) != found.step:
        raise CheckpointError(
            f"the state is that of step {int(arrays[STEP])}, and the checkpoint says {found.step}",
            where,
            "copy another one back from a backup, or start a new run",
        )
