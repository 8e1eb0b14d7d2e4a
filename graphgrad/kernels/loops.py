"""Prints a region as a loop nest over rows, in the loop language (translate.py).

    for row in range(first, last):            one row after the other
        for column in independent(columns): … stage 0: loads, elementwise work, sums along the row
        …                                     once a row: what is computed from those sums
        for column in independent(columns): … stage 1: work that needs them

An elementwise value that a later stage reads again waits in a buffer of one row, in cache. Sums
over rows are collected for each block of rows by itself and added up in the order of the blocks, so
the result does not depend on how many threads worked.

Nor does it depend on what else a kernel keeps. Loops are independent: what one turn writes, no
other reads. But a loop that sums along a row does nothing else: the values are stored by a loop
before it, and read back from cache, so LLVM orders the steps of a sum by its length alone.

The number of columns is written in the text: LLVM then knows how many vectors a row is, which made
the kernels of a small model a quarter faster. The rows are not; so batches of any size share code.

The text holds numbers of our own and the kernel expressions of operations, nothing else; equal
regions give equal text and share one compiled kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.graph import Node
from graphgrad.kernels.loop_nest import (
    LONGEST_SUM,
    Argument,
    LoopNest,
    Part,
    Stream,
    Word,
    block_count,
)
from graphgrad.kernels.reading import (
    COLUMN,
    FULL,
    ROW,
    TOTAL,
    form_of,
    is_inlined,
    unrepeated,
)
from graphgrad.kernels.region import REDUCTIONS, Region
from graphgrad.ops.arithmetic import OPERATIONS as ARITHMETIC
from graphgrad.ops.movement import RESHAPE
from graphgrad.ops.philox import dropout_scale, dropout_threshold
from graphgrad.ops.reduction import MAX, MIN, SUM

CAST = next(operation for operation in ARITHMETIC if operation.name == "cast")
_NUMBER = re.compile(r"(?<![\w.{])(\d+\.?\d*(?:e-?\d+)?)(?![\w.(])")


def print_loops(
    region: Region, outputs: Sequence[Node], shared: Mapping[Node, Node] | None = None
) -> LoopNest:
    """The loop nest that computes a region and keeps `outputs`.

    `shared` maps an output to the argument whose memory it takes: the kernel is given that array
    once, so the compiler need not ask whether two arrays overlap.
    """
    return _Printer(region, outputs, shared or {}).nest()


class _Printer:
    def __init__(
        self, region: Region, outputs: Sequence[Node], shared: Mapping[Node, Node]
    ) -> None:
        self.region, self.outputs, self.shared = region, tuple(outputs), shared
        self._loads: list[str] = []
        self.columns = region.space[-1]
        self.rows = int(np.prod(region.space[:-1], dtype=int))
        self.stage: dict[Node, int] = {}
        self.arguments: list[Argument] = []
        self.symbols: dict[Node, str] = {}
        self.last_read: dict[Node, int] = {}
        self.buffered: set[Node] = set()
        blocks = block_count(self.rows)
        self.words: list[Word] = [-(-self.rows // blocks), self.rows]

    def nest(self) -> LoopNest:
        self._find_stages()
        stages = 1 + max(self.stage.values(), default=0)
        body: list[str] = []
        for stage in range(stages):
            body += self._stage(stage)
        kept = [n for n in self.outputs if self.region.roles[n] in (FULL, ROW)]
        collected = [n for n in self.outputs if self.region.roles[n] in (COLUMN, TOTAL)]
        first_write = {n: self.stage[n] for n in kept}
        text = self._text(body, kept, collected)
        return LoopNest(self.region, text, tuple(self.words), tuple(self.arguments),
                        tuple(kept), tuple(collected), self.rows, self.columns,
                        self.last_read, first_write)  # fmt: skip

    def _find_stages(self) -> None:
        """The earliest loop in which each node can be computed; -1 is before the first."""
        roles = self.region.roles
        for node, role in roles.items():
            stage = -1 if role == ROW and node.operation not in REDUCTIONS else 0
            for head in node.heads:
                if roles.get(head) == FULL:
                    stage = max(stage, self.stage[head])
                elif roles.get(head) == ROW:
                    stage = max(stage, self.stage[head] + (role == FULL))
            self.stage[node] = stage

    def _stage(self, stage: int) -> list[str]:
        """The loop of a stage, sums along the row beside it, and what is computed once a row."""
        roles = self.region.roles
        mine = [node for node, its in self.stage.items() if its == stage]
        before = [node for node, its in self.stage.items() if its == -1] if stage == 0 else []
        sums = [n for n in mine if n.operation is SUM and roles[n] in (ROW, TOTAL)]
        lines = [self._assignment(node, stage) for node in before]
        lines += self._sums([n for n in sums if n.heads[0] not in roles], stage)
        sums = [n for n in sums if n.heads[0] in roles]
        work = [n for n in mine if roles[n] in (FULL, COLUMN) or n.operation in (MAX, MIN)]
        self.buffered.update(n.heads[0] for n in sums if n.heads[0] not in self.outputs)
        lines += self._loop(work, stage)
        lines += self._sums(sums, stage + 1)
        lines += [self._assignment(node, stage) for node in mine
                  if roles[node] == ROW and node.operation not in REDUCTIONS]  # fmt: skip
        for node in [*before, *mine]:
            if roles[node] == ROW and node in self.outputs:
                symbol = self._symbol(node)
                lines.append(f"o{symbol[1:]}[row] = {symbol}")
        return lines

    def _loop(self, nodes: Sequence[Node], stage: int) -> list[str]:
        """One loop over the columns: loads, elementwise work, stores, steps of reductions."""
        starts, steps = [], []
        for node in nodes:
            if node.operation in REDUCTIONS:
                if node.operation is not SUM:
                    starts.append(f"{self._symbol(node)} = {_dtype(node)}({_first(node)})")
                steps.append(self._reduction_step(node, self._read(node.heads[0], stage)))
                continue
            steps.append(self._assignment(node, stage))
            if self._stores(node):
                symbol = self._symbol(node)
                kind = "o" if node in self.outputs else "t"
                steps.append(f"{kind}{symbol[1:]}[column] = {symbol}")
        loads, self._loads = self._loads, []
        if not steps:
            return []
        body = [f"    {line}" for line in (*loads, *steps)]
        kind = "independent" if any(map(self._stores, nodes)) else "range"
        return [*starts, f"for column in {kind}(columns):", *body]

    def _sums(self, nodes: Sequence[Node], stage: int) -> list[str]:
        """One loop over the columns for sums along the row; a long row is summed in parts."""
        steps = [self._reduction_step(node, self._read(node.heads[0], stage)) for node in nodes]
        loads, self._loads = self._loads, []
        if not steps:
            return []
        body = [f"    {line}" for line in (*loads, *steps)]
        zeros = [f"{self._symbol(node)} = {node.dtype}(0)" for node in nodes]
        numbers = {node: self._number(node) for node in nodes}
        rows = [numbers[node] for node in nodes if self.region.roles[node] == ROW]
        if self.columns <= LONGEST_SUM:
            kept = [_kept_exactly(numbers[n]) for n in nodes if numbers[n] not in rows]
            return [*zeros, "for column in range(columns):", *body, *kept]
        starts = [f"total{n}, lost{n} = {node.dtype}(0), {node.dtype}(0)"
                  for node, n in numbers.items() if n in rows]  # fmt: skip
        parts = [*zeros, "for column in range(part, min(columns, part + length)):", *body,
                 *map(_kept_exactly, numbers.values())]  # fmt: skip
        return [
            *starts,
            f"length = {LONGEST_SUM}",
            "for part in range(0, columns, length):",
            *(f"    {line}" for line in parts),
            *(f"v{n} = settled(total{n}, lost{n})" for n in rows),
        ]

    def _stores(self, node: Node) -> bool:
        """Whether the loop that computes the node writes to memory."""
        if self.region.roles[node] == COLUMN:
            return True
        if self.region.roles[node] != FULL:
            return False
        return node in self.outputs or node in self.buffered or self._needed_later(node)

    def _needed_later(self, node: Node) -> bool:
        return any(node in other.heads and self.stage[other] > self.stage[node]
                   for other in self.region.roles)  # fmt: skip

    def _reduction_step(self, node: Node, value: str) -> str:
        role, symbol = self.region.roles[node], self._symbol(node)
        if role == COLUMN:
            return f"p{symbol[1:]}[column] += {value}"
        if node.operation is SUM:
            return f"{symbol} = plus({symbol}, {value})"
        function = "larger" if node.operation is MAX else "smaller"
        return f"{symbol} = {function}({symbol}, {value})"

    def _assignment(self, node: Node, stage: int) -> str:
        values = [self._read(head, stage) for head in node.heads]
        if node.operation is RESHAPE:
            return f"{self._symbol(node)} = {values[0]}"
        literal = node.dtype if node.dtype.kind != "b" else node.heads[0].dtype
        template = _NUMBER.sub(rf"{literal}(\1)", node.operation.kernel)
        text = template.format(*values)
        if node.operation is CAST:
            text = f"{'bool_' if node.dtype.kind == 'b' else node.dtype}({text})"
        return f"{self._symbol(node)} = {text}"

    def _symbol(self, node: Node) -> str:
        if node not in self.symbols:
            self.symbols[node] = f"v{len(self.symbols)}"
        return self.symbols[node]

    def _read(self, head: Node, stage: int) -> str:
        """The text by which the loop of `stage` reads a value."""
        role = self.region.roles.get(head)
        if role == FULL:
            symbol = self._symbol(head)
            if self.stage[head] == stage:
                return symbol
            return f"{'o' if head in self.outputs else 't'}{symbol[1:]}[column]"
        if role == ROW:
            return self._symbol(head)
        if is_inlined(head):
            value = head.attributes["value"].array.reshape(()).item()
            return f"{'bool_' if head.dtype.kind == 'b' else head.dtype}({_number(value)})"
        argument = self._argument(head)
        self.last_read[argument.node] = max(stage, 0)
        symbol = self._symbol(argument.node)
        name = symbol[1:]
        if argument.form in ("scalar", "row", "indexed_row"):
            return f"s{name}"
        # loaded before anything is stored: an output may lie in the same memory
        load = f"x{name} = {'g' if argument.form == 'generator' else 'a'}{name}[column]"
        if load not in self._loads:
            self._loads.append(load)
        return f"x{name}"

    def _argument(self, head: Node) -> Argument:
        """What the kernel is given for a value from outside."""
        node = unrepeated(head)
        for known in self.arguments:
            if known.node is node:
                return known
        form = form_of(node, self.region.space)
        table = self._table(node) if form.startswith("indexed") else None
        self.arguments.append(Argument(node, form, table))
        return self.arguments[-1]

    def _table(self, node: Node) -> np.ndarray:
        """For each row of the space, the row of the value that lies under it."""
        shape, space = node.type.sizes, self.region.space
        leading = ((1,) * (len(space) - len(shape)) + shape)[:-1]
        numbers = np.arange(int(np.prod(leading, dtype=int)), dtype=np.int32).reshape(leading)
        return np.ascontiguousarray(np.broadcast_to(numbers, space[:-1])).reshape(-1)

    def _text(self, body: list[str], kept: list[Node], collected: list[Node]) -> str:
        once: list[str] = []
        per_row: list[str] = []
        in_block, after_block = [], []
        for argument in self.arguments:
            self._declare_argument(argument, once, per_row)
        for node in self.region.roles:
            if self.region.roles[node] == FULL and node not in kept and self._stores(node):
                once.append(f"t{self._number(node)} = empty(columns, {_dtype(node)})")
        for node in kept:
            n = self._number(node)
            full = self.region.roles[node] == FULL
            if node in self.shared:
                per_row.append(f"o{n} = a{self._number(self.shared[node])}")
                continue
            form = "rows, columns" if full else "rows"
            once.append(self._given(f"{'r' if full else 'o'}{n}", node, form, node))
            per_row += [f"o{n} = r{n}[row]"] if full else []
        blocks = block_count(self.rows)
        for place, node in enumerate(collected):
            n, column = self._number(node), self.region.roles[node] == COLUMN
            form = f"{blocks}, columns" if column else f"{blocks}"
            once.append(self._given(f"q{n}", node, form, Part(place)))
            if column:
                in_block += [
                    f"p{n} = q{n}[block]",
                    "for column in independent(columns):",
                    f"    p{n}[column] = 0",
                ]
            else:
                in_block.append(f"total{n}, lost{n} = {node.dtype}(0), {node.dtype}(0)")
                after_block.append(f"q{n}[block] = settled(total{n}, lost{n})")
        lines = [
            "def kernel(first: int64, last: int64, arguments: int64):",
            f"    given = array(arguments, int64, {len(self.words)})",
            f"    height, rows, columns = given[0], given[1], {self.columns}",
        ]
        lines += [f"    {line}" for line in once]
        lines.append("    for block in range(first, last):")
        lines += [f"        {line}" for line in in_block]
        lines.append("        for row in range(block * height, min(rows, (block + 1) * height)):")
        lines += [f"            {line}" for line in [*per_row, *body]]
        lines += [f"        {line}" for line in after_block]
        return "\n".join(lines) + "\n"

    def _number(self, node: Node) -> str:
        return self._symbol(node)[1:]

    def _given(self, name: str, node: Node, form: str, word: Word) -> str:
        """The line that finds an array at an address that the kernel is given."""
        self.words.append(word)
        return f"{name} = array(given[{len(self.words) - 1}], {_dtype(node)}, {form})"

    def _declare_argument(self, argument: Argument, once: list[str], per_row: list[str]) -> None:
        node, n = argument.node, self._number(argument.node)
        if argument.form == "generator":
            seed, step = node.heads
            once.append(self._given(f"seed{n}", seed, "1", seed))
            once.append(self._given(f"step{n}", step, "1", step))
            self.words.append(Stream(node))
            once.append(f"g{n} = empty(columns, {node.dtype})")
            rate = node.attributes["rate"]
            per_row.append(
                f"fill_mask_{node.dtype}(address(g{n}), columns, row * columns, "
                f"int64(seed{n}[0]), int64(step{n}[0]), given[{len(self.words) - 1}], "
                f"{dropout_threshold(rate)}, {node.dtype}({dropout_scale(rate)!r}))"
            )
            return
        form = {"full": "rows, columns", "indexed": "rows, columns", "vector": "columns",
                "scalar": "1"}.get(argument.form, "rows")  # fmt: skip
        once.append(self._given(f"m{n}", node, form, node))
        if argument.table is not None:
            self.words.append(argument.table)
            once.append(f"i{n} = array(given[{len(self.words) - 1}], int32, rows)")
        if argument.form == "scalar":
            once.append(f"s{n} = m{n}[0]")
        elif argument.form == "vector":
            once.append(f"a{n} = m{n}")
        else:
            row = f"int64(i{n}[row])" if argument.table is not None else "row"
            kind = "a" if argument.form in ("full", "indexed") else "s"
            per_row.append(f"{kind}{n} = m{n}[{row}]")


def _dtype(node: Node) -> str:
    return "bool_" if node.dtype.kind == "b" else str(node.dtype)


def _kept_exactly(number: str) -> str:
    """Adds a partial sum to a total that keeps its digits."""
    return f"total{number}, lost{number} = add_exactly(total{number}, lost{number}, v{number})"


def _first(node: Node) -> str:
    """What a maximum or minimum starts from: no element is beyond it."""
    largest = node.operation is MAX
    if node.dtype.kind == "f":
        return "-inf" if largest else "inf"
    if node.dtype.kind == "b":
        return "False" if largest else "True"
    limits = np.iinfo(node.dtype)
    return str(limits.min if largest else limits.max)


def _number(value: float) -> str:
    """A number as Python text; infinities and NaN by the names that the namespace gives them."""
    return repr(value)
