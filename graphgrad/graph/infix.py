"""What Python's operators mean between nodes, and what they must not mean.

`+`, `@`, `<`, `&`, `x[…]` declare operations. Two things look like mathematics and cannot be:

- `==` and `!=`. Hash-consing, dictionaries and `in` ask whether two nodes are the same node, which
  is a question about the graph, not about values; a node in the place of the answer would break all
  of them. So between nodes the answer is a `Sameness`: true or false for Python, and refused by
  everything that declares, so that it is never taken for a mask. Between a node and a number or an
  array there is nothing to ask, and the comparison raises; lists and tuples, which may be keys
  beside nodes, are other things than the node. Values are compared by `equal` and `not_equal`.
- The truth of a node, which `if`, `and`, `or`, `not` and chains such as `0 < x < 1` ask for.

NumPy asks an operand what a ufunc or a function means before it looks inside. Arrays on the left of
an operator thus mean the operation; everything else of NumPy's is refused by its name, since it
would make an array of Python objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.scope import current_origin

OPERATORS: dict[str, Callable[..., Any]] = {}
"""The public operations by name, `add` and `matmul` among them; filled once by `graphgrad.ops`,
which stands above."""

_UFUNCS = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "power": "power",
    "matmul": "matmul",
    "less": "less",
    "less_equal": "less_equal",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
}
"""The ufuncs that NumPy calls for an operator, and the operation that the operator means."""

_SWAPPED = {"greater": "less", "greater_equal": "less_equal"}

_VALUES = (int, float, complex, np.ndarray, np.generic, Dimension)

_HOLDERS = (list, tuple)
"""May be keys or entries beside nodes, so that comparing with them must be possible."""


class Sameness:
    """Whether two nodes are one: the answer of `a == b` and `a != b`. It has a truth value, and
    declares nothing."""

    __slots__ = ("_answer",)

    def __init__(self, answer: bool) -> None:
        self._answer = answer

    def __bool__(self) -> bool:
        return self._answer

    def __repr__(self) -> str:
        return f"<{self._answer}: whether two nodes are the same node>"

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Every use but as a truth value."""
        raise DeclarationError(
            "== and != of two nodes say whether they are the same node; they compare no values",
            current_origin(),
            "write equal(a, b) or not_equal(a, b) for a mask, and where(mask, a, 0.0) to use it",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = refuse
    __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __and__ = __rand__ = refuse
    __or__ = __ror__ = __xor__ = __rxor__ = __neg__ = __invert__ = __getitem__ = refuse
    __float__ = __int__ = __index__ = __array__ = __array_ufunc__ = refuse


_SAME, _OTHER = Sameness(True), Sameness(False)


class Infix:
    """The operators of a node; `Node` is what has them."""

    __slots__ = ()

    def __add__(self, other: Any) -> Self:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Any) -> Self:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Any) -> Self:
        return OPERATORS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Self:
        return OPERATORS["subtract"](other, self)

    def __mul__(self, other: Any) -> Self:
        return OPERATORS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Self:
        return OPERATORS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Self:
        return OPERATORS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return OPERATORS["divide"](other, self)

    def __pow__(self, other: Any) -> Self:
        return OPERATORS["power"](self, other)

    def __rpow__(self, other: Any) -> Self:
        return OPERATORS["power"](other, self)

    def __matmul__(self, other: Any) -> Self:
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return OPERATORS["matmul"](other, self)

    def __and__(self, other: Any) -> Self:
        return OPERATORS["logical_and"](self, other)

    def __rand__(self, other: Any) -> Self:
        return OPERATORS["logical_and"](other, self)

    def __or__(self, other: Any) -> Self:
        return OPERATORS["logical_or"](self, other)

    def __ror__(self, other: Any) -> Self:
        return OPERATORS["logical_or"](other, self)

    def __invert__(self) -> Self:
        return OPERATORS["logical_not"](self)

    def __pos__(self) -> Any:
        return self

    def __neg__(self) -> Self:
        return OPERATORS["negative"](self)

    def __abs__(self) -> Self:
        return OPERATORS["absolute"](self)

    def __lt__(self, other: Any) -> Self:
        return OPERATORS["less"](self, other)

    def __le__(self, other: Any) -> Self:
        return OPERATORS["less_equal"](self, other)

    def __gt__(self, other: Any) -> Self:
        return OPERATORS["less"](other, self)

    def __ge__(self, other: Any) -> Self:
        return OPERATORS["less_equal"](other, self)

    def __getitem__(self, key: Any) -> Self:
        return OPERATORS["slice"](self, key)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Infix):
            return _SAME if self is other else _OTHER
        return _OTHER if isinstance(other, _HOLDERS) else self._compared(other, "==", "equal")

    def __ne__(self, other: object) -> Any:
        if isinstance(other, Infix):
            return _OTHER if self is other else _SAME
        return _SAME if isinstance(other, _HOLDERS) else self._compared(other, "!=", "not_equal")

    __hash__ = object.__hash__

    def _compared(self, other: object, sign: str, operation: str) -> Any:
        if isinstance(other, _VALUES):
            raise DeclarationError(
                f"{self!r} {sign} {other!r:.40} compares no values: {sign} between nodes says "
                "whether they are the same node",
                current_origin(),
                f"write {operation}(x, value) for a mask, and where(mask, a, 0.0) to use it",
            )
        return NotImplemented

    def __bool__(self) -> bool:
        raise DeclarationError(
            f"{self!r} has no truth value: its value is not known while the graph is declared",
            current_origin(),
            "use where(condition, a, b) for a choice that depends on a value; write (0 < x) & "
            "(x < 1) for 0 < x < 1, and &, |, ~ for and, or, not",
        )

    def _unknown(self, *_: Any, **__: Any) -> NoReturn:
        raise DeclarationError(
            f"{self!r} has no value while the graph is declared",
            current_origin(),
            "compute with graphgrad's operations; compile(graph)(…) gives values as arrays",
        )

    __float__ = __int__ = __complex__ = __array__ = _unknown

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **keywords: Any) -> Any:
        name = ufunc.__name__
        if method == "__call__" and not keywords and len(operands) == 2:
            if name in _UFUNCS:
                return OPERATORS[_UFUNCS[name]](*operands)
            if name in _SWAPPED:
                return OPERATORS[_SWAPPED[name]](*operands[::-1])
        raise _numpys(name if method == "__call__" else f"{name}.{method}", keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> NoReturn:
        raise _numpys(function.__name__, keywords)

    __iter__ = None  # a node is not a sequence; without this, __getitem__ would loop for ever


def _numpys(name: str, keywords: Any) -> DeclarationError:
    """What is said where a function of NumPy's is called with a node."""
    own = {"amax": "max", "amin": "min", "abs": "absolute", "negative": "negative"}.get(name, name)
    fix = "compute with graphgrad's operations"
    if keywords.get("out") is not None:
        fix = "a node is no memory to write into or from: write a = a * x, not a *= x"
    elif own in OPERATORS:
        fix = f"write gg.{own}(…)"
    return DeclarationError(
        f"numpy.{name} computes arrays, and a node is none", current_origin(), fix
    )
