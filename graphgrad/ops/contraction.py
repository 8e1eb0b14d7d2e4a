"""Contraction: the matrix product, the operation that training spends its time in."""

from __future__ import annotations

import math
from typing import Any

from graphgrad.graph.dimension import Dimension, product
from graphgrad.graph.front import operation
from graphgrad.graph.node import Node, Operand, Operation, as_nodes
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import Shape, TensorType, broadcast, shape_text, truth
from graphgrad.ops.movement import expand_dims, reshape, squeeze
from graphgrad.ops.rules import need_floats


def _matrix(shape: Shape, transposed: bool) -> tuple[int | Dimension, int | Dimension]:
    rows, columns = shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _infer(a: TensorType, b: TensorType, transpose_a: bool, transpose_b: bool) -> TensorType:
    need_floats(a, b)
    if a.dtype != b.dtype:
        raise ValueError(f"dtypes {a.dtype} and {b.dtype} do not mix; fix: cast one of them")
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise ValueError("needs at least two axes on each side")
    (rows, inner), (inner_b, columns) = _matrix(a.shape, transpose_a), _matrix(b.shape, transpose_b)
    if inner != inner_b:
        raise ValueError(
            f"{shape_text((rows, inner))} times {shape_text((inner_b, columns))}: the inner sizes "
            f"{inner} and {inner_b} differ; fix: transpose one side, or give the weights "
            f"{inner} rows"
        )
    return TensorType((*broadcast([a.shape[:-2], b.shape[:-2]]), rows, columns), a.dtype)


def _compute(xp: Any, out: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool) -> None:
    if transpose_a:
        a = a.swapaxes(-1, -2)
    if transpose_b:
        b = b.swapaxes(-1, -2)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous and out.flags.c_contiguous:
        # one matrix for the whole batch: one large product instead of many small ones
        rows = math.prod(a.shape[:-1])
        a, out = a.reshape(rows, a.shape[-1]), out.reshape(rows, out.shape[-1])
    xp.matmul(a, b, out=out)


def _delta(delta: Node, y: Node, a: Node, b: Node) -> tuple[Node, Node]:
    transpose_a, transpose_b = y.attributes["transpose_a"], y.attributes["transpose_b"]
    if transpose_a:
        to_a = matmul.node(b, delta, transpose_a=transpose_b, transpose_b=True)
    else:
        to_a = matmul.node(delta, b, transpose_a=False, transpose_b=not transpose_b)
    if b.rank == 2 and a.rank > 2 and not transpose_a:
        # all rows of all batches meet the one matrix b: sum over them inside the product
        rows = product(a.shape[:-1])
        a = reshape(a, (rows, a.shape[-1]))
        delta = reshape(delta, (rows, delta.shape[-1]))
    if transpose_b:
        to_b = matmul.node(delta, a, transpose_a=True, transpose_b=transpose_a)
    else:
        to_b = matmul.node(a, delta, transpose_a=not transpose_a, transpose_b=False)
    return to_a, to_b


@operation(
    infer=_infer,
    formula="x₁ x₂",
    compute=_compute,
    arity=2,
    delta=_delta,
    delta_formula="δ₁ = δ x₂ᵀ, δ₂ = x₁ᵀ δ",
    samples=(
        sample(real(3, 4), real(4, 2), transpose_a=False, transpose_b=False),
        sample(real(4, 3), real(4, 2), transpose_a=True, transpose_b=False),
        sample(real(3, 4), real(2, 4), transpose_a=False, transpose_b=True),
        sample(real(2, 4, 3), real(2, 5, 4), transpose_a=True, transpose_b=True),
        sample(real(2, 3, 4), real(4, 2), transpose_a=False, transpose_b=False),
        sample(real(2, 3, 4), real(2, 4), transpose_a=False, transpose_b=True),
        sample(real(2, 4, 3), real(4, 2), transpose_a=True, transpose_b=False),
        sample(real(2, 1, 3, 4), real(5, 4, 2), transpose_a=False, transpose_b=False),
        sample(real(3, 0), real(0, 2), transpose_a=False, transpose_b=False),
        sample(real(2, 3, 0), real(0, 2), transpose_a=False, transpose_b=False),
    ),
    example=('gg.matmul(x, gg.parameter("w", (4, 2)))', "float32[3, 2]"),
)
def matmul(
    a: Operand,
    b: Operand,
    transpose_a: bool = False,
    transpose_b: bool = False,
    name: str | None = None,
) -> Node:
    """The matrix product over the last two axes, broadcast over the others.

    A vector on the left counts as a row, on the right as a column, and is a vector again after.
    """
    a, b = as_nodes(matmul, (a, b))
    if not (a.rank and b.rank):
        raise ValueError(f"{a.type} and {b.type}: a scalar has no rows or columns; fix: use *")
    transpose_a, transpose_b = truth(transpose_a, "transpose_a"), truth(transpose_b, "transpose_b")
    left, right = a.rank == 1, b.rank == 1
    if not left and not right:
        return matmul.node(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=name)
    y = matmul.node(
        expand_dims(a, 0) if left else a,
        expand_dims(b, 1) if right else b,
        transpose_a=transpose_a and not left,
        transpose_b=transpose_b and not right,
    )
    y = squeeze(y, -1) if right else y
    y = squeeze(y, -1 if right or not left else -2) if left else y
    return reshape.node(y, shape=y.shape, name=name) if name else y


OPERATIONS: tuple[Operation, ...] = (matmul,)
