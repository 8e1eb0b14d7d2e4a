"""Shape rules that several operations share, and `elementwise`, which makes operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from graphgrad.graph.node import Delta, Node, Operand, Operation
from graphgrad.graph.samples import Sample
from graphgrad.graph.types import BOOL, TensorType, broadcast


def infer_elementwise(*heads: TensorType) -> TensorType:
    """The shape rule of heads that broadcast and have one dtype."""
    first = heads[0]
    for head in heads:
        if head.dtype != first.dtype:
            listed = " and ".join(sorted({str(head.dtype) for head in heads}))
            raise ValueError(
                f"dtypes {listed} do not mix; fix: cast one of them: cast(x, {str(first.dtype)!r})"
            )
    shape = broadcast([head.shape for head in heads])
    return first if first.shape == shape else TensorType(shape, first.dtype)


def infer_numbers(*heads: TensorType) -> TensorType:
    """The shape rule of heads that broadcast and are floats or integers, not truth values."""
    need_numbers(*heads)
    return infer_elementwise(*heads)


def infer_float(*heads: TensorType) -> TensorType:
    """The shape rule of heads that broadcast and are floats."""
    need_floats(*heads)
    return infer_elementwise(*heads)


def infer_comparison(*heads: TensorType) -> TensorType:
    """The shape rule of comparisons: heads broadcast, the result is bool."""
    return TensorType(infer_elementwise(*heads).shape, BOOL)


def infer_logical(*heads: TensorType) -> TensorType:
    """The shape rule of logic: heads broadcast, heads and result are bool."""
    for head in heads:
        if head.dtype != BOOL:
            raise ValueError(
                f"needs bool, not {head.dtype}; fix: compare first, each in its own parentheses: "
                "(x > 0) & (x < 1)"
            )
    return infer_elementwise(*heads)


def need_floats(*heads: TensorType) -> None:
    """Raises ValueError unless all heads are floats."""
    for head in heads:
        if not head.is_float:
            raise ValueError(f"needs floats, not {head.dtype}; fix: cast(x, 'float32')")


def need_numbers(*heads: TensorType) -> None:
    """Raises ValueError if a head holds truth values."""
    for head in heads:
        if head.dtype == BOOL:
            raise ValueError(
                "needs numbers, not bool; fix: cast(mask, 'float32'), or where(mask, a, b)"
            )


def need_integers(head: TensorType) -> None:
    """Raises ValueError unless the head holds integers."""
    if head.dtype.kind != "i":
        raise ValueError(f"indices must be integers, not {head.dtype}; fix: cast(x, 'int32')")


class Unary(Operation):
    """An operation on one node: `tanh(x)`."""

    if TYPE_CHECKING:

        def __call__(self, x: Operand, /, *, name: str | None = None) -> Node: ...


class Binary(Operation):
    """An operation on two nodes: `add(x1, x2)`."""

    if TYPE_CHECKING:

        def __call__(self, x1: Operand, x2: Operand, /, *, name: str | None = None) -> Node: ...


class Ternary(Operation):
    """An operation on three nodes: `where(x1, x2, x3)`."""

    if TYPE_CHECKING:

        def __call__(
            self, x1: Operand, x2: Operand, x3: Operand, /, *, name: str | None = None
        ) -> Node: ...


_BY_ARITY: Mapping[int, type[Operation]] = {1: Unary, 2: Binary, 3: Ternary}


class Block(TypedDict, total=False):
    """The keywords of `elementwise` without the arity."""

    ufunc: str
    compute: Callable[..., object] | None
    infer: Callable[..., TensorType]
    delta: Delta | None
    delta_formula: str
    samples: tuple[Sample, ...]
    in_place: bool
    commutative: bool
    scratch: Callable[..., tuple[TensorType, ...]] | None


def _computed_by(ufunc: str) -> Callable[..., object]:
    """The computation by the ufunc of this name."""

    def compute(xp: Any, out: Any, *heads: Any) -> None:
        getattr(xp, ufunc)(*heads, out=out)

    return compute


@overload
def elementwise(
    name: str, formula: str, kernel: str, *, arity: Literal[1] = 1, **block: Unpack[Block]
) -> Unary: ...
@overload
def elementwise(
    name: str, formula: str, kernel: str, *, arity: Literal[2], **block: Unpack[Block]
) -> Binary: ...
@overload
def elementwise(
    name: str, formula: str, kernel: str, *, arity: Literal[3], **block: Unpack[Block]
) -> Ternary: ...
@overload
def elementwise(
    name: str, formula: str, kernel: str, *, arity: int, **block: Unpack[Block]
) -> Operation: ...
def elementwise(
    name: str,
    formula: str,
    kernel: str,
    *,
    ufunc: str = "",
    compute: Callable[..., object] | None = None,
    infer: Callable[..., TensorType] = infer_float,
    delta: Delta | None = None,
    delta_formula: str = "",
    samples: tuple[Sample, ...] = (),
    arity: int = 1,
    in_place: bool = True,
    commutative: bool = False,
    scratch: Callable[..., tuple[TensorType, ...]] | None = None,
) -> Operation:
    """An operation on each element of its heads, which broadcast to each other.

    - `name`, `formula` (text), and `kernel`: the value of one element as an expression of `{0}`,
      `{1}`, … in the loop language; empty if only `compute` computes it.
    - `ufunc`, or `compute(xp, out, *heads)`: the name of NumPy's ufunc, or a function that writes
      the result into `out`, for any array module `xp` that follows NumPy.
    - `infer`: the shape rule; by default all heads are floats of one dtype.
    - `delta(delta, y, *heads)`, `delta_formula`: the contribution to each head, a node or None.
    - The other arguments are those of `Operation`.

    >>> softsign = gg.elementwise(
    ...     "softsign", "x / (1 + |x|)", "{0} / (1 + abs({0}))",
    ...     compute=lambda xp, out, x: xp.divide(x, 1 + xp.absolute(x), out=out),
    ...     delta=lambda delta, y, x: (delta / (1.0 + abs(x)) ** 2.0,),
    ... )
    >>> gg.compile(gg.Graph({"y": softsign(gg.input("x", 2))}))(x=[1, -3])["y"]
    array([ 0.5 , -0.75], dtype=float32)
    """
    return _BY_ARITY.get(arity, Operation)(
        name=name,
        formula=formula,
        kernel=kernel,
        ufunc=ufunc,
        infer=infer,
        delta=delta,
        compute=compute or _computed_by(ufunc),
        delta_formula=delta_formula,
        samples=samples,
        arity=arity,
        in_place=in_place,
        commutative=commutative,
        scratch=scratch,
    )
