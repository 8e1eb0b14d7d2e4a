"""Goes once through everything that a run does: a step, a look, a checkpoint, a use of the model.

What fails late in a long run (the first validation, the first save, the first translation) fails
here in seconds. The state that is used comes from the disk, so reading a checkpoint is tried, too.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping
from types import ModuleType

from graphgrad.backends import read_only
from graphgrad.decoding import Options
from graphgrad.training.progress import Progress
from graphgrad.training.runs import OpenRun, open_run
from graphgrad.training.task import ModelFile
from graphgrad.training.trainer import train

VALUES = {
    "steps": 1,
    "evaluate_every": 1,
    "checkpoint_every": 1,
    "keep_best": 1,
    "validation_size": 8,
}
"""The settings of such a run, of those that a model has."""
_GAP = "[MASK]"
_WRITTEN = 20  # tokens


def small_values(model: ModelFile) -> list[str]:
    """The assignments that make a run of the model a fast one."""
    known = {field.name for field in dataclasses.fields(model.settings)}
    return [f"{name}={value}" for name, value in VALUES.items() if name in known]


def go_through(run: OpenRun, builtin: Mapping[str, ModuleType], verify: bool) -> Iterator[str]:
    """Trains one step and uses what came of it; a line for each thing that is done.

    Raises whatever a long run would have raised.
    """
    yield from run.task.about()
    outcome = train(run, Progress(1, stream=io.StringIO(), bar=False), verify, measured=False)
    if outcome.ending == "interrupted":
        raise KeyboardInterrupt
    (record,) = run.folder.metrics()
    yield f"step: loss {record['loss']:.4g}, in {record['seconds']:.1f} s with compiling"
    looked = {name: value for name, value in record.items() if name.startswith("held_out_")}
    if looked:
        yield "validation: " + "  ".join(f"{name} {value:.4g}" for name, value in looked.items())
    named = run.model.name if run.model.digest else None
    opened = open_run(run.folder.path, builtin, model_file=named)
    yield f"checkpoint: saved and read again, step {outcome.step}"
    yield from _used(opened)


def _used(run: OpenRun) -> Iterator[str]:
    """What the model, which has hardly learnt anything, does with a text of its own data."""
    task, state = run.task, read_only(run.weights)
    lines = task.examples(state)
    if lines:
        yield f"an example: {lines[0]}"
    if task.generate is not None:
        text = "".join(task.generate(state, "", Options(temperature=1.0, seed=0), _WRITTEN))
        yield f"generated: {text!r}"
    if task.fill is not None:
        gaps = task.fill(state, _GAP, 1)
        yield f"filled: {gaps[0][0][0]!r}"
