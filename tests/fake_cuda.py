"""A CUDA driver in small, on this processor: streams, events, captures, memory, kernels.

What is given to a stream waits until somebody waits for it, unless the stream is the eager one; so
two streams run as far apart as their events let them. Everything is recorded, in the form that
stream_order.py reads. While a stream is captured, what a device refuses raises and spoils the
capture: its end raises as well. Memory that is given back is poisoned, and lent again.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet, finalize

import numpy as np
from cpu_backend import Operation, Range

NAMES = ("work", "copies", *(f"exchanges {number}" for number in range(1, 9)))
"""The streams of a device in the order in which it makes them."""
UNIT = 512
"""CuPy's pool lends multiples of so many bytes."""
Run = Callable[[], object]


class CUDARuntimeError(RuntimeError):
    """As CuPy's: its text begins with the name of the error."""


class OutOfMemoryError(MemoryError):
    """As CuPy's, which is no RuntimeError."""


class Cuda:
    """The driver of one device; the counts are of what graphs and kernels were launched."""

    def __init__(self, size: int = 1 << 28, eager: str = "work") -> None:
        self.size, self.eager, self.driver, self.devices = size, eager, 13_000, 1
        self.recorded: list[Operation] = []
        self.launched: list[tuple[str, int, int, tuple[int, ...]]] = []
        """Kernel, blocks, threads and words of each launch, those of a capture once."""
        self.streams: dict[int, Stream] = {}
        self.current: list[Stream] = []
        self.graphs: WeakSet[Graph] = WeakSet()
        self.captures = 0
        self.refuses = ""
        """What the device refuses to capture, whatever it is given."""
        self.pool = Pool(self)
        self.pinned: list[Range] = []
        self.numbers = itertools.count(1)

    def give(self, stream: Stream, run: Run, operation: Operation) -> None:
        """What a call gives to a stream."""
        if stream.captured is not None:
            if self.refuses:
                self.refuse_in_capture(self.refuses)
            stream.captured.append((run, operation))
            return
        self.recorded.append(operation)
        stream.waiting.append(run)
        if stream.name == self.eager:
            stream.run_to(stream.end)

    def host(self, kind: str, event: int = 0) -> None:
        """What the host does by itself."""
        self.recorded.append(Operation("host", kind, event=event))

    def refuse_in_capture(self, what: str) -> None:
        """The error of a call that cannot be part of a capture; the capture is spoilt."""
        for stream in self.streams.values():
            if stream.captured is not None:
                stream.spoilt = True
                raise CUDARuntimeError(
                    "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is "
                    f"capturing: {what}"
                )

    @property
    def stream(self) -> Stream:
        """The current stream, which is never the default one."""
        assert self.current, "work for the default stream, which waits for both others"
        return self.current[-1]


class Stream:
    """CuPy's `cuda.Stream`."""

    def __init__(self, cuda: Cuda, null: bool = False, non_blocking: bool = False) -> None:
        assert non_blocking and not null, "it would wait for the default stream"
        self.cuda, self.name = cuda, NAMES[len(cuda.streams)]
        self.ptr = 1000 + next(cuda.numbers)
        cuda.streams[self.ptr] = self
        self.waiting: deque[Run] = deque()
        self.done_so_far = 0
        self.captured: list[tuple[Run, Operation]] | None = None
        self.spoilt = False

    def __enter__(self) -> Stream:
        self.cuda.current.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        assert self.cuda.current.pop() is self

    @property
    def end(self) -> int:
        return self.done_so_far + len(self.waiting)

    def run_to(self, position: int) -> None:
        while self.done_so_far < position:
            self.done_so_far += 1
            with np.errstate(all="ignore"):
                self.waiting.popleft()()

    def synchronize(self) -> None:
        if self.captured is not None:
            self.cuda.refuse_in_capture("synchronize")
        self.cuda.host("fetch" if self.name == "work" else "synchronize")
        self.run_to(self.end)

    def wait_event(self, event: Event) -> None:
        def wait() -> None:
            event.reached()

        self.cuda.give(self, wait, Operation(self.name, "wait", event=event.number))

    def begin_capture(self, mode: int | None = None) -> None:
        assert self.captured is None
        self.captured, self.spoilt = [], False

    def end_capture(self) -> Graph:
        found, self.captured = self.captured, None
        if found is None or self.spoilt:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error "
                "during capture"
            )
        self.cuda.captures += 1
        return Graph(self.cuda, found)


class Graph:
    """What a capture has found: it is launched with the addresses that it was captured with."""

    def __init__(self, cuda: Cuda, captured: list[tuple[Run, Operation]]) -> None:
        self.cuda, self.captured = cuda, captured
        cuda.graphs.add(self)

    def launch(self, stream: Stream | None = None) -> None:
        stream = stream or self.cuda.stream

        def replay(runs: Any = tuple(run for run, _ in self.captured)) -> None:
            for run in runs:
                run()

        self.cuda.give(stream, replay, Operation(stream.name, "graph"))


