"""Figures of one array, against NumPy."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphgrad.figures.array_figures import figures_of

NAN, INFINITY = math.nan, math.inf


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_figures_are_numpys(values: list[float]) -> None:
    array = np.array(values, np.float32)
    found, exact = figures_of(array), array.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(), abs=1e-9 * np.abs(exact).max())
    assert found.std == pytest.approx(exact.std(), rel=1e-9, abs=1e-9 * np.abs(exact).max())
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-12)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert found.zeros == pytest.approx(np.mean(exact == 0))
    assert found.non_finite == 0 and found.shape == array.shape


def test_what_is_not_finite_is_counted_apart() -> None:
    found = figures_of(np.array([[1.0, NAN], [INFINITY, -3.0], [-INFINITY, 0.0]]))
    assert found.non_finite == 3 and found.shape == (3, 2)
    assert (found.minimum, found.maximum, found.mean) == (-3.0, 1.0, pytest.approx(-2 / 3))
    assert found.zeros == pytest.approx(1 / 6)


@pytest.mark.parametrize("array", [np.zeros((0, 4)), np.full(3, NAN), np.array(INFINITY)])
def test_figures_that_do_not_exist_are_none(array: np.ndarray) -> None:
    found = figures_of(array)
    assert found.mean is found.std is found.minimum is found.maximum is None
    assert found.norm == 0.0 and found.non_finite == array.size
    json.dumps(found.to_dict(), allow_nan=False)


def test_integers_and_booleans_count_as_numbers() -> None:
    truths = figures_of(np.array([True, False, True, True]))
    assert truths.mean == 0.75 and truths.zeros == 0.25
    assert figures_of(np.array([3, 4], np.int32)).norm == 5.0


def test_nothing_overflows_or_underflows() -> None:
    large, small = figures_of(np.array([1e300, -1e300])), figures_of(np.full(4, 1e-200))
    assert large.norm == pytest.approx(math.sqrt(2) * 1e300) and large.mean == 0.0
    assert small.norm == pytest.approx(2e-200) and small.std == pytest.approx(0.0, abs=1e-215)
