"""Loops over rows with sines and cosines: twice, for rows of near arguments and for any.

A sine is a polynomial of what is left of its argument without the multiples of π/2, and that is
found cheaply where the argument is not large (library/periodic.py). A loop that has to ask this of
each number would not be a loop of vectors. So the row is looked through for a far argument first;
a number has the same sine in either loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.kernels.library.periodic import NEAR_FLOAT32, NEAR_FLOAT64
from graphgrad.ops.functions import cos, sin

PERIODIC = (sin, cos)
_TYPES: Mapping[str, tuple[str, int]] = {
    "float32": ("int32", int(np.float32(NEAR_FLOAT32).view(np.int32))),
    "float64": ("int64", int(np.float64(NEAR_FLOAT64).view(np.int64))),
}
"""Integers of the same size, and the one whose bits are those of the largest near argument: numbers
that are not negative are ordered as their bits are."""


def near_text(text: str, dtype: str) -> str:
    """The sine or cosine of a near argument, for that of any."""
    function, argument = text.split("(", 1)
    return f"near_{function}_{dtype}({argument}"


def either_loop(
    loop: Sequence[str], near_loop: Sequence[str], values: Sequence[str],
    arguments: Mapping[str, str],
) -> list[str]:  # fmt: skip
    """The near loop where each of the arguments (their texts and types) is, in all columns, else
    the other. `values` are the lines that compute what the arguments are made of."""
    looks, tests = [], []
    starts = []
    for dtype in dict.fromkeys(arguments.values()):
        integer, limit = _TYPES[dtype]
        starts.append(f"largest_{dtype} = {integer}(0)")
        tests.append(f"largest_{dtype} > {limit}")
    for text, dtype in arguments.items():
        size = f"bits(abs({text}), {_TYPES[dtype][0]})"
        looks.append(f"    largest_{dtype} = max(largest_{dtype}, {size})")
    return [
        *starts,
        "for column in range(columns):",
        *values,
        *looks,
        f"if {' or '.join(tests)}:",
        *(f"    {line}" for line in loop),
        "else:",
        *(f"    {line}" for line in near_loop),
    ]
