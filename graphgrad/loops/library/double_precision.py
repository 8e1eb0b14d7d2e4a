"""Mathematical functions of float64, written so that LLVM vectorises them; see mathematics.py.

The coefficients have the smallest maximum error, found by the exchange of Remez and the iteration
of Lawson on values in multiple precision. The logarithm has the form of Sun's fdlibm, which loses
no digit of f. A number is rounded to an integer by adding `ROUNDER`, whose last bits then hold the
integer: processors without AVX-512 have no vector instruction for it.
"""

from __future__ import annotations

from graphgrad.loops.language import (
    INFINITY,
    NAN,
    abs,
    bits,
    float64,
    int64,
    loop_function,
    uint64,
    where,
)

ROUNDER = 6755399441055744.0
"""3 · 2^51: a number that is added to it is rounded to an integer."""
WHOLE = 4503599627370496.0
"""2^52, whose last bits are 0: an integer written to them is added to it."""
WHOLE_BITS = 0x4330000000000000
SIGN = -0x8000000000000000
LEAST = 2.2250738585072014e-308
"""The smallest normal number."""
LN2_HIGH, LN2_LOW = 0.6931471805598903, 5.497923018708371e-14
"""ln 2 in two parts; the product of an exponent and the first is exact."""


@loop_function()
def power_of_two_float64(k: int64):
    """2^n for n from -1022 to 1023; the last bits of k hold n."""
    return bits((k + 1023) << 52, float64)


@loop_function("contract")
def reduced_exponential_float64(x: float64):
    """Returns n + ROUNDER, r and q with e^x = 2^n e^r, |r| ≤ ln 2 / 2 and e^r = 1 + r + r² q."""
    rounded = x * 1.4426950408889634 + ROUNDER
    n = rounded - ROUNDER
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    q = float64(2.5114134404711223e-08)
    q = q * r + 2.762632553082466e-07
    q = q * r + 2.7557229018769117e-06
    q = q * r + 2.4801504448329972e-05
    q = q * r + 0.0001984126990184738
    q = q * r + 0.0013888888932377217
    q = q * r + 0.008333333333315132
    q = q * r + 0.04166666666657363
    q = q * r + 0.16666666666666685
    q = q * r + 0.5000000000000006
    return rounded, r, q


@loop_function("contract")
def exp_float64(x: float64):
    """e^x; 1 unit. What is 0 is not computed as a subnormal."""
    vanishes = x < -745.5
    clamped = where(vanishes, 0.0, x)
    clamped = where(clamped > 710.0, 710.0, clamped)
    rounded, r, q = reduced_exponential_float64(clamped)
    # 2^n as two factors within the range of exponents
    half = bits((rounded - ROUNDER) * 0.5 + ROUNDER, int64)
    y = (q * r + 1.0) * r + 1.0
    y = y * power_of_two_float64(half) * power_of_two_float64(bits(rounded, int64) - half)
    return where(vanishes, 0.0, y)


@loop_function("contract")
def expm1_float64(x: float64):
    """e^x - 1; 2 units. It is 2^n (e^r - 1 + 1 - 2^-n)."""
    clamped = where(x < -50.0, -50.0, x)
    clamped = where(clamped > 710.0, 710.0, clamped)
    rounded, r, q = reduced_exponential_float64(clamped)
    n = rounded - ROUNDER
    half = bits(n * 0.5 + ROUNDER, int64)
    inverse = power_of_two_float64(-bits(rounded, int64))
    y = q * r * r + r + (1.0 - where(n > 100.0, 0.0, inverse))
    y = y * power_of_two_float64(half) * power_of_two_float64(bits(rounded, int64) - half)
    return with_sign_float64(y, x)


@loop_function()
def with_sign_float64(y: float64, x: float64):
    """y with its sign bit set if that of x is: this gives a zero its sign."""
    return bits(bits(y, int64) | (bits(x, int64) & SIGN), float64)


@loop_function("contract")
def tanh_float64(x: float64):
    """The hyperbolic tangent, (e^2x - 1) / (e^2x + 1); 3 units."""
    doubled = 2.0 * abs(x)
    clamped = where(doubled > 40.0, 40.0, doubled)
    rounded, r, q = reduced_exponential_float64(clamped)
    scale = power_of_two_float64(bits(rounded, int64))
    y = scale * (q * r * r + r) + (scale - 1.0)
    return with_sign_float64(y / (y + 2.0), x)


