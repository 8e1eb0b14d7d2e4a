"""Converts a user's numbers and arrays to values of nodes, and rejects everything else.

Accepted are numbers, NumPy's scalars and arrays, and nested lists. Rejected are masked arrays (the
values behind the mask are undefined) and everything that would become an array of objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import DType, as_dtype

_FITTING = {"f": "fViub", "V": "fViub", "i": "iub", "b": "b"}
"""The kinds of dtype that can be converted to each kind."""


def plain_array(value: Any, dtype: DType | None = None) -> np.ndarray:
    """The value as an array, of `dtype` if given; raises ValueError if it is not numeric."""
    if type(value) is np.ndarray and dtype is None and not value.dtype.hasobject:
        return value  # the usual case, in every step
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            "a masked array has no values where it is masked; fix: fill it, as in "
            "array.filled(0.0), and give the mask as a value of its own"
        )
    try:
        with np.errstate(over="raise"):  # 1e300 is not a float32
            array = np.asarray(value, dtype)
    except (TypeError, ValueError, ArithmeticError) as problem:
        if "inhomogeneous" in str(problem):
            problem = ValueError("its rows have different lengths; fix: pad them to one length")
        raise ValueError(str(problem)) from None
    if array.dtype.hasobject:
        raise ValueError(f"{type(value).__name__} is not an array of numbers")
    return array


def converted(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The array as `dtype`; raises ValueError if that changes values by more than rounding."""
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in _FITTING[dtype.kind]:
        raise ValueError(f"has dtype {array.dtype}, the graph wants {dtype}")
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    kept = (
        np.array_equal(result, array)
        if dtype.kind == "i"
        else np.array_equal(np.isfinite(result), np.isfinite(array))
    )
    if not kept:
        raise ValueError(f"has values too large for {dtype}")
    return result


def given_array(what: str, value: Any, dtype: DType | None = None) -> np.ndarray:
    """A user's value for `what` ("input 'x'") as an array, of `dtype` if given.

    Raises DeclarationError if it is not numeric or does not fit the dtype.
    """
    try:
        array = plain_array(value)
    except ValueError as problem:
        reason, _, fix = str(problem).partition("; fix: ")
        raise DeclarationError(f"{what}: {reason}", current_origin(), fix) from None
    try:
        return array if dtype is None else converted(array, dtype)
    except ValueError as problem:
        raise DeclarationError(f"{what} {problem}", current_origin()) from None


def given_operand(value: Any, what: str, dtype: DType | None) -> tuple[Any, DType | None]:
    """The value and dtype of the constant for a user's number or array, which is an operand of the
    operation `what` beside nodes of `dtype`. Raises DeclarationError for anything else."""
    if not isinstance(value, bool | int | float | np.ndarray | np.generic):
        raise DeclarationError(
            f"{what} takes nodes, numbers and arrays, not {type(value).__name__}",
            current_origin(),
            "make it an array: numpy.array(…), or stack(…) for nodes"
            if isinstance(value, list | tuple)
            else "declare the value with input(), parameter() or constant()",
        )
    if dtype is None or isinstance(value, bool | np.bool_):
        return value, None
    kind = "f" if isinstance(value, float) else np.result_type(value).kind
    if dtype.kind in "iu" and kind == "f":
        shown = f"number {value}" if np.ndim(value) == 0 else f"array of {np.result_type(value)}"
        raise DeclarationError(
            f"{what}: the {shown} meets a node of dtype {dtype}",
            current_origin(),
            "write an integer, or cast the node: cast(x, 'float32')",
        )
    if not isinstance(value, np.ndarray | np.generic):
        return value, dtype
    array = given_array(f"{what}: the array", value)
    return (array if kind == "b" else given_array(f"{what}: the array", array, dtype)), None


@dataclass(frozen=True, eq=False)
class Literal:
    """The value of a constant: a read-only array, compared by content."""

    array: np.ndarray
    key: tuple[DType, tuple[int, ...], bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        frozen = np.array(self.array, order="C")
        frozen.flags.writeable = False
        object.__setattr__(self, "array", frozen)
        object.__setattr__(self, "key", (frozen.dtype, frozen.shape, frozen.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        if self.array.size == 1:
            return repr(self.array.reshape(()).item())
        return f"<{self.array.size} numbers>"


def literal(value: Any, dtype: Any = None) -> Literal:
    """The value of `constant(value, dtype)`; raises ValueError if it is not numeric."""
    if dtype is None and isinstance(value, int | float) and not isinstance(value, np.generic):
        whole = "bool" if isinstance(value, bool) else "int32"
        dtype = whole if isinstance(value, int) else "float32"
    array = plain_array(value, None if dtype is None else as_dtype(dtype))
    as_dtype(array.dtype)
    return Literal(array)
