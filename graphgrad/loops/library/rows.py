"""Rows of numbers added up at places of a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import exported
from graphgrad.loops.language import array, independent, int64, loop_function, real


@loop_function()
def add_rows_loop(table: int64, places: int64, rows: int64, count: int64, width: int64):
    sums = array(table, real, 1, width)
    numbers = array(places, int64, count)
    summands = array(rows, real, count, width)
    for number in range(count):
        place = numbers[number]
        for column in independent(width):
            sums[place, column] = sums[place, column] + summands[number, column]


def add_rows(table: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
    """Writes the sums into `table` [size, …], which is 0 where no row goes; places are in range."""
    table.fill(0)
    if rows.size:
        # both keep their memory until the call has ended
        rows, places = np.ascontiguousarray(rows), np.ascontiguousarray(places, np.int64)
        width = table.size // table.shape[0]
        _compiled(str(table.dtype))(
            table.ctypes.data, places.ctypes.data, rows.ctypes.data, places.size, width
        )


@cache
def _compiled(dtype: str) -> Callable[..., Any]:
    return exported(add_rows_loop, real=dtype)
