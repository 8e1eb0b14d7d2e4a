"""Renders kernels that compute products, some rows at a time, and what a region does with them.

    for block in range(first, last):
        for top in range(block * height, min(rows, (block + 1) * height), lines):
            count = min(rows, min((block + 1) * height, top + lines)) - top
            multiply_rows(arguments + 48, top, count, address(m0), columns, thread, run)
            for row in range(top, top + count):
                a0 = m0[row - top]
                …

The words of a product (loops/library/product_words.py) follow the kernel's own arguments in the
call table. `m0` are `lines` rows of it, as many as stay in cache, in memory of the thread; or its
place in memory, if other steps read it too. A product without a region stores its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphgrad.backends.arguments import Address, LoopText
from graphgrad.backends.numpy.loop_text import LoopRenderer, indented
from graphgrad.fusion.statements import Argument, Loops, block_count
from graphgrad.loops.library.product_words import WORDS

CACHED = 1 << 18
"""Bytes of a product's rows that stay in cache until the region has read them."""
FEWEST = 28
"""Rows: fewer would read all of B too often."""
_ALONE = """def kernel(first: int64, last: int64, arguments: int64, thread: int64, run: int64):
    given = array(arguments, int64, 4)
    height, rows, c, c_row = given[0], given[1], given[2], given[3]
    for block in range(first, last):
        top = block * height
        count = min(rows, top + height) - top
        multiply_rows(arguments + 32, top, count, c + 4 * top * c_row, c_row, thread, run)
"""


@dataclass(frozen=True, slots=True)
class ReadProduct:
    """A product that a nest reads as the value of this number."""

    value: int
    stored: bool


def lines_of(loops: Loops, products: int) -> int:
    """The rows of a product that are computed at a time: the parts of a block are equal."""
    height = height_of_nest(loops)
    most = max(FEWEST, CACHED // (4 * loops.columns * products))
    parts = -(-height // most)
    return -(-height // parts)


def height_of(rows: int) -> int:
    """The rows of a block of a product: whole register tiles of 14 rows, if they are not few."""
    height = -(-rows // block_count(rows))
    return height if height < FEWEST // 2 else -(-height // FEWEST) * FEWEST


def height_of_nest(loops: Loops) -> int:
    """The rows of a block of a nest with products; partial sums are those of the nest's blocks."""
    return -(-loops.rows // loops.blocks) if loops.partial_sums else height_of(loops.rows)


def render_product(rows: int, row_distance: int) -> LoopText:
    """The kernel of one product, whose result is value 0 of its call."""
    return LoopText(_ALONE, (height_of(rows), rows, Address(0), row_distance))


def render_with_products(
    loops: Loops, in_place: Mapping[int, int], products: Sequence[ReadProduct]
) -> LoopText:
    """The kernel of a nest that computes products that it reads."""
    return _ProductRenderer(loops, in_place, products).kernel()


class ProductTextCache:
    """Renders equal loops with equal products once, for any number of layers."""

    def __init__(self) -> None:
        self._rendered: dict[object, LoopText] = {}

    def render(
        self, loops: Loops, in_place: Mapping[int, int], products: Sequence[ReadProduct]
    ) -> LoopText:
        """`render_with_products` of these arguments."""
        key = loops, tuple(in_place.items()), tuple(products)
        if key not in self._rendered:
            self._rendered[key] = render_with_products(loops, in_place, products)
        return self._rendered[key]


class _ProductRenderer(LoopRenderer):
    head = "def kernel(first: int64, last: int64, arguments: int64, thread: int64, run: int64):"

    def __init__(
        self, loops: Loops, in_place: Mapping[int, int], products: Sequence[ReadProduct]
    ) -> None:
        super().__init__(loops, in_place)
        self.products = {its.value: (number, its) for number, its in enumerate(products)}
        self.multiply: list[str] = []
        lines = self.given(lines_of(loops, len(products)))
        self.before_blocks.append(f"lines = {lines}")

    def kernel(self) -> LoopText:
        text = super().kernel()
        text = LoopText(text.text, (height_of_nest(self.loops), *text.arguments[1:]))
        for number in range(len(self.products)):
            words = 8 * (len(text.arguments) + number * WORDS)
            text = LoopText(text.text.replace(_words(number), str(words)), text.arguments)
        return text

    def argument(self, argument: Argument) -> None:
        """Adds the lines that read an argument, or that compute it."""
        n = argument.value
        if n not in self.products:
            super().argument(argument)
            return
        number, product = self.products[n]
        words = f"arguments + {_words(number)}"
        if product.stored:
            self.array(f"m{n}", n, "rows, columns")
            to, row = f"address(m{n}) + 4 * top * columns", "row"
        else:
            memory = f"product_memory({words}, thread)"
            self.before_blocks.append(f"m{n} = array({memory}, float32, lines, columns)")
            to, row = f"address(m{n})", "row - top"
        self.multiply.append(f"multiply_rows({words}, top, count, {to}, columns, thread, run)")
        self.row_start.append(f"a{n} = m{n}[{row}]")

    def row_loop(self, body: Sequence[str]) -> list[str]:
        """The loop over the rows of a block, in parts."""
        return [
            "for top in range(block * height, min(rows, (block + 1) * height), lines):",
            "    count = min(rows, min((block + 1) * height, top + lines)) - top",
            *indented(self.multiply),
            "    for row in range(top, top + count):",
            *indented(body, 2),
        ]


def _words(number: int) -> str:
    """What stands in the text for the distance of a product's words."""
    return f"@words{number}@"
