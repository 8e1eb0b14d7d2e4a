"""Products and turned blocks in registers, for each size of vector, beside sums in float64."""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from graphgrad.loops.library import panels
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.panels import panel_text, registers_of
from graphgrad.loops.turned import turned_text

PROCESSORS = ("+avx,+avx512f", "+avx,-avx512f", "+neon")
"""Features that give vectors of 16, 8 and 4; every processor can run them all, if slowly."""
GENERATOR = np.random.default_rng(8)
SIZES = [(1, 1, 1), (8, 3, 32), (9, 1, 16), (15, 7, 33), (23, 33, 51), (6, 0, 5)]


def compiled(text: str, arguments: int) -> Any:
    symbol = text.split("define void @")[1].split("(")[0]
    name = f"{symbol}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    address = machine_code().address(name, lambda: text.replace(f"@{symbol}(", f"@{name}("))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(address)


def test_vectors_are_as_wide_as_the_processor_has_them():
    assert [registers_of(each).vector for each in PROCESSORS] == [16, 8, 4]
    assert registers_of("+avx2,+avx,+fma").heights == [6, 4, 2, 1]


@pytest.mark.parametrize("features", PROCESSORS)
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_products_of_any_size_are_those_of_float64(features, turned):
    run = compiled(panel_text(f"panel_{turned}".lower(), features, turned), 10)
    for rows, steps, lanes in SIZES:
        a = GENERATOR.normal(size=(steps, rows + 2) if turned else (rows, steps + 2)).astype("f4")
        b = GENERATOR.normal(size=(steps, lanes + 1)).astype("f4")
        c = GENERATOR.normal(size=(rows, lanes + 3)).astype("f4")
        before = c.copy()
        factors = (a[:, :rows].T if turned else a[:, :steps]).astype("f8")
        wanted = factors @ b[:, :lanes]
        for add in (0, 1):
            places = (a.ctypes.data, a.shape[1], b.ctypes.data, b.shape[1], c.ctypes.data)
            run(rows, steps, lanes, *places, c.shape[1], add)
            np.testing.assert_allclose(c[:, :lanes], (add + 1) * wanted, 1e-5, 1e-5)
            assert np.array_equal(c[:, lanes:], before[:, lanes:]), (
                "what is beside it is not touched"
            )


@pytest.mark.parametrize("features", PROCESSORS)
def test_blocks_are_turned_around(features):
    run = compiled(turned_text("turned", features, panels.LANES), 5)
    for rows, columns in [(1, 1), (32, 16), (5, 23), (17, 40), (31, 3)]:
        a = GENERATOR.normal(size=(rows, columns + 2)).astype("f4")
        c = np.full((columns + 1, panels.LANES), 7, "f4")
        run(rows, columns, a.ctypes.data, a.shape[1], c.ctypes.data)
        assert np.array_equal(c[:columns, :rows], a[:, :columns].T)
        assert (c[:columns, rows:] == a[-1:, :columns].T).all() and (c[columns:] == 7).all()


@pytest.mark.parametrize("function", [panels.product_of_rows, panels.product_of_columns])
def test_their_bodies_in_python_say_the_same(function):
    a, b = GENERATOR.normal(size=(4, 4)).astype("f4"), GENERATOR.normal(size=(4, 5)).astype("f4")
    c = np.ones((4, 5), "f4")
    function(4, 4, 5, a.ctypes.data, 4, b.ctypes.data, 5, c.ctypes.data, 5, 1)
    factors = a if function is panels.product_of_rows else a.T
    np.testing.assert_allclose(c, 1 + factors @ b, 1e-6, 1e-6)


def test_the_turned_block_in_python_says_the_same():
    a, c = GENERATOR.normal(size=(3, 2)).astype("f4"), np.zeros((2, panels.LANES), "f4")
    panels.turn_rows(3, 2, a.ctypes.data, 2, c.ctypes.data)
    assert np.array_equal(c[:, :3], a.T) and (c[:, 3:] == a[2:].T).all()
