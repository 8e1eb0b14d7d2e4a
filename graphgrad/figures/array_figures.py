"""Computes the figures of one array: mean, standard deviation, norm, extremes, zeros, non-finite.

- Figures are computed in float64 over the finite elements; NaN and infinite elements are counted.
- A figure that does not exist (the mean of no elements) is None, not NaN: reports are strict JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FIGURES = ("mean", "std", "norm", "minimum", "maximum", "zeros", "non_finite")
"""The names of the figures that reports can be sorted by; fields of `Figures`."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one array, over its finite elements."""

    shape: tuple[int, ...]
    mean: float | None
    std: float | None
    """The root of the mean squared distance from the mean (divided by n)."""
    norm: float
    """The root of the sum of squares."""
    minimum: float | None
    maximum: float | None
    zeros: float
    """The share of all elements that are exactly 0."""
    non_finite: int
    """How many elements are NaN or infinite."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape)}


def figures_of(array: np.ndarray) -> Figures:
    """Computes the figures of an array of numbers or booleans (False is 0, True is 1)."""
    numbers = np.asarray(array, np.float64)
    finite = numbers[np.isfinite(numbers)]
    zeros = float(np.count_nonzero(numbers == 0)) / max(numbers.size, 1)
    non_finite = numbers.size - finite.size
    if not finite.size:
        return Figures(numbers.shape, None, None, 0.0, None, None, zeros, non_finite)
    low, high = float(finite.min()), float(finite.max())
    scale = max(abs(low), abs(high)) or 1.0  # keeps the squares from overflowing
    with np.errstate(under="ignore"):
        scaled = finite / scale
        mean, deviation = float(scaled.mean()), float(scaled.std())
        norm = float(np.sqrt(np.sum(scaled * scaled)))
    return Figures(
        numbers.shape, mean * scale, deviation * scale, norm * scale, low, high, zeros, non_finite
    )
