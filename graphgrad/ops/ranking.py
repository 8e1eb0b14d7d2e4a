"""Ranking: which elements of a row are its largest.

Equal elements come in the order of their indices, so a result never depends on how it was found.
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.node import Node
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import INT32, TensorType, whole_number
from graphgrad.ops.rules import need_floats


def _infer(x: TensorType, k: int) -> TensorType:
    need_floats(x)
    if not x.shape:
        raise ValueError("a scalar has no largest elements")
    size = x.shape[-1]
    if k < 1 or (isinstance(size, int) and k > size):
        raise ValueError(f"the {k} largest of {size} elements: there are 1 to {size}")
    return TensorType((*x.shape[:-1], k), INT32)


def _compute(xp: Any, out: Any, x: Any, k: int) -> None:
    # ascending order of -x: the largest first, of equal ones the first; NaN last
    xp.copyto(out, xp.argsort(-x, axis=-1, kind="stable")[..., :k], casting="unsafe")


@operation(
    infer=_infer,
    formula="the indices of the k largest x",
    compute=_compute,
    arity=1,
    samples=(
        sample(real(3, 5), k=2, smooth=False),
        sample(real(2, 3, 4), k=4, smooth=False),
        sample(real(6), k=1, smooth=False),
    ),
    example=("gg.top(x, 2)", "int32[3, 2]"),
)
def top(x: Node, k: int, name: str | None = None) -> Node:
    """The indices of the k largest elements along the last axis, the largest first.

    Of equal elements the one with the smaller index comes first; NaN comes last. The elements
    themselves are `take_along_axis(x, top(x, k))`.
    """
    return top.node(x, k=whole_number(k, "k"), name=name)


OPERATIONS = (top,)
