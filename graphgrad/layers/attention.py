"""Attention: a lookup in a key–value store by likeness (lecture; Vaswani et al. 2017, section 3.2).

    score(q, k) = q · k        α = softmax over the keys        o = Σ α v

Shapes: queries [batch, query, feature], keys and values [batch, key, feature]; inside, heads stand
before positions: [batch, head, query, key]. A mask is boolean, True where a query may look.
"""

from __future__ import annotations

import math

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Node, iota, scope
from graphgrad.graph.front import front
from graphgrad.graph.scope import current_origin
from graphgrad.layers.basic import dense, known_width
from graphgrad.layers.cache import Memory
from graphgrad.ops import (
    expand_dims,
    less_equal,
    matmul,
    multiply,
    not_equal,
    reshape,
    softmax,
    transpose,
    where,
)


@front
def attention(
    query: Node, key: Node, value: Node, mask: Node | None = None, scaled: bool = True
) -> Node:
    """softmax(Q Kᵀ / √D_k) V over the last two axes (Vaswani et al. 2017, equation 1).

    Where the mask is False the weight is exactly 0; a query that may look nowhere gets zeros.
    `scaled=False` leaves out 1/√D_k, as in the lecture's first form of attention.
    """
    width = known_width(query)
    scores = matmul(query, key, transpose_b=True, name="matches" if scaled else "scores")
    if scaled:
        scores = multiply(scores, 1.0 / math.sqrt(width), name="scores")
    if mask is not None:
        scores = where(mask, scores, -math.inf, name="masked_scores")
    weights = softmax(scores, -1, name="weights")
    return matmul(weights, value, name="values")


@front
def multi_head_attention(
    queries: Node, memory: Node | Memory, mask: Node | None, heads: int, name: str = "attention"
) -> Node:
    """Concat(head₁, …, head_h) W^O, head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V).

    Keys and values come from `memory`; self-attention is `memory is queries`. The matrices of all
    heads lie side by side in one: the columns i · D_k … (i + 1) · D_k of W^Q are W_i^Q. Where
    decoding keeps keys and values of earlier positions, `memory` says so (cache.py).
    """
    width = known_width(queries)
    if heads < 1 or width % heads:
        raise DeclarationError(
            f"a width of {width} does not split into {heads} heads", current_origin()
        )
    with scope(name):
        query = split_heads(dense(queries, width, "query"), heads)
        key = _recalled(memory, "key", queries, heads)
        value = _recalled(memory, "value", queries, heads)
        joined = join_heads(attention(query, key, value, mask))
        return dense(joined, width, "output")


def _recalled(memory: Node | Memory, name: str, queries: Node, heads: int) -> Node:
    """The keys or the values of all positions, [batch, head, key, feature], as wide as queries."""
    width = known_width(queries)

    def project(positions: Node) -> Node:
        return split_heads(dense(positions, width, name), heads)

    if isinstance(memory, Node):
        return project(memory)
    return memory.recall(name, heads, width // heads, queries.dtype, project)


@front
def split_heads(x: Node, heads: int) -> Node:
    """[batch, position, feature] -> [batch, head, position, feature / heads]."""
    batch, position, width = x.shape
    return transpose(reshape(x, (batch, position, heads, width // heads)), (0, 2, 1, 3))


@front
def join_heads(x: Node) -> Node:
    """[batch, head, position, feature] -> [batch, position, heads * feature]."""
    batch, heads, position, width = x.shape
    return reshape(transpose(x, (0, 2, 1, 3)), (batch, position, heads * width), name="heads")


@front
def padding_mask(ids: Node, padding: int = 0, name: str = "padding_mask") -> Node:
    """True at keys that are no padding: ids [batch, key] -> [batch, 1, 1, key]."""
    return expand_dims(expand_dims(not_equal(ids, padding), 1), 1, name=name)


@front
def causal_mask(length: int | str | Dimension, name: str = "causal_mask") -> Node:
    """True where the key does not come after the query: [query, key], the lecture's triangle."""
    positions = iota(length)
    return less_equal(expand_dims(positions, 0), expand_dims(positions, 1), name=name)
