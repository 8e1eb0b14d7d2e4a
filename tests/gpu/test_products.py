"""Matrix products as BLAS takes them, carried out as BLAS is documented to."""

from __future__ import annotations

import numpy as np
import pytest
from gemm_numpy import blas

from graphgrad.backends.cupy.launches import ARENA, Array, Gemm
from graphgrad.backends.cupy.products import gemm_of
from graphgrad.graph.types import HALVES

SHAPES = [
    ((4, 5), (5, 3)),
    ((1, 5), (5, 3)),
    ((4, 1), (1, 3)),
    ((4, 5), (5, 1)),
    ((1, 1), (1, 1)),
    ((2, 4, 5), (5, 3)),
    ((2, 1, 5), (5, 3)),
    ((2, 4, 5), (2, 5, 3)),
    ((2, 4, 5), (1, 5, 3)),
    ((4, 5), (2, 5, 3)),
    ((2, 3, 4, 5), (2, 3, 5, 2)),
    ((2, 3, 4, 5), (3, 5, 2)),
    ((2, 1, 4, 5), (2, 3, 5, 2)),
    ((2, 3, 4, 5), (5, 2)),
]
ORDERS = ("C", "turned", "heads", "padded")


def laid_out(values: np.ndarray, order: str) -> np.ndarray:
    """The same numbers in another order of axes in memory, or with room between the rows."""
    if order == "turned":
        return np.ascontiguousarray(values.swapaxes(-1, -2)).swapaxes(-1, -2)
    if order == "heads" and values.ndim > 2:  # as attention splits an array into heads
        return np.ascontiguousarray(values.swapaxes(-3, -2)).swapaxes(-3, -2)
    if order == "padded":
        room = np.full((*values.shape[:-1], values.shape[-1] + 3), np.nan, values.dtype)
        room[..., : values.shape[-1]] = values
        return room[..., : values.shape[-1]]
    return np.ascontiguousarray(values)


def described(array: np.ndarray) -> Array:
    return Array(ARENA, 0, array.dtype, array.shape, array.strides)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        *(("float32", "float32"), ("float64", "float64")),
        *((str(half), result) for half in HALVES for result in (str(half), "float32")),
    ],
)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_a_product_of_arrays_in_any_order_is_that_of_numpy(shapes, dtype, result):
    generator = np.random.default_rng(0)
    found = 0
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            a, b = (generator.integers(-9, 9, shape) for shape in shapes)
            wanted = (a @ b).astype(result)
            a, b = a.astype(dtype), b.astype(dtype)
            a = a.swapaxes(-1, -2) if transpose_a else a
            b = b.swapaxes(-1, -2) if transpose_b else b
            for of_a in ORDERS:
                for of_b in ORDERS:
                    for of_out in ORDERS:
                        heads = [laid_out(a, of_a), laid_out(b, of_b)]
                        out = laid_out(np.full_like(wanted, np.nan), of_out)
                        gemm = gemm_of(
                            described(out), list(map(described, heads)), transpose_a, transpose_b
                        )
                        assert gemm is not None and gemm.adds_in in ("float32", "float64")
                        left, right = reversed(heads) if gemm.swapped else heads
                        blas(gemm, left, right, out)
                        np.testing.assert_array_equal(out, wanted)
                        found += 1
    assert found == 4 * len(ORDERS) ** 3


def gemm_for(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Gemm | None:
    return gemm_of(described(out), [described(a), described(b)], False, False)


def test_a_batch_with_one_matrix_is_one_product():
    gemm = gemm_for(np.ones((6, 7, 5)), np.ones((5, 3)), np.ones((6, 7, 3)))
    assert gemm is not None and (gemm.batch, gemm.rows, gemm.columns) == (1, 3, 42)


def test_heads_that_lie_within_rows_are_found_by_where_each_begins():
    inside = np.ones((2, 4, 3, 5)).swapaxes(1, 2)
    gemm = gemm_for(inside, np.ones((2, 3, 5, 4)), np.ones((2, 3, 4, 4)))
    assert gemm is not None and len(gemm.starts) == gemm.batch == 6
    gemm = gemm_for(np.ones((2, 3, 4, 5)), np.ones((2, 3, 5, 4)), np.ones((2, 3, 4, 4)))
    assert gemm is not None and not gemm.starts and gemm.strides == (20, 20, 16)


def test_what_blas_cannot_read_is_told():
    sparse = np.ones((4, 10))[:, ::2]
    repeated = np.broadcast_to(np.ones(5), (4, 5))
    out, b = np.ones((4, 3)), np.ones((5, 3))
    assert gemm_for(np.ones((4, 0)), np.ones((0, 3)), out) is None
    assert gemm_for(sparse, b, out) is None
    assert gemm_for(repeated, b, out) is None
    assert gemm_for(np.ones((4, 5), int), b.astype(int), out.astype(int)) is None
    assert gemm_for(np.ones((4, 5)), b, np.ones((4, 6))[:, ::2]) is None
