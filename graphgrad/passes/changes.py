"""What a pass did to each node, found by comparing the graphs before and after it.

Names survive passes, so they say what became of a node:

    removed    nothing needs it any more           folded     it became a constant
    merged     another node has its value          rewritten  another operation computes it
    rebuilt    the same operation on heads that changed
    added      nodes that no node of the graph before stands for
"""

from __future__ import annotations

from typing import NamedTuple

from graphgrad.graph import LEAVES, Graph, Node, constant

KINDS = ("added", "removed", "merged", "folded", "rewritten", "rebuilt")


class NodeChange(NamedTuple):
    """A name, and the nodes that it means before and after; None where there is none."""

    name: str
    before: Node | None
    after: Node | None


def changes(before: Graph, after: Graph) -> dict[str, list[NodeChange]]:
    """What a pass did, by kind: the nodes of the graph before in their order, then those added."""
    found: dict[str, list[NodeChange]] = {kind: [] for kind in KINDS}
    if same_graph(before, after):
        return found
    for node in before.nodes:
        name = before.name_of(node)
        new = after.names.get(name)
        if new is not node:
            kind = "removed" if new is None else _kind(before, node, new)
            found[kind].append(NodeChange(name, node, new))
    for node in after.nodes:
        if node not in before and not any(name in before.names for name in after.names_of(node)):
            found["added"].append(NodeChange(after.name_of(node), None, node))
    return found


def same_graph(before: Graph, after: Graph) -> bool:
    """Whether a pass found nothing to do: nodes are equal where they are the same."""
    return before is after or (before.nodes == after.nodes and before.names == after.names)


def _kind(before: Graph, old: Node, new: Node) -> str:
    if new.operation is constant:
        return "folded"
    if new in before:
        return "merged"
    same = new.operation is old.operation and len(new.heads) == len(old.heads)
    if same and (new.operation in LEAVES or _attributes(old) == _attributes(new)):
        return "rebuilt"
    return "rewritten"


def _attributes(node: Node) -> list[str]:
    """The attributes without sizes, which change when a graph is specialised."""
    return [name for name, value in node.attributes.items() if isinstance(value, bool) and value]
