"""Where all programs of a device run: a block of memory that they use by turns.

A training step, its evaluation, decoding, and each of them for every set of sizes: the block is as
large as the largest of these programs needs, and inputs arrive in two slots that all use. Where the
block grows, all programs are bound anew. It is freed with the last program.

What was captured of a program is kept for the programs that ran last: each takes memory of the
driver.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet, finalize, ref

import numpy as np

from graphgrad.backends.cupy.attention_trial import AttentionKernels
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.binding import Binding, layout_of, written
from graphgrad.backends.cupy.device import Device, Exchanges, Memory, Module
from graphgrad.backends.cupy.input_ring import InputRing
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.state import DeviceState, ResidentState
from graphgrad.graph import STATEFUL, Node, constant, leaf_name
from graphgrad.plan import Plan

CAPTURED = 64
"""How many programs are kept captured, those that ran last."""


class Unread(Protocol):
    """A run whose results are on the device."""

    def read(self) -> None:
        """Reads them: the next run takes their memory."""


class SharedMemory:
    """One device, as programs use it."""

    def __init__(self, device: Device) -> None:
        self.device, self.lock = device, threading.RLock()
        self.attention = AttentionKernels(device)
        self.ring = InputRing(device)
        self._unread: Unread | None = None
        self._block: Memory | None = None
        self._size = 0
        self._loaded: WeakKeyDictionary[DeviceProgram, _Loaded] = WeakKeyDictionary()
        self._states: WeakSet[DeviceState] = WeakSet()
        self._captured: list[ref[Binding]] = []

    def lowered(self, plan: Plan) -> DeviceProgram:
        """The program of a plan for this device."""
        with self.lock:
            workspace, asked = self.device.workspace_bytes, self.attention.on_tensor_cores
            return lower(plan, workspace=workspace, on_tensor_cores=asked)

    def placed(self, values: Mapping[str, np.ndarray]) -> DeviceState:
        """A copy of a state on the device."""
        with self.lock:
            state = DeviceState(self.device, values)
            self._states.add(state)
            return state

    @property
    def block_bytes(self) -> int:
        """The size of the block."""
        return self._size

    def missing_bytes(self, program: DeviceProgram) -> int:
        """How many bytes of the device the program needs that are not taken yet: of the block, of
        its inputs and constants, and of its state unless one like it is there."""
        layout = layout_of(program)
        missing = max(0, layout.size - self._size) + self.ring.missing_bytes(layout.input_bytes)
        leaves = {leaf: leaf.type for leaf in program.leaves}
        if program not in self._loaded:
            missing += sum(its.nbytes for leaf, its in leaves.items() if leaf.operation is constant)
        states = {leaf_name(leaf): t for leaf, t in leaves.items() if leaf.operation in STATEFUL}
        return missing + sum(
            its.nbytes
            for name, its in states.items()
            if not any(state.fits(name, its.sizes, its.dtype) for state in self._states)
        )

    def begin(self, run: Unread | None) -> None:
        """Makes way for a run: one whose results are still in the block is read before."""
        before, self._unread = self._unread, None
        if before is not None:
            before.read()
        self._unread = run

    def was_read(self, run: Unread) -> None:
        """Forgets a run whose results were read."""
        if self._unread is run:
            self._unread = None

    def binding(
        self, program: DeviceProgram, state: ResidentState, exchanges: Exchanges | None = None
    ) -> Binding:
        """The program, ready to run over this state."""
        loaded = self._loaded.get(program)
        if loaded is None:
            loaded = self._loaded[program] = _Loaded(self.device, program)
            finalize(program, self._freed)
        size = layout_of(program).size
        if self._block is None or size > self._size:
            for each in self._loaded.values():
                each.bindings.clear()
            self._block, self._size = None, 0  # free before the larger one is taken
            self._block, self._size = self.device.allocate(max(size, 1)), size
        known = loaded.bindings.get(state.key)
        if known is None:
            known = loaded.bindings[state.key] = Binding(
                self.device, program, loaded.module, self._block, loaded.constants, state, exchanges
            )
        return known

    def started(self, binding: Binding) -> None:
        """Keeps count of what is captured: the programs that ran last stay so."""
        if not binding.is_captured:
            return
        kept = [each for each in self._captured if each() not in (None, binding)]
        for old in kept[: max(0, len(kept) + 1 - CAPTURED)]:
            if (its := old()) is not None:
                its.forget_captured()
        self._captured = [*kept[-(CAPTURED - 1) :], ref(binding)]

    def _freed(self) -> None:
        """Gives the block back where no program is left that would run in it."""
        if not self._loaded:
            self._block, self._size = None, 0


class _Loaded:
    """What a program has for itself: kernels, constants, and its bindings by state."""

    def __init__(self, device: Device, program: DeviceProgram) -> None:
        self.module: Module = device.load(program.kernels, program.names)
        self.constants: dict[Node, tuple[Memory, int]] = {
            leaf: (written(device, np.ascontiguousarray(leaf.attributes["value"].array)), 0)
            for leaf in program.leaves
            if leaf.operation is constant
        }
        self.bindings: WeakKeyDictionary[object, Binding] = WeakKeyDictionary()


class Staging:
    """The state of a caller who keeps his own on the processor, as the programs of one graph use
    it on the device."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._state: DeviceState | None = None

    def of(self, values: Mapping[str, np.ndarray]) -> DeviceState:
        """A copy on the device."""
        known = self._state
        if known is None or not all(known.fits(n, v.shape, v.dtype) for n, v in values.items()):
            self._state = None  # its memory is free before there is more
            self._state = known = self._memory.placed(values)
        else:
            known.write(values)
        return known
