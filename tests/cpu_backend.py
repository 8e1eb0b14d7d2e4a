"""A device that is this processor: what the binder runs a program on in the tests.

It is as strict as a real one: memory that is new or free is poisoned, nothing may be copied or
allocated while work is captured, and captured work has the addresses that it was captured with.
Its two streams run as far apart as their events let them: what is given to one waits until
somebody waits for it. What was given to either stream is recorded (stream_order.py reads it).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from cpu_device import Device as Kernels
from gemm_numpy import Extra, blas

from graphgrad.backends import choice
from graphgrad.backends.cupy.device import Run
from graphgrad.backends.cupy.launches import Gemm, Product
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.memory import OutOfMemoryError

Range = tuple[int, int]
"""Where bytes begin and end."""


@dataclass(frozen=True)
class Operation:
    """What was given to a stream, or done by the host; `event` is recorded or waited for."""

    stream: str
    kind: str
    reads: tuple[Range, ...] = ()
    writes: tuple[Range, ...] = ()
    event: int = 0


class CpuMemory:
    """Bytes that begin at a multiple of 256."""

    def __init__(self, size: int) -> None:
        self.raw = np.full(size + 256, 0xFF, np.uint8)
        self.start = -self.raw.ctypes.data % 256
        self.size = size

    @property
    def address(self) -> int:
        return int(self.raw.ctypes.data) + self.start

    def range(self, start: int, size: int) -> Range:
        assert start >= 0 and start + size <= self.size
        return self.address + start, self.address + start + size

    def bytes(self, start: int, size: int) -> np.ndarray:
        assert start >= 0 and start + size <= self.size
        return self.raw[self.start + start : self.start + start + size]


class CpuModule:
    def __init__(self, device: CpuDevice, kernels: Mapping[str, str]) -> None:
        self.device, self.kernels = device, Kernels(kernels) if kernels else None

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        assert self.kernels is not None and all(isinstance(word, int) for word in words)
        launch = partial(self.kernels.launch, kernel, grid, block, words, 1)
        return self.device.counted(launch)


@dataclass(eq=False)
class CpuEvent:
    """A point of a stream: passed when so much of the stream has run."""

    device: CpuDevice
    stream: _Stream
    number: int
    position: int

    def done(self) -> bool:
        passed = self.stream.done >= self.position
        if passed:
            self.device.record(Operation("host", "wait", event=self.number))
        return passed

    def wait(self) -> None:
        self.device.waits += 1
        self.stream.run_to(self.position)
        self.device.record(Operation("host", "wait", event=self.number))


@dataclass(eq=False)
class _Stream:
    """Work that was given and has not run yet."""

    name: str
    waiting: deque[Run] = field(default_factory=deque)
    done: int = 0

    def add(self, run: Run) -> None:
        self.waiting.append(run)

    @property
    def end(self) -> int:
        return self.done + len(self.waiting)

    def run_to(self, position: int) -> None:
        while self.done < position:
            self.done += 1
            self.waiting.popleft()()


class CpuDevice:
    """Counts what it is asked for: `starts` are calls that begin work, `waits` those that wait.

    One stream, `eager`, runs what it is given at once where it waits for nothing; the other one as
    late as it can.
    """

    name = "this processor"
    kind, has_tensor_cores = "", True
    """No trial: kernels are those of the tests."""
    array_module = np

    def __init__(
        self,
        free: int | None = None,
        captures_products: bool = True,
        eager: str = "work",
        takes_epilogues: bool = True,
    ) -> None:
        self.free, self.captures_products, self.eager = free, captures_products, eager
        self.takes_epilogues = takes_epilogues
        self.refuses_capture = ""
        self.starts = self.waits = self.writes = self.captures = self.sends = 0
        self.recorded: list[Operation] = []
        self._work, self._copies = _Stream("work"), _Stream("copies")
        self._events = 0
        self._recording: list[Run] | None = None
        self._active = False

    # ------------------------------------------------------------ streams

    def record(self, operation: Operation) -> None:
        self.recorded.append(operation)

    def _give(self, stream: _Stream, run: Run, operation: Operation) -> None:
        self.record(operation)
        stream.add(run)
        if stream.name == self.eager:
            stream.run_to(stream.end)

    def _event_of(self, stream: _Stream) -> CpuEvent:
        self._events += 1
        self.record(Operation(stream.name, "record", event=self._events))
        return CpuEvent(self, stream, self._events, stream.end)

    def _after(self, stream: _Stream, event: Any) -> None:
        run = partial(event.stream.run_to, event.position)
        self._give(stream, run, Operation(stream.name, "wait", event=event.number))

    def _finish(self, kind: str) -> None:
        self.record(Operation("host", kind))
        self._work.run_to(self._work.end)

    def pinned(self, size: int) -> np.ndarray:
        return CpuMemory(size).bytes(0, size)

    def send(self, target: CpuMemory, source: np.ndarray) -> None:
        self._not_recording()
        self.sends += 1
        its = int(source.ctypes.data), int(source.ctypes.data) + source.nbytes
        self.record(Operation("host", "pack", writes=(its,)))
        place = target.bytes(0, source.nbytes)
        operation = Operation("copies", "send", (its,), (target.range(0, source.nbytes),))
        self._give(self._copies, partial(np.copyto, place, source), operation)

    def move(self, target: CpuMemory, to: int, source: CpuMemory, start: int, size: int) -> None:
        self._not_recording()
        assert self._active
        operation = Operation(
            "work", "move", (source.range(start, size),), (target.range(to, size),)
        )
        copy = partial(np.copyto, target.bytes(to, size), source.bytes(start, size))
        self._give(self._work, copy, operation)

    def sent(self) -> CpuEvent:
        return self._event_of(self._copies)

    def reached(self) -> CpuEvent:
        return self._event_of(self._work)

    def work_after(self, event: Any) -> None:
        self._after(self._work, event)

    def copies_after(self, event: Any) -> None:
        self._after(self._copies, event)

    def wait(self) -> None:
        self.waits += 1
        self._copies.run_to(self._copies.end)
        self._finish("finish")

    # ------------------------------------------------------------ memory and work

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
            raise OutOfMemoryError("the device has no memory left", fix="a smaller batch")
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
        self._work.run_to(self._work.end)
        array[...] = values

    def fetch(self, array: np.ndarray) -> np.ndarray:
        self._not_recording()
        self.waits += 1
        self._finish("fetch")
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

    def seconds_of(self, runs: Sequence[Run]) -> list[float]:
        self.waits += 1
        found = []
        with self.active():
            for run in runs:
                started = time.perf_counter()
                run()
                self._work.run_to(self._work.end)
                found.append(time.perf_counter() - started)
        return found

    def counted(self, run: Run) -> Run:
        """Work that is recorded while something is captured, and started else."""

        def quietly() -> None:
            with np.errstate(all="ignore"):
                run()

        def start() -> None:
            assert self._active, "work was started outside of the device's context"
            if self._recording is not None:
                self._recording.append(run)
            else:
                self.starts += 1
                self._give(self._work, quietly, Operation("work", "run"))

        return start

    def _not_recording(self) -> None:
        assert self._recording is None, "a device refuses this while it captures"


def install(monkeypatch: pytest.MonkeyPatch, device: CpuDevice) -> CpuDevice:
    """Makes it what `backend="cupy"` finds on this machine."""
    memory = SharedMemory(device)
    monkeypatch.setattr(choice, "device_memory", lambda: memory)
    return device
