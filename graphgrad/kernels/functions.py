"""The functions that kernel expressions call, for Numba to compile into the loops.

Exponentials of float32 are a polynomial that LLVM vectorises: e^x = 2^n e^r with |r| ≤ ln 2 / 2 and
a polynomial for e^r, under 2 units in the last place. Comparisons are written so that NaN goes
through, as it does in NumPy; only the largest of a row ignores it: e^(NaN - max) brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit

from graphgrad.kernels.native import matrix_at, vector_at
from graphgrad.kernels.philox_compiled import fill_row

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_HIGHEST, _LOWEST = np.float32(88.72283), np.float32(-103.97208)


@njit(fastmath={"contract"}, forceinline=True)
def exp_float32(x):  # type: ignore[no-untyped-def]
    """e^x in float32."""
    held = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(held * _LOG2E + np.float32(0.5))
    r = held - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    y = p * r * r + r + np.float32(1.0)
    # 2^n in two factors, neither of which leaves the range of exponents
    half = np.int32(np.int32(n) >> np.int32(1))
    rest = np.int32(np.int32(n) - half)
    y = y * np.int32((half + np.int32(127)) << np.int32(23)).view(np.float32)
    y = y * np.int32((rest + np.int32(127)) << np.int32(23)).view(np.float32)
    y = np.float32(np.inf) if x > _HIGHEST else y
    y = np.float32(0.0) if x < _LOWEST else y
    return x if x != x else y


@njit(fastmath={"nsz", "reassoc"})
def plus(a, b):  # type: ignore[no-untyped-def]
    """A step of a sum that may be taken in the order that vectorises."""
    return a + b


@njit(fastmath={"nnan", "nsz", "reassoc"})
def larger(a, b):  # type: ignore[no-untyped-def]
    """The larger of two numbers that are no NaN: the form that LLVM vectorises in a reduction."""
    return a if a > b else b


@njit(fastmath={"nnan", "nsz", "reassoc"})
def smaller(a, b):  # type: ignore[no-untyped-def]
    """The smaller of two numbers that are no NaN."""
    return a if a < b else b


@njit(inline="always")
def maximum(a, b):  # type: ignore[no-untyped-def]
    """NumPy's maximum: NaN where either is."""
    return a if (a > b) or (a != a) else b


@njit(inline="always")
def minimum(a, b):  # type: ignore[no-untyped-def]
    """NumPy's minimum: NaN where either is."""
    return a if (a < b) or (a != a) else b


@njit(inline="always")
def where(condition, a, b):  # type: ignore[no-untyped-def]
    """a where the condition holds, else b."""
    return a if condition else b


@njit(inline="always")
def sign(x):  # type: ignore[no-untyped-def]
    """-1, 0 or 1; NaN for NaN."""
    zero = x - x
    one = zero + type(x)(1)
    return one if x > zero else (-one if x < zero else x)


@njit(inline="always")
def rsqrt_float32(x):  # type: ignore[no-untyped-def]
    """1 / √x."""
    return np.float32(1) / np.sqrt(x)


@njit(inline="always")
def rsqrt_float64(x):  # type: ignore[no-untyped-def]
    """1 / √x."""
    return 1.0 / np.sqrt(x)


@njit(inline="always")
def softplus_float32(x):  # type: ignore[no-untyped-def]
    """log (1 + e^x), without overflow."""
    return np.float32(max(x, np.float32(0)) + np.log1p(np.exp(-abs(x))))


@njit(inline="always")
def softplus_float64(x):  # type: ignore[no-untyped-def]
    """log (1 + e^x), without overflow."""
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


@njit(inline="always")
def power(x, y):  # type: ignore[no-untyped-def]
    """x to the power of y."""
    return x**y


# these stay in the dtype of what they are given
_LIBRARY = {"log": np.log, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "log1p": np.log1p,
            "expm1": np.expm1, "sqrt": np.sqrt, "erf": math.erf, "pow": power}  # fmt: skip

NAMESPACE: Mapping[str, Any] = {
    "float32": np.float32, "float64": np.float64, "int32": np.int32, "int64": np.int64,
    "bool_": np.bool_, "empty": np.empty, "inf": np.inf, "nan": np.nan,
    "exp_float32": exp_float32, "exp_float64": np.exp,
    "plus": plus, "larger": larger, "smaller": smaller, "max": maximum, "min": minimum,
    "where": where, "sign": sign, "isfinite": np.isfinite, "fill_row": fill_row,
    "vector_at": vector_at, "matrix_at": matrix_at,
    "rsqrt_float32": rsqrt_float32, "rsqrt_float64": rsqrt_float64,
    "softplus_float32": softplus_float32, "softplus_float64": softplus_float64,
    **{f"{name}_{dtype}": function
       for name, function in _LIBRARY.items() for dtype in ("float32", "float64")},
}  # fmt: skip
"""What the text of a kernel may call."""
