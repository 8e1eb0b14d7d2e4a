"""A CUDA device by CuPy.

Every call of CuPy is in this file. The tests run all of it over a module that stands for CuPy
(tests/fake_cupy.py), and `tests/gpu/acceptance.py` over a card.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.backends.cupy.attention_trial import kind_of
from graphgrad.backends.cupy.cublaslt import Addresses
from graphgrad.backends.cupy.cupy_ranks import CupyRanks
from graphgrad.backends.cupy.device import Event, Extra, Memory, Run, Space
from graphgrad.backends.cupy.launches import Gemm, Product
from graphgrad.backends.cupy.module import compile_cuda, module_text
from graphgrad.backends.cupy.product_libraries import has_slow_bits, open_libraries
from graphgrad.errors import EnvironmentLimitError
from graphgrad.memory import OutOfMemoryError, size_text
from graphgrad.ranks import Communicator

INSTALL = "python -m pip install 'graphgrad[cuda13]' (or 'graphgrad[cuda12]' for an older driver)"
SMALLER = "a smaller batch, shorter inputs or a smaller model"
AMPERE = 80
"""The compute capability from which on devices have the instructions of tensor_cores.cuh."""
ON_NUMPY = "or run on the processor: backend numpy"


def open_device() -> CupyDevice:
    """The current device of CuPy. EnvironmentLimitError where there is no CuPy or no device."""
    try:
        import cupy
    except ImportError as problem:
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == "cupy"
        reason = "is not installed" if missing else f"cannot be imported: {problem}"
        raise EnvironmentLimitError(
            f"the backend cupy needs CuPy, which {reason}", fix=f"{INSTALL}, {ON_NUMPY}"
        ) from None
    if problem_found := why_no_device(cupy):
        raise EnvironmentLimitError(
            f"the backend cupy needs a CUDA device: {problem_found[0]}",
            fix=f"{problem_found[1]}, {ON_NUMPY}",
        )
    return CupyDevice(cupy)


def why_no_device(cupy: Any) -> tuple[str, str] | None:
    """What CuPy lacks to run anything, and the remedy; None where it lacks nothing."""
    runtime = cupy.cuda.runtime
    try:
        driver = runtime.driverGetVersion()
    except RuntimeError:
        driver = 0
    if not driver:
        return "there is no NVIDIA driver", "install NVIDIA's driver (nvidia-smi then shows it)"
    try:
        count = runtime.getDeviceCount()
    except RuntimeError as problem:
        if "InsufficientDriver" in str(problem):
            return (
                f"the driver is for CUDA {cuda_text(driver)}, older than CuPy",
                "install a newer driver, or graphgrad[cuda12] in place of graphgrad[cuda13]",
            )
        return f"CuPy sees none ({problem})", "look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return None if count else ("CuPy sees none", "look at nvidia-smi and CUDA_VISIBLE_DEVICES")


def cuda_text(version: int) -> str:
    """A version of CUDA as people write it, such as "13.0"."""
    return f"{version // 1000}.{version % 1000 // 10}"


@dataclass(frozen=True)
class CupyMemory:
    """Memory that CuPy's pool lends."""

    pointer: Any

    @property
    def address(self) -> int:
        return int(self.pointer.ptr)


@dataclass(frozen=True)
class CupyEvent:
    """A point of a stream."""

    event: Any

    def done(self) -> bool:
        return bool(self.event.done)

    def wait(self) -> None:
        self.event.synchronize()


