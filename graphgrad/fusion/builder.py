"""Builds the loop nest of a region: which loop computes what, reads it and keeps it.

A node is computed in the earliest stage in which all that it reads is there: once a row is complete
behind the loop that reduces it, so elementwise work that needs such a number comes a stage later.
Loops are independent, but for maxima and minima along the row. A sum along the row has a loop to
itself: what it adds up is stored by the loop before, and read back from cache, so the order of its
steps depends on its length alone and not on what else the kernel keeps.

Values are numbered as they are met, read before computed, so equal regions have equal loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad import ops
from graphgrad.fusion.nest import LoopNest
from graphgrad.fusion.reading import (
    COLUMN,
    FULL,
    GENERATOR,
    INDEXED,
    INDEXED_ROW,
    ROW,
    SCALAR,
    TOTAL,
    VECTOR,
    aligned,
    form_of,
    is_inlined,
    unrepeated,
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
"""The stage of what is computed once a row and needs nothing that a loop computes."""
IN_EVERY_COLUMN = (FULL, VECTOR, INDEXED, GENERATOR)
"""The forms of arguments that have an element for each column."""


def build_nest(region: Region, outputs: Sequence[Node], graph: Graph) -> LoopNest:
    """The loop nest that computes a region of a graph and keeps `outputs`."""
    builder = _Builder(region, outputs)
    loops = builder.loops()
    nodes = tuple(builder.numbers)
    return LoopNest(loops, nodes, tuple(map(graph.name_of, nodes)))


@dataclass
class _Reader:
    """Reads values for one loop; the loads that it takes come first in the loop."""

    builder: _Builder
    stage: int

    def __post_init__(self) -> None:
        self.loads: dict[Load, None] = {}

    def operand(self, head: Node) -> Operand:
        builder = self.builder
        role = builder.roles.get(head)
        if role is not None:
            stored = role == FULL and builder.stage_of[head] != self.stage
            return ReadBack(builder.number(head)) if stored else Read(builder.number(head))
        if is_inlined(head):
            return Number(head.dtype, repr(head.attributes["value"].array.reshape(()).item()))
        node = unrepeated(head)
        form = builder.argument(node)
        if form in IN_EVERY_COLUMN:
            self.loads[Load(builder.number(node))] = None
        return Read(builder.number(node))

    def assign(self, node: Node) -> Assign:
        operands = tuple([self.operand(head) for head in node.heads])
        return Assign(self.builder.number(node), node.operation, operands)

    def reduce(self, node: Node) -> Reduce:
        if node.operation is not ops.sum:
            self.builder.number(node)
        operand = self.operand(node.heads[0])
        return Reduce(self.builder.number(node), node.operation, operand)


class _Builder:
    def __init__(self, region: Region, outputs: Sequence[Node]) -> None:
        self.region, self.roles = region, region.roles
        self.outputs = dict.fromkeys(outputs)
        self.numbers: dict[Node, int] = {}
        self.forms: dict[Node, str] = {}
        """What is read from outside, and how it follows the rows."""
        self.stage_of: dict[Node, int] = {}
        self.stored: set[Node] = set()
        self._find_stages()

    def loops(self) -> Loops:
        stages = 1 + max(self.stage_of.values(), default=0)
        built = tuple([tuple(self._stage(stage)) for stage in range(stages)])
        arguments = tuple([self._argument(node, form) for node, form in self.forms.items()])
        kept = [self.numbers[n] for n in self.outputs if self.roles[n] in (FULL, ROW)]
        collected = [self.numbers[n] for n in self.outputs if self.roles[n] in (COLUMN, TOTAL)]
        buffered = [
            self.numbers[n] for n in self.roles if n in self.stored and n not in self.outputs
        ]
        values = tuple(
            [
                Value(node.dtype, self.roles.get(node) or self.forms.get(node, SCALAR))
                for node in self.numbers
            ]
        )
        return Loops(
            self.region.space,
            values,
            arguments,
            built,
            tuple(kept),
            tuple(collected),
            tuple(buffered),
        )

    def number(self, node: Node) -> int:
        """The number of a value, a new one when it is met."""
        return self.numbers.setdefault(node, len(self.numbers))

    def argument(self, node: Node) -> str:
        """The form of a value that the kernel does not compute."""
        if node not in self.forms:
            self.forms[node] = form_of(node, self.region.space)
        return self.forms[node]

    def _argument(self, node: Node, form: str) -> Argument | Mask:
        if form == GENERATOR:
            seed, step = map(self.number, node.heads)
            return Mask(self.number(node), seed, step, node.attributes["rate"])
        shape = aligned(node, self.region.space) if form in (INDEXED, INDEXED_ROW) else None
        return Argument(self.number(node), shape[:-1] if shape is not None else ())

    def _find_stages(self) -> None:
        for node, role in self.roles.items():
            stage = BEFORE if role == ROW and node.operation not in REDUCTIONS else 0
            for head in node.heads:
                if self.roles.get(head) == FULL:
                    stage = max(stage, self.stage_of[head])
                elif self.roles.get(head) == ROW:
                    stage = max(stage, self.stage_of[head] + (role == FULL))
            self.stage_of[node] = stage
        for node in self.roles:
            for head in node.heads:
                later = self.stage_of.get(head, self.stage_of[node]) < self.stage_of[node]
                summed = node.operation is ops.sum and self.roles[node] in (ROW, TOTAL)
                if self.roles.get(head) == FULL and (later or summed):
                    self.stored.add(head)
        self.stored.update(n for n in self.outputs if self.roles[n] == FULL)

    def _stage(self, stage: int) -> list[Statement]:
        """The loops of a stage, and what is computed once a row before and behind them."""
        roles = self.roles
        mine = [node for node, its in self.stage_of.items() if its == stage]
        before = [node for node, its in self.stage_of.items() if its == BEFORE and not stage]
        sums = [n for n in mine if n.operation is ops.sum and roles[n] in (ROW, TOTAL)]
        work = [n for n in mine if roles[n] in (FULL, COLUMN) or n.operation in (ops.max, ops.min)]
        once = [n for n in mine if roles[n] == ROW and n.operation not in REDUCTIONS]
        row = _Reader(self, stage)
        statements: list[Statement] = [row.assign(node) for node in before]
        statements += self._sums([n for n in sums if n.heads[0] not in roles], stage)
        statements += self._loop(work, stage)
        statements += self._sums([n for n in sums if n.heads[0] in roles], stage + 1)
        statements += [row.assign(node) for node in once]
        statements += [
            Store(self.number(node))
            for node in (*before, *mine)
            if roles[node] == ROW and node in self.outputs
        ]
        return statements

    def _loop(self, nodes: Sequence[Node], stage: int) -> list[Statement]:
        """Loads, elementwise work, stores and steps of reductions."""
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
        """One loop for all sums along the row."""
        reader = _Reader(self, stage)
        steps = [reader.reduce(node) for node in nodes]
        return [RowSums((*reader.loads, *steps))] if steps else []