class Event:
    """CuPy's `cuda.Event`; of one that was not made for timing nobody asks for the time."""

    def __init__(self, cuda: Cuda, block: bool = False, disable_timing: bool = False) -> None:
        self.cuda, self.number, self.timed = cuda, next(cuda.numbers), not disable_timing
        self.stream: Stream | None = None
        self.position, self.time = 0, 0.0

    def record(self, stream: Stream | None = None) -> None:
        its = stream or self.cuda.stream
        assert its.captured is None, "an event of a capture is no point of time"

        def pass_by() -> None:
            self.time = time.perf_counter()

        self.stream, self.position = its, its.end + 1
        self.cuda.give(its, pass_by, Operation(its.name, "record", event=self.number))

    def reached(self) -> None:
        """Runs the stream until the event has been passed."""
        assert self.stream is not None, "an event that was not recorded"
        self.stream.run_to(self.position)

    @property
    def done(self) -> bool:
        assert self.stream is not None
        passed = self.stream.done_so_far >= self.position
        if passed:
            self.cuda.host("wait", self.number)
        return passed

    def synchronize(self) -> None:
        self.cuda.host("wait", self.number)
        self.reached()


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events that have been passed."""
    assert start_event.timed and end_event.timed and start_event.time and end_event.time
    return 1000 * (end_event.time - start_event.time)


class Block:
    """Bytes of the device, which begin at a multiple of `UNIT`."""

    def __init__(self, size: int, stream: Stream) -> None:
        self.raw = np.full(size + UNIT, 0xFF, np.uint8)
        self.start, self.size, self.stream = -self.raw.ctypes.data % UNIT, size, stream

    @property
    def address(self) -> int:
        return int(self.raw.ctypes.data) + self.start


class Memory:
    """What is lent of the pool: given back when nobody holds it."""

    def __init__(self, cuda: Cuda, block: Block, size: int) -> None:
        self.cuda, self.block, self.size = cuda, block, size
        finalize(self, cuda.pool.given_back, block).atexit = False


class Pool:
    """CuPy's default pool: memory that is given back is lent again, to the same stream."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.used, self.free = cuda, 0, list[Block]()
        self.told: Callable[[int, int], object] = lambda address, size: None
        """Is told of every block that is taken of the device."""

    def lend(self, size: int) -> Memory:
        self.cuda.refuse_in_capture("malloc")
        rounded = max(-(-size // UNIT), 1) * UNIT
        for block in self.free:
            if (block.size, block.stream) == (rounded, self.cuda.stream):
                self.free.remove(block)
                break
        else:
            if self.total_bytes() + rounded > self.cuda.size:
                self.free.clear()
            if self.total_bytes() + rounded > self.cuda.size:
                raise OutOfMemoryError(
                    f"Out of memory allocating {rounded:,} bytes (allocated so far: "
                    f"{self.used:,} bytes)."
                )
            block = Block(rounded, self.cuda.stream)
            self.told(block.address, rounded)
        self.used += rounded
        return Memory(self.cuda, block, size)

    def given_back(self, block: Block) -> None:
        self.used -= block.size
        self.free.append(block)
        stream = block.stream
        stream.waiting.append(partial(block.raw.fill, 0xFF))  # behind all work that reads it
        if stream.name == self.cuda.eager:
            stream.run_to(stream.end)

    def used_bytes(self) -> int:
        return self.used

    def free_bytes(self) -> int:
        return sum(block.size for block in self.free)

    def total_bytes(self) -> int:
        return self.used + self.free_bytes()


class MemoryPointer:
    """CuPy's `cuda.MemoryPointer`."""

    def __init__(self, mem: Memory, offset: int = 0) -> None:
        self.mem, self.offset = mem, offset

    @property
    def ptr(self) -> int:
        return self.mem.block.address + self.offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + offset)

    def bytes(self, size: int) -> tuple[np.ndarray, Range]:
        """The bytes from here on, and where they are."""
        assert self.offset >= 0 and self.offset + size <= self.mem.size, "outside of its memory"
        start = self.mem.block.start + self.offset
        return self.mem.block.raw[start : start + size], (self.ptr, self.ptr + size)

    def copy_from_host_async(self, mem: int, size: int, stream: Stream | None = None) -> None:
        cuda, source = self.mem.cuda, (mem, mem + size)
        its = stream or cuda.stream
        inside = any(begin <= mem and mem + size <= end for begin, end in cuda.pinned)
        assert inside, "the host would wait for a copy of memory that is not pinned"
        target, where = self.bytes(size)
        from_host = np.frombuffer((ctypes.c_uint8 * size).from_address(mem), np.uint8)
        cuda.recorded.append(Operation("host", "pack", writes=(source,)))
        copy = partial(np.copyto, target, from_host)
        cuda.give(its, copy, Operation(its.name, "send", (source,), (where,)))

    def copy_from_device_async(
        self, src: MemoryPointer, size: int, stream: Stream | None = None
    ) -> None:
        cuda = self.mem.cuda
        its = stream or cuda.stream
        (target, where), (source, its_place) = self.bytes(size), src.bytes(size)
        copy = partial(np.copyto, target, source)
        cuda.give(its, copy, Operation(its.name, "move", (its_place,), (where,)))
