"""Operations and delta rules of a user's own.

A function of each element is one `elementwise` block, as graphgrad's own elementwise operations:

    softsign = gg.elementwise(
        "softsign", "x / (1 + |x|)", "{0} / (1 + abs({0}))",
        compute=lambda xp, out, x: xp.divide(x, 1 + xp.absolute(x), out=out),
        delta=lambda delta, y, x: (delta / (1.0 + abs(x)) ** 2.0,),
        delta_formula="δ / (1 + |x|)²",
    )

The first three arguments are the name, the formula for people, and the value of one element in the
loop language, from which kernels are made (empty: only `compute` computes it). `compute` writes
into `out`, for any array module `xp` that follows NumPy. `delta` returns one contribution per head,
as nodes, so there are second derivatives, too. Such an operation is derived, checked by finite
differences (`graphgrad check`), drawn and explained like any other.

Other operations are an `Operation`: the same block with a shape rule, which returns the
`TensorType` of the result from the types of the heads, or raises ValueError with the reason:

    def infer(x):
        if len(x.shape) != 2:
            raise ValueError(f"needs a matrix, not {x}")
        return gg.TensorType((x.shape[0],), x.dtype)

    def compute(xp, out, x):
        out[...] = xp.cumsum(x, axis=1)[:, -1]

    row_sum = gg.Operation(
        "row_sum", infer, "Σ of each row", compute, arity=1,
        delta=lambda delta, y, x: (gg.broadcast_to(delta[:, None], x.shape),),
    )

Keyword arguments of a call are the attributes of the node: each function gets them as keywords
after the heads (`infer(x, axis)`), and a delta rule finds them in `y.attributes`. They are numbers,
texts and tuples of them.

`with_delta` keeps the value of a node and replaces its delta rule:

    y = gg.with_delta(gg.sign(x), (x,), lambda delta, y, x: (delta,))     # straight-through
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphgrad.graph.decorators import with_example
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.types import TensorType


class ReplacedDelta(Operation):
    """The operation of one call of `with_delta`: its value is that of its first head."""


def _infer(value: TensorType, *heads: TensorType) -> TensorType:
    return value


def _compute(xp: Any, out: Any, value: Any, *heads: Any) -> None:
    xp.copyto(out, value)


@with_example("gg.with_delta(gg.sign(x), (x,), lambda delta, y, x: (delta,))", "float32[3, 4]")
def with_delta(
    value: Node,
    heads: Sequence[Node],
    rule: Callable[..., Sequence[Node | None]],
    name: str | None = None,
) -> Node:
    """`value` with another delta rule: its contributions go to `heads` by `rule(delta, y, *heads)`.

    The rule returns one contribution for each head, as a node of the head's shape, or None for no
    contribution. The delta does not flow through the operations that compute `value`.
    """

    if isinstance(heads, Node):
        raise ValueError("the heads are several nodes; fix: write (x,)")

    def delta_rule(delta: Node, y: Node, _: Node, *given: Node) -> Any:
        sent = rule(delta, y, *given)
        return (None, *sent) if isinstance(sent, tuple | list) else sent

    operation = ReplacedDelta(
        "with_delta",
        _infer,
        "x₁",
        _compute,
        delta=delta_rule,
        delta_formula="by a rule of the user's",
        view=lambda value, *heads: value,
    )
    return operation(value, *heads, name=name)
