"""Blocks of rows that are turned around, for each size of vector."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from graphgrad.loops.library.turned import LANES, turn_rows
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.turned import turned_text

GENERATOR = np.random.default_rng(8)


@pytest.mark.parametrize("size", [16, 8, 4])
def test_blocks_of_any_size_are_turned_around(size):
    name = machine_code().name_of(turned_text("turned", size, LANES))
    address = machine_code().address(name, lambda: turned_text(name, size, LANES))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address)
    for rows, columns in [(1, 1), (32, 16), (5, 23), (16, 32), (17, 40), (31, 3)]:
        a = GENERATOR.normal(size=(rows, columns + 2)).astype("f4")
        c = np.full((columns + 1, LANES), 7, "f4")
        run(rows, columns, a.ctypes.data, a.shape[1], c.ctypes.data)
        assert np.array_equal(c[:columns, :rows], a[:, :columns].T)
        assert (c[:columns, rows : LANES // 2] == a[-1:, :columns].T).all()
        if rows > LANES // 2:
            assert (c[:columns, rows:] == a[-1:, :columns].T).all()
        assert (c[columns:] == 7).all(), "what is below is not touched"


def test_the_turned_block_in_python_says_the_same():
    a, c = GENERATOR.normal(size=(3, 2)).astype("f4"), np.zeros((2, LANES), "f4")
    turn_rows(3, 2, a.ctypes.data, 2, c.ctypes.data)
    assert np.array_equal(c[:, :3], a.T) and (c[:, 3 : LANES // 2] == a[2:].T).all()
