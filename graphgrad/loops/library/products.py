"""The matrix products of the loop language, which loops/tiles.py generates, and their meaning."""

from __future__ import annotations

from graphgrad.loops.language import array, float32, fma, generated_function, int64
from graphgrad.loops.tiles import tile_text


@generated_function(lambda name: tile_text(name, transposed=False))
def multiply_tile(
    rows: int64,
    columns: int64,
    depth: int64,
    a: int64,
    a_row: int64,
    a_step: int64,
    b: int64,
    b_step: int64,
    c: int64,
    c_row: int64,
    add: int64,
):
    """C (+)= A · B; loops/tiles.py describes the arguments."""
    for row in range(rows):
        for column in range(columns):
            total = float32(0)
            for step in range(depth):
                x = array(a + 4 * (a_row * row + a_step * step), float32, 1)
                y = array(b + 4 * (b_step * step + column), float32, 1)
                total = fma(x[0], y[0], total)
            z = array(c + 4 * (c_row * row + column), float32, 1)
            if add != 0:
                z[0] = z[0] + total
            else:
                z[0] = total


@generated_function(lambda name: tile_text(name, transposed=True))
def multiply_columns(
    rows: int64,
    columns: int64,
    depth: int64,
    a: int64,
    a_step: int64,
    b: int64,
    b_step: int64,
    c: int64,
    c_row: int64,
    add: int64,
):
    """C (+)= A · B where the rows of A are beside each other (a_row is 1)."""
    multiply_tile(rows, columns, depth, a, 1, a_step, b, b_step, c, c_row, add)
