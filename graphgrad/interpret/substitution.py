"""Puts another value in the place of one: everything that is computed from it is computed anew.

    >>> import graphgrad as gg
    >>> x, y = gg.input("x", 2), gg.input("y", 2)
    >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(gg.exp(x, name="u"), name="z"), name="loss")})
    >>> print(substituted(graph, {"u": y}))
    %0 = input() : float32[2]    # x
    %1 = exp(%0) : float32[2]    # u
    %2 = input() : float32[2]    # y
    %3 = tanh(%2) : float32[2]    # z
    %4 = sum(%3, axes=(0,), keepdims=False) : float32[]    # loss
    output loss = %4

- A node keeps its own name and value; only what uses it is changed. So `u` above is still exp(x),
  and `z` is tanh(y).
- A replacement is a node, or a function from the node to one: `{"u": lambda u: 2.0 * u}`. The
  function is given the node as it is after the other replacements, so several can be made at once.
- The graph must be forward: deltas are derived anew from the result, since a delta rule may use the
  value that is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphgrad.backprop.derive import has_deltas
from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, declared_at
from graphgrad.graph.node import with_heads

Replacement = Node | Callable[[Node], Node]


def substituted(graph: Graph, replacements: Mapping[str | Node, Replacement]) -> Graph:
    """The graph in which the tails of each of these nodes use its replacement instead.

    An output that is such a node becomes the replacement. Raises UnknownNameError for a node that
    is not in the graph, DeclarationError for a replacement of another type, for one that is
    computed from a node that changes, and for a graph with deltas or updates.
    """
    if has_deltas(graph) or graph.updates:
        raise DeclarationError(
            "values are replaced in a forward graph; this one has deltas or updates",
            fix="replace values first, then derive",
        )
    chosen = {graph[key]: value for key, value in replacements.items()}
    used: dict[Node, Node] = {}  # from a node to what its tails use now
    renamed: dict[Node, Node] = {}
    for old in graph.nodes:
        new = old
        if not used.keys().isdisjoint(old.heads):
            with declared_at(graph.name_of(old), old.origin):
                new = with_heads(old, tuple([used.get(head, head) for head in old.heads]))
            used[old] = renamed[old] = new
        if old in chosen:
            used[old] = _replacement(graph, old, new, chosen[old])
    _need_unchanged(graph, chosen, used)
    names = {name: renamed.get(node, node) for name, node in graph.names.items()}
    outputs = {name: used.get(node, node) for name, node in graph.outputs.items()}
    return graph.changed(outputs, names=names, order=[renamed.get(n, n) for n in graph.nodes])


def _replacement(graph: Graph, old: Node, new: Node, given: Replacement) -> Node:
    value = given if isinstance(given, Node) else given(new)
    if value.type != old.type:
        raise DeclarationError(
            f"{graph.name_of(old)!r} is {old.type}, and what replaces it is {value.type}",
            old.origin,
            "a replacement has the type of the node",
        )
    return value


def _need_unchanged(
    graph: Graph, chosen: Mapping[Node, Replacement], used: Mapping[Node, Node]
) -> None:
    """Raises DeclarationError where a replacement is computed from a node whose own value changes:
    it would mix values from before and after."""
    given = {node: value for node, value in chosen.items() if isinstance(value, Node)}
    for node, value in given.items():
        changed = [
            each
            for each in graph.ancestors([value])
            if each in used and each is not node and each is not value
        ]
        if changed:
            raise DeclarationError(
                f"the replacement of {graph.name_of(node)!r} is computed from "
                f"{graph.name_of(changed[0])!r}, which a replacement changes",
                node.origin,
                "give a function of the node, or replace one node at a time",
            )
