"""Carries out a product as its description says, by NumPy: matrices of BLAS from the first elements
of arrays on, and the epilogue as NVIDIA documents it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.backends.cupy.launches import Gemm
from graphgrad.ops import gelu_tanh

Extra = Mapping[str, np.ndarray | None]
"""The arrays `vector`, `aux` and `added`."""


def blas(
    gemm: Gemm, left: np.ndarray, right: np.ndarray, out: np.ndarray, extra: Extra | None = None
) -> None:
    """What a library does of a call: matrices whose columns lie together."""
    starts = gemm.starts or [
        (place * gemm.strides[0], place * gemm.strides[1], place * gemm.strides[2])
        for place in range(gemm.batch)
    ]
    shapes = ((gemm.rows, gemm.inner), (gemm.inner, gemm.columns), (gemm.rows, gemm.columns))
    turned = (*gemm.transposed, False)
    assert (gemm.operands, gemm.result) == (str(left.dtype), str(out.dtype))
    wide = np.dtype("float64" if gemm.adds_in == "float64" else "float32")
    for places in starts:
        matrices = []
        for array, start, shape, transposed, leading in zip(
            (left, right, out), places, shapes, turned, gemm.leading, strict=True
        ):
            assert leading >= max(1, shape[1 if transposed else 0])
            size = array.dtype.itemsize
            strides = (leading * size, size) if transposed else (size, leading * size)
            matrices.append(at(array, start * size, shape, strides))
        d = matrices[2]
        a, b = (operand(matrix, gemm.adds_in) for matrix in matrices[:2])
        assert a.dtype == wide
        if extra is None or (gemm.epilogue == Epilogue.DEFAULT and not gemm.leading_added):
            result = np.matmul(a, b, out=d) if d.dtype == wide else np.matmul(a, b)
        else:
            result = _with_epilogue(gemm, a, b, d, extra)
        if result is not d:
            d[...] = result.astype(d.dtype)


def operand(matrix: np.ndarray, adds_in: str) -> np.ndarray:
    """An operand as the units for matrices read it: exact in float32, or rounded to tf32."""
    if adds_in == "float64":
        return matrix
    wide = matrix.astype(np.float32)
    if adds_in != "tf32":
        return wide
    mantissa, exponent = np.frexp(wide.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, 11)), exponent - 11).astype(np.float32)


def _with_epilogue(
    gemm: Gemm, a: np.ndarray, b: np.ndarray, d: np.ndarray, extra: Extra
) -> np.ndarray:
    """The result before it is rounded to what it is stored in; sums are taken of it as it is."""
    its, vector, aux = gemm.epilogue, extra["vector"], extra["aux"]
    result: np.ndarray = a @ b
    if gemm.leading_added:
        added = extra["added"]
        assert added is not None and gemm.leading_added >= gemm.rows
        size = added.itemsize
        result = result + at(added, 0, d.shape, (size, gemm.leading_added * size)).astype(a.dtype)
    if its.adds_bias:
        assert vector is not None and vector.size == gemm.rows
        result = result + vector.reshape(-1, 1).astype(a.dtype)
    if its.activation == "relu":
        result = _relu(gemm, result, aux)
    elif its.activation:
        result = _gelu(gemm, result, aux)
    if its.sums:
        assert vector is not None and vector.flags.c_contiguous
        summed = {"result": (result, 1), "left": (a, 1), "right": (b, 0)}[its.sums]
        vector.reshape(-1)[...] = summed[0].sum(summed[1]).astype(vector.dtype)
    return result


def _relu(gemm: Gemm, x: np.ndarray, aux: np.ndarray | None) -> np.ndarray:
    if not gemm.epilogue.has_aux:
        return np.maximum(x, 0)
    assert aux is not None and gemm.leading_aux % 128 == 0 and gemm.leading_aux >= gemm.rows
    row = gemm.leading_aux // 8
    bits = at(aux, 0, (gemm.columns, row), (row, 1))
    if gemm.epilogue.is_delta:
        positive = np.unpackbits(bits, axis=1, bitorder="little")[:, : gemm.rows].T
        return np.where(positive.astype(bool), x, x.dtype.type(0))
    packed = np.packbits((x > 0).T, axis=1, bitorder="little")
    bits[:, : packed.shape[1]] = packed
    return np.maximum(x, 0)


def _gelu(gemm: Gemm, x: np.ndarray, aux: np.ndarray | None) -> np.ndarray:
    argument = x
    if gemm.epilogue.has_aux:
        assert aux is not None and gemm.leading_aux % 8 == 0 and gemm.leading_aux >= gemm.rows
        kept = at(aux, 0, x.shape, (aux.itemsize, gemm.leading_aux * aux.itemsize))
        if gemm.epilogue.is_delta:
            return x * gelu_slope(kept.astype(x.dtype))
        kept[...] = x.astype(aux.dtype)
        argument = kept.astype(x.dtype)
    out = np.empty_like(x)
    assert gelu_tanh.compute is not None
    gelu_tanh.compute(np, out, argument)
    return out


def gelu_slope(x: np.ndarray) -> np.ndarray:
    """The derivative of the tanh form, x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    scale, cube = np.sqrt(2 / np.pi), 0.044715
    wide = x.astype("float64")
    t = np.tanh(scale * (wide + cube * wide**3))
    slope = 0.5 * (1 + t) + 0.5 * wide * (1 - t * t) * scale * (1 + 3 * cube * wide * wide)
    found: np.ndarray = slope.astype(x.dtype)
    return found


def at(
    array: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    """Numbers so many bytes from the first one of an array."""
    if not array.size or 0 in shape:
        return np.empty(shape, array.dtype)
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    start = array.ctypes.data - whole.ctypes.data + offset
    assert start >= 0
    raw = np.ndarray((whole.nbytes,), np.uint8, whole.view(f"u{whole.itemsize}").data)
    place = raw[start : start + array.itemsize].view(array.dtype)
    return as_strided(place, shape, strides)
