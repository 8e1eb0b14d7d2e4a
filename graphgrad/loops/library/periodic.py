"""Sine and cosine, written so that LLVM vectorises them; see mathematics.py.

The nearest multiple of π/2 is subtracted in three parts. Each product is added to the remainder
with one rounding, so no digits are lost near the zeros, provided that the multiple has few digits:
for arguments up to `NEAR_…`. For larger ones the C library's function is called, which is accurate
for every number and takes ten times as long. So a kernel first looks for a far argument in a row,
and calls the `near_` functions for a row without one (backends/numpy/periodic.py). A number has the
same sine in both.

The coefficients have the smallest maximum error, found by the exchange of Remez on values in
multiple precision.
"""

from __future__ import annotations

from graphgrad.loops.language import (
    abs,
    bits,
    c_cos,
    c_sin,
    float32,
    float64,
    fma,
    int32,
    int64,
    loop_function,
    where,
)

NEAR_FLOAT32, NEAR_FLOAT64 = 1e5, 1e9
"""The largest arguments that the polynomials are accurate for."""


@loop_function("contract")
def quadrant_float32(x: float32):
    """Returns k and r with x = k π/2 + r, |r| ≤ π/4; only the last bits of k are valid."""
    rounded = fma(x, 0.6366197466850281, 12582912.0)
    n = rounded - 12582912.0
    r = fma(n, -1.5707963705062866, x)
    r = fma(n, 4.371138828673793e-08, r)
    r = fma(n, 1.7151245100058819e-15, r)
    return bits(rounded, int32), r


@loop_function("contract")
def sine_float32(k: int32, r: float32):
    """sin (k π/2 + r)."""
    z = r * r
    sine = float32(-0.00019506846729200333)
    sine = sine * z + 0.008332101628184319
    sine = sine * z + -0.16666653752326965
    sine = sine * z * r + r
    cosine = float32(2.4457762265228666e-05)
    cosine = cosine * z + -0.001388759003020823
    cosine = cosine * z + 0.041666653007268906
    cosine = cosine * z + -0.5
    cosine = cosine * z + 1.0
    y = where(k & 1 == 0, sine, cosine)
    return bits(bits(y, int32) ^ ((k & 2) << 30), float32)


@loop_function()
def near_sin_float32(x: float32):
    """sin x for |x| ≤ NEAR_FLOAT32; 2 units."""
    k, r = quadrant_float32(x)
    return where(x == 0, x, sine_float32(k, r))


@loop_function()
def near_cos_float32(x: float32):
    """cos x for |x| ≤ NEAR_FLOAT32; 2 units."""
    k, r = quadrant_float32(x)
    return sine_float32(k + 1, r)


@loop_function("contract")
def quadrant_float64(x: float64):
    """Returns k and r with x = k π/2 + r, |r| ≤ π/4; only the last bits of k are valid."""
    rounded = fma(x, 0.6366197723675814, 6755399441055744.0)
    n = rounded - 6755399441055744.0
    r = fma(n, -1.5707963267948966, x)
    r = fma(n, -6.123233995736766e-17, r)
    r = fma(n, 1.4973849048591698e-33, r)
    return bits(rounded, int64), r


@loop_function("contract")
def sine_float64(k: int64, r: float64):
    """sin (k π/2 + r)."""
    z = r * r
    sine = float64(1.5899602421361032e-10)
    sine = sine * z + -2.505081496993325e-08
    sine = sine * z + 2.755731412709354e-06
    sine = sine * z + -0.00019841269831357696
    sine = sine * z + 0.008333333333324925
    sine = sine * z + -0.16666666666666646
    sine = sine * z * r + r
    cosine = float64(-1.1364505487942112e-11)
    cosine = cosine * z + 2.087583686188218e-09
    cosine = cosine * z + -2.7557315361568784e-07
    cosine = cosine * z + 2.480158729370476e-05
    cosine = cosine * z + -0.001388888888888233
    cosine = cosine * z + 0.04166666666666666
    cosine = cosine * z + -0.5
    cosine = cosine * z + 1.0
    y = where(k & 1 == 0, sine, cosine)
    return bits(bits(y, int64) ^ ((k & 2) << 62), float64)


@loop_function()
def near_sin_float64(x: float64):
    """sin x for |x| ≤ NEAR_FLOAT64; 2 units."""
    k, r = quadrant_float64(x)
    return where(x == 0, x, sine_float64(k, r))


@loop_function()
def near_cos_float64(x: float64):
    """cos x for |x| ≤ NEAR_FLOAT64; 2 units."""
    k, r = quadrant_float64(x)
    return sine_float64(k + 1, r)


@loop_function()
def sin_float32(x: float32):
    """sin x."""
    return where(abs(x) <= NEAR_FLOAT32, near_sin_float32(x), c_sin(x))


@loop_function()
def cos_float32(x: float32):
    """cos x."""
    return where(abs(x) <= NEAR_FLOAT32, near_cos_float32(x), c_cos(x))


@loop_function()
def sin_float64(x: float64):
    """sin x."""
    return where(abs(x) <= NEAR_FLOAT64, near_sin_float64(x), c_sin(x))


@loop_function()
def cos_float64(x: float64):
    """cos x."""
    return where(abs(x) <= NEAR_FLOAT64, near_cos_float64(x), c_cos(x))
