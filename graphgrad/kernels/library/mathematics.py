"""Functions of single numbers, made so that LLVM vectorises them.

The functions of float32 are polynomials, with choices instead of branches. The coefficients of the
exponential, and ln 2 in two parts, are those of Moshier's Cephes library; the others have the least
largest error, found by Lawson's iteration on values in multiple precision. The error of each is
given in units in the last place; the tests measure it at floats of the whole range. A text calls
them without the type: `exp(x)` is `exp_float32` where x is float32, else the C library's.
"""

from __future__ import annotations

from graphgrad.kernels.language import (
    INFINITY,
    NAN,
    abs,
    bits,
    exp,
    float32,
    floor,
    int32,
    log,
    log1p,
    loop_function,
    maximum,
    sqrt,
    where,
)


@loop_function("contract")
def power_of_two(n: int32):
    """2^n for n from -126 to 127."""
    return bits((n + 127) << 23, float32)


@loop_function("contract")
def reduced_exponential(x: float32):
    """n and e^r - 1 with e^x = 2^n e^r and |r| ≤ ln 2 / 2."""
    n = floor(x * 1.4426950408889634 + 0.5)
    r = x - n * 0.693359375
    r = r - n * -2.12194440e-4
    p = float32(1.9875691500e-4)
    p = p * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    return int32(n), p * r * r + r


@loop_function("contract")
def exp_float32(x: float32):
    """e^x; 2 units."""
    held = where(x > -103.97208, x, -103.97208)
    held = where(held < 88.72283, held, 88.72283)
    n, y = reduced_exponential(held)
    # 2^n in two factors, neither of which leaves the range of exponents
    half = n >> 1
    y = (y + 1.0) * power_of_two(half) * power_of_two(n - half)
    y = where(x > 88.72283, INFINITY, y)
    y = where(x < -103.97208, 0.0, y)
    return where(x != x, x, y)


@loop_function("contract")
def expm1_float32(x: float32):
    """e^x - 1; 2 units."""
    held = where(x > -20.0, x, -20.0)
    held = where(held < 88.72283, held, 88.72283)
    n, y = reduced_exponential(held)
    half = n >> 1
    first, second = power_of_two(half), power_of_two(n - half)
    large = (y + 1.0) * first * second  # from 2^30 on, 1 is below half a unit
    y = first * second * y + (first * second - 1.0)
    y = where(held > 21.0, large, y)
    y = where(x > 88.72283, INFINITY, y)
    return where(x != x, x, where(x == 0, x, y))


@loop_function("contract")
def tanh_float32(x: float32):
    """The hyperbolic tangent, (e^2x - 1) / (e^2x + 1); 3 units."""
    doubled = 2.0 * abs(x)
    held = where(doubled < 20.0, doubled, 20.0)
    n, y = reduced_exponential(held)
    scale = power_of_two(n)
    y = scale * y + (scale - 1.0)
    y = y / (y + 2.0)
    y = where(x < 0, -y, y)
    return where(x != x, x, where(x == 0, x, y))


@loop_function("contract")
def log_float32(x: float32):
    """The natural logarithm, of 2^n (1 + f) with √½ ≤ 1 + f < √2; 1 unit."""
    small = x < 1.17549435e-38
    b = bits(where(small, x * 8388608.0, x), int32)
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
    times = float32(where(small, n - 23, n))
    y = f * f * (f * p - 0.5) + times * -2.12194440e-4
    y = f + y + times * 0.693359375
    y = where(x == INFINITY, INFINITY, y)
    y = where(x == 0, -INFINITY, y)
    return where(x < 0, NAN, where(x != x, x, y))


@loop_function()
def log1p_float32(x: float32):
    """log (1 + x); 2 units. What 1 + x loses is added in first order."""
    u = 1.0 + x
    lost = where(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    y = log(u) + lost / u
    y = where(u == INFINITY, u, y)
    y = where(x == -1.0, -INFINITY, y)
    return where(x == 0, x, y)


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
