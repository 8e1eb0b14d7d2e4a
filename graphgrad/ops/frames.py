"""Frames: many small values added up in one large one.

What T slices of one value send back to it are T frames of zeros with a window each. `unslice_all`
is their sum as one operation that never makes the frames, so its time and memory grow with T and
not with T².
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.node import Node, Operation
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import Shape, TensorType
from graphgrad.ops.slices import slice, stops_of, unslice, window

Places = tuple[Shape, ...]
Steps = tuple[tuple[int, ...], ...]


def _infer_unslice_all(
    *heads: TensorType, shape: Shape, starts: Places, steps: Steps
) -> TensorType:
    if not heads or not len(heads) == len(starts) == len(steps):
        raise ValueError("needs a start and a step for each of at least one value")
    if any(head.shape == shape for head in heads[1:]):
        raise ValueError("only the first value may be as large as the frame")
    for head, start, step in zip(heads, starts, steps, strict=True):
        if head.dtype != heads[0].dtype:
            raise ValueError(f"dtypes {heads[0].dtype} and {head.dtype} do not mix")
        unslice.infer(head, shape=shape, starts=start, steps=step)
    return TensorType(shape, heads[0].dtype)


def _compute_unslice_all(
    xp: Any, out: Any, *heads: Any, shape: Shape, starts: Places, steps: Steps
) -> None:
    first = int(heads[0].shape == shape)
    if first:
        xp.copyto(out, heads[0])
    else:
        out.fill(0)
    for head, start, step in zip(heads[first:], starts[first:], steps[first:], strict=True):
        place = out[window(start, stops_of(start, step, head.shape), step)]
        xp.add(place, head, out=place)


def _delta_unslice_all(delta: Node, y: Node, *heads: Node) -> tuple[Node, ...]:
    windows = zip(heads, y.attributes["starts"], y.attributes["steps"], strict=True)
    return tuple(
        slice.node(delta, starts=start, stops=stops_of(start, step, head.shape), steps=step)
        for head, start, step in windows
    )


unslice_all = Operation(
    "unslice_all",
    _infer_unslice_all,
    "x₁, x₂, … added up, each in its window of a frame of zeros",
    _compute_unslice_all,
    delta=_delta_unslice_all,
    delta_formula="δᵢ = the window of δ where xᵢ lies",
    in_place=True,
    samples=(
        sample(
            real(3, 4),
            real(2, 3),
            real(3, 2),
            shape=(3, 4),
            starts=((0, 0), (1, 1), (0, 0)),
            steps=((1, 1), (1, 1), (1, 3)),
        ),
        sample(
            real(2),
            real(1),
            real(0),
            shape=(5,),
            starts=((3,), (1,), (0,)),
            steps=((1,), (1,), (2,)),
        ),
    ),
)


OPERATIONS: tuple[Operation, ...] = (unslice_all,)
