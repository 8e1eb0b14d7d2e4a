"""A user's arrays: what counts as the value of a node, what is converted, what is refused.

Numbers, NumPy's scalars, arrays and nested lists are values. A masked array is none (nobody can say
what stands behind its mask), and neither is anything that would become an array of objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import DType, as_dtype

_FITTING = {"f": "fiub", "i": "iub", "b": "b"}
"""The kinds of dtype whose arrays can become one of this kind."""


def plain_array(value: Any, dtype: DType | None = None) -> np.ndarray:
    """The value as an array, of `dtype` where one is given; ValueError where it is none."""
    if type(value) is np.ndarray and dtype is None and not value.dtype.hasobject:
        return value  # as almost always: a step is fed many times
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            "a masked array has no values where it is masked; fix: fill it, as in "
            "array.filled(0.0), and give the mask as a value of its own"
        )
    try:
        with np.errstate(over="raise"):  # 1e300 is no float32
            array = np.asarray(value, dtype)
    except (TypeError, ValueError, ArithmeticError) as problem:
        if "inhomogeneous" in str(problem):
            problem = ValueError("its rows have different lengths; fix: pad them to one length")
        raise ValueError(str(problem)) from None
    if array.dtype.hasobject:
        raise ValueError(f"{type(value).__name__} is no array of numbers")
    return array


def converted(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The array as `dtype`; ValueError where that loses more than digits."""
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
    """What a user gives for `what` ("input 'x'"), as `dtype` where one is said; DeclarationError
    where it is no array, or would lose more than digits."""
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
    """The constant that a user's number or array is, beside nodes of `dtype` in the operation
    called `what`: its value and the dtype to give it. DeclarationError where it is neither."""
    if not isinstance(value, bool | int | float | np.ndarray | np.generic):
        raise DeclarationError(
            f"{what} takes nodes, numbers and arrays, not {type(value).__name__}",
            current_origin(),
            "make an array of it: numpy.array(…), or stack(…) where it holds nodes"
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
    """The value of a constant: an array that nobody can write to, equal by content."""

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
    """The value of `constant(value, dtype)`; ValueError where it is none."""
    if dtype is None and isinstance(value, int | float) and not isinstance(value, np.generic):
        whole = "bool" if isinstance(value, bool) else "int32"
        dtype = whole if isinstance(value, int) else "float32"
    array = plain_array(value, None if dtype is None else as_dtype(dtype))
    as_dtype(array.dtype)
    return Literal(array)
