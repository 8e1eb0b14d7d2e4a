"""A graph: outputs, updates and names over a set of nodes, in one stable topological order.

    graph   = outputs: name -> node       what a run returns
            + updates: leaf -> node       the next value of each parameter and state
            + names:   name -> node       what a person can ask for
            + derivations                 which node is the delta of which (deltas.py)
    node    = operation(heads; attributes) : dtype[shape]

A graph holds every node that its outputs, updates and names need; the pass `prune` keeps only what
outputs and updates need. Names survive every pass: a pass returns a new graph in which each name
points to the node that now has that value. A name whose node is no longer needed is `retired`: no
other node gets it, so that it never means another value than in the graph it was read from. The
order is the order of declaration, heads before tails; a rewritten node stands where the old one
stood. Nothing here recurses, so a chain of 100,000 nodes is as good as any other graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from graphgrad.display import Displayed, renderer
from graphgrad.errors import UnknownNameError
from graphgrad.graph.deltas import (
    DELTA,
    Change,
    Contribution,
    Delta,
    Derivation,
)
from graphgrad.graph.interface import check_leaf_names, check_update, wanted_nodes
from graphgrad.graph.leaves import STATEFUL, input, leaf_name, parameter
from graphgrad.graph.naming import all_names
from graphgrad.graph.node import Node
from graphgrad.graph.order import topological
from graphgrad.graph.single import Single
from graphgrad.graph.text import graph_text, summary
from graphgrad.text import did_you_mean

Entry = TypeVar("Entry")


class Graph(Single, Displayed):
    """Immutable; every change is a new graph."""

    def __init__(
        self,
        outputs: Node | Sequence[Node] | Mapping[str, Node],
        updates: Mapping[Node, Node] | None = None,
        names: Mapping[str, Node] | None = None,
        order: Iterable[Node] = (),
        retired: Iterable[str] = (),
        derivations: Iterable[Derivation] = (),
    ) -> None:
        """`outputs` without names are called by their own. `order` is the preferred order.

        `retired` are names that no node may be given without being asked for by them. `derivations`
        are those that the nodes came from; what they say of other nodes is forgotten.
        """
        self.updates: Mapping[Node, Node] = dict(updates or {})
        wanted = wanted_nodes(outputs)
        for leaf, node in self.updates.items():
            check_update(leaf, node)
        roots = [*wanted, *self.updates, *self.updates.values(), *(names or {}).values()]
        self.nodes: tuple[Node, ...] = topological(order, roots)
        self.retired: frozenset[str] = frozenset(retired)
        derivations = tuple(derivations)
        known = frozenset(self.nodes) if derivations else frozenset()
        self.derivations: tuple[Derivation, ...] = tuple(each.within(known) for each in derivations)
        self.names: Mapping[str, Node] = all_names(
            self.nodes, names or {}, self.retired, self.derivations
        )
        self.outputs: Mapping[str, Node] = (
            dict(outputs)
            if isinstance(outputs, Mapping)
            else {self.name_of(node): node for node in wanted}
        )
        check_leaf_names(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._positions

    def __getitem__(self, name: str | Node) -> Node:
        """The node of that name; UnknownNameError with the nearest names where there is none."""
        if isinstance(name, Node):
            if name not in self:
                raise UnknownNameError(f"node {name.name!r} is not part of this graph")
            return name
        if not isinstance(name, str):
            raise UnknownNameError(
                f"a node is asked for by its name, not by {type(name).__name__} {name!r:.40}",
                fix="graph.nodes is all nodes in order",
            )
        found = self.names.get(name, self.outputs.get(name))
        if found is not None:
            found.asked = name
            return found
        known = dict.fromkeys([*self.names, *self.outputs])
        raise UnknownNameError(
            f"no node is called {name!r}",
            fix=did_you_mean(name, known, "print the graph to see its names", 3),
        )

    @cached_property
    def deltas(self) -> Mapping[Node, Node]:
        """δ_u of every node u that has one, in order; of a second derivation, see `delta`."""
        found = ((node, self.delta_or_none(node)) for node in self.nodes)
        return {node: delta for node, delta in found if delta is not None}

    def delta(self, node: str | Node, label: str = DELTA) -> Node:
        """δ_u = ∂L/∂u for the node `u` or the name of one, after `derive` and any pass."""
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
        """The same; None where the node has no delta."""
        found = self._derived(node, label)
        return None if found is None else found[0].value(found[1])

    def delta_name(self, node: str | Node, label: str = DELTA) -> str:
        """The name that δ_u can be asked for by: `u.delta`, where no other node is called so."""
        found = self._derived(node, label)
        if found is None:
            raise self._without_delta(node)
        return found[1].called

    def contributions(self, node: str | Node, label: str = DELTA) -> dict[str, Node]:
        """What each tail sends back to u: the name of tail t -> δ_{u←t}; their sum is δ_u."""
        found = self._derived(node, label)
        if found is None:
            return {}
        derivation, delta = found
        values = {sent.name: derivation.at(sent.value) for sent in delta.sent}
        return {name: value for name, value in values.items() if value is not None}

    def sent_back(self, node: str | Node, label: str = DELTA) -> tuple[Contribution, ...]:
        """The same with the tails themselves, in order, and with the head's place in each."""
        found = self._derived(node, label)
        if found is None:
            return ()
        derivation, delta = found
        head, contributions = derivation.at(delta.node), []
        for sent in delta.sent:
            tail, value = derivation.at(sent.tail), derivation.at(sent.value)
            if head is None or tail is None or value is None or head not in tail.heads:
                continue  # a pass made it something that does not come from the node any more
            place = sent.place
            if tail.heads[place : place + 1] != (head,):
                place = tail.heads.index(head)
            changes = derivation.changes(sent.changes)
            contributions.append(Contribution(tail, place, value, changes))
        return tuple(sorted(contributions, key=lambda item: (self.position(item.tail), item.place)))

    def cuts(self, node: str | Node, label: str = DELTA) -> tuple[Change[Node], ...]:
        """What cuts did to δ_u, the first of them first (`surgery`)."""
        found = self._derived(node, label)
        return () if found is None else found[0].changes(found[1].changes)

    def _derived(self, node: str | Node, label: str) -> tuple[Derivation, Delta[int]] | None:
        """Where δ_u was derived. A name means the node that had it then, whatever it became."""
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

    def heads(self, node: str | Node) -> tuple[Node, ...]:
        """The operands of a node or of the name of one, in order."""
        return self[node].heads

    def name_of(self, node: Node) -> str:
        """The name under which this graph shows the node."""
        return _found(self._shown_names, node)

    def names_of(self, node: Node) -> tuple[str, ...]:
        """All names that the node answers to in this graph."""
        return _found(self._names_by_node, node)

    def tails(self, node: str | Node) -> tuple[Node, ...]:
        """The nodes of this graph that use a node or the name of one, each once, in order."""
        return _found(self._tails, self[node] if isinstance(node, str) else node)

    def position(self, node: Node) -> int:
        """Where the node stands in the order."""
        return _found(self._positions, node)

    @cached_property
    def inputs(self) -> Mapping[str, Node]:
        """The inputs by the name they are fed under."""
        return {leaf_name(node): node for node in self.nodes if node.operation is input}

    @cached_property
    def parameters(self) -> Mapping[str, Node]:
        """The parameters by name."""
        return {leaf_name(node): node for node in self.nodes if node.operation is parameter}

    @cached_property
    def states(self) -> Mapping[str, Node]:
        """Everything that lives between runs by name: parameters first, then states."""
        kept = [node for node in self.nodes if node.operation in STATEFUL]
        kept.sort(key=lambda node: node.operation is not parameter)
        return {leaf_name(node): node for node in kept}

    def ancestors(self, roots: Iterable[Node]) -> set[Node]:
        """The roots and all nodes that they are computed from."""
        seen = set(roots)
        stack = list(seen)
        while stack:
            for head in stack.pop().heads:
                if head not in seen:
                    seen.add(head)
                    stack.append(head)
        return seen

    def descendants(self, roots: Iterable[Node]) -> set[Node]:
        """The roots and all nodes of this graph that are computed from them."""
        seen = set(roots)
        for node in self.nodes:
            if node not in seen and not seen.isdisjoint(node.heads):
                seen.add(node)
        return seen

    def with_outputs(
        self, outputs: Mapping[str, Node], updates: Mapping[Node, Node] | None = None
    ) -> Graph:
        """The same nodes and names with other outputs (and updates, where given)."""
        return self.changed(outputs, updates)

    def changed(
        self,
        outputs: Mapping[str, Node] | None = None,
        updates: Mapping[Node, Node] | None = None,
        names: Mapping[str, Node] | None = None,
        order: Iterable[Node] | None = None,
        retired: Iterable[str] | None = None,
        derivations: Iterable[Derivation] | None = None,
    ) -> Graph:
        """The same graph but for what is given: what a pass does not speak of is carried along."""
        return Graph(
            self.outputs if outputs is None else outputs,
            self.updates if updates is None else updates,
            self.names if names is None else names,
            self.nodes if order is None else order,
            self.retired if retired is None else retired,
            self.derivations if derivations is None else derivations,
        )

    def replaced(self, replacement: Mapping[Node, Node]) -> Graph:
        """This graph with each node replaced by another of the same value, names carried along.

        Nodes that `replacement` does not mention stay as they are: rebuilding tails is the
        rewriting driver's work.
        """

        new = replacement.get
        return Graph(
            {name: new(node, node) for name, node in self.outputs.items()},
            {new(leaf, leaf): new(node, node) for leaf, node in self.updates.items()},
            {name: new(node, node) for name, node in self.names.items()},
            [new(node, node) for node in self.nodes],
            self.retired,
            [derivation.replaced(replacement) for derivation in self.derivations],
        )

    def render(self, to: str | Path, **options: Any) -> bytes | None:
        """Draw this graph: the bytes of a format, or None where `to` is a file, which is written.

            graph.render("network.html")
            graph.render("network.svg", deltas="none", fold=True, direction="up")
            text = graph.render("txt").decode()

        `to` is a format (txt, dot, svg, png, pdf, json, html, mermaid) or a path whose ending is
        one; `format=` overrides the ending. Further options are those of
        `graphgrad.rendering.View` and `seconds`, the limit of time for svg, png and pdf. The errors
        are those of `graphgrad.formats.render`, and EnvironmentLimitError where the package is
        not installed.
        """
        return renderer()(self, to, **options)

    @cached_property
    def _positions(self) -> dict[Node, int]:
        return {node: position for position, node in enumerate(self.nodes)}

    @cached_property
    def _names_by_node(self) -> dict[Node, tuple[str, ...]]:
        found: dict[Node, list[str]] = {node: [] for node in self.nodes}
        for name, node in self.names.items():
            found[node].append(name)
        return {node: tuple(names) for node, names in found.items()}

    @cached_property
    def _shown_names(self) -> dict[Node, str]:
        return {node: name for name, node in reversed(list(self.names.items()))}

    @cached_property
    def _tails(self) -> dict[Node, tuple[Node, ...]]:
        found: dict[Node, dict[Node, None]] = {node: {} for node in self.nodes}
        for node in self.nodes:
            for head in node.heads:
                found[head][node] = None
        return {node: tuple(tails) for node, tails in found.items()}

    def __str__(self) -> str:
        return graph_text(self)

    def __repr__(self) -> str:
        return f"<{summary(self)}>"


def _found(table: Mapping[Node, Entry], node: Node) -> Entry:
    try:
        return table[node]
    except KeyError:
        raise UnknownNameError(f"{node!r} is no node of this graph") from None
