"""Runs the text of kernels as plain Python, for tests of many kernels that need not be fast.

For a process that has NUMBA_DISABLE_JIT=1: there the functions that kernels call are Python, too.
"""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphgrad.backends import calls
from graphgrad.kernels import compiled, functions

_C_TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double, "int32": ctypes.c_int32,
            "int64": ctypes.c_int64, "bool": ctypes.c_bool}  # fmt: skip


def vector_at(address: int, size: int, dtype: Any) -> np.ndarray:
    """The numbers at an address."""
    kind = _C_TYPES[np.dtype(dtype).name]
    return np.ctypeslib.as_array((kind * int(size)).from_address(int(address)))


def matrix_at(address: int, rows: int, columns: int, dtype: Any) -> np.ndarray:
    """The numbers at an address, as rows."""
    return vector_at(address, rows * columns, dtype).reshape(rows, columns)


def install() -> None:
    """Puts Python in the place of compiled kernels."""
    kernels: list[Callable[..., None]] = []

    def compile_kernel(text: str) -> SimpleNamespace:
        namespace = {**functions.NAMESPACE, "vector_at": vector_at, "matrix_at": matrix_at}
        exec(text, namespace)
        kernels.append(namespace["kernel"])
        return SimpleNamespace(address=len(kernels) - 1)

    def launch(_pool: np.ndarray, table: np.ndarray, begin: int, end: int) -> None:
        for function, blocks, _, arguments in table[begin:end]:
            kernels[function](0, blocks, arguments)

    calls.compile_kernel = compiled.compile_kernel = compile_kernel
    calls.launch = launch
    calls.shared_pool = lambda threads: SimpleNamespace(words=np.zeros(0, np.int64))
