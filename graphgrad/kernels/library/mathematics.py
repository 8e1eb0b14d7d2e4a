"""What kernel expressions call beyond the words of the language.

Exponentials of float32 are a polynomial that LLVM vectorises: e^x = 2^n e^r with |r| ≤ ln 2 / 2 and
a polynomial for e^r, under 2 units in the last place.
"""

from __future__ import annotations

from graphgrad.kernels.language import (
    INFINITY,
    bits,
    exponential,
    float32,
    float64,
    floor,
    int32,
    log1p,
    loop_function,
    maximum,
    sqrt,
    where,
)  # fmt: skip


@loop_function("contract")
def exp_float32(x: float32):
    """e^x in float32."""
    held = where(x > -103.97208, x, -103.97208)
    held = where(held < 88.72283, held, 88.72283)
    n = floor(held * 1.4426950408889634 + 0.5)
    r = held - n * 0.693359375
    r = r - n * -2.12194440e-4
    p = float32(1.9875691500e-4)
    p = p * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    y = p * r * r + r + 1.0
    # 2^n in two factors, neither of which leaves the range of exponents
    half = int32(n) >> 1
    rest = int32(n) - half
    y = y * bits((half + 127) << 23, float32)
    y = y * bits((rest + 127) << 23, float32)
    y = where(x > 88.72283, INFINITY, y)
    y = where(x < -103.97208, 0.0, y)
    return where(x != x, x, y)


@loop_function()
def exp_float64(x: float64):
    """e^x in float64."""
    return exponential(x)


@loop_function()
def sign(x):
    """-1, 0 or 1; NaN for NaN."""
    zero = x - x
    return where(x > zero, zero + 1, where(x < zero, zero - 1, x))


@loop_function()
def rsqrt(x):
    """1 / √x."""
    return 1 / sqrt(x)


@loop_function()
def softplus(x):
    """log (1 + e^x), without overflow."""
    return maximum(x, 0.0) + log1p(exponential(-abs(x)))
