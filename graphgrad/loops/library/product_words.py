"""The words of a product in the call table, by which `multiply_rows` (products.py) knows it."""

(
    ROWS,
    COLUMNS,
    DEPTH,
    A,
    A_ROW,
    A_STEP,
    B,
    B_STEP,
    B_COLUMN,
    WIDTH,
    PANELS,
    READY,
    COPIED,
    MEMORY,
    THREAD_BYTES,
    BUFFER,
    WORDS,
) = range(17)
"""Indices of the words: the sizes of a product; the addresses of its operands and the distances of
their elements; the columns of a panel; where B is copied to (0: it is read as it lies), and the run
in which each panel was; whether A is copied to the memory of the thread; the memory of the first
thread, and the bytes that each has; the distance of a buffer for rows of the result in it."""
GAP = 16
"""Numbers between copied rows of A: rows at a multiple of 4,096 bytes share few sets of a cache."""
