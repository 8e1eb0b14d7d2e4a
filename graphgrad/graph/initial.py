"""Draws the initial values of parameters and states.

An initialiser is data on the node, so a graph alone is enough to start a training run. The values
depend on the run's seed and the parameter's name only, not on the order of declaration or on other
parameters. The generator is NumPy's Philox, keyed by a hash of seed and name.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import DType

BLOCK = 1 << 14
"""Elements drawn at a time: as float64 they stay in cache until they are rounded."""


@dataclass(frozen=True, slots=True)
class Initial:
    """The distribution of initial values: made by `full`, `normal`, `uniform` or `glorot_uniform`.

    `kind` is "constant", "normal" or "uniform"; `scale` is the value, the standard deviation or the
    limit. The row `zero_row` of the first axis, if there is one, is 0.

    >>> gg.normal(0.02)
    Initial(kind='normal', scale=0.02)
    >>> gg.uniform(0.5).draw((2,), np.dtype("float32"), seed=0, name="w").shape
    (2,)
    """

    kind: str
    scale: float
    zero_row: int | None = field(default=None, repr=False)

    def draw(self, shape: tuple[int, ...], dtype: DType, seed: int, name: str) -> np.ndarray:
        """The initial value of the parameter called `name` in a run with this seed."""
        values = np.empty(shape, dtype)
        self.draw_into(values, seed, name)
        return values

    def draw_into(self, values: np.ndarray, seed: int, name: str) -> None:
        """Draws the initial value into `values`, a contiguous array."""
        if self.kind == "constant":
            values.fill(self.scale)
        else:
            self._draw_into(values, seed, name)
        if self.zero_row is not None:
            values[self.zero_row] = 0

    def _draw_into(self, values: np.ndarray, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        elements = values.reshape(-1)
        drawn = np.empty(min(BLOCK, elements.size))
        for start in range(0, elements.size, BLOCK):
            block = elements[start : start + BLOCK]
            if self.kind == "normal":
                part = generator.standard_normal(out=drawn[: block.size])
                block[...] = np.multiply(part, self.scale, out=part)
            else:
                block[...] = generator.uniform(-self.scale, self.scale, block.size)


def full(value: float) -> Initial:
    """An initial value with `value` for every element.

    >>> w = gg.parameter("w", (2,), gg.full(0.5))
    >>> gg.initial_state(gg.Graph({"w": w}))
    {'w': array([0.5, 0.5], dtype=float32)}
    """
    return Initial("constant", _number(value, "an initial value"))


def normal(deviation: float, zero_row: int | None = None) -> Initial:
    """Initial values from N(0, deviation²), except those of `zero_row`, which are 0: the row of the
    padding in a table of embeddings, say.

    >>> w = gg.parameter("w", (4, 3), gg.normal(0.02))
    >>> gg.initial_state(gg.Graph({"w": w}), seed=1)["w"].shape
    (4, 3)
    """
    return Initial("normal", _number(deviation, "a deviation", 0.0), zero_row)


def uniform(limit: float) -> Initial:
    """Initial values from the uniform distribution over [-limit, limit).

    >>> w = gg.parameter("w", (4, 3), gg.uniform(0.1))
    >>> bool((abs(gg.initial_state(gg.Graph({"w": w}))["w"]) <= 0.1).all())
    True
    """
    return Initial("uniform", _number(limit, "a limit", 0.0))


def glorot_uniform(fan_in: int, fan_out: int) -> Initial:
    """Uniform initial values of variance 2 / (fan_in + fan_out).

    `fan_in` and `fan_out` are the numbers of inputs and outputs of a layer (Glorot and Bengio 2010,
    equation 16).

    >>> gg.glorot_uniform(3, 3)
    Initial(kind='uniform', scale=1.0)
    """
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
