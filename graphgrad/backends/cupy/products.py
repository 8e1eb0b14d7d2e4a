"""A matrix product as BLAS takes it: as data, before there is a library.

BLAS knows matrices whose columns lie one after the other, `leading` elements apart, or such ones
transposed. One whose rows lie together is the transpose of one of those, so a product with such a
result is computed as (a·b)ᵀ = bᵀ·aᵀ: `swapped`, b comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as all_of

import numpy as np

from graphgrad.backends.cupy.epilogues import Epilogue, aux_bytes, aux_leading
from graphgrad.backends.cupy.kernel_files import Strides, joined_axes
from graphgrad.backends.cupy.launches import Array, Extras, Gemm

FLOATS = ("float32", "float64", "bfloat16", "float16")
ALIGNMENT = 16
"""Bytes; what an epilogue reads or writes begins at a multiple of them."""
AUX_ELEMENTS = 8
"""The columns of GELU's argument begin at multiples of so many elements."""


@dataclass(frozen=True, slots=True)
class _Matrix:
    rows: int
    columns: int
    to_row: int
    to_column: int

    @property
    def turned(self) -> _Matrix:
        return _Matrix(self.columns, self.rows, self.to_column, self.to_row)

    @property
    def leading(self) -> int:
        """How far columns lie from each other, each of them in one piece; 0 if they do not."""
        if (self.to_row != 1 and self.rows > 1) or (
            self.columns > 1 and self.to_column < max(self.rows, 1)
        ):
            return 0
        return self.to_column if self.columns > 1 else max(self.rows, 1)


def gemm_of(
    out: Array,
    heads: Sequence[Array],
    transpose_a: bool,
    transpose_b: bool,
    dtype: np.dtype | None = None,
    precision: str = "",
) -> Gemm | None:
    """The call for a product of arrays, or None where one lies in no way that BLAS reads.

    The dtype of the result is that of `out`."""
    batch = out.shape[:-2]
    if str(out.dtype) not in FLOATS:
        return None
    if not all(array.size for array in heads):
        return None
    matrices: list[_Matrix] = []
    steps: list[Strides] = []
    sides = (*heads, out)
    for array, transposed in zip(sides, (transpose_a, transpose_b, False), strict=True):
        strides = tuple(stride // array.dtype.itemsize for stride in array.strides)
        matrix = _Matrix(*array.shape[-2:], *strides[-2:])
        matrices.append(matrix.turned if transposed else matrix)
        steps.append(_broadcast(array.shape[:-2], strides[:-2], batch))
    a, b, c = matrices
    if rows := _as_rows(batch, steps, a, c):
        count, of_a, of_c = rows
        a, c = _Matrix(count, a.columns, of_a, 1), _Matrix(count, c.columns, of_c, 1)
        batch, steps = (), [(), (), ()]
    swapped = not c.leading
    if swapped:
        a, b, c = b.turned, a.turned, c.turned
        steps = [steps[1], steps[0], steps[2]]
    plain, turned = (a.leading, b.leading), (a.turned.leading, b.turned.leading)
    if not c.leading or not all(one or other for one, other in zip(plain, turned, strict=True)):
        return None
    count, strides_of_batch, starts = _batched(batch, steps)
    return Gemm(
        *(c.rows, c.columns, a.columns),
        (not plain[0], not plain[1]),
        (plain[0] or turned[0], plain[1] or turned[1], c.leading),
        swapped,
        count,
        strides_of_batch,
        starts,
        *(str(heads[0].dtype), str(out.dtype)),
        precision or ("float64" if out.dtype.itemsize == 8 else "float32"),
        _alignment(sides),
    )


def _alignment(arrays: Sequence[Array]) -> int:
    """What all arrays are aligned to: each value in a memory begins at a multiple of 64."""
    if all(array.offset % ALIGNMENT == 0 for array in arrays):
        return ALIGNMENT
    return min(array.dtype.itemsize for array in arrays)


def _broadcast(shape: Strides, strides: Strides, batch: Strides) -> Strides:
    """The strides of the axes of the batch: 0 along those that an array has not, or once."""
    missing = len(batch) - len(shape)
    own = (stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True))
    return (*[0] * missing, *own)


def _as_rows(
    batch: Strides, steps: Sequence[Strides], a: _Matrix, c: _Matrix
) -> tuple[int, int, int] | None:
    """The rows of one product in place of many with one b, and how far they lie from each other in
    a and in the result; None unless they lie in line."""
    if any(steps[1]) or not batch or a.to_column != 1 or c.to_column != 1:
        return None
    sizes, of_a, of_c = joined_axes((*batch, a.rows), (*steps[0], a.to_row), (*steps[2], c.to_row))
    return (sizes[0], of_a[0], of_c[0]) if len(sizes) == 1 else None


