"""Elementwise functions and activations; `arithmetic` explains the parts of a block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphgrad.graph.node import Node, Operation, constant
from graphgrad.graph.samples import positive, real, sample
from graphgrad.ops.arithmetic import (
    absolute,
    clip,
    equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    not_equal,
    where,
)
from graphgrad.ops.rules import Unary, elementwise

_PLANE = (sample(real(3, 4)), sample(real(0)), sample(real()))
_POSITIVE = (sample(positive(3, 4)), sample(positive()))

exp = elementwise(
    "exp",
    "eˣ",
    "exp({0})",
    ufunc="exp",
    delta=lambda delta, y, x: (delta * y,),
    delta_formula="δ · y",
    samples=_PLANE,
)

expm1 = elementwise(
    "expm1",
    "eˣ - 1",
    "expm1({0})",
    ufunc="expm1",
    delta=lambda delta, y, x: (delta * (y + 1.0),),
    delta_formula="δ · (y + 1)",
    samples=_PLANE,
)

log = elementwise(
    "log",
    "log x",
    "log({0})",
    ufunc="log",
    delta=lambda delta, y, x: (delta / x,),
    delta_formula="δ / x",
    samples=_POSITIVE,
)

log1p = elementwise(
    "log1p",
    "log (1 + x)",
    "log1p({0})",
    ufunc="log1p",
    delta=lambda delta, y, x: (delta / (1.0 + x),),
    delta_formula="δ / (1 + x)",
    samples=_POSITIVE,
)

sqrt = elementwise(
    "sqrt",
    "√x",
    "sqrt({0})",
    ufunc="sqrt",
    delta=lambda delta, y, x: (delta / (2.0 * y),),
    delta_formula="δ / 2y",
    samples=_POSITIVE,
)


def _compute_rsqrt(xp: Any, out: Any, x: Any) -> None:
    xp.sqrt(x, out=out)
    xp.reciprocal(out, out=out)


rsqrt = elementwise(
    "rsqrt",
    "1 / √x",
    "rsqrt({0})",
    compute=_compute_rsqrt,
    delta=lambda delta, y, x: (delta * -0.5 * y * y * y,),
    delta_formula="-δ · y³ / 2",
    samples=_POSITIVE,
)


def _delta_power(delta: Node, y: Node, base: Node, exponent: Node) -> tuple[Node, Node]:
    slope = exponent * power(_safe_base(base, exponent), exponent - 1.0)
    # a base below 0 has no logarithm: the exponent's delta is then 0. The logarithm of 0 is -∞, but
    # the delta is 0 if y is 0, and at 0 ^ 0, which is taken as constant
    grows = logical_and(equal(base, 0.0), less(exponent, 0.0))
    logarithm = log(where(logical_or(base > 0, grows), base, 1.0))
    return delta * slope, delta * y * logarithm


def _safe_base(base: Node, exponent: Node) -> Node:
    """The base, with 1 for elements without a reciprocal if their exponent is 0.

    x ^ 0 is 1 everywhere, so its delta is 0 instead of 0 · x ^ -1 = 0 · ∞. The base is changed
    instead of the slope, so that the derivative of the slope by the exponent is still 1 / x.
    """
    if exponent.operation is constant and exponent.attributes["value"].array.all():
        return base
    safe = less_equal(float(np.finfo(base.dtype).tiny), absolute(base))  # and no NaN
    return where(logical_or(safe, not_equal(exponent, 0.0)), base, 1.0)


power = elementwise(
    "power",
    "x₁ ^ x₂",
    "pow({0}, {1})",
    ufunc="power",
    arity=2,
    delta=_delta_power,
    delta_formula="δ₁ = δ · x₂ · x₁^(x₂ - 1), δ₂ = δ · y · log x₁",
    samples=(sample(positive(3, 4), real(3, 4)), sample(positive(4), real(2, 1))),
)


def power_operator(base: Any, exponent: Any) -> Node:
    """`x ** n`. Roots are operations of their own, as in NumPy and PyTorch.

    (`power` gives ∞ for the root of -∞ and 0 for that of -0, as C does.)
    """
    if isinstance(base, Node) and base.type.is_float and isinstance(exponent, int | float):
        root = {0.5: sqrt, -0.5: rsqrt}.get(exponent)
        if root is not None:
            return root(base)
    return power(base, exponent)


sin = elementwise(
    "sin",
    "sin x",
    "sin({0})",
    ufunc="sin",
    delta=lambda delta, y, x: (delta * cos(x),),
    delta_formula="δ · cos x",
    samples=_PLANE,
)

cos: Unary = elementwise(
    "cos",
    "cos x",
    "cos({0})",
    ufunc="cos",
    delta=lambda delta, y, x: (-delta * sin(x),),
    delta_formula="-δ · sin x",
    samples=_PLANE,
)


def _erf(xp: Any) -> Any:
    """NumPy has no erf; SciPy's ufunc writes into `out`, and CuPy brings its own SciPy."""
    if xp.__name__ == "cupy":
        from cupyx.scipy import special as special_of_cupy

        return special_of_cupy.erf
    from scipy import special

    return special.erf


def _compute_erf(xp: Any, out: Any, x: Any) -> None:
    _erf(xp)(x, out=out)


erf = elementwise(
    "erf",
    "erf x",
    "erf({0})",
    compute=_compute_erf,
    delta=lambda delta, y, x: (delta * (2.0 / math.sqrt(math.pi)) * exp(-(x * x)),),
    delta_formula="δ · 2/√π · e^(-x²)",
    samples=_PLANE,
)

