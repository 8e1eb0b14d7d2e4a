"""Products by NumPy from raw addresses: the computations of the libraries in fake_cublas.py."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gemm_numpy import operand
from numpy.lib.stride_tricks import as_strided

from graphgrad.graph.types import BFLOAT16
from graphgrad.ops import gelu_tanh

TYPES = {
    0: np.dtype("float32"),
    1: np.dtype("float64"),
    2: np.dtype("float16"),
    14: BFLOAT16,
}
"""cudaDataType_t."""


@dataclass
class Layout:
    """A matrix of a call."""

    dtype: np.dtype
    rows: int
    columns: int
    leading: int
    batch: int = 1
    stride: int = 0


@dataclass
class Memory:
    """Stretches of memory that were allocated, as (address, size)."""

    stretches: list[tuple[int, int]] = field(default_factory=list)

    def add(self, address: int, size: int) -> None:
        self.stretches.append((address, size))

    def need(self, address: int, size: int) -> None:
        inside = any(a <= address and address + size <= a + its for a, its in self.stretches)
        assert inside, f"{size} bytes at {address:#x} are not allocated"

    def matrix(self, address: int, its: Layout, place: int = 0) -> np.ndarray:
        """A matrix in memory, of a batch one of them."""
        size = its.dtype.itemsize
        assert its.leading >= max(1, its.rows), "a leading dimension below the rows"
        start = address + place * its.stride * size
        self.need(start, ((its.columns - 1) * its.leading + its.rows) * size)
        return self.array(start, its.dtype, (its.rows, its.columns), (size, its.leading * size))

    def array(
        self, address: int, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> np.ndarray:
        assert address % dtype.itemsize == 0, "an address that elements are not aligned to"
        reach = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        self.need(address, reach + dtype.itemsize)
        raw = (ctypes.c_ubyte * (reach + dtype.itemsize)).from_address(address)
        return as_strided(
            np.frombuffer(raw, np.uint8)[: dtype.itemsize].view(dtype), shape, strides
        )


def computed(
    memory: Memory,
    name: str,
    its: dict[Any, Any],
    matrices: list[np.ndarray],
    adds: bool,
) -> None:
    """Carries out a product with the epilogue of this name; `its` are the attributes."""
    a, b, c, d = matrices
    a, b = (operand(each, its["compute"]) for each in (a, b))
    a, b = (a.T if its.get(3) else a), (b.T if its.get(4) else b)
    y = a @ b
    wide = y.dtype
    if adds:
        y = y + c.astype(wide)
    m, n = y.shape
    length = n if name == "BGRADB" else m
    vector = _vector(memory, its, d.dtype, length) if "BIAS" in name or "GRAD" in name else None
    if "BIAS" in name:
        assert vector is not None
        y = y + vector.astype(wide)[:, None]
    if "RELU" in name:
        y = _relu(memory, name, its, y)
    if "GELU" in name:
        y = _gelu(memory, name, its, y, d.dtype)
    if "GRAD" in name:
        assert vector is not None
        sums = {"BGRADA": (a, 1), "BGRADB": (b, 0)}.get(name, (y, 1))
        vector[...] = sums[0].sum(sums[1]).astype(vector.dtype)
    d[...] = y.astype(d.dtype)


def _vector(memory: Memory, its: dict[Any, Any], dtype: np.dtype, length: int) -> np.ndarray:
    dtype = TYPES[its[26]] if 26 in its else dtype
    return memory.array(its[8], dtype, (length,), (dtype.itemsize,))


def _relu(memory: Memory, name: str, its: dict[Any, Any], y: np.ndarray) -> np.ndarray:
    if name in ("RELU", "RELU_BIAS"):
        return np.maximum(y, 0)
    m, n = y.shape
    row = its[12] // 8
    bits = memory.array(its[11], np.dtype(np.uint8), (n, row), (row, 1))
    if name.startswith("D"):
        return y * np.unpackbits(bits, axis=1, bitorder="little")[:, :m].T
    packed = np.packbits((y > 0).T, axis=1, bitorder="little")
    bits[...] = 0
    bits[:, : packed.shape[1]] = packed
    return np.maximum(y, 0)


def _gelu(
    memory: Memory, name: str, its: dict[Any, Any], y: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    argument = y
    if 11 in its:
        strides = (dtype.itemsize, its[12] * dtype.itemsize)
        kept = memory.array(its[11], dtype, y.shape, strides)
        if name.startswith("D"):
            return y * _slope(kept.astype(y.dtype))
        kept[...] = argument.astype(dtype)
    out = np.empty_like(y)
    assert gelu_tanh.compute is not None
    gelu_tanh.compute(np, out, argument)
    return out


def layouts_of(
    ta: int, tb: int, m: int, n: int, k: int, kinds: tuple[int, ...], leading: tuple[int, ...]
) -> list[Layout]:
    """The matrices of a call of cuBLAS."""
    shapes = ((k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n))
    return [
        Layout(TYPES[kind], *shape, its)
        for kind, shape, its in zip(kinds, shapes, leading, strict=True)
    ]


def number_at(at: int, dtype: np.dtype) -> float:
    """The number at an address."""
    return float(np.frombuffer(ctypes.string_at(at, dtype.itemsize), dtype)[0])


def _slope(x: np.ndarray) -> np.ndarray:
    """The derivative of the tanh form, from its formula, in float64."""
    wide, c = x.astype("float64"), np.sqrt(2 / np.pi)
    t = np.tanh(c * (wide + 0.044715 * wide**3))
    slope = 0.5 * (1 + t) + 0.5 * wide * (1 - t**2) * c * (1 + 0.134145 * wide**2)
    return slope.astype(x.dtype)
