"""Self-attention of a decoder: query heads in groups that share a head of keys and values
(Ainslie et al. 2023), with rotary positions where they are wanted."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.graph import Initial, Node, scope
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.layers.attention import attention, join_heads, split_heads
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

    With as many key heads as heads (the default) it is `multi_head_attention`; with one it is
    multi-query attention. Keys and values, which a decoder keeps for every token it has read, are
    then smaller by that factor. `rotary` turns queries and keys by their positions.
    """
    width, key_heads = known_width(x), heads if key_heads is None else key_heads
    if heads < 1 or width % heads or key_heads < 1 or heads % key_heads:
        raise DeclarationError(
            f"a width of {width} does not split into {heads} heads in {key_heads} groups",
            str(current_origin() or ""),
            "the width is a multiple of the heads, and they of the heads of keys",
        )
    narrow = width // heads * key_heads
    with scope(name):
        query = split_heads(dense(x, width, "query", bias, initial), heads)
        key = split_heads(dense(x, narrow, "key", bias, initial), key_heads)
        value = split_heads(dense(x, narrow, "value", bias, initial), key_heads)
        if rotary:
            query, key = rotate(query, name="rotated_query"), rotate(key, name="rotated_key")
        times = heads // key_heads
        mixed = attention(query, repeat_heads(key, times), repeat_heads(value, times), mask)
        return dense(join_heads(mixed), width, "output", bias, output_initial)


@declares
def repeat_heads(x: Node, times: int) -> Node:
    """[batch, head, position, feature] -> [batch, head · times, …]: each head `times` in a row.

    What is sent back to a head is the sum over those that it stands for.
    """
    if times == 1:
        return x
    batch, heads, position, width = x.shape
    wide = broadcast_to(expand_dims(x, 2), (batch, heads, times, position, width))
    return reshape(wide, (batch, heads * times, position, width))
