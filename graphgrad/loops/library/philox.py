"""Philox4x32-10 and dropout masks in the loop language: the bits of `graphgrad.philox`, much
faster.

`random_words` and `fill_dropout_mask` have the signatures, the meaning and the errors of those in
`graphgrad.philox`, which is the reference and describes the layout.

- Without llvmlite, importing this module raises ImportError, and the caller uses the reference.
- No lock is held: threads may fill ranges of one array at the same time.
- LLVM vectorises the inner loop: whole groups of four words, every value an unsigned 64-bit
  integer, products of two values that are known to be below 2**32 (one `vpmuludq`), `select` as the
  only branch. The up to three elements before the first and after the last whole group are computed
  one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.language import (
    array,
    float32,
    float64,
    independent,
    int64,
    loop_function,
    uint32,
    uint64,
    where,
)
from graphgrad.philox import (
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

LOW = 0xFFFFFFFF
MULTIPLIER0, MULTIPLIER1 = MULTIPLIERS
INCREMENT0, INCREMENT1 = KEY_INCREMENTS


@loop_function()
def group_words(
    group: uint64,
    stream: uint64,
    step_low: uint64,
    step_high: uint64,
    key_low: uint64,
    key_high: uint64,
):
    """The four words of one counter; `group` is the index of the first, divided by four."""
    c0, c1, c2, c3 = group & LOW, stream, step_low, step_high
    k0, k1 = key_low, key_high
    for _ in range(10):
        product0, product1 = MULTIPLIER0 * c0, MULTIPLIER1 * c2
        c0, c1 = (product1 >> 32) ^ c1 ^ k0, product1 & LOW
        c2, c3 = (product0 >> 32) ^ c3 ^ k1, product0 & LOW
        k0, k1 = (k0 + INCREMENT0) & LOW, (k1 + INCREMENT1) & LOW
    return c0, c1, c2, c3


@loop_function()
def edges(size: int64, start: int64):
    """The positions of the start of the first whole group and of the end of the last one."""
    begin = min(size, (4 - start % 4) % 4)
    return begin, begin + (size - begin) // 4 * 4


@loop_function()
def edge_word(
    element: int64,
    stream: uint64,
    step_low: uint64,
    step_high: uint64,
    key_low: uint64,
    key_high: uint64,
):
    """Word number `element` of the stream."""
    words = group_words(uint64(element // 4), stream, step_low, step_high, key_low, key_high)
    which = element % 4
    low = where(which == 0, words[0], words[1])
    return where(which < 2, low, where(which == 2, words[2], words[3]))


@loop_function()
def fill_words(
    address: int64,
    size: int64,
    start: int64,
    stream: uint64,
    step_low: uint64,
    step_high: uint64,
    key_low: uint64,
    key_high: uint64,
):
    out = array(address, uint32, size)
    begin, end = edges(size, start)
    for number in range(begin + size - end):
        position = number if number < begin else number - begin + end
        word = edge_word(start + position, stream, step_low, step_high, key_low, key_high)
        out[position] = uint32(word)
    first = uint64((start + begin) // 4)
    for number in independent((end - begin) // 4):
        group = first + uint64(number)
        a, b, c, d = group_words(group, stream, step_low, step_high, key_low, key_high)
        out[begin + 4 * number] = uint32(a)
        out[begin + 4 * number + 1] = uint32(b)
        out[begin + 4 * number + 2] = uint32(c)
        out[begin + 4 * number + 3] = uint32(d)


@loop_function()
def fill_elements(out, start: int64, seed: int64, step: int64, stream: int64, limit: int64, scale):
    """Writes the mask of the elements `start`, `start + 1`, … to `out`."""
    zero, size = scale - scale, len(out)
    step_low, step_high = uint64(step) & LOW, uint64(step) >> 32
    key_low, key_high = uint64(seed) & LOW, uint64(seed) >> 32
    which = uint64(stream)
    least = uint64(limit)
    begin, end = edges(size, start)
    for number in range(begin + size - end):
        position = number if number < begin else number - begin + end
        word = edge_word(start + position, which, step_low, step_high, key_low, key_high)
        out[position] = scale if word >= least else zero
    first = uint64((start + begin) // 4)
    for number in independent((end - begin) // 4):
        group = first + uint64(number)
        a, b, c, d = group_words(group, which, step_low, step_high, key_low, key_high)
        out[begin + 4 * number] = scale if a >= least else zero
        out[begin + 4 * number + 1] = scale if b >= least else zero
        out[begin + 4 * number + 2] = scale if c >= least else zero
        out[begin + 4 * number + 3] = scale if d >= least else zero


@loop_function(separate=True)
def fill_mask_float32(
    address: int64,
    size: int64,
    start: int64,
    seed: int64,
    step: int64,
    stream: int64,
    limit: int64,
    scale: float32,
):
    """Writes the float32 mask of `size` elements from `start` on; seed and step have 64 bits."""
    fill_elements(array(address, float32, size), start, seed, step, stream, limit, scale)


@loop_function(separate=True)
def fill_mask_float64(
    address: int64,
    size: int64,
    start: int64,
    seed: int64,
    step: int64,
    stream: int64,
    limit: int64,
    scale: float64,
):
    """Writes the float64 mask of `size` elements from `start` on; seed and step have 64 bits."""
    fill_elements(array(address, float64, size), start, seed, step, stream, limit, scale)


def random_words(
    count: int, seed: int, *, stream: int, step: int, start: int = 0
) -> NDArray[np.uint32]:
    """Words `start` to `start + count - 1` of a stream, uint32[count]."""
    words = np.empty(check_count(count), dtype=np.uint32)
    counter, key = counter_words(stream, step), key_words(seed)
    _compiled_fill_words()(words.ctypes.data, count, check_start(start), *counter, *key)
    return words


def fill_dropout_mask(
    out: NDArray[Any], seed: int, step: int, stream: int, rate: float, start: int = 0
) -> None:
    """Writes a dropout mask of this rate to `out`: the scale for kept elements, else 0.

    `out` is a C-contiguous array of float32 or float64 of any shape; its first element is number
    `start` of the stream. Raises `DeclarationError` for another array and `ConfigurationError` for
    a number out of range.
    """
    flat = flat_mask(out)
    threshold, scale = dropout_threshold(rate), dropout_scale(rate)
    check_start(start), counter_words(stream, step), key_words(seed)
    _compiled_fill_mask(str(flat.dtype))(
        flat.ctypes.data, flat.size, start, seed, step, stream, threshold, scale
    )


@cache
def _compiled_fill_words() -> Callable[..., Any]:
    return compile_function(fill_words)


@cache
def _compiled_fill_mask(dtype: str) -> Callable[..., Any]:
    return compile_function({"float32": fill_mask_float32, "float64": fill_mask_float64}[dtype])
