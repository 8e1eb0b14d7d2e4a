"""Writes the LLVM text of a function that turns a block of rows around, through registers.

A square of vectors is loaded row by row and turned in as many steps as its size has binary digits:
step d exchanges the lanes whose number has bit d, of rows that lack it, with the lanes that lack it
of rows that have it. Gathering single numbers makes attention of 16 queries a third slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


def turned_text(name: str, size: int, lanes: int) -> str:
    """The LLVM text of `library.turned.turn_rows` as the function `name`, with vectors of `size`
    numbers, for blocks of so many lanes."""
    return _Turn(name, size, lanes).text()


@dataclass
class _Turn:
    """Writes the text: loops over columns, squares of `size` by `size` numbers in them."""

    symbol: str
    size: int
    lanes: int
    lines: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def kind(self) -> str:
        return f"<{self.size} x float>"

    def text(self) -> str:
        """The text of the whole module."""
        size, bits = self.size, f"<{self.size} x i1>"
        self._add("entry:")
        for operand in "ac":
            self._add(f"%{operand} = inttoptr i64 %{operand}_address to ptr")
        self._add("%last = sub i64 %rows, 1")
        self._add("br label %test")
        self._add("test:")
        self._add("%column = phi i64 [ 0, %entry ], [ %following, %next ]")
        self._add(f"%following = add i64 %column, {size}")
        self._add("%fits = icmp sle i64 %following, %columns")
        self._add("br i1 %fits, label %whole, label %rest")
        self._add("whole:")
        for first in range(0, self.lanes, size):
            if first == self.lanes // 2:
                self._add(f"%many = icmp sgt i64 %rows, {first}")
                self._add("br i1 %many, label %others, label %next")
                self._add("others:")
            self._store(self._turned(self._rows(first, "")), first)
        self._add("br label %next")
        self._add("next:")
        self._add("br label %test")
        self._rest()
        return "\n".join(
            [
                f"declare {self.kind} @llvm.masked.load.v{size}f32.p0(ptr, i32, {bits}, "
                f"{self.kind})",
                f"define void @{self.symbol}(i64 %rows, i64 %columns, i64 %a_address, "
                "i64 %a_stride, i64 %c_address) {",
                *self.lines,
                "}",
                "",
            ]
        )

    def _rest(self) -> None:
        """The columns that fill no square: as many rows of its result are stored."""
        size = self.size
        self._add("rest:")
        self._add("%left = sub i64 %columns, %column")
        self._add("%some = icmp sgt i64 %left, 0")
        self._add("br i1 %some, label %part, label %end")
        self._add("part:")
        mask = self._mask()
        turned = [
            (first, self._turned(self._rows(first, mask))) for first in range(0, self.lanes, size)
        ]
        for number in range(size - 1):
            for first, rows in turned:
                self._store_row(rows[number], number, first)
            self._add(f"%more{number} = icmp sgt i64 %left, {number + 1}")
            self._add(f"br i1 %more{number}, label %part{number}, label %end")
            self._add(f"part{number}:")
        self._add("br label %end")
        self._add("end:")
        self._add("ret void")

    def _add(self, text: str) -> None:
        self.lines.append(text if text.endswith(":") else f"  {text}")

    def _let(self, text: str) -> str:
        self.count += 1
        self._add(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def _mask(self) -> str:
        """Which columns of the last square there are."""
        kind = f"<{self.size} x i64>"
        one = self._let(f"insertelement {kind} poison, i64 %left, i64 0")
        left = self._let(
            f"shufflevector {kind} {one}, {kind} poison, <{self.size} x i32> zeroinitializer"
        )
        numbers = ", ".join(f"i64 {number}" for number in range(self.size))
        return self._let(f"icmp slt {kind} <{numbers}>, {left}")

    def _rows(self, first: int, mask: str) -> list[str]:
        """The rows of a square, from number `first` on; the last one instead of those after it."""
        found = []
        for number in range(first, first + self.size):
            beyond = self._let(f"icmp sgt i64 {number}, %last")
            row = self._let(f"select i1 {beyond}, i64 %last, i64 {number}")
            offset = self._let(f"mul i64 {row}, %a_stride")
            start = self._let(f"getelementptr float, ptr %a, i64 {offset}")
            place = self._let(f"getelementptr float, ptr {start}, i64 %column")
            if mask:
                found.append(
                    self._let(
                        f"call {self.kind} @llvm.masked.load.v{self.size}f32.p0(ptr {place}, "
                        f"i32 4, <{self.size} x i1> {mask}, {self.kind} zeroinitializer)"
                    )
                )
            else:
                found.append(self._let(f"load {self.kind}, ptr {place}, align 4"))
        return found

    def _turned(self, rows: list[str]) -> list[str]:
        """The columns of a square."""
        distance = 1
        while distance < self.size:
            lanes = range(self.size)
            upper = [n if not n & distance else self.size + n - distance for n in lanes]
            lower = [n + distance if not n & distance else self.size + n for n in lanes]
            for number in lanes:
                if not number & distance:
                    pair = rows[number], rows[number + distance]
                    rows[number] = self._shuffle(*pair, upper)
                    rows[number + distance] = self._shuffle(*pair, lower)
            distance *= 2
        return rows

    def _shuffle(self, a: str, b: str, places: Sequence[int]) -> str:
        chosen = ", ".join(f"i32 {place}" for place in places)
        return self._let(
            f"shufflevector {self.kind} {a}, {self.kind} {b}, <{self.size} x i32> <{chosen}>"
        )

    def _store(self, columns: Sequence[str], first: int) -> None:
        for number, column in enumerate(columns):
            self._store_row(column, number, first)

    def _store_row(self, column: str, number: int, first: int) -> None:
        """Stores one column of the input as a part of a row."""
        row = self._let(f"add i64 %column, {number}")
        offset = self._let(f"mul i64 {row}, {self.lanes}")
        start = self._let(f"getelementptr float, ptr %c, i64 {offset}")
        place = self._let(f"getelementptr float, ptr {start}, i64 {first}")
        self._add(f"store {self.kind} {column}, ptr {place}, align 4")
