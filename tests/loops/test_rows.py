"""Rows added to rows of a table: the same bits as the operation's own block."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

import graphgrad as gg
from graphgrad.loops.library.rows import add_rows
from graphgrad.ops.indexing import scatter_add


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("places", "width"), [((4,), ()), ((3, 5), (7,)), ((40,), (2, 3)), ((0,), (3,)), ((3,), (0,))]
)
def test_sums_are_those_of_the_block_to_the_last_bit(dtype, places, width):
    generator = np.random.default_rng(len(places))
    indices = generator.integers(0, 5, places).astype("int32")
    rows = (generator.standard_normal((*places, *width)) * 1e3).astype(dtype)
    expected, table = np.full((5, *width), 9, dtype), np.full((5, *width), 7, dtype)
    scatter_add.compute(np, expected, indices, rows, size=5)
    add_rows(table, indices, rows)
    assert np.array_equal(table, expected)


def test_rows_that_do_not_lie_in_order():
    rows = np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)
    table = np.empty((6, 4))
    add_rows(table, np.array([[0, 1], [1, 1], [5, 0]]), rows)
    assert table[1].tolist() == (rows[0, 1] + rows[1, 0] + rows[1, 1]).tolist()
    assert table[5].tolist() == rows[2, 0].tolist() and not table[2:5].any()


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_integers_and_truth_values_are_added_up_as_well(dtype):
    indices, rows = gg.input("indices", (2, 3), "int32"), gg.input("rows", (2, 3, 2), dtype)
    run = gg.compile(gg.Graph({"y": gg.scatter_add(indices, rows, 4)}))
    places = np.array([[0, 1, 1], [3, 0, 1]], "int32")
    values = (np.arange(12) % 3).astype(dtype).reshape(2, 3, 2)
    expected = np.zeros((4, 2), dtype)
    np.add.at(expected, places, values)
    found = run(indices=places, rows=values)["y"]
    assert found.dtype == dtype and np.array_equal(found, expected)
