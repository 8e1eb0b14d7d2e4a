"""Mathematical functions of float32, written so that LLVM vectorises them; see mathematics.py.

The coefficients of the exponential, and ln 2 in two parts, are those of Moshier's Cephes library;
the others have the smallest maximum error, found by Lawson's iteration on values in multiple
precision. A number is rounded to an integer by adding `ROUNDER`, whose last bits then hold it.
"""

from __future__ import annotations

from graphgrad.loops.language import (
    INFINITY,
    NAN,
    abs,
    bits,
    exp,
    float32,
    int32,
    loop_function,
    where,
)

ROUNDER, ROUNDER_BITS = 12582912.0, 0x4B400000
"""3 · 2^22: a number that is added to it is rounded to an integer."""
SIGN = -0x80000000
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts; the product of an exponent and the first is exact."""


@loop_function()
def power_of_two(n: int32):
    """2^n for n from -126 to 127."""
    return bits((n + 127) << 23, float32)


@loop_function()
def with_sign_float32(y: float32, x: float32):
    """y with its sign bit set if that of x is: this gives a zero its sign."""
    return bits(bits(y, int32) | (bits(x, int32) & SIGN), float32)


@loop_function("contract")
def reduced_exponential(x: float32):
    """Returns n and e^r - 1 with e^x = 2^n e^r and |r| ≤ ln 2 / 2."""
    rounded = x * 1.4426950408889634 + ROUNDER
    n = rounded - ROUNDER
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = float32(1.9875691500e-4)
    p = p * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    return bits(rounded, int32) - ROUNDER_BITS, p * r * r + r


@loop_function("contract")
def exp_float32(x: float32):
    """e^x; 2 units. What is 0, such as of a masked score, is not computed as a subnormal."""
    vanishes = x < -104.0
    clamped = where(vanishes, 0.0, x)
    clamped = where(clamped > 89.5, 89.5, clamped)
    n, y = reduced_exponential(clamped)
    # 2^n as two factors within the range of exponents
    half = n >> 1
    return where(vanishes, 0.0, (y + 1.0) * power_of_two(half) * power_of_two(n - half))


@loop_function("contract")
def expm1_float32(x: float32):
    """e^x - 1; 2 units. It is 2^n (e^r - 1 + 1 - 2^-n)."""
    clamped = where(x < -20.0, -20.0, x)
    clamped = where(clamped > 89.5, 89.5, clamped)
    n, y = reduced_exponential(clamped)
    half = n >> 1
    y = y + (1.0 - where(n > 60, 0.0, power_of_two(-n)))
    return with_sign_float32(y * power_of_two(half) * power_of_two(n - half), x)


@loop_function("contract")
def tanh_float32(x: float32):
    """The hyperbolic tangent, (e^2x - 1) / (e^2x + 1); 3 units."""
    doubled = 2.0 * abs(x)
    clamped = where(doubled > 20.0, 20.0, doubled)
    n, y = reduced_exponential(clamped)
    scale = power_of_two(n)
    y = scale * y + (scale - 1.0)
    return with_sign_float32(y / (y + 2.0), x)


@loop_function("contract")
def reduced_logarithm(x: float32):
    """Returns n, f and log (1 + f) - f with x = 2^n (1 + f) and √½ ≤ 1 + f < √2; x is neither
    denormal nor negative."""
    b = bits(x, int32)
    n = (b - 0x3F3504F3) >> 23
    f = bits(b - (n << 23), float32) - 1.0
    p = float32(0.06746601313352585)
    p = p * f + -0.11675640940666199
    p = p * f + 0.11888174712657928
    p = p * f + -0.12405591458082199
    p = p * f + 0.14219550788402557
    p = p * f + -0.1666799634695053
    p = p * f + 0.2000211924314499
    p = p * f + -0.25000008940696716
    p = p * f + 0.3333331346511841
    return float32(n), f, f * f * (f * p - 0.5)


@loop_function()
def ends_of_log_float32(x: float32, y: float32):
    """y, the logarithm of x, corrected if x is infinite, NaN or not positive."""
    y = where(x < INFINITY, y, x)
    return where(x > 0, y, where(x == 0, -INFINITY, float32(NAN)))


@loop_function("contract")
def log_float32(x: float32):
    """The natural logarithm; 1 unit."""
    small = x < 1.17549435e-38
    n, f, rest = reduced_logarithm(where(small, x * 8388608.0, x))
    n = where(small, n - 23.0, n)
    y = f + (rest + n * LN2_LOW) + n * LN2_HIGH
    return ends_of_log_float32(x, y)


@loop_function("contract")
def log1p_float32(x: float32):
    """log (1 + x); 2 units. The rounding error of 1 + x is added in first order."""
    u = 1.0 + x
    lost = where(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    n, f, rest = reduced_logarithm(u)
    y = f + (rest + n * LN2_LOW) + n * LN2_HIGH + lost / u
    return where(x == 0, x, ends_of_log_float32(u, y))


@loop_function("contract")
def erf_float32(x: float32):
    """The error function: an odd polynomial up to 1, 1 - e^q(|x|) above; 2 units."""
    s = x * x
    p = float32(7.889119297033176e-05)
    p = p * s + -0.0008020841050893068
    p = p * s + 0.005189535208046436
    p = p * s + -0.026854444295167923
    p = p * s + 0.11283600330352783
    p = p * s + -0.3761262595653534
    p = p * s + 0.12837916612625122
    low = p * x + x
    a = where(abs(x) < 3.95, abs(x), 3.95)
    q = float32(0.00018638005713000894)
    q = q * a + -0.002947666449472308
    q = q * a + 0.021838095039129257
    q = q * a + -0.10310681909322739
    q = q * a + -0.6381447315216064
    q = q * a + -1.127089262008667
    q = q * a + -0.00034151296131312847
    high = 1.0 - exp(q)
    high = where(abs(x) < 3.95, high, 1.0)
    y = where(abs(x) < 1.0, low, where(x < 0, -high, high))
    return where(x != x, x, y)
