"""Elementwise arithmetic, comparison and choice.

Each block has a name, a formula and a kernel expression, then the delta rule as in a textbook, its
formula, and samples. `δ` is the delta of the result `y`; if a head was broadcast, `derive` sums
over the repeated axes.
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.node_names import also_called
from graphgrad.graph.samples import boolean, integer, positive, real, sample
from graphgrad.graph.types import BOOL, FLOAT32, HALVES, DType, TensorType, as_dtype, broadcast
from graphgrad.ops.rules import (
    Binary,
    Ternary,
    Unary,
    elementwise,
    infer_comparison,
    infer_elementwise,
    infer_float,
    infer_logical,
    infer_numbers,
)

PAIRS = (
    sample(real(3, 4), real(3, 4)),
    sample(real(2, 3, 4), real(3, 1)),
    sample(real(), real(5)),
    sample(real(0, 3), real(3)),
)

add = elementwise(
    "add",
    "x₁ + x₂",
    "{0} + {1}",
    ufunc="add",
    infer=infer_numbers,
    arity=2,
    commutative=True,
    delta=lambda delta, y, a, b: (delta, delta),
    delta_formula="δ₁ = δ, δ₂ = δ",
    samples=PAIRS,
)

subtract = elementwise(
    "subtract",
    "x₁ - x₂",
    "{0} - {1}",
    ufunc="subtract",
    infer=infer_numbers,
    arity=2,
    delta=lambda delta, y, a, b: (delta, -delta),
    delta_formula="δ₁ = δ, δ₂ = -δ",
    samples=PAIRS,
)

multiply = elementwise(
    "multiply",
    "x₁ · x₂",
    "{0} * {1}",
    ufunc="multiply",
    infer=infer_numbers,
    arity=2,
    commutative=True,
    delta=lambda delta, y, a, b: (delta * b, delta * a),
    delta_formula="δ₁ = δ · x₂, δ₂ = δ · x₁",
    samples=PAIRS,
)

divide = elementwise(
    "divide",
    "x₁ / x₂",
    "{0} / {1}",
    ufunc="divide",
    arity=2,
    delta=lambda delta, y, a, b: (delta / b, -delta * y / b),
    delta_formula="δ₁ = δ / x₂, δ₂ = -δ · y / x₂",
    samples=(sample(real(3, 4), positive(3, 4)), sample(real(4), positive(2, 1))),
)

negative = elementwise(
    "negative",
    "-x",
    "-{0}",
    ufunc="negative",
    infer=infer_numbers,
    delta=lambda delta, y, x: (-delta,),
    delta_formula="-δ",
    samples=(sample(real(3, 4)), sample(real(0))),
)

reciprocal = elementwise(
    "reciprocal",
    "1 / x",
    "1 / {0}",
    ufunc="reciprocal",
    delta=lambda delta, y, x: (-delta * y * y,),
    delta_formula="-δ · y²",
    samples=(sample(positive(3, 4)),),
)


absolute = elementwise(
    "absolute",
    "|x|",
    "abs({0})",
    ufunc="absolute",
    infer=infer_numbers,
    delta=lambda delta, y, x: (delta * stop_gradient(sign(x)),),  # for the second derivative, 0
    delta_formula="δ · sign x",
    samples=(sample(real(3, 4)),),
)

sign: Unary = elementwise(
    "sign",
    "sign x",
    "sign({0})",
    ufunc="sign",
    infer=infer_numbers,
    delta=lambda delta, y, x: (None,),
    delta_formula="0: constant wherever it is continuous",
    samples=(sample(real(3, 4), smooth=False),),
)


def _share(delta: Node, wins: Node, a: Node, b: Node) -> Node:
    """The delta of one side of a maximum or minimum, where `wins` is true; half of it on a tie."""
    return delta * where(equal(a, b), 0.5, cast(wins, delta.dtype))


maximum = elementwise(
    "maximum",
    "max(x₁, x₂)",
    "max({0}, {1})",
    ufunc="maximum",
    infer=infer_elementwise,
    arity=2,
    commutative=True,
    delta=lambda delta, y, a, b: (_share(delta, less(b, a), a, b), _share(delta, less(a, b), a, b)),
    delta_formula="δᵢ = δ where xᵢ is the larger, δ/2 on a tie, else 0",
    samples=(sample(real(3, 4), real(3, 4)), sample(real(3, 4), real(1, 4))),
)

minimum = elementwise(
    "minimum",
    "min(x₁, x₂)",
    "min({0}, {1})",
    ufunc="minimum",
    infer=infer_elementwise,
    arity=2,
    commutative=True,
    delta=lambda delta, y, a, b: (_share(delta, less(a, b), a, b), _share(delta, less(b, a), a, b)),
    delta_formula="δᵢ = δ where xᵢ is the smaller, δ/2 on a tie, else 0",
    samples=(sample(real(3, 4), real(3, 4)), sample(real(3, 4), real(1, 4))),
)


equal: Binary = elementwise(
    "equal",
    "x₁ = x₂",
    "{0} == {1}",
    ufunc="equal",
    infer=infer_comparison,
    arity=2,
    commutative=True,
    in_place=False,
    samples=(sample(integer(3, 4, below=3), integer(3, 4, below=3), smooth=False),),
)

not_equal = elementwise(
    "not_equal",
    "x₁ ≠ x₂",
    "{0} != {1}",
    ufunc="not_equal",
    infer=infer_comparison,
    arity=2,
    commutative=True,
    in_place=False,
    samples=(sample(integer(3, 4, below=3), integer(3, 4, below=3), smooth=False),),
)

less: Binary = elementwise(
    "less",
    "x₁ < x₂",
    "{0} < {1}",
    ufunc="less",
    infer=infer_comparison,
    arity=2,
    in_place=False,
    samples=(sample(real(3, 4), real(3, 4), smooth=False),),
)

less_equal = elementwise(
    "less_equal",
    "x₁ ≤ x₂",
    "{0} <= {1}",
    ufunc="less_equal",
    infer=infer_comparison,
    arity=2,
    in_place=False,
    samples=(sample(real(3, 4), real(3, 4), smooth=False),),
)

logical_and = elementwise(
    "logical_and",
    "x₁ ∧ x₂",
    "{0} & {1}",
    ufunc="logical_and",
    infer=infer_logical,
    arity=2,
    commutative=True,
    samples=(sample(boolean(3, 4), boolean(4)),),
)

logical_or = elementwise(
    "logical_or",
    "x₁ ∨ x₂",
    "{0} | {1}",
    ufunc="logical_or",
    infer=infer_logical,
    arity=2,
    commutative=True,
    samples=(sample(boolean(3, 4), boolean(4)),),
)

logical_not = elementwise(
    "logical_not",
    "¬x",
    "not {0}",
    ufunc="logical_not",
    infer=infer_logical,
    samples=(sample(boolean(3, 4)),),
)

is_finite = elementwise(
    "is_finite",
    "x is finite",
    "isfinite({0})",
    ufunc="isfinite",
    infer=infer_comparison,
    in_place=False,
    samples=(sample(real(3, 4), smooth=False),),
)


def _compute_clip(xp: Any, out: Any, x: Any, low: Any, high: Any) -> None:
    xp.clip(x, low, high, out=out)


def _delta_clip(delta: Node, y: Node, x: Node, low: Node, high: Node) -> tuple[Node, ...]:
    """δ goes to the head that y is equal to, and to the bound if x is equal to it."""
    above, below = less_equal(high, maximum(x, low)), less_equal(x, low)
    rest = where(above, 0.0, delta)
    return where(below, 0.0, rest), where(below, rest, 0.0), where(above, delta, 0.0)


clip: Ternary = elementwise(
    "clip",
    "min(max(x₁, x₂), x₃)",
    "min(max({0}, {1}), {2})",
    compute=_compute_clip,
    infer=infer_elementwise,
    arity=3,
    delta=_delta_clip,
    delta_formula="δ₁ = δ where x₂ < x₁ < x₃, else 0; δ₂ = δ where y is x₂, else 0; "
    "δ₃ = δ where y is x₃, else 0",
    samples=(
        sample(
            real(3, 4, low=-4.0, high=4.0),
            real(4, low=-2.0, high=-1.0),
            real(3, 1, low=1.0, high=2.0),
        ),
        sample(real(3, 4), real(), real()),
    ),
)


def _infer_where(condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
    infer_logical(condition)
    return TensorType(broadcast([condition.shape, a.shape, b.shape]), infer_elementwise(a, b).dtype)


def _compute_where(xp: Any, out: Any, condition: Any, a: Any, b: Any) -> None:
    xp.copyto(out, b)
    xp.copyto(out, a, where=condition)


where: Ternary = elementwise(
    "where",
    "x₂ where x₁, else x₃",
    "where({0}, {1}, {2})",
    compute=_compute_where,
    infer=_infer_where,
    arity=3,
    in_place=False,
    delta=lambda delta, y, condition, a, b: (
        None,
        where(condition, delta, 0.0),
        where(condition, 0.0, delta),
    ),
    delta_formula="δ₂ = δ where x₁, else 0; δ₃ = 0 where x₁, else δ",
    samples=(sample(boolean(3, 4), real(3, 4), real(3, 4)), sample(boolean(4), real(3, 1), real())),
)


def _infer_cast(x: TensorType, dtype: DType) -> TensorType:
    if (x.is_half or dtype in HALVES) and FLOAT32 not in (x.dtype, dtype):
        raise ValueError(f"{x.dtype} becomes {dtype} by way of float32; fix: cast(x, '{dtype}')")
    return TensorType(x.shape, dtype)


def _compute_cast(xp: Any, out: Any, x: Any, dtype: DType) -> None:
    xp.copyto(out, x, casting="unsafe")
    if x.dtype.kind == "f" and out.dtype.kind == "i":  # overflow is undefined in C
        limits = xp.iinfo(out.dtype)
        xp.copyto(out, limits.max, where=x >= -float(limits.min))
        xp.copyto(out, limits.min, where=x < float(limits.min))
        xp.copyto(out, 0, where=x != x)


def _delta_cast(delta: Node, y: Node, x: Node) -> tuple[Node | None]:
    return (cast(delta, x.dtype) if x.type.is_float else None,)


@operation(
    formula="x as another dtype",
    kernel="{0}",
    compute=_compute_cast,
    infer=_infer_cast,
    arity=1,
    delta=_delta_cast,
    delta_formula="δ as the dtype of x",
    samples=(
        sample(real(3, 4), dtype=as_dtype("float64")),
        sample(integer(3, 4, below=5), dtype=as_dtype("float64")),
        sample(boolean(3, 4), dtype=as_dtype("int32")),
    ),
    takes_halves=True,
    example=('gg.cast(x, "int32")', "int32[3, 4]"),
)
def cast(x: Node, dtype: Any, name: str | None = None) -> Node:
    """x as another dtype. Floats become integers by truncation, numbers become bool by x ≠ 0.

    A float that is too large for an integer becomes the largest or smallest one, and NaN becomes 0.
    bfloat16 and float16 are rounded to the nearest, to the even one of two; too large a float32
    becomes ∞. They are cast from float32 and to it: other dtypes take two casts.
    """
    dtype = as_dtype(dtype)
    if dtype == x.dtype:
        return also_called(x, name)
    if (x.type.is_half or dtype in HALVES) and FLOAT32 not in (x.dtype, dtype):
        x = cast.node(x, dtype=FLOAT32)
    if dtype == BOOL:
        return not_equal(x, 0, name=name)
    return cast.node(x, dtype=dtype, name=name)


stop_gradient: Unary = elementwise(
    "stop_gradient",
    "x",
    "{0}",
    ufunc="positive",
    infer=infer_float,
    delta=lambda delta, y, x: (None,),
    delta_formula="0: x counts as a constant",
    samples=(sample(real(3, 4), smooth=False),),
)

OPERATIONS: tuple[Operation, ...] = (
    add,
    subtract,
    multiply,
    divide,
    negative,
    reciprocal,
    absolute,
    sign,
    maximum,
    minimum,
    equal,
    not_equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    logical_not,
    is_finite,
    clip,
    where,
    cast,
    stop_gradient,
)
