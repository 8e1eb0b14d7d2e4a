"""A device that is this processor, whose products go through the binding of cuBLAS and cublasLt to
libraries that are NumPy behind the same interfaces (fake_cublas.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from cpu_backend import CpuDevice, CpuMemory
from fake_cublas import FakeLibrary
from fake_products import Memory
from gemm_numpy import Extra

from graphgrad.backends.cupy.cublas import Cublas
from graphgrad.backends.cupy.cublaslt import Addresses, CublasLt
from graphgrad.backends.cupy.device import Run
from graphgrad.backends.cupy.launches import Gemm, Product
from graphgrad.backends.cupy.product_libraries import ProductLibraries

STREAM = 77


class LibraryDevice(CpuDevice):
    """`refuses` are epilogues that cublasLt has no algorithm for."""

    def __init__(self, refuses: Iterable[str] = (), lt: bool = True) -> None:
        super().__init__()
        self.known = Memory()
        self.library = FakeLibrary(self.known, refuses)
        cublas = Cublas("fake", self.library)
        cublas.use(STREAM)
        its = CublasLt("fake", self.name, self.library) if lt else None
        self.libraries = ProductLibraries(its, cublas)

    def allocate(self, size: int) -> CpuMemory:
        memory = super().allocate(size)
        self.known.add(memory.address, size)
        return memory

    def takes(self, gemm: Gemm) -> bool:
        return self.libraries.takes(gemm)

    def workspace_bytes(self, gemm: Gemm) -> int:
        return self.libraries.workspace_bytes(gemm)

    def product(
        self,
        action: Product,
        out: np.ndarray,
        heads: Sequence[np.ndarray],
        extra: Extra,
        workspace: tuple[int, int],
    ) -> Run:
        gemm = action.gemm
        assert gemm is not None
        left, right = reversed(heads) if gemm.swapped else heads
        addresses = Addresses(
            *(int(each.ctypes.data) for each in (left, right, out)),
            **{n: 0 if each is None else int(each.ctypes.data) for n, each in extra.items()},
        )
        run = self.libraries.prepared(gemm, addresses, workspace, STREAM, self._placed)
        assert run is not None
        return self.counted(self._told(run))

    def _told(self, run: Run) -> Callable[[], None]:
        def start() -> None:
            try:
                run()
            except RuntimeError as problem:
                raise AssertionError(f"{problem}: {self.library.problem}") from None

        return start

    def _placed(self, table: np.ndarray) -> tuple[int, Any]:
        self.known.add(int(table.ctypes.data), table.nbytes)
        return int(table.ctypes.data), table

    @contextmanager
    def started(self) -> Any:
        """A context in which work may be started."""
        with self.active():
            yield
