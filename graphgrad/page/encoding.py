"""Encodes numbers for the JSON of a page: single numbers as short texts, arrays packed.

- A single number has nine significant digits: its relative error is at most one part in 10⁹.
- An array is packed as float32, little-endian, in base64: a float32 value comes back exactly.
- JSON has no NaN and no ∞: a single number that is not finite is None.
"""

from __future__ import annotations

import base64
import math

import numpy as np


def number(value: float | None) -> float | None:
    """The number with nine significant digits; None if it is None or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.9g}")


def packed(array: np.ndarray) -> str:
    """The elements as float32, the last axis varying fastest."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")


def packed_bits(array: np.ndarray) -> str:
    """Booleans, eight per byte, the first in the highest bit."""
    return base64.b64encode(np.packbits(np.ascontiguousarray(array, bool)).tobytes()).decode()


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None if the whole is 0 or one of them is not finite."""
    if not whole or not math.isfinite(part) or not math.isfinite(whole):
        return None
    return part / whole
