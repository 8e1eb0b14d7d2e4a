"""Finds the indices of the largest elements of rows: one look at each element, where sorting takes
many.

NaN is never among them; rows with too few elements above -∞ are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.language import (
    INFINITY,
    array,
    empty,
    int32,
    int64,
    loop_function,
    real,
)

BLOCK = 64
"""Elements that are compared together with the least of those found so far."""


@loop_function()
def above(x, first: int64, least: real):
    """How many elements of a block are larger than `least`."""
    count = int32(0)
    for place in range(BLOCK):
        count += int32(x[first + place] > least)
    return count


@loop_function()
def top_rows_at(numbers: int64, places: int64, rows: int64, columns: int64, wanted: int64):
    """Writes the indices of the largest elements of each row, the largest first and of equal ones
    the first; -1 where too few are more than -∞. Takes addresses."""
    x = array(numbers, real, rows, columns)
    chosen = array(places, int32, rows, wanted)
    values = empty(wanted, real)
    for row in range(rows):
        for rank in range(wanted):
            values[rank] = -INFINITY
            chosen[row, rank] = int32(-1)
        start = int64(0)
        while start < columns:
            stop = min(start + BLOCK, columns)
            look = stop - start < BLOCK
            if stop - start == BLOCK:
                look = above(x[row], start, values[wanted - 1]) > int32(0)
            if look:
                for column in range(start, stop):
                    value = x[row, column]
                    if value > values[wanted - 1]:
                        rank = wanted - 1
                        going = rank > 0
                        while going:
                            before = values[rank - 1]
                            if value > before:
                                values[rank] = before
                                chosen[row, rank] = chosen[row, rank - 1]
                                rank = rank - 1
                                going = rank > 0
                            else:
                                going = False
                        values[rank] = value
                        chosen[row, rank] = int32(column)
            start = stop


def top_rows(out: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Writes the indices of the largest of each row of x [row, column], in C order, into `out`
    int32[row, k]; True at the rows that are left to the caller."""
    if x.size:
        _compiled(str(x.dtype))(x.ctypes.data, out.ctypes.data, *x.shape, out.shape[1])
    return out[:, -1] < 0


@cache
def _compiled(dtype: str) -> Callable[..., Any]:
    return compile_function(top_rows_at, real=dtype)
