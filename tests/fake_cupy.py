"""A module that stands for CuPy: what cupy_device.py calls of it, over the driver of fake_cuda.py.

Kernels are those of the cubin, which here is the text that it would be compiled from: cuda_cpu.h
makes it run. Products are NVIDIA's libraries as fake_cublas.py has them, in the stream that a call
names. What arrays compute by themselves is NumPy's, in the current stream; while it is captured
CuPy refuses that for cuBLAS, and this module for everything. (test_cupy_names.py compares all of it
with the CuPy that is installed.)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cpu_backend import Operation
from cpu_device import Device as Kernels
from fake_cublas import FakeLibrary
from fake_cuda import (
    Cuda,
    CUDARuntimeError,
    Event,
    Graph,
    MemoryPointer,
    OutOfMemoryError,
    Stream,
    get_elapsed_time,
)
from fake_nccl import FakeNccl
from fake_products import Memory as Known

from graphgrad.backends import choice
from graphgrad.backends.cupy import cupy_device, product_libraries
from graphgrad.backends.cupy.attention_trial import AttentionKernels, Outcome
from graphgrad.backends.cupy.cublas import Cublas
from graphgrad.backends.cupy.cublaslt import CublasLt
from graphgrad.backends.cupy.cupy_device import CupyDevice, open_device
from graphgrad.backends.cupy.shared_memory import SharedMemory

NAME = "a card of paper"
_KERNEL = re.compile(r"__global__ .*?(\w+)\(\n")


class Device:
    """CuPy's `cuda.Device`."""

    def __init__(self, cuda: Cuda, device: int = 0) -> None:
        self.cuda, self.id, self.compute_capability = cuda, device, "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        return self.cuda.size - self.cuda.pool.total_bytes(), self.cuda.size

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        """There is one."""


class RawModule:
    """CuPy's; the file is read when the first kernel is asked for."""

    def __init__(self, cuda: Cuda, *, code: str | None = None, path: str | None = None) -> None:
        assert code is None and path is not None
        self.cuda, self.path = cuda, path

    @cached_property
    def kernels(self) -> Kernels:
        self.cuda.refuse_in_capture("a module is loaded")
        return Kernels.of_module(Path(self.path).read_text())

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self, name)


class RawKernel:
    """CuPy's kernel of a module."""

    def __init__(self, module: RawModule, name: str) -> None:
        self.module, self.name = module, name

    @cached_property
    def kernel(self) -> Any:
        kernels = self.module.kernels
        assert self.name in kernels.names, f"cudaErrorNotFound: {self.name}"
        return partial(kernels.launch, self.name)

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], **kwargs: Any
    ) -> None:
        assert all(type(word) is np.int64 for word in args) and not kwargs
        assert 0 < grid[0] < 2**31 and 0 < block[0] <= 1024 and len(grid) == len(block) == 1
        words, cuda = tuple(map(int, args)), self.module.cuda
        cuda.launched.append((self.name, grid[0], block[0], words))
        run = partial(self.kernel, grid[0], block[0], words, 1)
        cuda.give(cuda.stream, run, Operation(cuda.stream.name, "run"))


class NdArray(np.ndarray):
    """CuPy's `ndarray` over memory of the device."""

    cuda: Cuda
    memptr: MemoryPointer

    def __new__(
        cls,
        shape: tuple[int, ...],
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: tuple[int, ...] | None = None,
    ) -> NdArray:
        assert memptr is not None
        block, steps = memptr.mem.block, strides or np.empty(shape, dtype).strides
        reach = sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        memptr.bytes(reach + np.dtype(dtype).itemsize if 0 not in shape else 0)
        start = block.start + memptr.offset
        made = super().__new__(cls, shape, dtype, block.raw.data, start, steps)
        made.memptr, made.cuda = memptr, memptr.mem.cuda
        return made

    def __array_finalize__(self, obj: Any) -> None:
        if isinstance(obj, NdArray):
            self.memptr, self.cuda = obj.memptr, obj.cuda

    @property
    def data(self) -> Any:
        away = int(self.ctypes.data) - self.memptr.ptr
        return self.memptr + away

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        compute = getattr(ufunc, method)
        if "out" in keywords:
            keywords["out"] = tuple(map(_plain, keywords["out"]))
        return computed(self.cuda, compute, *map(_plain, inputs), **keywords)

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        assert arr.dtype == self.dtype and arr.shape == self.shape
        assert self.flags.c_contiguous or self.flags.f_contiguous
        self.cuda.refuse_in_capture("memcpy")
        its = stream or self.cuda.stream
        copy, (_, where) = (
            partial(np.copyto, _plain(self), arr.copy()),
            self.data.bytes(self.nbytes),
        )
        self.cuda.give(its, copy, Operation(its.name, "send", (), (where,)))

    def get(self, stream: Stream | None = None) -> np.ndarray:
        its = stream or self.cuda.stream
        its.synchronize()
        found: np.ndarray = np.array(_plain(self))
        return found


def _plain(array: Any) -> Any:
    return array.view(np.ndarray) if isinstance(array, NdArray) else array


