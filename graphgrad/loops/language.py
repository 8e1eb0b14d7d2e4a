"""The words of the loop language as Python knows them (the language itself: translate.py).

What is written in the language imports its words from here, so that it reads, and runs, as Python:
slowly, but with the same meaning, which is how the tests ask whether a translation is right.
Arithmetic of NumPy's scalars keeps their types, as the language does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Function:
    """A function of the loop language; called from Python, it runs as Python."""

    python: Callable[..., Any]
    flags: tuple[str, ...] = ()
    """What its floating-point operations may do beyond rounding one by one, in LLVM's words:
    "contract" rounds a multiplication and an addition once, "reassoc" takes sums in any order."""
    separate: bool = False
    """Whether it is machine code of its own, which others call, and not written out in them."""

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)

    @property
    def name(self) -> str:
        return self.python.__name__

    @property
    def symbol(self) -> str:
        """What others call it by, where it is separate."""
        return f"graphgrad_{self.name}"


def loop_function(*flags: str, separate: bool = False) -> Callable[[Callable[..., Any]], Function]:
    """Declares a function of the loop language."""
    return lambda python: Function(python, flags, separate)


float32, float64, bool_ = np.float32, np.float64, np.bool_
int32, int64, uint32, uint64 = np.int32, np.int64, np.uint32, np.uint64
word, signed, unsigned, real = Any, Any, Any, Any
"""Types that a function is translated for, one after the other: integers, a float."""
INFINITY, NAN = np.inf, np.nan

independent = range
sqrt, floor, log, sin, cos, pow = np.sqrt, np.floor, np.log, np.sin, np.cos, np.power
c_sin, c_cos = np.sin, np.cos
"""Those of the C library, whatever better ones there are."""
exp, tanh, log1p, expm1, isfinite, abs = (np.exp, np.tanh, np.log1p, np.expm1, np.isfinite, np.abs)


def array(address: Any, dtype: Any, *sizes: Any) -> np.ndarray:
    """The numbers at an address, in C order."""
    kinds: dict[str, Any] = {
        "float32": ctypes.c_float,
        "float64": ctypes.c_double,
        "int32": ctypes.c_int32,
        "int64": ctypes.c_int64,
        "uint32": ctypes.c_uint32,
        "uint64": ctypes.c_uint64,
        "bool": ctypes.c_bool,
    }
    kind = kinds[np.dtype(dtype).name] * int(np.prod(sizes))
    return np.ctypeslib.as_array(kind.from_address(int(address))).reshape(sizes)


def address(numbers: np.ndarray) -> int:
    """Where the numbers of an array lie, for a function that is separate."""
    return int(numbers.ctypes.data)


def empty(size: Any, dtype: Any) -> np.ndarray:
    """Memory of the function's own."""
    return np.empty(size, dtype)


def bits(a: Any, dtype: Any) -> Any:
    """The bits of a number as another type of the same size."""
    return a.view(dtype)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a · b + c of the type of a, rounded once."""
    kind = type(a)
    b, c = kind(b), kind(c)
    usual = a * b + c
    if not np.isfinite(usual):
        return usual
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return kind(exact) if exact else usual


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; a number without a type takes that of the other."""
    chosen = a if condition else b
    kinds = [type(one) for one in (a, b) if isinstance(one, np.generic)]
    return kinds[0](chosen) if kinds else chosen


def plus(a: Any, b: Any) -> Any:
    """A step of a sum, whose steps may be taken in any order."""
    return a + b


def larger(a: Any, b: Any) -> Any:
    """A step of the largest of a row, whose steps may be taken in any order."""
    return maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """A step of the smallest of a row, likewise."""
    return minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """NumPy's maximum: NaN where either is. A text calls it `max`."""
    return a if a > b or a != a else b


def minimum(a: Any, b: Any) -> Any:
    """NumPy's minimum: NaN where either is. A text calls it `min`."""
    return a if a < b or a != a else b


def whole_int32(a: Any) -> Any:
    """A float cut towards zero and held within int32; NaN becomes 0."""
    return _whole(a, np.int32)


def whole_int64(a: Any) -> Any:
    """The same as int64."""
    return _whole(a, np.int64)


def _whole(a: Any, dtype: Any) -> Any:
    limits = np.iinfo(dtype)
    if a != a:
        return dtype(0)
    if not np.isfinite(a):
        return dtype(limits.max if a > 0 else limits.min)
    return dtype(max(limits.min, min(limits.max, int(a))))


def call_blocks(address: Any, first: Any, last: Any, arguments: Any) -> None:
    """Calls the function at an address: `f(first, last, arguments)`."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(int(address))(first, last, arguments)


def call_c(address: Any, *words: Any) -> int:
    """Calls a function of the C library that takes words and gives an int."""
    return int(ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * len(words))(int(address))(*words))
