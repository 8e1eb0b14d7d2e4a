"""The matrix products of the loop language, which loops/tiles.py generates, and their meaning.

`multiply_rows` computes some rows of a product as `loops/products.py` describes it: by panels of as
many columns as the register tile has. A panel of B is copied to rows beside each other, once a run,
by the thread that first needs it. Nobody waits for a copy: another thread that needs the panel
meanwhile copies it too, the same numbers to the same place; and threads begin with other panels.
"""

from __future__ import annotations

from graphgrad.loops.language import (
    array,
    float32,
    fma,
    generated_function,
    independent,
    int64,
    loop_function,
    shared_load,
    shared_store,
)
from graphgrad.loops.library.product_words import (
    A_ROW,
    A_STEP,
    B_COLUMN,
    B_STEP,
    BUFFER,
    COLUMNS,
    COPIED,
    DEPTH,
    GAP,
    MEMORY,
    PANELS,
    READY,
    ROWS,
    THREAD_BYTES,
    WIDTH,
    WORDS,
    A,
    B,
)
from graphgrad.loops.tiles import CHAIN, tile_text


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
            z = array(c + 4 * (c_row * row + column), float32, 1)
            if add == 0:
                z[0] = 0
            for start in range(0, depth, CHAIN):
                total = float32(0)
                for step in range(start, min(depth, start + CHAIN)):
                    x = array(a + 4 * (a_row * row + a_step * step), float32, 1)
                    y = array(b + 4 * (b_step * step + column), float32, 1)
                    total = fma(x[0], y[0], total)
                z[0] = z[0] + total


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


@loop_function()
def copy_panel(
    b: int64, b_step: int64, b_column: int64, wide: int64, depth: int64, to: int64, width: int64
):
    """Copies `wide` columns of B to rows of `width` numbers, the others of which are 0."""
    for step in range(depth):
        row = array(to + 4 * step * width, float32, width)
        source = array(b + 4 * step * b_step, float32, width * b_column)
        if b_column == 1:
            for column in independent(wide):
                row[column] = source[column]
        else:
            for column in range(wide):
                row[column] = source[column * b_column]
        for column in range(wide, width):
            row[column] = 0


@loop_function()
def copy_rows(a: int64, a_row: int64, a_step: int64, count: int64, depth: int64, to: int64):
    """Copies rows of A, as they lie: transposed to rows of `count` numbers, or with a gap."""
    if a_row == 1:
        for step in range(depth):
            source = array(a + 4 * step * a_step, float32, count)
            copied = array(to + 4 * step * count, float32, count)
            for row in independent(count):
                copied[row] = source[row]
    else:
        for row in range(count):
            whole = array(a + 4 * row * a_row, float32, depth)
            beside = array(to + 4 * row * (depth + GAP), float32, depth)
            for step in independent(depth):
                beside[step] = whole[step]


@loop_function()
def product_memory(product: int64, thread: int64):
    """The address of a thread's buffer for rows of the result."""
    given = array(product, int64, WORDS)
    return given[MEMORY] + thread * given[THREAD_BYTES] + given[BUFFER]


@loop_function(separate=True)
def multiply_rows(
    product: int64, first: int64, count: int64, c: int64, c_row: int64, thread: int64, run: int64
):
    """Stores the rows `first` to before `first + count` of a product at `c`."""
    given = array(product, int64, WORDS)
    columns, depth, width = given[COLUMNS], given[DEPTH], given[WIDTH]
    a_row, a_step = given[A_ROW], given[A_STEP]
    a = given[A] + 4 * first * a_row
    if given[COPIED] != 0:
        copy = given[MEMORY] + thread * given[THREAD_BYTES]
        copy_rows(a, a_row, a_step, count, depth, copy)
        a = copy
        if a_row == 1:
            a_step = count
        else:
            a_row = depth + GAP
    panels = (columns + width - 1) // width
    start = first * panels // given[ROWS]
    for number in range(panels):
        panel = (start + number) % panels
        column = panel * width
        wide = min(width, columns - column)
        b = given[B] + 4 * column * given[B_COLUMN]
        b_step = given[B_STEP]
        if given[PANELS] != 0:
            to = given[PANELS] + 4 * column * depth
            ready = given[READY] + 8 * panel
            if shared_load(ready) != run:
                copy_panel(b, b_step, given[B_COLUMN], wide, depth, to, width)
                shared_store(ready, run)
            b = to
            b_step = width
        if a_row == 1:
            multiply_columns(count, wide, depth, a, a_step, b, b_step, c + 4 * column, c_row, 0)
        else:
            multiply_tile(count, wide, depth, a, a_row, a_step, b, b_step, c + 4 * column, c_row, 0)
