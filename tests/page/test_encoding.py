"""Numbers on their way into a page."""

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphgrad.page.encoding import number, packed, packed_bits, ratio


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_nine_digits(value: float) -> None:
    assert number(value) == pytest.approx(value, rel=1e-8, abs=0)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_none(value: float | None) -> None:
    assert number(value) is None


def test_packed_numbers_come_back_exactly_in_order() -> None:
    array = np.array([[1.5, -0.0, np.nan], [np.inf, 1e-45, 3.0]], ">f4")
    found = np.frombuffer(base64.b64decode(packed(array.T)), "<f4")
    np.testing.assert_array_equal(found, array.T.ravel())


def test_packed_bits_start_at_the_highest() -> None:
    array = np.array([[True, False, False], [False, True, True], [True, True, False]])
    assert base64.b64decode(packed_bits(array)) == bytes([0b10001111, 0b00000000])


def test_a_ratio_exists_only_between_finite_numbers() -> None:
    assert ratio(1.0, 4.0) == 0.25 and ratio(0.0, 2.0) == 0.0
    assert ratio(1.0, 0.0) is ratio(math.inf, 1.0) is ratio(1.0, math.nan) is None
