"""Which library computes a product: cublasLt what it has an algorithm for, cuBLAS everything else,
and the array module where neither is found.

This knows addresses alone, so the tests run it, with libraries that are NumPy behind the same
interface, on this processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.cupy.cublas import Cublas, open_cublas
from graphgrad.backends.cupy.cublaslt import WORKSPACE, Addresses, CublasLt, open_cublaslt
from graphgrad.backends.cupy.device import Run, Space
from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.backends.cupy.launches import Gemm

Placed = Callable[[np.ndarray], tuple[int, object]]
"""Copies a table to the device; its address there, and what keeps it."""


@dataclass(frozen=True)
class ProductLibraries:
    """What is found of the two, and what is missing of them."""

    cublaslt: CublasLt | None
    cublas: Cublas | None
    missing: str = ""

    @property
    def summary(self) -> str:
        """What computes products, and what is missing."""
        found = [f"cublasLt {self.cublaslt.version}"] if self.cublaslt is not None else []
        found += [f"cuBLAS {self.cublas.version}"] if self.cublas is not None else []
        found = found or ["CuPy"]
        return ", ".join([*found, *([self.missing] if self.missing else [])])

    def captures(self) -> bool:
        """Whether every product can be captured."""
        return self.cublas is not None

    def takes(self, gemm: Gemm) -> bool:
        """Whether a product with this epilogue is one launch."""
        return self.cublaslt is not None and self.cublaslt.workspace(gemm) is not None

    def workspace_bytes(self, gemm: Gemm) -> int:
        """How much memory the product's library needs for it."""
        needed = self.cublaslt.workspace(gemm) if self.cublaslt is not None else None
        if needed is not None:
            return needed
        return WORKSPACE if self.cublas is not None else 0

    def prepared(
        self,
        gemm: Gemm,
        addresses: Addresses,
        workspace: Space,
        stream: int,
        placed: Placed,
    ) -> Run | None:
        """A product that is ready; None where neither library is found."""
        if self.cublaslt is not None and self.cublaslt.workspace(gemm) is not None:
            return self.cublaslt.prepared(gemm, addresses, workspace, stream)
        if self.cublas is None:
            return None
        assert not gemm.leading_added and gemm.epilogue == Epilogue.DEFAULT, "a plain product"
        matrices = addresses.left, addresses.right, addresses.out
        if not gemm.starts:
            return self.cublas.prepared(gemm, matrices, workspace)
        table = starts_table(gemm, matrices)
        start, kept = placed(table)
        row = table.itemsize * table.shape[1]
        run = self.cublas.prepared(gemm, (start, start + row, start + 2 * row), workspace)

        def held(kept: object = kept) -> None:
            run()

        return held


def has_slow_bits(gemm: Gemm) -> bool:
    """Whether a product of float32 writes or reads ReLU's bits: cublasLt's kernels for that take
    longer than a product and a kernel.

    On an H200, 8192 × 512 × 2048 in TF32 took 208 µs with RELU_AUX_BIAS and 202 µs with
    DRELU_BGRAD, and a product of as many multiplications without bits 51 µs.
    """
    its = gemm.epilogue
    return its.has_aux and its.activation == "relu" and gemm.operands == "float32"


def starts_table(gemm: Gemm, matrices: Sequence[int]) -> np.ndarray:
    """The addresses of left, of right and of the result of each product of a batch, in rows."""
    sizes = [item_bytes(kind) for kind in (gemm.operands, gemm.operands, gemm.result)]
    return np.array(
        [
            [start + size * each[side] for each in gemm.starts]
            for side, (start, size) in enumerate(zip(matrices, sizes, strict=True))
        ],
        np.int64,
    )


def item_bytes(dtype: str) -> int:
    """The bytes of an element of a dtype, by its name."""
    return {"float64": 8, "float32": 4}.get(dtype, 2)


def open_libraries(device: str, stream: int) -> ProductLibraries:
    """Both libraries for a device of this name; cuBLAS works in the stream from now on."""
    cublaslt, without = open_cublaslt(device)
    cublas, without_cublas = open_cublas()
    if cublas is not None:
        cublas.use(stream)
    return ProductLibraries(cublaslt, cublas, "; ".join(filter(None, (without, without_cublas))))
