"""What kernels call for single numbers, as LLVM's own instructions.

Choices without a branch, and sums and maxima whose order LLVM may change so that they vectorise.
They are intrinsics and not compiled functions because Numba spends some 50 milliseconds on every
function that it compiles or inlines, and next to nothing on an instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

REORDERED = ("reassoc", "nsz")
"""A sum may be taken in any order; NaN and infinity keep their meaning."""
ORDERED_NUMBERS = ("nnan", "nsz", "reassoc")
"""For the largest of a row: NaN may be lost; e^(NaN - largest) brings it back."""


def _alike(a: Any, b: Any) -> None:
    if a != b:
        raise NumbaTypeError(f"the operands have different types: {a} and {b}")


def _compare(builder: Any, kind: Any, relation: str, a: Any, b: Any) -> Any:
    if isinstance(kind, types.Float):
        return builder.fcmp_ordered(relation, a, b)
    return builder.icmp_signed(relation, a, b)


def _where(context: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    _alike(a, b)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return a(types.boolean, a, b), generate


def _extreme(relation: str) -> Callable[..., Any]:
    """NumPy's maximum or minimum: NaN where either is."""

    def typed(context: Any, a: Any, b: Any) -> Any:
        _alike(a, b)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            first, second = values
            chosen = _compare(builder, a, relation, first, second)
            if isinstance(a, types.Float):
                chosen = builder.or_(chosen, builder.fcmp_unordered("uno", first, first))
            return builder.select(chosen, first, second)

        return a(a, b), generate

    return typed


def _extreme_of_row(relation: str) -> Callable[..., Any]:
    """A step of the largest or smallest of a row."""

    def typed(context: Any, a: Any, b: Any) -> Any:
        _alike(a, b)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            first, second = values
            if not isinstance(a, types.Float):
                return builder.select(_compare(builder, a, relation, first, second), first, second)
            chosen = builder.fcmp_ordered(relation, first, second, flags=ORDERED_NUMBERS)
            return builder.select(chosen, first, second, flags=ORDERED_NUMBERS)

        return a(a, b), generate

    return typed


def _plus(context: Any, a: Any, b: Any) -> Any:
    """A step of a sum."""
    _alike(a, b)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if isinstance(a, types.Float):
            return builder.fadd(*values, flags=REORDERED)
        return builder.add(*values)

    return a(a, b), generate


def _maximum(context: Any, a: Any, b: Any) -> Any:
    """NumPy's maximum: NaN where either is."""
    return _extreme(">")(context, a, b)


def _minimum(context: Any, a: Any, b: Any) -> Any:
    """NumPy's minimum: NaN where either is."""
    return _extreme("<")(context, a, b)


def _larger(context: Any, a: Any, b: Any) -> Any:
    """The larger of two numbers that are no NaN."""
    return _extreme_of_row(">")(context, a, b)


def _smaller(context: Any, a: Any, b: Any) -> Any:
    """The smaller of two numbers that are no NaN."""
    return _extreme_of_row("<")(context, a, b)


where: Any = intrinsic(_where)
plus: Any = intrinsic(_plus)
maximum: Any = intrinsic(_maximum)
minimum: Any = intrinsic(_minimum)
larger: Any = intrinsic(_larger)
smaller: Any = intrinsic(_smaller)
