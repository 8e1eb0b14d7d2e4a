"""Dimensions: integers, names, and the sums and products of names.

A graph is declared once for every size: `batch`, `source` and `target` are names, and a shape such
as `(batch * target, 512)` is exact arithmetic on them. A `Dimension` is a polynomial with integer
coefficients, kept in normal form, so two equal dimensions compare equal however they were reached.
A polynomial without names is a plain `int`; code that asks `isinstance(size, int)` asks whether the
size is known.

A name is assumed to stand for a size that does not broadcast: `(batch, 3)` meets `(1, 3)` but never
`(5, 3)`. What a name finally is, is said when the program is specialised.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Number
from typing import Any, NoReturn

from graphgrad.errors import DeclarationError
from graphgrad.graph.scope import current_origin

Monomial = tuple[str, ...]
"""The names multiplied with each other, sorted; a square is a name twice."""

Size = "int | Dimension"

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@dataclass(frozen=True, slots=True)
class Dimension:
    """A size that is not known yet: `terms` maps products of names to their coefficients."""

    terms: tuple[tuple[Monomial, int], ...]

    __array_ufunc__ = None  # an integer of NumPy's leaves the arithmetic to the dimension

    def __add__(self, other: int | Dimension) -> int | Dimension:
        return _normal([*self.terms, *_terms(other)]) if self._meets(other) else NotImplemented

    def __mul__(self, other: int | Dimension) -> int | Dimension:
        if not self._meets(other):
            return NotImplemented
        if isinstance(other, int):
            scaled = [(names, coefficient * other) for names, coefficient in self.terms]
            return Dimension(tuple(scaled)) if other else 0
        return _normal(
            (tuple(sorted(left + right)), a * b)
            for left, a in self.terms
            for right, b in _terms(other)
        )

    def __sub__(self, other: int | Dimension) -> int | Dimension:
        if not self._meets(other):
            return NotImplemented
        return _normal([*self.terms, *((names, -c) for names, c in _terms(other))])

    def __rsub__(self, other: int) -> int | Dimension:
        return self * -1 + other if self._meets(other) else NotImplemented

    def __neg__(self) -> int | Dimension:
        return self * -1

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: int | Dimension) -> int | Dimension:
        """The exact quotient; ValueError where it does not divide for every size."""
        if not self._meets(other):
            return NotImplemented
        divisor = _terms(other)
        if len(divisor) != 1:
            raise ValueError(f"({self}) is not always divisible by ({other})")
        names, coefficient = divisor[0]
        return _normal(
            (_without(m, names, self, other), _exact(c, coefficient, self, other))
            for m, c in self.terms
        )

    def __truediv__(self, other: Any) -> Any:
        return self._no_number(other) if isinstance(other, Number | Dimension) else NotImplemented

    __rtruediv__ = __truediv__

    def _meets(self, other: Any) -> bool:
        """Whether there is a sum or product with `other`; an error where it is no whole number."""
        if type(other) is int or isinstance(other, Dimension | Integral):
            return True
        if isinstance(other, Number):
            self._no_number(other)
        return False

    def _no_number(self, other: object) -> NoReturn:
        raise DeclarationError(
            f"the size {self} is not known yet, so it is no number that {other!r:.40} could be "
            "reckoned with",
            current_origin(),
            "use // for a part of a size; extent(size) is the size as a node: x / extent(size)",
        )

    def __str__(self) -> str:
        text = ""
        for names, coefficient in self.terms:
            factors = [] if abs(coefficient) == 1 and names else [str(abs(coefficient))]
            product = "*".join(factors + list(names))
            sign = "-" if coefficient < 0 else "+"
            text += product if not text and sign == "+" else f"{sign}{product}"
        return text

    __repr__ = __str__

    @property
    def names(self) -> frozenset[str]:
        """The names that this size depends on."""
        return frozenset(name for names, _ in self.terms for name in names)


def dimension(name: str) -> Dimension:
    """The dimension called `name`; equal names are the same dimension."""
    try:
        return named(name)
    except ValueError as problem:
        raise DeclarationError(str(problem), current_origin()) from None


def named(name: str) -> Dimension:
    """The same within the package; ValueError where the name is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a dimension's name must be an identifier, not {name!r:.60}")
    return Dimension((((name,), 1),))


def substitute(size: int | Dimension, sizes: Mapping[str, int]) -> int | Dimension:
    """`size` with every name that `sizes` knows replaced by its integer."""
    if isinstance(size, int):
        return size
    total: int | Dimension = 0
    for names, coefficient in size.terms:
        product: int | Dimension = coefficient
        for name in names:
            product = product * (sizes[name] if name in sizes else named(name))
        total = total + product
    return total


def product(shape: Iterable[int | Dimension]) -> int | Dimension:
    """The number of elements of a shape; 1 for a scalar."""
    total: int | Dimension = 1
    for size in shape:
        total = total * size
    return total


def quotient(size: int | Dimension, by: int | Dimension) -> int | Dimension:
    """`size / by`, exact for every size; ValueError where it is not."""
    if size == by:
        return 1
    if isinstance(size, int):
        if not isinstance(by, int) or by == 0 or size % by:
            raise ValueError(f"{size} is not always divisible by {by}")
        return size // by
    return size // by


def _terms(size: int | Dimension) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Dimension) else (((), operator.index(size)),)


def _normal(terms: Iterable[tuple[Monomial, int]]) -> int | Dimension:
    collected: dict[Monomial, int] = {}
    for names, coefficient in terms:
        collected[names] = collected.get(names, 0) + coefficient
    kept = tuple(sorted((n, c) for n, c in collected.items() if c))
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Dimension(kept)


def _without(names: Monomial, divisor: Monomial, size: Dimension, by: object) -> Monomial:
    rest = list(names)
    for name in divisor:
        if name not in rest:
            raise ValueError(f"({size}) is not always divisible by ({by})")
        rest.remove(name)
    return tuple(rest)


def _exact(coefficient: int, divisor: int, size: Dimension, by: object) -> int:
    if divisor == 0 or coefficient % divisor:
        raise ValueError(f"({size}) is not always divisible by ({by})")
    return coefficient // divisor
