"""Where a cut is made: what `u`, `u<-t` or the name of a scope means in a graph with deltas."""

from __future__ import annotations

from collections.abc import Iterable

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import Graph, Node
from graphgrad.graph.deltas import ARROW, Operated, Planned
from graphgrad.text import did_you_mean


def plan_cuts(graph: Graph, cuts: Iterable[Operated], label: str) -> list[Planned[Node]]:
    """The cuts with the nodes that they mean.

    Raises UnknownNameError for a node or edge that is not there or has no delta.
    """
    finder = _Finder(graph, label)
    return [finder.planned(cut) for cut in cuts]


class _Finder:
    """Finds what is cut among the nodes that have a delta of the label."""

    def __init__(self, graph: Graph, label: str) -> None:
        self.graph, self.label = graph, label
        self.with_delta = {
            node for node in graph.nodes if graph.delta_or_none(node, label) is not None
        }

    def planned(self, cut: Operated) -> Planned[Node]:
        head_name, arrow, tail_name = cut.at.partition(ARROW)
        if not arrow or cut.at in self.graph.names:
            return Planned(cut, self._node(cut, cut.at.strip()), None)
        head = self._node(cut, head_name.strip())
        tail = self._node(cut, tail_name.strip(), with_delta=False)
        tails = list(dict.fromkeys(item.tail for item in self.graph.sent_back(head, self.label)))
        if tail not in tails:
            names = " and ".join(repr(self.graph.name_of(each)) for each in tails)
            raise UnknownNameError(
                f"surgery {cut}: {self.graph.name_of(tail)!r} sends nothing back to "
                f"{self.graph.name_of(head)!r}",
                head.origin,
                f"its delta comes from {names or 'nothing'}",
            )
        return Planned(cut, head, tail)

    def _node(self, cut: Operated, name: str, with_delta: bool = True) -> Node:
        graph = self.graph
        node = {**graph.outputs, **graph.names}.get(name)
        node = self._exit(cut, name) if node is None else node
        if node is None:
            known = [graph.name_of(item) for item in graph.nodes if item in self.with_delta]
            raise UnknownNameError(
                f"surgery {cut}: no node is called {name!r}",
                fix=did_you_mean(name, known, "print the graph to see its names", 3),
            )
        if with_delta and node not in self.with_delta:
            raise UnknownNameError(
                f"surgery {cut}: node {name!r} has no delta in this graph",
                node.origin,
                "derive(graph, loss) first; a node that the loss does not depend on has none",
            )
        return node

    def _exit(self, cut: Operated, scope: str) -> Node | None:
        """The one node by which values leave a scope; None where it is no scope."""
        inside = {
            node
            for node in self.with_delta
            if node.heads and self.graph.name_of(node).startswith(f"{scope}.")
        }
        exits = [
            node
            for node in inside
            if any(
                tail in self.with_delta and tail not in inside for tail in self.graph.tails(node)
            )
        ]
        if len(exits) > 1:
            listed = sorted(map(self.graph.name_of, exits))
            raise UnknownNameError(
                f"surgery {cut}: {scope!r} is a scope with several results",
                fix=f"name one of them: {', '.join(listed)}",
            )
        return exits[0] if exits else None


def need_no_updates(graph: Graph, label: str) -> None:
    """DeclarationError where updates are made of the deltas already."""
    found = (graph.delta_or_none(node, label) for node in graph.nodes)
    made = graph.descendants([delta for delta in found if delta is not None])
    for leaf, node in graph.updates.items():
        if node in made:
            raise DeclarationError(
                f"the update of {graph.name_of(leaf)!r} is made of the deltas already",
                leaf.origin,
                "cut first, then declare updates: training_step(graph, settings) does with "
                "settings.surgery",
            )
