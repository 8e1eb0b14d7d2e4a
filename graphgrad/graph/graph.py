"""A graph: outputs, updates and names over a set of nodes, in one stable topological order.

    graph   = outputs: name -> node       the result of a run
            + updates: leaf -> node       the next value of each parameter and state
            + names:   name -> node       the names for look-up
            + derivations                 which node is the delta of which (deltas.py)
    node    = operation(heads; attributes) : dtype[shape]

A graph holds every node that its outputs, updates and names need; the pass `prune` keeps only what
outputs and updates need. Names survive every pass: a pass returns a new graph in which each name
points to the node that now has that value. The name of a removed node is `retired`: it is never
reused, so it cannot mean another value than in the graph it was read from. The order is the order
of declaration, heads before tails; a rewritten node takes the position of the old one. Nothing here
recurses, so a chain of 100,000 nodes works like any other graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from graphgrad.display import Displayed, renderer
from graphgrad.errors import UnknownNameError
from graphgrad.graph.delta_queries import DeltaQueries
from graphgrad.graph.deltas import Derivation
from graphgrad.graph.interface import check_leaf_names, check_update, output_nodes
from graphgrad.graph.leaves import STATEFUL, input, leaf_name, parameter
from graphgrad.graph.naming import all_names
from graphgrad.graph.node import Node
from graphgrad.graph.order import topological
from graphgrad.graph.single import Single
from graphgrad.graph.text import graph_text, summary
from graphgrad.text import did_you_mean

Entry = TypeVar("Entry")


class Graph(DeltaQueries, Single, Displayed):
    """The nodes that some outputs depend on; immutable, so every change gives a new graph.

    `outputs` is a node, several nodes or a mapping from names to nodes; unnamed outputs are listed
    under their node's name. `updates` gives the next value of parameters and states. `names` are
    further names of nodes. `str(graph)` is one line per node, and `compile(graph)` runs it. A graph
    has `nodes` (in order), `outputs`, `updates`, `names` and `derivations`.

    Raises DeclarationError if an output or an update is not a node, if an update has another type
    than its parameter or state, or if two leaves share a name.

    >>> x = gg.input("x", ("batch", 3))
    >>> graph = gg.Graph({"y": gg.tanh(x, name="y")})
    >>> print(graph)
    %0 = input() : float32[batch, 3]    # x
    %1 = tanh(%0) : float32[batch, 3]    # y
    output y = %1
    >>> graph["y"]
    <y = tanh : float32[batch, 3]>
    """

    def __init__(
        self,
        outputs: Node | Sequence[Node] | Mapping[str, Node],
        updates: Mapping[Node, Node] | None = None,
        names: Mapping[str, Node] | None = None,
        order: Iterable[Node] = (),
        retired: Iterable[str] = (),
        derivations: Iterable[Derivation] = (),
    ) -> None:
        """`order` is the preferred order of the nodes; `names`, `retired` names and `derivations`
        are those of the graph that the nodes come from. Records of other nodes are dropped."""
        self.updates: Mapping[Node, Node] = dict(updates or {})
        wanted = output_nodes(outputs)
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
        """The node of that name; raises UnknownNameError with the nearest names otherwise."""
        if isinstance(name, Node):
            if name not in self:
                raise UnknownNameError(f"node {name.name!r} is not part of this graph")
            return name
        if not isinstance(name, str):
            raise UnknownNameError(
                f"a node is looked up by its name, not by {type(name).__name__} {name!r:.40}",
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

    def heads(self, node: str | Node) -> tuple[Node, ...]:
        """The operands of a node, given by itself or by name, in order.

        >>> gg.Graph({"y": gg.add(gg.input("a"), gg.input("b"), name="y")}).heads("y")
        (<a = input : float32[]>, <b = input : float32[]>)
        """
        return self[node].heads

    def name_of(self, node: Node) -> str:
        """The name by which this graph shows the node.

        >>> x = gg.input("x")
        >>> gg.Graph({"y": gg.exp(x, name="y")}).name_of(x)
        'x'
        """
        return _found(self._shown_names, node)

    def names_of(self, node: Node) -> tuple[str, ...]:
        """All names of the node in this graph, first the one that is shown.

        >>> x = gg.input("x")
        >>> y = gg.alias(gg.exp(x, name="y"), "result")
        >>> gg.Graph({"y": y}).names_of(y)
        ('result', 'y')
        """
        return _found(self._names_by_node, node)

    def tails(self, node: str | Node) -> tuple[Node, ...]:
        """The nodes of this graph that use a node, given by itself or by name, each once, in order.

        >>> x = gg.input("x")
        >>> gg.Graph([gg.exp(x, name="a"), gg.tanh(x, name="b")]).tails("x")
        (<a = exp : float32[]>, <b = tanh : float32[]>)
        """
        return _found(self._tails, self[node] if isinstance(node, str) else node)

    def position(self, node: Node) -> int:
        """The position of the node in the order, from 0.

        >>> x = gg.input("x")
        >>> gg.Graph({"y": gg.exp(x)}).position(x)
        0
        """
        return _found(self._positions, node)

    @cached_property
    def inputs(self) -> Mapping[str, Node]:
        """The inputs by the name under which they are fed.

        >>> gg.Graph({"y": gg.exp(gg.input("x"))}).inputs
        {'x': <x = input : float32[]>}
        """
        return {leaf_name(node): node for node in self.nodes if node.operation is input}

    @cached_property
    def parameters(self) -> Mapping[str, Node]:
        """The parameters by name.

        >>> list(gg.Graph({"y": gg.exp(gg.parameter("w", 3))}).parameters)
        ['w']
        """
        return {leaf_name(node): node for node in self.nodes if node.operation is parameter}

    @cached_property
    def states(self) -> Mapping[str, Node]:
        """All that is kept between runs, by name: parameters first, then states.

        >>> list(gg.Graph({"y": gg.state("s") * gg.parameter("w")}).states)
        ['w', 's']
        """
        kept = [node for node in self.nodes if node.operation in STATEFUL]
        kept.sort(key=lambda node: node.operation is not parameter)
        return {leaf_name(node): node for node in kept}

    def ancestors(self, roots: Iterable[Node]) -> set[Node]:
        """The roots and all nodes that they are computed from.

        >>> x = gg.input("x")
        >>> gg.Graph({"y": gg.exp(x)}).ancestors([x]) == {x}
        True
        """
        seen = set(roots)
        stack = list(seen)
        while stack:
            for head in stack.pop().heads:
                if head not in seen:
                    seen.add(head)
                    stack.append(head)
        return seen

    def descendants(self, roots: Iterable[Node]) -> set[Node]:
        """The roots and all nodes of this graph that are computed from them.

        >>> x = gg.input("x")
        >>> len(gg.Graph({"y": gg.exp(gg.tanh(x))}).descendants([x]))
        3
        """
        seen = set(roots)
        for node in self.nodes:
            if node not in seen and not seen.isdisjoint(node.heads):
                seen.add(node)
        return seen

    def with_outputs(
        self, outputs: Mapping[str, Node], updates: Mapping[Node, Node] | None = None
    ) -> Graph:
        """The same nodes and names with other outputs (and other updates, if given).

        >>> graph = gg.Graph({"y": gg.exp(gg.tanh(gg.input("x"), name="z"))})
        >>> graph.with_outputs({"z": graph["z"]})
        <graph of 3 nodes: inputs x; outputs z>
        """
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
        """A copy of the graph with the given parts replaced; all other parts are carried along.

        >>> graph = gg.Graph({"y": gg.exp(gg.input("x"))})
        >>> graph.changed(updates={}).outputs == graph.outputs
        True
        """
        return Graph(
            self.outputs if outputs is None else outputs,
            self.updates if updates is None else updates,
            self.names if names is None else names,
            self.nodes if order is None else order,
            self.retired if retired is None else retired,
            self.derivations if derivations is None else derivations,
        )

    def replace_nodes(self, replacement: Mapping[Node, Node]) -> Graph:
        """The graph with nodes replaced by others of the same value; names are carried along.

        Tails of a replaced node must be in `replacement` too: `graphgrad.passes.rewrite` rebuilds
        them.

        >>> x = gg.input("x")
        >>> y = gg.multiply(x, x, name="y")
        >>> gg.Graph({"y": y}).replace_nodes({y: gg.power(x, 2.0)})["y"].operation
        <operation power>
        """
        new = replacement.get
        return Graph(
            {name: new(node, node) for name, node in self.outputs.items()},
            {new(leaf, leaf): new(node, node) for leaf, node in self.updates.items()},
            {name: new(node, node) for name, node in self.names.items()},
            [new(node, node) for node in self.nodes],
            self.retired,
            [derivation.replace_nodes(replacement) for derivation in self.derivations],
        )

    def render(self, to: str | Path, **options: Any) -> bytes | None:
        """Draws the graph. Returns the bytes of a format, or writes the file `to` and returns None.

        `to` is a format (txt, dot, svg, png, pdf, json, html, mermaid) or a path that ends in one;
        `format=` overrides the ending. Further options are those of `graphgrad.rendering.View`
        (`graph.render("y.svg", fold=True, direction="up")`) and `seconds`, the time limit for svg,
        png and pdf. Raises the errors of `graphgrad.formats.render`, and EnvironmentLimitError if
        the package is not installed.

        >>> print(gg.Graph({"y": gg.tanh(gg.input("x", 3), name="y")}).render("txt").decode())
        2 forward nodes; 0 parameters of 0 numbers
        ...
        y  tanh x : float32[3]
        ...
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
        raise UnknownNameError(f"{node!r} is not a node of this graph") from None
