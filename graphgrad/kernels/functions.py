"""The functions that kernel expressions call, for Numba to compile into the loops.

Exponentials of float32 are a polynomial that LLVM vectorises: e^x = 2^n e^r with |r| ≤ ln 2 / 2 and
a polynomial for e^r, under 2 units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import carray, njit

from graphgrad.kernels.intrinsics import larger, maximum, minimum, plus, smaller, where
from graphgrad.kernels.native import pointer
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
    return np.float32(maximum(x, np.float32(0)) + np.log1p(np.exp(-abs(x))))


@njit(inline="always")
def softplus_float64(x):  # type: ignore[no-untyped-def]
    """log (1 + e^x), without overflow."""
    return maximum(x, 0.0) + np.log1p(np.exp(-abs(x)))


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
    "carray": carray, "pointer": pointer,
    "rsqrt_float32": rsqrt_float32, "rsqrt_float64": rsqrt_float64,
    "softplus_float32": softplus_float32, "softplus_float64": softplus_float64,
    **{f"{name}_{dtype}": function
       for name, function in _LIBRARY.items() for dtype in ("float32", "float64")},
}  # fmt: skip
"""What the text of a kernel may call."""
