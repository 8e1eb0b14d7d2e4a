"""A program of the device under construction: where values lie, and launches over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backends.arguments import Address, PartialSums, Stream
from graphgrad.backends.cupy.kernel_files import copy_text, joined_axes, kernel_text
from graphgrad.backends.cupy.launches import (
    ARENA,
    REFUSED,
    SCRATCH,
    Action,
    Array,
    Launch,
    Pointer,
    Word,
)
from graphgrad.backends.cupy.nest_text import print_nest, renamed
from graphgrad.fusion import LoopNest
from graphgrad.fusion.reading import TOTAL, unrepeated
from graphgrad.fusion.statements import Loops, Mask
from graphgrad.graph import LEAVES, Node, TensorType
from graphgrad.plan import Plan
from graphgrad.plan.arena import aligned

BLOCK = 256
VECTOR = 16
"""Bytes that are read at once; an array that begins elsewhere is read one by one."""


class Lowering:
    """What the rules (rules.py) add their launches to."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.actions: list[Action] = []
        self.kernels: dict[str, str] = {}
        self.scratch_bytes = 0
        self._taken = 0

    # ------------------------------------------------------------ where things lie

    def array(self, node: Node) -> Array:
        """Where a value lies and how."""
        ghost = self.plan.layouts.ghosts[node]
        return Array(self.pointer(node), node.dtype, node.type.sizes, ghost.strides)

    def pointer(self, node: Node) -> Pointer:
        """Where the first element of a value lies."""
        ghosts, place = self.plan.layouts.ghosts, self.plan.places[node]
        offset, root = 0, place.root
        if place.kind == "view":
            offset = int(ghosts[node].ctypes.data - ghosts[root].ctypes.data)
            root = self.plan.places[root].root  # a next value may lie in its state
        if root.operation in LEAVES:
            return Pointer(root, offset)
        return self.arena_pointer(self.plan.places[root].offset + offset)

    def arena_pointer(self, offset: int) -> Pointer:
        """So many bytes into the arena."""
        return Pointer(ARENA, offset)

    def scratch(self, type_: TensorType) -> Array:
        """A working array until the next node."""
        offset = self._taken
        self._taken += aligned(type_.nbytes)
        self.scratch_bytes = max(self.scratch_bytes, self._taken)
        return contiguous_array(Pointer(SCRATCH, offset), type_.dtype, type_.sizes)

    def free_scratch(self) -> None:
        """Ends the life of all working arrays."""
        self._taken = 0

    def refused(self) -> Pointer:
        """Where the next launch says that an index is bad."""
        return Pointer(REFUSED, 4 * len(self.actions))

    # ------------------------------------------------------------ what is added

    def launch(self, node: Node, text: str, grid: int, words: Sequence[Word], block: int) -> None:
        """A kernel by its text, which gives it its name: equal texts are one kernel everywhere."""
        if not grid:
            return
        name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self.kernels[name] = renamed(text, name)
        self.actions.append(Launch(node, name, grid, block, tuple(words)))

    def elementwise(self, node: Node, text: str, count: int, words: Sequence[Word]) -> None:
        """A kernel of which each thread does one of `count` things."""
        self.launch(node, text, -(-count // BLOCK), words, BLOCK)

    def copy(self, node: Node, source: Array, target: Array, adds: bool = False) -> None:
        """Elements of one array to the same places of another, of the same shape."""
        size = source.dtype.itemsize
        axes, read, written = joined_axes(
            source.shape,
            [stride // size for stride in source.strides],
            [stride // size for stride in target.strides],
        )
        text = copy_text(source.dtype, len(axes), adds)
        words = (source.size, *axes[1:], *read, *written, source.pointer, target.pointer)
        self.elementwise(node, text, source.size, words)

    def zeros(self, node: Node, target: Array) -> None:
        """Zeros in an array that lies in order."""
        text = kernel_text("fill_zero", element=target.dtype)
        self.elementwise(node, text, target.size, (target.size, target.pointer))

    def contiguous(self, node: Node, array: Array) -> Array:
        """The array itself, or a copy of it whose elements lie in order."""
        ordered = contiguous_array(array.pointer, array.dtype, array.shape)
        if array.size <= 1 or _strides_that_count(array) == _strides_that_count(ordered):
            return ordered
        found = self.scratch(TensorType(array.shape, array.dtype))
        self.copy(node, array, found)
        return found

    def nest(
        self,
        node: Node,
        nest: LoopNest,
        in_place: Mapping[int, int] | None = None,
        moved: Mapping[Node, Pointer] | None = None,
    ) -> None:
        """The kernel of a nest; `moved` are values that are read elsewhere than they lie."""
        moved = moved or {}
        pointers: dict[int, Pointer] = {}
        for number in _in_memory(nest.loops):
            source = unrepeated(nest.nodes[number])
            pointers[number] = moved.get(source) or self.pointer(source)
        streams = {
            argument.value: int(nest.nodes[argument.value].attributes["stream"])
            for argument in nest.loops.arguments
            if isinstance(argument, Mask)
        }
        self.loops(node, nest.loops, pointers, in_place or {}, streams)

    def loops(
        self,
        node: Node,
        loops: Loops,
        pointers: Mapping[int, Pointer],
        in_place: Mapping[int, int] | None = None,
        streams: Mapping[int, int] | None = None,
    ) -> None:
        """The kernel of loops, and what adds up the parts of its sums.

        Where all arrays begin at multiples of 16 bytes, it reads so many at once.
        """
        widest = all(pointer.offset % VECTOR == 0 for pointer in pointers.values())
        kernel = print_nest(loops, in_place, widest)
        geometry = kernel.geometry
        parts: list[Array] = []
        for value in loops.collected:
            columns = 1 if loops.role(value) == TOTAL else loops.columns
            shape = (geometry.parts, columns)
            parts.append(self.scratch(TensorType(shape, loops.values[value].dtype)))
        words: list[Word] = []
        for word in kernel.words:
            if isinstance(word, Address):
                words.append(pointers[word.value])
            elif isinstance(word, PartialSums):
                words.append(parts[word.number].pointer)
            elif isinstance(word, Stream):
                words.append((streams or {})[word.value])
            else:
                words.append(word if isinstance(word, int) else Pointer(word))
        self.launch(node, kernel.text, geometry.grid(loops), words, geometry.block)
        for value, its in zip(loops.collected, parts, strict=True):
            text, columns = kernel_text("add_parts", element=its.dtype), its.shape[1]
            words = [geometry.parts, columns, its.pointer, pointers[value]]
            self.launch(node, text, -(-columns // 32), words, BLOCK)


def _in_memory(loops: Loops) -> list[int]:
    """The values that lie in memory."""
    read = [value for argument in loops.arguments for value in argument.reads]
    return [*read, *loops.kept, *loops.collected]


def contiguous_array(pointer: Pointer, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    """An array whose elements lie in C order."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return Array(pointer, dtype, shape, tuple(reversed(strides)))


def _strides_that_count(array: Array) -> list[int]:
    return [stride for stride, size in zip(array.strides, array.shape, strict=True) if size != 1]
