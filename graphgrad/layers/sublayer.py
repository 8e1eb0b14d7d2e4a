"""Declares normalisation, dropout and the residual connection around a part of a layer."""

from __future__ import annotations

from collections.abc import Callable

from graphgrad.errors import DeclarationError
from graphgrad.graph import Node
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.layers.basic import Randomness, dropout
from graphgrad.ops import add

Norm = Callable[[Node, str], Node]
"""Declares a normalisation of a node in a scope: `layer_norm`, `rms_norm`."""
PLACEMENTS = ("pre", "post")


@declares
def sublayer(
    x: Node,
    name: str,
    function: Callable[[Node], Node],
    norm: Norm,
    placement: str = "pre",
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """A residual connection around `function`, with `norm` before it or behind the sum.

    "post" is norm(x + F(x)), as in the Transformer (Vaswani et al. 2017, section 3.1) and BERT.
    "pre" is x + F(norm(x)), as in GPT-2 (Xiong et al. 2020): the deltas along the residual
    connections pass no norm. F(x) = dropout(function(x)), with `rate` and `randomness` as in
    `dropout`. The shape of x does not change; the nodes are named `name_norm`, `name_dropout` and
    `name_residual`. Raises DeclarationError for another `placement`.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 4))
    >>> y = gg.layers.sublayer(x, "inner", gg.tanh, gg.layers.layer_norm, "post")
    >>> print(y)
    <inner_norm.y = add : float32[batch, 4]>
    """
    if placement not in PLACEMENTS:
        raise DeclarationError(
            f"there is no placement {placement!r} of a norm",
            current_origin(),
            f"placements: {', '.join(PLACEMENTS)}",
        )
    if placement == "pre":
        y = dropout(function(norm(x, f"{name}_norm")), rate, randomness, f"{name}_dropout")
        return add(x, y, name=f"{name}_residual")
    y = dropout(function(x), rate, randomness, f"{name}_dropout")
    return norm(add(x, y, name=f"{name}_residual"), f"{name}_norm")
