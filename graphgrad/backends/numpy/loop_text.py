"""Renders a loop nest as a kernel in the loop language, for the CPU.

    def kernel(first: int64, last: int64, arguments: int64):
        given = array(arguments, int64, 6)                 the kernel's arguments in the call table
        height, rows, columns = given[0], given[1], 128
        m0 = array(given[2], float32, rows, columns)       an argument, all of it
        r1 = array(given[3], float32, rows, columns)       an output, all of it
        for block in range(first, last):
            for row in range(block * height, min(rows, (block + 1) * height)):
                a0 = m0[row]                               a row of the argument
                o1 = r1[row]                               a row of the output
                for column in independent(columns):
                    x0 = a0[column]                        an element of the argument
                    v1 = tanh(x0)                          a computed value
                    o1[column] = v1

The letter of a variable says what it is, its number which value of the nest it belongs to; the
guide's page `loop_language` lists the letters.

The number of columns is part of the text: so LLVM knows the number of vectors in a row, which makes
the kernels of a small model a quarter faster. The number of rows is not, so batches of all sizes
share the code. The text contains generated names and numbers and the kernel expressions of
operations, nothing else; equal loops give equal text and share one compiled kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from graphgrad import ops
from graphgrad.backends.arguments import (
    Address,
    KernelArgument,
    LoopText,
    MaskStream,
    PartialSums,
    RowTable,
)
from graphgrad.backends.numpy.periodic import PERIODIC, loop_over, with_near_loop
from graphgrad.fusion.reading import Role
from graphgrad.fusion.statements import (
    LONGEST_SUM,
    Argument,
    Assign,
    ColumnLoop,
    Load,
    Loops,
    Mask,
    Number,
    Operand,
    ReadBack,
    Reduce,
    RowSums,
    Statement,
    Store,
)
from graphgrad.graph.types import DTYPE_NAMES, DType
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.movement import reshape
from graphgrad.philox import dropout_scale, dropout_threshold

_NUMBER = re.compile(r"(?<![\w.{])(\d+\.?\d*(?:e-?\d+)?)(?![\w.(])")


def render_loops(loops: Loops, in_place: Mapping[int, int] | None = None) -> LoopText:
    """Renders the kernel of a loop nest.

    `in_place` maps an output to the argument that it overwrites: that array is passed once, so LLVM
    need not test whether two arrays overlap.
    """
    return LoopRenderer(loops, in_place or {}).kernel()


class LoopTextCache:
    """Renders equal loops once, for any number of layers."""

    def __init__(self) -> None:
        self._rendered: dict[tuple[Loops, tuple[tuple[int, int], ...]], LoopText] = {}

    def render(self, loops: Loops, in_place: Mapping[int, int]) -> LoopText:
        """`render_loops` of these arguments."""
        key = loops, tuple(in_place.items())
        found = self._rendered.get(key)
        if found is None:
            found = self._rendered[key] = render_loops(loops, in_place)
        return found


class LoopRenderer:
    """Renders one kernel; product_text.py renders those with products."""

    head = "def kernel(first: int64, last: int64, arguments: int64):"

    def __init__(self, loops: Loops, in_place: Mapping[int, int]) -> None:
        self.loops, self.in_place = loops, in_place
        self.columns = loops.columns
        self.read = {argument.value for argument in loops.arguments}
        self.arguments: list[KernelArgument] = [-(-loops.rows // loops.blocks), loops.rows]
        self.before_blocks: list[str] = []
        """Lines before the loop over the blocks."""
        self.block_start: list[str] = []
        """Lines of a block before the loop over its rows."""
        self.row_start: list[str] = []
        """Lines of a row before its statements."""
        self.block_end: list[str] = []
        """Lines of a block after the loop over its rows."""

    def kernel(self) -> LoopText:
        loops = self.loops
        for argument in loops.arguments:
            if isinstance(argument, Mask):
                self._mask(argument)
            else:
                self.argument(argument)
        for value in loops.buffered:
            self.before_blocks.append(f"t{value} = empty(columns, {self._dtype(value)})")
        for value in loops.kept:
            self._kept(value)
        for position, value in enumerate(loops.partial_sums):
            self._partial_sum(value, position)
        body = [line for stage in loops.stages for each in stage for line in self._statement(each)]
        lines = [
            self.head,
            f"    given = array(arguments, int64, {len(self.arguments)})",
            f"    height, rows, columns = given[0], given[1], {self.columns}",
            *indented(self.before_blocks),
            "    for block in range(first, last):",
            *indented(self.block_start, 2),
            *indented(self.row_loop([*self.row_start, *body]), 2),
            *indented(self.block_end, 2),
        ]
        return LoopText("\n".join(lines) + "\n", tuple(self.arguments))

    def row_loop(self, body: Sequence[str]) -> list[str]:
        """The loop over the rows of a block."""
        rows = "for row in range(block * height, min(rows, (block + 1) * height)):"
        return [rows, *indented(body)]

    def _dtype(self, value: int) -> str:
        return _dtype_text(self.loops.values[value].dtype)

    def given(self, argument: KernelArgument) -> str:
        """Adds an argument; returns the expression that reads it."""
        self.arguments.append(argument)
        return f"given[{len(self.arguments) - 1}]"

    def array(
        self, name: str, value: int, sizes: str, argument: KernelArgument | None = None
    ) -> None:
        """Adds the line that makes an array of an address among the kernel's arguments."""
        given = self.given(Address(value) if argument is None else argument)
        self.before_blocks.append(f"{name} = array({given}, {self._dtype(value)}, {sizes})")

    def _mask(self, mask: Mask) -> None:
        n, dtype = mask.value, self.loops.values[mask.value].dtype
        self.array(f"seed{n}", mask.seed, "1")
        self.array(f"step{n}", mask.step, "1")
        stream = self.given(MaskStream(n))
        self.before_blocks.append(f"g{n} = empty(columns, {dtype})")
        self.row_start.append(
            f"fill_mask_{dtype}(address(g{n}), columns, row * columns, "
            f"int64(seed{n}[0]), int64(step{n}[0]), {stream}, "
            f"{dropout_threshold(mask.rate)}, {dtype}({dropout_scale(mask.rate)!r}))"
        )

    def argument(self, argument: Argument) -> None:
        """Adds the lines that read an argument."""
        n, role = argument.value, self.loops.role(argument.value)
        whole = "rows, columns"
        sizes = {
            Role.FULL: whole,
            Role.INDEXED: whole,
            Role.VECTOR: "columns",
            Role.SCALAR: "1",
        }.get(role, "rows")
        self.array(f"m{n}", n, sizes)
        row = "row"
        if role in (Role.INDEXED, Role.INDEXED_ROW):
            table = self.given(RowTable(argument.leading, self.loops.space))
            self.before_blocks.append(f"i{n} = array({table}, int32, rows)")
            row = f"int64(i{n}[row])"
        if role == Role.SCALAR:
            self.before_blocks.append(f"s{n} = m{n}[0]")
        elif role == Role.VECTOR:
            self.before_blocks.append(f"a{n} = m{n}")
        else:
            self.row_start.append(
                f"{'a' if role in (Role.FULL, Role.INDEXED) else 's'}{n} = m{n}[{row}]"
            )

    def _kept(self, value: int) -> None:
        if value in self.in_place:
            self.row_start.append(f"o{value} = a{self.in_place[value]}")
        elif self.loops.role(value) == Role.FULL:
            self.array(f"r{value}", value, "rows, columns")
            self.row_start.append(f"o{value} = r{value}[row]")
        else:
            self.array(f"o{value}", value, "rows")

    def _partial_sum(self, value: int, position: int) -> None:
        column = self.loops.role(value) == Role.COLUMN
        sizes = f"{self.loops.blocks}, columns" if column else f"{self.loops.blocks}"
        self.array(f"q{value}", value, sizes, PartialSums(position))
        if column:
            self.block_start += [
                f"p{value} = q{value}[block]",
                "for column in independent(columns):",
                f"    p{value}[column] = 0",
            ]
        else:
            zero = f"{self._dtype(value)}(0)"
            self.block_start.append(f"total{value}, lost{value} = {zero}, {zero}")
            self.block_end.append(f"q{value}[block] = settled(total{value}, lost{value})")

    def _statement(self, statement: Statement) -> Sequence[str]:
        if isinstance(statement, ColumnLoop):
            return self._column_loop(statement)
        if isinstance(statement, RowSums):
            return self._row_sums([*statement.body])
        if isinstance(statement, Store):
            return [f"o{statement.value}[row] = v{statement.value}"]
        return [self._assign(statement)]

    def _column_loop(self, loop: ColumnLoop) -> Sequence[str]:
        """The loop; if it has sines or cosines, also a second one for rows of small arguments."""
        extremes = [
            each for each in loop.body if isinstance(each, Reduce) and each.operation != ops.sum
        ]
        starts = [
            f"v{each.value} = {self._dtype(each.value)}({self._first(each)})" for each in extremes
        ]
        writes = any(
            isinstance(each, Store) or self.loops.role(each.value) == Role.COLUMN
            for each in loop.body
        )
        lines = list(map(self._step, loop.body))
        body = loop_over(f"{'independent' if writes else 'range'}(columns)", lines)
        computed = [self._step(each) for each in loop.body if isinstance(each, Load | Assign)]
        periodic = {
            self._operand(each.operands[0]): self._dtype(each.value)
            for each in loop.body
            if isinstance(each, Assign) and each.operation in PERIODIC
        }
        return [*starts, *with_near_loop(body, computed, periodic)]

    def _row_sums(self, steps: Sequence[Load | Reduce]) -> Sequence[str]:
        """The loop over the columns; a long row is summed in parts."""
        values = [each.value for each in steps if isinstance(each, Reduce)]
        rows = [value for value in values if self.loops.role(value) == Role.ROW]
        zeros = [f"v{value} = {self._dtype(value)}(0)" for value in values]
        body = indented(map(self._step, steps))
        if self.columns <= LONGEST_SUM:
            exactly = [_add_exactly(value) for value in values if value not in rows]
            return [*zeros, "for column in range(columns):", *body, *exactly]
        part = [
            *zeros,
            "for column in range(part, min(columns, part + length)):",
            *body,
            *map(_add_exactly, values),
        ]
        return [
            *(f"total{n}, lost{n} = {self._dtype(n)}(0), {self._dtype(n)}(0)" for n in rows),
            f"length = {LONGEST_SUM}",
            "for part in range(0, columns, length):",
            *indented(part),
            *(f"v{n} = settled(total{n}, lost{n})" for n in rows),
        ]

    def _step(self, step: Load | Assign | Store | Reduce) -> str:
        """The line of one statement in a loop over the columns."""
        n = step.value
        if isinstance(step, Assign):
            return self._assign(step)
        if isinstance(step, Load):
            return f"x{n} = {'g' if self.loops.role(n) == Role.GENERATOR else 'a'}{n}[column]"
        if isinstance(step, Store):
            return f"{self._memory(n)}[column] = v{n}"
        value = self._operand(step.operand)
        if self.loops.role(n) == Role.COLUMN:
            return f"p{n}[column] += {value}"
        if step.operation is ops.sum:
            return f"v{n} = plus(v{n}, {value})"
        return f"v{n} = {'larger' if step.operation is ops.max else 'smaller'}(v{n}, {value})"

    def _assign(self, step: Assign) -> str:
        operands = list(map(self._operand, step.operands))
        if step.operation is reshape:
            return f"v{step.value} = {operands[0]}"
        dtype, first = self.loops.values[step.value].dtype, self._dtype_of(step.operands[0])
        literal = DTYPE_NAMES[dtype if dtype.kind != "b" else first]
        text = _with_numbers_of(literal, step.operation.kernel).format(*operands)
        if step.operation is cast:
            whole = "whole_" if first.kind == "f" and dtype.kind == "i" else ""
            text = f"{whole}{_dtype_text(dtype)}({text})"
        return f"v{step.value} = {text}"

    def _operand(self, operand: Operand) -> str:
        if isinstance(operand, Number):
            return f"{_dtype_text(operand.dtype)}({operand.digits})"
        n = operand.value
        if isinstance(operand, ReadBack):
            return f"{self._memory(n)}[column]"
        if n not in self.read:
            return f"v{n}"
        once = self.loops.role(n) in (Role.SCALAR, Role.ROW, Role.INDEXED_ROW)
        return f"{'s' if once else 'x'}{n}"

    def _memory(self, value: int) -> str:
        """The variable of the row that an element is stored to."""
        return f"{'o' if value in self.loops.kept else 't'}{value}"

    def _dtype_of(self, operand: Operand) -> DType:
        return (
            operand.dtype if isinstance(operand, Number) else self.loops.values[operand.value].dtype
        )

    def _first(self, step: Reduce) -> str:
        """The initial value of a maximum or minimum, which no element is beyond."""
        largest, dtype = step.operation is ops.max, self.loops.values[step.value].dtype
        if dtype.kind == "f":
            return "-inf" if largest else "inf"
        if dtype.kind == "b":
            return "False" if largest else "True"
        limits = np.iinfo(dtype)
        return str(limits.min if largest else limits.max)


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """The lines, so many levels deeper."""
    return ["    " * depth + line for line in lines]


@cache
def _with_numbers_of(dtype: str, kernel: str) -> str:
    """The expression of an operation, with its numbers in this dtype."""
    return _NUMBER.sub(rf"{dtype}(\1)", kernel)


def _dtype_text(dtype: DType) -> str:
    return "bool_" if dtype.kind == "b" else DTYPE_NAMES[dtype]


def _add_exactly(value: int) -> str:
    """Adds a partial sum to a compensated total."""
    return f"total{value}, lost{value} = add_exactly(total{value}, lost{value}, v{value})"
