"""Sums in kernels lose no more digits than NumPy's, at any length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from loop_texts import kernel, run_both

import graphgrad as gg
from graphgrad.fusion.statements import LONGEST_SUM
from graphgrad.loops.language import Function
from graphgrad.loops.library import sums

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")

FUSED = {"fuse": True, "smallest_kernel": 1}
LIBRARY = {name: its for name, its in vars(sums).items() if isinstance(its, Function)}
SHAPES = [
    (1, 1_000_000),
    (1_000_000, 1),
    (300, LONGEST_SUM),
    (300, LONGEST_SUM + 1),
    (20, 3 * LONGEST_SUM),
    (200_000, 5),
    (7, LONGEST_SUM - 1),
]


def worst_errors(x: np.ndarray, **way) -> dict[str, float]:
    """The relative errors of sums along rows, over rows and of everything; None is NumPy's own."""
    exact = {
        "row": np.sum(x, 1, dtype="f8"),
        "column": np.sum(x, 0, dtype="f8"),
        "total": np.sum(x, dtype="f8"),
    }
    if way:
        node = gg.absolute(gg.input("x", x.shape))
        outputs = {"row": gg.sum(node, 1), "column": gg.sum(node, 0), "total": gg.sum(node)}
        found = gg.compile(gg.Graph(outputs), **way)(x=x)
    else:
        found = {"row": np.sum(x, 1), "column": np.sum(x, 0), "total": np.sum(x)}
    return {name: float(np.max(np.abs(found[name] - sum_) / sum_)) for name, sum_ in exact.items()}


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "random"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_as_exact_as_numpys(shape: tuple[int, int], constant: bool) -> None:
    drawn = np.random.default_rng(0).random(shape, "f4")
    x = np.full(shape, 0.1, "f4") if constant else drawn
    ours, numpys = worst_errors(x, **FUSED), worst_errors(x)
    for name, error in ours.items():
        # a block of rows is added up one by one, which NumPy does with all rows of many columns
        assert error <= max(5e-6 if name == "column" else 1e-6, numpys[name]), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_of_millions(dtype: str) -> None:
    x = gg.input("x", (3_000_000,), dtype)
    mean = gg.compile(gg.Graph({"y": gg.mean(gg.absolute(x))}), fuse=True)
    found = float(mean(x=np.full(3_000_000, 0.1, dtype))["y"])
    assert found == pytest.approx(0.1, rel=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("columns", [5, LONGEST_SUM, 2 * LONGEST_SUM + 3])
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_comes_through(columns: int, odd: float) -> None:
    x = np.ones((9, columns), "f4")
    x[2, columns // 2] = odd
    x[4, 0], x[4, -1] = np.inf, -np.inf
    x[5, :2] = 3e38  # too large together
    node = gg.input("x", x.shape) * 1.0 + 0.0
    outputs = {"row": gg.sum(node, 1), "column": gg.sum(node, 0), "total": gg.sum(node)}
    found = gg.compile(gg.Graph(outputs), **FUSED)(x=x)
    with np.errstate(all="ignore"):
        for name, expected in (("row", x.sum(1)), ("column", x.sum(0)), ("total", x.sum())):
            np.testing.assert_allclose(found[name], expected, 1e-6, err_msg=name)


@pytest.mark.parametrize("type_", ["float32", "float64"])
def test_what_rounding_takes_is_put_back(type_: str) -> None:
    body = f"""total, lost = {type_}(0), {type_}(0)
for i in range(last):
    total, lost = add_exactly(total, lost, x[i])
out[0] = settled(total, lost)"""
    text = kernel(body, f"out: {type_}, 1", f"x: {type_}, last")
    generator = np.random.default_rng(4)
    x = (generator.standard_normal(5000) * 10.0 ** generator.uniform(-6, 6, 5000)).astype(type_)
    out = np.zeros(1, type_)
    for results in run_both(text, out, x, library=LIBRARY, last=x.size):
        assert results[0][0] == np.array(math.fsum(x), type_)
