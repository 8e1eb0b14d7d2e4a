"""Figures of an array in one pass over memory.

The array is read block by block. Squares are taken of distances from the mean of the block before,
so that no digits are lost where the mean is large; a block whose mean is far from that is measured
a second time, in cache. Blocks are joined in float64 by the formulas of Chan, Golub and LeVeque
(1979), always in the same order.

- The smallest and the largest element are found among the bits of the floats, as integers with and
  without sign. LLVM vectorises that, which it does not do with the comparisons of floats that NaN
  may meet, and NaN and the infinities show as integers beyond those of all finite numbers.
- That a number is finite is asked by a comparison: what x - x is may be simplified away.
- A block with an element that is not finite, or whose squares are too large or too small for its
  dtype, is measured again in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import exported
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
"""Elements of a block: 8 or 16 kB, which the first cache holds."""
FAST = ("reassoc", "contract", "nsz")
"""Sums may be taken in the order that vectorises; NaN and infinity keep their meaning."""
_TYPES = {"f": ("float32", "int32", "uint32"), "d": ("float64", "int64", "uint64")}
"""By the letter of a dtype, which is found sooner than its name: floats, integers of that size with
and without sign."""
_LIMITS: dict[str, tuple[float, ...]] = {
    "f": (0x7FFFFFFF, 0x7F800000, 0xFF800000, 1e-30, 4),
    "d": (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000, 1e-290, 8),
}
"""All bits but the sign, the bits of ∞ and of -∞, and a sum of squares so small that some may have
been lost; bytes of an element."""


@loop_function(*FAST)
def sums(x, integers, naturals, guess: real):
    """Largest and smallest bits as signed integers, the largest as unsigned; zeros; Σ (x - guess)
    and Σ (x - guess)²."""
    most, least, farthest = integers[0], integers[0], naturals[0]
    zeros, first, second = signed(0), real(0), real(0)
    for position in range(len(x)):
        value = x[position]
        zeros += signed(value == 0)
        most, least = max(most, integers[position]), min(least, integers[position])
        farthest = max(farthest, naturals[position])
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
def mixed(x, integers, magnitude: signed, infinite: signed):
    """Count, mean, Σ (x - mean)², smallest and largest of the finite elements; zeros."""
    # the bits of finite floats, put into an order that integers have
    low, high = magnitude, ~magnitude
    count, zeros, total = signed(0), signed(0), float64(0)
    for position in range(len(x)):
        value, its_bits = x[position], integers[position]
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
        finite = (integers[position] & magnitude) < infinite
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
    """Writes the figures; False where a sum has overflowed."""
    together = squares + mean * mean * float64(count)
    out[0], out[1], out[2], out[3], out[4] = NAN, NAN, 0, NAN, NAN
    if count > 0:
        out[0], out[1], out[2] = mean, sqrt(squares / float64(count)), sqrt(together)
        out[3], out[4] = smallest, largest
    out[5], out[6] = float64(zeros) / float64(size), float64(size - count)
    return together < INFINITY


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
    x, integers, naturals = (
        array(address, real, size),
        array(address, signed, size),
        array(address, unsigned, size),
    )
    count, mean, squares, zeros = int64(0), float64(0), float64(0), int64(0)
    smallest, largest = float64(INFINITY), float64(-INFINITY)
    guess = x[0] if integers[0] < infinite and naturals[0] < lowest else real(0)
    for start in range(0, size, BLOCK):
        n, place = min(BLOCK, size - start), address + start * width
        block, its_bits = array(place, real, n), array(place, signed, n)
        most, least, farthest, few, first, second = sums(
            block, its_bits, array(place, unsigned, n), guess
        )
        finite = most < infinite and farthest < lowest and second < INFINITY
        if finite and first * first > 0.5 * second * real(n):
            guess += first / real(n)  # further from the mean than the elements are
            first, second = distances(block, guess)
            finite = second < INFINITY
        # bits of floats without sign are ordered as they are, those with sign the other way round
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
            apart = average - mean
            together = float64(count + n)
            squares += spread + apart * apart * (float64(count) * float64(n) / together)
            mean += apart * (float64(n) / together)
            count += n
    return write_figures(
        array(figures, float64, 7), count, mean, squares, smallest, largest, zeros, size
    )


def measure_floats(x: np.ndarray, out: np.ndarray) -> bool:
    """Writes mean, standard deviation, norm, smallest, largest, the share of zeros and the number
    of not finite elements into `out`, float64[7]; NaN for what no finite element has.

    `x` is contiguous, of float32 or float64, with one element at least. False where a sum has
    overflowed float64; then `out` holds nothing of use.
    """
    letter = x.dtype.char
    found = _compiled(letter)(x.ctypes.data, x.size, out.ctypes.data, *_LIMITS[letter])
    return bool(found)


@cache
def _compiled(letter: str) -> Callable[..., Any]:
    floats, integers, naturals = _TYPES[letter]
    return exported(measure, real=floats, signed=integers, unsigned=naturals)
