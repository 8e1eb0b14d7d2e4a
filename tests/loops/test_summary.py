"""The figures of arrays in one pass: compared with NumPy in float64, with extreme contents."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.loops.library.summary import BLOCK, measure_floats

EXTREMES = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 3e38, -3e38, 1e-30, 1e10]


def figures(x: np.ndarray) -> np.ndarray:
    """The expected figures, by NumPy in float64 (or longer)."""
    numbers = x.astype(np.longdouble).reshape(-1)
    finite = numbers[np.isfinite(numbers)]
    zeros, lost = np.count_nonzero(numbers == 0) / numbers.size, numbers.size - finite.size
    if not finite.size:
        return np.array([np.nan, np.nan, 0.0, np.nan, np.nan, zeros, lost])
    norm = np.sqrt(np.sum(finite * finite))
    found = [finite.mean(), finite.std(), norm, finite.min(), finite.max(), zeros, lost]
    return np.array(found, np.float64)


def check(x: np.ndarray) -> None:
    found = np.full(7, -1.0)
    assert measure_floats(x, found)
    wanted = figures(x)
    size = wanted[2] / np.sqrt(max(x.size - wanted[6], 1))  # the root mean square
    rounding = np.finfo(x.dtype).eps
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=2 * size * rounding)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-6, atol=size * 1e-15)
    np.testing.assert_allclose(found[2], wanted[2], rtol=10 * rounding)
    np.testing.assert_array_equal(found[3:5], wanted[3:5])
    np.testing.assert_allclose(found[5:], wanted[5:], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 7, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
@pytest.mark.parametrize("scale, shift", [(1, 0.3), (1e-3, 1000), (1e-25, 0), (1e17, 1e17)])
def test_figures_are_those_of_numpy(dtype, size, scale, shift):
    generator = np.random.default_rng(size)
    check((generator.normal(size=size) * scale + shift).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_with_other_means_and_with_other_scales(dtype):
    generator = np.random.default_rng(0)
    parts = [
        generator.normal(mean, spread, BLOCK + 5)
        for mean, spread in ((1e4, 1e-2), (0, 1), (-1e4, 1e-3), (5, 1e-12), (0, 0))
    ]
    check(np.concatenate(parts).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elements_that_are_not_finite_are_counted_apart(dtype):
    x = np.random.default_rng(0).normal(size=(3, BLOCK)).astype(dtype)
    x[0, 7], x[0, 8], x[1, 0], x[2, -1], x[2, :5] = np.nan, -np.nan, np.inf, -np.inf, 0
    check(x)
    check(x[1:])
    check(np.full(BLOCK + 1, -np.inf, dtype))
    check(np.full(1, np.nan, dtype))


def test_a_constant_has_no_deviation_at_all():
    found = np.empty(7)
    assert measure_floats(np.full(10_000, 0.1, np.float32), found)
    assert found[1] == 0.0 and found[0] == np.float32(0.1)


def test_squares_that_overflow_are_reported_not_returned():
    assert not measure_floats(np.array([1e200, -1e200]), np.empty(7))
    check(np.array([3e38, -3e38, 1], np.float32))  # float64 holds those


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(st.sampled_from(EXTREMES), st.floats(width=32)), min_size=1, max_size=40),
    st.sampled_from([1, BLOCK]),
)
def test_any_content(values, repeats):
    check(np.repeat(np.array(values, np.float32), repeats))
