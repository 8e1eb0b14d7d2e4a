"""Links a printed program: compiles its kernels and fills the call table, rows of addresses.

A fused step is a row: a compiled kernel, into how many blocks its rows are cut, and the words it is
given, most of them addresses of values. Where a value lies is known beforehand: so many bytes into
the arena, a constant, or so many bytes into an array that the caller brings. The first two are
written down once for each workspace; `point` writes down the third where the caller brings another
array than last time.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from graphgrad.backends.arguments import Address, PartialSums, Stream, Table, Word
from graphgrad.backends.source import KernelCall
from graphgrad.graph import Node, constant
from graphgrad.loops.kernel_cache import (
    assembly,
    compile_add_parts,
    compile_kernel,
    compile_together,
    llvm_text,
)
from graphgrad.loops.threads import launch, shared_pool
from graphgrad.ops.movement import broadcast_to
from graphgrad.plan import Plan

SHARED_FROM = 1 << 19
"""Elements below which handing work to another thread costs more than it saves; see
loops/threads.py."""


def link(plan: Plan, calls: Sequence[KernelCall], threads: int) -> CallTable:
    """The call table of a program, with its kernels compiled on all threads."""
    compile_together([call.kernel.text for call in calls], threads)
    table = CallTable(plan, threads)
    for call in calls:
        table.add(call)
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    function: int
    blocks: int
    shared: bool
    first_word: int


@dataclass
class CallTable:
    """The rows of a program; filled by `link`."""

    plan: Plan
    threads: int
    rows: list[_Row] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    in_arena: list[int] = field(default_factory=list)
    """The words that count from the start of the arena."""
    in_leaf: dict[int, list[int]] = field(default_factory=dict)
    """The words that count from the start of the caller's array of this number."""
    kept: list[np.ndarray] = field(default_factory=list)
    """Arrays whose addresses are in the table."""

    def __post_init__(self) -> None:
        graph = self.plan.graph
        leaves = [*graph.inputs.values(), *graph.states.values()]
        self._leaves = {leaf: number for number, leaf in enumerate(leaves)}
        self._tables: dict[Table, np.ndarray] = {}

    def add(self, call: KernelCall) -> None:
        """Writes the rows of a call down."""
        assert len(self.rows) == call.first_row
        nest, loops = call.nest, call.nest.loops
        shared = loops.rows * loops.columns >= SHARED_FROM
        self._add_row(
            compile_kernel(call.kernel.text), loops.blocks, shared, call.kernel.words, call
        )
        for place, number in enumerate(loops.collected):
            node = nest.nodes[number]
            size = 1 if node.type.size == 1 else loops.columns
            words = (loops.blocks, size, PartialSums(place), Address(number))
            self._add_row(compile_add_parts(str(node.dtype)), 1, False, words, call)

    def assembly(self, text: str) -> str:
        """A kernel in the processor's own language."""
        return assembly(text)

    def llvm(self, text: str) -> str:
        """A kernel as LLVM reads it."""
        return llvm_text(text)

    def bind(self, arena: np.ndarray) -> Calls:
        """The table with the addresses of a workspace."""
        return Calls(self, arena)

    def _add_row(
        self, kernel: int, blocks: int, shared: bool, words: Sequence[Word], call: KernelCall
    ) -> None:
        self.rows.append(_Row(kernel, blocks, shared, len(self.words)))
        for word in words:
            self.words.append(self._value_of(word, call))

    def _value_of(self, word: Word, call: KernelCall) -> int:
        """The word as a number; an address is entered where it has to be added to."""
        place = len(self.words)
        if isinstance(word, int):
            return word
        if isinstance(word, PartialSums):
            self.in_arena.append(place)
            return call.step.scratch[word.number].offset
        if isinstance(word, Table):
            if word not in self._tables:
                self._tables[word] = word.array()
                self.kept.append(self._tables[word])
            return int(self._tables[word].ctypes.data)
        node = call.nest.nodes[word.value]
        if isinstance(word, Stream):
            return int(node.attributes["stream"])
        return self._address(node)

    def _address(self, node: Node) -> int:
        """Where a value lies, as far as it is known; and what has to be added to that is noted."""
        place = len(self.words)
        while node.operation is broadcast_to:
            node = node.heads[0]
        root = self.plan.places[node].root
        offset = 0
        if self.plan.places[node].kind == "view":
            ghosts = self.plan.layouts.ghosts
            offset = int(ghosts[node].ctypes.data - ghosts[root].ctypes.data)
            root = self.plan.places[root].root  # a next value may lie in its state
        if root.operation is constant:
            array = root.attributes["value"].array
            self.kept.append(array)
            return int(array.ctypes.data) + offset
        if root in self._leaves:
            self.in_leaf.setdefault(self._leaves[root], []).append(place)
            return offset
        self.in_arena.append(place)
        return self.plan.places[root].offset + offset


class Calls:
    """A call table with the addresses of one workspace."""

    run: Callable[[int, int], None]
    """Runs the rows from the first to before the second number."""

    def __init__(self, table: CallTable, arena: np.ndarray) -> None:
        self._words = np.array([*table.words, 0], np.int64)
        self._words[table.in_arena] += arena.ctypes.data
        base = self._words.ctypes.data
        rows = [
            (row.function, row.blocks, row.shared, base + 8 * row.first_word) for row in table.rows
        ]
        pool = shared_pool(table.threads)
        self._kept = (table.kept, arena, pool)
        self._leaves = [
            (number, np.array(places, np.intp), self._words[places].copy())
            for number, places in table.in_leaf.items()
        ]
        self._known: list[Callable[[], np.ndarray | None]] = [_nothing for _ in self._leaves]
        self._rows = np.array(rows, np.int64).reshape(-1, 4)
        self.run = partial(launch(), pool.words.ctypes.data, self._rows.ctypes.data)

    def point(self, *arrays: np.ndarray) -> None:
        """Tells the table where the caller's arrays lie."""
        for place, (number, words, offsets) in enumerate(self._leaves):
            array = arrays[number]
            if self._known[place]() is not array:
                self._words[words] = offsets + array.ctypes.data
                self._known[place] = weakref.ref(array)


def _nothing() -> None:
    return None
