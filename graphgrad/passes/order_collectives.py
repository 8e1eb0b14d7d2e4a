"""Orders the sums over ranks of a graph, and joins small ones: one message in place of many.

All ranks have to meet the collectives in the same order, though their programs may differ (parts of
a batch have different sizes). So each takes the one before it as its last head, and gets a number.

Sums that need no other collective between them are joined: their values are laid side by side in
one array, a bucket, which is added up at once. A value of unknown size keeps a collective of its
own. The level of a collective is how many others it has to wait for, or the highest where no other
waits for it; within a level none depends on another, so that any order within it is one. What
depends on no state (how many tokens a batch has, say) is known before the rest of its level, and
has buckets of its own, which come first: they can be sent while the first layers are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from graphgrad.graph import STATEFUL, Graph, Node, declared_at
from graphgrad.graph.dimension import product
from graphgrad.graph.node import with_heads
from graphgrad.ops import all_reduce, cast, concatenate, reshape

LARGEST_BUCKET, SMALLEST_BUCKET = 16 * 2**20, 2**18
BUCKETS = 8
"""In how many buckets a small model's sums are: the exchange of the last one is not hidden."""


def in_order(graph: Graph, bucket_bytes: int | None = None) -> Graph:
    """The graph with its sums over ranks in buckets, numbered and one after the other.

    From `bucket_bytes` on no further value is added to a bucket.
    """
    bucket_bytes = bucket_size(graph) if bucket_bytes is None else bucket_bytes
    made: dict[Node, Node] = {}
    previous: Node | None = None
    for number, bucket in enumerate(_buckets(graph, bucket_bytes)):
        needed = graph.ancestors([node.heads[0] for node in bucket])
        _rebuild(graph, [node for node in graph.nodes if node in needed], made)
        terms = [made[node.heads[0]] for node in bucket]
        previous, results = _collective(graph, bucket, terms, previous, number)
        made.update(zip(bucket, results, strict=True))
    _rebuild(graph, graph.nodes, made)
    ordered = graph.replace_nodes({old: new for old, new in made.items() if old is not new})
    return ordered.changed(order=_late(ordered, [made[node] for node in graph.nodes]))


def _late(graph: Graph, wished: Sequence[Node]) -> list[Node]:
    """The nodes in a wished order, but none before its heads: one that has to wait for a collective
    comes later, and does not bring forward what that collective needs."""
    places = {node: place for place, node in enumerate(wished)}
    keys: dict[Node, int] = {}
    for node in graph.nodes:
        keys[node] = max([places.get(node, -1), *(keys[head] for head in node.heads)])
    return sorted(graph.nodes, key=keys.__getitem__)


def bucket_size(graph: Graph) -> int:
    """Bytes of a bucket: so many that latencies do not count, and so few that most of what is sent
    can be sent while the rest is computed."""
    sums = sum(node.type.nbytes for node in graph.nodes if _is_joined(node))
    return min(max(sums // BUCKETS, SMALLEST_BUCKET), LARGEST_BUCKET)


def _rebuild(graph: Graph, nodes: Sequence[Node], made: dict[Node, Node]) -> None:
    for node in nodes:
        if node not in made:
            heads = tuple(made[head] for head in node.heads)
            with declared_at(graph.name_of(node), node.origin):
                made[node] = node if heads == node.heads else with_heads(node, heads)


def _buckets(graph: Graph, bucket_bytes: int) -> list[list[Node]]:
    """The collectives that are done at once, level by level, in the order of the graph."""
    levels, stateful = _levels(graph), _stateful(graph)
    found: dict[tuple[int, bool, int], list[Node]] = {}
    last: dict[object, tuple[int, bool, int]] = {}
    filled: dict[tuple[int, bool, int], int] = {}
    for node, level in levels.items():
        place = level, node in stateful
        kind = (*place, node.operation, node.attributes.get("kind"), node.dtype)
        size = node.type.nbytes if _is_joined(node) else bucket_bytes
        key = last.get(kind)
        if key is None or not _is_joined(node) or filled[key] >= bucket_bytes:
            key = last[kind] = (*place, len(found))
            found[key], filled[key] = [], 0
        found[key].append(node)
        filled[key] += size
    return [found[key] for key in sorted(found)]


def _levels(graph: Graph) -> dict[Node, int]:
    """The level of each collective, in the order in which what they send is computed."""
    waits: dict[Node, int] = {}
    for node in graph.nodes:
        before = (waits[head] + head.operation.collective for head in node.heads)
        waits[node] = max(before, default=0)
    followed: set[Node] = set()
    for node in reversed(graph.nodes):
        if node in followed or node.operation.collective:
            followed.update(node.heads)
    collectives = [node for node in graph.nodes if node.operation.collective]
    highest = max((waits[node] for node in collectives), default=0)
    collectives.sort(key=partial(_ready, graph))
    return {node: waits[node] if node in followed else highest for node in collectives}


def _ready(graph: Graph, collective: Node) -> int:
    """The position in the graph of the last node that computes what a collective sends, which may
    be laid side by side and cast."""
    last, stack = 0, list(collective.heads[:1])
    while stack:
        node = stack.pop()
        if node.operation in (concatenate, reshape, cast):
            stack += node.heads
        else:
            last = max(last, graph.position(node))
    return last


def _stateful(graph: Graph) -> set[Node]:
    """The nodes that depend on a state."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.operation in STATEFUL or not found.isdisjoint(node.heads):
            found.add(node)
    return found


def _is_joined(node: Node) -> bool:
    """Whether a collective may share a bucket: its size has to be known."""
    return node.operation is all_reduce and all(isinstance(size, int) for size in node.shape)


def _collective(
    graph: Graph, bucket: Sequence[Node], terms: Sequence[Node], previous: Node | None, number: int
) -> tuple[Node, list[Node]]:
    """The collective of a bucket, and what it gives for each of its nodes."""
    before = () if previous is None else (previous,)
    (first, *others) = bucket
    attributes = {**first.attributes, "number": number}
    with declared_at(graph.name_of(first), first.origin):
        if not others:
            one = first.operation.node(terms[0], *before, **attributes)
            return one, [one]
        flat = [reshape(term, (-1,)) for term in terms]
        joined = concatenate(flat, axis=0, name=f"bucket_{number}.terms")
        added = all_reduce.node(joined, *before, name=f"bucket_{number}", **attributes)
        results, start = [], 0
        for node in bucket:
            size = product(node.shape)
            assert isinstance(size, int)
            results.append(reshape(added[start : start + size], node.shape))
            start += size
    return added, results
