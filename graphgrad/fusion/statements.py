"""A loop nest as data: what one kernel does, before anybody writes it down for a machine.

    for each row                             one after the other, in blocks
        stages[0]   ColumnLoop(Load, Assign, Store, Reduce …)     elementwise work
                    RowSums(Load, Reduce …)                       sums along the row
                    Assign, Store                                 once a row
        stages[1]   work that needs what stage 0 has reduced
        …

Numbers are told apart by their place in `values`; `Loops` knows no node, so equal layers have equal
loops, which an engine prints and compiles once. `LoopNest` (nest.py) adds which node each value is.

- Reductions along a row start anew for every row. A sum of more than `LONGEST_SUM` elements is
  taken in parts that long, whose sums are added exactly; so are the sums of the rows in a sum of
  everything.
- A sum over rows, or of everything, is collected for each block of rows by itself; the sums of the
  blocks are added in their order, so the result does not depend on who computes which block.
- An elementwise value that a later stage needs is stored: in its output, where it is kept, or else
  in a buffer of one row.
- In a `ColumnLoop` no turn reads what another writes, and all loads of a turn come before its
  stores: an output may lie in the memory of an argument.

An engine's printer gives `Loops` its words: backends/loop_text.py does for the loop language.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphgrad.fusion.reading import FULL, Sizes
from graphgrad.graph import Operation
from graphgrad.graph.types import DType

BLOCKS = 16
"""Into how many blocks the rows of a kernel are cut, but for very few rows and very many."""
LONGEST_SUM = 1024
"""Elements of a row that are summed as they come; a longer row is summed in parts. A vector has
many lanes, each of which adds up few of them."""
LARGEST_BLOCK = 256
"""Rows of a block at most: so many are added up, one by one, in a sum over rows."""


def block_count(rows: int) -> int:
    """How many blocks the rows are cut into: a function of the rows alone, not of the threads."""
    return max(1, min(BLOCKS, rows // 4), -(-rows // LARGEST_BLOCK))


@dataclass(frozen=True, slots=True)
class Value:
    """A number that a kernel reads or computes."""

    dtype: DType
    role: str
    """How many there are: what is computed has one for each element (full), row, column, or one in
    all (total); what is read has one of the forms that `reading.form_of` names."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that lies in memory; its role is the form in which it follows the rows."""

    value: int
    leading: Sizes = ()
    """Of a value that is indexed: its axes but the last, as many as the space has, of size 1 where
    it is repeated."""

    @property
    def reads(self) -> tuple[int, ...]:
        """The values in memory that are read for it."""
        return (self.value,)


@dataclass(frozen=True, slots=True)
class Mask:
    """A dropout mask, which is made where it is read: element i of the space is number i of the
    mask's stream. The stream is the node's and not part of the loops."""

    value: int
    seed: int
    step: int
    rate: float

    @property
    def reads(self) -> tuple[int, ...]:
        """The values in memory that it is made of."""
        return self.seed, self.step


@dataclass(frozen=True, slots=True)
class Read:
    """A value as an operand: what was loaded or computed in this turn or for this row."""

    value: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """An element that an earlier stage has stored."""

    value: int


@dataclass(frozen=True, slots=True)
class Number:
    """A constant; `digits` is how Python writes it (inf, nan)."""

    dtype: DType
    digits: str


Operand = Read | ReadBack | Number


@dataclass(frozen=True, slots=True)
class Load:
    """Reads this column's element of an argument or mask."""

    value: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Computes an element, or a number of this row, by the operation's kernel expression."""

    value: int
    operation: Operation
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """A step of a sum, maximum or minimum: along the row, over the rows or of everything, as the
    role of the value says."""

    value: int
    operation: Operation
    operand: Operand


@dataclass(frozen=True, slots=True)
class Store:
    """Writes an element, or a number of this row, to its output or buffer."""

    value: int


@dataclass(frozen=True, slots=True)
class ColumnLoop:
    """All columns of a row, each by itself but for maxima and minima along the row."""

    body: tuple[Load | Assign | Store | Reduce, ...]


@dataclass(frozen=True, slots=True)
class RowSums:
    """Sums along a row and nothing else, so their rounding does not depend on anything else."""

    body: tuple[Load | Reduce, ...]


Statement = Assign | Store | ColumnLoop | RowSums


@dataclass(frozen=True)
class Loops:
    """What a kernel does; all that its text depends on, but for shared memory."""

    space: Sizes
    """The columns come last; all other axes are rows."""
    values: tuple[Value, ...]
    arguments: tuple[Argument | Mask, ...]
    stages: tuple[tuple[Statement, ...], ...]
    kept: tuple[int, ...]
    """Outputs with a number for each element or row."""
    collected: tuple[int, ...]
    """Outputs that are sums over rows or of everything: one part for each block."""
    buffered: tuple[int, ...]
    """What waits in a buffer of one row for a later stage."""

    @property
    def columns(self) -> int:
        return self.space[-1]

    @property
    def rows(self) -> int:
        return math.prod(self.space[:-1])

    @property
    def blocks(self) -> int:
        return block_count(self.rows)

    def role(self, value: int) -> str:
        return self.values[value].role

    def may_share(self) -> Iterator[tuple[int, int]]:
        """The outputs that may lie in the memory of an argument, and which: both have an element
        for each of the space, of one dtype, and when the first of the output is written, the last
        of the argument's row has been read.

        What is computed once a row is written by the number of the row, and never shares: where a
        row has one element its type is that of the elements, but they are read row by row.
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
                if alike and self.role(output) == FULL and read[argument] <= written[output]:
                    yield output, argument
