"""A graph: outputs, updates and names over a set of nodes, in one stable topological order.

    graph   = outputs: name -> node       what a run returns
            + updates: leaf -> node       the next value of each parameter and state
            + names:   name -> node       what a person can ask for
    node    = operation(heads; attributes) : dtype[shape]

A graph holds every node that its outputs, updates and names need; the pass `prune` keeps only what
outputs and updates need. Names survive every pass: a pass returns a new graph in which each name
points to the node that now has that value. A name whose node is no longer needed is `retired`: no
other node gets it, so that it never means another value than in the graph it was read from. The
order is the order of declaration, heads before tails; a rewritten node stands where the old one
stood. Nothing here recurses, so a chain of 100,000 nodes is as good as any other graph.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.display import graph_html, summary
from graphgrad.graph.html import mimebundle, picture, renderer
from graphgrad.graph.leaves import INPUT, PARAMETER, STATEFUL, leaf_name
from graphgrad.graph.node import Node, has_default_name
from graphgrad.graph.text import graph_text

Entry = TypeVar("Entry")

DELTA = "delta"
"""The delta of `u` is named `u.delta`; what tail `t` contributes to it `u.delta<-t`."""


class Graph:
    """Immutable; every change is a new graph."""

    def __init__(
        self,
        outputs: Node | Sequence[Node] | Mapping[str, Node],
        updates: Mapping[Node, Node] | None = None,
        names: Mapping[str, Node] | None = None,
        order: Iterable[Node] = (),
        retired: Iterable[str] = (),
    ) -> None:
        """`outputs` without names are called by their own. `order` is the preferred order.

        `retired` are names that no node may be given without being asked for by them.
        """
        self.updates: Mapping[Node, Node] = dict(updates or {})
        wanted: list[Node]
        if isinstance(outputs, Mapping):
            wanted = list(outputs.values())
        else:
            wanted = [outputs] if isinstance(outputs, Node) else list(outputs)
        roots = [*wanted, *self.updates, *self.updates.values(), *(names or {}).values()]
        self.nodes: tuple[Node, ...] = _topological(order, roots)
        self.retired: frozenset[str] = frozenset(retired)
        self.names: Mapping[str, Node] = _all_names(self.nodes, names or {}, self.retired)
        self.outputs: Mapping[str, Node] = (
            dict(outputs)
            if isinstance(outputs, Mapping)
            else {self.name_of(node): node for node in wanted}
        )
        _check_leaf_names(self.nodes)

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
        if name in self.names:
            return self.names[name]
        if name in self.outputs:
            return self.outputs[name]
        near = difflib.get_close_matches(name, [*self.names, *self.outputs], 3, 0.4)
        raise UnknownNameError(
            f"no node is called {name!r}",
            fix=f"did you mean {' or '.join(map(repr, near))}?" if near
            else "print the graph to see its names",
        )  # fmt: skip

    def delta(self, node: str | Node) -> Node:
        """δ_u = ∂L/∂u for the node `u` or the name of one, after `derive` and any pass."""
        name = self._checked_name(node)
        if f"{name}.{DELTA}" in self.names:
            return self.names[f"{name}.{DELTA}"]
        raise UnknownNameError(
            f"node {name!r} has no delta in this graph",
            fix="derive(graph, loss) first; a node that the loss does not depend on has none",
        )

    def contributions(self, node: str | Node) -> dict[str, Node]:
        """What each tail sends back to u: the name of tail t -> δ_{u←t}; their sum is δ_u."""
        prefix = f"{self._checked_name(node)}.{DELTA}<-"
        return {
            key.removeprefix(prefix): node
            for key, node in self.names.items()
            if key.startswith(prefix)
        }

    def _checked_name(self, node: str | Node) -> str:
        """The name of a node of this graph; UnknownNameError where it is not part of it."""
        found = self[node]
        return node if isinstance(node, str) else self.name_of(found)

    def name_of(self, node: Node) -> str:
        """The name under which this graph shows the node."""
        return _found(self._shown_names, node)

    def names_of(self, node: Node) -> tuple[str, ...]:
        """All names that the node answers to in this graph."""
        return _found(self._names_by_node, node)

    def tails(self, node: Node) -> tuple[Node, ...]:
        """The nodes of this graph that use `node`, each once, in order."""
        return _found(self._tails, node)

    def position(self, node: Node) -> int:
        """Where the node stands in the order."""
        return _found(self._positions, node)

    @cached_property
    def inputs(self) -> Mapping[str, Node]:
        """The inputs by the name they are fed under."""
        return {leaf_name(node): node for node in self.nodes if node.operation is INPUT}

    @cached_property
    def parameters(self) -> Mapping[str, Node]:
        """The parameters by name."""
        return {leaf_name(node): node for node in self.nodes if node.operation is PARAMETER}

    @cached_property
    def states(self) -> Mapping[str, Node]:
        """Everything that lives between runs by name: parameters first, then states."""
        kept = [node for node in self.nodes if node.operation in STATEFUL]
        kept.sort(key=lambda node: node.operation is not PARAMETER)
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
        return Graph(
            outputs,
            self.updates if updates is None else updates,
            self.names,
            self.nodes,
            self.retired,
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
        )

    def render(self, to: str | Path, **options: Any) -> bytes | None:
        """Draw this graph: the bytes of a format, or None where `to` is a file, which is written.

            graph.render("network.html")
            graph.render("network.svg", deltas="none", fold=True, direction="up")
            text = graph.render("txt").decode()

        `to` is a format (txt, dot, svg, png, pdf, json, html, mermaid) or a path whose ending is
        one; `format=` overrides the ending. Further options are those of
        `graphgrad.rendering.View` and `seconds`, the limit of time for svg, png and pdf. The errors
        are those of `graphgrad.rendering.render`, and EnvironmentLimitError where the package is
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

    def _repr_html_(self) -> str:
        return graph_html(self, picture(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return mimebundle(self, lambda drawn: graph_html(self, drawn), include, exclude)


def _found(table: Mapping[Node, Entry], node: Node) -> Entry:
    try:
        return table[node]
    except KeyError:
        raise UnknownNameError(f"{node!r} is no node of this graph") from None


def _topological(order: Iterable[Node], roots: Iterable[Node]) -> tuple[Node, ...]:
    """All nodes that the roots need, heads before tails, as near to `order` as that allows.

    Nodes outside `order` come in the order of their declaration, just before they are needed.
    """
    preferred = dict.fromkeys(order)
    extra = [node for node in dict.fromkeys(roots) if node not in preferred]
    placed = _heads_first([*preferred, *sorted(extra, key=_serial)])
    if preferred:
        return tuple(placed)
    # what is shared stands where it is first needed, so that a model which declared it earlier
    # cannot change the order of this one
    return tuple(_heads_first([*sorted(_own(placed), key=_serial), *placed]))


def _heads_first(roots: Iterable[Node]) -> dict[Node, None]:
    placed: dict[Node, None] = {}
    for root in roots:
        for head in root.heads:
            if head not in placed:
                break
        else:  # as everywhere in an order that was valid before
            placed[root] = None
            continue
        stack = [root]
        while stack:
            node = stack[-1]
            missing = [head for head in node.heads if head not in placed]
            if missing:
                stack.extend(reversed(missing))
            else:
                placed[stack.pop()] = None
    return placed


def _own(nodes: Iterable[Node]) -> set[Node]:
    """The nodes (given heads first) that a user's data flows into; all others, made of numbers
    only, are shared by all models that are alive."""
    own: set[Node] = set()
    for node in nodes:
        if not own.isdisjoint(node.heads) or _holds_data(node):
            own.add(node)
    return own


def _holds_data(node: Node) -> bool:
    return node.operation is INPUT or node.operation in STATEFUL


def _serial(node: Node) -> int:
    return node.serial


def _all_names(
    nodes: Sequence[Node], given: Mapping[str, Node], retired: Collection[str]
) -> dict[str, Node]:
    """The given names, and for every node without one the names it was declared with.

    Where two nodes were declared with the same name, or one with a name that is retired, the later
    one gets a number.
    """
    names = dict(given)
    named = set(given.values())
    unnamed = [node for node in nodes if node not in named]
    borrowed = _borrowed_names(nodes, given) if unnamed else {}
    numbers: dict[str, int] = {}  # the last number given to each name, so that none is tried twice
    for node in unnamed:
        for name in borrowed.get(node, node.names):
            free = name
            while free in names or free in retired:
                numbers[name] = numbers.get(name, 0) + 1
                free = f"{name}_{numbers[name]}"
            names[free] = node
    return names


def _borrowed_names(
    nodes: Sequence[Node], given: Mapping[str, Node]
) -> dict[Node, tuple[str, ...]]:
    """Names for what is shared and has none of its own: in the scope of its first tail, whatever
    model declared it first. So a graph has the same names in every process."""
    own = _own(nodes)
    shown = {name_of: name for name, name_of in reversed(list(given.items()))}
    names: dict[Node, tuple[str, ...]] = {}
    first_tail: dict[Node, Node] = {}
    for node in reversed(nodes):
        if node not in own and node not in shown and has_default_name(node):
            tail, near = first_tail.get(node), ""
            if tail is not None:
                near = shown.get(tail) or names.get(tail, tail.names)[0]
            scope = near.partition("<-")[0].rpartition(".")[0]
            names[node] = (f"{scope}.{node.operation.name}" if scope else node.operation.name,)
        first_tail.update(dict.fromkeys(node.heads, node))
    return names


def _check_leaf_names(nodes: Sequence[Node]) -> None:
    known: dict[str, Node] = {}
    for node in nodes:
        if not node.heads and _holds_data(node):
            other = known.setdefault(leaf_name(node), node)
            if other is not node:
                raise DeclarationError(
                    f"two leaves of one graph are called {leaf_name(node)!r}",
                    f"{other.origin} and {node.origin}",
                    "give them different names, or declare them in different scopes",
                )
