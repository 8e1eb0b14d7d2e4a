"""Adds rows up at places of a table, compiled: what the delta of an embedding is made by.

Row after row in order, as the operation's own block does it in Python: the same bits, without some
microseconds for every row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgrad.kernels.keep import kept


@kept()
def _add(table, places, rows):  # type: ignore[no-untyped-def]
    for number in range(places.size):
        place = places[number]
        for column in range(table.shape[1]):
            table[place, column] += rows[number, column]


def add_rows(table: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
    """Writes the sums into `table` [size, …], which is 0 where no row goes; places are in range."""
    table.fill(0)
    if rows.size:
        flat: Any = table.reshape(table.shape[0], -1)
        _add(flat, places.reshape(-1), rows.reshape(places.size, -1))
