"""Prints the statements of a loop nest in CUDA C, each as loop_text.py does for the CPU.

    #pragma unroll
    for (int item = 0; item < 2; ++item) {
        const int column = (item * 32 + lane) * 4;
        const Pack<float, 4> x0 = load<4>(a0 + column);
        Pack<float, 4> y2;
        #pragma unroll
        for (int k = 0; k < 4; ++k) {
            const float v2 = tanhf(x0.at[k]);
            y2.at[k] = v2;
            t2[item * 4 + k] = v2;                         a later loop reads it back
        }
        store<4>(o2 + column, y2);
    }

All loads of a turn come before its stores, and a column is the same thread's in every loop, so no
loop over columns has to wait for another. Sums of what a loop computes are taken in the same loop:
each thread adds its own columns in their order, here as in a loop of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphgrad import ops
from graphgrad.backends.cupy.expressions import C_TYPES, Typed, cast, number, translate
from graphgrad.backends.cupy.geometry import WARP, Geometry, follows_columns, read_back
from graphgrad.fusion.reading import COLUMN, FULL, INDEXED_ROW, ROW, SCALAR
from graphgrad.fusion.statements import (
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
from graphgrad.loops.instructions import LoopError
from graphgrad.philox import dropout_scale, dropout_threshold

MOST_ADDED = 256
"""Numbers that one thread adds up as they come; more are added with what rounding takes away."""
UNROLLED = 64
"""Columns of a thread up to which a loop over them is written out."""
LOADED_AGAIN = 16
"""Columns of a thread up to which an argument stays in registers from loop to loop."""


class StatementText:
    """The statements of a nest; `in_place` maps an output to the argument whose memory it takes."""

    def __init__(self, loops: Loops, in_place: Mapping[int, int], geometry: Geometry) -> None:
        self.loops, self.in_place, self.geometry = loops, in_place, geometry
        self.columns, self.width = loops.columns, geometry.width
        self.own = geometry.items * geometry.width
        """Columns of a thread."""
        self.by_number = geometry.flat and (bool(geometry.chunk) or not follows_columns(loops))
        """Whether rows and columns do not matter; then the text does not say how many there are."""
        self.read = {argument.value for argument in loops.arguments}
        self.masks = {each.value: each for each in loops.arguments if isinstance(each, Mask)}
        self.back = read_back(loops)
        self.again = self._loaded_again()
        self.ready: set[int] = set()
        """What is loaded again and has been loaded."""

    def statement(self, statement: Statement, sums: RowSums | None) -> Sequence[str]:
        """The lines of a statement; `sums` are taken along by a loop over columns."""
        if isinstance(statement, ColumnLoop):
            return self._column_loop(statement, sums)
        if isinstance(statement, RowSums):
            return self._row_sums(statement)
        if isinstance(statement, Store):
            return [f"if (lane == 0) r{statement.value}[row] = v{statement.value};"]
        return [self._assign(statement)]

    def _column_loop(self, loop: ColumnLoop, sums: RowSums | None) -> Sequence[str]:
        extremes = [
            its for its in loop.body if isinstance(its, Reduce) and its.operation is not ops.sum
        ]
        starts, ends = [], []
        for its in extremes:
            n, combine = its.value, "Larger" if its.operation is ops.max else "Smaller"
            starts.append(f"{self.type_of(n)} v{n} = {self._first(its)};")
            ends.append(f"v{n} = {self.over_group(f'v{n}', combine)};")
        stored = [its.value for its in loop.body if isinstance(its, Store)]
        kept = [value for value in stored if value in self.loops.kept]
        declared, before = self._loads(loop.body)
        before += [f"{self._pack(value)} y{value};" for value in kept]
        body = [line for its in loop.body for line in self._step(its)]
        after = [f"store<{self.width}>({self._place(value)}, y{value});" for value in kept]
        declared += [
            f"{self.type_of(value)} t{value}[{self.own}];" for value in stored if value in self.back
        ]
        if sums is not None:
            for those, more in zip((starts, body, ends), self._sums(sums, "v{}"), strict=True):
                those += more
        return [*declared, *starts, *self.over_columns(body, before, after), *ends]

    def _row_sums(self, loop: RowSums) -> Sequence[str]:
        """Sums along the row, and this row's part of sums of everything."""
        declared, before = self._loads(loop.body)
        starts, body, ends = self._sums(loop)
        return [*declared, *starts, *self.over_columns(body, before), *ends]

    def _sums(self, loop: RowSums, summand: str = "") -> tuple[list[str], list[str], list[str]]:
        """What is done before sums, for each column and behind it; `summand` is what a value that
        the turn has computed is called."""
        exact = self.own > MOST_ADDED
        starts, body, ends = [], [], []
        for its in loop.body:
            if not isinstance(its, Reduce):
                continue
            n, along_row = its.value, self.loops.role(its.value) == ROW
            zero = number(0, self.loops.values[n].dtype)
            value = self._operand(its.operand).text
            if summand and isinstance(its.operand, ReadBack):
                value = summand.format(its.operand.value)
            if along_row or not exact:
                lost = f", lost{n} = {zero}" if exact else ""
                starts.append(f"{self.type_of(n)} v{n} = {zero}{lost};")
            total = f"v{n}" if along_row else f"total{n}"
            if exact:
                body.append(f"add_exactly({total}, lost{n}, {value});")
            else:
                body.append(f"v{n} = added(v{n}, {value});")
            if along_row:
                whole = f"settled(v{n}, lost{n})" if exact else f"v{n}"
                ends.append(f"v{n} = {self.over_group(whole, 'Plus')};")
            elif not exact:
                ends.append(f"add_exactly(total{n}, lost{n}, v{n});")
        return starts, body, ends

    def _loads(self, body: Iterable[object]) -> tuple[list[str], list[str]]:
        """What is declared before a loop, and what is loaded in each of its turns."""
        declared, turns = [], []
        for its in body:
            if not isinstance(its, Load) or its.value in self.ready:
                continue
            n, pack = its.value, self._pack(its.value)
            loaded = f"load<{self.width}>({self._place(n)})"
            if n in self.masks:
                loaded = self._mask_elements(self.masks[n])
            if n in self.again:
                self.ready.add(n)
                declared.append(f"{pack} x{n}[{self.geometry.items}];")
                turns.append(f"x{n}[item] = {loaded};")
            else:
                turns.append(f"const {pack} x{n} = {loaded};")
        return declared, turns

    def _mask_elements(self, mask: Mask) -> str:
        n, dtype = mask.value, self.loops.values[mask.value].dtype
        return (
            f"dropout_mask<{self.width}>(row * {self.columns}LL + column, seed{n}[0], step{n}[0], "
            f"stream{n}, {dropout_threshold(mask.rate)}u, "
            f"{number(dropout_scale(mask.rate), dtype)})"
        )

    def _loaded_again(self) -> frozenset[int]:
        """The arguments that several loops load, and whose elements stay in registers."""
        loads = [
            its.value
            for stage in self.loops.stages
            for loop in stage
            if isinstance(loop, ColumnLoop | RowSums)
            for its in loop.body
            if isinstance(its, Load)
        ]
        few = self.own <= LOADED_AGAIN and not self.geometry.flat
        return frozenset(value for value in loads if few and loads.count(value) > 1)

    def over_columns(
        self, body: Sequence[str], before: Sequence[str] = (), after: Sequence[str] = ()
    ) -> list[str]:
        """A loop over the columns of this thread, `width` at a time."""
        turn = [
            *before,
            *(_loop("k", self.width, body, True) if body else ()),
            *after,
        ]
        if self.geometry.flat:
            return turn
        geometry = self.geometry
        if self.own * geometry.threads != self.columns:
            turn = [f"if (column < {self.columns}) {{", *indented(turn), "}"]
        if any("column" in line for line in turn):
            place = f"(item * {geometry.threads} + lane) * {self.width}"
            turn = [f"const int column = {place};", *turn]
        return _loop("item", geometry.items, turn, self.own <= UNROLLED)

    def _step(self, step: Load | Assign | Store | Reduce) -> Sequence[str]:
        """What is done for one column."""
        n = step.value
        if isinstance(step, Assign):
            return [self._assign(step)]
        if isinstance(step, Load):
            return []
        if isinstance(step, Store):
            kept = [f"y{n}.at[k] = v{n};"] if n in self.loops.kept else []
            return kept + ([f"t{n}[{self.place_of_own()}] = v{n};"] if n in self.back else [])
        value = self._operand(step.operand).text
        if self.loops.role(n) == COLUMN:
            place = f"p{n}[{self.place_of_own()}]"
            return [f"{place} = added({place}, {value});"]
        return [f"v{n} = {'maximum' if step.operation is ops.max else 'minimum'}(v{n}, {value});"]

    def _assign(self, step: Assign) -> str:
        operands = {f"h{place}": self._operand(each) for place, each in enumerate(step.operands)}
        dtype, first = self.loops.values[step.value].dtype, operands["h0"].dtype
        if step.operation is ops.reshape:
            result = operands["h0"]
        else:
            literal = dtype if dtype.kind != "b" else first
            result = translate(step.operation.kernel.format(*operands), operands, literal)
            if step.operation is ops.cast:
                result = cast(result, dtype)
        if result.dtype != dtype.name:
            name = step.operation.name
            raise LoopError(f"{name} gives {result.dtype} in a kernel, and {dtype} in the graph")
        text = result.text
        if text.startswith("(") and _closes_last(text):
            text = text[1:-1]
        return f"const {self.type_of(step.value)} v{step.value} = {text};"

    def _operand(self, operand: Operand) -> Typed:
        if isinstance(operand, Number):
            return Typed(operand.dtype.name, number(operand.digits, operand.dtype))
        n, dtype = operand.value, self.loops.values[operand.value].dtype.name
        if isinstance(operand, ReadBack):
            return Typed(dtype, f"t{n}[{self.place_of_own()}]")
        if n not in self.read:
            return Typed(dtype, f"v{n}")
        if self.loops.role(n) in (SCALAR, ROW, INDEXED_ROW):
            return Typed(dtype, f"s{n}")
        return Typed(dtype, f"x{n}{'[item]' if n in self.again else ''}.at[k]")

    def place_of_own(self) -> str:
        """The number of a column among those of its thread."""
        if self.geometry.flat:
            return "k"
        return f"item * {self.width} + k" if self.width > 1 else "item"

    def _place(self, value: int) -> str:
        """Where the next `width` elements of a value lie."""
        if self.is_by_element(value):
            return (
                f"m{self.in_place.get(value, value)} + element"
                if (value in self.read or value in self.in_place)
                else f"r{value} + element"
            )
        return f"{'a' if value in self.read else 'o'}{value} + column"

    def is_by_element(self, value: int) -> bool:
        """Whether the value's elements are found by their number and not by row and column."""
        return self.geometry.flat and self.loops.role(value) == FULL

    def over_group(self, value: str, combine: str) -> str:
        threads = self.geometry.threads or self.geometry.block
        shared = "shared" if threads > WARP else "nullptr"
        return f"over_group<{threads}>({value}, {combine}(), {shared})"

    def _first(self, step: Reduce) -> str:
        """What a maximum or minimum starts from: no element is beyond it."""
        largest, dtype = step.operation is ops.max, self.loops.values[step.value].dtype
        if dtype.kind == "f":
            return number("-inf" if largest else "inf", dtype)
        if dtype.kind == "b":
            return number(str(not largest), dtype)
        limits = np.iinfo(dtype)
        return number(limits.min if largest else limits.max, dtype)

    def type_of(self, value: int) -> str:
        return C_TYPES[self.loops.values[value].dtype.name]

    def _pack(self, value: int) -> str:
        return f"Pack<{self.type_of(value)}, {self.width}>"


def _loop(counter: str, turns: int, body: Sequence[str], unrolled: bool) -> list[str]:
    unroll = ["#pragma unroll"] if unrolled else []
    head = f"for (int {counter} = 0; {counter} < {turns}; ++{counter}) {{"
    return [*unroll, head, *indented(body), "}"]


def indented(lines: Iterable[str]) -> list[str]:
    return [line if line.startswith("#") else f"    {line}" for line in lines]


def _closes_last(text: str) -> bool:
    """Whether the first bracket is closed by the last sign of the text."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return place == len(text) - 1
    return False
