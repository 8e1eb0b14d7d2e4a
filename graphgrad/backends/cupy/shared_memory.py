"""Where the programs of one graph run on a device: a block of memory that they share by turns, and
the state of a caller who keeps his own on the processor.

The block is as large as the largest program needs. Where it grows, all programs are bound anew.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np

from graphgrad.backends.cupy.binding import Binding, layout_of, written
from graphgrad.backends.cupy.device import Device, Memory, Module
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.graph import Node, constant


class SharedMemory:
    """One device, as the programs of a graph use it."""

    def __init__(self, device: Device) -> None:
        self.device, self.lock = device, threading.Lock()
        self._block: Memory | None = None
        self._size = 0
        self._staged: DeviceState | None = None
        self._loaded: WeakKeyDictionary[DeviceProgram, _Loaded] = WeakKeyDictionary()

    def staged(self, values: Mapping[str, np.ndarray]) -> DeviceState:
        """A copy on the device of a state that the caller keeps."""
        known = self._staged
        if known is None or not all(known.fits(n, v.shape, v.dtype) for n, v in values.items()):
            self._staged = None  # its memory is free before there is more
            self._staged = known = DeviceState(self.device, values)
        else:
            known.write(values)
        return known

    def missing_bytes(self, program: DeviceProgram) -> int:
        """How many bytes of memory the program needs that is not there yet."""
        return max(0, layout_of(program).size - self._size)

    @property
    def block_bytes(self) -> int:
        """The size of the block."""
        return self._size

    def binding(self, program: DeviceProgram, state: DeviceState) -> Binding:
        """The program, ready to run over this state."""
        loaded = self._loaded.get(program)
        if loaded is None:
            loaded = self._loaded[program] = _Loaded(self.device, program)
        size = layout_of(program).size
        if self._block is None or size > self._size:
            for each in self._loaded.values():
                each.bindings.clear()
            self._block, self._size = None, 0  # free before the larger one is taken
            self._block, self._size = self.device.allocate(max(size, 1)), size
        known = loaded.bindings.get(state)
        if known is None:
            known = loaded.bindings[state] = Binding(
                self.device, program, loaded.module, self._block, loaded.constants, state
            )
        return known


class _Loaded:
    """What a program has for itself: kernels, constants, and its bindings by state."""

    def __init__(self, device: Device, program: DeviceProgram) -> None:
        self.module: Module = device.load(program.kernels, program.names)
        self.constants: dict[Node, tuple[Memory, int]] = {
            leaf: (written(device, np.ascontiguousarray(leaf.attributes["value"].array)), 0)
            for leaf in program.leaves
            if leaf.operation is constant
        }
        self.bindings: WeakKeyDictionary[DeviceState, Binding] = WeakKeyDictionary()
