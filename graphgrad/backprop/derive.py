"""Backpropagation, derived symbolically: the deltas of a graph are nodes of the same graph.

For a scalar L and every node u that L depends on,

    δ_u = ∂L/∂u = Σ_{t ∈ tails(u)} δ_{u←t},        δ_{u←t} = the delta rule of t applied to δ_t

Each contribution δ_{u←t} is a node of its own, named `u.delta<-t`; their sum is named `u.delta`.
What a rule computes on the way is scoped under `t.rule`. Names, scopes and lines of the forward
nodes are inherited, so a delta can be found, drawn and explained like anything else.

The deltas are ordinary nodes made of ordinary operations, so `derive` applied to a graph that holds
deltas gives second derivatives. The pass walks the order backwards once: linear, no recursion.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph import DELTA, INPUT, PARAMETER, Graph, Node, constant, placed
from graphgrad.graph.verify import need_graph
from graphgrad.ops import broadcast_to
from graphgrad.ops.reduction import sum_to


def derive(
    graph: Graph,
    of: str | Node,
    wrt: str | Node | Iterable[str | Node] | None = None,
    seed: Node | None = None,
    label: str = DELTA,
) -> Graph:
    """The graph with the deltas of the node `of` added, for all nodes between `wrt` and it.

    `wrt` defaults to every float parameter and input, so every node on a way from them to `of` gets
    its delta. `of` must be a scalar unless a `seed` of its shape gives its delta. `label` takes the
    place of "delta" in the names: a second derivation of one graph needs another.
    """
    need_graph(graph, "derive")
    target = graph[of]
    if seed is None and target.shape != ():
        raise DeclarationError(
            f"{graph.name_of(target)!r} has shape {target.type}; only a scalar has deltas",
            str(target.origin or ""),
            "sum or average it first, or give derive() a seed of its shape",
        )
    if not target.type.is_float:
        raise DeclarationError(f"{graph.name_of(target)!r} is {target.type}: no float, no delta")
    leaves = _leaves(graph, wrt)
    between = graph.ancestors([target]) & graph.descendants(leaves)
    _need_free_names(graph, between.union(leaves, [target]), label)
    names, sent_names = dict(graph.names), dict[str, Node]()
    order = list(graph.nodes)
    contributions: dict[Node, list[Node]] = {}
    with placed(graph.name_of(target), target.origin):
        contributions[target] = [
            constant(1.0, target.dtype) if seed is None else _fitted(seed, target)
        ]
    for node in reversed(graph.nodes):
        if node not in between or node not in contributions or not node.type.is_float:
            continue
        delta = _summed(graph, node, contributions[node], label)
        names.update((f"{name}.{label}", delta) for name in declared_names(graph, node))
        for head, contribution in send_back(graph, node, delta, between, label):
            contributions.setdefault(head, []).append(contribution)
            for name in declared_names(graph, head):
                sent = f"{name}.{label}<-{graph.name_of(node)}"
                sent_names[_free(sent_names, sent)] = contribution
        order.append(delta)
    for node in leaves:  # a leaf that L does not depend on has the delta 0
        if node.type.is_float and f"{graph.name_of(node)}.{label}" not in names:
            with placed(graph.name_of(node), node.origin):
                zero = broadcast_to(constant(0.0, node.dtype), node.shape)
            names.update((f"{name}.{label}", zero) for name in declared_names(graph, node))
    # deltas before contributions: a node that is both is shown as the delta
    return Graph(graph.outputs, graph.updates, {**names, **sent_names}, order, graph.retired)


def deltas_of(graph: Graph, nodes: Iterable[Node], label: str = DELTA) -> list[Node]:
    """The deltas that `derive` gave to these nodes."""
    return [graph.names[f"{graph.name_of(node)}.{label}"] for node in nodes]


def has_deltas(graph: Graph, label: str = DELTA) -> bool:
    """Whether the graph was derived under this label."""
    return any(name.endswith(f".{label}") for name in graph.names)


def is_derived_from(graph: Graph, node: Node, label: str = DELTA) -> bool:
    """Whether the deltas under this label are those of `node`: it has one, and no tail sent it."""
    name = graph.name_of(node)
    sent = f"{name}.{label}<-"
    return f"{name}.{label}" in graph.names and not any(n.startswith(sent) for n in graph.names)


def _leaves(graph: Graph, wrt: str | Node | Iterable[str | Node] | None) -> list[Node]:
    if wrt is None:
        return [n for n in graph.nodes if n.operation in (PARAMETER, INPUT) and n.type.is_float]
    return [graph[name] for name in ([wrt] if isinstance(wrt, str | Node) else wrt)]


def declared_names(graph: Graph, node: Node) -> list[str]:
    """The name that the graph shows, and all others that the node was declared with."""
    shown = graph.name_of(node)
    return [shown, *(n for n in graph.names_of(node) if n in node.names and n != shown)]


def _need_free_names(graph: Graph, nodes: set[Node], label: str) -> None:
    for node in graph.nodes:
        if node in nodes and f"{graph.name_of(node)}.{label}" in graph.names:
            raise DeclarationError(
                f"this graph already has a node called {graph.name_of(node)}.{label}",
                str(node.origin or ""),
                'derive with another label: derive(graph, of, label="delta2")',
            )


def _fitted(seed: Node, target: Node) -> Node:
    if seed.type != target.type:
        raise DeclarationError(
            f"the seed is {seed.type}, the node it is the delta of {target.type}"
        )
    return seed


def _summed(graph: Graph, node: Node, contributions: list[Node], label: str) -> Node:
    """δ_u: the sum of the contributions, left to right, in the scope of u."""
    with placed(graph.name_of(node), node.origin):
        total = contributions[0]
        for contribution in contributions[1:]:
            total = total + contribution
    return total


def send_back(
    graph: Graph, node: Node, delta: Node, between: set[Node], label: str
) -> list[tuple[Node, Node]]:
    """The contributions of `node` to those of its heads that have a delta."""
    if not any(head in between and head.type.is_float for head in node.heads):
        return []
    name = graph.name_of(node)
    rule = node.operation.delta
    if rule is None:
        raise DeclarationError(
            f"{name!r}: the operation {node.operation.name} has no delta rule",
            str(node.origin or ""),
            "wrap its head in stop_gradient(), or give it a rule: with_delta(…)",
        )
    sent = []
    with placed(f"{name}.{'rule' if label == DELTA else label + '_rule'}", node.origin):
        given = rule(delta, node, *node.heads)
        _check_rule(node, given)
        for head, contribution in zip(node.heads, given, strict=True):
            if contribution is None or head not in between or not head.type.is_float:
                continue
            sent.append((head, _same_type(node, head, contribution)))
    return sent


def _check_rule(node: Node, given: Any) -> None:
    """A rule gives a contribution, a node or None, for each head."""
    reason = ""
    if not isinstance(given, tuple | list):
        reason = f"gives {type(given).__name__} and not a tuple of contributions"
    elif len(given) != len(node.heads):
        reason = f"gives {len(given)} contributions for {len(node.heads)} heads"
    elif wrong := [item for item in given if not isinstance(item, Node | None)]:
        reason = f"gives {type(wrong[0]).__name__} as a contribution"
    if reason:
        raise DeclarationError(
            f"the delta rule of {node.operation.name} {reason}",
            str(node.origin or ""),
            "give (delta_1, delta_2, …): a node for each head, or None where nothing is sent",
        )


def _same_type(node: Node, head: Node, contribution: Node) -> Node:
    """The contribution, summed along the axes in which the head was broadcast."""
    if contribution.rank < head.rank:
        contribution = broadcast_to(contribution, node.shape)
    aligned = contribution.shape[contribution.rank - head.rank :]
    pairs = zip(aligned, head.shape, strict=True)
    if contribution.dtype != head.dtype or not all(a == b or 1 in (a, b) for a, b in pairs):
        raise DeclarationError(
            f"the delta rule of {node.operation.name} gives {contribution.type} for a head of "
            f"type {head.type}",
            str(node.origin or ""),
            "a contribution has the shape of the head or of the result",
        )
    fitted = sum_to(contribution, tuple(1 if a == 1 else b for a, b in zip(
        aligned, head.shape, strict=True)))  # fmt: skip
    return fitted if fitted.shape == head.shape else broadcast_to(fitted, head.shape)


def _free(names: dict[str, Node], name: str) -> str:
    """`name`, numbered where a node uses the same head twice: x · x sends back to x twice."""
    free, number = name, 1
    while free in names:
        number += 1
        free = f"{name}#{number}"
    return free
