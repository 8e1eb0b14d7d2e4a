"""Positions that are learned (Gehring et al. 2017), and rotary ones (Su et al. 2021)."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Initial, Node, constant, iota, parameter
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.layers.basic import known_width
from graphgrad.ops import (
    cast,
    concatenate,
    cos,
    expand_dims,
    gather,
    matmul,
    multiply,
    one_hot,
    sin,
    split,
)

ROTARY_BASE = 10000.0


@declares
def learned_positions(
    length: int | Dimension,
    places: int,
    width: int,
    initial: Initial,
    dtype: object = None,
    name: str = "positions",
) -> Node:
    """The first `length` rows of a table with one learned row a place: [length, width].

    A sequence longer than the table's `places` is a DataError when the program runs.
    """
    return gather(parameter(name, (places, width), initial, dtype), iota(length))


@declares
def rotate(
    x: Node, positions: Node | None = None, base: float = ROTARY_BASE, name: str = "rotated"
) -> Node:
    """Rotary positions: [..., position, feature], each pair of features turned by an angle.

    The pair (x_i, x_{i + d/2}) of the d features at position p is turned by p / base^(2i/d). The
    product of a query turned for p and a key turned for r depends on p - r only, so attention sees
    how far apart two tokens are. `positions` [position] are the numbers p: 0, 1, 2, … by default;
    decoding that has computed the first ones before gives its own.
    """
    width = known_width(x)
    if width % 2:
        raise DeclarationError(
            f"rotary positions need an even number of features, not {width}",
            str(current_origin() or ""),
        )
    if positions is None:
        positions = iota(x.shape[-2])
    frequencies = constant([base ** (-2 * i / width) for i in range(width // 2)], x.dtype)
    angles = multiply(expand_dims(cast(positions, x.dtype), 1), frequencies, name="angles")
    cosine, sine = cos(angles), sin(angles)
    first, second = split(x, 2)
    return concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], -1, name=name
    )


@declares
def picked(x: Node, places: Node, name: str = "picked") -> Node:
    """The vectors at some places: x [batch, position, feature], places [batch, n] -> [batch, n, …].

    A product with one row a place, which is 1 there: so what is sent back is a product too.
    """
    return matmul(one_hot(places, x.shape[1], x.dtype), x, name=name)
