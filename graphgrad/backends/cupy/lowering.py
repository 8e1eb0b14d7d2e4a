"""A program of the device under construction: where values lie, and launches over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphgrad.backends.arguments import Address, KernelArgument, MaskStream, PartialSums, RowTable
from graphgrad.backends.cupy.copies import copy_of, pack_width, packed
from graphgrad.backends.cupy.kernel_files import (
    guarded,
    kernel_text,
    named,
)
from graphgrad.backends.cupy.launches import (
    ARENA,
    NUMBERS,
    REFUSED,
    SCRATCH,
    Action,
    Array,
    Guard,
    Launch,
    Memory,
    Pointer,
    Word,
)
from graphgrad.backends.cupy.nest_text import Kernel, print_nest
from graphgrad.fusion import LoopNest
from graphgrad.fusion.reading import Role, broadcast_source
from graphgrad.fusion.statements import Loops, Mask
from graphgrad.graph import LEAVES, Node, TensorType
from graphgrad.plan import Plan
from graphgrad.plan.arena import aligned

BLOCK = 256
VECTOR = 16
"""Bytes that are read at once; where an array begins elsewhere, numbers are read one by one."""
STOPPED = Pointer(REFUSED, 0, 4)
"""Where it is said that the state has to stay as it is."""
SCRATCH_ROUND = 1 << 24
"""Bytes of scratch after which its start is used again: what lies apart needs no order."""


class Lowering:
    """What the rules (rules.py) add their launches to."""

    def __init__(self, plan: Plan, on_tensor_cores: Callable[[], bool] = lambda: True) -> None:
        self.plan = plan
        self.on_tensor_cores = on_tensor_cores
        """Whether the device computes attention of 16 bits on tensor cores."""
        self.actions: list[Action] = []
        self.kernels: dict[str, str] = {}
        self.scratch_bytes = 0
        self.refusals: list[Node] = []
        self.guarded = False
        """Whether a guard was added: what writes to a state from here on looks at its flag."""
        self._taken = 0
        self._numbers: dict[Node, int] = {}
        self._printed: dict[Any, Kernel] = {}
        """Equal layers have equal loops, which are printed once."""

    # ------------------------------------------------------------ where things lie

    def array(self, node: Node) -> Array:
        """Where a value lies and how."""
        layouts, place = self.plan.layouts.arrays, self.plan.places[node]
        offset, root = 0, place.root
        if place.kind == "view":
            offset = int(layouts[node].ctypes.data - layouts[root].ctypes.data)
            root = self.plan.places[root].root  # a next value may lie in its state
        memory: Memory = root
        if self.is_number(root):
            memory, offset = NUMBERS, self._numbers.setdefault(root, VECTOR * len(self._numbers))
        elif root.operation not in LEAVES:
            memory, offset = ARENA, self.plan.places[root].offset + offset
        return Array(memory, offset, node.dtype, node.type.sizes, layouts[node].strides)

    def is_number(self, root: Node) -> bool:
        """Whether a value has one element, and a place of its own for it."""
        return root.type.size == 1 and root.operation not in LEAVES

    @property
    def numbers_bytes(self) -> int:
        """The bytes of all values of one element."""
        return VECTOR * len(self._numbers)

    def in_arena(self, offset: int, type_: TensorType) -> Array:
        """A value that lies in order so many bytes into the arena."""
        return ordered(ARENA, offset, type_)

    def scratch(self, type_: TensorType) -> Array:
        """A working array until the next node."""
        offset = self._taken
        self._taken += aligned(type_.nbytes)
        self.scratch_bytes = max(self.scratch_bytes, self._taken)
        return ordered(SCRATCH, offset, type_)

    def free_scratch(self) -> None:
        """Ends the life of all working arrays; their memory is used again some time later."""
        if self._taken > SCRATCH_ROUND:
            self._taken = 0

    def refused(self, node: Node) -> Pointer:
        """Where a launch for the node says that an index is bad."""
        self.refusals.append(node)
        return Pointer(REFUSED, 4 * len(self.refusals), 4, written=True)

    # ------------------------------------------------------------ what is added

    def launch(
        self,
        node: Node,
        text: str,
        grid: int,
        words: Sequence[Word],
        block: int,
        nodes: tuple[Node, ...] = (),
    ) -> None:
        """A kernel by its text; `nodes` are what it computes, if that is more than the node."""
        if not grid:
            return
        if self.guarded and any(map(_writes_state, words)):
            text, words = guarded(text), (STOPPED, *words)
        name = self.kernel(text)
        self.actions.append(Launch(nodes or (node,), name, grid, block, tuple(words)))

    def kernel(self, text: str) -> str:
        """The name of a kernel of this text, which becomes one of the program's."""
        name, text = named(text)
        self.kernels[name] = text
        return name

    def guard(self, node: Node) -> None:
        """What comes behind changes no state unless the value is finite."""
        value = self.array(node)
        flag = Pointer(STOPPED.memory, 0, STOPPED.reach, written=True)
        refused = Pointer(REFUSED, 4, 4 * len(self.refusals))
        name = self.kernel(kernel_text("guard", element=value.dtype))
        words = (len(self.refusals), refused, value.read, flag)
        self.actions.append(Guard((node,), name, 1, BLOCK, words, value))
        self.guarded = True

    def cleared(self) -> Launch:
        """The launch that a step begins with where there are flags: all are 0."""
        count, name = 1 + len(self.refusals), self.kernel(kernel_text("fill_zero", element="int"))
        words = (count, Pointer(REFUSED, 0, 4 * count, written=True))
        node = self.actions[0].node
        return Launch((node,), name, -(-count // BLOCK), BLOCK, words)

    def elementwise(self, node: Node, text: str, count: int, words: Sequence[Word]) -> None:
        """A kernel of which each thread does one of `count` things."""
        self.launch(node, text, -(-count // BLOCK), words, BLOCK)

    def copy(self, node: Node, source: Array, target: Array, adds: bool = False) -> None:
        """Elements of one array to the same places of another, of the same shape."""
        its = copy_of(source, target, adds)
        self.launch(node, its.text, its.grid, its.words, BLOCK)

    def zeros(self, node: Node, target: Array) -> None:
        """Zeros in an array that lies in order."""
        width = pack_width(target.dtype, (target,), (target.size,))
        text, count = kernel_text("fill_zero", element=packed(target.dtype, width)), target.size
        self.elementwise(node, text, count // width, (count // width, target.written))

    def contiguous(self, node: Node, array: Array) -> Array:
        """The array itself, or a copy of it whose elements lie in order."""
        type_ = TensorType(array.shape, array.dtype)
        wanted = ordered(array.memory, array.offset, type_)
        if array.size <= 1 or _strides_that_count(array) == _strides_that_count(wanted):
            return wanted
        found = self.scratch(type_)
        self.copy(node, array, found)
        return found

    def nest(
        self,
        node: Node,
        nest: LoopNest,
        in_place: Mapping[int, int] | None = None,
        moved: Mapping[Node, Array] | None = None,
    ) -> None:
        """The kernel of a nest; `moved` are values that are read elsewhere than they lie."""
        loops, arrays = nest.loops, {}
        read = [value for argument in loops.arguments for value in argument.reads]
        for value in (*read, *loops.kept, *loops.partial_sums):
            source = broadcast_source(nest.nodes[value])
            arrays[value] = (moved or {}).get(source) or self.array(source)
        streams = {
            argument.value: int(nest.nodes[argument.value].attributes["stream"])
            for argument in loops.arguments
            if isinstance(argument, Mask)
        }
        shared = {
            output: argument
            for output, argument in (in_place or {}).items()
            if arrays.get(output) == arrays[argument]
        }
        self.loops(node, loops, arrays, shared, streams, nest.outputs)

    def loops(
        self,
        node: Node,
        loops: Loops,
        arrays: Mapping[int, Array],
        in_place: Mapping[int, int] | None = None,
        streams: Mapping[int, int] | None = None,
        nodes: tuple[Node, ...] = (),
    ) -> None:
        """The kernel of loops over these arrays, and what adds up the parts of its sums.

        Where all arrays begin at multiples of 16 bytes, it reads so many at once.
        """
        widest = all(array.offset % VECTOR == 0 for array in arrays.values())
        key = loops, tuple((in_place or {}).items()), widest
        if key not in self._printed:
            self._printed[key] = print_nest(loops, in_place, widest)
        kernel = self._printed[key]
        geometry = kernel.geometry
        parts: list[Array] = []
        for value in loops.partial_sums:
            columns = 1 if loops.role(value) == Role.TOTAL else loops.columns
            shape = (geometry.written_parts, columns)
            parts.append(self.scratch(TensorType(shape, loops.values[value].dtype)))
        written = {*loops.kept, *(in_place or {}).values()}

        def word_of(word: KernelArgument) -> Word:
            if isinstance(word, Address):
                array = arrays[word.value]
                return array.written if word.value in written else array.read
            if isinstance(word, PartialSums):
                return parts[word.number].written
            if isinstance(word, MaskStream):
                return (streams or {})[word.value]
            return Pointer(word, 0, 4 * loops.rows) if isinstance(word, RowTable) else word

        words = list(map(word_of, kernel.words))
        self.launch(node, kernel.text, geometry.grid(loops), words, geometry.block, nodes)
        self._add_parts(node, [arrays[value] for value in loops.partial_sums], parts)

    def _add_parts(self, node: Node, sums: Iterable[Array], parts: Iterable[Array]) -> None:
        for target, its in zip(sums, parts, strict=True):
            text, (count, columns) = kernel_text("add_parts", element=its.dtype), its.shape
            words = (count, columns, its.read, target.written)
            self.launch(node, text, -(-columns // 32), words, block=1024)


def _writes_state(word: Word) -> bool:
    """Whether a launch writes there to a leaf: of these, states alone are written."""
    return isinstance(word, Pointer) and word.written and isinstance(word.memory, Node)


def ordered(memory: Memory, offset: int, type_: TensorType) -> Array:
    """An array whose elements lie in C order."""
    strides, step = [], type_.dtype.itemsize
    for size in reversed(type_.sizes):
        strides.append(step)
        step *= max(size, 1)
    return Array(memory, offset, type_.dtype, type_.sizes, tuple(reversed(strides)))


def _strides_that_count(array: Array) -> list[int]:
    return [stride for stride, size in zip(array.strides, array.shape, strict=True) if size != 1]
