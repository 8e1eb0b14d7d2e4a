"""Runs texts of the loop language both ways: compiled, and as Python."""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import special

from graphgrad.loops import language
from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.expressions import Symbol
from graphgrad.loops.language import Function
from graphgrad.loops.llvm_text import LLVM_TYPES, Literal
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.translate import translate

CONSTANTS: Mapping[str, Symbol] = {"inf": Literal(np.inf), "nan": Literal(np.nan)}
DTYPES = {name: np.dtype(name.removesuffix("_")) for name in LLVM_TYPES}
_SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)


def functions_of(module: Any) -> dict[str, Function]:
    """The functions of the loop language that a file of the library defines or imports."""
    return {name: its for name, its in vars(module).items() if isinstance(its, Function)}


def kernel(body: str, *arrays: str) -> str:
    """The text of a kernel: `arrays` are "name: dtype, sizes" in the order of its arguments; its
    number of blocks is `last`."""
    lines = [f"given = array(arguments, int64, {max(len(arrays), 1)})"]
    for number, declaration in enumerate(arrays):
        name, what = declaration.split(": ")
        lines.append(f"{name} = array(given[{number}], {what})")
    head = "def kernel(first: int64, last: int64, arguments: int64):"
    return "\n    ".join([head, *lines, *body.splitlines()]) + "\n"


def llvm_of(
    text: str, library: Mapping[str, Symbol] = CONSTANTS, types: Mapping[str, str] | None = None
) -> str:
    """The text of LLVM, whose function is called `kernel`."""
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return translate(definition, "kernel", library, types)


def run_compiled(
    text: str,
    given: list[Any],
    library: Mapping[str, Symbol] = CONSTANTS,
    last: int = 1,
    types: Mapping[str, str] | None = None,
) -> None:
    """Runs the compiled kernel with arrays, which it may write to, and numbers."""
    for its in library.values():
        if isinstance(its, Function) and its.separate:
            compile_function(its)
    printed = llvm_of(text, library, types)
    name = machine_code().name_of(printed)  # the text identifies it
    address = machine_code().address(name, lambda: printed.replace("@kernel(", f"@{name}("))
    words = _words(given)
    _SIGNATURE(address)(0, last, words.ctypes.data)


def run_as_python(
    text: str,
    given: list[Any],
    library: Mapping[str, Symbol] = CONSTANTS,
    last: int = 1,
    types: Mapping[str, str] | None = None,
) -> None:
    """Runs the kernel as Python, with the names of language.py and the library's functions."""
    stands_for = {name: DTYPES[its].type for name, its in (types or {}).items()}
    namespace = {
        **vars(language),
        "max": language.maximum,
        "min": language.minimum,
        "erf": lambda x: x.dtype.type(special.erf(x)),
        **stands_for,
    }
    for name, its in library.items():
        namespace[name] = its.value if isinstance(its, Literal) else its
    exec(compile(text.replace("from __future__", ""), "<kernel>", "exec"), namespace)
    words = _words(given)
    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))
        for its in library.values():
            if isinstance(its, Function) and stands_for:
                stack.enter_context(patch.dict(its.python.__globals__, stands_for))
        namespace["kernel"](0, last, words.ctypes.data)


def run_both(
    text: str,
    *given: Any,
    library: Mapping[str, Symbol] = CONSTANTS,
    last: int = 1,
    types: Mapping[str, str] | None = None,
) -> list[list[Any]]:
    """The contents of the arrays after the compiled kernel, and after the one in Python."""
    results = []
    for run in (run_compiled, run_as_python):
        copies = [one.copy() if isinstance(one, np.ndarray) else one for one in given]
        run(text, copies, library, last, types)
        results.append(copies)
    return results


def assert_same(found: Any, wanted: Any, message: str = "") -> None:
    """Asserts equal values and equal signs of zeros; NaN equals NaN, whatever their bits."""
    np.testing.assert_array_equal(found, wanted, err_msg=message, strict=True)
    if found.dtype.kind == "f":
        numbers = found == found
        signs = np.signbit(found)[numbers], np.signbit(wanted)[numbers]
        np.testing.assert_array_equal(*signs, err_msg=f"{message}: signs")


def steps_apart(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The number of floats in between; 0 for two NaN, ∞ for one."""
    integer = {4: np.int32, 8: np.int64}[found.dtype.itemsize]
    positions = []
    for x in (found, wanted):
        its_bits = x.view(integer).astype(object)  # Python's integers do not overflow
        lowest = -(2 ** (8 * found.dtype.itemsize - 1))
        positions.append(np.where(its_bits < 0, lowest - its_bits, its_bits))
    apart = np.abs(positions[0] - positions[1]).astype(float)
    one, other = np.isnan(found), np.isnan(wanted)
    return np.where(one & other, 0.0, np.where(one | other, np.inf, apart))


def _words(given: list[Any]) -> np.ndarray:
    words = [one.ctypes.data if isinstance(one, np.ndarray) else one for one in given]
    return np.array([*words, 0], np.int64)
