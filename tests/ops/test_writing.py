"""Rows that are written into a value: only those rows, only where they belong."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import DataError, DeclarationError


def kept():
    """A state whose next value has some rows written."""
    state = gg.state("kept", (2, 5, 3))
    rows, places = gg.input("rows", (2, 2, 3)), gg.input("places", (2, 2), "int32")
    written = gg.write_rows(state, rows, places, name="written")
    return gg.Graph({"sum": gg.sum(written)}, {state: written})


def test_a_state_is_written_where_it_lies():
    program = gg.compile(kept())
    array = np.arange(30, dtype="float32").reshape(2, 5, 3)
    expected, rows = array.copy(), -np.ones((2, 2, 3), "float32")
    expected[0, [4, 1]] = expected[1, [0, 2]] = -1
    found = program({"kept": array}, rows=rows, places=[[4, 1], [0, 2]])
    np.testing.assert_array_equal(array, expected)
    assert found["sum"] == expected.sum()
    assert not program.program().plan.copies
    assert "op.write_rows(w2, w2," in program.program().source  # into the state, from the state


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([[0, 5], [0, 1]], "outside"),
        ([[0, -1], [0, 1]], "outside"),
        ([[0, 1], [3, 3]], "one place"),
    ],
)
def test_places_that_are_none_are_refused_and_nothing_is_written(places, message):
    array = np.zeros((2, 5, 3), "float32")
    with pytest.raises(DataError, match=message):
        gg.compile(kept())({"kept": array}, rows=np.ones((2, 2, 3), "float32"), places=places)
    assert not array.any()


@pytest.mark.parametrize(
    ("x", "rows", "places", "message"),
    [
        ((2, 5, 3), (2, 1, 4), (2, 1), "a row of"),
        ((2, 5, 3), (2, 2, 3), (2, 1), "a row of"),
        ((2, 5, 3), (3, 1, 3), (3, 1), "a row of"),
        ((2, 5), (2, 5), (2, 5), "nothing of it would be left"),
        ((5,), (1,), (1, 1), "batch, place"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, rows, places, message):
    x, rows = gg.input("x", x), gg.input("rows", rows)
    with pytest.raises(DeclarationError, match=message):
        gg.write_rows(x, rows, gg.input("places", places, "int32"))
