"""The static type of a value: shape and dtype.

Dtypes are not promoted silently: an operation on float32 and float64 is an error that suggests
`cast`. Numbers and arrays beside a node get its dtype.

Floats of 16 bits (bfloat16, float16) are stored, moved and multiplied as matrices. All other
operations compute in float32 or float64, with casts that are nodes of the graph.
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

try:
    import ml_dtypes
except ImportError:  # an installation from before it was needed: there is no bfloat16
    BFLOAT16 = np.dtype("V2")
    _HAS_BFLOAT16 = False
else:
    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
    _HAS_BFLOAT16 = True

Shape = tuple[int | Dimension, ...]
DType = np.dtype[Any]

FLOAT32 = np.dtype("float32")
FLOAT64 = np.dtype("float64")
FLOAT16 = np.dtype("float16")
INT32 = np.dtype("int32")
INT64 = np.dtype("int64")
BOOL = np.dtype("bool")
HALVES = (BFLOAT16, FLOAT16) if _HAS_BFLOAT16 else (FLOAT16,)
"""Floats of 16 bits: bfloat16 has the range of float32 and 8 digits of its mantissa, float16 has 11
digits, and the range from 2⁻²⁴ to 65504."""
DTYPES = (FLOAT32, FLOAT64, *HALVES, INT32, INT64, BOOL)
FLOAT_KINDS = "fV"
"""The kinds of the float dtypes: NumPy knows bfloat16 as V, a dtype that another package has."""
DTYPE_NAMES = {dtype: str(dtype) for dtype in DTYPES}
"""The name of each dtype: a look-up is faster than NumPy's `str`."""


@dataclass(frozen=True)
class TensorType:
    """The shape (integers and dimensions) and dtype of a value, known before it is computed.

    Shape rules of operations are functions from the types of the heads to the type of the result.

    >>> print(gg.TensorType((gg.dimension("batch"), 3), np.dtype("float32")))
    float32[batch, 3]
    """

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
        """The shape as integers; raises ValueError if a size is not known yet."""
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
        return self.dtype.kind in FLOAT_KINDS

    @property
    def is_half(self) -> bool:
        """Whether the value has floats of 16 bits."""
        return self.dtype.itemsize == 2


def as_dtype(dtype: Any) -> DType:
    """The dtype, if graphgrad supports it; raises ValueError otherwise."""
    found: DType | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None and dtype == "bfloat16":
        raise ValueError("bfloat16 needs the package ml_dtypes; fix: pip install ml_dtypes")
    if found is None or found not in DTYPES:
        raise ValueError(f"dtype {found or dtype} is not one of {', '.join(map(str, DTYPES))}")
    return found


def need_no_halves(types: Iterable[TensorType]) -> None:
    """Raises ValueError if one of the types has floats of 16 bits."""
    for each in types:
        if each.is_half:
            raise ValueError(
                f"computes in float32 or float64, not in {each.dtype}; fix: cast(x, 'float32'), "
                "and cast the result back if it is stored or multiplied as a matrix"
            )


def epsilon_of(dtype: DType) -> float:
    """The distance from 1 to the next larger number of a float dtype."""
    return 2.0**-7 if dtype == BFLOAT16 else float(np.finfo(dtype).eps)


def float_dtype(dtype: Any) -> DType:
    """The given dtype, or the default dtype of the model that is being declared."""
    return as_dtype(current_site().dtype if dtype is None else dtype)


def whole_number(value: Any, what: str, wanted: str = "an integer") -> int:
    """An integer of any type as Python's int; raises ValueError if `value` is not an integer."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{what} is {wanted}, not {value!r:.60}") from None


def real_number(value: Any, what: str) -> float:
    """A finite number of any type as Python's float; raises ValueError if `value` is not one."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, not {value!r:.60}")
    return float(value)


def truth(value: Any, what: str) -> bool:
    """A truth value as Python's bool; raises ValueError for anything else, such as an axis."""
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{what} is True or False, not {value!r:.60}")
    return bool(value)


def as_shape(shape: int | str | Dimension | Iterable[int | str | Dimension]) -> Shape:
    """The shape as integers and dimensions; text is the name of a dimension."""
    if isinstance(shape, str | Dimension) or not isinstance(shape, Iterable):
        return (as_size(shape),)
    return tuple(map(as_size, shape))


def as_size(item: int | str | Dimension) -> int | Dimension:
    """One size as an integer or a dimension; text is the name of a dimension."""
    if isinstance(item, str):
        return named(item)
    if isinstance(item, Dimension):
        return item
    size = whole_number(item, "a size", "an integer or a dimension's name")
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    return size


def shape_text(shape: Sequence[object]) -> str:
    """`[batch, 3]`, the text of a shape in messages and pictures."""
    return "[" + ", ".join(map(str, shape)) + "]"


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape by NumPy's broadcasting; raises ValueError if two sizes differ, neither being 1."""
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
    """`axis` counted from the front; raises ValueError if there is no such axis."""
    axis = whole_number(axis, "an axis")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a value with {rank} axes")
    return axis % rank


def normal_axes(axes: int | Iterable[int] | None, rank: int) -> tuple[int, ...]:
    """The axes counted from the front and sorted; None means all of them."""
    if axes is None:
        return tuple(range(rank))
    chosen = [normal_axis(a, rank) for a in (axes if isinstance(axes, Iterable) else (axes,))]
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"an axis is named twice: {tuple(chosen)}")
    return tuple(sorted(chosen))
