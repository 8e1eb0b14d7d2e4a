"""Dimensions: named sizes, and sums and products of them.

A graph is declared once for all sizes: `batch`, `source` and `target` are names, and a shape such
as `(batch * target, 512)` is exact arithmetic on them. A `Dimension` is a polynomial with integer
coefficients in normal form, so equal dimensions compare equal however they were computed. A
polynomial without names is a plain `int`: a size is known if `isinstance(size, int)`.

A named size is assumed not to broadcast: `(batch, 3)` meets `(1, 3)` but never `(5, 3)`. A named
size gets its value when the program is specialised.
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
    """A size that is not known yet: a polynomial of names with integer coefficients.

    `terms` are pairs of a product of names and its coefficient. Sums, differences, products and
    exact quotients (`//`) with integers and other dimensions are dimensions again, or integers. A
    quotient that is not exact for all sizes raises ValueError, other arithmetic DeclarationError.

    >>> batch, target = gg.dimension("batch"), gg.dimension("target")
    >>> 2 * batch * target // batch
    2*target
    """

    terms: tuple[tuple[Monomial, int], ...]

    __array_ufunc__ = None  # NumPy's integers leave the arithmetic to the dimension

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
        """The exact quotient; raises ValueError if it is not exact for all sizes."""
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
        """Whether `other` can be added or multiplied; raises an error for other numbers."""
        if type(other) is int or isinstance(other, Dimension | Integral):
            return True
        if isinstance(other, Number):
            self._no_number(other)
        return False

    def _no_number(self, other: object) -> NoReturn:
        raise DeclarationError(
            f"the size {self} is not known yet, so it cannot be combined with {other!r:.40}",
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
    """The dimension called `name`; equal names are the same dimension.

    Raises DeclarationError if the name is not an identifier.

    >>> gg.dimension("batch") + 1
    1+batch
    """
    try:
        return named(name)
    except ValueError as problem:
        raise DeclarationError(str(problem), current_origin()) from None


def named(name: str) -> Dimension:
    """The dimension called `name`; raises ValueError if the name is not an identifier."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a dimension's name must be an identifier, not {name!r:.60}")
    return Dimension((((name,), 1),))


def substitute(size: int | Dimension, sizes: Mapping[str, int]) -> int | Dimension:
    """`size` with every name that is in `sizes` replaced by its integer."""
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
    """`size / by`; raises ValueError if it is not exact for all sizes."""
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
