"""What is said before a training: its data, its batches, and the memory that it will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphgrad.compile import Compiled
from graphgrad.memory import size_text
from graphgrad.passes import sizes_of
from graphgrad.passes.split_batch import BATCH
from graphgrad.training.optimisers import STEP
from graphgrad.training.runs import OpenRun

WORTH_A_LOOK = 100
"""Steps from which on memory is predicted."""


def announcement(run: OpenRun, compiled: Compiled, ranks: int = 1) -> list[str]:
    """A line for each thing; none where no step is left. Of several ranks, whose program is
    `compiled`, the memory is that of one, with the largest part of a batch.

    For the prediction the largest programs are compiled, so a run that is too large ends here and
    not in the middle. One of a few steps may never need them.
    """
    left = run.settings.steps - int(run.state[STEP])
    if not left:
        return []
    lines = list(run.task.about())
    sizes = _sizes(run, ranks) if left >= WORTH_A_LOOK else ()
    if sizes:
        state = sum(array.nbytes for array in run.state.values())
        step = max(_bytes_of_step(compiled, each) for each in sizes)
        whose = f" on each of {ranks} ranks" if ranks > 1 else ""
        lines.append(
            f"memory: {size_text(state + step)}{whose}, of which parameters and moments take "
            f"{size_text(state)} and a step {size_text(step)}"
        )
    lines += [*_steps_and_checkpoints(run), *(f"note: {note}" for note in compiled.notes)]
    signatures = run.task.signatures().items()
    return [*lines, *(f"figures: {name} is sacrebleu's {text}" for name, text in signatures)]


def _bytes_of_step(compiled: Compiled, sizes: Mapping[str, int]) -> int:
    """The memory of a step beside the state."""
    program = compiled.program(**sizes)
    return program.peak_bytes - sum(node.type.nbytes for node in program.graph.states.values())


def _sizes(run: OpenRun, ranks: int) -> Sequence[Mapping[str, int]]:
    """The sizes of the largest batches, or of the largest part of each; of the next one where all
    are alike."""
    found = run.task.sizes() or [sizes_of(run.graph, run.task.feeds(run.next_batch))]
    return [
        {name: -(-size // ranks) if name == BATCH else size for name, size in sizes.items()}
        for sizes in found
    ]


def _steps_and_checkpoints(run: OpenRun) -> list[str]:
    """What a step is where it is not one batch, and which states stay on the disk."""
    settings, lines = run.settings, []
    if settings.precision != "fp32" and settings.backend == "numpy":
        lines.append(
            f"precision: {settings.precision}; products of the backend numpy are rounded as on a "
            "device and computed in float32, so steps are no faster than in fp32"
        )
    if settings.accumulate > 1:
        lines.append(
            f"steps: each is {settings.accumulate} batches, whose gradients are accumulated; "
            "what is counted are steps, that is updates"
        )
    if settings.overfit_batches:
        lines.append(
            f"overfit: of the training data only the first {settings.overfit_batches} batches are "
            "used, again and again; the loss should fall towards its least value, which is 0 "
            "without dropout and label smoothing"
        )
    size = size_text(sum(node.type.nbytes for node in run.graph.states.values()))
    best = f" and the best {settings.keep_best} by held-out {settings.best_metric}"
    kept = f"the last {settings.keep_last}{best if settings.keep_best else ''}"
    return [*lines, f"checkpoints: {kept} are kept, of {size} each"]
