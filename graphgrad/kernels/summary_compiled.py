"""Figures of an array in one pass over memory, compiled to vector code by Numba.

The array is read block by block. Squares are taken of distances from the mean of the block before,
so that no digits are lost where the mean is large; a block whose mean is far from that is measured
a second time, in cache. Blocks are joined in float64 by the formulas of Chan, Golub and LeVeque
(1979), always in the same order.

- The smallest and the largest element are found among integers that are ordered as the floats are.
  LLVM vectorises that, which it does not do with the comparisons of floats that NaN may meet, and
  NaN and the infinities show as integers beyond those of all finite numbers.
- That a number is finite is asked by a comparison: what x - x is may be simplified away.
- A block with an element that is not finite, or whose squares are too large or too small for its
  dtype, is measured again in float64.
- Compiled code is kept on disk, for each dtype; the first call on a machine compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

BLOCK = 2048
"""Elements of a block: 8 or 16 kB, which the first cache holds."""

_KINDS = {
    np.dtype(np.float32): (np.dtype(np.int32), np.int32(31), np.int32(0x7FFFFFFF),
                           np.int32(0x7F800000), np.float32(1e-30)),
    np.dtype(np.float64): (np.dtype(np.int64), np.int64(63), np.int64(0x7FFFFFFFFFFFFFFF),
                           np.int64(0x7FF0000000000000), np.float64(1e-290)),
}  # fmt: skip
"""By dtype: integers of that size, how far the sign is from the right, all bits but the sign, the
bits of ∞, and a sum of squares so small that some may have been lost."""


def measure_floats(x: np.ndarray, out: np.ndarray) -> bool:
    """Writes mean, standard deviation, norm, smallest, largest, the share of zeros and the number
    of not finite elements into `out`, float64[7]; NaN for what no finite element has.

    `x` is contiguous, of float32 or float64, with one element at least. False where a sum has
    overflowed float64; then `out` holds nothing of use.
    """
    integer, shift, mask, infinite, tiny = _KINDS[x.dtype]
    flat = x.reshape(-1)
    return bool(_measure(flat, flat.view(integer), shift, mask, infinite, tiny, out))


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    # sums may be taken in the order that vectorises; NaN and infinity keep their meaning
    options: dict[str, Any] = {
        "nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"},
    }  # fmt: skip
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba finds no folder to keep the code in
        return njit(**options)(function)


@_compile
def _ordered(x, keys, shift, mask, guess):  # type: ignore[no-untyped-def]
    """Smallest and largest key, zeros, Σ (x - guess) and Σ (x - guess)²."""
    zero = x.dtype.type(0)
    low, high = mask, keys.dtype.type(~mask)
    zeros = keys.dtype.type(0)
    first, second = zero, zero
    for position in range(x.size):
        value, key = x[position], keys[position]
        zeros += keys.dtype.type(value == zero)
        key = key ^ keys.dtype.type((key >> shift) & mask)
        low, high = min(low, key), max(high, key)
        distance = value - guess
        first += distance
        second += distance * distance
    return low, high, zeros, first, second


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
def _mixed(x, keys, shift, mask, infinite):  # type: ignore[no-untyped-def]
    """Count, mean, Σ (x - mean)², smallest and largest key of the finite elements; zeros."""
    zero, one = keys.dtype.type(0), keys.dtype.type(1)
    low, high = mask, keys.dtype.type(~mask)
    count, zeros, total = zero, zero, 0.0
    for position in range(x.size):
        value, bits = x[position], keys[position]
        finite = (bits & mask) < infinite
        count += one if finite else zero
        zeros += keys.dtype.type(value == 0)
        key = bits ^ keys.dtype.type((bits >> shift) & mask)
        low, high = min(low, key if finite else mask), max(high, key if finite else ~mask)
        total += np.float64(value if finite else x.dtype.type(0))
    mean = total / max(count, one)
    first, second = 0.0, 0.0
    for position in range(x.size):
        finite = (keys[position] & mask) < infinite
        distance = np.float64(x[position]) - mean if finite else 0.0
        first += distance
        second += distance * distance
    rest = first / max(count, one)
    return count, mean + rest, second - rest * first, low, high, zeros


@_compile
def _measure(x, keys, shift, mask, infinite, tiny, out):  # type: ignore[no-untyped-def]
    count, mean, squares, zeros = 0, 0.0, 0.0, 0
    lowest, highest = mask, keys.dtype.type(~mask)
    guess = x[0] if (keys[0] & mask) < infinite else x.dtype.type(0)
    for start in range(0, x.size, BLOCK):
        end = min(x.size, start + BLOCK)
        block, bits, n = x[start:end], keys[start:end], end - start
        low, high, few, first, second = _ordered(block, bits, shift, mask, guess)
        finite = high < infinite and low > ~infinite and second < np.inf
        if finite and first * first > x.dtype.type(0.5) * second * x.dtype.type(n):
            guess += first / x.dtype.type(n)  # further from the mean than the elements are
            first, second = _distances(block, guess)
            finite = second < np.inf
        if finite and (second > tiny or low == high):
            rest = np.float64(first) / n
            average = np.float64(guess) + rest
            spread = max(np.float64(second) - rest * rest * n, 0.0)
            if low == high:
                spread, average = 0.0, np.float64(x[start])
            zeros += few
        else:
            n, average, spread, low, high, none = _mixed(block, bits, shift, mask, infinite)
            zeros += none
        lowest, highest = min(lowest, low), max(highest, high)
        if n:
            guess = x.dtype.type(average)
            apart = average - mean
            together = count + n
            squares += spread + apart * apart * (np.float64(count) * n / together)
            mean += apart * (n / together)
            count = together
    if not squares + mean * mean * count < np.inf:
        return False
    out[0], out[1], out[2], out[3], out[4] = np.nan, np.nan, 0.0, np.nan, np.nan
    if count:
        # the key of a negative float is its own but for the sign with all bits turned
        ends = np.empty(2, keys.dtype)
        ends[0] = lowest ^ ((lowest >> shift) & mask)
        ends[1] = highest ^ ((highest >> shift) & mask)
        floats = ends.view(x.dtype)
        out[0], out[1] = mean, np.sqrt(squares / count)
        out[2] = np.sqrt(squares + mean * mean * count)
        out[3], out[4] = floats[0], floats[1]
    out[5], out[6] = zeros / x.size, x.size - count
    return True
