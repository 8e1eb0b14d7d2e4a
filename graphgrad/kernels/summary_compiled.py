"""Figures of an array in one pass over memory, compiled to vector code by Numba.

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
- Compiled code is kept on disk, for each dtype; the first call on a machine compiles.
"""

from __future__ import annotations

import numpy as np

from graphgrad.kernels.keep import kept

BLOCK = 2048
"""Elements of a block: 8 or 16 kB, which the first cache holds."""

_KINDS = {
    np.dtype(np.float32): (np.dtype(np.int32), np.dtype(np.uint32), np.int32(0x7FFFFFFF),
                           np.int32(0x7F800000), np.uint32(0xFF800000), np.float32(1e-30)),
    np.dtype(np.float64): (np.dtype(np.int64), np.dtype(np.uint64), np.int64(0x7FFFFFFFFFFFFFFF),
                           np.int64(0x7FF0000000000000), np.uint64(0xFFF0000000000000),
                           np.float64(1e-290)),
}  # fmt: skip
"""By dtype: integers of that size with and without sign, all bits but the sign, the bits of ∞ and
of -∞, and a sum of squares so small that some may have been lost."""


def measure_floats(x: np.ndarray, out: np.ndarray) -> bool:
    """Writes mean, standard deviation, norm, smallest, largest, the share of zeros and the number
    of not finite elements into `out`, float64[7]; NaN for what no finite element has.

    `x` is contiguous, of float32 or float64, with one element at least. False where a sum has
    overflowed float64; then `out` holds nothing of use.
    """
    signed, unsigned, *limits = _KINDS[x.dtype]
    flat = x.reshape(-1)
    return bool(_measure(flat, flat.view(signed), flat.view(unsigned), *limits, out))


# sums may be taken in the order that vectorises; NaN and infinity keep their meaning
_compile = kept(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_compile
def _sums(x, signed, unsigned, guess):  # type: ignore[no-untyped-def]
    """Largest and smallest bits as signed integers, the largest as unsigned; zeros; Σ (x - guess)
    and Σ (x - guess)²."""
    zero, one = x.dtype.type(0), signed.dtype.type(1)
    most, least, farthest = signed[0], signed[0], unsigned[0]
    zeros = one - one
    first, second = zero, zero
    for position in range(x.size):
        value = x[position]
        zeros += signed.dtype.type(value == zero)
        most, least = max(most, signed[position]), min(least, signed[position])
        farthest = max(farthest, unsigned[position])
        distance = value - guess
        first += distance
        second += distance * distance
    return most, least, farthest, zeros, first, second


@_compile
def _distances(x, guess):  # type: ignore[no-untyped-def]
    """Σ (x - guess) and Σ (x - guess)²."""
    first, second = x.dtype.type(0), x.dtype.type(0)
    for position in range(x.size):
        distance = x[position] - guess
        first += distance
        second += distance * distance
    return first, second


@_compile
def _mixed(x, signed, magnitude, infinite):  # type: ignore[no-untyped-def]
    """Count, mean, Σ (x - mean)², smallest and largest of the finite elements; zeros."""
    zero, one = signed.dtype.type(0), signed.dtype.type(1)
    # the bits of finite floats, put into an order that integers have
    low, high = magnitude, signed.dtype.type(~magnitude)
    count, zeros, total = zero, zero, 0.0
    for position in range(x.size):
        value, bits = x[position], signed[position]
        finite = (bits & magnitude) < infinite
        count += one if finite else zero
        zeros += signed.dtype.type(value == 0)
        key = bits if bits >= zero else bits ^ magnitude
        low, high = min(low, key if finite else magnitude), max(high, key if finite else ~magnitude)
        total += np.float64(value if finite else x.dtype.type(0))
    mean = total / max(count, one)
    first, second = 0.0, 0.0
    for position in range(x.size):
        finite = (signed[position] & magnitude) < infinite
        distance = np.float64(x[position]) - mean if finite else 0.0
        first += distance
        second += distance * distance
    rest = first / max(count, one)
    ends = np.empty(2, signed.dtype)
    ends[0] = low if low >= zero else low ^ magnitude
    ends[1] = high if high >= zero else high ^ magnitude
    floats = ends.view(x.dtype)
    smallest, largest = np.inf, -np.inf
    if count > zero:
        smallest, largest = np.float64(floats[0]), np.float64(floats[1])
    return count, mean + rest, second - rest * first, smallest, largest, zeros


@_compile
def _write(  # type: ignore[no-untyped-def]
    out, count, mean, squares, smallest, largest, zeros, size
):
    """Writes the figures; False where a sum has overflowed."""
    if not squares + mean * mean * count < np.inf:
        return False
    out[0], out[1], out[2], out[3], out[4] = np.nan, np.nan, 0.0, np.nan, np.nan
    if count:
        out[0], out[1] = mean, np.sqrt(squares / count)
        out[2] = np.sqrt(squares + mean * mean * count)
        out[3], out[4] = smallest, largest
    out[5], out[6] = zeros / size, size - count
    return True


@_compile
def _measure(  # type: ignore[no-untyped-def]
    x, signed, unsigned, magnitude, infinite, lowest, tiny, out
):
    count, mean, squares, zeros = 0, 0.0, 0.0, 0
    smallest, largest = np.inf, -np.inf
    guess = x[0] if signed[0] < infinite and unsigned[0] < lowest else x.dtype.type(0)
    ends = np.empty(3, signed.dtype)
    floats = ends.view(x.dtype)
    for start in range(0, x.size, BLOCK):
        end = min(x.size, start + BLOCK)
        block, bits, n = x[start:end], signed[start:end], end - start
        most, least, farthest, few, first, second = _sums(block, bits, unsigned[start:end], guess)
        finite = most < infinite and farthest < lowest and second < np.inf
        if finite and first * first > x.dtype.type(0.5) * second * x.dtype.type(n):
            guess += first / x.dtype.type(n)  # further from the mean than the elements are
            first, second = _distances(block, guess)
            finite = second < np.inf
        # bits of floats without sign are ordered as they are, those with sign the other way round
        ends[0], ends[1], ends[2] = most, least, signed.dtype.type(farthest)
        low = np.float64(floats[2] if least < 0 else floats[1])
        high = np.float64(floats[0] if most >= 0 else floats[1])
        if finite and (second > tiny or low == high):
            rest = np.float64(first) / n
            average = np.float64(guess) + rest
            spread = max(np.float64(second) - rest * rest * n, 0.0)
            if low == high:
                spread, average = 0.0, low
            zeros += few
        else:
            n, average, spread, low, high, none = _mixed(block, bits, magnitude, infinite)
            zeros += none
        smallest, largest = min(smallest, low), max(largest, high)
        if n:
            guess = x.dtype.type(average)
            apart = average - mean
            together = count + n
            squares += spread + apart * apart * (np.float64(count) * n / together)
            mean += apart * (n / together)
            count = together
    return _write(out, count, mean, squares, smallest, largest, zeros, x.size)