class CupyModule:
    """The kernels of one cubin."""

    def __init__(self, cupy: Any, code: bytes, kernels: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.cubin"
            path.write_bytes(code)
            self._module = cupy.RawModule(path=str(path))
            self._functions = {name: self._module.get_function(name) for name in kernels}
            for function in self._functions.values():
                _ = function.kernel  # reads the file

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        function = self._functions[kernel]
        return partial(function, (grid,), (block,), tuple(map(np.int64, words)))


class CupyDevice:
    """CuPy's current device with two streams; products are those of NVIDIA's libraries where they
    are found."""

    def __init__(self, cupy: Any) -> None:
        self.array_module = cupy
        self._device = cupy.cuda.Device()
        number = self._device.compute_capability
        properties = cupy.cuda.runtime.getDeviceProperties(self._device.id)
        self.name = properties["name"].decode()
        self.count = int(cupy.cuda.runtime.getDeviceCount())
        self.architecture = f"sm_{number}"
        self.has_tensor_cores = int(number) >= AMPERE
        self.kind = kind_of(self.name, number, cuda_text(cupy.cuda.runtime.driverGetVersion()))
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.copies = cupy.cuda.Stream(non_blocking=True)
        self.waits = 0
        """How often the host waited for the device."""
        with self.active():
            self.libraries = open_libraries(self.name, int(self.stream.ptr))

    @property
    def captures_products(self) -> bool:
        return self.libraries.captures()

    @contextmanager
    def active(self) -> Iterator[None]:
        with self._device, self.stream:
            yield

    def free_bytes(self) -> int | None:
        free, _ = self._device.mem_info
        return int(free + self.array_module.get_default_memory_pool().free_bytes())

    def allocate(self, size: int) -> CupyMemory:
        try:
            with self.active():
                return CupyMemory(self.array_module.cuda.alloc(size))
        except self.array_module.cuda.memory.OutOfMemoryError as problem:
            raise OutOfMemoryError(
                f"{self.name} has no {size_text(size)} of memory left: {problem}", fix=SMALLER
            ) from None

    def array(
        self,
        memory: Memory,
        offset: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> Any:
        pointer = _pointer(memory) + offset
        return self.array_module.ndarray(shape, dtype, memptr=pointer, strides=strides)

    def write(self, array: Any, values: np.ndarray) -> None:
        with self.active():
            array.set(np.ascontiguousarray(values).reshape(values.shape))

    def fetch(self, array: Any) -> np.ndarray:
        self.waits += 1
        with self.active():
            return np.array(self.array_module.asnumpy(array))

    def load(self, kernels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> CupyModule:
        code = compile_cuda(module_text(kernels), self.architecture, names)
        with self.active():
            return CupyModule(self.array_module, code, list(kernels))

    def takes(self, gemm: Gemm) -> bool:
        with self.active():
            return not has_slow_bits(gemm) and self.libraries.takes(gemm)

    def workspace_bytes(self, gemm: Gemm) -> int:
        with self.active():
            return self.libraries.workspace_bytes(gemm)

    def product(
        self, action: Product, out: Any, heads: Sequence[Any], extra: Extra, workspace: Space
    ) -> Run:
        gemm, run = action.gemm, None
        if gemm is not None:
            left, right = reversed(heads) if gemm.swapped else heads
            arrays = {"left": left, "right": right, "out": out, **extra}
            starts = {
                name: 0 if array is None else int(array.data.ptr) for name, array in arrays.items()
            }
            with self.active():
                run = self.libraries.prepared(
                    gemm, Addresses(**starts), workspace, int(self.stream.ptr), self._placed
                )
        if run is not None:
            return run
        compute = action.node.operation.compute
        assert compute is not None
        return partial(compute, self.array_module, out, *heads, **action.node.attributes)

    def _placed(self, table: np.ndarray) -> tuple[int, object]:
        kept = self.array_module.asarray(table)
        return int(kept.data.ptr), kept

    def captured(self, run: Run) -> Run:
        self.stream.begin_capture()
        try:
            run()
        except BaseException:
            with suppress(RuntimeError):  # a capture that was spoilt ends with an error of its own
                self.stream.end_capture()
            raise
        return partial(self.stream.end_capture().launch, self.stream)

    def pinned(self, size: int) -> np.ndarray:
        memory = self.array_module.cuda.alloc_pinned_memory(size)
        return np.frombuffer(memory, np.uint8, size)

    def send(self, target: Memory, source: np.ndarray) -> None:
        address = int(source.ctypes.data)
        with self._device:
            _pointer(target).copy_from_host_async(address, source.nbytes, self.copies)

    def move(self, target: Memory, to: int, source: Memory, start: int, size: int) -> None:
        place = _pointer(target) + to
        with self._device:
            place.copy_from_device_async(_pointer(source) + start, size, self.stream)

    def sent(self) -> CupyEvent:
        return self._event(self.copies)

    def reached(self) -> CupyEvent:
        return self._event(self.stream)

    def work_after(self, event: Event) -> None:
        assert isinstance(event, CupyEvent)
        self.stream.wait_event(event.event)

    def copies_after(self, event: Event) -> None:
        assert isinstance(event, CupyEvent)
        self.copies.wait_event(event.event)

    def exchanges(self, host: Communicator) -> CupyRanks:
        with self.active():
            return CupyRanks(self.array_module, self.stream, host)

    def _event(self, stream: Any, timed: bool = False) -> CupyEvent:
        with self._device:
            event = self.array_module.cuda.Event(disable_timing=not timed)
            event.record(stream)
        return CupyEvent(event)

    def seconds_of(self, runs: Sequence[Run]) -> list[float]:
        points = []
        with self.active():
            for run in runs:
                begin = self._event(self.stream, timed=True)
                run()
                points.append((begin.event, self._event(self.stream, timed=True).event))
        self.waits += 1
        self.stream.synchronize()
        elapsed = self.array_module.cuda.get_elapsed_time
        return [elapsed(begin, end) / 1000 for begin, end in points]

    def wait(self) -> None:
        self.waits += 1
        self.copies.synchronize()
        self.stream.synchronize()


def _pointer(memory: Memory) -> Any:
    assert isinstance(memory, CupyMemory)
    return memory.pointer
