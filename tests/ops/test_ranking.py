"""The largest elements of rows: ties, infinities and NaN, by the block and by compiled code."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg

NAN, INFINITY = np.nan, np.inf
ROWS = {
    "ties": [3.0, 1.0, 3.0, 3.0, 2.0, 2.0],
    "infinities": [-INFINITY, INFINITY, 0.0, -INFINITY, INFINITY, -1.0],
    "nothing but -∞": [-INFINITY] * 6,
    "one number": [-INFINITY, -INFINITY, -INFINITY, 5.0, -INFINITY, -INFINITY],
    "nan": [NAN, 1.0, NAN, 0.0, -INFINITY, 2.0],
    "only nan": [NAN] * 6,
}


def by_hand(row, k):
    """Largest first, of equal ones the first, NaN last."""
    order = sorted(
        range(len(row)), key=lambda place: -row[place] if row[place] == row[place] else 0
    )
    order.sort(key=lambda place: row[place] != row[place])
    return order[:k]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_and_ties(row, dtype):
    for k in (1, 3, 6):
        x = gg.input("x", (1, 6), dtype)
        program = gg.compile(gg.Graph({"y": gg.top(x, k)}))
        assert program(x=np.array([row], dtype))["y"][0].tolist() == by_hand(row, k)


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 1000])
def test_long_rows_with_many_equal_elements(columns):
    generator = np.random.default_rng(columns)
    values = generator.integers(0, 50, (40, columns)).astype("float32")
    values[generator.random(values.shape) < 0.1] = -INFINITY
    values[3, :] = NAN
    values[4, :-1] = NAN
    k = min(columns, 7)
    x = gg.input("x", ("row", columns))
    found = gg.compile(gg.Graph({"y": gg.top(x, k)}))(x=values)["y"]
    expected = np.argsort(-values, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found, expected)


def test_what_there_is_not():
    x = gg.input("x", (2, 3))
    for k in (0, 4):
        with pytest.raises(gg.DeclarationError, match="of 3 elements"):
            gg.top(x, k)
    with pytest.raises(gg.DeclarationError, match="a scalar"):
        gg.top(gg.input("s", ()), 1)
