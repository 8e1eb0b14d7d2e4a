"""Rows added up at places of a table: the same bits as the operation's own block."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from graphgrad.loops.rows_compiled import add_rows
from graphgrad.ops.indexing import SCATTER_ADD


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("places", "width"), [((4,), ()), ((3, 5), (7,)), ((40,), (2, 3)), ((0,), (3,)), ((3,), (0,))]
)
def test_sums_are_those_of_the_block_to_the_last_bit(dtype, places, width):
    generator = np.random.default_rng(len(places))
    indices = generator.integers(0, 5, places).astype("int32")
    rows = (generator.standard_normal((*places, *width)) * 1e3).astype(dtype)
    expected, table = np.full((5, *width), 9, dtype), np.full((5, *width), 7, dtype)
    SCATTER_ADD.compute(np, expected, indices, rows, size=5)
    add_rows(table, indices, rows)
    assert np.array_equal(table, expected)


def test_rows_that_do_not_lie_in_order():
    rows = np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)
    table = np.empty((6, 4))
    add_rows(table, np.array([[0, 1], [1, 1], [5, 0]]), rows)
    assert table[1].tolist() == (rows[0, 1] + rows[1, 0] + rows[1, 1]).tolist()
    assert table[5].tolist() == rows[2, 0].tolist() and not table[2:5].any()
