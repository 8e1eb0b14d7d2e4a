"""Computes the figures of an array in one pass over memory.

The array is read block by block. Squares are taken of distances from the mean of the block before,
so that no digits are lost if the mean is large; a block whose own mean is far from that is measured
again, in cache. Blocks are combined in float64 by the formulas of Chan, Golub and LeVeque (1979),
always in the same order.

- The minimum and the maximum are found among the bits of the floats, as signed and unsigned
  integers. LLVM vectorises that, but not comparisons of floats that may be NaN; and NaN and the
  infinities are integers beyond those of all finite numbers.
- Whether a number is finite is tested by a comparison: LLVM may simplify x - x to 0.
- A block with an element that is not finite, or whose squares are too large or too small for its
  dtype, is measured again in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.language import (
    INFINITY,
    NAN,
    array,
    bits,
    bool_,
    float64,
    int64,
    loop_function,
    real,
    signed,
    sqrt,
    unsigned,
)

BLOCK = 2048
"""Elements of a block: 8 or 16 kB, which fits into the L1 cache."""
FAST = ("reassoc", "contract", "nsz")
"""Fast-math flags: sums may be vectorised; NaN and infinity keep their meaning."""
_TYPES = {"f": ("float32", "int32", "uint32"), "d": ("float64", "int64", "uint64")}
"""The types of the elements, of their bits as signed and as unsigned integers; by the letter of the
dtype, which NumPy looks up faster than its name."""
_LIMITS: dict[str, tuple[float, ...]] = {
    "f": (0x7FFFFFFF, 0x7F800000, 0xFF800000, 1e-30, 4),
    "d": (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000, 1e-290, 8),
}
"""All bits but the sign, the bits of ∞ and of -∞, a sum of squares so small that some of them may
have been rounded to 0, and the bytes of an element; by the letter of the dtype."""


@loop_function(*FAST)
def sums(x, signed_bits, unsigned_bits, guess: real):
    """The maximum and minimum of the signed bits, the maximum of the unsigned bits, the number of
    zeros, Σ (x - guess) and Σ (x - guess)²."""
    most, least, farthest = signed_bits[0], signed_bits[0], unsigned_bits[0]
    zeros, first, second = signed(0), real(0), real(0)
    for position in range(len(x)):
        value = x[position]
        zeros += signed(value == 0)
        most, least = max(most, signed_bits[position]), min(least, signed_bits[position])
        farthest = max(farthest, unsigned_bits[position])
        distance = value - guess
        first += distance
        second += distance * distance
    return most, least, farthest, zeros, first, second


@loop_function(*FAST)
def distances(x, guess: real):
    """Σ (x - guess) and Σ (x - guess)²."""
    first, second = real(0), real(0)
    for position in range(len(x)):
        distance = x[position] - guess
        first += distance
        second += distance * distance
    return first, second


@loop_function(*FAST)
def mixed(x, signed_bits, magnitude: signed, infinite: signed):
    """Number, mean, Σ (x - mean)², minimum and maximum of the finite elements; number of zeros."""
    # keys: the bits of finite floats, as integers in the same order
    low, high = magnitude, ~magnitude
    count, zeros, total = signed(0), signed(0), float64(0)
    for position in range(len(x)):
        value, its_bits = x[position], signed_bits[position]
        finite = (its_bits & magnitude) < infinite
        count += signed(finite)
        zeros += signed(value == 0)
        key = its_bits if its_bits >= 0 else its_bits ^ magnitude
        low = min(low, key if finite else magnitude)
        high = max(high, key if finite else ~magnitude)
        total += float64(value if finite else 0)
    some = float64(max(count, 1))
    mean = total / some
    first, second = float64(0), float64(0)
    for position in range(len(x)):
        finite = (signed_bits[position] & magnitude) < infinite
        distance = float64(x[position]) - mean if finite else 0
        first += distance
        second += distance * distance
    rest = first / some
    smallest = float64(bits(low if low >= 0 else low ^ magnitude, real))
    largest = float64(bits(high if high >= 0 else high ^ magnitude, real))
    smallest = smallest if count > 0 else INFINITY
    largest = largest if count > 0 else -INFINITY
    return int64(count), mean + rest, second - rest * first, smallest, largest, int64(zeros)


@loop_function(*FAST)
def write_figures(
    out,
    count: int64,
    mean: float64,
    squares: float64,
    smallest: float64,
    largest: float64,
    zeros: int64,
    size: int64,
):
    """Writes the figures; returns False if squares are too large or too small for float64."""
    together = squares + mean * mean * float64(count)
    out[0], out[1], out[2], out[3], out[4] = NAN, NAN, 0, NAN, NAN
    if count > 0:
        out[0], out[1], out[2] = mean, sqrt(squares / float64(count)), sqrt(together)
        out[3], out[4] = smallest, largest
    out[5], out[6] = float64(zeros) / float64(size), float64(size - count)
    zero = (smallest == 0 and largest == 0) or count == 0
    return together < INFINITY and (together > 1e-290 or zero)


@loop_function(*FAST)
def measure(
    address: int64,
    size: int64,
    figures: int64,
    magnitude: signed,
    infinite: signed,
    lowest: unsigned,
    tiny: real,
    width: int64,
) -> bool_:
    x, signed_bits = array(address, real, size), array(address, signed, size)
    unsigned_bits = array(address, unsigned, size)
    count, mean, squares, zeros = int64(0), float64(0), float64(0), int64(0)
    smallest, largest = float64(INFINITY), float64(-INFINITY)
    guess = x[0] if signed_bits[0] < infinite and unsigned_bits[0] < lowest else real(0)
    for start in range(0, size, BLOCK):
        n, begin = min(BLOCK, size - start), address + start * width
        block, its_bits = array(begin, real, n), array(begin, signed, n)
        most, least, farthest, few, first, second = sums(
            block, its_bits, array(begin, unsigned, n), guess
        )
        finite = most < infinite and farthest < lowest and second < INFINITY
        if finite and first * first > 0.5 * second * real(n):
            guess += first / real(n)  # the guess is further from the mean than the elements are
            first, second = distances(block, guess)
            finite = second < INFINITY
        # bits of positive floats have the order of the floats, those of negative ones the reverse
        low = float64(bits(farthest, real) if least < 0 else bits(least, real))
        high = float64(bits(most if most >= 0 else least, real))
        rest = float64(first) / float64(n)
        average = float64(guess) + rest
        spread = max(float64(second) - rest * rest * float64(n), 0)
        if low == high:
            spread, average = 0, low
        if finite and (second > tiny or low == high):
            zeros += int64(few)
        else:
            n, average, spread, low, high, none = mixed(block, its_bits, magnitude, infinite)
            zeros += none
        smallest, largest = min(smallest, low), max(largest, high)
        if n > 0:
            guess = real(average)
            apart, together = average - mean, float64(count + n)
            squares += spread + apart * apart * (float64(count) * float64(n) / together)
            mean += apart * (float64(n) / together)
            count += n
    return write_figures(
        array(figures, float64, 7), count, mean, squares, smallest, largest, zeros, size
    )


def measure_floats(x: np.ndarray, out: np.ndarray) -> bool:
    """Writes mean, standard deviation, norm, minimum, maximum, the share of zeros and the number of
    elements that are not finite to `out`, float64[7]; NaN for figures of no finite elements.

    `x` is contiguous, of float32 or float64, with at least one element. Returns False if a square
    is too large or too small for float64; the contents of `out` are then undefined.
    """
    letter = x.dtype.char
    found = _compiled(letter)(x.ctypes.data, x.size, out.ctypes.data, *_LIMITS[letter])
    return bool(found)


@cache
def _compiled(letter: str) -> Callable[..., Any]:
    floats, integers, naturals = _TYPES[letter]
    return compile_function(measure, real=floats, signed=integers, unsigned=naturals)
