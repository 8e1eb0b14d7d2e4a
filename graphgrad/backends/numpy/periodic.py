"""Renders loops with sines and cosines twice: for rows of small arguments, and for all others.

A sine is a polynomial of the remainder of its argument modulo π/2, which is computed quickly if the
argument is not large, or near (library/periodic.py). A loop that tests this for each number cannot
be vectorised. So a kernel first looks for a far argument in the row; a number has the same sine in
both loops.
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
"""The integer type of the same size, and the bits of the largest near argument: floats that are not
negative have the order of their bits, and NaN is larger than all of them."""


def loop_over(iterations: str, body: Sequence[str]) -> list[str]:
    """A loop over the columns."""
    return [f"for column in {iterations}:", *(f"    {line}" for line in body)]


def with_near_loop(
    loop: Sequence[str], values: Sequence[str], arguments: Mapping[str, str]
) -> Sequence[str]:
    """The loop, with a second one for rows in which all arguments of sines and cosines are near.

    `arguments` maps the texts of these arguments to their types; `values` are the lines that
    compute them.
    """
    if not arguments:
        return loop

    def near(line: str) -> str:
        return _CALL.sub(lambda call: f"near_{call[1]}_{arguments[call[2]]}({call[2]})", line)

    types = dict.fromkeys(arguments.values())
    updates = [
        f"far_{dtype} = max(far_{dtype}, bits(abs({text}), {_LIMITS[dtype][0]}))"
        for text, dtype in arguments.items()
    ]
    far = " or ".join(f"far_{dtype} > {_LIMITS[dtype][1]}" for dtype in types)
    return [
        *(f"far_{dtype} = {_LIMITS[dtype][0]}(0)" for dtype in types),
        *loop_over("range(columns)", [*map(near, values), *updates]),
        f"if {far}:",
        *(f"    {line}" for line in loop),
        "else:",
        *(f"    {near(line)}" for line in loop),
    ]
