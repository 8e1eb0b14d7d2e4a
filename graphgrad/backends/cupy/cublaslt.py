"""NVIDIA's cublasLt, called by ctypes: matrix products with epilogues.

The library comes in cuBLAS's own package, so nothing else has to be installed; what nvmath-python
would add is these calls with other names (a test compares the numbers of attributes and epilogues
with its own where it is there). Stream and workspace are arguments of a call, so a product can be
captured, and the workspace is the program's.

Which algorithm computes a product is the library's choice, made once for a device, a version and a
description, and kept on disk: a later run, on another day or in another order, has the same bits.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.backends.cupy.launches import Gemm
from graphgrad.backends.cupy.libraries import places_of
from graphgrad.kept_code import KeptCode

WORKSPACE = 32 << 20
"""Bytes that an algorithm may need at most: what NVIDIA recommends for Hopper."""
KEPT = KeptCode("products", ".algorithm")
TYPES: Mapping[str, int] = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
"""cudaDataType_t."""
COMPUTE: Mapping[str, int] = {"float32": 68, "float64": 70, "tf32": 77}
"""cublasComputeType_t: float32 is computed in TF32 only where the product says so."""
DESCRIPTION: Mapping[str, int] = {
    **{"TRANSA": 3, "TRANSB": 4, "EPILOGUE": 7, "BIAS_POINTER": 8, "EPILOGUE_AUX_POINTER": 11},
    **{"EPILOGUE_AUX_LD": 12, "BIAS_DATA_TYPE": 26},
}
"""cublasLtMatmulDescAttributes_t."""
LAYOUT: Mapping[str, int] = {"BATCH_COUNT": 5, "STRIDED_BATCH_OFFSET": 6}
"""cublasLtMatrixLayoutAttribute_t."""
PREFERENCE: Mapping[str, int] = {
    "MAX_WORKSPACE_BYTES": 1,
    **{f"MIN_ALIGNMENT_{matrix}_BYTES": 5 + place for place, matrix in enumerate("ABCD")},
}
"""cublasLtMatmulPreferenceAttributes_t."""
SOMEWHERE = 256
"""In place of an address while an algorithm is chosen: the library wants one, and reads nothing."""


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t, which the library alone understands."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class Choice(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


@dataclass(frozen=True)
class Addresses:
    """Where the arrays of a product lie on the device; 0 for what it has not."""

    left: int
    right: int
    out: int
    vector: int = 0
    aux: int = 0
    added: int = 0


@dataclass
class _Described:
    """A product as the library's own objects, which are freed with this one."""

    product: ctypes.c_void_p
    matrices: tuple[ctypes.c_void_p, ...]
    """The layouts of A, B, C and D."""
    free: list[finalize[..., Any]] = field(default_factory=list)