def computed(cuda: Cuda, function: Any, *arguments: Any, **keywords: Any) -> Any:
    """What CuPy computes by itself, in the current stream."""
    stream = cuda.stream
    if stream.captured is not None:
        stream.spoilt = True
        raise NotImplementedError("calling cuBLAS API during stream capture is unsupported")
    stream.run_to(stream.end)
    cuda.recorded.append(Operation(stream.name, "run"))
    plain = {name: _plain(value) for name, value in keywords.items()}
    return function(*map(_plain, arguments), **plain)


class Library(FakeLibrary):
    """cuBLAS and cublasLt, whose products are given to the stream that a call names."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(Known())
        self.cuda = cuda
        cuda.pool.told = self.memory.add

    def _given(self, stream: int, compute: Any, given: Sequence[Any]) -> int:
        space = self.space

        def run() -> None:
            self.space = space  # of this call, whichever came between
            code = compute(*given)
            assert code == 0, self.problem

        its = self.cuda.streams[stream]
        self.cuda.give(its, run, Operation(its.name, "run"))
        return 0

    def _cublasLtMatmul(self, *given: int) -> int:
        return self._given(given[-1], super()._cublasLtMatmul, given)

    def _cublasGemmStridedBatchedEx(self, *given: Any) -> int:
        return self._given(self.stream, super()._cublasGemmStridedBatchedEx, given)

    def _cublasGemmBatchedEx(self, *given: Any) -> int:
        return self._given(self.stream, super()._cublasGemmBatchedEx, given)


class FakeCupy(ModuleType):
    """The module; `driver` is what is below it."""

    def __init__(self, driver: Cuda) -> None:
        super().__init__("cupy")
        self.driver, self.ndarray = driver, NdArray
        self.RawModule, self.RawKernel = partial(RawModule, driver), RawKernel
        self.cuda = SimpleNamespace(
            Device=partial(Device, driver),
            Stream=partial(Stream, driver),
            Event=partial(Event, driver),
            Graph=Graph,
            MemoryPointer=MemoryPointer,
            get_elapsed_time=get_elapsed_time,
            alloc=self._alloc,
            alloc_pinned_memory=self._alloc_pinned_memory,
            nccl=FakeNccl(driver, {}),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                driverGetVersion=lambda: driver.driver,
                getDeviceCount=lambda: driver.devices,
                getDeviceProperties=lambda device: {"name": NAME.encode()},
            ),
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        its = getattr(np, name)
        if isinstance(its, type) or not callable(its):
            return its
        return partial(computed, self.driver, its)

    def get_default_memory_pool(self) -> Any:
        return self.driver.pool

    def asnumpy(self, a: NdArray, stream: Stream | None = None) -> np.ndarray:
        return a.get(stream)

    def asarray(self, a: np.ndarray, dtype: Any = None) -> NdArray:
        made = NdArray(a.shape, dtype or a.dtype, self._alloc(a.nbytes))
        made.set(a)
        return made

    def empty(self, shape: Any, dtype: Any = float) -> NdArray:
        sizes = (shape,) if isinstance(shape, int) else shape
        size = int(np.prod(sizes)) * np.dtype(dtype).itemsize
        return NdArray(sizes, dtype, self._alloc(size))

    def zeros(self, shape: Any, dtype: Any = float) -> NdArray:
        made = self.empty(shape, dtype)
        made.fill(0)
        return made

    def ascontiguousarray(self, a: NdArray, dtype: Any = None) -> NdArray:
        if a.flags.c_contiguous:
            return a
        made = self.empty(a.shape, a.dtype)
        np.copyto(_plain(made), _plain(a))
        return made

    def _alloc(self, size: int) -> MemoryPointer:
        return MemoryPointer(self.driver.pool.lend(size))

    def _alloc_pinned_memory(self, size: int) -> Any:
        self.driver.refuse_in_capture("hostAlloc")
        pages = np.zeros(-(-size // 4096) * 4096, np.uint8)
        self.driver.pinned.append((int(pages.ctypes.data), int(pages.ctypes.data) + pages.size))
        return pages.data


def as_text(text: str, architecture: str, names: Mapping[str, Sequence[str]]) -> bytes:
    """In place of the compiler: the text itself."""
    assert architecture == "sm_90" and {*_KERNEL.findall(text)} == names.keys()
    return text.encode()


def install(monkeypatch: pytest.MonkeyPatch, driver: Cuda, libraries: bool = True) -> CupyDevice:
    """Makes it the CuPy of this process, and its device that of `backend="cupy"`; with NVIDIA's
    libraries for products or without."""
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy(driver))
    monkeypatch.setattr(cupy_device, "compile_cuda", as_text)
    opened: Any = (None, "cublasLt is not installed"), (None, "cuBLAS is not installed")
    if libraries:
        library = Library(driver)
        opened = (CublasLt("fake", NAME, library), ""), (Cublas("fake", library), "")
    monkeypatch.setattr(product_libraries, "open_cublaslt", lambda device: opened[0])
    monkeypatch.setattr(product_libraries, "open_cublas", lambda: opened[1])
    device = open_device()
    memory = SharedMemory(device)
    memory.attention = AttentionKernels(device, lambda its: Outcome(True))
    monkeypatch.setattr(choice, "device_memory", lambda: memory)
    return device
