"""Joins attention and its deltas into one operation each, once the deltas are derived.

`layers.attention` declares scores, weights and values as nodes, and `derive` a delta for each: so
everything can be looked at. Where nobody does, and a backend has kernels for attention, the arrays
[…, query, key] need not exist:

    matmul(dropout(softmax(mask(scale · Q Kᵀ))), V)     → dot_product_attention
    its deltas to Q, K and V, eight nodes and more      → attention_delta, to each of the three

The composed form stays wherever one of its nodes is an output (so for whoever asks for scores,
weights or their deltas by name), or is read by anything else. A mask that hides exactly the later
keys becomes `causal`, so that a kernel leaves them out without reading a mask.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (3, 2))
    >>> graph = gg.Graph({"o": gg.layers.attention(x, x, x, scaled=False)})

Before and after:

    >>> print(graph)
    %0 = input() : float32[3, 2]    # x
    %1 = matmul(%0, %0, transpose_a=False, transpose_b=True) : float32[3, 3]    # scores
    %2 = softmax(%1, axis=1) : float32[3, 3]    # weights
    %3 = matmul(%2, %0, transpose_a=False, transpose_b=False) : float32[3, 2]    # values
    output o = %3
    >>> from graphgrad.passes import prune
    >>> print(str(prune(join_attention(graph))).replace("causal=False, rate=0.0, stream=0", "…"))
    %0 = input() : float32[3, 2]    # x
    %1 = dot_product_attention(%0, %0, %0, scale=1.0, …) : float32[3, 2]    # values
    output o = %1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad import ops
from graphgrad.graph import Graph, Node, Operation, constant, declared_at
from graphgrad.graph.node import with_heads
from graphgrad.graph.types import DType
from graphgrad.ops import dot_product_attention, dropout_mask, matmul, multiply, softmax, where
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.passes.pattern import is_number

WIDEST = 256
"""Features of a head that kernels are made for."""
MOST_AXES = 4
"""Axes of queries: two before the last two, such as batch and head."""


def join_attention(graph: Graph) -> Graph:
    """The graph with every attention joined whose parts nobody looks at."""
    return _joined(graph, lambda forward: True)


def join_attention_from(
    smallest: int, queries: int = 1, dtypes: Sequence[DType] | None = None
) -> Callable[[Graph], Graph]:
    """The pass for attention of these dtypes (default: all) with at least so many scores (queries ·
    keys) and so many queries a head."""

    def wanted(forward: Forward) -> bool:
        sizes = forward.weights.type.sizes[-2:]
        large = math.prod(sizes) >= smallest and sizes[0] >= queries
        return large and (dtypes is None or forward.values.dtype in dtypes)

    def join_attention(graph: Graph) -> Graph:
        return _joined(graph, wanted)

    return join_attention


@dataclass(frozen=True)
class Forward:
    """Attention in its composed form: what it reads, and the nodes inside."""

    values: Node
    heads: tuple[Node, Node, Node]
    mask: Node | None
    scale: Node | None
    weights: Node
    dropped: Node | None
    kept: Node
    inside: tuple[Node, ...]


@dataclass(frozen=True)
class Backward:
    """The deltas of one attention for one delta of its values."""

    delta: Node
    results: Mapping[str, Node]
    """The nodes that send the deltas to query, key and value."""
    inside: tuple[Node, ...]


def _joined(graph: Graph, wanted: Callable[[Forward], bool]) -> Graph:
    found: dict[Node, tuple[Forward, str, Node | None]] = {}
    kept = {*graph.outputs.values(), *graph.updates.values()}
    needed = graph.ancestors(kept)
    for node in graph.nodes:
        forward = _forward(node) if node in needed else None
        if forward is None or not wanted(forward):
            continue
        backwards = list(_backwards(graph, forward, needed))
        inside = {*forward.inside, *(each for its in backwards for each in its.inside)}
        results = {node, *(each for its in backwards for each in its.results.values())}
        if inside & kept or not all(
            tail in inside or tail in results or tail not in needed
            for each in inside
            for tail in graph.tails(each)
        ):
            continue
        if any(graph.position(each) < graph.position(node) for each in results):
            continue  # the deltas read the values, so these have to be declared before
        found[node] = forward, "", None
        for its in backwards:
            found |= {result: (forward, to, its.delta) for to, result in its.results.items()}
    return _replaced(graph, found) if found else graph


def _replaced(graph: Graph, found: Mapping[Node, tuple[Forward, str, Node | None]]) -> Graph:
    """The graph with the found nodes declared as operations of attention."""
    replacement: dict[Node, Node] = {}
    masks = _Masks()

    def new(node: Node) -> Node:
        return replacement.get(node, node)

    for old in graph.nodes:
        if old not in found and replacement.keys().isdisjoint(old.heads):
            continue
        with declared_at(graph.name_of(old), old.origin):
            if old not in found:
                replacement[old] = with_heads(old, tuple(map(new, old.heads)))
                continue
            forward, to, delta = found[old]
            heads, options, attributes = _arguments(forward, masks, new)
            if delta is None:
                made = dot_product_attention.node(*heads, *options, **attributes)
            else:
                statistics = _statistics(graph, forward, heads, options, attributes)
                inner = (*heads, new(forward.values), statistics, new(delta), *options)
                made = attention_delta.node(*inner, to=to, **attributes)
        replacement[old] = made
    return graph.replace_nodes(replacement)


def _statistics(
    graph: Graph,
    forward: Forward,
    heads: tuple[Node, ...],
    options: tuple[Node, ...],
    attributes: Mapping[str, Any],
) -> Node:
    mask = options[:1] if len(options) % 2 else ()
    values = forward.values
    with declared_at(graph.name_of(values), values.origin):
        its = {name: attributes[name] for name in ("scale", "causal")}
        return attention_statistics.node(*heads[:2], *mask, **its)


def _arguments(
    forward: Forward, masks: _Masks, new: Callable[[Node], Node]
) -> tuple[tuple[Node, ...], tuple[Node, ...], dict[str, Any]]:
    """Heads, optional heads and attributes of the operation."""
    causal, mask = masks.parts(forward.mask, forward.weights.type.sizes)
    scale = 1.0 if forward.scale is None else float(forward.scale.attributes["value"].array)
    attributes = {"scale": scale, "causal": causal, "rate": 0.0, "stream": 0}
    options: tuple[Node, ...] = () if mask is None else (new(mask),)
    if forward.dropped is not None:
        attributes |= {name: forward.dropped.attributes[name] for name in ("rate", "stream")}
        options += tuple(map(new, forward.dropped.heads))
    return tuple(map(new, forward.heads)), options, attributes


# ---------------------------------------------------------------- what is recognised


def _forward(values: Node) -> Forward | None:
    """The attention whose values are computed by this node, if there is one."""
    if not _is_product(values):
        return None
    kept, value = values.heads
    weights, dropped = _undropped(kept)
    if weights.operation is not softmax or weights.attributes["axis"] != weights.rank - 1:
        return None
    inside, mask, scores = [weights, kept], None, weights.heads[0]
    if scores.operation is where and is_number(scores.heads[2], -math.inf):
        inside.append(scores)
        mask, scores, _ = scores.heads
    matches, scale = _unscaled(scores)
    if not _is_product(matches, transpose_b=True):
        return None
    query, key = matches.heads
    batches = {each.shape[:-2] for each in (query, key, value, values)}
    fits = len(batches) == 1 and matches.shape == scores.shape == weights.shape == kept.shape
    widest = max(query.type.sizes[-1], value.type.sizes[-1])
    if not fits or widest > WIDEST or query.rank > MOST_AXES or 0 in matches.type.sizes:
        return None
    inside = [*dict.fromkeys((*inside, scores, matches))]
    return Forward(values, (query, key, value), mask, scale, weights, dropped, kept, tuple(inside))


def _is_product(node: Node, transpose_a: bool = False, transpose_b: bool = False) -> bool:
    return node.operation is matmul and node.attributes == {
        "transpose_a": transpose_a,
        "transpose_b": transpose_b,
    }


def _undropped(kept: Node) -> tuple[Node, Node | None]:
    """The weights before dropout, and the mask."""
    if kept.operation is multiply:
        for weights, dropped in (kept.heads, kept.heads[::-1]):
            if dropped.operation is dropout_mask and dropped.shape == kept.shape:
                return weights, dropped
    return kept, None


def _unscaled(scores: Node) -> tuple[Node, Node | None]:
    """The product that is scaled by a number, and the number."""
    if scores.operation is multiply:
        for matches, scale in (scores.heads, scores.heads[::-1]):
            if scale.operation is constant and scale.shape == ():
                return matches, scale
    return scores, None


def _backwards(graph: Graph, forward: Forward, needed: Collection[Node]) -> Iterator[Backward]:
    """The deltas of an attention, for each delta of its values that there is."""
    kept, value = forward.kept, forward.heads[2]
    deltas: dict[Node, None] = {}
    for tail in graph.tails(kept):
        if tail in needed and _is_product(tail, transpose_a=True) and tail.heads[0] is kept:
            deltas[tail.heads[1]] = None
    for tail in graph.tails(value):
        if tail in needed and _is_product(tail, transpose_b=True) and tail.heads[1] is value:
            deltas[tail.heads[0]] = None
    for delta in deltas:
        if delta.type == forward.values.type:
            yield _Chain(graph, forward, needed).backward(delta)


class _Chain:
    """Follows the nodes of the deltas from tail to tail, as the delta rules declare them."""

    def __init__(self, graph: Graph, forward: Forward, needed: Collection[Node]) -> None:
        self.graph, self.forward, self.needed = graph, forward, needed
        self.inside: dict[Node, None] = {}

    def backward(self, delta: Node) -> Backward:
        """The deltas for this delta of the values, as far as they have the form of the rules."""
        query, key, value = self.forward.heads
        results = {
            "value": self._product(self.forward.kept, delta, transpose_a=True),
        }
        reached = self._reached(self._product(delta, value, transpose_b=True))
        if reached is not None:
            results["query"] = self._product(reached, key)
            results["key"] = self._product(reached, query, transpose_a=True)
        found = {to: node for to, node in results.items() if node is not None}
        return Backward(delta, found, tuple(self.inside))

    def _reached(self, sent: Node | None) -> Node | None:
        """The delta of Q Kᵀ, from the delta of the weights after dropout."""
        forward, weights = self.forward, self.forward.weights
        through = self._inner(sent)
        if forward.dropped is not None:
            through = self._inner(self._tail(through, multiply, forward.dropped))
        product = self._inner(self._tail(through, multiply, weights))
        row = self._inner(self._tail(product, ops.sum))
        rest = self._inner(self._tail(through, ops.subtract, row))
        reached = self._inner(self._tail(rest, multiply, weights))
        if forward.mask is not None:
            reached = self._inner(self._tail(reached, where, forward.mask))
        if forward.scale is not None:
            reached = self._inner(self._tail(reached, multiply, forward.scale))
        return reached

    def _inner(self, node: Node | None) -> Node | None:
        if node is not None:
            self.inside[node] = None
        return node

    def _tail(self, node: Node | None, operation: Operation, *others: Node | None) -> Node | None:
        """The tail of a node by this operation that reads the others as well."""
        for tail in () if node is None else self.graph.tails(node):
            if (
                tail in self.needed
                and tail.operation is operation
                and all(other in tail.heads for other in others)
                and self._is_rule(tail, node)
            ):
                return tail
        return None

    def _is_rule(self, tail: Node, node: Node | None) -> bool:
        """Whether the tail reads the node in the place and the way in which the rule does."""
        if tail.operation is ops.sum:
            return tail.attributes == {"axes": (self.forward.weights.rank - 1,), "keepdims": True}
        if tail.operation is ops.subtract:
            return tail.heads[0] is node
        if tail.operation is where:
            return tail.heads[1] is node and is_number(tail.heads[2], 0)
        return tail.operation is multiply

    def _product(self, left: Node, right: Node, **transposed: bool) -> Node | None:
        for tail in self.graph.tails(left):
            ours = tail in self.needed and _is_product(tail, **transposed)
            if ours and tail.heads == (left, right):
                return tail
        return None


class _Masks:
    """Finds out which masks hide the later keys; looks at each constant once."""

    def __init__(self) -> None:
        self._causal: dict[Node, bool] = {}

    def parts(self, mask: Node | None, sizes: tuple[int, ...]) -> tuple[bool, Node | None]:
        """Whether the mask hides the later keys, and what else it hides."""
        if mask is None:
            return False, None
        if self._is_causal(mask, sizes):
            return True, None
        if mask.operation is ops.logical_and:
            for first, other in (mask.heads, mask.heads[::-1]):
                if self._is_causal(first, sizes):
                    return True, other
        return False, mask

    def _is_causal(self, mask: Node, sizes: tuple[int, ...]) -> bool:
        if mask.operation is not constant or mask.type.sizes[-2:] != sizes[-2:]:
            return False
        if mask not in self._causal:
            queries, keys = sizes[-2:]
            triangle = np.tri(queries, keys) == 1
            self._causal[mask] = bool(np.all(mask.attributes["value"].array == triangle))
        return self._causal[mask]
