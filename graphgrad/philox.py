"""Generates the random numbers of all backends by Philox4x32-10, and dropout masks from them.

Philox (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a
function from a counter and a key to four words of 32 bits. It has no state: any word of any step
can be computed alone, in any order, on any backend, and again in the backward pass.

The layout is fixed. NumPy (this file, the reference), compiled CPU code and CUDA reproduce it bit
for bit:

    word i of a stream = output word (i mod 4) of philox4x32-10 with
        counter = (i div 4 mod 2**32, stream, step mod 2**32, step div 2**32)
        key     = (seed mod 2**32, seed div 2**32)

    mask i = scale  if word i >= threshold,  else 0
        threshold = floor(rate * 2**32)               an unsigned integer of 32 bits
        scale     = 1 / (1 - rate)                    in float64, then rounded to the mask's dtype

- `seed` and `step` have 64 bits, `stream` (which node draws) has 32. Other values are
  an error, never truncated.
- The elements of an array are numbered in C order. A stream has 2**34 words, then it repeats.
- The mask is decided by an integer comparison alone: rounding cannot differ between backends.
  `rate * 2**32` is exact in float64, so the floor is exact too.
- A part of an array is filled by passing that part and `start`, the number of its first element:
  parts may be filled in any order and by any thread.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphgrad.errors import ConfigurationError, DeclarationError

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
"""The odd constants that counter words 0 and 2 are multiplied by in each round."""

KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
"""Added to the key after each round: the golden ratio and sqrt(3) - 1, as fractions of 2**32."""

PERIOD = 2**34
"""Words in one stream: four for each value of the first counter word."""

_MULTIPLIER0, _MULTIPLIER1 = (np.uint64(value) for value in MULTIPLIERS)
_INCREMENT0, _INCREMENT1 = (np.uint64(value) for value in KEY_INCREMENTS)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_BLOCK_COUNTERS = 4096  # 32 KiB for each 64-bit temporary: all of a round's stay in the L2 cache


def philox4x32(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    key: tuple[ArrayLike, ArrayLike],
    rounds: int = 10,
) -> tuple[NDArray[np.uint32], ...]:
    """The four output words of each counter, as arrays of the common broadcast shape.

    `counter` and `key` hold unsigned 32-bit integers, scalars or arrays that broadcast
    together. Products of two 32-bit words are taken in 64 bits, so nothing ever overflows.
    """
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = (np.asarray(word, dtype=np.uint64) for word in key)
    for _ in range(rounds):
        product0, product1 = _MULTIPLIER0 * c0, _MULTIPLIER1 * c2
        c0, c1 = (product1 >> _HALF) ^ (c1 ^ k0), product1 & _LOW
        c2, c3 = (product0 >> _HALF) ^ (c3 ^ k1), product0 & _LOW
        k0, k1 = (k0 + _INCREMENT0) & _LOW, (k1 + _INCREMENT1) & _LOW
    words = np.broadcast_arrays(c0, c1, c2, c3)
    return tuple(word.astype(np.uint32) for word in words)


def random_words(
    count: int, seed: int, *, stream: int, step: int, start: int = 0
) -> NDArray[np.uint32]:
    """Words `start` to `start + count - 1` of a stream, `uint32[count]`."""
    words = np.empty(check_count(count), dtype=np.uint32)
    for first, block in _word_blocks(count, seed, stream, step, start):
        words[first : first + block.size] = block
    return words


def fill_dropout_mask(
    out: NDArray[Any], seed: int, step: int, stream: int, rate: float, start: int = 0
) -> None:
    """Writes the mask of a dropout of `rate` into `out`: the scale where kept, else 0.

    `out` is a C-contiguous array of float32 or float64 of any shape; its first element is
    number `start` of the stream. Raises `DeclarationError` for another array and
    `ConfigurationError` for a number out of range.
    """
    flat = flat_mask(out)
    threshold = dropout_threshold(rate)
    scale = flat.dtype.type(dropout_scale(rate))
    for first, block in _word_blocks(flat.size, seed, stream, step, start):
        np.multiply(block >= threshold, scale, out=flat[first : first + block.size])


def dropout_threshold(rate: float) -> int:
    """`floor(rate * 2**32)`: a word below it drops its element."""
    if not 0.0 <= rate < 1.0:
        raise ConfigurationError(
            f"a dropout rate of {rate!r} is not in [0, 1)",
            fix="give the share of elements to drop, such as 0.1; 0 keeps all of them",
        )
    return math.floor(float(rate) * 2.0**32)


def dropout_scale(rate: float) -> float:
    """`1 / (1 - rate)`: the factor of a kept element, which preserves the mean."""
    return 1.0 / (1.0 - float(rate))


def key_words(seed: int) -> tuple[int, int]:
    """The two key words of a seed, low word first."""
    _check_range("seed", seed, 64)
    high, low = divmod(int(seed), 2**32)
    return low, high


def counter_words(stream: int, step: int) -> tuple[int, int, int]:
    """Counter words 1, 2 and 3: the stream, the low and the high half of the step."""
    _check_range("stream", stream, 32)
    _check_range("step", step, 64)
    high, low = divmod(int(step), 2**32)
    return int(stream), low, high


def check_count(count: int) -> int:
    """`count` itself; raises ConfigurationError if it is negative."""
    if count < 0:
        raise ConfigurationError(f"cannot draw {count} words", fix="ask for 0 or more")
    return count


def check_start(start: int) -> int:
    """The number of the first element, modulo the period of the stream."""
    if start < 0:
        raise ConfigurationError(f"element {start} of a stream does not exist", fix="start at 0")
    return int(start) % PERIOD


def flat_mask(out: NDArray[Any]) -> NDArray[Any]:
    """`out` as one row without a copy; raises DeclarationError if it cannot hold a mask."""
    if out.dtype not in (np.float32, np.float64):
        raise DeclarationError(
            f"a dropout mask of dtype {out.dtype} is not supported",
            fix="use float32 or float64",
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise DeclarationError(
            f"a dropout mask of shape {out.shape} is not a writeable C-contiguous array",
            fix="pass a fresh array or a range of whole rows",
        )
    return out.reshape(-1)


def _check_range(name: str, value: int, bits: int) -> None:
    if not 0 <= value < 2**bits:
        raise ConfigurationError(
            f"the random {name} {value} does not fit in {bits} bits",
            fix=f"use an integer from 0 to 2**{bits} - 1",
        )


def _word_blocks(
    count: int, seed: int, stream: int, step: int, start: int
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """The words of a range, a cache-sized block at a time: (position in the range, words).

    Each block is valid until the next one is requested: all share one buffer.
    """
    key = key_words(seed)
    counter = counter_words(stream, step)
    start = check_start(start)
    group, skipped = divmod(start, 4)
    last_group = -(-(start + count) // 4)
    buffer = np.empty((_BLOCK_COUNTERS, 4), dtype=np.uint32)
    position = 0
    while position < count:
        groups = min(_BLOCK_COUNTERS, last_group - group)
        counters = np.arange(group, group + groups, dtype=np.uint64) & _LOW
        for lane, words in enumerate(philox4x32((counters, *counter), key)):
            buffer[:groups, lane] = words
        block = buffer[:groups].reshape(-1)[skipped : skipped + count - position]
        yield position, block
        position += block.size
        group, skipped = group + groups, 0
