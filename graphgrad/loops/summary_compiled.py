"""Figures of an array in one pass over memory: vector code, see library/summary.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import exported
from graphgrad.loops.library import summary

_TYPES = {"f": ("float32", "int32", "uint32"), "d": ("float64", "int64", "uint64")}
"""By the letter of a dtype, which is found sooner than its name: floats, integers of that size with
and without sign."""
_LIMITS: dict[str, tuple[float, ...]] = {
    "f": (0x7FFFFFFF, 0x7F800000, 0xFF800000, 1e-30, 4),
    "d": (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000, 1e-290, 8),
}
"""All bits but the sign, the bits of ∞ and of -∞, and a sum of squares so small that some may have
been lost; bytes of an element."""


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
    return exported(summary.measure, real=floats, signed=integers, unsigned=naturals)