class CublasLt:
    """One handle of the library at a path, for a device of this name."""

    def __init__(self, path: str, device: str, library: Any = None) -> None:
        self.path, self.device = path, device
        self._library = ctypes.CDLL(path) if library is None else library
        self._library.cublasLtGetVersion.restype = ctypes.c_size_t
        self.version = int(self._library.cublasLtGetVersion())
        self._handle = self._made("cublasLtCreate")
        self._choices: dict[Gemm, Choice | None] = {}

    def workspace(self, gemm: Gemm) -> int | None:
        """The bytes of workspace that a product needs; None where the library has no algorithm."""
        choice = self._choice(gemm)
        return None if choice is None else int(choice.workspace)

    def prepared(
        self, gemm: Gemm, addresses: Addresses, workspace: tuple[int, int], stream: int
    ) -> Callable[[], None]:
        """A call that is ready; `workspace` is its address and size."""
        choice = self._choice(gemm)
        assert choice is not None, "a product that the library does not take"
        assert choice.workspace <= workspace[1], "a workspace that is too small"
        described = self._described(gemm, addresses)
        a, b, c, d = described.matrices
        number = ctypes.c_double if gemm.adds_in == "float64" else ctypes.c_float
        one, factor = number(1), number(1 if gemm.leading_added else 0)
        arguments = (
            *(self._handle, described.product, ctypes.byref(one)),
            *(ctypes.c_void_p(addresses.left), a, ctypes.c_void_p(addresses.right), b),
            ctypes.byref(factor),
            *(ctypes.c_void_p(addresses.added or addresses.out), c),
            *(ctypes.c_void_p(addresses.out), d),
            ctypes.byref(choice.algorithm),
            *(ctypes.c_void_p(workspace[0]), ctypes.c_size_t(workspace[1])),
            ctypes.c_void_p(stream),
        )

        def run(kept: object = (described, choice, one, factor)) -> None:
            self._call("cublasLtMatmul", *arguments)

        return run

    # ------------------------------------------------------------ which algorithm

    def _choice(self, gemm: Gemm) -> Choice | None:
        if gemm not in self._choices:
            self._choices[gemm] = None if gemm.starts else self._chosen(gemm)
        return self._choices[gemm]

    def _chosen(self, gemm: Gemm) -> Choice | None:
        """The algorithm that was chosen before, if the library still takes it, or its first."""
        key = "\0".join([self.device, str(self.version), str(WORKSPACE), repr(gemm)])
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        described = self._described(gemm, Addresses(*[SOMEWHERE] * 6))
        known = KEPT.read(name)
        if known is not None and len(known) == struct.calcsize("64sQ"):
            choice = self._checked(described, known)
            if choice is not None:
                return choice
        choice = self._first(gemm, described)
        if choice is not None:
            KEPT.write(name, struct.pack("64sQ", bytes(choice.algorithm), choice.workspace))
        return choice

    def _checked(self, described: _Described, known: bytes) -> Choice | None:
        """The algorithm that was kept, unless the library refuses it."""
        data, workspace = struct.unpack("64sQ", known)
        algorithm, result = Algorithm.from_buffer_copy(data), Choice()
        refused = self._library.cublasLtMatmulAlgoCheck(
            *(self._handle, described.product, *described.matrices),
            *(ctypes.byref(algorithm), ctypes.byref(result)),
        )
        if refused or result.state or result.workspace > WORKSPACE:
            return None
        result.algorithm, result.workspace = algorithm, max(result.workspace, workspace)
        return result

    def _first(self, gemm: Gemm, described: _Described) -> Choice | None:
        preference = self._made("cublasLtMatmulPreferenceCreate")
        try:
            given: dict[str, Any] = {"MAX_WORKSPACE_BYTES": ctypes.c_uint64(WORKSPACE)}
            for matrix in "ABCD":
                given[f"MIN_ALIGNMENT_{matrix}_BYTES"] = ctypes.c_uint32(gemm.alignment)
            for name, value in given.items():
                self._set(
                    "cublasLtMatmulPreferenceSetAttribute", preference, PREFERENCE[name], value
                )
            choice, count = Choice(), ctypes.c_int()
            refused = self._library.cublasLtMatmulAlgoGetHeuristic(
                *(self._handle, described.product, *described.matrices, preference),
                *(ctypes.c_int(1), ctypes.byref(choice), ctypes.byref(count)),
            )
        finally:
            self._call("cublasLtMatmulPreferenceDestroy", preference)
        return None if refused or not count.value or choice.state else choice

    # ------------------------------------------------------------ the library's objects

    def _described(self, gemm: Gemm, addresses: Addresses) -> _Described:
        shapes = (
            (gemm.rows, gemm.inner)[:: -1 if gemm.transposed[0] else 1],
            (gemm.inner, gemm.columns)[:: -1 if gemm.transposed[1] else 1],
            *[(gemm.rows, gemm.columns)] * 2,
        )
        types = (gemm.operands, gemm.operands, gemm.result, gemm.result)
        leading = (*gemm.leading[:2], gemm.leading_added or gemm.leading[2], gemm.leading[2])
        strides = (*gemm.strides[:2], gemm.strides[2], gemm.strides[2])
        found = _Described(self._product(gemm, addresses), ())
        self._free(found, "cublasLtMatmulDescDestroy", found.product)
        for shape, kind, length, stride in zip(shapes, types, leading, strides, strict=True):
            rows, columns = map(ctypes.c_uint64, shape)
            its = self._made(
                "cublasLtMatrixLayoutCreate",
                *(ctypes.c_int(TYPES[kind]), rows, columns, ctypes.c_int64(length)),
            )
            found.matrices += (its,)
            self._free(found, "cublasLtMatrixLayoutDestroy", its)
            if gemm.batch > 1:
                function = "cublasLtMatrixLayoutSetAttribute"
                self._set(function, its, LAYOUT["BATCH_COUNT"], ctypes.c_int32(gemm.batch))
                self._set(function, its, LAYOUT["STRIDED_BATCH_OFFSET"], ctypes.c_int64(stride))
        return found

    def _product(self, gemm: Gemm, addresses: Addresses) -> ctypes.c_void_p:
        scale = "float64" if gemm.adds_in == "float64" else "float32"
        product = self._made(
            "cublasLtMatmulDescCreate",
            *(ctypes.c_int(COMPUTE[gemm.adds_in]), ctypes.c_int(TYPES[scale])),
        )
        its = gemm.epilogue
        given: dict[str, Any] = {
            "TRANSA": ctypes.c_int32(gemm.transposed[0]),
            "TRANSB": ctypes.c_int32(gemm.transposed[1]),
        }
        if its != Epilogue.DEFAULT:
            given["EPILOGUE"] = ctypes.c_uint32(its)
        if its.has_vector:
            given["BIAS_POINTER"] = ctypes.c_void_p(addresses.vector)
            if gemm.vector != gemm.result:
                given["BIAS_DATA_TYPE"] = ctypes.c_int32(TYPES[gemm.vector])
        if its.has_aux:
            given["EPILOGUE_AUX_POINTER"] = ctypes.c_void_p(addresses.aux)
            given["EPILOGUE_AUX_LD"] = ctypes.c_int64(gemm.leading_aux)
        for name, value in given.items():
            self._set("cublasLtMatmulDescSetAttribute", product, DESCRIPTION[name], value)
        return product

    def _free(self, owner: _Described, function: str, handle: ctypes.c_void_p) -> None:
        freed = finalize(owner, getattr(self._library, function), handle)
        freed.atexit = False  # the driver may be gone by then
        owner.free.append(freed)

    def _set(self, function: str, handle: ctypes.c_void_p, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call(function, handle, ctypes.c_int(attribute), ctypes.byref(value), size)

    def _made(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """A handle that a function of the library makes."""
        handle = ctypes.c_void_p()
        self._call(function, ctypes.byref(handle), *arguments)
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise RuntimeError(f"{function} of {self.path} fails with status {code}")


def open_cublaslt(device: str) -> tuple[CublasLt | None, str]:
    """The library for a device of this name, or None and why there is none."""
    problems = []
    for path in places_of("cublasLt"):
        try:
            return CublasLt(path, device), ""
        except (OSError, AttributeError, RuntimeError) as problem:
            problems.append(str(problem))
    return None, "; ".join(problems) or "cublasLt is not installed"
