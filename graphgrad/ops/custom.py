"""A user's own operations and delta rules.

A new operation is an `Operation` with its own block, as in this folder. Where only the delta is to
be another one, `with_delta` keeps a value as it was declared and replaces what it sends back:

    y = with_delta(round(x), (x,), lambda delta, y, x: (delta,))     # straight-through
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphgrad.graph.front import front_of
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.types import TensorType


def _infer(value: TensorType, *heads: TensorType) -> TensorType:
    return value


def _compute(xp: Any, out: Any, value: Any, *heads: Any) -> None:
    xp.copyto(out, value)


@front_of(None, "gg.with_delta(gg.sign(x), (x,), lambda delta, y, x: (delta,))", "float32[3, 4]")
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

    operation = Operation(
        "with_delta", _infer, "x₁", _compute,
        delta=delta_rule, delta_formula="by a rule of the user's", view=lambda value, *heads: value,
    )  # fmt: skip
    return operation(value, *heads, name=name)
