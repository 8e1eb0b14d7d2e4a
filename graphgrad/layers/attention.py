"""Attention: looks values up by similarity of keys (lecture; Vaswani et al. 2017, section 3.2).

    score(q, k) = q · k        α = softmax over the keys        o = Σ α v

Shapes: queries [batch, query, feature], keys and values [batch, key, feature]. Inside a layer with
several heads the head axis precedes the positions: [batch, head, query, key]. A mask is boolean,
True where a query may attend to a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Initial, Node, iota, scope
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.layers.basic import Randomness, dense, dropout, known_width
from graphgrad.layers.cache import Memory
from graphgrad.layers.positions import rotate
from graphgrad.ops import (
    broadcast_to,
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


@declares
def attention(
    query: Node,
    key: Node,
    value: Node,
    mask: Node | None = None,
    scaled: bool = True,
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """softmax(Q Kᵀ / √D_k) V over the last two axes (Vaswani et al. 2017, equation 1).

    [..., query, D_k], [..., key, D_k], [..., key, D_v] -> [..., query, D_v]. Where the mask, which
    is broadcast to [..., query, key], is False, the weight is exactly 0; a query for which it is
    False at every key gets zeros. `scaled=False` leaves out 1/√D_k, as in the lecture's first form
    of attention. With a `rate` and `randomness` there is dropout on the weights (`dropout`).

    >>> import graphgrad as gg
    >>> keys = gg.constant([[1.0, 0.0], [0.0, 1.0]], "float32")
    >>> values = gg.constant([[1.0], [2.0]], "float32")
    >>> o = gg.layers.attention(gg.input("q", ("query", 2)), keys, values)
    >>> gg.compile(gg.Graph({"o": o}))({}, q=[[0.0, 0.0], [20.0, 0.0]])["o"].round(3)
    array([[1.5],
           [1. ]], dtype=float32)
    """
    width = known_width(query)
    scores = matmul(query, key, transpose_b=True, name="matches" if scaled else "scores")
    if scaled:
        scores = multiply(scores, 1.0 / math.sqrt(width), name="scores")
    if mask is not None:
        scores = where(mask, scores, -math.inf, name="masked_scores")
    weights = softmax(scores, -1, name="weights")
    weights = dropout(weights, rate, randomness, "weights_dropout")
    return matmul(weights, value, name="values")


@declares
def multi_head_attention(
    queries: Node,
    memory: Node | Memory,
    mask: Node | None,
    heads: int,
    name: str = "attention",
    *,
    key_heads: int | None = None,
    rotary: bool = False,
    positions: Node | None = None,
    bias: bool = True,
    initial: Initial | None = None,
    output_initial: Initial | None = None,
    rate: float = 0.0,
    randomness: Randomness | None = None,
) -> Node:
    """Concat(head₁, …, head_h) W^O, head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V).

    The nodes are named as in the paper and the lecture: `Q`, `K`, `V` [batch, head, position, D_k],
    `scores`, `weights` and `values` of all heads, their `concat`, and the matrices `W_Q`, `W_K`,
    `W_V`, `W_O`, which are stored as `query.w`, `key.w`, `value.w`, `output.w`.

    `queries` are [batch, query, width], and so is the result; keys and values are computed from
    `memory`, [batch, key, width]. For self-attention pass the same node twice. The matrices of all
    heads are stored side by side in one: the columns i · D_k … (i + 1) · D_k of W^Q are W_i^Q.
    Where decoding keeps keys and values of earlier positions, `memory` says so (cache.py).

    With fewer `key_heads` than `heads`, groups of `heads / key_heads` query heads share a head of
    keys and values (Ainslie et al. 2023). `rotary` rotates queries and keys by their positions,
    which in decoding are `positions` [batch, query] (`rotate`). `bias`, `initial` and
    `output_initial` are those of the dense layers; `rate` and `randomness` give dropout on the
    weights. Raises DeclarationError where the width is not a multiple of the heads, or these are
    not a multiple of `key_heads`. Source: Vaswani et al. 2017, section 3.2.2.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", "query", 8))
    >>> y = gg.layers.multi_head_attention(x, x, gg.layers.causal_mask(x.shape[1]), heads=2)
    >>> print(y.type)
    float32[batch, query, 8]
    >>> [name for name in gg.Graph(y).parameters if name.endswith("w")]
    ['attention.query.w', 'attention.key.w', 'attention.value.w', 'attention.output.w']
    """
    groups = heads if key_heads is None else key_heads
    each = _width_of_head(queries, heads, groups)

    def recalled(part: str, turn: Callable[[Node], Node]) -> Node:
        def project(x: Node) -> Node:
            return turn(_projected(x, each, part, groups, bias, initial))

        if isinstance(memory, Node):
            return project(memory)
        return memory.recall(part, groups, each, queries.dtype, project)

    def rotated(part: str) -> Callable[[Node], Node]:
        places = None if positions is None else expand_dims(positions, 1)
        return lambda x: rotate(x, places, name=f"rotated_{part}") if rotary else x

    with scope(name):
        query = _projected(queries, each, "query", heads, bias, initial)
        query = rotated("query")(query)
        key = repeat_heads(recalled("key", rotated("key")), heads // groups)
        value = repeat_heads(recalled("value", lambda x: x), heads // groups)
        mixed = attention(query, key, value, mask, rate=rate, randomness=randomness)
        return dense(join_heads(mixed), each * heads, "output", bias, output_initial, "W_O")


_LETTERS = {"query": "Q", "key": "K", "value": "V"}


def _projected(
    x: Node, each: int, part: str, heads: int, bias: bool, initial: Initial | None
) -> Node:
    """Q = X W_Q, by head (or K or V, by the `part`); the node has the name Q."""
    letter = _LETTERS[part]
    whole = dense(x, each * heads, part, bias, initial, symbol=f"W_{letter}")
    return split_heads(whole, heads, letter)


def _width_of_head(queries: Node, heads: int, groups: int) -> int:
    """The features of a head. Raises DeclarationError where the width does not split."""
    width = known_width(queries)
    if heads < 1 or width % heads or groups < 1 or heads % groups:
        in_groups = f" in {groups} groups" if groups != heads else ""
        raise DeclarationError(
            f"a width of {width} does not split into {heads} heads{in_groups}",
            current_origin(),
            "make the width a multiple of the heads, and the heads one of the heads of keys",
        )
    return width // heads


@declares
def repeat_heads(x: Node, times: int) -> Node:
    """Repeats each head: [batch, head, position, feature] -> [batch, head · times, …].

    Head h is copied to the heads h · times … (h + 1) · times - 1 (Ainslie et al. 2023); the delta
    of a head is the sum of the deltas of its copies. Raises DeclarationError for an x that does not
    have four axes.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (1, 2, 1, 1))
    >>> y = gg.layers.repeat_heads(x, 2)
    >>> gg.compile(gg.Graph({"y": y}))({}, x=[[[[5.0]], [[7.0]]]])["y"].ravel()
    array([5., 5., 7., 7.], dtype=float32)
    """
    if times == 1:
        return x
    batch, heads, position, width = x.shape
    wide = broadcast_to(expand_dims(x, 2), (batch, heads, times, position, width))
    return reshape(wide, (batch, heads * times, position, width))


@declares
def split_heads(x: Node, heads: int, name: str | None = None) -> Node:
    """[batch, position, feature] -> [batch, head, position, feature / heads].

    With a `name`, the result has it, and the value before the swap of axes is `name_by_position`.

    >>> import graphgrad as gg
    >>> print(gg.layers.split_heads(gg.input("x", ("batch", "position", 8)), 2).type)
    float32[batch, 2, position, 4]
    """
    batch, position, width = x.shape
    before = f"{name}_by_position" if name else None
    by_position = reshape(x, (batch, position, heads, width // heads), name=before)
    return transpose(by_position, (0, 2, 1, 3), name=name)


@declares
def join_heads(x: Node) -> Node:
    """[batch, head, position, feature] -> [batch, position, head * feature]; undoes `split_heads`.

    The result is called `concat`: the values of all heads, side by side.

    >>> import graphgrad as gg
    >>> print(gg.layers.join_heads(gg.input("x", ("batch", 2, "position", 4))).type)
    float32[batch, position, 8]
    """
    batch, heads, position, width = x.shape
    by_position = transpose(x, (0, 2, 1, 3), name="values_by_position")
    return reshape(by_position, (batch, position, heads * width), name="concat")


@declares
def padding_mask(ids: Node, padding: int = 0, name: str = "padding_mask") -> Node:
    """True at keys that are not padding: ids [batch, key] -> [batch, 1, 1, key].

    The two axes of size 1 are broadcast over heads and queries.

    >>> import graphgrad as gg
    >>> mask = gg.layers.padding_mask(gg.input("ids", ("batch", "key"), "int32"))
    >>> gg.compile(gg.Graph({"mask": mask}))({}, ids=[[5, 7, 0]])["mask"]
    array([[[[ True,  True, False]]]])
    """
    return expand_dims(expand_dims(not_equal(ids, padding), 1), 1, name=name)


@declares
def causal_mask(length: int | str | Dimension, name: str = "causal_mask") -> Node:
    """True where the key is not later than the query: [query, key], the lecture's triangle.

    `length` is the number of positions, or the name of an open one.

    >>> import graphgrad as gg
    >>> mask = gg.layers.causal_mask(3)
    >>> gg.compile(gg.Graph({"mask": mask}))({})["mask"]
    array([[ True, False, False],
           [ True,  True, False],
           [ True,  True,  True]])
    """
    positions = iota(length)
    return less_equal(expand_dims(positions, 0), expand_dims(positions, 1), name=name)
