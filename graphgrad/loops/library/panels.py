"""Products whose tiles stay in registers, as kernels call them.

The bodies say what is computed, and run as Python; what is compiled is the text of loops/panels.py.
Addresses are in bytes, strides in elements. With `add` the products are added to what is there.
"""

from __future__ import annotations

from functools import partial

from graphgrad.loops.language import array, float32, int64, loop_function
from graphgrad.loops.panels import panel_text
from graphgrad.loops.turned import turned_text

LANES = 32
"""The rows of a block that is turned around."""


@loop_function(separate=True, written=partial(panel_text, rows_adjacent=False))
def product_of_rows(
    rows: int64,
    steps: int64,
    lanes: int64,
    a_address: int64,
    a_stride: int64,
    b_address: int64,
    b_stride: int64,
    c_address: int64,
    c_stride: int64,
    add: int64,
):
    """c = a b: the rows of `a` are `a_stride` apart, its steps side by side."""
    a, b = array(a_address, float32, rows, a_stride), array(b_address, float32, steps, b_stride)
    c = array(c_address, float32, rows, c_stride)
    for row in range(rows):
        for lane in range(lanes):
            c[row, lane] = c[row, lane] if add != 0 else float32(0)
            for step in range(steps):
                c[row, lane] += a[row, step] * b[step, lane]


@loop_function(separate=True, written=partial(panel_text, rows_adjacent=True))
def product_of_columns(
    rows: int64,
    steps: int64,
    lanes: int64,
    a_address: int64,
    a_stride: int64,
    b_address: int64,
    b_stride: int64,
    c_address: int64,
    c_stride: int64,
    add: int64,
):
    """c = aᵀ b: the steps of `a` are `a_stride` apart, its rows side by side."""
    a, b = array(a_address, float32, steps, a_stride), array(b_address, float32, steps, b_stride)
    c = array(c_address, float32, rows, c_stride)
    for row in range(rows):
        for lane in range(lanes):
            c[row, lane] = c[row, lane] if add != 0 else float32(0)
            for step in range(steps):
                c[row, lane] += a[step, row] * b[step, lane]


@loop_function(separate=True, written=partial(turned_text, lanes=LANES))
def turn_rows(rows: int64, columns: int64, a_address: int64, a_stride: int64, c_address: int64):
    """c[column, lane] = a[lane, column] for all `LANES`; those beyond the rows repeat the last."""
    a, c = array(a_address, float32, rows, a_stride), array(c_address, float32, columns, LANES)
    for column in range(columns):
        for lane in range(LANES):
            c[column, lane] = a[min(lane, rows - 1), column]
