"""Copies the inputs of a step to the device while the step before it runs.

    host       pack 1        pack 2        pack 1
    copies         send 1        send 2      after "read 1": send 1
    work               after "sent 1": move 1, step     after "sent 2": move 2, step

There are two slots, used by turns. Each has pinned memory of the processor, where the host packs
the inputs of a step side by side, memory on the device, where the second stream copies them, and
two events. A step waits for `sent`, moves the inputs to where its kernels read them, which is the
same place in each step as a captured step has fixed addresses, and then the slot is `read`. The
host packs into a slot when its last copy is done: that was two steps ago, so it does not wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from graphgrad.backends.cupy.device import Device, Event, Memory

SLOTS = 2
"""One is read by a step while the other is filled for the next."""


@dataclass
class _Slot:
    """Memory of one step's inputs on either side."""

    pinned: np.ndarray | None = None
    memory: Memory | None = None
    sent: Event | None = None
    """Behind the last copy from `pinned` to `memory`."""
    read: Event | None = None
    """Behind the work that read `memory` last."""
    ticket: int = 0
    """The number of the inputs that it holds."""


@dataclass(frozen=True)
class Sent:
    """Inputs that were given to a slot: their number, and how many bytes they are."""

    slot: int
    ticket: int
    size: int


@dataclass
class InputRing:
    """The slots of one device, which all its programs use."""

    device: Device
    size: int = 0
    """The bytes of a slot."""
    _slots: list[_Slot] = field(default_factory=lambda: [_Slot() for _ in range(SLOTS)])
    _tickets: int = 0

    def send(self, inputs: Iterable[tuple[int, np.ndarray]], size: int) -> Sent:
        """Packs arrays, each so many bytes from the begin, and has them copied."""
        if size > self.size:
            self._grow(size)
        self._tickets += 1
        number = self._tickets % SLOTS
        slot = self._slots[number]
        if slot.pinned is None or slot.memory is None:
            slot.pinned, slot.memory = self.device.pinned(self.size), self._memory()
        if slot.sent is not None and not slot.sent.done():
            slot.sent.wait()  # only where inputs are made more than a step ahead
        for start, array in inputs:
            place = slot.pinned[start : start + array.nbytes]
            place.view(array.dtype).reshape(array.shape)[...] = array
        if slot.read is not None:
            self.device.copies_after(slot.read)
        self.device.send(slot.memory, slot.pinned[:size])
        slot.sent, slot.ticket = self.device.sent(), self._tickets
        return Sent(number, self._tickets, size)

    def holds(self, sent: Sent) -> bool:
        """Whether the inputs are still in their slot: later ones take it over."""
        return self._slots[sent.slot].ticket == sent.ticket

    def receive(self, sent: Sent, target: Memory, to: int) -> None:
        """Moves inputs to where a program reads them, when they have arrived."""
        slot = self._slots[sent.slot]
        assert slot.memory is not None and slot.sent is not None
        self.device.work_after(slot.sent)
        self.device.move(target, to, slot.memory, 0, sent.size)
        slot.read = self.device.reached()

    def missing_bytes(self, size: int) -> int:
        """How many bytes of the device are taken where inputs of this size are sent."""
        return SLOTS * max(0, size - self.size)

    def _grow(self, size: int) -> None:
        self.device.wait()  # copies may be under way
        self._slots = [_Slot() for _ in range(SLOTS)]
        self.size = size

    def _memory(self) -> Memory:
        return self.device.allocate(self.size)
