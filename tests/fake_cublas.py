"""cuBLAS and cublasLt as NVIDIA documents their interfaces, computed by NumPy: what the binding
code calls in the tests.

Every function has the C prototype of NVIDIA's headers, so an argument of another type is refused by
ctypes, and it reads its descriptors from memory as the library would. A call is checked (sizes,
leading dimensions, every address within memory that was allocated, what the documentation demands
of an epilogue) and answered with the status that a wrong one would get; then it is carried out from
the raw numbers of the call alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from fake_products import TYPES, Layout, Memory, computed, layouts_of, number_at
from gemm_numpy import operand

OK, INVALID, NOT_SUPPORTED = 0, 7, 15
"""cublasStatus_t."""
VOID, INT, SIZE, I64, U64 = (
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int64, ctypes.c_uint64),
)
COMPUTE = {68: "float32", 70: "float64", 77: "tf32"}
DESCRIPTION = {3: "i", 4: "i", 7: "I", 8: "P", 11: "P", 12: "q", 26: "i"}
"""cublasLtMatmulDescAttributes_t: TRANSA, TRANSB, EPILOGUE, BIAS_POINTER, EPILOGUE_AUX_POINTER,
EPILOGUE_AUX_LD, BIAS_DATA_TYPE, and the type of each."""
LAYOUT = {5: "i", 6: "q"}
PREFERENCE = {1: "Q", 5: "I", 6: "I", 7: "I", 8: "I"}
NAMES = {
    **{1: "DEFAULT", 2: "RELU", 130: "RELU_AUX", 4: "BIAS", 6: "RELU_BIAS", 134: "RELU_AUX_BIAS"},
    **{136: "DRELU", 152: "DRELU_BGRAD", 32: "GELU", 160: "GELU_AUX", 36: "GELU_BIAS"},
    **{164: "GELU_AUX_BIAS", 192: "DGELU", 208: "DGELU_BGRAD", 256: "BGRADA", 512: "BGRADB"},
}
_SIZES = {"i": 4, "I": 4, "q": 8, "Q": 8, "P": 8}
_ALGORITHM = b"graphgrad's fake algorithm"


class FakeLibrary:
    """Both libraries over one memory. `refuses` are epilogues without an algorithm; `calls` are
    what was computed, `chosen` how often an algorithm was asked for."""

    def __init__(self, memory: Memory, refuses: Iterable[str] = ()) -> None:
        self.memory, self.refuses = memory, set(refuses)
        self.calls: list[tuple[str, tuple[int, int, int]]] = []
        self.live: dict[int, Any] = {}
        self.chosen = self.checked = 0
        self.version, self.stream, self.space = 130_500, 0, (0, 0)
        self.needs = 4096
        self.refuses_kept = False
        self.problem = ""
        """What was wrong with the last call that was refused."""
        self._next = 1000
        self.cublasLtGetVersion = ctypes.CFUNCTYPE(SIZE)(lambda: self.version)
        for name, types in PROTOTYPES.items():
            method = getattr(self, f"_{name}")
            setattr(self, name, ctypes.CFUNCTYPE(INT, *types)(_answering(self, method)))

    # ------------------------------------------------------------ objects

    def _made(self, target: int, its: Any) -> int:
        self._next += 8
        self.live[self._next] = its
        VOID.from_address(target).value = self._next
        return OK

    def _freed(self, handle: int) -> int:
        del self.live[handle]
        return OK

    def _set(self, handle: int, known: dict[int, str], attribute: int, at: int, size: int) -> int:
        code = known[attribute]
        assert size == _SIZES[code], f"attribute {attribute} has another size"
        raw = ctypes.string_at(at, size)
        self.live[handle][attribute] = np.frombuffer(raw, code.replace("P", "Q"))[0].item()
        return OK

    def _cublasLtCreate(self, handle: int) -> int:
        return self._made(handle, "handle")

    _cublasCreate_v2 = _cublasLtCreate

    def _cublasLtMatmulDescCreate(self, target: int, compute: int, scale: int) -> int:
        assert TYPES[scale].itemsize == (8 if COMPUTE[compute] == "float64" else 4)
        return self._made(target, {"compute": COMPUTE[compute], "scale": TYPES[scale]})

    def _cublasLtMatmulDescSetAttribute(self, handle: int, what: int, at: int, size: int) -> int:
        return self._set(handle, DESCRIPTION, what, at, size)

    def _cublasLtMatrixLayoutCreate(
        self, target: int, kind: int, rows: int, columns: int, leading: int
    ) -> int:
        return self._made(target, {"layout": Layout(TYPES[kind], rows, columns, leading)})

    def _cublasLtMatrixLayoutSetAttribute(self, handle: int, what: int, at: int, size: int) -> int:
        self._set(handle, LAYOUT, what, at, size)
        its = self.live[handle]["layout"]
        its.batch = self.live[handle].get(5, 1)
        its.stride = self.live[handle].get(6, 0)
        return OK

    def _cublasLtMatmulPreferenceCreate(self, target: int) -> int:
        return self._made(target, {})

    def _cublasLtMatmulPreferenceSetAttribute(
        self, handle: int, what: int, at: int, size: int
    ) -> int:
        return self._set(handle, PREFERENCE, what, at, size)

    def _cublasLtMatmulDescDestroy(self, handle: int) -> int:
        return self._freed(handle)

    _cublasLtMatrixLayoutDestroy = _cublasLtMatmulPreferenceDestroy = _cublasLtMatmulDescDestroy

    # ------------------------------------------------------------ algorithms

    def _cublasLtMatmulAlgoGetHeuristic(self, handle: int, *described_and_more: int) -> int:
        *described, preference, wanted, results, count = described_and_more
        assert self.live[handle] == "handle" and wanted == 1
        self._checked_call(described)
        given, needs = self.live[preference], self.needs
        assert given[1] >= needs and all(given[each] in (2, 4, 8, 16) for each in (5, 6, 7, 8))
        self.chosen += 1
        name = NAMES[self.live[described[0]].get(7, 1)]
        ctypes.c_int.from_address(count).value = 0
        if name in self.refuses:
            return NOT_SUPPORTED
        ctypes.memmove(results, _ALGORITHM.ljust(64, b"\0"), 64)
        ctypes.c_size_t.from_address(results + 64).value = needs
        ctypes.c_int.from_address(results + 72).value = OK
        ctypes.c_int.from_address(count).value = 1
        return OK

    def _cublasLtMatmulAlgoCheck(self, handle: int, *described_and_more: int) -> int:
        *described, algorithm, result = described_and_more
        assert self.live[handle] == "handle"
        self.checked += 1
        if self.refuses_kept or not ctypes.string_at(algorithm, 64).startswith(_ALGORITHM):
            return INVALID
        self._checked_call(described)
        ctypes.c_size_t.from_address(result + 64).value = self.needs
        ctypes.c_int.from_address(result + 72).value = OK
        return OK

    def _checked_call(self, described: Iterable[int]) -> tuple[dict[Any, Any], list[Layout]]:
        """The description of a call and its matrices, which fit each other and the epilogue."""
        product, *handles = described
        its, layouts = self.live[product], [self.live[each]["layout"] for each in handles]
        a, b, c, d = layouts
        (m, k), (k2, n) = (
            (each.rows, each.columns)[:: -1 if its.get(what, 0) else 1]
            for each, what in ((a, 3), (b, 4))
        )
        assert k == k2 and (d.rows, d.columns) == (m, n) == (c.rows, c.columns), "sizes"
        assert len({each.batch for each in layouts}) == 1, "batches"
        assert a.dtype == b.dtype and c.dtype == d.dtype, "dtypes"
        name = NAMES[its.get(7, 1)]
        if name != "DEFAULT":
            assert d.batch == 1
            assert k > 1 or not ("GRAD" in name or name[0] == "D"), "an inner size of 1"
            assert name != "BGRADB" or its.get(4) == 1
        if "AUX" in name or (name.startswith("D") and name != "DEFAULT"):
            multiple = 128 if "RELU" in name else 8
            assert its[11] and its[11] % 16 == 0, "the auxiliary address"
            assert its[12] % multiple == 0 and its[12] >= m, "the auxiliary leading dimension"
        if "BIAS" in name or "GRAD" in name:
            assert its[8], "the address of the bias"
        return its, layouts

    # ------------------------------------------------------------ products

    def _cublasLtMatmul(self, handle: int, product: int, alpha: int, *rest: int) -> int:
        a_at, a, b_at, b, beta, c_at, c, d_at, d, algorithm, space, size, stream = rest
        assert self.live[handle] == "handle" and stream == self.stream
        assert ctypes.string_at(algorithm, 64).startswith(_ALGORITHM)
        assert space % 256 == 0 and size >= self.needs
        self.memory.need(space, size)
        its, layouts = self._checked_call((product, a, b, c, d))
        one, factor = (number_at(at, its["scale"]) for at in (alpha, beta))
        assert one == 1 and factor in (0, 1) and (factor or c_at == d_at)
        name = NAMES[its.get(7, 1)]
        starts = (a_at, b_at, c_at, d_at)
        if name != "DEFAULT":
            assert all(start % 16 == 0 for start in starts), "an address that is not aligned"
        for place in range(layouts[3].batch):
            matrices = [
                self.memory.matrix(start, layout, place)
                for start, layout in zip(starts, layouts, strict=True)
            ]
            computed(self.memory, name, its, matrices, bool(factor))
        self.calls.append((name + " + C" * bool(factor), (layouts[3].rows, layouts[3].columns, 0)))
        ctypes.memset(space, 0xFF, size)  # it is the library's to write to
        return OK

    # ------------------------------------------------------------ cuBLAS

    def _cublasGetVersion_v2(self, handle: int, version: int) -> int:
        ctypes.c_int.from_address(version).value = self.version
        return OK

    def _cublasSetStream_v2(self, handle: int, stream: int) -> int:
        self.stream, self.space = stream, (0, 0)
        return OK

    def _cublasSetWorkspace_v2(self, handle: int, space: int, size: int) -> int:
        assert space % 256 == 0
        self.space = space, size
        return OK

    def _cublasGemmStridedBatchedEx(self, *given: Any) -> int:
        _, ta, tb, m, n, k, alpha, a, ka, la, sa, b, kb, lb, sb, *rest = given
        beta, c, kc, lc, sc, count, compute, _ = rest
        layouts = layouts_of(ta, tb, m, n, k, (ka, kb, kc), (la, lb, lc))
        for place in range(count):
            for its, stride in zip(layouts, (sa, sb, sc), strict=True):
                its.stride = stride
            self._plain(layouts, (a, b, c), ta, tb, COMPUTE[compute], place, alpha, beta)
        self.calls.append(("cuBLAS", (m, n, k)))
        return OK

    def _cublasGemmBatchedEx(self, *given: Any) -> int:
        _, ta, tb, m, n, k, alpha, a, ka, la, b, kb, lb, beta, c, kc, lc, *rest = given
        count, compute, _ = rest
        layouts = layouts_of(ta, tb, m, n, k, (ka, kb, kc), (la, lb, lc))
        tables = [
            self.memory.array(table, np.dtype(np.int64), (count,), (8,)) for table in (a, b, c)
        ]
        for place in range(count):
            starts = [int(table[place]) for table in tables]
            self._plain(layouts, starts, ta, tb, COMPUTE[compute], 0, alpha, beta)
        self.calls.append(("cuBLAS", (m, n, k)))
        return OK

    def _plain(
        self,
        layouts: list[Layout],
        starts: Iterable[int],
        ta: int,
        tb: int,
        compute: str,
        place: int,
        alpha: int,
        beta: int,
    ) -> None:
        scale = np.dtype("float64" if compute == "float64" else "float32")
        assert number_at(alpha, scale) == 1 and number_at(beta, scale) == 0
        self.memory.need(*self.space)
        a, b, c = (
            self.memory.matrix(start, its, place)
            for start, its in zip(starts, layouts, strict=True)
        )
        a, b = (operand(each, compute) for each in (a, b))
        c[...] = ((a.T if ta else a) @ (b.T if tb else b)).astype(c.dtype)


def _answering(library: FakeLibrary, method: Callable[..., int]) -> Callable[..., int]:
    """The method; what it finds wrong is kept, since no exception passes through C."""

    def answer(*given: Any) -> int:
        try:
            return method(*(0 if each is None else each for each in given))
        except Exception as problem:
            library.problem = f"{type(problem).__name__}: {problem}"
            return INVALID

    return answer


_MATMUL = (VOID, VOID, VOID, VOID, VOID, VOID)
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (VOID,),
    "cublasLtMatmulDescCreate": (VOID, INT, INT),
    "cublasLtMatmulDescSetAttribute": (VOID, INT, VOID, SIZE),
    "cublasLtMatmulDescDestroy": (VOID,),
    "cublasLtMatrixLayoutCreate": (VOID, INT, U64, U64, I64),
    "cublasLtMatrixLayoutSetAttribute": (VOID, INT, VOID, SIZE),
    "cublasLtMatrixLayoutDestroy": (VOID,),
    "cublasLtMatmulPreferenceCreate": (VOID,),
    "cublasLtMatmulPreferenceSetAttribute": (VOID, INT, VOID, SIZE),
    "cublasLtMatmulPreferenceDestroy": (VOID,),
    "cublasLtMatmulAlgoGetHeuristic": (*_MATMUL, VOID, INT, VOID, VOID),
    "cublasLtMatmulAlgoCheck": (*_MATMUL, VOID, VOID),
    "cublasLtMatmul": (*[VOID] * 14, SIZE, VOID),
    "cublasCreate_v2": (VOID,),
    "cublasGetVersion_v2": (VOID, VOID),
    "cublasSetStream_v2": (VOID, VOID),
    "cublasSetWorkspace_v2": (VOID, VOID, SIZE),
    "cublasGemmStridedBatchedEx": (
        *(VOID, INT, INT, INT, INT, INT, VOID),
        *(VOID, INT, INT, ctypes.c_longlong, VOID, INT, INT, ctypes.c_longlong),
        *(VOID, VOID, INT, INT, ctypes.c_longlong, INT, INT, INT),
    ),
    "cublasGemmBatchedEx": (
        *(VOID, INT, INT, INT, INT, INT, VOID),
        *(VOID, INT, INT, VOID, INT, INT, VOID, VOID, INT, INT, INT, INT, INT),
    ),
}
"""From cublasLt.h and cublas_api.h of CUDA 13; enumerations are int."""
