"""Defines Python's operators on nodes, and rejects those that cannot have a meaning.

`+`, `@`, `<`, `&`, `x[…]` declare operations. Two kinds of expression cannot:

- `==` and `!=`. Hash-consing, dictionaries and `in` need to know whether two nodes are the same
  node, and would break if the result were a node. So the comparison of two nodes gives a
  `Sameness`: true or false for Python, and rejected wherever a node is expected, so that it is not
  mistaken for a mask. The comparison of a node with a number or an array raises an error; lists and
  tuples, which may be keys beside nodes, are unequal to a node. `equal` and `not_equal` compare
  values.
- The truth value of a node, which `if`, `and`, `or`, `not` and chains such as `0 < x < 1` need.

NumPy lets an operand define the result of a ufunc or a function. So an array on the left of an
operator declares the operation; all other functions of NumPy are rejected by name, since they would
make an array of Python objects.
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
which is imported after this module."""

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
"""The ufunc that NumPy calls for each operator, and the operation of that operator."""

_SWAPPED = {"greater": "less", "greater_equal": "less_equal"}

_VALUES = (int, float, complex, np.ndarray, np.generic, Dimension)

_HOLDERS = (list, tuple)
"""Types that may be keys or entries beside nodes, so nodes must be comparable with them."""


class Sameness:
    """Whether two nodes are the same: the result of `a == b` and `a != b`. It has a truth value and
    cannot be used as a node."""

    __slots__ = ("_answer",)

    def __init__(self, answer: bool) -> None:
        self._answer = answer

    def __bool__(self) -> bool:
        return self._answer

    def __repr__(self) -> str:
        return f"<{self._answer}: whether two nodes are the same node>"

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raises the error for every use other than as a truth value."""
        raise DeclarationError(
            "== and != of two nodes say whether they are the same node; they do not compare values",
            current_origin(),
            "write equal(a, b) or not_equal(a, b) for a mask, and where(mask, a, 0.0) to use it",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = refuse
    __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __and__ = __rand__ = refuse
    __or__ = __ror__ = __xor__ = __rxor__ = __neg__ = __invert__ = __getitem__ = refuse
    __float__ = __int__ = __index__ = __array__ = __array_ufunc__ = refuse


_SAME, _OTHER = Sameness(True), Sameness(False)


class Infix:
    """The operators of a node; a base class of `Node`."""

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
                f"{self!r} {sign} {other!r:.40} does not compare values: {sign} between nodes says "
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
        raise _numpy_error(name if method == "__call__" else f"{name}.{method}", keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> NoReturn:
        raise _numpy_error(function.__name__, keywords)

    __iter__ = None  # a node is not a sequence; without this, __getitem__ would loop for ever


def _numpy_error(name: str, keywords: Any) -> DeclarationError:
    """The error for a call of NumPy's function `name` on a node."""
    own = {"amax": "max", "amin": "min", "abs": "absolute", "negative": "negative"}.get(name, name)
    fix = "compute with graphgrad's operations"
    if keywords.get("out") is not None:
        fix = "a node is not memory to write into: write a = a * x, not a *= x"
    elif own in OPERATORS:
        fix = f"write gg.{own}(…)"
    return DeclarationError(
        f"numpy.{name} computes arrays; a node is not an array", current_origin(), fix
    )
