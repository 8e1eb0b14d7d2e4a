"""Statements of a loop nest: the computations of one kernel, as data.

    for each row                             one after the other, in blocks
        stages[0]   ColumnLoop(Load, Assign, Store, Reduce …)     elementwise work
                    RowSums(Load, Reduce …)                       sums along the row
                    Assign, Store                                 once a row
        stages[1]   work that needs the reductions of stage 0
        …

A value is identified by its index in `values`. `Loops` knows no nodes, so equal layers have equal
loops, which a backend renders and compiles once. `LoopNest` (nest.py) adds the node of each value.

- Reductions along a row start anew for every row. A sum of more than `LONGEST_SUM` elements is
  divided into parts of that length, whose sums are added with compensation; so are the sums of the
  rows in a sum of everything.
- A sum over rows, or of everything, is computed for each block of rows separately; these partial
  sums are added in the order of the blocks, so the result does not depend on the threads.
- An elementwise value that a later stage needs is stored: in its output, if it is one, else in a
  buffer of one row.
- In a `ColumnLoop` no iteration reads what another writes, and the loads of an iteration precede
  its stores: an output may have the memory of an argument.

Each backend renders `Loops` as text: backends/numpy/loop_text.py in the loop language.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphgrad.fusion.reading import Role, Sizes
from graphgrad.graph import Operation
from graphgrad.graph.types import DType

BLOCKS = 16
"""The number of blocks that rows are divided into, unless there are very few or very many."""
LONGEST_SUM = 1024
"""Elements of a row that are summed without compensation; a longer row is summed in parts. (Each
lane of a vector adds up few of them.)"""
LARGEST_BLOCK = 256
"""The most rows of a block: a sum over rows adds up so many, one by one."""


def block_count(rows: int) -> int:
    """The number of blocks of so many rows; it does not depend on the number of threads."""
    return max(1, min(BLOCKS, rows // 4), -(-rows // LARGEST_BLOCK))


@dataclass(frozen=True, slots=True)
class Value:
    """A number that a kernel reads or computes."""

    dtype: DType
    role: Role


@dataclass(frozen=True, slots=True)
class Argument:
    """A value in memory; its role says how its elements correspond to the rows of the space."""

    value: int
    leading: Sizes = ()
    """For an indexed value its axes but the last, as many as the space has, of size 1 where it is
    broadcast."""

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that are read from memory."""
        return (self.value,)


@dataclass(frozen=True, slots=True)
class Mask:
    """A dropout mask, generated where it is read: element i of the space is number i of the mask's
    stream. The stream is an attribute of the node and not part of the loops."""

    value: int
    seed: int
    step: int
    rate: float

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that are read from memory."""
        return self.seed, self.step


@dataclass(frozen=True, slots=True)
class Read:
    """An operand that was loaded or computed in this iteration or for this row."""

    value: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """An operand that is read back from the output or buffer that an earlier loop stored it in."""

    value: int


@dataclass(frozen=True, slots=True)
class Number:
    """A constant as an operand; `digits` is its text in Python (or inf, nan)."""

    dtype: DType
    digits: str


Operand = Read | ReadBack | Number


@dataclass(frozen=True, slots=True)
class Load:
    """Loads this column's element of an argument or mask."""

    value: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Computes an element, or the number of this row, by the operation's kernel expression."""

    value: int
    operation: Operation
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """A step of a sum, maximum or minimum: along the row, over the rows or of everything, depending
    on the role of the value."""

    value: int
    operation: Operation
    operand: Operand


@dataclass(frozen=True, slots=True)
class Store:
    """Stores an element, or the number of this row, to its output or buffer."""

    value: int


@dataclass(frozen=True, slots=True)
class ColumnLoop:
    """A loop over the columns of a row; iterations are independent but for maxima and minima."""

    body: tuple[Load | Assign | Store | Reduce, ...]


@dataclass(frozen=True, slots=True)
class RowSums:
    """A loop of sums along the row alone, so that their rounding depends on nothing else."""

    body: tuple[Load | Reduce, ...]


Statement = Assign | Store | ColumnLoop | RowSums


@dataclass(frozen=True)
class Loops:
    """The computations of a kernel. Its text depends on them and on what it overwrites, only."""

    space: Sizes
    """The last axis are the columns; all other axes are rows."""
    values: tuple[Value, ...]
    arguments: tuple[Argument | Mask, ...]
    stages: tuple[tuple[Statement, ...], ...]
    kept: tuple[int, ...]
    """Outputs with a number for each element or row."""
    partial_sums: tuple[int, ...]
    """Outputs that are sums over rows or of everything: one partial sum for each block."""
    buffered: tuple[int, ...]
    """Values that are stored in a buffer of one row for a later stage."""

    @property
    def columns(self) -> int:
        return self.space[-1]

    @property
    def rows(self) -> int:
        return math.prod(self.space[:-1])

    @property
    def blocks(self) -> int:
        return block_count(self.rows)

    def role(self, value: int) -> Role:
        return self.values[value].role

    def may_overwrite(self) -> Iterator[tuple[int, int]]:
        """Pairs of an output and an argument that it may overwrite: both have an element for each
        of the space, of one dtype, and the argument's row has been read before the output's first
        element is written.

        A value that is computed once a row overwrites nothing: if a row has one element, its type
        is that of the elements, but those are read row by row.
        """
        read: dict[int, int] = {}
        written: dict[int, int] = {}
        for number, stage in enumerate(self.stages):
            for loop in stage:
                for part in loop.body if isinstance(loop, ColumnLoop | RowSums) else ():
                    if isinstance(part, Load):
                        read[part.value] = number
                    elif isinstance(part, Store):
                        written[part.value] = number
        for output in self.kept:
            for argument in [argument.value for argument in self.arguments]:
                alike = self.values[argument] == self.values[output]
                if alike and self.role(output) == Role.FULL and read[argument] <= written[output]:
                    yield output, argument
