"""Embeddings and positions (Vaswani et al. 2017, sections 3.4 and 3.5)."""

from __future__ import annotations

import math

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Node, constant, iota, normal, parameter
from graphgrad.graph.front import front
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import float_dtype
from graphgrad.layers.basic import known_width
from graphgrad.ops import cast, concatenate, cos, expand_dims, gather, multiply, reshape, sin


@front
def embedding_table(
    vocabulary: int, width: int, dtype: object = None, name: str = "embedding"
) -> Node:
    """One row a token, drawn from N(0, 1/width).

    With the factor √width of `embed` a token's elements then have variance 1, as large as those of
    the positions; drawn from N(0, 1) they would drown them.
    """
    return parameter(name, (vocabulary, width), normal(width**-0.5), dtype)


@front
def embed(ids: Node, table: Node, name: str = "embedded") -> Node:
    """The rows of the table for the ids, times √width: [...] -> [..., width]."""
    return multiply(gather(table, ids), math.sqrt(known_width(table)), name=name)


@front
def sinusoidal_positions(
    length: int | Dimension, width: int, dtype: object = None, name: str = "positions"
) -> Node:
    """sin(p / 10000^(2i/width)) in even and cos in odd columns: [length, width]."""
    if width % 2:
        raise DeclarationError(f"positions need an even width, not {width}", current_origin())
    dtype = float_dtype(dtype)
    frequencies = [10000.0 ** (-2 * i / width) for i in range(width // 2)]
    position = expand_dims(cast(iota(length), dtype), 1)
    angles = position * constant(frequencies, dtype)
    pairs = concatenate([expand_dims(sin(angles), 2), expand_dims(cos(angles), 2)], 2)
    return reshape(pairs, (length, width), name=name)
