"""Collectives: the operations of a graph whose batch several processes (ranks) share.

Each rank runs the same graph on its part of the batch, and a collective is where the ranks exchange
values. A process that runs alone is one rank: a sum over ranks is then the value itself. `number`
is equal on all ranks, so that a communicator can find two ranks that are at different places, and
a last head, the collective before, makes all ranks meet them in one order.

The delta of y = Σ_r x_r: every rank has its own copy of y, and each copy sends back its own part of
δ, so that δ of x_r is Σ_r δ_r, an `all_reduce` again (the rule of Megatron's f and g).
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.samples import integer, real, sample
from graphgrad.graph.types import TensorType, need_no_halves
from graphgrad.ops.rules import need_integers

SUM, MAX, MIN = "sum", "max", "min"
KINDS = (SUM, MAX, MIN)


def _infer_all_reduce(x: TensorType, *before: TensorType, kind: str, number: int) -> TensorType:
    if kind != SUM:
        need_no_halves((x,))
    if kind not in KINDS:
        raise ValueError(f"ranks are reduced by {', '.join(KINDS)}, not by {kind!r}")
    if x.dtype.kind == "b":
        raise ValueError("booleans are not reduced; fix: cast(x, 'int32')")
    if len(before) > 1:
        raise ValueError("takes a value and at most the collective before it")
    return x


def _compute_all_reduce(xp: Any, out: Any, x: Any, *before: Any, kind: str, number: int) -> None:
    xp.copyto(out, x)


def _delta_all_reduce(delta: Node, y: Node, x: Node, *before: Node) -> tuple[Node | None, ...]:
    if y.attributes["kind"] != SUM:
        raise ValueError(f"the {y.attributes['kind']} over ranks has no delta rule")
    return (all_reduce(delta), *(None for _ in before))


@operation(
    infer=_infer_all_reduce,
    formula="Σ over ranks of x",
    compute=_compute_all_reduce,
    delta=_delta_all_reduce,
    delta_formula="Σ over ranks of δ",
    samples=(
        sample(real(3, 4), kind=SUM, number=0),
        sample(real(), integer(below=9), kind=SUM, number=1),
        sample(real(0, 3), kind=SUM, number=2),
    ),
    in_place=True,
    collective=True,
    reads=1,
    takes_halves=True,
    example=("gg.all_reduce(x)", "float32[3, 4]"),
)
def all_reduce(
    x: Node,
    before: Node | None = None,
    kind: str = SUM,
    number: int = -1,
    name: str | None = None,
) -> Node:
    """The sum of x over all ranks (or with `kind` the max or min), the same bits on each of them.

    Floats of 16 bits are added up in float32, and the sum is rounded to 16 bits.

    `before` is the collective that all ranks do first; `number` is the place in that order.
    """
    heads = (x,) if before is None else (x, before)
    return all_reduce.node(*heads, kind=kind, number=number, name=name)


def _infer_lower_ranks(x: TensorType, *before: TensorType, number: int) -> TensorType:
    need_integers(x)
    if x.shape:
        raise ValueError("adds up one number of each rank")
    return x


def _compute_lower_ranks(xp: Any, out: Any, x: Any, *before: Any, number: int) -> None:
    out.fill(0)


sum_of_lower_ranks = Operation(
    "sum_of_lower_ranks",
    _infer_lower_ranks,
    "Σ over lower ranks of x",
    _compute_lower_ranks,
    lambda delta, y, x, *before: (None,) * (1 + len(before)),
    "0: x is an integer",
    samples=(sample(integer(below=9), number=0),),
    collective=True,
    takes_halves=True,  # of the collective before it
    reads=1,
)
"""The sum of an integer over the ranks below this one: 0 on rank 0. Of the sizes of the parts of a
batch it is the number of the first example of a part."""

all_reduce_start = Operation(
    "all_reduce_start",
    _infer_all_reduce,
    "x, which the ranks begin to sum",
    _compute_all_reduce,
    _delta_all_reduce,
    "Σ over ranks of δ",
    samples=(
        sample(real(3, 4), kind=SUM, number=0),
        sample(real(2), integer(below=9), kind=SUM, number=1),
    ),
    in_place=True,
    collective=True,
    takes_halves=True,
    reads=1,
)
"""Begins a sum over ranks, and goes on without its result; nothing but its `wait` may read it. Its
place in memory holds the terms of this rank first, and the sum when the wait is over."""


def _infer_wait(started: TensorType, *kept: TensorType, number: int) -> TensorType:
    return started


def _compute_wait(xp: Any, out: Any, started: Any, *kept: Any, number: int) -> None:
    xp.copyto(out, started)


wait = Operation(
    "wait",
    _infer_wait,
    "x, once the ranks are done with it",
    _compute_wait,
    lambda delta, y, started, *kept: (delta, *(None for _ in kept)),
    "δ",
    samples=(sample(real(3, 4), number=0), sample(real(2), integer(3, below=9), number=1)),
    in_place=True,
    collective=True,
    takes_halves=True,
    one_dtype=False,
)
"""The result of the collective of this number, which has been started. Further heads are what that
reads meanwhile, so that their memory is left alone until now."""

OPERATIONS: tuple[Operation, ...] = (all_reduce, sum_of_lower_ranks, all_reduce_start, wait)
