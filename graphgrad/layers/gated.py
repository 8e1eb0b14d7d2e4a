"""Declares the gated position-wise network (Shazeer 2020, "GLU Variants Improve Transformer")."""

from __future__ import annotations

from graphgrad.graph import Initial, Node, scope
from graphgrad.graph.decorators import declares
from graphgrad.layers.basic import Randomness, dense, dropout, known_width
from graphgrad.ops import multiply, silu


@declares
def gated_feed_forward(
    x: Node,
    inner: int,
    name: str = "feed_forward",
    bias: bool = False,
    initial: Initial | None = None,
    outer_initial: Initial | None = None,
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """SwiGLU: (silu(x W_gate) · x W_inner) W_outer, with silu(a) = a · sigmoid(a).

    [..., n] -> [..., inner] -> [..., n], with the parameters of the dense layers `gate`, `inner`
    and `outer` in the scope `name`; `bias` gives each of them a bias. The gate scales each element
    of the hidden layer. There are three matrices instead of two: with `inner` at ⅔ of the size in
    `feed_forward`, the number of parameters is the same. `rate` and `randomness` give dropout on
    the hidden layer. Raises DeclarationError where the size of the last axis is open. Source:
    Shazeer 2020, equation 6.

    >>> import graphgrad as gg
    >>> y = gg.layers.gated_feed_forward(gg.input("x", ("batch", 6)), 16)
    >>> print(y.type, list(gg.Graph(y).parameters))
    float32[batch, 6] ['feed_forward.gate.w', 'feed_forward.inner.w', 'feed_forward.outer.w']
    """
    with scope(name):
        gate = silu(dense(x, inner, "gate", bias, initial), name="open")
        hidden = multiply(gate, dense(x, inner, "inner", bias, initial), name="z")
        hidden = dropout(hidden, rate, randomness, "inner_dropout")
        return dense(hidden, known_width(x), "outer", bias, outer_initial)
