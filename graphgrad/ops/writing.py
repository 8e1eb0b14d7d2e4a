"""Writing: rows of a value replaced by others, at places that are values of the graph themselves.

It is how a program keeps what it has computed: the keys and values of the tokens so far are a state
whose next value is the state with some rows written (`graphgrad.layers.cache`). Where that is so,
only those rows are touched.
"""

from __future__ import annotations

from typing import Any

from graphgrad.errors import DataError
from graphgrad.graph.decorators import operation
from graphgrad.graph.node import Node
from graphgrad.graph.samples import integer, real, sample
from graphgrad.graph.types import TensorType
from graphgrad.ops.filled import zeros_like
from graphgrad.ops.indexing import check_indices, take_along_axis
from graphgrad.ops.movement import reshape
from graphgrad.ops.rules import need_integers


def _infer(x: TensorType, rows: TensorType, places: TensorType) -> TensorType:
    need_integers(places)
    if len(x.shape) < 2 or len(places.shape) != 2:
        raise ValueError("needs x [batch, place, …] and places [batch, row]")
    if x.dtype != rows.dtype:
        raise ValueError(f"dtypes {x.dtype} and {rows.dtype} do not mix; fix: cast one of them")
    if places.shape[0] != x.shape[0] or rows.shape != (*places.shape, *x.shape[2:]):
        raise ValueError(f"there must be a row of {x} for each place, not {rows} for {places}")
    if rows.shape == x.shape:
        raise ValueError("the rows are as many as x has, so nothing of it would be left")
    return x


def _compute(xp: Any, out: Any, x: Any, rows: Any, places: Any) -> None:
    check_indices(places, x.shape[1], "write_rows")
    if places.shape[1] > 1:
        ordered = xp.sort(places, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise DataError("write_rows: two rows have one place", fix="give each its own")
    if not xp.may_share_memory(out, x):
        xp.copyto(out, x)
    out[xp.arange(places.shape[0])[:, None], places] = rows


def _delta(delta: Node, y: Node, x: Node, rows: Node, places: Node) -> tuple[Node, Node, None]:
    index = reshape(places, (*places.shape, *(1,) * (x.rank - 2)))
    return (
        write_rows(delta, zeros_like(rows), places),
        take_along_axis(delta, index, axis=1),
        None,
    )


@operation(
    infer=_infer,
    formula="x₁ with the rows x₂ at the places x₃",
    compute=_compute,
    arity=3,
    delta=_delta,
    delta_formula="δ₁ = δ, 0 at the places; δ₂ = the rows of δ at the places",
    in_place=True,
    one_dtype=False,
    samples=(
        sample(real(2, 4, 3), real(2, 1, 3), integer(2, 1, below=4)),
        sample(real(3, 5), real(3, 1), integer(3, 1, below=5)),
    ),
    example=("gg.write_rows(x, x[:, :1], gg.iota(3)[:, None])", "float32[3, 4]"),
)
def write_rows(x: Node, rows: Node, places: Node, name: str | None = None) -> Node:
    """x [batch, place, …] with `rows` [batch, row, …] in place of its own at `places` [batch, row].

    The places of one example are distinct.
    """
    return write_rows.node(x, rows, places, name=name)


OPERATIONS = (write_rows,)
