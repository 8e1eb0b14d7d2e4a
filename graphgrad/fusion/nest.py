"""The loop nest of a region: loops, and which node each of their values is.

`str(nest)` is stable text, fit to read, to diff and to test:

    64 rows of 128 columns
    v0 is read, full : float32    # scores
    for each row
        for each column
            load v0
            v1 = exp(v0) : float32    # weights
            keep v1
        sum for each column
            v2 += back v1, in all : float32    # loss

A value that is kept is stored to its output, one that is buffered to a row of the kernel's own;
`back` reads what was stored. What a step of a sum adds to is said behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphgrad import ops
from graphgrad.fusion.reading import COLUMN, ROW, TOTAL
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
    Reduce,
    RowSums,
    Statement,
)
from graphgrad.graph import Node
from graphgrad.text import printable

_ALONG = {ROW: "along the row", COLUMN: "over the rows", TOTAL: "in all"}
_Part = Statement | Load | Reduce


@dataclass(frozen=True, eq=False)
class LoopNest:
    """The loops of a region, and which node each value is."""

    loops: Loops
    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    """What the nodes are called in the graph, for the reader alone."""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What is read from memory: a mask's seed and step, and not the mask, which is made."""
        arguments = self.loops.arguments
        numbers = dict.fromkeys(number for argument in arguments for number in argument.reads)
        return tuple([self.nodes[number] for number in numbers])

    @property
    def outputs(self) -> tuple[Node, ...]:
        return tuple([self.nodes[n] for n in (*self.loops.kept, *self.loops.collected)])

    def __str__(self) -> str:
        return _nest_text(self)


def _nest_text(nest: LoopNest) -> str:
    loops = nest.loops
    lines = [f"{loops.rows} rows of {loops.columns} columns"]
    lines += [_argument(nest, argument) for argument in loops.arguments]
    lines.append("for each row")
    for stage in loops.stages:
        for statement in stage:
            lines += [f"    {line}" for line in _statement(nest, statement)]
    return "\n".join(lines)


def _argument(nest: LoopNest, argument: Argument | Mask) -> str:
    n = argument.value
    how = f"is read, {nest.loops.role(n).replace('_', ' ')}"
    if isinstance(argument, Mask):
        seed, step = (printable(nest.names[m]) for m in (argument.seed, argument.step))
        how = f"is made, a mask of rate {argument.rate:g} by {seed} and {step}"
    return f"v{n} {how}{_comment(nest, n)}"


def _statement(nest: LoopNest, statement: Statement) -> Iterator[str]:
    if isinstance(statement, ColumnLoop | RowSums):
        yield "for each column" if isinstance(statement, ColumnLoop) else "sum for each column"
        for part in statement.body:
            yield f"    {_part(nest, part)}"
    else:
        yield _part(nest, statement)


def _part(nest: LoopNest, part: _Part) -> str:
    assert not isinstance(part, ColumnLoop | RowSums)
    n = part.value
    if isinstance(part, Load):
        return f"load v{n}"
    if isinstance(part, Assign):
        operands = [_operand(operand) for operand in part.operands]
        expression = part.operation.kernel.format(*operands) or operands[0]
        return f"v{n} = {expression}{_comment(nest, n)}"
    if isinstance(part, Reduce):
        along, value = _ALONG[nest.loops.role(n)], _operand(part.operand)
        if part.operation is ops.sum:
            return f"v{n} += {value}, {along}{_comment(nest, n)}"
        return f"v{n} = {part.operation.name}(v{n}, {value}), {along}{_comment(nest, n)}"
    return f"{'keep' if n in nest.loops.kept else 'buffer'} v{n}"


def _operand(operand: Operand) -> str:
    if isinstance(operand, Number):
        return operand.digits
    return f"{'' if isinstance(operand, Read) else 'back '}v{operand.value}"


def _comment(nest: LoopNest, value: int) -> str:
    return f" : {nest.loops.values[value].dtype}    # {printable(nest.names[value])}"
