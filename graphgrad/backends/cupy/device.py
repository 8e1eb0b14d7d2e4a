"""What the binder asks of a device: memory, copies, kernels, products, captured launches.

cupy_device.py answers with CuPy; the tests have a device that is this processor
(tests/cpu_device.py), so what binds and runs a program on it is the code that runs on a GPU.

A device runs everything in one order, that of the calls. Nothing that is given to it waits for it
but `fetch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphgrad.backends.cupy.launches import Gemm, Product

Extra = Mapping[str, Any]
"""The arrays of an epilogue by name; None for what it has not."""
Space = tuple[int, int]
"""The address of memory and its size."""
Run = Callable[[], object]
"""Work on a device that is ready to be started, as often as one likes."""


class Memory(Protocol):
    """Bytes on a device, free when nobody holds them."""

    @property
    def address(self) -> int:
        """Where they begin, at a multiple of 256."""


class Module(Protocol):
    """Kernels on a device."""

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        """A launch of the kernel of this name."""


class Device(Protocol):
    """One device, with the one stream that all work goes through."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def array_module(self) -> Any:
        """What computes an operation that has no kernel."""

    @property
    def captures_products(self) -> bool:
        """Whether a matrix product can be part of what is captured."""

    def free_bytes(self) -> int | None:
        """How much memory can be had; None where that is unknown."""

    def allocate(self, size: int) -> Memory:
        """Memory of its own. EnvironmentLimitError where there is too little."""

    def array(
        self,
        memory: Memory,
        offset: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> Any:
        """An array of the array module, over memory that is there."""

    def write(self, array: Any, values: np.ndarray) -> None:
        """Copies numbers to the device; `values` may change as soon as it returns."""

    def fetch(self, array: Any) -> np.ndarray:
        """The numbers of an array, when all work so far is done."""

    def load(self, kernels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> Module:
        """Compiles kernels; `names` are those of the nodes that each computes."""

    def takes(self, gemm: Gemm) -> bool:
        """Whether a product with this epilogue is one launch here."""

    def workspace_bytes(self, gemm: Gemm) -> int:
        """How much memory a product needs while it runs."""

    def product(
        self, action: Product, out: Any, heads: Sequence[Any], extra: Extra, workspace: Space
    ) -> Run:
        """A matrix product of these arrays; `extra` are those of its epilogue by name."""

    def active(self) -> AbstractContextManager[None]:
        """In its context, runs are started, or captured."""

    def captured(self, run: Run) -> Run:
        """All work that a function gives to the device, as one that is launched by one call.
        RuntimeError where something of it cannot be captured."""

    def wait(self) -> None:
        """Returns when all work so far is done."""
