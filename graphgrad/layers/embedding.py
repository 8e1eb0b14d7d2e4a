"""Token embeddings and positions (Vaswani et al. 2017, sections 3.4 and 3.5)."""

from __future__ import annotations

import math

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Node, constant, iota, normal, parameter
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import float_dtype
from graphgrad.layers.basic import known_width
from graphgrad.ops import cast, concatenate, cos, expand_dims, gather, multiply, reshape, sin


@declares
def embedding_table(
    vocabulary: int,
    width: int,
    dtype: object = None,
    name: str = "embedding",
    padding: int | None = None,
) -> Node:
    """A parameter [vocabulary, width] with one row per token, drawn from N(0, 1/width).

    After the factor √width of `embed` the elements of a token have variance 1, of the same size as
    those of the positions. (Drawn from N(0, 1) they would be √width times as large.) The row of the
    token `padding`, if there is one, starts at 0.

    >>> import graphgrad as gg
    >>> print(gg.layers.embedding_table(100, 16).type)
    float32[100, 16]
    """
    return parameter(name, (vocabulary, width), normal(width**-0.5, padding), dtype)


@declares
def embed(ids: Node, table: Node, name: str = "embedded") -> Node:
    """The rows of the table for the ids, times √width: [...] -> [..., width].

    `ids` are whole numbers from 0; an id outside the table raises DataError when the program runs.

    >>> import graphgrad as gg
    >>> table = gg.constant([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]], "float32")
    >>> y = gg.layers.embed(gg.input("ids", ("position",), "int32"), table)
    >>> gg.compile(gg.Graph({"y": y}))({}, ids=[1, 0])["y"]
    array([[0., 4., 0., 0.],
           [2., 0., 0., 0.]], dtype=float32)
    """
    return multiply(gather(table, ids), math.sqrt(known_width(table)), name=name)


@declares
def sinusoidal_positions(
    length: int | Dimension, width: int, dtype: object = None, name: str = "positions"
) -> Node:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns: [length, width].

    `length` is a number or an open size (`x.shape[1]`). Raises DeclarationError for an odd width.

    >>> import graphgrad as gg
    >>> positions = gg.layers.sinusoidal_positions(2, 4)
    >>> gg.compile(gg.Graph({"p": positions}))({})["p"].round(2)
    array([[0.  , 1.  , 0.  , 1.  ],
           [0.84, 0.54, 0.01, 1.  ]], dtype=float32)
    """
    if width % 2:
        raise DeclarationError(f"positions need an even width, not {width}", current_origin())
    dtype = float_dtype(dtype)
    frequencies = [10000.0 ** (-2 * i / width) for i in range(width // 2)]
    position = expand_dims(cast(iota(length), dtype), 1)
    angles = position * constant(frequencies, dtype)
    pairs = concatenate([expand_dims(sin(angles), 2), expand_dims(cos(angles), 2)], 2)
    return reshape(pairs, (length, width), name=name)
