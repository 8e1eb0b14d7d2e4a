"""Writes the LLVM text of a product whose tiles stay in registers: what attention is made of.

    c[row, lane] = Σ over steps of a[row, step] · b[step, lane]        (or added to what c holds)

Rows of `b` and `c` are read and written as vectors, wherever they begin; an element of `a` is read
as one number and multiplied with all lanes of a tile. So no operand is packed: `a` has either its
steps side by side (a matrix as it lies), or its rows (a matrix turned around).

A tile is as large as the processor has registers for: with AVX-512 eight rows of two vectors, which
reach 104 of the 115 GFLOP/s of a core of Zen 4 where operands are in its caches. Rows that are left
over are tiles of fewer rows; lanes that are left over, vectors of which only those lanes are read
and written. Each number is added up by one thread, step after step, so it does not depend on how
rows are divided among tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Registers:
    """The tile that a processor has registers for."""

    vector: int
    """Numbers of a vector."""
    rows: int
    vectors: int = 2

    @property
    def lanes(self) -> int:
        """The lanes of a whole tile."""
        return self.vector * self.vectors

    @property
    def heights(self) -> Sequence[int]:
        """Rows of the tiles, from the whole one to one row."""
        return [self.rows, *(n for n in (8, 4, 2, 1) if n < self.rows)]


def registers_of(features: str) -> Registers:
    """The tile for a processor with these features of LLVM's, such as "+avx2,-avx512f"."""
    given = features.split(",")
    if "+avx512f" in given:
        return Registers(16, 8)
    if "+avx" in given:
        return Registers(8, 6)
    return Registers(4, 6)


def panel_text(symbol: str, features: str, rows_adjacent: bool) -> str:
    """The LLVM text of the product as a function of this name.

    Its parameters are those of `library.panels.product_of_rows`. `rows_adjacent` says that rows of
    `a` lie side by side, and `a_stride` is the distance of its steps.
    """
    return _Panel(symbol, registers_of(features), rows_adjacent).text()


