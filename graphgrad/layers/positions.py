"""Declares learned positions (Gehring et al. 2017) and rotary positions (Su et al. 2021)."""

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
    length: int | Dimension | Node,
    positions: int,
    width: int,
    initial: Initial,
    dtype: object = None,
    name: str = "positions",
) -> Node:
    """The first `length` rows of a table with one learned row for each position: [length, width].

    The table is the parameter `name` [positions, width], drawn from `initial`. `length` is a number
    or an open size (`x.shape[1]`); one above `positions` raises DataError when the program runs. In
    decoding, a node with the positions of the new tokens takes its place: [..., width].
    Source: Gehring et al. 2017, section 3.1.

    >>> import graphgrad as gg
    >>> ids = gg.input("ids", ("batch", "position"), "int32")
    >>> print(gg.layers.learned_positions(ids.shape[1], 64, 8, gg.normal(0.02)).type)
    float32[position, 8]
    """
    places = length if isinstance(length, Node) else iota(length)
    return gather(parameter(name, (positions, width), initial, dtype), places)


@declares
def rotate(
    x: Node, positions: Node | None = None, base: float = ROTARY_BASE, name: str = "rotated"
) -> Node:
    """Rotary positions: rotates each pair of features of x [..., position, feature] by an angle.

    The pair (x_i, x_{i + d/2}) of the d features at position p is rotated by p / base^(2i/d). The
    product of a query rotated for p and a key rotated for r depends only on p - r, so attention
    depends on the distance of two tokens. `positions` are the numbers p, [position] or with axes of
    the batch before it: 0, 1, 2, … by default; in decoding, those of the new tokens. Raises
    DeclarationError for an odd number of features. Source: Su et al. 2021, equation 34, in the
    pairing of GPT-NeoX.

    >>> import graphgrad as gg
    >>> y = gg.layers.rotate(gg.input("x", ("position", 2)))
    >>> gg.compile(gg.Graph({"y": y}))({}, x=[[1.0, 0.0], [1.0, 0.0]])["y"].round(2)
    array([[1.  , 0.  ],
           [0.54, 0.84]], dtype=float32)
    """
    width = known_width(x)
    if width % 2:
        raise DeclarationError(
            f"rotary positions need an even number of features, not {width}",
            current_origin(),
        )
    if positions is None:
        positions = iota(x.shape[-2])
    frequencies = constant([base ** (-2 * i / width) for i in range(width // 2)], x.dtype)
    angles = multiply(expand_dims(cast(positions, x.dtype), -1), frequencies, name="angles")
    cosine, sine = cos(angles), sin(angles)
    first, second = split(x, 2)
    return concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], -1, name=name
    )


@declares
def picked(x: Node, places: Node, name: str = "picked") -> Node:
    """The vectors at chosen positions: [batch, position, feature] -> [batch, n, feature].

    `places` [batch, n] are whole numbers, the positions of each example; outside of x the result is
    a vector of zeros. It is computed as a product with one-hot rows, so that its delta is a
    product, too.

    >>> import graphgrad as gg
    >>> x, places = gg.input("x", (1, 3, 2)), gg.input("places", (1, 2), "int32")
    >>> y = gg.layers.picked(x, places)
    >>> feeds = {"x": [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]], "places": [[2, 0]]}
    >>> gg.compile(gg.Graph({"y": y}))({}, **feeds)["y"]
    array([[[5., 6.],
            [1., 2.]]], dtype=float32)
    """
    return matmul(one_hot(places, x.shape[1], x.dtype), x, name=name)
