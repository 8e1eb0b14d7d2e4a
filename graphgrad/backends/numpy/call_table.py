"""Links a program: compiles its kernels and fills the call table with addresses.

Each kernel call is a row: a compiled kernel, the number of blocks that its rows are divided into,
and its arguments, most of them addresses of values. An address is an offset in the arena, in a
constant, or in an array of the caller. The first two are set once for each workspace;
`set_addresses` sets the third when the caller passes another array than in the last run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from graphgrad.backends.arguments import Address, KernelArgument, MaskStream, PartialSums, RowTable
from graphgrad.backends.numpy.product_table import (
    SHARED_OPERATIONS,
    blocks_of,
    buffer_bytes,
    copy_bytes,
    is_large_product,
    panels_of,
    products_of,
    thread_bytes,
    words_of,
)
from graphgrad.backends.source import AttentionCall, KernelCall
from graphgrad.graph import Node, constant
from graphgrad.loops.kernel_cache import (
    compile_add_partial_sums,
    compile_in_parallel,
    compile_kernel,
    kernel_assembly,
    kernel_llvm_text,
)
from graphgrad.loops.library.product_words import MEMORY, PANELS, READY, A, B
from graphgrad.loops.threads import compiled_run_rows, shared_pool
from graphgrad.ops.movement import broadcast_to
from graphgrad.plan import Plan
from graphgrad.plan.arena import aligned

SHARED_FROM = 1 << 19
"""Elements: for smaller kernels, handing work to another thread costs more than it saves where
OpenBLAS's threads are beside them; see loops/threads.py."""
SHARED_ALONE = 1 << 16
"""Elements from which on kernels are shared where all large products are ours."""
ATTENTION_SHARED_FROM = 1 << 20
"""Products of two numbers: for smaller attention one thread is as fast."""


Call = KernelCall | AttentionCall


def link(plan: Plan, calls: Sequence[Call], threads: int) -> CallTable:
    """Compiles the kernels, in parallel processes if many are missing; returns the call table."""
    compile_in_parallel([call.kernel.text for call in calls], threads)
    own = [call for call in calls if isinstance(call, KernelCall)]
    bytes_ = max(map(thread_bytes, own), default=0)
    table = CallTable(plan, threads, bytes_)
    for call in calls:
        table.add(call)
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    function: int
    blocks: int
    shared: bool
    first_argument: int


