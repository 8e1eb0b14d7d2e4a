"""How a parameter or state gets its first value.

An initialiser is data on the node, so a graph alone is enough to start a training run. What is
drawn depends on the run's seed and the parameter's name only: neither the order of declaration nor
what other parameters exist changes it. The generator is NumPy's Philox, keyed by a hash of the
name.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import DType

BLOCK = 1 << 14
"""Elements drawn at a time: as float64 they stay in cache until they are rounded."""


@dataclass(frozen=True, slots=True)
class Initial:
    """A distribution: `constant` of a value, `normal` of a deviation, `uniform` of a limit."""

    kind: str
    scale: float

    def draw(self, shape: tuple[int, ...], dtype: DType, seed: int, name: str) -> np.ndarray:
        """The first value of the parameter called `name` in a run with this seed."""
        values = np.empty(shape, dtype)
        self.draw_into(values, seed, name)
        return values

    def draw_into(self, values: np.ndarray, seed: int, name: str) -> None:
        """Writes it into a contiguous array."""
        if self.kind == "constant":
            values.fill(self.scale)
            return
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        elements = values.reshape(-1)
        for start in range(0, elements.size, BLOCK):
            block = elements[start : start + BLOCK]
            if self.kind == "normal":
                drawn = generator.standard_normal(block.size)
                block[...] = np.multiply(drawn, self.scale, out=drawn)
            else:
                block[...] = generator.uniform(-self.scale, self.scale, block.size)


def full(value: float) -> Initial:
    """Every element is `value`."""
    return Initial("constant", _number(value, "a first value"))


def normal(deviation: float) -> Initial:
    """N(0, deviation²)."""
    return Initial("normal", _number(deviation, "a deviation", 0.0))


def uniform(limit: float) -> Initial:
    """Uniform in [-limit, limit]."""
    return Initial("uniform", _number(limit, "a limit", 0.0))


def glorot_uniform(fan_in: int, fan_out: int) -> Initial:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equation 16)."""
    fans = _number(fan_in, "a fan", 0.0) + _number(fan_out, "a fan", 0.0)
    return uniform((6.0 / fans) ** 0.5 if fans else 0.0)


def _number(value: float, what: str, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not value >= least:
        least_text = "" if least < 0 else f" of at least {least:g}"
        raise DeclarationError(
            f"{what} is a number{least_text}, not {value!r:.60}", current_origin()
        )
    return float(value)


ZEROS = full(0.0)
ONES = full(1.0)
