"""A user's own operations and delta rules.

A function of each element is one `elementwise` block; what it says is all that graphgrad knows of
it, and what all its own operations are made of:

    softsign = gg.elementwise(
        "softsign", "x / (1 + |x|)", "{0} / (1 + abs({0}))",
        compute=lambda xp, out, x: xp.divide(x, 1 + xp.absolute(x), out=out),
        delta=lambda delta, y, x: (delta / (1.0 + abs(x)) ** 2.0,),
        delta_formula="δ / (1 + |x|)²",
    )

The first three are its name, its formula for people, and the value of one element in the loop
language, of which kernels are made (empty text: it is computed by `compute` only). `compute`
writes into `out`, for any module of arrays `xp` that follows NumPy. `delta` gives one contribution
for each head, as nodes, so second derivatives come of it too. Such an operation is derived, checked
by finite differences (`graphgrad check`), drawn and explained like any other.

What is not elementwise is an `Operation`: the same block with a shape rule, which gives the
`TensorType` of the result from those of the heads, and raises ValueError with the reason where
there is none:

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

Keyword arguments of a call are its attributes: each function takes them by keyword, after the
heads (`infer(x, axis)`), and a delta rule finds them in `y.attributes`. They are numbers, texts and
tuples of them.

Where only the delta is to be another one, `with_delta` keeps a value as it was declared and
replaces what it sends back:

    y = gg.with_delta(gg.sign(x), (x,), lambda delta, y, x: (delta,))     # straight-through
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphgrad.graph.front import with_example
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.types import TensorType


class ReplacedDelta(Operation):
    """The operation of one call of `with_delta`: its value is its first head."""


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
    """`value`, whose delta goes to `heads` by `rule(delta, y, *heads)` and not the way it was made.

    The rule gives one contribution for each head, as nodes, or None for no delta.
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