def _batched(
    batch: Strides, steps: Sequence[Strides]
) -> tuple[int, tuple[int, int, int], tuple[tuple[int, int, int], ...]]:
    """How many products there are, and how each follows the one before, or where all begin."""
    of_left, of_right, of_out = steps
    joined: list[tuple[int, ...]] = []
    for size, *its in zip(batch, of_left, of_right, of_out, strict=True):
        if size == 1:
            continue
        before = joined[-1] if joined else ()
        if before and list(before[1:]) == [each * size for each in its]:
            joined[-1] = (before[0] * size, *its)
        else:
            joined.append((size, *its))
    count = 1
    for size, *_ in joined:
        count *= size
    if len(joined) < 2:
        one, two, three = joined[0][1:] if joined else (0, 0, 0)
        return count, (one, two, three), ()
    starts = []
    for places in all_of(*(range(size) for size, *_ in joined)):
        left, right, out = (
            sum(place * axis[side] for place, axis in zip(places, joined, strict=True))
            for side in (1, 2, 3)
        )
        starts.append((left, right, out))
    return count, (0, 0, 0), tuple(starts)


def with_epilogue(
    gemm: Gemm | None, epilogue: Epilogue, out: Array, heads: Sequence[Array], extras: Extras
) -> tuple[Gemm | None, str]:
    """The call for a product with an epilogue, or None and what the library's demands refuse.

    All of its demands are checked here: those of NVIDIA's documentation of cublasLtEpilogue_t and
    of the attributes of a matmul descriptor, and what nvmath-python guards against.
    """
    refusal = _refusal(gemm, epilogue, out, heads, extras)
    if gemm is None or refusal:
        return None, refusal
    leading_aux = 0
    if epilogue.has_aux:
        bits = epilogue.activation == "relu"
        leading_aux = aux_leading(gemm.rows) if bits else gemm.leading[2]
    described = replace(
        gemm,
        epilogue=epilogue,
        vector="" if extras.vector is None else str(extras.vector.dtype),
        leading_aux=leading_aux,
        leading_added=gemm.leading[2] if extras.added is not None else 0,
    )
    return described, ""


def _refusal(
    gemm: Gemm | None, epilogue: Epilogue, out: Array, heads: Sequence[Array], extras: Extras
) -> str:
    if gemm is None:
        return "BLAS does not read the arrays as they lie"
    if gemm.batch != 1 or gemm.starts:
        return "it is a batch of products"
    its = (*heads, out, extras.vector, extras.aux, extras.added)
    if any(array is not None and array.offset % ALIGNMENT for array in its):
        return f"an array does not begin at a multiple of {ALIGNMENT} bytes"
    if extras.added is not None and not _alike(extras.added, out):
        return "what is added does not lie as the result does"
    if epilogue is Epilogue.DEFAULT:
        return ""
    if (epilogue.adds_bias or epilogue.activation) and not gemm.swapped:
        return "the features of the result do not lie together"
    if gemm.inner == 1 and (epilogue.is_delta or epilogue.sums):
        return "the inner size is 1"
    if epilogue is Epilogue.BGRADB and not gemm.transposed[1]:
        return "what is added up is not read transposed"
    return _refusal_of_extras(gemm, epilogue, out, extras)


def _refusal_of_extras(gemm: Gemm, epilogue: Epilogue, out: Array, extras: Extras) -> str:
    vector, aux = extras.vector, extras.aux
    if (vector is None) == epilogue.has_vector or (aux is None) == epilogue.has_aux:
        return "the epilogue is given too little or too much"
    if vector is not None:
        length = gemm.columns if epilogue is Epilogue.BGRADB else gemm.rows
        if vector.size != length or vector.dtype != out.dtype:
            return "the vector has another length or dtype"
        if length > 1 and vector.strides[-1] != vector.dtype.itemsize:
            return "the numbers of the vector do not lie together"
    if aux is not None and epilogue.activation == "relu":
        if aux_bytes(gemm.rows, gemm.columns) > aux.size * aux.dtype.itemsize:
            return "the bits of the activation have too little room"
    elif aux is not None and (not _alike(aux, out) or gemm.leading[2] % AUX_ELEMENTS):
        return "the argument of the activation does not lie as the library reads it"
    return ""


def _alike(array: Array, other: Array) -> bool:
    """Whether two arrays are of one type, and lie alike."""
    return (array.shape, array.dtype, array.strides) == (other.shape, other.dtype, other.strides)
