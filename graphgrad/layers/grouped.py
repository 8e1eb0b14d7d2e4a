"""Declares grouped-query attention (Ainslie et al. 2023): self-attention in which several query
heads share a head of keys and values, with or without rotary positions."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.graph import Initial, Node, scope
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.layers.attention import attention, join_heads, projected_heads
from graphgrad.layers.basic import dense, known_width
from graphgrad.layers.positions import rotate
from graphgrad.ops import broadcast_to, expand_dims, reshape


@declares
def grouped_attention(
    x: Node,
    mask: Node | None,
    heads: int,
    key_heads: int | None = None,
    name: str = "attention",
    rotary: bool = False,
    bias: bool = True,
    initial: Initial | None = None,
    output_initial: Initial | None = None,
) -> Node:
    """Multi-head self-attention in which `heads / key_heads` query heads share keys and values.

    x and the result are [batch, position, width]; `mask` is broadcast to [batch, head, query, key].
    With `key_heads` equal to `heads` (the default) this is `multi_head_attention`, and with 1 it is
    multi-query attention (Shazeer 2019). The keys and values, which a decoder stores for every
    token it has read, are smaller by the factor `heads / key_heads`. `rotary` rotates queries and
    keys by their positions (`rotate`). Raises DeclarationError where the width is not a multiple of
    `heads`, or `heads` not one of `key_heads`. Source: Ainslie et al. 2023, section 2.2.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", "position", 8))
    >>> y = gg.layers.grouped_attention(x, None, heads=4, key_heads=2, bias=False)
    >>> parameters = gg.Graph(y).parameters
    >>> print(y.type, parameters["attention.query.w"].shape, parameters["attention.key.w"].shape)
    float32[batch, position, 8] (8, 8) (8, 4)
    """
    width, key_heads = known_width(x), heads if key_heads is None else key_heads
    if heads < 1 or width % heads or key_heads < 1 or heads % key_heads:
        raise DeclarationError(
            f"a width of {width} does not split into {heads} heads in {key_heads} groups",
            current_origin(),
            "make the width a multiple of the heads, and the heads one of the heads of keys",
        )
    narrow = width // heads * key_heads
    with scope(name):
        query = projected_heads(x, width, "query", heads, bias, initial)
        key = projected_heads(x, narrow, "key", key_heads, bias, initial)
        value = projected_heads(x, narrow, "value", key_heads, bias, initial)
        if rotary:
            query, key = rotate(query, name="rotated_query"), rotate(key, name="rotated_key")
        times = heads // key_heads
        mixed = attention(query, repeat_heads(key, times), repeat_heads(value, times), mask)
        return dense(join_heads(mixed), width, "output", bias, output_initial, "W_O")


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
