"""Adds rows up at places of a table, compiled: what the delta of an embedding is made by.

Row after row in order, as the operation's own block does it in Python: the same bits, without some
microseconds for every row.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphgrad.loops.compiled_functions import exported
from graphgrad.loops.library import rows as library


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
def _compiled(dtype: str) -> Any:
    return exported(library.add_rows, real=dtype)
