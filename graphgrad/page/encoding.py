"""Numbers in the JSON of a page: short where they are single, packed where they are many.

- A single number keeps nine significant digits: it equals what was computed to one part in 10⁹.
- An array is packed as float32, little-endian, in base64: a float32 value comes back exactly.
- JSON has no NaN and no ∞: a single number that is not finite is None.
"""

from __future__ import annotations

import base64
import math

import numpy as np


def number(value: float | None) -> float | None:
    """The number with nine significant digits; None where it is not finite or not there."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.9g}")


def packed(array: np.ndarray) -> str:
    """The elements in order of the last axis first, as float32."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")


def packed_bits(array: np.ndarray) -> str:
    """Truth values, eight a byte, the first in the highest bit."""
    return base64.b64encode(np.packbits(np.ascontiguousarray(array, bool)).tobytes()).decode()


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None where the whole is 0 or either is not finite."""
    if not whole or not math.isfinite(part) or not math.isfinite(whole):
        return None
    return part / whole
