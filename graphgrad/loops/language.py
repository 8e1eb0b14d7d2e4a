"""Defines the names of the loop language in Python (translate.py describes the language).

Functions in the language import these names, so they are valid Python and run as such: slowly, but
with the same meaning, by which the tests check the translation. Arithmetic on NumPy scalars keeps
their types, as the language does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

bfloat16: Any = None
with suppress(ImportError):  # where it is missing, no array has that type
    import ml_dtypes

    bfloat16 = ml_dtypes.bfloat16


@dataclass(frozen=True)
class Function:
    """A function of the loop language; called from Python, it runs as Python."""

    python: Callable[..., Any]
    flags: tuple[str, ...] = ()
    """LLVM's fast-math flags of its floating-point operations: "contract" rounds a multiplication
    and an addition once, "reassoc" takes sums in any order."""
    separate: bool = False
    """Whether it is compiled by itself and called, instead of inlined."""
    generated: Callable[[str], str] | None = None
    """What makes the LLVM text of the function of a name, if that is not translated from Python."""

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)

    @property
    def name(self) -> str:
        return self.python.__name__

    @property
    def symbol(self) -> str:
        """The name in LLVM's text of a separate function."""
        return f"graphgrad_{self.name}"


def loop_function(*flags: str, separate: bool = False) -> Callable[[Callable[..., Any]], Function]:
    """Declares a function of the loop language; `flags` are LLVM's fast-math flags."""
    return lambda python: Function(python, flags, separate)


def generated_function(text: Callable[[str], str]) -> Callable[[Callable[..., Any]], Function]:
    """Declares a separate function whose LLVM text is `text(name)`; its Python is the meaning."""
    return lambda python: Function(python, separate=True, generated=text)


float16, float32, float64, bool_ = np.float16, np.float32, np.float64, np.bool_
int32, int64, uint32, uint64 = np.int32, np.int64, np.uint32, np.uint64
word, signed, unsigned, real = Any, Any, Any, Any
"""Type variables: each is a type of integers or floats that the caller chooses."""
INFINITY, NAN = np.inf, np.nan

independent = range
sqrt, floor, log, sin, cos, pow = np.sqrt, np.floor, np.log, np.sin, np.cos, np.power
c_sin, c_cos = np.sin, np.cos
"""The functions of the C library, even if the library of the language has faster ones."""
exp, tanh, log1p, expm1, isfinite, abs = (np.exp, np.tanh, np.log1p, np.expm1, np.isfinite, np.abs)


def array(address: Any, dtype: Any, *sizes: Any) -> np.ndarray:
    """The array at an address, in C order."""
    kinds: dict[str, Any] = {
        "float32": ctypes.c_float,
        "float64": ctypes.c_double,
        "int32": ctypes.c_int32,
        "int64": ctypes.c_int64,
        "uint32": ctypes.c_uint32,
        "uint64": ctypes.c_uint64,
        "bfloat16": ctypes.c_uint16,
        "float16": ctypes.c_uint16,
        "bool": ctypes.c_bool,
    }
    wanted = np.dtype(dtype)
    kind = kinds[wanted.name] * int(np.prod(sizes))
    found = np.ctypeslib.as_array(kind.from_address(int(address))).reshape(sizes)
    return found if found.dtype == wanted else found.view(wanted)


def address(numbers: np.ndarray) -> int:
    """The address of an array, to pass it to a separate function."""
    return int(numbers.ctypes.data)


def empty(size: Any, dtype: Any) -> np.ndarray:
    """A new array, freed when the function ends."""
    return np.empty(size, dtype)


def bits(a: Any, dtype: Any) -> Any:
    """Reinterprets the bits of a number as another type of the same size."""
    return a.view(dtype)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a · b + c in the type of a, rounded once."""
    kind = type(a)
    b, c = kind(b), kind(c)
    usual = a * b + c
    if not np.isfinite(usual):
        return usual
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return kind(exact) if exact else usual


def where(condition: Any, a: Any, b: Any) -> Any:
    """a if the condition is true, else b; a literal takes the type of the other."""
    chosen = a if condition else b
    kinds = [type(one) for one in (a, b) if isinstance(one, np.generic)]
    return kinds[0](chosen) if kinds else chosen


def plus(a: Any, b: Any) -> Any:
    """A step of a sum, which may be taken in any order."""
    return a + b


def larger(a: Any, b: Any) -> Any:
    """A step of a maximum along a row, which may be taken in any order."""
    return maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """A step of a minimum along a row, which may be taken in any order."""
    return minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """NumPy's maximum: NaN if either is. The language calls it `max`."""
    return a if a > b or a != a else b


def minimum(a: Any, b: Any) -> Any:
    """NumPy's minimum: NaN if either is. The language calls it `min`."""
    return a if a < b or a != a else b


def whole_int32(a: Any) -> Any:
    """A float rounded towards zero and clamped to int32; NaN becomes 0."""
    return _whole(a, np.int32)


def whole_int64(a: Any) -> Any:
    """A float rounded towards zero and clamped to int64; NaN becomes 0."""
    return _whole(a, np.int64)


def _whole(a: Any, dtype: Any) -> Any:
    limits = np.iinfo(dtype)
    if a != a:
        return dtype(0)
    if not np.isfinite(a):
        return dtype(limits.max if a > 0 else limits.min)
    return dtype(max(limits.min, min(limits.max, int(a))))


def call_blocks(address: Any, *arguments: Any) -> None:
    """Calls the kernel at an address: `f(first, last, arguments, thread, run)`; a kernel that needs
    no more takes the first three."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(int(address))(*arguments)


def call_c(address: Any, *arguments: Any) -> int:
    """Calls a function of the C library that takes 64-bit arguments and returns an int."""
    return int(
        ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * len(arguments))(int(address))(*arguments)
    )


def fetch_add(address: Any, amount: Any) -> int:
    """Adds to a number that threads share; returns the old one."""
    number = array(address, int64, 1)
    old = int(number[0])
    number[0] = old + amount
    return old


def exchange_if(address: Any, expected: Any, new: Any) -> int:
    """Stores a number that threads share if the old one is as expected; returns the old one."""
    number = array(address, int64, 1)
    old = int(number[0])
    number[0] = new if old == expected else old
    return old


def shared_load(address: Any) -> int:
    """Reads a number that threads share, and what was written before it."""
    return int(array(address, int64, 1)[0])


def shared_store(address: Any, value: Any) -> None:
    """Writes a number that threads share, after all that was written before it."""
    array(address, int64, 1)[0] = value


def pause() -> None:
    """Waits for some cycles in a loop that waits for another thread."""


def float_control() -> int:
    """The word that says how this thread computes floats; Python's own is not changed."""
    return 0


def set_float_control(word: Any) -> None:
    """Sets that word."""
