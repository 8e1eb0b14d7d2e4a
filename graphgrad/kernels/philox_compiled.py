"""Philox4x32-10 and dropout masks, compiled to vector code by Numba: the same bits, much faster.

`random_words` and `fill_dropout_mask` have the signatures, the meaning and the errors of those in
`graphgrad.kernels.philox`, which is the reference and holds the layout.

- This is the only file that imports Numba for random numbers, at its top: where Numba is missing,
  importing the module raises ImportError, and the caller goes on with the reference.
- The kernels hold no lock (``nogil``): threads may fill ranges of one array at the same time.
- The inner loop is written so that LLVM vectorises it: whole groups of four words, every value an
  unsigned 64-bit integer, products of two values that are known to be below 2**32 (one
  ``vpmuludq``), no branch but a select. The up to three elements before the first and after the
  last whole group are computed one by one.
- Compiled code is kept on disk, for each dtype; the first call on a machine compiles. Where no
  folder can be written, each process compiles for itself.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from graphgrad.kernels.keep import kept
from graphgrad.ops.philox import (
    KEY_INCREMENTS,
    MULTIPLIERS,
    check_count,
    check_start,
    counter_words,
    dropout_scale,
    dropout_threshold,
    flat_mask,
    key_words,
)

# Typed constants: a plain Python integer would turn the arithmetic into signed or float operations.
_MULTIPLIER0, _MULTIPLIER1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_INCREMENT0, _INCREMENT1 = np.uint64(KEY_INCREMENTS[0]), np.uint64(KEY_INCREMENTS[1])
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def random_words(
    count: int, seed: int, *, stream: int, step: int, start: int = 0
) -> NDArray[np.uint32]:
    """Words ``start`` to ``start + count - 1`` of a stream, ``uint32[count]``."""
    words = np.empty(check_count(count), dtype=np.uint32)
    _fill_words(words, check_start(start), *counter_words(stream, step), *key_words(seed))
    return words


def fill_dropout_mask(
    out: NDArray[Any], seed: int, step: int, stream: int, rate: float, start: int = 0
) -> None:
    """Write the mask of a dropout of ``rate`` into ``out``: the scale where kept, else 0.

    ``out`` is a C-contiguous array of float32 or float64 of any shape; its first element is
    number ``start`` of the stream. Raises `DeclarationError` for another array and
    `ConfigurationError` for a number out of range.
    """
    flat = flat_mask(out)
    threshold = dropout_threshold(rate)
    scale = flat.dtype.type(dropout_scale(rate))
    counter, key = counter_words(stream, step), key_words(seed)
    _fill_mask(flat, check_start(start), *counter, *key, threshold, scale)


@njit(inline="always")  # as a call, the ten rounds stay a loop in which LLVM vectorises nothing
def _group_words(group, stream, step_low, step_high, key_low, key_high):  # type: ignore[no-untyped-def]
    """The four words of one counter; ``group`` is the number of the first, divided by four."""
    c0, c1 = np.uint64(group) & _LOW, np.uint64(stream)
    c2, c3 = np.uint64(step_low), np.uint64(step_high)
    k0, k1 = np.uint64(key_low), np.uint64(key_high)
    for _ in range(10):
        product0, product1 = _MULTIPLIER0 * c0, _MULTIPLIER1 * c2
        c0, c1 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _INCREMENT0) & _LOW, (k1 + _INCREMENT1) & _LOW
    return c0, c1, c2, c3


@kept()
def _word(element, stream, step_low, step_high, key_low, key_high):  # type: ignore[no-untyped-def]
    """Word ``element`` of the stream, alone."""
    words = _group_words(element // 4, stream, step_low, step_high, key_low, key_high)
    return words[element % 4]


@kept()
def _edges(size, start):  # type: ignore[no-untyped-def]
    """Positions in the range where the first whole group begins and where the last one ends."""
    begin = min(size, (4 - start % 4) % 4)
    return begin, begin + (size - begin) // 4 * 4


@kept()
def _fill_words(  # type: ignore[no-untyped-def]
    out, start, stream, step_low, step_high, key_low, key_high
):
    begin, end = _edges(out.size, start)
    for side in ((0, begin), (end, out.size)):
        for position in range(side[0], side[1]):
            element = start + position
            out[position] = _word(element, stream, step_low, step_high, key_low, key_high)
    group, whole = (start + begin) // 4, out[begin:end]
    for number in range(whole.size // 4):
        a, b, c, d = _group_words(group + number, stream, step_low, step_high, key_low, key_high)
        whole[4 * number] = a
        whole[4 * number + 1] = b
        whole[4 * number + 2] = c
        whole[4 * number + 3] = d


@kept()
def _fill_mask(  # type: ignore[no-untyped-def]
    out, start, stream, step_low, step_high, key_low, key_high, threshold, scale
):
    zero = out.dtype.type(0)
    limit = np.uint64(threshold)
    begin, end = _edges(out.size, start)
    for side in ((0, begin), (end, out.size)):
        for position in range(side[0], side[1]):
            word = _word(start + position, stream, step_low, step_high, key_low, key_high)
            out[position] = scale if word >= limit else zero
    group, whole = (start + begin) // 4, out[begin:end]
    for number in range(whole.size // 4):
        a, b, c, d = _group_words(group + number, stream, step_low, step_high, key_low, key_high)
        whole[4 * number] = scale if a >= limit else zero
        whole[4 * number + 1] = scale if b >= limit else zero
        whole[4 * number + 2] = scale if c >= limit else zero
        whole[4 * number + 3] = scale if d >= limit else zero


@kept()
def fill_row(out, start, seed, step, stream, threshold, scale):  # type: ignore[no-untyped-def]
    """The mask of elements ``start``, ``start + 1``, …; for kernels that make masks as they go."""
    low = np.uint64(0xFFFFFFFF)
    a, b = np.uint64(step), np.uint64(seed)
    _fill_mask(out, start, stream, a & low, a >> _HALF, b & low, b >> _HALF, threshold, scale)
