"""Sample inputs of operations, for the test suite that checks all operations.

A sample gives the distribution of each head and the attributes. `smooth` is False where finite
differences are meaningless (ties, kinks, integers). `real` values keep a distance from zero, so
that no finite difference crosses a kink at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Draw:
    """One head of a sample: `kind` is real, positive, integer or boolean."""

    kind: str
    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0

    def array(self, generator: np.random.Generator, dtype: Any = np.float64) -> np.ndarray:
        """A new array; `dtype` is that of float kinds, other kinds have their own."""
        if self.kind == "integer":
            return generator.integers(int(self.low), int(self.high), self.shape, dtype=np.int32)
        if self.kind == "boolean":
            return generator.random(self.shape) < 0.5
        values = generator.uniform(self.low, self.high, self.shape)
        if self.kind == "real":
            values = values + np.where(values >= 0, 0.05, -0.05)
        return values.astype(dtype)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Draw:
    """Floats of both signs, at least 0.05 away from zero."""
    return Draw("real", shape, low, high)


def positive(*shape: int, low: float = 0.3, high: float = 2.0) -> Draw:
    """Floats well above zero, for log, sqrt and division."""
    return Draw("positive", shape, low, high)


def integer(*shape: int, below: int) -> Draw:
    """int32 in [0, below)."""
    return Draw("integer", shape, 0, below)


def boolean(*shape: int) -> Draw:
    """Booleans, half of them true."""
    return Draw("boolean", shape)


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of an operation: its heads and attributes."""

    heads: tuple[Draw, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = True


def sample(*heads: Draw, smooth: bool = True, **attributes: Any) -> Sample:
    """A sample call of an operation: its heads, then its attributes by keyword.

    Heads are drawn by `real`, `positive`, `integer` and `boolean` of `graphgrad.graph.samples`.
    `smooth` is False if the operation has no derivative there.

    >>> from graphgrad.graph.samples import real
    >>> gg.sample(real(3, 4), axis=1).attributes
    {'axis': 1}
    """
    return Sample(heads, attributes, smooth)