@dataclass
class _Panel:
    """Writes the text, tile by tile."""

    symbol: str
    registers: Registers
    rows_adjacent: bool
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def text(self) -> str:
        """The text of the whole module."""
        vector = self.registers.vector
        kind, bits = f"<{vector} x float>", f"<{vector} x i1>"
        self._add("entry:")
        adding = self._let("icmp ne i64 %add, 0")
        for operand in "abc":
            self._add(f"%{operand} = inttoptr i64 %{operand}_address to ptr")
        first, before = "0", "entry"
        for height in self.registers.heights:
            first, before = self._rows(height, first, before, adding)
        self._add("ret void")
        head = (
            f"define void @{self.symbol}(i64 %rows, i64 %steps, i64 %lanes, i64 %a_address, "
            "i64 %a_stride, i64 %b_address, i64 %b_stride, i64 %c_address, i64 %c_stride, i64 %add)"
        )
        return "\n".join(
            [
                f"declare {kind} @llvm.fmuladd.v{vector}f32({kind}, {kind}, {kind})",
                f"declare {kind} @llvm.masked.load.v{vector}f32.p0(ptr, i32, {bits}, {kind})",
                f"declare void @llvm.masked.store.v{vector}f32.p0({kind}, ptr, i32, {bits})",
                f"{head} {{",
                *self.lines,
                "}",
                "!0 = distinct !{!0, !1}",
                '!1 = !{!"llvm.loop.unroll.disable"}',
                "",
            ]
        )

    # ------------------------------------------------------------ instructions

    def _add(self, text: str) -> None:
        self.lines.append(text if text.endswith(":") else f"  {text}")

    def _let(self, text: str) -> str:
        self.count += 1
        self._add(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def _labels(self, *parts: str) -> Iterator[str]:
        self.count += 1
        return (f"{part}{self.count}" for part in parts)

    def _at(self, pointer: str, offset: str | int) -> str:
        return self._let(f"getelementptr float, ptr {pointer}, i64 {offset}")

    def _times(self, stride: str, number: str | int) -> str:
        return self._let(f"mul i64 {stride}, {number}")

    # ------------------------------------------------------------ loops

    def _rows(self, height: int, first: str, before: str, adding: str) -> tuple[str, str]:
        """The tiles of so many rows from row `first` on; the row after them and the last block."""
        test, body, end, latch = self._labels("rows", "tile", "rows_end", "rows_next")
        row, following = f"%row_{test}", f"%row_{latch}"
        self._add(f"br label %{test}")
        self._add(f"{test}:")
        self._add(f"{row} = phi i64 [ {first}, %{before} ], [ {following}, %{latch} ]")
        self._add(f"{following} = add i64 {row}, {height}")
        fits = self._let(f"icmp sle i64 {following}, %rows")
        self._add(f"br i1 {fits}, label %{body}, label %{end}")
        self._add(f"{body}:")
        a = self._at("%a", row if self.rows_adjacent else self._times("%a_stride", row))
        c = self._at("%c", self._times("%c_stride", row))
        lane, before = self._lanes(height, a, c, "0", body, adding, whole=True)
        self._lanes(height, a, c, lane, before, adding, whole=False)
        self._add(f"br label %{latch}")
        self._add(f"{latch}:")
        self._add(f"br label %{test}")
        self._add(f"{end}:")
        return row, end

    def _lanes(
        self, height: int, a: str, c: str, first: str, before: str, adding: str, whole: bool
    ) -> tuple[str, str]:
        """The tiles side by side: whole ones, or single vectors of the lanes that are left."""
        width = self.registers.lanes if whole else self.registers.vector
        test, body, end, store = self._labels("lanes", "lane", "lanes_end", "store")
        lane, following = f"%lane_{test}", f"%lane_{store}"
        self._add(f"br label %{test}")
        self._add(f"{test}:")
        self._add(f"{lane} = phi i64 [ {first}, %{before} ], [ {following}, %{store} ]")
        self._add(f"{following} = add i64 {lane}, {width}")
        relation = f"sle i64 {following}" if whole else f"slt i64 {lane}"
        fits = self._let(f"icmp {relation}, %lanes")
        self._add(f"br i1 {fits}, label %{body}, label %{end}")
        self._add(f"{body}:")
        tile = _Tile(self, height, self.registers.vectors if whole else 1, lane, not whole)
        tile.write(a, self._at("%b", lane), self._at(c, lane), adding, body, store)
        self._add(f"br label %{test}")
        self._add(f"{end}:")
        return lane, end

    def mask(self, lane: str) -> str:
        """Which lanes of the vector from `lane` on there are."""
        size = self.registers.vector
        left = self._let(f"sub i64 %lanes, {lane}")
        kind = f"<{size} x i64>"
        one = self._let(f"insertelement {kind} poison, i64 {left}, i64 0")
        all_left = self._let(
            f"shufflevector {kind} {one}, {kind} poison, <{size} x i32> zeroinitializer"
        )
        numbers = ", ".join(f"i64 {number}" for number in range(size))
        return self._let(f"icmp slt {kind} <{numbers}>, {all_left}")


@dataclass
class _Tile:
    """One tile: its sums are in registers while the loop over steps runs."""

    panel: _Panel
    height: int
    vectors: int
    lane: str
    masked: bool

    def write(self, a: str, b: str, c: str, adding: str, before: str, store: str) -> None:
        """Writes the tile. `a`, `b` and `c` point to its first row, step and lane; the block that
        stores the sums is called `store`."""
        panel, let = self.panel, self.panel._let
        load, start, loop = panel._labels("load", "start", "steps")
        bits = panel.mask(self.lane) if self.masked else ""
        panel._add(f"br i1 {adding}, label %{load}, label %{start}")
        panel._add(f"{load}:")
        old = [self._load(each, bits) for each in self._places(c)]
        panel._add(f"br label %{start}")
        panel._add(f"{start}:")
        begun = [
            let(f"phi {self.kind} [ zeroinitializer, %{before} ], [ {each}, %{load} ]")
            for each in old
        ]
        some = let("icmp sgt i64 %steps, 0")
        panel._add(f"br i1 {some}, label %{loop}, label %{store}")
        sums = self._loop(loop, start, store, begun, a, b, bits)
        panel._add(f"{store}:")
        results = [
            let(f"phi {self.kind} [ {zero}, %{start} ], [ {each}, %{loop} ]")
            for zero, each in zip(begun, sums, strict=True)
        ]
        for place, result in zip(self._places(c), results, strict=True):
            if self.masked:
                panel._add(
                    f"call void @llvm.masked.store.v{self.size}f32.p0({self.kind} {result}, "
                    f"ptr {place}, i32 4, <{self.size} x i1> {bits})"
                )
            else:
                panel._add(f"store {self.kind} {result}, ptr {place}, align 4")

    @property
    def size(self) -> int:
        return self.panel.registers.vector

    @property
    def kind(self) -> str:
        return f"<{self.size} x float>"

    def _places(self, c: str) -> list[str]:
        """Where the vectors of all rows lie."""
        panel, found = self.panel, []
        for row in range(self.height):
            start = panel._at(c, panel._times("%c_stride", row))
            found += [panel._at(start, self.size * number) for number in range(self.vectors)]
        return found

    def _load(self, place: str, bits: str) -> str:
        if not self.masked:
            return self.panel._let(f"load {self.kind}, ptr {place}, align 4")
        return self.panel._let(
            f"call {self.kind} @llvm.masked.load.v{self.size}f32.p0(ptr {place}, i32 4, "
            f"<{self.size} x i1> {bits}, {self.kind} zeroinitializer)"
        )

    def _loop(
        self, loop: str, start: str, store: str, begun: Sequence[str], a: str, b: str, bits: str
    ) -> list[str]:
        """The loop over steps; the sums at its end."""
        panel = self.panel
        panel._add(f"{loop}:")
        step, following = f"%step_{loop}", f"%following_{loop}"
        panel._add(f"{step} = phi i64 [ 0, %{start} ], [ {following}, %{loop} ]")
        sums = [f"%sum_{loop}_{number}" for number in range(len(begun))]
        made = [f"%made_{loop}_{number}" for number in range(len(begun))]
        for old, now, new in zip(begun, sums, made, strict=True):
            panel._add(f"{now} = phi {self.kind} [ {old}, %{start} ], [ {new}, %{loop} ]")
        at = panel._at(b, panel._times("%b_stride", step))
        vectors = [self._load(panel._at(at, self.size * n), bits) for n in range(self.vectors)]
        here = panel._at(a, panel._times("%a_stride", step) if panel.rows_adjacent else step)
        for row in range(self.height):
            factor = self._factor(here, row)
            for number, vector in enumerate(vectors):
                place = row * self.vectors + number
                panel._add(
                    f"{made[place]} = call {self.kind} @llvm.fmuladd.v{self.size}f32("
                    f"{self.kind} {factor}, {self.kind} {vector}, {self.kind} {sums[place]})"
                )
        panel._add(f"{following} = add nuw nsw i64 {step}, 1")
        more = panel._let(f"icmp slt i64 {following}, %steps")
        panel._add(f"br i1 {more}, label %{loop}, label %{store}, !llvm.loop !0")
        return made

    def _factor(self, here: str, row: int) -> str:
        """An element of `a`, in all lanes."""
        panel, let = self.panel, self.panel._let
        place = panel._at(here, row if panel.rows_adjacent else panel._times("%a_stride", row))
        number = let(f"load float, ptr {place}, align 4")
        one = let(f"insertelement {self.kind} poison, float {number}, i64 0")
        return let(
            f"shufflevector {self.kind} {one}, {self.kind} poison, "
            f"<{self.size} x i32> zeroinitializer"
        )
