"""The gated position-wise network (Shazeer 2020, "GLU Variants Improve Transformer")."""

from __future__ import annotations

from graphgrad.graph import Initial, Node, scope
from graphgrad.graph.decorators import declares
from graphgrad.layers.basic import dense, known_width
from graphgrad.ops import multiply, silu


@declares
def gated_feed_forward(
    x: Node,
    inner: int,
    name: str = "feed_forward",
    bias: bool = False,
    initial: Initial | None = None,
    outer_initial: Initial | None = None,
) -> Node:
    """SwiGLU: (silu(x W_gate) · x W_inner) W_outer, with silu(a) = a · sigmoid(a).

    One half of the hidden layer says how much of the other passes. Three matrices instead of two:
    with `inner` at ⅔ of what `feed_forward` has, it has as many parameters.
    """
    with scope(name):
        gate = silu(dense(x, inner, "gate", bias, initial), name="open")
        hidden = multiply(gate, dense(x, inner, "inner", bias, initial), name="z")
        return dense(hidden, known_width(x), "outer", bias, outer_initial)
