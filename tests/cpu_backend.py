"""A device that is this processor: what the binder runs a program on in the tests.

It is as strict as a real one: memory that is new or free is poisoned, nothing may be copied or
allocated while work is captured, and captured work has the addresses that it was captured with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from cpu_device import Device as Kernels
from gemm_numpy import Extra, blas

from graphgrad.backends.cupy.device import Run
from graphgrad.backends.cupy.launches import Gemm, Product
from graphgrad.errors import EnvironmentLimitError


class CpuMemory:
    """Bytes that begin at a multiple of 256."""

    def __init__(self, size: int) -> None:
        self.raw = np.full(size + 256, 0xFF, np.uint8)
        self.start = -self.raw.ctypes.data % 256
        self.size = size

    @property
    def address(self) -> int:
        return int(self.raw.ctypes.data) + self.start


class CpuModule:
    def __init__(self, device: CpuDevice, kernels: Mapping[str, str]) -> None:
        self.device, self.kernels = device, Kernels(kernels) if kernels else None

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        assert self.kernels is not None and all(isinstance(word, int) for word in words)
        launch = partial(self.kernels.launch, kernel, grid, block, words, 1)
        return self.device.counted(launch)


class CpuDevice:
    """Counts what it is asked for: `starts` are calls that begin work, `waits` those that wait."""

    name = "this processor"
    array_module = np

    def __init__(
        self,
        free: int | None = None,
        captures_products: bool = True,
        takes_epilogues: bool = True,
    ) -> None:
        self.free, self.captures_products = free, captures_products
        self.takes_epilogues = takes_epilogues
        self.refuses_capture = ""
        self.starts = self.waits = self.writes = self.captures = 0
        self._recording: list[Run] | None = None
        self._active = False

    @contextmanager
    def active(self) -> Iterator[None]:
        assert not self._active
        self._active = True
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            self._active = False

    def free_bytes(self) -> int | None:
        return self.free

    def allocate(self, size: int) -> CpuMemory:
        self._not_recording()
        if self.free is not None and size > self.free:
            raise EnvironmentLimitError("the device has no memory left", fix="a smaller batch")
        return CpuMemory(size)

    def array(
        self,
        memory: Any,
        offset: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> np.ndarray:
        assert 0 <= offset <= memory.size
        return np.ndarray(shape, dtype, memory.raw.data, memory.start + offset, strides)

    def write(self, array: np.ndarray, values: np.ndarray) -> None:
        self._not_recording()
        assert array.shape == values.shape and array.dtype == values.dtype
        self.writes += 1
        array[...] = values

    def fetch(self, array: np.ndarray) -> np.ndarray:
        self._not_recording()
        self.waits += 1
        return array.copy()

    def load(self, kernels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> CpuModule:
        assert kernels.keys() == names.keys()
        return CpuModule(self, kernels)

    def takes(self, gemm: Gemm) -> bool:
        return self.takes_epilogues

    def workspace_bytes(self, gemm: Gemm) -> int:
        return 1000

    def product(
        self,
        action: Product,
        out: np.ndarray,
        heads: Sequence[np.ndarray],
        extra: Extra,
        workspace: tuple[int, int],
    ) -> Run:
        assert workspace[0] % 256 == 0 and workspace[1] == 1000
        if action.gemm is None:
            node = action.node
            return self.counted(partial(node.operation.compute, np, out, *heads, **node.attributes))
        left, right = reversed(heads) if action.gemm.swapped else heads
        return self.counted(partial(blas, action.gemm, left, right, out, extra))

    def captured(self, run: Run) -> Run:
        self._not_recording()
        if self.refuses_capture:
            raise RuntimeError(self.refuses_capture)
        self.captures += 1
        self._recording = []
        try:
            run()
            recorded = self._recording
        finally:
            self._recording = None

        def replay() -> None:
            for each in recorded:
                each()

        return self.counted(replay)

    def wait(self) -> None:
        self.waits += 1

    def counted(self, run: Run) -> Run:
        """Work that is recorded while something is captured, and started else."""

        def start() -> None:
            assert self._active, "work was started outside of the device's context"
            if self._recording is not None:
                self._recording.append(run)
            else:
                self.starts += 1
                run()

        return start

    def _not_recording(self) -> None:
        assert self._recording is None, "a device refuses this while it captures"
