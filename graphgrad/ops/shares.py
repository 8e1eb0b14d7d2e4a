"""Shares: parts of values that are equal on all ranks, one for each rank, and their collectives.

Values that are laid side by side, n elements in one row, are cut into as many ranges of equal
length as there are ranks; rank r has the r-th. Where n is not a multiple of the number of ranks the
last ranges reach beyond the end: there they hold zeros, and nothing is read back from there. So a
share has ⌈n / ranks⌉ elements on every rank, and all ranks run the same graph.

    reduce_scatter(x)     the rank's share of Σ over ranks of x
    all_gather(s)         the n elements of which the ranks have the shares s
    share(r, x₁, x₂, …)   share r of values that this rank has whole; nothing is exchanged
    share_sums(r, s)      of a share: the sums over what it has of each of the values side by side

As δ of a sum over ranks is such a sum again, the deltas of the first two are each other: the shares
of y = Σ x send back their own part of δ, which all ranks gather; what all ranks have gathered sends
back a δ from each of them, of which a share gets the sum.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.samples import integer, real, sample
from graphgrad.graph.types import FLOAT_KINDS, INT64, TensorType, whole_number
from graphgrad.ops.arithmetic import equal, where
from graphgrad.ops.collectives import all_reduce
from graphgrad.ops.filled import zeros_like
from graphgrad.ops.indexing import scatter_add
from graphgrad.ops.movement import broadcast_to, reshape
from graphgrad.ops.rules import need_integers


def share_size(size: int, ranks: int) -> int:
    """The number of elements of a share."""
    return -(-size // ranks)


def _known_size(x: TensorType) -> int:
    if not isinstance(x.size, int):
        raise ValueError(f"a value of {x} has no shares: its size has to be known")
    return x.size


def _need_ranks(ranks: int) -> None:
    if ranks < 1:
        raise ValueError(f"there is at least one rank, not {ranks}")


def _need_one_before(before: tuple[TensorType, ...]) -> None:
    if len(before) > 1:
        raise ValueError("takes a value and at most the collective before it")


def _need_float(x: TensorType) -> None:
    if x.dtype.kind not in FLOAT_KINDS:
        raise ValueError(f"adds up floats, not {x.dtype}")


# ---------------------------------------------------------------- reduce_scatter and all_gather


def _infer_reduce_scatter(
    x: TensorType, *before: TensorType, ranks: int, number: int
) -> TensorType:
    _need_one_before(before)
    _need_ranks(ranks)
    _need_float(x)
    return TensorType((share_size(_known_size(x), ranks),), x.dtype)


def _compute_reduce_scatter(
    xp: Any, out: Any, x: Any, *before: Any, ranks: int, number: int
) -> None:
    xp.copyto(out, x.reshape(-1))


def _delta_reduce_scatter(delta: Node, y: Node, x: Node, *before: Node) -> tuple[Node | None, ...]:
    size = _known_size(x.type)
    whole = all_gather(delta, size, ranks=y.attributes["ranks"])
    return (reshape(whole, x.shape), *(None for _ in before))


@operation(
    infer=_infer_reduce_scatter,
    formula="the rank's share of Σ over ranks of x",
    compute=_compute_reduce_scatter,
    delta=_delta_reduce_scatter,
    delta_formula="the shares of δ of all ranks, one after the other",
    samples=(
        sample(real(3, 4), ranks=1, number=0),
        sample(real(5), integer(below=9), ranks=1, number=1),
    ),
    collective=True,
    reads=1,
    takes_halves=True,
    example=("gg.reduce_scatter(x, ranks=2)", "float32[6]"),
)
def reduce_scatter(
    x: Node,
    before: Node | None = None,
    ranks: int = 1,
    number: int = -1,
    name: str | None = None,
) -> Node:
    """This rank's share of the sum of x over all ranks, in one row: element by element that of
    `all_reduce`.

    There are `ranks` shares, of as many elements each; where that exceeds x, the last ones end with
    zeros. `before` is the collective that all ranks do first, `number` the place in that order.
    """
    ranks = whole_number(ranks, "the number of ranks")
    heads = (x,) if before is None else (x, before)
    return reduce_scatter.node(*heads, ranks=ranks, number=number, name=name)


def _infer_all_gather(
    x: TensorType, *before: TensorType, size: int, ranks: int, number: int
) -> TensorType:
    _need_one_before(before)
    _need_ranks(ranks)
    if len(x.shape) != 1 or x.shape[0] != share_size(size, ranks):
        raise ValueError(
            f"{size} elements on {ranks} ranks are shares of [{share_size(size, ranks)}], not {x}"
        )
    return TensorType((size,), x.dtype)


def _compute_all_gather(
    xp: Any, out: Any, x: Any, *before: Any, size: int, ranks: int, number: int
) -> None:
    xp.copyto(out, x)


def _delta_all_gather(delta: Node, y: Node, x: Node, *before: Node) -> tuple[Node | None, ...]:
    return (reduce_scatter(delta, ranks=y.attributes["ranks"]), *(None for _ in before))


@operation(
    infer=_infer_all_gather,
    formula="the shares of all ranks, one after the other",
    compute=_compute_all_gather,
    delta=_delta_all_gather,
    delta_formula="the rank's share of Σ over ranks of δ",
    samples=(
        sample(real(6), size=6, ranks=1, number=0),
        sample(real(5), integer(below=9), size=5, ranks=1, number=1),
    ),
    collective=True,
    reads=1,
    takes_halves=True,
    example=("gg.all_gather(gg.reduce_scatter(x, ranks=2), 12, ranks=2)", "float32[12]"),
)
def all_gather(
    x: Node,
    size: int,
    before: Node | None = None,
    ranks: int = 1,
    number: int = -1,
    name: str | None = None,
) -> Node:
    """The `size` elements of which each rank has its share x, on all of them; what the last shares
    hold beyond the end is left out.

    `before` is the collective that all ranks do first, `number` the place in that order.
    """
    size, ranks = whole_number(size, "the size"), whole_number(ranks, "the number of ranks")
    heads = (x,) if before is None else (x, before)
    return all_gather.node(*heads, size=size, ranks=ranks, number=number, name=name)


reduce_scatter_start = Operation(
    "reduce_scatter_start",
    _infer_reduce_scatter,
    "the rank's share of Σ over ranks of x, begun",
    _compute_reduce_scatter,
    _delta_reduce_scatter,
    "the shares of δ of all ranks, one after the other",
    samples=(sample(real(3, 4), ranks=1, number=0), sample(real(5), real(2), ranks=1, number=1)),
    collective=True,
    takes_halves=True,
    reads=1,
)
"""Begins `reduce_scatter`, as `all_reduce_start` begins a sum: nothing but its `wait` may read it,
and x is left alone until then."""

all_gather_start = Operation(
    "all_gather_start",
    _infer_all_gather,
    "the shares of all ranks, one after the other, begun",
    _compute_all_gather,
    _delta_all_gather,
    "the rank's share of Σ over ranks of δ",
    samples=(
        sample(real(6), size=6, ranks=1, number=0),
        sample(real(5), real(2), size=5, ranks=1, number=1),
    ),
    collective=True,
    takes_halves=True,
    reads=1,
)
"""Begins `all_gather`, likewise."""

# ---------------------------------------------------------------- broadcast


def _infer_broadcast(x: TensorType, *before: TensorType, root: int, number: int) -> TensorType:
    _need_one_before(before)
    if root < 0:
        raise ValueError(f"ranks are counted from 0, not from {root}")
    return x


def _compute_broadcast(xp: Any, out: Any, x: Any, *before: Any, root: int, number: int) -> None:
    xp.copyto(out, x)


def _delta_broadcast(delta: Node, y: Node, x: Node, *before: Node) -> tuple[Node | None, ...]:
    """Only the x of one rank has been sent: the others send back nothing."""
    total = all_reduce(delta)
    sent = equal(rank_number.node(), y.attributes["root"])
    return (where(sent, total, zeros_like(total)), *(None for _ in before))


@operation(
    infer=_infer_broadcast,
    formula="x of one rank",
    compute=_compute_broadcast,
    delta=_delta_broadcast,
    delta_formula="Σ over ranks of δ on that rank, 0 on the others",
    samples=(
        sample(real(3, 4), root=0, number=0),
        sample(real(), integer(below=9), root=0, number=1),
    ),
    collective=True,
    takes_halves=True,
    reads=1,
    example=("gg.broadcast(x)", "float32[3, 4]"),
)
def broadcast(
    x: Node,
    root: int = 0,
    before: Node | None = None,
    number: int = -1,
    name: str | None = None,
) -> Node:
    """The x of rank `root`, on all ranks.

    `before` is the collective that all ranks do first, `number` the place in that order.
    """
    heads = (x,) if before is None else (x, before)
    return broadcast.node(*heads, root=whole_number(root, "a rank"), number=number, name=name)


# ---------------------------------------------------------------- what a rank does alone


rank_number = Operation(
    "rank_number",
    lambda: TensorType((), INT64),
    "the number of this rank",
    lambda xp, out: out.fill(0),
    samples=(sample(),),
    arity=0,
)
"""The number of the rank that computes it: 0 in a process that runs alone."""


def _infer_share(number: TensorType, *xs: TensorType, parts: int) -> TensorType:
    need_integers(number)
    _need_ranks(parts)
    if number.shape:
        raise ValueError("the number of a share is a scalar")
    if not xs or any(x.dtype != xs[0].dtype for x in xs):
        raise ValueError("a share is one of values of one dtype, of at least one")
    return TensorType((share_size(sum(map(_known_size, xs)), parts),), xs[0].dtype)


def _compute_share(xp: Any, out: Any, number: Any, *xs: Any, parts: int) -> None:
    begin, place = int(number) * out.size, 0
    for x in xs:
        first, last = max(begin, place), min(begin + out.size, place + x.size)
        if first < last:
            out[first - begin : last - begin] = x.reshape(-1)[first - place : last - place]
        place += x.size
    out[max(place - begin, 0) :] = 0


def _delta_share(delta: Node, y: Node, number: Node, *xs: Node) -> tuple[Node | None, ...]:
    parts = y.attributes["parts"]
    rows = scatter_add(reshape(number, (1,)), reshape(delta, (1, -1)), parts)
    flat, start, found = reshape(rows, (-1,)), 0, []
    for x in xs:
        size = _known_size(x.type)
        found.append(reshape(flat[start : start + size], x.shape))
        start += size
    return (None, *found)


share = Operation(
    "share",
    _infer_share,
    "share x₁ of x₂, x₃, … side by side",
    _compute_share,
    _delta_share,
    "δ at the place of the share, 0 elsewhere",
    samples=(
        sample(integer(below=1), real(2, 3), real(4), parts=1),
        sample(integer(below=2), real(2, 3), real(), real(4), parts=3),
    ),
    one_dtype=False,
)
"""The share of one rank of values that are whole on all of them, laid side by side."""


def _infer_share_sums(
    number: TensorType, x: TensorType, sizes: tuple[int, ...], parts: int
) -> TensorType:
    need_integers(number)
    _need_float(x)
    if number.shape or x.shape != (share_size(sum(sizes), parts),):
        raise ValueError(f"{x} is not a share of {sum(sizes)} elements on {parts} ranks")
    return TensorType((len(sizes),), x.dtype)


def _compute_share_sums(
    xp: Any, out: Any, number: Any, x: Any, sizes: tuple[int, ...], parts: int
) -> None:
    start = int(number) * x.size
    for place, end in enumerate(accumulate(sizes)):
        first, last = max(end - sizes[place] - start, 0), min(max(end - start, 0), x.size)
        out[place] = x[first:last].sum() if first < last else 0


def _delta_share_sums(delta: Node, y: Node, number: Node, x: Node) -> tuple[Node | None, ...]:
    sizes = y.attributes["sizes"]
    rows = [broadcast_to(delta[place], (size,)) for place, size in enumerate(sizes)]
    return (None, share.node(number, *rows, parts=y.attributes["parts"]))


share_sums = Operation(
    "share_sums",
    _infer_share_sums,
    "Σ over what a share has of each value",
    _compute_share_sums,
    _delta_share_sums,
    "δᵢ for each element of value i",
    samples=(
        sample(integer(below=1), real(10), sizes=(6, 4), parts=1),
        sample(integer(below=2), real(4), sizes=(6, 1, 4), parts=3),
    ),
    arity=2,
    one_dtype=False,
)
"""The sums over the elements of each of several values, as far as they are in share x₁, which is
x₂: added up over the ranks, the sums over whole values."""


def own_share(*xs: Node, ranks: int, name: str | None = None) -> Node:
    """This rank's share of values that are whole on all ranks."""
    return share.node(rank_number.node(), *xs, parts=ranks, name=name)


def own_sums(x: Node, sizes: tuple[int, ...], ranks: int, name: str | None = None) -> Node:
    """The sums over the values of which this rank has the share x, as far as they are in it."""
    return share_sums.node(rank_number.node(), x, sizes=sizes, parts=ranks, name=name)


OPERATIONS: tuple[Operation, ...] = (
    reduce_scatter,
    all_gather,
    reduce_scatter_start,
    all_gather_start,
    broadcast,
    rank_number,
    share,
    share_sums,
)
