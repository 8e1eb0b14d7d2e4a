"""Classes of products, and the choice between our own kernels and NumPy's BLAS by their rates.

Products are classed by their sizes and by how their operands lie (`class_of`); product_choice.py
measures the rates of all classes. A program's products are all ours, or each is computed by the
faster: threads of a BLAS that spin between products take the cores from ours, so a mixture has to
gain more than `MIXED`. Where rates are equal within the error of such a measurement (`EQUAL`) ours
are preferred: they are joined with what reads them, have the same bits for any number of threads,
and wait for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphgrad.backends.numpy.product_shapes import ProductShape

SMALLEST = 1_000_000
"""Operations: smaller products are left to NumPy, whose call takes longer than they are worth."""
EQUAL = 0.9
"""The part of the BLAS's rate from which on ours count as equal."""
MIXED = 1.1
"""How much longer all own products may take than the faster of each."""
SMALL, LARGE = 64, 768
"""The sizes of the classes that are measured."""
BOUND = 160
"""Sizes up to this are small."""
Rates = Mapping[str, tuple[float, float]]
"""GFLOP/s of each class: ours, and the BLAS's."""


@dataclass(frozen=True, slots=True)
class ProductClass:
    """The sizes of a class that are measured, and whether an operand is read by columns."""

    rows: int
    columns: int
    depth: int
    a_transposed: bool
    b_transposed: bool

    def __str__(self) -> str:
        left, right = ("ᵀ" if each else "" for each in (self.a_transposed, self.b_transposed))
        return f"[{self.rows}, {self.depth}]{left} [{self.depth}, {self.columns}]{right}"

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.columns * self.depth


CLASSES = tuple(
    ProductClass(rows, columns, depth, a_transposed, b_transposed)
    for a_transposed, b_transposed in ((False, False), (False, True), (True, False), (True, True))
    for rows in (SMALL, LARGE)
    for columns in (SMALL, LARGE)
    for depth in (SMALL, LARGE)
)


def class_of(shape: ProductShape) -> str:
    """The class of a product."""
    rows, columns, depth = (
        SMALL if size <= BOUND else LARGE for size in (shape.rows, shape.columns, shape.depth)
    )
    a_transposed = shape.a_row == 1 and shape.a_step != 1
    return str(ProductClass(rows, columns, depth, a_transposed, shape.b_column != 1))


def choice(shapes: Sequence[ProductShape], rates: Rates) -> Callable[[ProductShape], bool]:
    """Which products of a program are ours, by these rates."""
    large = [shape for shape in shapes if shape.operations >= SMALLEST]
    ours = sum(shape.operations / rates[class_of(shape)][0] for shape in large)
    best = sum(shape.operations / max(rates[class_of(shape)]) for shape in large)
    everywhere = ours <= MIXED * best

    def takes(shape: ProductShape) -> bool:
        own, blas = rates[class_of(shape)]
        return shape.operations >= SMALLEST and (everywhere or own >= EQUAL * blas)

    return takes


def read_rates(value: object) -> Rates | None:
    """The rates of a JSON value; None if they are not those of all classes."""
    if not isinstance(value, dict) or value.keys() != {str(each) for each in CLASSES}:
        return None
    rates: dict[str, tuple[float, float]] = {}
    for name, pair in value.items():
        numbers = pair if isinstance(pair, list | tuple) and len(pair) == 2 else ()
        if not numbers or not all(type(n) in (int, float) and 0 < n < math.inf for n in numbers):
            return None
        rates[name] = float(numbers[0]), float(numbers[1])
    return rates
