"""Blocks of rows that are turned around, as kernels of attention read them (loops/turned.py)."""

from __future__ import annotations

from graphgrad.loops.language import array, float32, generated_function, int64
from graphgrad.loops.tiles import processor_tile
from graphgrad.loops.turned import turned_text

LANES = 32
"""The rows of a block."""


@generated_function(lambda name: turned_text(name, processor_tile().lanes, LANES))
def turn_rows(rows: int64, columns: int64, a_address: int64, a_stride: int64, c_address: int64):
    """c[column, lane] = a[lane, column] for half of the `LANES`, or for all where there are more
    rows than that; those beyond the rows repeat the last."""
    a, c = array(a_address, float32, rows, a_stride), array(c_address, float32, columns, LANES)
    for column in range(columns):
        for lane in range(LANES // 2 if rows <= LANES // 2 else LANES):
            c[column, lane] = a[min(lane, rows - 1), column]
