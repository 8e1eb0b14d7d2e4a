"""Runs the text of kernels as plain Python, for tests of many kernels that need not be fast.

For a process that has NUMBA_DISABLE_JIT=1: there the functions that kernels call are Python, too.
"""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphgrad.backends import calls
from graphgrad.kernels import compiled, functions, fuse

_C_TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double, "int32": ctypes.c_int32,
            "int64": ctypes.c_int64, "bool": ctypes.c_bool}  # fmt: skip


def pointer(address: int, dtype: Any) -> tuple[int, Any]:
    """An address and what lies there."""
    return int(address), dtype


def carray(place: tuple[int, Any], shape: Any) -> np.ndarray:
    """The numbers at an address."""
    address, dtype = place
    kind = _C_TYPES[np.dtype(dtype).name] * int(np.prod(shape))
    return np.ctypeslib.as_array(kind.from_address(address)).reshape(shape)


PYTHON = {
    "pointer": pointer, "carray": carray,
    "where": lambda condition, a, b: a if condition else b,
    "max": lambda a, b: a if a > b or a != a else b,
    "min": lambda a, b: a if a < b or a != a else b,
    "larger": lambda a, b: a if a > b else b,
    "smaller": lambda a, b: a if a < b else b,
    "plus": lambda a, b: a + b,
}  # fmt: skip
"""What is an instruction in a compiled kernel."""


def install() -> None:
    """Puts Python in the place of compiled kernels."""
    kernels: list[Callable[..., None]] = []
    functions.maximum = PYTHON["max"]
    fuse.WORTH_A_KERNEL = 0

    def compile_kernel(text: str) -> SimpleNamespace:
        namespace = {**functions.NAMESPACE, **PYTHON}
        exec(text, namespace)
        kernels.append(namespace["kernel"])
        return SimpleNamespace(address=len(kernels) - 1)

    def launch(_pool: np.ndarray, table: np.ndarray, begin: int, end: int) -> None:
        for function, blocks, _, arguments in table[begin:end]:
            kernels[function](0, blocks, arguments)

    calls.compile_kernel = compiled.compile_kernel = compile_kernel
    calls.launch = launch
    calls.compile_together = lambda texts, processes: None
    calls.shared_pool = lambda threads: SimpleNamespace(words=np.zeros(0, np.int64))