# ---------------------------------------------------------------- activations φ

tanh = elementwise(
    "tanh",
    "tanh x",
    "tanh({0})",
    ufunc="tanh",
    delta=lambda delta, y, x: (delta * (1.0 - y * y),),
    delta_formula="δ · (1 - y²)",
    samples=_PLANE,
)


def _compute_sigmoid(xp: Any, out: Any, x: Any) -> None:
    # e^(-x) may overflow to infinity, whose reciprocal is the right answer, 0
    xp.negative(x, out=out)
    xp.exp(out, out=out)
    xp.add(out, 1, out=out)
    xp.reciprocal(out, out=out)


sigmoid = elementwise(
    "sigmoid",
    "1 / (1 + e^(-x))",
    "1 / (1 + exp(-{0}))",
    compute=_compute_sigmoid,
    delta=lambda delta, y, x: (delta * y * (1.0 - y),),
    delta_formula="δ · y · (1 - y)",
    samples=_PLANE,
)


def _compute_softplus(xp: Any, out: Any, x: Any) -> None:
    xp.logaddexp(x, 0, out=out)


softplus = elementwise(
    "softplus",
    "log (1 + eˣ)",
    "softplus({0})",
    compute=_compute_softplus,
    delta=lambda delta, y, x: (delta * sigmoid(x),),
    delta_formula="δ · sigmoid x",
    samples=_PLANE,
)


identity = elementwise(
    "identity",
    "x",
    "{0}",
    ufunc="positive",
    delta=lambda delta, y, x: (delta,),
    delta_formula="δ",
    samples=_PLANE,
)
"""φ(x) = x, the linear neuron's: a node of its own, which `simplify` removes."""


def _compute_relu(xp: Any, out: Any, x: Any) -> None:
    xp.maximum(x, 0, out=out)


relu = elementwise(
    "relu",
    "max(0, x)",
    "max({0}, 0)",
    compute=_compute_relu,
    delta=lambda delta, y, x: (where(y > 0, delta, 0.0),),
    delta_formula="δ where y > 0, else 0",
    samples=_PLANE,
)


def _compute_gelu(xp: Any, out: Any, x: Any) -> None:
    xp.multiply(x, math.sqrt(0.5), out=out)
    _erf(xp)(out, out=out)
    xp.add(out, 1, out=out)
    xp.multiply(out, 0.5, out=out)  # before x: 2x may overflow
    xp.multiply(out, x, out=out)


def _delta_gelu(delta: Node, y: Node, x: Node) -> tuple[Node]:
    distribution = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
    density = (1.0 / math.sqrt(2.0 * math.pi)) * exp(-0.5 * x * x)
    return (delta * (distribution + x * density),)


gelu = elementwise(
    "gelu",
    "x · Φ(x)",
    "{0} * 0.5 * (1 + erf({0} * 0.7071067811865476))",
    compute=_compute_gelu,
    in_place=False,
    delta=_delta_gelu,
    delta_formula="δ · (Φ(x) + x · e^(-x²/2) / √(2π))",
    samples=_PLANE,
)

_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715


def _compute_gelu_tanh(xp: Any, out: Any, x: Any) -> None:
    xp.multiply(x, x, out=out)
    xp.multiply(out, _GELU_SCALE * _GELU_CUBE, out=out)
    xp.add(out, _GELU_SCALE, out=out)
    xp.multiply(out, x, out=out)
    xp.tanh(out, out=out)
    xp.add(out, 1, out=out)
    xp.multiply(out, 0.5, out=out)  # before x: 2x may overflow
    xp.multiply(out, x, out=out)


def _delta_gelu_tanh(delta: Node, y: Node, x: Node) -> tuple[Node]:
    held = clip(x, -100.0, 100.0)  # t is ±1 there; x² may be ∞, and (1 - t²) · ∞ is NaN
    square = held * held
    t = tanh(held * (_GELU_SCALE + _GELU_SCALE * _GELU_CUBE * square))
    slope = _GELU_SCALE + 3.0 * _GELU_SCALE * _GELU_CUBE * square
    return (delta * 0.5 * (1.0 + t + held * (1.0 - t * t) * slope),)


gelu_tanh = elementwise(
    "gelu_tanh",
    "x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))",
    "0.5 * {0} * (1 + tanh({0} * (0.7978845608028654 + 0.035677408136300125 * {0} * {0})))",
    compute=_compute_gelu_tanh,
    in_place=False,
    delta=_delta_gelu_tanh,
    delta_formula="δ/2 · (1 + t + x · (1 - t²) · √(2/π) · (1 + 0.134145 x²)), t the tanh",
    samples=_PLANE,
)


def _compute_silu(xp: Any, out: Any, x: Any) -> None:
    _compute_sigmoid(xp, out, x)
    xp.multiply(out, x, out=out)


def _delta_silu(delta: Node, y: Node, x: Node) -> tuple[Node]:
    s = sigmoid(x)
    return (delta * (s + y * (1.0 - s)),)


silu = elementwise(
    "silu",
    "x · sigmoid x",
    "{0} / (1 + exp(-{0}))",
    compute=_compute_silu,
    in_place=False,
    delta=_delta_silu,
    delta_formula="δ · (s + y · (1 - s)), s = sigmoid x",
    samples=_PLANE,
)

OPERATIONS: tuple[Operation, ...] = (
    exp,
    expm1,
    log,
    log1p,
    sqrt,
    rsqrt,
    power,
    sin,
    cos,
    erf,
    tanh,
    sigmoid,
    softplus,
    identity,
    relu,
    gelu,
    gelu_tanh,
    silu,
)
