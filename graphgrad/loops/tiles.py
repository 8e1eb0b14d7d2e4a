"""Generates the register tile of a matrix product, as LLVM text: C (+)= A · B in float32.

A tile holds its part of C in registers while it walks the inner axis once: at each step it loads
`vectors` vectors of a row of B and, for each of its rows, broadcasts one number of A. A processor
is data here: how many numbers a vector has, and how many rows of C its registers hold beside that
(`Tile`). One generator writes the text for all of them, without spills: AVX-512 (14 rows of 32
columns; 115 of the 118 GFLOP/s of a core where it was measured), AVX2 (6 of 16), and a portable
form. Rows that are left over are done by lower tiles, columns by masked vectors: nothing is read or
written outside of the matrices, and nothing is padded.

    multiply_tile(rows, columns, depth, a, a_row, a_step, b, b_step, c, c_row, add)
    multiply_columns(rows, columns, depth, a, a_step, b, b_step, c, c_row, add)

are what other kernels call (library/products.py; a text of the loop language names them like any
function of the library). A is [rows, depth], B [depth, columns], C [rows, columns], of any sizes;
`a`, `b` and `c` are addresses; the others are distances in elements: element (i, p) of A is at
`a_row · i + a_step · p`, (p, j) of B at `b_step · p + j`, (i, j) of C at `c_row · i + j`. So A may
be transposed (a_row 1) or not (a_step 1), and rows of B and C may be parts of longer rows. With
`add` 0 it stores C, else it adds to it. `multiply_columns` has no `a_row`: it is 1, which saves
registers, as for a transposed A or a packed panel. The call makes no copies; B is read once for
`Tile.rows` rows, and should lie in a near cache when there are more (a row of B every 4,096 bytes
falls on few sets of a cache: copy such a B to rows beside each other first).

Each number of C is a sum of chains of fused multiplications and additions along the inner axis, of
`CHAIN` steps each (so that errors stay small), and with `add` of the number that was there: its
bits depend on nothing else, whatever the tile and the position.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

CHAIN = 512
"""Steps that are summed in registers before they are added to C."""
_GROUP = 4
"""Rows of A for which one pointer is advanced; the others are at one to three times `a_row`."""


@dataclass(frozen=True)
class Tile:
    """A register tile: `heights` rows (largest first) of `vectors` vectors of `lanes` numbers."""

    lanes: int
    vectors: int
    heights: tuple[int, ...]
    masked: bool = True
    """Whether masked vectors cost no more than others, so that all tiles have them."""
    fused: bool = True
    """Whether the processor multiplies and adds in one instruction."""

    @property
    def rows(self) -> int:
        return self.heights[0]

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


AVX512 = Tile(16, 2, (14, 8, 4, 2, 1))
AVX2 = Tile(8, 2, (6, 4, 2, 1))
PORTABLE = Tile(4, 2, (4, 2, 1), masked=False)


@cache
def processor_tile() -> Tile:
    """The tile for the processor that this process runs on."""
    try:
        has = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot detect them on this system
        has = {}
    if has.get("avx512f"):
        return AVX512
    if has.get("avx2") and has.get("fma"):
        return AVX2
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return Tile(4, 2, (4, 2, 1), masked=False, fused=not x86 or bool(has.get("fma")))


def tile_text(name: str, transposed: bool, tile: Tile | None = None) -> str:
    """The LLVM text of `multiply_tile` as the function `name`; `transposed`: of
    `multiply_columns`."""
    return _TileText(name, transposed, tile or processor_tile()).module()


@dataclass(frozen=True)
class _Part:
    """A tile of one height and width; the last vector of each row is masked, or whole."""

    height: int
    vectors: int
    masked: bool

    @property
    def name(self) -> str:
        return f"tile_{self.height}_{self.vectors}{'_masked' if self.masked else ''}"


class _TileText:
    def __init__(self, name: str, transposed: bool, tile: Tile) -> None:
        self.name, self.transposed, self.tile = name, transposed, tile
        self.vector, self.mask = f"<{tile.lanes} x float>", f"<{tile.lanes} x i1>"
        self.load = f"@llvm.masked.load.v{tile.lanes}f32.p0"
        self.store = f"@llvm.masked.store.v{tile.lanes}f32.p0"
        self.fma = f"@llvm.{'fma' if tile.fused else 'fmuladd'}.v{tile.lanes}f32"

    def module(self) -> str:
        """The whole text."""
        vector, mask = self.vector, self.mask
        widths = [(self.tile.vectors, True), *((n, True) for n in range(1, self.tile.vectors))]
        if not self.tile.masked:
            widths.insert(0, (self.tile.vectors, False))
        lines = [
            f"declare {vector} {self.fma}({vector}, {vector}, {vector})",
            f"declare {vector} {self.load}(ptr, i32, {mask}, {vector})",
            f"declare void {self.store}({vector}, ptr, i32, {mask})",
        ]
        for vectors, masked in widths:
            for height in self.tile.heights:
                lines += self._part(_Part(height, vectors, masked))
        return "\n".join([*lines, *self._whole(widths), ""])

    def _part(self, part: _Part) -> Iterator[str]:
        """The function of one tile: `columns` are those that the last vector has."""
        yield (
            f"define internal void @{part.name}(i64 %depth, ptr noalias %a, i64 %a_row, "
            f"i64 %a_step, ptr noalias %b, i64 %b_step, ptr noalias %c, i64 %c_row, "
            "i64 %columns, i1 %add) noinline {"
        )
        yield "entry:"
        groups = range(0, part.height, _GROUP)
        if part.masked:
            yield from self._masks()
        yield from (f"  %times{n} = mul i64 %a_row, {n}" for n in range(2, _GROUP))
        for row in groups:
            yield f"  %offset{row} = mul i64 %a_row, {row}"
            yield f"  %first{row} = getelementptr inbounds float, ptr %a, i64 %offset{row}"
        yield "  br label %chain"
        yield "chain:"
        yield "  %remaining = phi i64 [%depth, %entry], [%after, %next]"
        yield "  %adding = phi i1 [%add, %entry], [true, %next]"
        yield "  %from_b = phi ptr [%b, %entry], [%last_b, %next]"
        for row in groups:
            yield f"  %from{row} = phi ptr [%first{row}, %entry], [%last{row}, %next]"
        yield f"  %long = icmp sgt i64 %remaining, {CHAIN}"
        yield f"  %length = select i1 %long, i64 {CHAIN}, i64 %remaining"
        yield "  %some = icmp sgt i64 %length, 0"
        yield "  br i1 %some, label %step, label %end"
        yield from self._step(part, groups)
        yield from self._end(part, groups)
        yield "}"

    def _masks(self) -> Iterator[str]:
        lanes = self.tile.lanes
        yield "  %count = trunc i64 %columns to i32"
        yield f"  %count0 = insertelement <{lanes} x i32> poison, i32 %count, i64 0"
        yield f"  %counts = {self._splat(f'<{lanes} x i32>', '%count0')}"
        numbers = ", ".join(f"i32 {lane}" for lane in range(lanes))
        yield f"  %mask = icmp slt <{lanes} x i32> <{numbers}>, %counts"

    def _splat(self, kind: str, first: str) -> str:
        """The instruction that fills a vector with its first number."""
        lanes = f"<{self.tile.lanes} x i32>"
        return f"shufflevector {kind} {first}, {kind} poison, {lanes} zeroinitializer"

    def _step(self, part: _Part, groups: Sequence[int]) -> Iterator[str]:
        """The loop over the inner axis."""
        yield "step:"
        yield "  %left = phi i64 [%length, %chain], [%rest, %step]"
        yield "  %at_b = phi ptr [%from_b, %chain], [%next_b, %step]"
        for row in groups:
            yield f"  %at{row} = phi ptr [%from{row}, %chain], [%next{row}, %step]"
        for row, vector in self._numbers(part):
            before = f"phi {self.vector} [zeroinitializer, %chain], [%sum{row}_{vector}, %step]"
            yield f"  %old{row}_{vector} = {before}"
        for vector in range(part.vectors):
            yield from self._load(part, vector, f"%b{vector}", "%at_b")
        for row in range(part.height):
            yield from self._row(part, row)
        yield "  %rest = add nsw i64 %left, -1"
        yield "  %next_b = getelementptr inbounds float, ptr %at_b, i64 %b_step"
        for row in groups:
            yield f"  %next{row} = getelementptr inbounds float, ptr %at{row}, i64 %a_step"
        yield "  %more = icmp sgt i64 %rest, 0"
        yield "  br i1 %more, label %step, label %end"

    def _row(self, part: _Part, row: int) -> Iterator[str]:
        """The products of one number of A with the vectors of B."""
        offset = ("0", "%a_row", "%times2", "%times3")[row % _GROUP]
        place = f"ptr %at{row - row % _GROUP}, i64 {row % _GROUP if self.transposed else offset}"
        yield f"  %place{row} = getelementptr inbounds float, {place}"
        yield f"  %number{row} = load float, ptr %place{row}, align 4"
        yield f"  %one{row} = insertelement {self.vector} poison, float %number{row}, i64 0"
        yield f"  %a{row} = {self._splat(self.vector, f'%one{row}')}"
        for vector in range(part.vectors):
            operands = (f"%a{row}", f"%b{vector}", f"%old{row}_{vector}")
            given = ", ".join(f"{self.vector} {operand}" for operand in operands)
            yield f"  %sum{row}_{vector} = call {self.vector} {self.fma}({given})"

    def _load(self, part: _Part, vector: int, name: str, base: str) -> Iterator[str]:
        """Loads a vector, the last one of a masked row in part."""
        place, lanes = f"{name}_place", self.tile.lanes
        yield f"  {place} = getelementptr inbounds float, ptr {base}, i64 {vector * lanes}"
        if part.masked and vector == part.vectors - 1:
            given = f"ptr {place}, i32 4, {self.mask} %mask, {self.vector} zeroinitializer"
            yield f"  {name} = call {self.vector} {self.load}({given})"
        else:
            yield f"  {name} = load {self.vector}, ptr {place}, align 4"

    def _end(self, part: _Part, groups: Sequence[int]) -> Iterator[str]:
        """Stores the sums of a chain, or adds them; then the next chain follows."""
        yield "end:"
        yield "  %last_b = phi ptr [%from_b, %chain], [%next_b, %step]"
        for row in groups:
            yield f"  %last{row} = phi ptr [%from{row}, %chain], [%next{row}, %step]"
        for row, vector in self._numbers(part):
            sums = f"[zeroinitializer, %chain], [%sum{row}_{vector}, %step]"
            yield f"  %new{row}_{vector} = phi {self.vector} {sums}"
        for row in range(part.height):
            yield f"  %c_offset{row} = mul i64 %c_row, {row}"
            yield f"  %c{row} = getelementptr inbounds float, ptr %c, i64 %c_offset{row}"
        yield "  br i1 %adding, label %adds, label %stores"
        yield "adds:"
        for row, vector in self._numbers(part):
            number = f"{row}_{vector}"
            yield from self._load(part, vector, f"%stored{number}", f"%c{row}")
            yield f"  %total{number} = fadd {self.vector} %stored{number}, %new{number}"
            yield self._stored(part, vector, f"%total{number}", f"%stored{number}_place")
        yield "  br label %next"
        yield "stores:"
        for row, vector in self._numbers(part):
            place = f"%place_of{row}_{vector}"
            offset = vector * self.tile.lanes
            yield f"  {place} = getelementptr inbounds float, ptr %c{row}, i64 {offset}"
            yield self._stored(part, vector, f"%new{row}_{vector}", place)
        yield "  br label %next"
        yield "next:"
        yield "  %after = sub i64 %remaining, %length"
        yield "  %again = icmp sgt i64 %after, 0"
        yield "  br i1 %again, label %chain, label %done"
        yield "done:"
        yield "  ret void"

    def _stored(self, part: _Part, vector: int, value: str, place: str) -> str:
        if part.masked and vector == part.vectors - 1:
            given = f"{self.vector} {value}, ptr {place}, i32 4, {self.mask} %mask"
            return f"  call void {self.store}({given})"
        return f"  store {self.vector} {value}, ptr {place}, align 4"

    def _numbers(self, part: _Part) -> Iterator[tuple[int, int]]:
        """The vectors of a tile: (row, vector)."""
        return ((row, n) for row in range(part.height) for n in range(part.vectors))

    def _whole(self, widths: Sequence[tuple[int, bool]]) -> Iterator[str]:
        """The function that is called: panels of columns, in each the rows from above."""
        a_row = "" if self.transposed else "i64 %a_row, "
        yield (
            f"define void @{self.name}(i64 %rows, i64 %columns, i64 %depth, i64 %a, {a_row}"
            "i64 %a_step, i64 %b, i64 %b_step, i64 %c, i64 %c_row, i64 %add) {"
        )
        yield "entry:"
        for name in "abc":
            yield f"  %{name}0 = inttoptr i64 %{name} to ptr"
        yield "  %adds = icmp ne i64 %add, 0"
        yield "  br label %panel"
        yield "panel:"
        yield "  %wide = phi i64 [%columns, %entry], [%wide_left, %panel_end]"
        yield "  %panel_b = phi ptr [%b0, %entry], [%panel_b_next, %panel_end]"
        yield "  %panel_c = phi ptr [%c0, %entry], [%panel_c_next, %panel_end]"
        yield "  %columns_left = icmp sgt i64 %wide, 0"
        yield "  br i1 %columns_left, label %width0, label %done"
        for number, (vectors, masked) in enumerate(widths):
            yield from self._width(number, vectors, masked)
        yield f"width{len(widths)}:"
        yield "  unreachable"
        yield "panel_end:"
        columns = self.tile.columns
        yield f"  %wide_left = sub i64 %wide, {columns}"
        yield f"  %panel_b_next = getelementptr inbounds float, ptr %panel_b, i64 {columns}"
        yield f"  %panel_c_next = getelementptr inbounds float, ptr %panel_c, i64 {columns}"
        yield "  br label %panel"
        yield "done:"
        yield "  ret void"
        yield "}"

    def _width(self, number: int, vectors: int, masked: bool) -> Iterator[str]:
        """The rows of a panel with this number of vectors."""
        lanes, heights = self.tile.lanes, self.tile.heights
        least = vectors * lanes if not masked else (vectors - 1) * lanes + 1
        yield f"width{number}:"
        yield f"  %fits{number} = icmp sge i64 %wide, {least}"
        before = (vectors - 1) * lanes
        yield f"  %last{number} = sub i64 %wide, {before}"
        yield f"  br i1 %fits{number}, label %w{number}_rows, label %width{number + 1}"
        ways = [(height, f"w{number}_call{height}") for height in heights]
        for name, kind, first in (
            ("left", "i64", "%rows"),
            ("a", "ptr", "%a0"),
            ("c", "ptr", "%panel_c"),
        ):
            if name == "left":
                yield f"w{number}_rows:"
            came = ", ".join(f"[%w{number}_{name}{height}, %{label}]" for height, label in ways)
            yield f"  %w{number}_{name} = phi {kind} [{first}, %width{number}], {came}"
        for height, label in ways:
            yield f"  %w{number}_fits{height} = icmp sge i64 %w{number}_left, {height}"
            following = f"w{number}_below{height}"
            yield f"  br i1 %w{number}_fits{height}, label %{label}, label %{following}"
            yield f"{following}:"
        yield "  br label %panel_end"
        for height, label in ways:
            yield f"{label}:"
            yield from self._call(number, _Part(height, vectors, masked))
            yield f"  br label %w{number}_rows"

    def _call(self, number: int, part: _Part) -> Iterator[str]:
        """Calls one tile, and moves down by its rows."""
        w, height = f"%w{number}_", part.height
        a_row = "1" if self.transposed else "%a_row"
        yield (
            f"  call void @{part.name}(i64 %depth, ptr {w}a, i64 {a_row}, i64 %a_step, "
            f"ptr %panel_b, i64 %b_step, ptr {w}c, i64 %c_row, i64 %last{number}, i1 %adds)"
        )
        yield f"  {w}left{height} = sub i64 {w}left, {height}"
        for name, distance in (("a", a_row), ("c", "%c_row")):
            yield f"  {w}{name}_offset{height} = mul i64 {distance}, {height}"
            place = f"ptr {w}{name}, i64 {w}{name}_offset{height}"
            yield f"  {w}{name}{height} = getelementptr inbounds float, {place}"
