"""cupy_device.py beside an array module that stands for CuPy: which calls it makes, in which order.

The names and their arguments are CuPy's (test_cupy_names.py looks them up where it is installed).
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from graphgrad.backends.cupy.cupy_device import CupyDevice, CupyEvent, CupyMemory
from graphgrad.memory import OutOfMemoryError


class Stream:
    def __init__(self, name: str, calls: list[Any]) -> None:
        self.name, self.calls = name, calls

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is kept."""

    def wait_event(self, event: Event) -> None:
        self.calls.append((self.name, "wait", event.number))

    def synchronize(self) -> None:
        self.calls.append((self.name, "synchronize"))


class Event:
    count = 0

    def __init__(self, disable_timing: bool = False) -> None:
        Event.count += 1
        self.number, self.done, self.timed = Event.count, True, not disable_timing

    def record(self, stream: Stream) -> None:
        stream.calls.append((stream.name, "record", self.number))

    def synchronize(self) -> None:
        """The host waits."""


class Pointer:
    def __init__(self, ptr: int, calls: list[Any]) -> None:
        self.ptr, self.calls = ptr, calls

    def __add__(self, offset: int) -> Pointer:
        return Pointer(self.ptr + offset, self.calls)

    def copy_from_host_async(self, mem: int, size: int, stream: Stream) -> None:
        self.calls.append((stream.name, "send", self.ptr, mem, size))

    def copy_from_device_async(self, src: Pointer, size: int, stream: Stream) -> None:
        self.calls.append((stream.name, "move", self.ptr, src.ptr, size))


@pytest.fixture
def made() -> tuple[CupyDevice, list[Any]]:
    """The device without what looks for a driver, and the calls that it makes."""
    calls: list[Any] = []
    device = object.__new__(CupyDevice)

    def elapsed(begin: Event, end: Event) -> float:
        assert begin.timed and end.timed
        return 1000.0 * (end.number - begin.number)

    cuda = SimpleNamespace(Event=Event, get_elapsed_time=elapsed, alloc_pinned_memory=bytearray)
    cuda.memory = SimpleNamespace(OutOfMemoryError=MemoryError)
    device.array_module = SimpleNamespace(cuda=cuda)
    device.__dict__.update(_device=nullcontext(), waits=0, name="a card")
    device.stream, device.copies = Stream("work", calls), Stream("copies", calls)
    return device, calls


def test_inputs_are_copied_on_the_second_stream_and_moved_on_the_first(made):
    device, calls = made
    source, target = CupyMemory(Pointer(1000, calls)), CupyMemory(Pointer(5000, calls))
    pinned = device.pinned(64)
    pinned[:] = 7
    device.send(source, pinned[:32])
    sent = device.sent()
    device.work_after(sent)
    device.move(target, 128, source, 16, 8)
    read = device.reached()
    device.copies_after(read)
    device.wait()
    assert isinstance(sent, CupyEvent) and sent.done() and not sent.event.timed
    assert calls == [
        ("copies", "send", 1000, int(pinned.ctypes.data), 32),
        ("copies", "record", sent.event.number),
        ("work", "wait", sent.event.number),
        ("work", "move", 5128, 1016, 8),
        ("work", "record", read.event.number),
        ("copies", "wait", read.event.number),
        ("copies", "synchronize"),
        ("work", "synchronize"),
    ]


def test_runs_are_timed_by_events_around_each(made):
    device, calls = made
    seconds = device.seconds_of([lambda: calls.append("one"), lambda: calls.append("two")])
    assert seconds == [1.0, 1.0]
    kinds = [call if isinstance(call, str) else call[1] for call in calls]
    assert kinds == ["record", "one", "record", "record", "two", "record", "synchronize"]


def test_memory_that_runs_out_is_told_with_its_size(made):
    device, _ = made

    def full(size: int) -> None:
        raise MemoryError("out of memory")

    device.array_module.cuda.alloc = full
    with pytest.raises(OutOfMemoryError, match=r"a card has no 2\.0 KiB of memory left"):
        device.allocate(2048)
