"""Functions of single numbers, made so that LLVM vectorises them: what kernels may call.

They are polynomials, with choices instead of branches, and no look-ups in tables. The error of each
is given in units in the last place; the tests measure it at floats of the whole range. NaN comes
through, zeros keep their sign, and what is too large or too small becomes infinity, denormal or 0
by rounding. A text calls them without the type: `exp(x)` is `exp_float32` where x is float32; where
there is none for a type, it is the C library's.

Every number is computed in the same way, wherever it stands in a row: in a vector, or alone at the
end. So a product and a sum that are rounded once ("contract") stand where only one such pair can be
meant.
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
    """-1, 0 or 1; NaN for NaN."""
    return where(x > 0, 1, where(x < 0, -1, x))


@loop_function()
def rsqrt(x):
    """1 / √x."""
    return 1 / sqrt(x)


@loop_function()
def softplus(x):
    """log (1 + e^x), without overflow."""
    return maximum(x, 0) + log1p(exp(-abs(x)))
