"""Prints a loop nest in the loop language: the kernels of the CPU.

    def kernel(first: int64, last: int64, arguments: int64):
        given = array(arguments, int64, 6)                 what the call table has to give
        height, rows, columns = given[0], given[1], 128
        m0 = array(given[2], float32, rows, columns)       an argument, all of it
        r1 = array(given[3], float32, rows, columns)       an output, all of it
        for block in range(first, last):
            for row in range(block * height, min(rows, (block + 1) * height)):
                a0 = m0[row]                               a row of the argument
                o1 = r1[row]                               a row of the output
                for column in independent(columns):
                    x0 = a0[column]                        an element of the argument
                    v1 = tanh(x0)                          what is computed
                    o1[column] = v1

A letter says what it is, its number which value of the nest: m, a, x as above; s an argument's one
number for this row; i the table of an argument's rows; g a row of a mask that is made here; v what
is computed; r, o an output and its row; t a buffer; q the parts of a collected sum and p this
block's; total and lost a sum that keeps its digits.

The number of columns is written in the text: LLVM then knows how many vectors a row is, which made
the kernels of a small model a quarter faster. The rows are not; so batches of any size share code.
The text holds numbers of our own and the kernel expressions of operations, nothing else; equal
loops give equal text and share one compiled kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphgrad import ops
from graphgrad.backends.arguments import Address, LoopText, PartialSums, Stream, Table, Word
from graphgrad.backends.near import PERIODIC, loop_over, near_or_any
from graphgrad.fusion.reading import (
    COLUMN,
    FULL,
    GENERATOR,
    INDEXED,
    INDEXED_ROW,
    ROW,
    SCALAR,
    VECTOR,
)
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
from graphgrad.graph.types import DType
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.movement import reshape
from graphgrad.philox import dropout_scale, dropout_threshold

_NUMBER = re.compile(r"(?<![\w.{])(\d+\.?\d*(?:e-?\d+)?)(?![\w.(])")


def print_loops(loops: Loops, in_place: Mapping[int, int] | None = None) -> LoopText:
    """The kernel of a loop nest.

    `in_place` maps an output to the argument whose memory it takes: the kernel is given that array
    once, so the compiler need not ask whether two arrays overlap.
    """
    return _LoopPrinter(loops, in_place or {}).printed()


class LoopTexts:
    """Prints equal loops once, however many layers have them."""

    def __init__(self) -> None:
        self._printed: dict[tuple[Loops, tuple[tuple[int, int], ...]], LoopText] = {}

    def of(self, loops: Loops, in_place: Mapping[int, int]) -> LoopText:
        """What `print_loops` gives for these."""
        key = loops, tuple(in_place.items())
        found = self._printed.get(key)
        if found is None:
            found = self._printed[key] = print_loops(loops, in_place)
        return found


class _LoopPrinter:
    def __init__(self, loops: Loops, in_place: Mapping[int, int]) -> None:
        self.loops, self.in_place = loops, in_place
        self.columns = loops.columns
        self.read = {argument.value for argument in loops.arguments}
        self.words: list[Word] = [-(-loops.rows // loops.blocks), loops.rows]
        self.once: list[str] = []
        """What is done before all rows, then for each block, each row, behind each block."""
        self.in_block: list[str] = []
        self.per_row: list[str] = []
        self.after_block: list[str] = []

    def printed(self) -> LoopText:
        loops = self.loops
        for argument in loops.arguments:
            if isinstance(argument, Mask):
                self._mask(argument)
            else:
                self._argument(argument)
        for value in loops.buffered:
            self.once.append(f"t{value} = empty(columns, {self._dtype(value)})")
        for value in loops.kept:
            self._kept(value)
        for place, value in enumerate(loops.collected):
            self._collected(value, place)
        body = [line for stage in loops.stages for each in stage for line in self._statement(each)]
        lines = [
            "def kernel(first: int64, last: int64, arguments: int64):",
            f"    given = array(arguments, int64, {len(self.words)})",
            f"    height, rows, columns = given[0], given[1], {self.columns}",
            *_indented(self.once),
            "    for block in range(first, last):",
            *_indented(self.in_block, 2),
            "        for row in range(block * height, min(rows, (block + 1) * height)):",
            *_indented([*self.per_row, *body], 3),
            *_indented(self.after_block, 2),
        ]
        return LoopText("\n".join(lines) + "\n", tuple(self.words))

    def _dtype(self, value: int) -> str:
        return _dtype_text(self.loops.values[value].dtype)

    def _given(self, word: Word) -> str:
        self.words.append(word)
        return f"given[{len(self.words) - 1}]"

    def _array(self, name: str, value: int, sizes: str, word: Word | None = None) -> None:
        """Finds an array at an address that the kernel is given."""
        given = self._given(Address(value) if word is None else word)
        self.once.append(f"{name} = array({given}, {self._dtype(value)}, {sizes})")

    def _mask(self, mask: Mask) -> None:
        n, dtype = mask.value, self.loops.values[mask.value].dtype
        self._array(f"seed{n}", mask.seed, "1")
        self._array(f"step{n}", mask.step, "1")
        stream = self._given(Stream(n))
        self.once.append(f"g{n} = empty(columns, {dtype})")
        self.per_row.append(
            f"fill_mask_{dtype}(address(g{n}), columns, row * columns, "
            f"int64(seed{n}[0]), int64(step{n}[0]), {stream}, "
            f"{dropout_threshold(mask.rate)}, {dtype}({dropout_scale(mask.rate)!r}))"
        )

    def _argument(self, argument: Argument) -> None:
        n, form = argument.value, self.loops.role(argument.value)
        whole = "rows, columns"
        sizes = {FULL: whole, INDEXED: whole, VECTOR: "columns", SCALAR: "1"}.get(form, "rows")
        self._array(f"m{n}", n, sizes)
        row = "row"
        if form in (INDEXED, INDEXED_ROW):
            table = self._given(Table(argument.leading, self.loops.space))
            self.once.append(f"i{n} = array({table}, int32, rows)")
            row = f"int64(i{n}[row])"
        if form == SCALAR:
            self.once.append(f"s{n} = m{n}[0]")
        elif form == VECTOR:
            self.once.append(f"a{n} = m{n}")
        else:
            self.per_row.append(f"{'a' if form in (FULL, INDEXED) else 's'}{n} = m{n}[{row}]")

    def _kept(self, value: int) -> None:
        if value in self.in_place:
            self.per_row.append(f"o{value} = a{self.in_place[value]}")
        elif self.loops.role(value) == FULL:
            self._array(f"r{value}", value, "rows, columns")
            self.per_row.append(f"o{value} = r{value}[row]")
        else:
            self._array(f"o{value}", value, "rows")

    def _collected(self, value: int, place: int) -> None:
        column = self.loops.role(value) == COLUMN
        sizes = f"{self.loops.blocks}, columns" if column else f"{self.loops.blocks}"
        self._array(f"q{value}", value, sizes, PartialSums(place))
        if column:
            self.in_block += [
                f"p{value} = q{value}[block]",
                "for column in independent(columns):",
                f"    p{value}[column] = 0",
            ]
        else:
            zero = f"{self._dtype(value)}(0)"
            self.in_block.append(f"total{value}, lost{value} = {zero}, {zero}")
            self.after_block.append(f"q{value}[block] = settled(total{value}, lost{value})")

    def _statement(self, statement: Statement) -> Sequence[str]:
        if isinstance(statement, ColumnLoop):
            return self._column_loop(statement)
        if isinstance(statement, RowSums):
            return self._row_sums([*statement.body])
        if isinstance(statement, Store):
            return [f"o{statement.value}[row] = v{statement.value}"]
        return [self._assign(statement)]

    def _column_loop(self, loop: ColumnLoop) -> Sequence[str]:
        """With a second loop for rows of near arguments, where it has sines or cosines."""
        extremes = [
            each for each in loop.body if isinstance(each, Reduce) and each.operation != ops.sum
        ]
        starts = [
            f"v{each.value} = {self._dtype(each.value)}({self._first(each)})" for each in extremes
        ]
        writes = any(
            isinstance(each, Store) or self.loops.role(each.value) == COLUMN for each in loop.body
        )
        lines = list(map(self._step, loop.body))
        body = loop_over(f"{'independent' if writes else 'range'}(columns)", lines)
        computed = [self._step(each) for each in loop.body if isinstance(each, Load | Assign)]
        periodic = {
            self._operand(each.operands[0]): self._dtype(each.value)
            for each in loop.body
            if isinstance(each, Assign) and each.operation in PERIODIC
        }
        return [*starts, *near_or_any(body, computed, periodic)]

    def _row_sums(self, steps: Sequence[Load | Reduce]) -> Sequence[str]:
        """One loop over the columns; a long row is summed in parts."""
        values = [each.value for each in steps if isinstance(each, Reduce)]
        rows = [value for value in values if self.loops.role(value) == ROW]
        zeros = [f"v{value} = {self._dtype(value)}(0)" for value in values]
        body = _indented(map(self._step, steps))
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
            *_indented(part),
            *(f"v{n} = settled(total{n}, lost{n})" for n in rows),
        ]

    def _step(self, step: Load | Assign | Store | Reduce) -> str:
        """What a turn of a loop over the columns does."""
        n = step.value
        if isinstance(step, Assign):
            return self._assign(step)
        if isinstance(step, Load):
            return f"x{n} = {'g' if self.loops.role(n) == GENERATOR else 'a'}{n}[column]"
        if isinstance(step, Store):
            return f"{self._memory(n)}[column] = v{n}"
        value = self._operand(step.operand)
        if self.loops.role(n) == COLUMN:
            return f"p{n}[column] += {value}"
        if step.operation is ops.sum:
            return f"v{n} = plus(v{n}, {value})"
        return f"v{n} = {'larger' if step.operation is ops.max else 'smaller'}(v{n}, {value})"

    def _assign(self, step: Assign) -> str:
        operands = list(map(self._operand, step.operands))
        if step.operation is reshape:
            return f"v{step.value} = {operands[0]}"
        dtype, first = self.loops.values[step.value].dtype, self._dtype_of(step.operands[0])
        literal = dtype if dtype.kind != "b" else first
        text = _NUMBER.sub(rf"{literal}(\1)", step.operation.kernel).format(*operands)
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
        once = self.loops.role(n) in (SCALAR, ROW, INDEXED_ROW)
        return f"{'s' if once else 'x'}{n}"

    def _memory(self, value: int) -> str:
        """The row that an element is stored to."""
        return f"{'o' if value in self.loops.kept else 't'}{value}"

    def _dtype_of(self, operand: Operand) -> DType:
        return (
            operand.dtype if isinstance(operand, Number) else self.loops.values[operand.value].dtype
        )

    def _first(self, step: Reduce) -> str:
        """What a maximum or minimum starts from: no element is beyond it."""
        largest, dtype = step.operation is ops.max, self.loops.values[step.value].dtype
        if dtype.kind == "f":
            return "-inf" if largest else "inf"
        if dtype.kind == "b":
            return "False" if largest else "True"
        limits = np.iinfo(dtype)
        return str(limits.min if largest else limits.max)


def _indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


def _dtype_text(dtype: DType) -> str:
    return "bool_" if dtype.kind == "b" else str(dtype)


def _add_exactly(value: int) -> str:
    """Adds a partial sum to a total that keeps its digits."""
    return f"total{value}, lost{value} = add_exactly(total{value}, lost{value}, v{value})"
