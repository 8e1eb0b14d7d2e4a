"""Answers which node is the delta of which in a graph: the methods of `Graph` about deltas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from graphgrad.errors import UnknownNameError
from graphgrad.graph.deltas import DELTA, Change, Contribution, Delta, Derivation
from graphgrad.graph.node import Node


class DeltaQueries:
    """The deltas, contributions and cuts that the derivations of a graph have recorded.

    Each method takes a node or the name of one. A name means the node that had it when its delta
    was derived, whatever a pass has made of it since.
    """

    nodes: tuple[Node, ...]
    derivations: tuple[Derivation, ...]

    if TYPE_CHECKING:  # what `Graph` has

        def __getitem__(self, name: str | Node) -> Node: ...

        def name_of(self, node: Node) -> str: ...

        def position(self, node: Node) -> int: ...

    @cached_property
    def deltas(self) -> Mapping[Node, Node]:
        """δ_u of every node u that has a delta, in order. (For another label, see `delta`.)

        >>> x = gg.input("x", 3)
        >>> graph = gg.derive(gg.Graph({"loss": gg.sum(x * x, name="loss")}), "loss")
        >>> [graph.name_of(node) for node in graph.deltas]
        ['x', 'multiply', 'loss']
        """
        found = ((node, self.delta_or_none(node)) for node in self.nodes)
        return {node: delta for node, delta in found if delta is not None}

    def delta(self, node: str | Node, label: str = DELTA) -> Node:
        """The node δ_u = ∂L/∂u, with the shape of u, after `derive` and any pass.

        Raises UnknownNameError if u has no delta in this graph.

        >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(gg.input("x", 3)), name="loss")})
        >>> print(gg.derive(graph, "loss").delta("x").type)
        float32[3]
        """
        found = self._derived(node, label)
        delta = None if found is None else found[0].value(found[1])
        if found is None or delta is None:
            raise self._without_delta(node)
        delta.asked = found[1].called
        return delta

    def _without_delta(self, node: str | Node) -> UnknownNameError:
        name = node if isinstance(node, str) else self.name_of(node)
        return UnknownNameError(
            f"node {name!r} has no delta in this graph",
            fix="derive(graph, loss) first; a node that the loss does not depend on has none",
        )

    def delta_or_none(self, node: str | Node, label: str = DELTA) -> Node | None:
        """The node δ_u, or None if u has no delta.

        >>> gg.Graph({"x": gg.input("x")}).delta_or_none("x") is None
        True
        """
        found = self._derived(node, label)
        return None if found is None else found[0].value(found[1])

    def delta_name(self, node: str | Node, label: str = DELTA) -> str:
        """The name of δ_u in this graph: `u.delta`, with a number if another node has that name.

        >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(gg.input("x", 3)), name="loss")})
        >>> gg.derive(graph, "loss").delta_name("x")
        'x.delta'
        """
        found = self._derived(node, label)
        if found is None:
            raise self._without_delta(node)
        return found[1].called

    def contributions(self, node: str | Node, label: str = DELTA) -> dict[str, Node]:
        """The contributions δ_{u←t} by the name of the tail t; their sum is δ_u.

        >>> x = gg.input("x", 3)
        >>> loss = gg.sum(gg.add(gg.tanh(x), gg.exp(x)), name="loss")
        >>> sorted(gg.derive(gg.Graph({"loss": loss}), "loss").contributions("x"))
        ['exp', 'tanh']
        """
        found = self._derived(node, label)
        if found is None:
            return {}
        derivation, delta = found
        values = {term.name: derivation.at(term.value) for term in delta.terms}
        return {name: value for name, value in values.items() if value is not None}

    def sent_back(self, node: str | Node, label: str = DELTA) -> tuple[Contribution, ...]:
        """The contributions to δ_u with their tails, in the order of the tails.

        `position` is the number of u among the heads of the tail.

        >>> x = gg.input("x", 3)
        >>> loss = gg.sum(gg.multiply(x, x, name="square"), name="loss")
        >>> graph = gg.derive(gg.Graph({"loss": loss}), "loss")
        >>> [(graph.name_of(each.tail), each.position) for each in graph.sent_back("x")]
        [('square', 0), ('square', 1)]
        """
        found = self._derived(node, label)
        if found is None:
            return ()
        derivation, delta = found
        head, contributions = derivation.at(delta.node), []
        for term in delta.terms:
            tail, value = derivation.at(term.tail), derivation.at(term.value)
            if head is None or tail is None or value is None or head not in tail.heads:
                continue  # a pass has replaced the tail by a node that does not use u
            position = term.position
            if tail.heads[position : position + 1] != (head,):
                position = tail.heads.index(head)
            changes = derivation.changes(term.changes)
            contributions.append(Contribution(tail, position, value, changes))
        return tuple(
            sorted(contributions, key=lambda item: (self.position(item.tail), item.position))
        )

    def cuts(self, node: str | Node, label: str = DELTA) -> tuple[Change[Node], ...]:
        """The changes that cuts made to δ_u, in the order in which they were made.

        >>> from graphgrad.passes.surgery import scale, surgery
        >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(gg.input("x", 3)), name="loss")})
        >>> cut = surgery(gg.derive(graph, "loss"), [scale("x", 0.5)])
        >>> [change.kind for change in cut.cuts("x")]
        ['scale']
        """
        found = self._derived(node, label)
        return () if found is None else found[0].changes(found[1].changes)

    def _derived(self, node: str | Node, label: str) -> tuple[Derivation, Delta[int]] | None:
        """The record of δ_u and the derivation that it is part of."""
        derivations = [each for each in self.derivations if each.label == label]
        if isinstance(node, str):
            for derivation in derivations:
                delta = derivation.named(node)
                if delta is not None:
                    return derivation, delta
        node = self[node]
        shown = self.name_of(node)
        for derivation in derivations:
            delta = derivation.named(shown)
            if delta is None or derivation.at(delta.node) is not node:
                delta = derivation.of_node.get(node)
            if delta is not None:
                return derivation, delta
        return None
