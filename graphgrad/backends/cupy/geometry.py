"""How the work of a nest is shared out among threads: decided by its loops alone, so two runs add
in the same order.

- A nest that computes elements, each by itself, gives a thread `width` of them (`flat`).
- One that has sums of everything beside, and in which rows and columns do not matter, gives a block
  a stretch of elements (`chunk`), whatever their shape; a second kernel adds up the blocks' sums.
- Any other is done row by row. A group of 1, 2, 4, … threads does a row, and every loop over the
  columns gives a column to the same thread: what a loop stores, and a later one reads back, waits
  in the thread's registers. Groups of up to 32 threads are parts of a warp, and several share a
  block; a larger one is a block by itself.
- Where sums over rows are collected, a group does `height` rows, one after the other, and writes
  one part of the sum; a second kernel adds up the parts. Otherwise it does one row. Groups of a
  block add up theirs before (`joined`). A nest without sums along the row gives it more threads:
  so each collects fewer columns, and more of them are on their way at once.

`width` elements that lie together are read at once, 16 bytes of float32: where the columns can be
divided by it, and the arrays begin at multiples of it (`aligned`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.fusion.reading import Role
from graphgrad.fusion.statements import (
    Assign,
    ColumnLoop,
    Load,
    Loops,
    Mask,
    ReadBack,
    Reduce,
    RowSums,
    Statement,
    Store,
)

BLOCK = 256
"""Threads of a block, but where a row needs more."""
WARP = 32
LARGEST_GROUP = 1024
WIDTH = 4
REGISTERS = 48
"""Numbers that wait in the registers of one thread, unless a row has the largest group already."""
PARTS = 1024
"""Blocks that add up everything at most."""
COLLECTING = 1 << 17
"""Threads that collect sums over rows at most: some 1,000 for each multiprocessor of a device."""
FEWEST_BLOCKS = 256
"""Blocks that collect sums over rows, if there are rows for them."""
LONGEST_PART = 256
"""Rows of a part of a sum at most."""


@dataclass(frozen=True)
class Geometry:
    """How many threads do what; `threads` are those of a row, 0 where the nest is flat."""

    width: int
    threads: int
    items: int
    """How many times `width` columns a thread has of its row."""
    height: int
    """The rows of a group."""
    parts: int
    """How many groups there are; where there is a `chunk`, how many blocks."""
    chunk: int = 0
    """Elements of a block, where it adds them all up."""
    joined: bool = False
    """Whether the groups of a block write one part of a sum together."""

    @property
    def flat(self) -> bool:
        return not self.threads

    @property
    def block(self) -> int:
        """Threads of a block."""
        return BLOCK if self.threads <= WARP else self.threads

    @property
    def groups(self) -> int:
        """Groups of a block."""
        return self.block // self.threads if self.threads else 0

    @property
    def written_parts(self) -> int:
        """How many parts of a sum are written."""
        return -(-self.parts // self.groups) if self.joined else self.parts

    def grid(self, loops: Loops) -> int:
        """How many blocks there are."""
        if self.chunk:
            return self.parts
        if self.flat:
            return -(-loops.rows * loops.columns // (BLOCK * self.width))
        return -(-self.parts // self.groups)


def geometry_of(loops: Loops, aligned: bool = True) -> Geometry:
    """How a nest is computed, where its arrays lie `aligned` or not."""
    flat, totals, size = _is_flat(loops), _is_total(loops), loops.rows * loops.columns
    whole = size if (flat and not follows_columns(loops)) or totals else loops.columns
    width = WIDTH if aligned and whole % WIDTH == 0 else 1
    if totals:
        least = -(-size // PARTS)
        chunk = max(4, -(-least // (BLOCK * WIDTH))) * BLOCK * WIDTH
        return Geometry(width, 0, 1, 1, -(-size // chunk), chunk)
    if flat:
        return Geometry(width, 0, 1, 1, loops.rows)
    packs = -(-loops.columns // width)
    threads = 1
    while threads < WARP and threads < packs:
        threads *= 2
    waiting = max(1, len(read_back(loops)))
    while threads < LARGEST_GROUP and -(-packs // threads) * width * waiting > REGISTERS:
        threads *= 2
    collected = _collected(loops)
    if collected and not _reduces_rows(loops):
        while threads < BLOCK and threads < packs:
            threads *= 2
    joined = collected and threads <= WARP
    height = 1
    if loops.partial_sums:
        parts = _most_parts(loops.rows, threads, joined)
        height = -(-loops.rows // max(parts, -(-loops.rows // LONGEST_PART)))
    groups = -(-loops.rows // height)
    return Geometry(width, threads, -(-packs // threads), height, groups, joined=joined)


def _most_parts(rows: int, threads: int, joined: bool) -> int:
    """How many groups of so many threads collect sums over rows, if their parts may be that
    short."""
    if joined:
        return min(FEWEST_BLOCKS * BLOCK // threads, rows)
    return min(max(COLLECTING // max(threads, BLOCK // 2), FEWEST_BLOCKS), -(-rows // 4))


def _collected(loops: Loops) -> bool:
    """Whether sums over rows are collected, and no other sums of several rows."""
    sums = [loops.role(value) for value in loops.partial_sums]
    return bool(sums) and set(sums) == {Role.COLUMN}


def _reduces_rows(loops: Loops) -> bool:
    """Whether a sum, maximum or minimum along the row is taken."""
    return any(
        isinstance(its, Reduce) and loops.role(its.value) != Role.COLUMN
        for stage in loops.stages
        for step in stage
        if isinstance(step, ColumnLoop | RowSums)
        for its in step.body
    )


def merged(stage: Sequence[Statement]) -> list[tuple[Statement, RowSums | None]]:
    """The statements of a stage in order. A loop over columns takes along the sums behind it, if
    they add up nothing but what it has just computed: that need not wait for them."""
    found: list[tuple[Statement, RowSums | None]] = []
    for statement in stage:
        loop, sums = found[-1] if found else (None, None)
        if (
            isinstance(statement, RowSums)
            and isinstance(loop, ColumnLoop)
            and sums is None
            and _adds_up(statement, loop)
        ):
            found[-1] = loop, statement
        else:
            found.append((statement, None))
    return found


def _adds_up(sums: RowSums, loop: ColumnLoop) -> bool:
    """Whether the sums are those of values that the loop stores."""
    stored = {step.value for step in loop.body if isinstance(step, Store)}
    return all(
        isinstance(step, Reduce)
        and isinstance(step.operand, ReadBack)
        and step.operand.value in stored
        for step in sums.body
    )


def read_back(loops: Loops) -> frozenset[int]:
    """The values that a later loop reads again."""
    return frozenset(
        operand.value
        for stage in loops.stages
        for loop, _ in merged(stage)
        if isinstance(loop, ColumnLoop | RowSums)
        for step in loop.body
        for operand in _operands(step)
        if isinstance(operand, ReadBack)
    )


def _operands(step: Load | Assign | Store | Reduce) -> tuple[object, ...]:
    if isinstance(step, Assign):
        return step.operands
    return (step.operand,) if isinstance(step, Reduce) else ()


def follows_columns(loops: Loops) -> bool:
    """Whether an element's row or column has to be known, and not its place alone."""
    return any(
        isinstance(argument, Mask) or loops.role(argument.value) not in (Role.FULL, Role.SCALAR)
        for argument in loops.arguments
    )


def _is_total(loops: Loops) -> bool:
    """Whether elements and sums of everything are all that is computed, by their numbers alone."""
    steps = [step for stage in loops.stages for step in stage]
    sums = all(loops.role(value) == Role.TOTAL for value in loops.partial_sums)
    rows = any(loops.role(value) == Role.ROW for value in loops.kept)
    return (
        bool(loops.partial_sums)
        and (sums and not rows and not follows_columns(loops))
        and all(isinstance(step, ColumnLoop | RowSums) for step in steps)
        and all(
            loops.role(its.value) in (Role.FULL, Role.TOTAL, Role.SCALAR)
            for step in steps
            if isinstance(step, ColumnLoop | RowSums)
            for its in step.body
        )
    )


def _is_flat(loops: Loops) -> bool:
    steps = [step for stage in loops.stages for step in stage]
    alone = all(
        isinstance(step, Assign)
        or (isinstance(step, ColumnLoop) and not any(isinstance(its, Reduce) for its in step.body))
        for step in steps
    )
    return alone and not loops.partial_sums and not read_back(loops)