@dataclass
class CallTable:
    """The rows of a program, independent of workspaces; filled by `link`."""

    plan: Plan
    threads: int
    thread_bytes: int = 0
    """Memory of each thread for its products, behind the values of the plan."""
    flags: int = 0
    """Words that say which panels of a product are copied: each workspace has its own."""
    rows: list[_Row] = field(default_factory=list)
    arguments: list[int] = field(default_factory=list)
    in_arena: list[int] = field(default_factory=list)
    """The indices of the arguments that are offsets in the arena."""
    in_leaf: dict[int, list[int]] = field(default_factory=dict)
    """The indices of the arguments that are offsets in the caller's array of this number."""
    in_flags: list[int] = field(default_factory=list)
    """The indices of the arguments that are offsets in those words."""
    kept: list[np.ndarray] = field(default_factory=list)
    """Arrays whose addresses are in the table, kept alive by it."""

    def __post_init__(self) -> None:
        graph = self.plan.graph
        beside = any(map(is_large_product, self.plan.steps))
        self.shared_from = SHARED_FROM if beside else SHARED_ALONE
        leaves = [*graph.inputs.values(), *graph.states.values()]
        self._leaves = {leaf: number for number, leaf in enumerate(leaves)}
        self._tables: dict[RowTable, np.ndarray] = {}

    def add(self, call: Call) -> None:
        """Adds the rows of a call."""
        assert len(self.rows) == call.first_row
        kernel = compile_kernel(call.kernel.text)
        if isinstance(call, AttentionCall):
            shared = call.work >= ATTENTION_SHARED_FROM
            self._add_row(kernel, call.blocks, shared, call.kernel.arguments, call)
            return
        blocks, elements = blocks_of(call)
        operations = sum(its.shape.operations for its in products_of(call))
        shared = elements >= self.shared_from or operations >= SHARED_OPERATIONS
        self._add_row(kernel, blocks, shared, call.kernel.arguments, call)
        self._add_products(call)
        for position, number in enumerate(call.partial_sums):
            node = call.nodes[number]
            size = 1 if node.type.size == 1 else node.type.sizes[-1]
            arguments = (blocks, size, PartialSums(position), Address(number))
            self._add_row(compile_add_partial_sums(str(node.dtype)), 1, False, arguments, call)

    @property
    def arena_bytes(self) -> int:
        """Bytes of the values, and of the threads."""
        return aligned(self.plan.arena_bytes) + self.threads * self.thread_bytes

    def _add_products(self, call: KernelCall) -> None:
        """Adds the words of the products of a call."""
        copies, buffer = len(call.partial_sums), copy_bytes(call)
        for product in products_of(call):
            start, words = len(self.arguments), words_of(product.shape, self.thread_bytes, buffer)
            words[MEMORY], words[READY] = aligned(self.plan.arena_bytes), 8 * self.flags
            self.in_arena.append(start + MEMORY)
            self.in_flags.append(start + READY)
            if product.shape.copies_b:
                words[PANELS] = call.step.scratch[copies].offset
                self.in_arena.append(start + PANELS)
                copies += 1
            for place, head in zip((A, B), product.node.heads, strict=True):
                words[place] = self._address(head, start + place)
            self.flags += panels_of(product.shape)
            buffer += buffer_bytes(call, product)
            self.arguments += words

    def assembly(self, text: str) -> str:
        """The assembly of a kernel."""
        return kernel_assembly(text)

    def llvm(self, text: str) -> str:
        """The LLVM text of a kernel."""
        return kernel_llvm_text(text)

    def bind(self, arena: np.ndarray) -> BoundCallTable:
        """The table with the addresses of a workspace."""
        return BoundCallTable(self, arena)

    def _add_row(
        self,
        kernel: int,
        blocks: int,
        shared: bool,
        arguments: Sequence[KernelArgument],
        call: Call,
    ) -> None:
        self.rows.append(_Row(kernel, blocks, shared, len(self.arguments)))
        for argument in arguments:
            self.arguments.append(self._value_of(argument, call))

    def _value_of(self, argument: KernelArgument, call: Call) -> int:
        """The argument as a number. If it is an offset, its index is noted, to add the base
        address."""
        position = len(self.arguments)
        if isinstance(argument, int):
            return argument
        if isinstance(argument, PartialSums):
            self.in_arena.append(position)
            return call.step.scratch[argument.number].offset
        if isinstance(argument, RowTable):
            if argument not in self._tables:
                self._tables[argument] = argument.array()
                self.kept.append(self._tables[argument])
            return int(self._tables[argument].ctypes.data)
        node = call.nodes[argument.value]
        if isinstance(argument, MaskStream):
            return int(node.attributes["stream"])
        return self._address(node, position)

    def _address(self, node: Node, position: int) -> int:
        """The address of a value, or its offset; then the argument's index is noted."""
        while node.operation is broadcast_to:
            node = node.heads[0]
        root = self.plan.places[node].root
        offset = 0
        if self.plan.places[node].kind == "view":
            arrays = self.plan.layouts.arrays
            offset = int(arrays[node].ctypes.data - arrays[root].ctypes.data)
            root = self.plan.places[root].root  # a next value may be stored in its state
        if root.operation is constant:
            array = root.attributes["value"].array
            self.kept.append(array)
            return int(array.ctypes.data) + offset
        if root in self._leaves:
            self.in_leaf.setdefault(self._leaves[root], []).append(position)
            return offset
        self.in_arena.append(position)
        return self.plan.places[root].offset + offset


class BoundCallTable:
    """A call table with the addresses of one workspace."""

    run: Callable[[int, int], None]
    """Runs the rows from the first number to before the second."""

    def __init__(self, table: CallTable, arena: np.ndarray) -> None:
        self._arguments = np.array([*table.arguments, 0], np.int64)
        self._arguments[table.in_arena] += arena.ctypes.data
        flags = np.zeros(table.flags, np.int64)
        self._arguments[table.in_flags] += flags.ctypes.data
        base = self._arguments.ctypes.data
        rows = [
            (row.function, row.blocks, row.shared, base + 8 * row.first_argument)
            for row in table.rows
        ]
        pool = shared_pool(table.threads)
        self._kept = (table.kept, arena, pool, flags)
        self._leaves = [
            (number, np.array(positions, np.intp), self._arguments[positions].copy())
            for number, positions in table.in_leaf.items()
        ]
        self._known: list[Callable[[], np.ndarray | None]] = [_nothing for _ in self._leaves]
        self._rows = np.array(rows, np.int64).reshape(-1, 4)
        self.run = partial(compiled_run_rows(), pool.words.ctypes.data, self._rows.ctypes.data)

    def set_addresses(self, *arrays: np.ndarray) -> None:
        """Sets the addresses of the caller's arrays."""
        for index, (number, positions, offsets) in enumerate(self._leaves):
            array = arrays[number]
            if self._known[index]() is not array:
                self._arguments[positions] = offsets + array.ctypes.data
                self._known[index] = weakref.ref(array)


def _nothing() -> None:
    return None
