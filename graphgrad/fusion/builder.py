"""Builds the loop nest of a region: the loop in which each node is computed, loaded and stored.

A node is computed in the earliest stage that has all its operands. The result of a reduction along
the row is complete only after its loop, so elementwise work that needs it belongs to the next
stage. The iterations of a loop are independent, except for maxima and minima along the row. A sum
along the row has its own loop: its operand is stored by the loop before, and read back from cache,
so the order of its additions depends on its length alone, and not on the other outputs of the
kernel.

Values are numbered in the order in which they are met, operands before results, so equal regions
have equal loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad import ops
from graphgrad.fusion.nest import LoopNest
from graphgrad.fusion.reading import (
    Role,
    aligned_shape,
    argument_role,
    broadcast_source,
    is_inlined,
)
from graphgrad.fusion.region import REDUCTIONS, Region
from graphgrad.fusion.statements import (
    Argument,
    Assign,
    ColumnLoop,
    Load,
    Loops,
    Mask,
    Number,
    Operand,
    Read,
    ReadBack,
    Reduce,
    RowSums,
    Statement,
    Store,
    Value,
)
from graphgrad.graph import Graph, Node

BEFORE = -1
"""The stage of values that are computed once a row and depend on no loop."""
IN_EVERY_COLUMN = (Role.FULL, Role.VECTOR, Role.INDEXED, Role.GENERATOR)
"""The roles of arguments that have an element for each column."""


def build_nest(region: Region, outputs: Sequence[Node], graph: Graph) -> LoopNest:
    """The loop nest that computes a region of a graph and stores `outputs`."""
    builder = _Builder(region, outputs)
    loops = builder.loops()
    nodes = tuple(builder.numbers)
    return LoopNest(loops, nodes, tuple(map(graph.name_of, nodes)))


@dataclass
class _Reader:
    """Makes the operands of one loop, and collects its loads, which precede the other
    statements."""

    builder: _Builder
    stage: int

    def __post_init__(self) -> None:
        self.loads: dict[Load, None] = {}

    def operand(self, head: Node) -> Operand:
        """A value as an operand of this loop."""
        builder = self.builder
        role = builder.roles.get(head)
        if role is not None:
            stored = role == Role.FULL and builder.stage_of[head] != self.stage
            return ReadBack(builder.number(head)) if stored else Read(builder.number(head))
        if is_inlined(head):
            return Number(head.dtype, repr(head.attributes["value"].array.reshape(()).item()))
        node = broadcast_source(head)
        role = builder.argument(node)
        if role in IN_EVERY_COLUMN:
            self.loads[Load(builder.number(node))] = None
        return Read(builder.number(node))

    def assign(self, node: Node) -> Assign:
        """The statement that computes a node."""
        operands = tuple([self.operand(head) for head in node.heads])
        return Assign(self.builder.number(node), node.operation, operands)

    def reduce(self, node: Node) -> Reduce:
        """The statement that adds an element to a reduction."""
        if node.operation is not ops.sum:
            self.builder.number(node)
        operand = self.operand(node.heads[0])
        return Reduce(self.builder.number(node), node.operation, operand)


class _Builder:
    def __init__(self, region: Region, outputs: Sequence[Node]) -> None:
        self.region, self.roles = region, region.roles
        self.outputs = dict.fromkeys(outputs)
        self.numbers: dict[Node, int] = {}
        self.argument_roles: dict[Node, Role] = {}
        """The role of each value that is read from memory."""
        self.stage_of: dict[Node, int] = {}
        self.stored: set[Node] = set()
        self._find_stages()

    def loops(self) -> Loops:
        """The loops of the region."""
        stages = 1 + max(self.stage_of.values(), default=0)
        built = tuple([tuple(self._stage(stage)) for stage in range(stages)])
        arguments = tuple(
            [self._argument(node, role) for node, role in self.argument_roles.items()]
        )
        kept = [self.numbers[n] for n in self.outputs if self.roles[n] in (Role.FULL, Role.ROW)]
        partial_sums = [
            self.numbers[n] for n in self.outputs if self.roles[n] in (Role.COLUMN, Role.TOTAL)
        ]
        buffered = [
            self.numbers[n] for n in self.roles if n in self.stored and n not in self.outputs
        ]
        values = tuple(
            [
                Value(
                    node.dtype, self.roles.get(node) or self.argument_roles.get(node, Role.SCALAR)
                )
                for node in self.numbers
            ]
        )
        return Loops(
            self.region.space,
            values,
            arguments,
            built,
            tuple(kept),
            tuple(partial_sums),
            tuple(buffered),
        )

    def number(self, node: Node) -> int:
        """The number of a value, assigned when it is first met."""
        return self.numbers.setdefault(node, len(self.numbers))

    def argument(self, node: Node) -> Role:
        """The role of a value that is read from memory; it becomes an argument of the kernel."""
        if node not in self.argument_roles:
            self.argument_roles[node] = argument_role(node, self.region.space)
        return self.argument_roles[node]

    def _argument(self, node: Node, role: Role) -> Argument | Mask:
        if role == Role.GENERATOR:
            seed, step = map(self.number, node.heads)
            return Mask(self.number(node), seed, step, node.attributes["rate"])
        shape = (
            aligned_shape(node, self.region.space)
            if role in (Role.INDEXED, Role.INDEXED_ROW)
            else None
        )
        return Argument(self.number(node), shape[:-1] if shape is not None else ())

    def _find_stages(self) -> None:
        for node, role in self.roles.items():
            stage = BEFORE if role == Role.ROW and node.operation not in REDUCTIONS else 0
            for head in node.heads:
                if self.roles.get(head) == Role.FULL:
                    stage = max(stage, self.stage_of[head])
                elif self.roles.get(head) == Role.ROW:
                    stage = max(stage, self.stage_of[head] + (role == Role.FULL))
            self.stage_of[node] = stage
        self._delay()
        for node in self.roles:
            for head in node.heads:
                later = self.stage_of.get(head, self.stage_of[node]) < self.stage_of[node]
                summed = node.operation is ops.sum and self.roles[node] in (Role.ROW, Role.TOTAL)
                if self.roles.get(head) == Role.FULL and (later or summed):
                    self.stored.add(head)
        self.stored.update(n for n in self.outputs if self.roles[n] == Role.FULL)

    def _delay(self) -> None:
        """Has what is made of numbers of rows and columns alone computed where it is first read, so
        that it is not stored for a later stage."""
        readers: dict[Node, list[Node]] = {}
        for node in self.roles:
            for head in node.heads:
                readers.setdefault(head, []).append(node)
        for node, role in reversed(self.roles.items()):
            whole = any(head.type.sizes == self.region.space for head in node.heads)
            if role == Role.FULL and node in readers and node not in self.outputs and not whole:
                self.stage_of[node] = min(self.stage_of[tail] for tail in readers[node])

    def _stage(self, stage: int) -> list[Statement]:
        """The loops of a stage, and what is computed once a row before and after them."""
        roles = self.roles
        nodes = [node for node, its in self.stage_of.items() if its == stage]
        before = [node for node, its in self.stage_of.items() if its == BEFORE and not stage]
        sums = [n for n in nodes if n.operation is ops.sum and roles[n] in (Role.ROW, Role.TOTAL)]
        work = [
            n
            for n in nodes
            if roles[n] in (Role.FULL, Role.COLUMN) or n.operation in (ops.max, ops.min)
        ]
        once = [n for n in nodes if roles[n] == Role.ROW and n.operation not in REDUCTIONS]
        row = _Reader(self, stage)
        statements: list[Statement] = [row.assign(node) for node in before]
        statements += self._sums([n for n in sums if n.heads[0] not in roles], stage)
        statements += self._loop(work, stage)
        statements += self._sums([n for n in sums if n.heads[0] in roles], stage + 1)
        statements += [row.assign(node) for node in once]
        statements += [
            Store(self.number(node))
            for node in (*before, *nodes)
            if roles[node] == Role.ROW and node in self.outputs
        ]
        return statements

    def _loop(self, nodes: Sequence[Node], stage: int) -> list[Statement]:
        """The loop of elementwise work, with its loads, stores and reductions."""
        reader = _Reader(self, stage)
        steps: list[Assign | Store | Reduce] = []
        for node in nodes:
            if node.operation in REDUCTIONS:
                steps.append(reader.reduce(node))
                continue
            steps.append(reader.assign(node))
            if node in self.stored:
                steps.append(Store(self.number(node)))
        return [ColumnLoop((*reader.loads, *steps))] if steps else []

    def _sums(self, nodes: Sequence[Node], stage: int) -> list[Statement]:
        """The loop of all sums along the row."""
        reader = _Reader(self, stage)
        steps = [reader.reduce(node) for node in nodes]
        return [RowSums((*reader.loads, *steps))] if steps else []