@loop_function("contract")
def reduced_logarithm_float64(x: float64):
    """Returns n, f and s (f²/2 + R) - f²/2 with x = 2^n (1 + f), √½ ≤ 1 + f < √2 and s = f / (2 +
    f): log (1 + f) is f plus the last. x is neither denormal nor negative."""
    b = bits(x, uint64) + 0x95F6198000000  # increments the exponent from √2 on
    n = bits((b >> 52) | WHOLE_BITS, float64) - (WHOLE + 1023.0)
    f = bits((b & 0xFFFFFFFFFFFFF) + 0x3FE6A09E68000000, float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = 0.14795748008283244 * w + 0.18183563202918457
    odd = 0.15314074544665884 * w + 0.22222198599415843
    even = even * w + 0.28571428742069904
    odd = odd * w + 0.3999999999941653
    even = even * w + 0.6666666666666734
    p = odd * z + even
    square = 0.5 * f * f
    return n, f, s * (p * z + square) - square


@loop_function()
def ends_of_log_float64(x: float64, y: float64):
    """y, the logarithm of x, corrected if x is infinite, NaN or not positive."""
    y = where(x < INFINITY, y, x)
    return where(x > 0, y, where(x == 0, -INFINITY, float64(NAN)))


@loop_function("contract")
def log_float64(x: float64):
    """The natural logarithm; 1 unit."""
    small = x < LEAST
    n, f, rest = reduced_logarithm_float64(where(small, x * 18014398509481984.0, x))
    n = where(small, n - 54.0, n)
    y = n * LN2_HIGH + (f + (rest + n * LN2_LOW))
    return ends_of_log_float64(x, y)


@loop_function("contract")
def log1p_float64(x: float64):
    """log (1 + x); 2 units. The rounding error of 1 + x is added in first order."""
    u = 1.0 + x
    lost = where(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    n, f, rest = reduced_logarithm_float64(u)
    y = n * LN2_HIGH + (f + (rest + (n * LN2_LOW + lost / u)))
    return where(x == 0, x, ends_of_log_float64(u, y))


@loop_function("contract")
def erf_float64(x: float64):
    """The error function: an odd polynomial up to 1, 1 - e^q(|x|) above; 2 units."""
    z = x * x
    p = float64(-7.607823224458263e-10)
    p = p * z + 1.361670493788042e-08
    p = p * z + -1.6183992370766435e-07
    p = p * z + 1.6444150703158773e-06
    p = p * z + -1.4924465647965844e-05
    p = p * z + 0.00012055280496857696
    p = p * z + -0.0008548325485003903
    p = p * z + 0.005223977596735921
    p = p * z + -0.02686617064195914
    p = p * z + 0.1128379167093695
    p = p * z + -0.37612638903183343
    p = p * z + 0.12837916709551256
    a = where(abs(x) > 5.95, 5.95, abs(x))
    q = float64(1.73716286634462e-11)
    q = q * a + -6.399544153795039e-10
    q = q * a + 1.0708094985140416e-08
    q = q * a + -1.062513640489993e-07
    q = q * a + 6.741273849038087e-07
    q = q * a + -2.6044637786019278e-06
    q = q * a + 3.3518612586112777e-06
    q = q * a + 2.8749183558817586e-05
    q = q * a + -0.0002323360441393344
    q = q * a + 0.0009228965612230273
    q = q * a + -0.0021027854998883974
    q = q * a + 0.0005882474793417295
    q = q * a + 0.018862097941433006
    q = q * a + -0.10263577037556249
    q = q * a + -0.6366683167129401
    q = q * a + -1.1283685344366106
    q = q * a + -1.0833886772225238e-06
    rounded, r, e = reduced_exponential_float64(q)
    high = 1.0 - ((e * r + 1.0) * r + 1.0) * power_of_two_float64(bits(rounded, int64))
    return where(abs(x) < 1.0, p * x + x, with_sign_float64(high, x))
