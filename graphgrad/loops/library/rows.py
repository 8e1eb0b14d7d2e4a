"""Adds rows to rows of a table: the computation of the delta of an embedding.

The rows are added one after the other, in the order of the operation's own Python code, so the bits
are the same; but the loop does not take the microseconds that Python needs for every row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.language import array, independent, int64, loop_function, real


@loop_function()
def add_rows_at(table: int64, indices: int64, rows: int64, count: int64, width: int64):
    """Adds row i of `rows` to row `indices[i]` of `table`; takes addresses."""
    sums = array(table, real, 1, width)
    targets = array(indices, int64, count)
    summands = array(rows, real, count, width)
    for row in range(count):
        target = targets[row]
        for column in independent(width):
            sums[target, column] = sums[target, column] + summands[row, column]


def add_rows(table: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> None:
    """Sets `table`, [size, …], to 0 and adds `rows[i]` to `table[indices[i]]`; checks no index."""
    table.fill(0)
    if rows.size:
        # these references keep the memory alive during the call
        rows, indices = np.ascontiguousarray(rows), np.ascontiguousarray(indices, np.int64)
        width = table.size // table.shape[0]
        _compiled(str(table.dtype))(
            table.ctypes.data, indices.ctypes.data, rows.ctypes.data, indices.size, width
        )


@cache
def _compiled(dtype: str) -> Callable[..., Any]:
    return compile_function(add_rows_at, real=dtype)
