"""A program of the device with memory: every pointer of it has an address.

All programs of a device share one block of memory; the state and nothing else stays from step to
step. A binding holds addresses of the block and of one state; for another state, or a larger block,
the program is bound anew.

The first run starts action by action: kernels are loaded, libraries make what they need. In the
second one what can be captured is captured, and from then on launched as a whole. Nothing waits for
the device before the results are read, by one copy where all of them are single numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphgrad.backends.arguments import RowTable
from graphgrad.backends.cupy.capture import launches_of, segments_of
from graphgrad.backends.cupy.device import Device, Exchanges, Memory, Module, Run
from graphgrad.backends.cupy.input_ring import InputRing, Sent
from graphgrad.backends.cupy.launches import (
    ARENA,
    NUMBERS,
    REFUSED,
    SCRATCH,
    WORKSPACE,
    Action,
    Array,
    Computed,
    DeviceProgram,
    Launch,
    Pointer,
    Product,
    Rows,
)
from graphgrad.backends.cupy.state import ResidentState
from graphgrad.graph import STATEFUL, constant, leaf_name
from graphgrad.plan.arena import aligned

WORKSPACE_ALIGNMENT = 256
"""Bytes, of which the library wants a multiple."""
INT32 = np.dtype("int32")
BYTE = np.dtype("uint8")


@dataclass(frozen=True)
class Layout:
    """Where in the block each memory of a program begins: what the host reads first."""

    offsets: Mapping[Any, int]
    inputs: Mapping[str, int]
    """Where the inputs of the program begin, behind everything else: one copy brings them there."""
    inputs_begin: int
    size: int

    @property
    def input_bytes(self) -> int:
        """The bytes of all inputs together."""
        return self.size - self.inputs_begin

    @property
    def read_bytes(self) -> int:
        """The numbers and the flags, which lie together."""
        return self.offsets[SCRATCH]


def layout_of(program: DeviceProgram) -> Layout:
    """The parts of the block that a program runs in."""
    sizes: dict[Any, int] = {
        NUMBERS: program.numbers_bytes,
        REFUSED: 4 * program.flags,
        SCRATCH: program.scratch_bytes,
        ARENA: program.arena_bytes,
        WORKSPACE: program.workspace_bytes,
    }
    inputs = [
        leaf
        for leaf in program.leaves
        if leaf.operation is not constant and leaf.operation not in STATEFUL
    ]
    begin = sum(map(aligned, sizes.values()))
    sizes |= {leaf: leaf.type.nbytes for leaf in inputs}
    offsets, size = {}, 0
    for memory, its in sizes.items():
        if memory == WORKSPACE:
            size = -(-size // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
        offsets[memory] = size
        size += aligned(its)
    return Layout(offsets, {leaf_name(leaf): offsets[leaf] for leaf in inputs}, begin, size)


class Binding:
    """A program over a block and a state; `constants` and kernels are the program's own."""

    def __init__(
        self,
        device: Device,
        program: DeviceProgram,
        module: Module,
        block: Memory,
        constants: Mapping[Any, tuple[Memory, int]],
        state: ResidentState,
        exchanges: Exchanges | None = None,
    ) -> None:
        self.device, self.program, self.layout = device, program, layout_of(program)
        self._block = block
        self._places: dict[Any, tuple[Memory, int]] = {
            **{memory: (block, offset) for memory, offset in self.layout.offsets.items()},
            **constants,
        }
        for leaf in program.leaves:
            if leaf.operation in STATEFUL:
                self._places[leaf] = state.place(leaf_name(leaf))
        self._module, self._exchanges = module, exchanges
        self.runs = list(map(self._ready, program.actions))
        self.segments = segments_of(program.actions, device.captures_products)
        self._started: list[Run] | None = None
        self._times = 0
        self.uncaptured = ""
        """Why nothing is captured, where the device refused it."""
        read = self.layout.read_bytes
        self._read = device.array(block, 0, BYTE, (read,), (1,))

    @property
    def launches(self) -> int:
        """How many calls start a step, once what can be is captured."""
        return len(self.runs) if self.uncaptured else launches_of(self.segments)

    def receive(self, ring: InputRing, sent: Sent) -> None:
        """Has the inputs moved to where the kernels read them."""
        with self.device.active():
            ring.receive(sent, self._block, self.layout.inputs_begin)

    def move_input(self, name: str, memory: Memory, start: int, size: int) -> None:
        """Has an input that is on the device moved to where the kernels read it."""
        if name in self.layout.inputs and size:
            with self.device.active():
                self.device.move(self._block, self.layout.inputs[name], memory, start, size)

    def start(self) -> None:
        """Gives one run of all actions to the device."""
        self._times += 1
        with self.device.active():
            if self._started is None and self._times > 1:
                self._started = self._captured()
            for run in self._started or self.runs:
                run()

    @property
    def is_captured(self) -> bool:
        """Whether a step is started by what was captured of it."""
        return self._started is not None and self._started is not self.runs

    def forget_captured(self) -> None:
        """Frees what was captured; the next run captures it again."""
        self._started = None

    def _captured(self) -> list[Run]:
        found: list[Run] = []
        try:
            for segment in self.segments:
                its = self.runs[segment.begin : segment.end]
                found += (
                    [self.device.captured(partial(_in_order, its))] if segment.captured else its
                )
        except RuntimeError as problem:
            self.uncaptured = str(problem) or type(problem).__name__
            return self.runs
        return found

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of the single numbers and the flags, when the device is done."""
        if self._exchanges is not None:
            self._exchanges.settle(self.device.reached())
        whole = self.device.fetch(self._read)
        start = self.layout.offsets[REFUSED]
        flags = whole[start : start + 4 * self.program.flags].view(INT32)
        return whole[: self.program.numbers_bytes], flags

    def value(self, array: Array, numbers: np.ndarray) -> np.ndarray:
        """The value of an array; of a single number from the bytes that were read."""
        if array.memory is not NUMBERS:
            return self.device.fetch(self.array(array))
        its = np.ndarray(array.shape, array.dtype, numbers.data, array.offset, array.strides)
        return its.copy()

    # ------------------------------------------------------------ addresses

    def array(self, array: Array) -> Any:
        """An array of the array module."""
        memory, offset = self._places[array.memory]
        start = offset + array.offset
        return self.device.array(memory, start, array.dtype, array.shape, array.strides)

    def _ready(self, action: Action) -> Run:
        if isinstance(action, Launch):
            words = list(map(self._word, action.words))
            return self._module.prepared(action.kernel, action.grid, action.block, words)
        out, heads = self.array(action.out), list(map(self.array, action.heads))
        if isinstance(action, Product):
            extra = {
                name: None if its is None else self.array(its)
                for name, its in action.extras.named().items()
            }
            block, offset = self._places[WORKSPACE]
            workspace = block.address + offset, self.program.workspace_bytes
            return self.device.product(action, out, heads, extra, workspace)
        return self._computation(action, out, heads)

    def _computation(self, action: Computed, out: Any, heads: Sequence[Any]) -> Run:
        keywords = dict(action.node.attributes)
        if action.scratch:
            keywords["scratch"] = tuple(map(self.array, action.scratch))
        known = {} if self._exchanges is None else self._exchanges.computations
        compute = known.get(action.node.operation, action.node.operation.compute)
        assert compute is not None, "leaves are never computed"
        return partial(compute, self.device.array_module, out, *heads, **keywords)

    def _word(self, word: int | Pointer) -> int:
        if not isinstance(word, Pointer):
            return word
        if isinstance(word.memory, RowTable | Rows) and word.memory not in self._places:
            self._places[word.memory] = self._written(self._table(word.memory)), 0
        memory, offset = self._places[word.memory]
        return memory.address + offset + word.offset

    def _table(self, table: RowTable | Rows) -> np.ndarray:
        if isinstance(table, RowTable):
            return table.array()
        return np.array([list(map(self._word, row)) for row in table.rows], np.int64)

    def _written(self, values: np.ndarray) -> Memory:
        return written(self.device, values)


def written(device: Device, values: np.ndarray) -> Memory:
    """Memory of its own with these numbers, which lie in order."""
    memory = device.allocate(max(values.nbytes, 1))
    place = device.array(memory, 0, values.dtype, values.shape, values.strides)
    device.write(place, values)
    return memory


def _in_order(runs: Sequence[Run]) -> None:
    for run in runs:
        run()
