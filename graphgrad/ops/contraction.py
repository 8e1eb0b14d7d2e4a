"""The matrix product, which needs most of the time of training.

What it reads and how it adds up is part of the node, so graphs and pictures show it:

- operands of float32 or float64: multiplied and added in that dtype;
- of bfloat16 or float16: each product is exact in float32, and they are added in float32. The
  result is rounded once to the dtype of the operands, or stays float32 (`dtype="float32"`);
- `precision="tf32"`, of float32: a device rounds the operands to 11 binary digits on the way
  into its units for matrices. NumPy does the same here: it rounds them to the nearest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.dimension import Dimension, product
from graphgrad.graph.node import Node, Operand, Operation, as_nodes
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import (
    FLOAT32,
    HALVES,
    DType,
    Shape,
    TensorType,
    as_dtype,
    broadcast,
    shape_text,
    truth,
)
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.movement import expand_dims, reshape, squeeze
from graphgrad.ops.rules import need_floats

TF32 = "tf32"


def _matrix(shape: Shape, transposed: bool) -> tuple[int | Dimension, int | Dimension]:
    rows, columns = shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _infer(
    a: TensorType,
    b: TensorType,
    transpose_a: bool,
    transpose_b: bool,
    dtype: DType | None = None,
    precision: str = "",
) -> TensorType:
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
    if dtype is not None and (dtype != FLOAT32 or not a.is_half):
        raise ValueError(
            f"the product of {a.dtype} is {a.dtype}{' or float32' if a.is_half else ''}, not "
            f"{dtype}; fix: cast the result"
        )
    if precision and (precision != TF32 or a.dtype != FLOAT32):
        raise ValueError(
            f"the precision {precision!r} of a product of {a.dtype}; fix: 'tf32', of float32"
        )
    result = dtype or a.dtype
    return TensorType((*broadcast([a.shape[:-2], b.shape[:-2]]), rows, columns), result)


def _scratch(
    a: TensorType,
    b: TensorType,
    transpose_a: bool,
    transpose_b: bool,
    dtype: DType | None = None,
    precision: str = "",
) -> tuple[TensorType, ...]:
    """float32 for the operands, and for a result that is rounded."""
    if not (a.is_half or (precision and a.dtype == FLOAT32)):
        return ()  # a reference computes all of them in float64
    y = _infer(a, b, transpose_a, transpose_b, dtype, precision)
    rounded = (y,) if y.is_half else ()
    return tuple(TensorType(each.shape, FLOAT32) for each in (a, b, *rounded))


def _compute(
    xp: Any,
    out: Any,
    a: Any,
    b: Any,
    transpose_a: bool,
    transpose_b: bool,
    dtype: DType | None = None,
    precision: str = "",
    scratch: Sequence[Any] = (),
) -> None:
    if not (a.dtype in HALVES or (precision and a.dtype == FLOAT32)):
        _multiply(xp, out, a, b, transpose_a, transpose_b)
        return
    given = scratch or [xp.empty(each.shape, FLOAT32) for each in (a, b, out)]
    for wide, array in zip(given, (a, b), strict=False):
        xp.copyto(wide, array)
        if precision:
            _round_to_tf32(xp, wide)
    whole = given[2] if out.dtype in HALVES else out
    _multiply(xp, whole, given[0], given[1], transpose_a, transpose_b)
    if whole is not out:
        xp.copyto(out, whole, casting="unsafe")


def _round_to_tf32(xp: Any, x: Any) -> None:
    """Rounds float32 to 10 digits behind the first, to the nearest, to the even one of two."""
    bits, nan = x.view(xp.uint32), xp.isnan(x)
    bits += xp.uint32(0x0FFF) + ((bits >> xp.uint32(13)) & xp.uint32(1))
    bits &= xp.uint32(0xFFFFE000)
    xp.copyto(x, xp.nan, where=nan)


def _multiply(xp: Any, out: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool) -> None:
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
    delta = cast(delta, a.dtype)
    of = {"precision": y.attributes["precision"]} if "precision" in y.attributes else {}
    if transpose_a:
        to_a = matmul.node(b, delta, transpose_a=transpose_b, transpose_b=True, **of)
    else:
        to_a = matmul.node(delta, b, transpose_a=False, transpose_b=not transpose_b, **of)
    if b.rank == 2 and a.rank > 2 and not transpose_a:
        # all rows of all batches meet the one matrix b: sum over them inside the product
        rows = product(a.shape[:-1])
        a = reshape(a, (rows, a.shape[-1]))
        delta = reshape(delta, (rows, delta.shape[-1]))
    if transpose_b:
        to_b = matmul.node(delta, a, transpose_a=True, transpose_b=transpose_a, **of)
    else:
        to_b = matmul.node(a, delta, transpose_a=not transpose_a, transpose_b=False, **of)
    return to_a, to_b


@operation(
    infer=_infer,
    formula="x₁ x₂",
    compute=_compute,
    arity=2,
    takes_halves=True,
    scratch=_scratch,
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
    dtype: Any = None,
    precision: str = "",
) -> Node:
    """The matrix product over the last two axes; the other axes broadcast.

    `transpose_a` and `transpose_b` exchange the last two axes of a side first. A vector is a row on
    the left and a column on the right, and its axis is removed from the result, as in NumPy.

    Products of bfloat16 or float16 are added up in float32; the result has the dtype of the heads,
    or is float32 if `dtype` says so. `precision="tf32"` rounds heads of float32 to the 11 binary
    digits that the matrix units of a device take. (`compile(…, precision=…)` asks for either in all
    products of a graph.)
    """
    a, b = as_nodes(matmul, (a, b))
    if not (a.rank and b.rank):
        raise ValueError(f"{a.type} and {b.type}: a scalar has no rows or columns; fix: use *")
    transpose_a, transpose_b = truth(transpose_a, "transpose_a"), truth(transpose_b, "transpose_b")
    left, right = a.rank == 1, b.rank == 1
    # absent where they ask for nothing: most products are of float32, in float32
    of: dict[str, Any] = {"precision": precision} if precision else {}
    if dtype is not None and as_dtype(dtype) != a.dtype:
        of["dtype"] = as_dtype(dtype)
    if not left and not right:
        return matmul.node(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=name, **of)
    y = matmul.node(
        expand_dims(a, 0) if left else a,
        expand_dims(b, 1) if right else b,
        transpose_a=transpose_a and not left,
        transpose_b=transpose_b and not right,
        **of,
    )
    y = squeeze(y, -1) if right else y
    y = squeeze(y, -1 if right or not left else -2) if left else y
    return reshape.node(y, shape=y.shape, name=name) if name else y


OPERATIONS: tuple[Operation, ...] = (matmul,)
