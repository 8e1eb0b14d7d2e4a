"""NVIDIA's cuBLAS, called by ctypes: stream and workspace are given, so its calls can be captured,
which CuPy refuses for its own.

It computes what cublasLt does not: batches whose products begin at places that no strides say; and
everything where cublasLt is not found.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

from graphgrad.backends.cupy.cublaslt import COMPUTE, TYPES
from graphgrad.backends.cupy.launches import Gemm
from graphgrad.backends.cupy.libraries import places_of

_DEFAULT = -1


class Cublas:
    """One handle of the library at a path."""

    def __init__(self, path: str, library: Any = None) -> None:
        self.path = path
        self._library = ctypes.CDLL(path) if library is None else library
        self._handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        version = ctypes.c_int()
        self._call("cublasGetVersion_v2", self._handle, ctypes.byref(version))
        self.version = version.value

    def use(self, stream: int) -> None:
        """The stream of all calls from now on."""
        self._call("cublasSetStream_v2", self._handle, ctypes.c_void_p(stream))

    def prepared(
        self, gemm: Gemm, addresses: tuple[int, int, int], workspace: tuple[int, int]
    ) -> Callable[[], None]:
        """A call that is ready: `addresses` are those of left, right and out, or, where the gemm
        has `starts`, of the tables of the addresses of each product; `workspace` is the address
        and the size of memory that the library may write to meanwhile."""
        kind, of_result = (ctypes.c_int(TYPES[its]) for its in (gemm.operands, gemm.result))
        number = ctypes.c_double if gemm.adds_in == "float64" else ctypes.c_float
        one, zero = number(1), number(0)
        left, right, out = map(ctypes.c_void_p, addresses)
        strides = [] if gemm.starts else [[ctypes.c_longlong(each)] for each in gemm.strides]
        of_left, of_right, of_out = strides or [[], [], []]
        function = "cublasGemmBatchedEx" if gemm.starts else "cublasGemmStridedBatchedEx"
        leading = [ctypes.c_int(each) for each in gemm.leading]
        call = partial(
            self._call,
            function,
            self._handle,
            *(ctypes.c_int(each) for each in gemm.transposed),
            *map(ctypes.c_int, (gemm.rows, gemm.columns, gemm.inner)),
            ctypes.byref(one),
            *(left, kind, leading[0], *of_left),
            *(right, kind, leading[1], *of_right),
            ctypes.byref(zero),
            *(out, of_result, leading[2], *of_out),
            ctypes.c_int(gemm.batch),
            ctypes.c_int(COMPUTE[gemm.adds_in]),
            ctypes.c_int(_DEFAULT),
        )
        space = ctypes.c_void_p(workspace[0]), ctypes.c_size_t(workspace[1])

        def run() -> None:
            self._call("cublasSetWorkspace_v2", self._handle, *space)
            call()

        return run

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise RuntimeError(f"{function} of {self.path} fails with status {code}")


def open_cublas(opened: Callable[[str], Cublas] = Cublas) -> tuple[Cublas | None, str]:
    """The library, or None and why there is none."""
    problems = []
    for path in places_of("cublas"):
        try:
            return opened(path), ""
        except (OSError, AttributeError, RuntimeError) as problem:
            problems.append(str(problem))
    return None, "; ".join(problems) or "cuBLAS is not installed"
