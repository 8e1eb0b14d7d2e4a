"""What is known of a value before it is computed: its shape and its dtype.

Dtypes never promote silently: an operation on float32 and float64 is an error that names `cast`.
Numbers and arrays that are written beside a node take its dtype.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from graphgrad.graph.dimension import Dimension, named, product
from graphgrad.graph.scope import current_site

Shape = tuple[int | Dimension, ...]
DType = np.dtype[Any]

FLOAT32 = np.dtype("float32")
FLOAT64 = np.dtype("float64")
INT32 = np.dtype("int32")
INT64 = np.dtype("int64")
BOOL = np.dtype("bool")
DTYPES = (FLOAT32, FLOAT64, INT32, INT64, BOOL)
DTYPE_NAMES = {dtype: str(dtype) for dtype in DTYPES}
"""NumPy makes the name anew at every `str`, which takes longer than looking it up."""


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype of a value. What follows from them is worked out once: rebuilt nodes share
    the type of the old ones."""

    shape: Shape
    dtype: DType

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.shape, self.dtype))

    def __str__(self) -> str:
        return f"{DTYPE_NAMES.get(self.dtype) or self.dtype}{shape_text(self.shape)}"

    @cached_property
    def size(self) -> int | Dimension:
        """The number of elements."""
        return product(self.shape)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The shape of a specialised value, all integers; ValueError where one is still open."""
        known: list[int] = []
        for size in self.shape:
            if not isinstance(size, int):
                raise ValueError(f"the shape {shape_text(self.shape)} is not known yet")
            known.append(size)
        return tuple(known)

    @cached_property
    def nbytes(self) -> int:
        """The bytes of a value of known shape."""
        return math.prod(self.sizes) * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"


def as_dtype(dtype: Any) -> DType:
    """A dtype that graphgrad computes with; ValueError for any other."""
    found: DType | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in DTYPES:
        raise ValueError(f"dtype {found or dtype} is not one of {', '.join(map(str, DTYPES))}")
    return found


def float_dtype(dtype: Any) -> DType:
    """The dtype that is given; where none is, that of the model which is being declared."""
    return as_dtype(current_site().dtype if dtype is None else dtype)


def whole_number(value: Any, what: str, wanted: str = "an integer") -> int:
    """A whole number of any kind as Python's own; ValueError where `value` is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{what} is {wanted}, not {value!r:.60}") from None


def real_number(value: Any, what: str) -> float:
    """A finite number of any kind as Python's float; ValueError where `value` is none."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, not {value!r:.60}")
    return float(value)


def truth(value: Any, what: str) -> bool:
    """A yes or no as Python's own; ValueError where it is none, as an axis in its place."""
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{what} is True or False, not {value!r:.60}")
    return bool(value)


def as_shape(shape: int | str | Dimension | Iterable[int | str | Dimension]) -> Shape:
    """A shape of integers and dimensions; text is the name of a dimension."""
    if isinstance(shape, str | Dimension) or not isinstance(shape, Iterable):
        return (as_size(shape),)
    return tuple(map(as_size, shape))


def as_size(item: int | str | Dimension) -> int | Dimension:
    """One size: an integer, or a dimension by its name or itself."""
    if isinstance(item, str):
        return named(item)
    if isinstance(item, Dimension):
        return item
    size = whole_number(item, "a size", "an integer or a dimension's name")
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    return size


def shape_text(shape: Sequence[object]) -> str:
    """`[batch, 3]`, the form in which every message and picture shows a shape."""
    return "[" + ", ".join(map(str, shape)) + "]"


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """NumPy's broadcasting; ValueError where two sizes differ and neither is 1."""
    for shape in shapes:
        if shape != shapes[0]:
            break
    else:
        return shapes[0] if shapes else ()
    rank = max(map(len, shapes))
    result: list[int | Dimension] = []
    for axis in range(-rank, 0):
        size: int | Dimension = 1
        for shape in shapes:
            if len(shape) < -axis or shape[axis] == 1 or shape[axis] == size:
                continue
            if size != 1:
                raise ValueError(
                    f"sizes {size} and {shape[axis]} at axis {axis} differ and neither is 1"
                )
            size = shape[axis]
        result.append(size)
    return tuple(result)


def normal_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front; ValueError where the value has no such axis."""
    axis = whole_number(axis, "an axis")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a value with {rank} axes")
    return axis % rank


def normal_axes(axes: int | Iterable[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted axes counted from the front; None means all of them."""
    if axes is None:
        return tuple(range(rank))
    chosen = [normal_axis(a, rank) for a in (axes if isinstance(axes, Iterable) else (axes,))]
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"an axis is named twice: {tuple(chosen)}")
    return tuple(sorted(chosen))
