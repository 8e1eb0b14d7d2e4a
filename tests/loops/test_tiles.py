"""The register tile has the bits of its meaning, and touches nothing beside its matrices."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.kernel_cache import compile_kernel
from graphgrad.loops.library.products import multiply_tile
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.tiles import AVX2, AVX512, CHAIN, PORTABLE, Tile, processor_tile, tile_text

FORMS = {"avx512": AVX512, "avx2": AVX2, "portable": PORTABLE}
SIZES = [
    (1, 1, 1),
    (0, 3, 2),
    (3, 0, 2),
    (3, 4, 0),
    (13, 31, 7),
    (14, 32, 5),
    (15, 33, 3),
    (29, 47, 2),
    (5, 16, 11),
    (7, 9, 2 * CHAIN + 3),
]


def call(function: Callable[..., Any], add: bool, transposed: bool, a, b, c) -> None:
    """Calls a compiled tile with views of larger arrays."""
    (rows, depth), columns = a.shape, b.shape[1]
    a_row, a_step, b_step, c_row = (each // 4 for each in (*a.strides, b.strides[0], c.strides[0]))
    of_a = [a_step] if transposed else [a_row, a_step]
    of_b, of_c = [b.ctypes.data, b_step], [c.ctypes.data, c_row]
    function(rows, columns, depth, a.ctypes.data, *of_a, *of_b, *of_c, int(add))


def form(tile: Tile, transposed: bool) -> Callable[..., Any]:
    """The compiled function of another processor's tile, which every processor can run."""
    name = machine_code().name_of(tile_text("tile", transposed, tile))
    address = machine_code().address(name, lambda: tile_text(name, transposed, tile))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * (10 if transposed else 11))(address)


def operands(rows: int, columns: int, depth: int, transposed: bool) -> list[np.ndarray]:
    """A, B and C as parts of larger arrays."""
    random = np.random.default_rng(rows * columns + depth)
    a_of = (depth + 1, rows + 3) if transposed else (rows + 1, depth + 3)
    a, b, c = (
        random.standard_normal(shape).astype(np.float32)
        for shape in (a_of, (depth + 1, columns + 5), (rows + 2, columns + 9))
    )
    a = a[:depth, :rows].T if transposed else a[:rows, :depth]
    return [a, b[:depth, 2 : columns + 2], c]


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product, added up step by step, each rounded once."""
    sums = np.zeros((len(a), b.shape[1]))
    for step in range(len(b)):  # float64 holds a product of float32 exactly
        exact = a[:, step, None].astype(np.float64) * b[step]
        sums = (exact + sums).astype(np.float32).astype(np.float64)
    return sums.astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tile", FORMS.values(), ids=FORMS)
def test_a_tile_has_the_bits_of_its_meaning_and_writes_nothing_else(tile, transposed):
    compiled = form(tile, transposed)
    for size in SIZES:
        for add in (False, True):
            a, b, whole = operands(*size, transposed)
            expected, rows, columns = whole.copy(), size[0], size[1]
            call(compiled, add, transposed, a, b, whole[1 : rows + 1, 4 : columns + 4])
            part = expected[1 : rows + 1, 4 : columns + 4]
            part[...] = part if add else 0
            for start in range(0, size[2], CHAIN):
                part += chain(a[:, start : start + CHAIN], b[start : start + CHAIN])
            assert np.array_equal(whole, expected), (size, add)


def at_the_end_of_memory(array: np.ndarray) -> np.ndarray:
    """A copy that ends where memory ends: what reads or writes behind it is stopped."""
    library = ctypes.CDLL(None)
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert library.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    first = mmap.PAGESIZE - array.nbytes
    copy = np.frombuffer(memory, np.float32, array.size, first).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect and anonymous memory")
def test_nothing_beside_the_matrices_is_touched():
    for size in [(3, 17, 4), (15, 33, 3), (1, 1, 1)]:
        a, b, c = (
            at_the_end_of_memory(np.ones(shape, np.float32))
            for shape in ((size[0], size[2]), (size[2], size[1]), size[:2])
        )
        call(compile_function(multiply_tile), True, False, a, b, c)
        assert (c == size[2] + 1).all()


def test_no_sum_leaves_the_registers():
    assembly = machine_code().assembly(tile_text("tile", True)).splitlines()
    assert any("fma" in line or "fmla" in line for line in assembly) or not processor_tile().fused
    vectors = [line for line in assembly if re.search(r"[xyz]mm\d|\bq\d", line)]
    assert not [
        line for line in vectors if re.search(r"\bv?mov|st[rp]|ld[rp]", line) and "sp" in line
    ]


def test_infinities_and_nan_stay_in_their_rows_and_columns():
    a, b = np.ones((16, 3), np.float32), np.ones((3, 35), np.float32)
    a[2, 1], a[14, 0], b[2, 34] = np.nan, np.inf, -np.inf
    c = np.empty((16, 35), np.float32)
    call(compile_function(multiply_tile), False, False, a, b, c)
    with np.errstate(invalid="ignore"):
        expected = a @ b
    assert np.array_equal(c, expected, equal_nan=True)


def test_a_kernel_calls_the_tile():
    kernel = compile_kernel(
        """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, 3)
    for block in range(first, last):
        multiply_columns(2, 5, 3, given[0] + 8 * block, 4, given[1], 5, given[2] + 40 * block, 5, 0)
"""
    )
    random = np.random.default_rng(0)
    a, b = random.random((3, 4), np.float32), random.random((3, 5), np.float32)
    c = np.zeros((4, 5), np.float32)
    words = np.array([each.ctypes.data for each in (a, b, c)], np.int64)
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(kernel)(0, 2, words.ctypes.data)
    assert np.allclose(c, a.T @ b, rtol=1e-6)
