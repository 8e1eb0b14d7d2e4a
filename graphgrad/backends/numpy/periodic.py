"""Loops with sines and cosines, printed twice: for rows of near arguments and for any.

A sine is a polynomial of what is left of its argument without the multiples of π/2, and that is
found cheaply where the argument is not large (library/periodic.py). A loop that has to ask this of
each number is no loop of vectors. So a row is looked through for a far argument before; a number
has the same sine in either loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.loops.library.periodic import NEAR_FLOAT32, NEAR_FLOAT64
from graphgrad.ops.functions import cos, sin

PERIODIC = (sin, cos)
_CALL = re.compile(r"\b(sin|cos)\((\w+(?:\[\w+\])?)\)")
_LIMITS: Mapping[str, tuple[str, int]] = {
    "float32": ("int32", int(np.float32(NEAR_FLOAT32).view(np.int32))),
    "float64": ("int64", int(np.float64(NEAR_FLOAT64).view(np.int64))),
}
"""Integers of the same size, and the one with the bits of the largest near argument: numbers that
are not negative have the order of their bits, and NaN is beyond them all."""


def loop_over(turns: str, body: Sequence[str]) -> list[str]:
    """A loop over the columns."""
    return [f"for column in {turns}:", *(f"    {line}" for line in body)]


def with_near_loop(
    loop: Sequence[str], values: Sequence[str], arguments: Mapping[str, str]
) -> Sequence[str]:
    """The loop, with a second one for rows in which all arguments of sines and cosines are near.

    `arguments` are their texts and types, `values` the lines that compute what they are made of.
    """
    if not arguments:
        return loop

    def near(line: str) -> str:
        return _CALL.sub(lambda call: f"near_{call[1]}_{arguments[call[2]]}({call[2]})", line)

    types = dict.fromkeys(arguments.values())
    looks = [
        f"far_{dtype} = max(far_{dtype}, bits(abs({text}), {_LIMITS[dtype][0]}))"
        for text, dtype in arguments.items()
    ]
    far = " or ".join(f"far_{dtype} > {_LIMITS[dtype][1]}" for dtype in types)
    return [
        *(f"far_{dtype} = {_LIMITS[dtype][0]}(0)" for dtype in types),
        *loop_over("range(columns)", [*map(near, values), *looks]),
        f"if {far}:",
        *(f"    {line}" for line in loop),
        "else:",
        *(f"    {near(line)}" for line in loop),
    ]
