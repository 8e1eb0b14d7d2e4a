"""The frame of every part of a Transformer's layer: normalisation, dropout, residual connection."""

from __future__ import annotations

from collections.abc import Callable

from graphgrad.graph import Node
from graphgrad.layers.basic import Randomness, dropout
from graphgrad.ops import add

Norm = Callable[[Node, str], Node]


def sublayer(
    x: Node,
    name: str,
    function: Callable[[Node], Node],
    norm: Norm,
    placement: str = "pre",
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """A residual connection around `function`, with `norm` where `placement` says.

    post: norm(x + F(x)), as "Attention Is All You Need" and BERT; pre: x + F(norm(x)), as GPT-2, in
    which what flows back along the residual connections passes no norm.
    """
    if placement == "pre":
        y = dropout(function(norm(x, f"{name}_norm")), rate, randomness, f"{name}_dropout")
        return add(x, y, name=f"{name}_residual")
    y = dropout(function(x), rate, randomness, f"{name}_dropout")
    return norm(add(x, y, name=f"{name}_residual"), f"{name}_norm")
