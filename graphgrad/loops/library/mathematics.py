"""Mathematical functions of single numbers that kernels call, written so that LLVM vectorises them.

They are polynomials, with `where` instead of branches, and without look-up tables. Each states its
error in units in the last place; the tests measure it at floats of the whole range. NaN gives NaN,
zeros keep their sign, and results that are too large or too small are rounded to infinity, to a
denormal number or to 0. A text calls them without the type: `exp(x)` is `exp_float32` if x is
float32. For types without a function here, the C library's is called.

A number has the same result at any position of a row: in a vector, or alone at the end. So products
and sums that are rounded once ("contract") are written where LLVM can pair them in one way only.
"""

from __future__ import annotations

from graphgrad.loops.language import abs, exp, log1p, loop_function, maximum, sqrt, where
from graphgrad.loops.library.double_precision import (
    erf_float64,
    exp_float64,
    expm1_float64,
    log1p_float64,
    log_float64,
    tanh_float64,
)
from graphgrad.loops.library.periodic import (
    cos_float32,
    cos_float64,
    near_cos_float32,
    near_cos_float64,
    near_sin_float32,
    near_sin_float64,
    sin_float32,
    sin_float64,
)
from graphgrad.loops.library.single_precision import (
    erf_float32,
    exp_float32,
    expm1_float32,
    log1p_float32,
    log_float32,
    tanh_float32,
)

__all__ = [
    "cos_float32",
    "cos_float64",
    "erf_float32",
    "erf_float64",
    "exp_float32",
    "exp_float64",
    "expm1_float32",
    "expm1_float64",
    "log1p_float32",
    "log1p_float64",
    "log_float32",
    "log_float64",
    "near_cos_float32",
    "near_cos_float64",
    "near_sin_float32",
    "near_sin_float64",
    "rsqrt",
    "sign",
    "sin_float32",
    "sin_float64",
    "softplus",
    "tanh_float32",
    "tanh_float64",
]


@loop_function()
def sign(x):
    """-1, 0 or 1; NaN of NaN."""
    return where(x > 0, 1, where(x < 0, -1, x))


@loop_function()
def rsqrt(x):
    """1 / √x."""
    return 1 / sqrt(x)


@loop_function()
def softplus(x):
    """log (1 + e^x), without overflow."""
    return maximum(x, 0) + log1p(exp(-abs(x)))
