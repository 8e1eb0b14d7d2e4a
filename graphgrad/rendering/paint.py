"""Makes the picture of a draft: a box for every node that is drawn, an edge for every use.

A leaf, a mask or a table of positions that several scopes of a large graph use is drawn once in
each of them, because long edges from one box would only cross the picture. If it is a parameter,
the contribution that each scope sends back is drawn beside its box there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphgrad.backprop.formula import cuts_of, delta_formula, short_name
from graphgrad.backprop.selection import owner_of
from graphgrad.graph import Graph, Node, input, parameter, state
from graphgrad.rendering.annotations import Annotations
from graphgrad.rendering.describe import Describer
from graphgrad.rendering.edge_labels import EdgeLabels, EdgeTerm, formulas_text
from graphgrad.rendering.picture import Box, Edge, Label, Picture
from graphgrad.rendering.view import MANY, Draft, Key, Path, View, decide
from graphgrad.text import printable


def picture(
    graph: Graph, view: View | None = None, annotations: Annotations | None = None
) -> Picture:
    """The picture of a graph: with its deltas if the view asks for them, with `annotations` if a
    run is given."""
    return _Painter(decide(graph, view or View()), view or View(), annotations).picture()


class _Painter:
    """Makes the boxes and edges of a draft, in the order of the graph."""

    def __init__(self, draft: Draft, view: View, annotations: Annotations | None) -> None:
        self.draft, self.graph, self.view = draft, draft.graph, view
        self.annotations = annotations or Annotations("", 0, 0, None)
        self.caption = annotations.caption() if annotations else ()
        self.boxes: dict[object, Box] = {}
        self.edges: dict[tuple[object, ...], Edge] = {}
        self.members: dict[Key, list[Node]] = {}
        self.copies: set[Node] = set()
        self.deltas: dict[Node, Box] = {}
        self.describe = Describer(draft)
        self.labels = EdgeLabels(self.describe)
        self.terms: dict[tuple[object, ...], dict[object, list[EdgeTerm]]] = {}
        self.learned = self.graph.descendants(self.graph.parameters.values())

    def picture(self) -> Picture:
        for node in self.draft.drawn:
            self.members.setdefault(self.draft.key(node), []).append(node)
        if not self.describe.neurons and len(self.members) > MANY // 2:
            self.copies = {node for node in self.draft.drawn if self._is_shared(node)}
        for key in self.members:
            if key not in self.copies or self._keeps_original(key):
                self._add_box(key)
        self._set_beside()
        if self.draft.deltas == "contributions":
            for key in list(self.members):
                self._add_delta(key, key)
        for head, tail, position in self._uses():
            self._connect(head, tail, position)
        self._connect_updates()
        scalars = self.describe.neurons and self.view.direction == "auto"
        given = self.view.direction
        return Picture(
            tuple(self.boxes.values()),
            tuple(self.edges.values()),
            self._titles(),
            "neurons" if self.describe.neurons else "layers",
            "right" if scalars else "down" if given == "auto" else given,
            self.caption,
        )

    # ------------------------------------------------------------ boxes

    def _add_box(self, key: Key, copy_scope: Path | None = None) -> Box:
        """Adds the box of a key; with a scope, the copy of it that is drawn there."""
        identity = key if copy_scope is None else (key, copy_scope)
        if identity not in self.boxes:
            box = (
                self.describe.box_of_scope(key, self.members[key])
                if isinstance(key, tuple)
                else self.describe.box_of_node(key)
            )
            if isinstance(key, Node):
                name = self.graph.name_of(key)
                notes = self.annotations
                box = replace(
                    box,
                    figure=notes.values.get(name, ""),
                    fill=notes.fills.get(name, ""),
                    card=notes.cards.get(name, ()),
                )
            if copy_scope is not None:
                box = replace(box, scope=copy_scope, copy=True)
            self.boxes[identity] = replace(box, id=f"n{len(self.boxes)}")
        return self.boxes[identity]

    # ------------------------------------------------------------ copies of shared nodes

    def _is_shared(self, node: Node) -> bool:
        """Whether long edges from this node would only cross the picture: a leaf, mask or table of
        positions that several scopes use."""
        if self.draft.parts[node] != "forward" or node in self.draft.stands_for:
            return False
        small = node.operation in (input, parameter, state) or node not in self.learned
        scopes = {
            self.draft.path(self.draft.key(tail))
            for tail in self.graph.tails(node)
            if tail in self.draft.scopes and self.draft.parts[tail] == "forward"
        }
        return small and len(scopes) > 1

    def _keeps_original(self, key: Key) -> bool:
        """A shared leaf is drawn as copies only; a shared result also where it is computed."""
        return not isinstance(key, Node) or bool(key.heads) or key in self.describe.outputs

    def _source(self, head: Node, tail: Node) -> Box:
        """The box that the edge to a tail begins at: of a shared node, the copy in its scope."""
        key = self.draft.key(head)
        scope = self.draft.path(self.draft.key(tail))
        if key not in self.copies:
            return self.boxes[key]
        if self._keeps_original(key) and self.draft.path(key) == scope:
            return self.boxes[key]
        copy = self._add_box(key, scope)
        if self.draft.deltas == "contributions":
            self._add_delta((key, scope), key, tail)
        return copy

    # ------------------------------------------------------------ edges

    def _uses(self) -> Iterator[tuple[Node, Node, int]]:
        """Each use of one drawn node by another: the head, the tail, the head's position in it."""
        for tail in self.draft.drawn:
            for position, head in enumerate(tail.heads):
                if head in self.draft.scopes:
                    yield head, tail, position

    def _connect(self, head: Node, tail: Node, position: int) -> None:
        draft = self.draft
        target = draft.key(tail)
        if draft.key(head) == target or self._between_copies(head, tail):
            return
        if draft.parts[tail] == "delta":
            self._connect_delta(head, tail)
            return
        source, drain = self._source(head, tail), self.boxes[target]
        edge, label = Edge(source.id, drain.id), self._weight(tail)
        if label is not None:
            tooltip = self.describe.tooltip(draft.weights[tail])
            shown = self.annotations.values.get(self.graph.name_of(draft.weights[tail]), "")
            edge = replace(edge, label=label, weight=True, tooltip=tooltip, figure=shown)
        self._edge(edge)
        if draft.deltas == "contributions":
            self._mirror(head, tail, position)

    def _between_copies(self, head: Node, tail: Node) -> bool:
        """Whether the edge leads from one repetition of a folded scope to the next."""
        for first in self.draft.repeated:
            inside = [self._inside(node, first) for node in (head, tail)]
            if all(inside) and inside[0] != inside[1]:
                return True
        return False

    def _inside(self, node: Node, first: Path) -> Path | None:
        """The repetition of the folded scope that the node was declared in."""
        path = self.draft.scopes[node][: len(first)]
        last = int(self.draft.repeated[first][0][-1])
        near = path[:-1] == first[:-1] and path[-1].isdecimal() if path else False
        return path if near and int(first[-1]) <= int(path[-1]) <= last else None

    def _connect_delta(self, head: Node, tail: Node) -> None:
        """Adds the edge of a value that a delta is computed from.

        Between two deltas the value flows from head to tail, so the edge is reversed.
        """
        source, drain = self._source(head, tail), self.boxes[self.draft.key(tail)]
        if self.draft.parts[head] == "delta":
            self._edge(Edge(drain.id, source.id, "delta"))
        else:
            self._edge(Edge(source.id, drain.id, "use"))

    def _connect_updates(self) -> None:
        """Adds edges from deltas that are drawn beside their nodes to the updates that use them."""
        for tail in self.draft.drawn:
            for head in tail.heads if self.draft.parts[tail] == "update" else ():
                if head in self.deltas and head not in self.draft.scopes:
                    drain = self.boxes[self.draft.key(tail)]
                    self._edge(Edge(self.deltas[head].id, drain.id, "use"))

    def _edge(self, edge: Edge) -> None:
        self.edges[edge.head, edge.tail, edge.kind, edge.label] = edge

    # ------------------------------------------------------------ deltas

    def _set_beside(self) -> None:
        """Puts each delta that is drawn as a node beside the node whose delta it is."""
        for key, box in list(self.boxes.items()):
            if isinstance(key, Node) and box.kind == "delta":
                owner = owner_of(self.graph, key, self.draft.parts)
                beside = None if owner is None else self.boxes.get(owner.node)
                if beside is not None and beside.scope == box.scope:
                    self.boxes[key] = replace(box, beside=beside.id)

    def _add_delta(self, identity: object, key: Key, tail: Node | None = None) -> None:
        """Adds the box of δ beside a box; beside a copy, the contribution of the tail there."""
        nodes = self.members[key]
        main = key if isinstance(key, Node) else nodes[-1]
        if identity not in self.boxes or (identity, "δ") in self.boxes:
            return
        if main.operation is input:  # an input is not learned; `nodes` shows its delta too
            return
        if not any(self.graph.delta_or_none(node) is not None for node in nodes):
            return
        box, delta = self.boxes[identity], self.graph.delta_or_none(main)
        sender = "" if tail is None else f"←{short_name(self.graph, tail, None)}"
        names = ", ".join(map(printable, self.graph.names_of(main)))
        lines = [f"δ[{names}]"] if isinstance(key, Node) else []
        lines += [f"= {delta_formula(self.graph, main)}"] if isinstance(key, Node) else []
        lines += [str(delta.type)] if delta is not None and isinstance(key, Node) else []
        tags = tuple(f"δ {tag}" for tag in box.tags)
        shown = tail is None and isinstance(key, Node)
        name = self.graph.name_of(main) if shown else ""
        self.boxes[identity, "δ"] = Box(
            f"n{len(self.boxes)}",
            _delta_label(box.label, sender),
            "delta",
            box.scope,
            detail=", ".join(cuts_of(self.graph, self.graph.cuts(main))) if tail is None else "",
            tags=tags,
            tooltip="\n".join(lines),
            beside=box.id,
            round=box.round,
            copy=box.copy,
            figure=self.annotations.deltas.get(name, ""),
            card=self.annotations.delta_cards.get(name, ()),
        )
        if delta is not None and tail is None:
            self.deltas.setdefault(delta, self.boxes[identity, "δ"])

    def _mirror(self, head: Node, tail: Node, position: int) -> None:
        """Adds the edge of the contribution that the tail sends back, beside the edge of the value.

        The contributions of one edge are one sum. An edge that is drawn for several repetitions of
        a scope is labelled with the sum of the first repetition.
        """
        key = self.draft.key(head)
        copied = (key, self.draft.path(self.draft.key(tail)))
        above = self.boxes.get((copied, "δ")) or self.boxes.get((key, "δ"))
        below = self.boxes.get((self.draft.key(tail), "δ"))
        term = self.labels.term(head, tail, position)
        if above is None or below is None or term is None:
            return
        weight = self._weight(tail)
        line = (above.id, below.id, "delta", weight)
        repetitions = self.terms.setdefault(line, {})
        repetition = self._repetition(head), self._repetition(tail)
        repetitions.setdefault(repetition, []).append(term)
        terms = next(iter(repetitions.values()))
        label, formula = Label(""), ""
        if weight is not None or self._is_between_nodes(head, tail):
            label = self.labels.label(terms, weight)
            formula = formulas_text(terms)
        self.edges[line] = Edge(above.id, below.id, "delta", label, weight is not None, formula)

    def _is_between_nodes(self, head: Node, tail: Node) -> bool:
        """Whether both ends are boxes of these very nodes; the head may also be the output of a
        neuron that is drawn as one circle."""
        key = self.draft.key(head)
        output = self.describe.neurons and isinstance(key, tuple) and self.members[key][-1] is head
        return (isinstance(key, Node) or output) and isinstance(self.draft.key(tail), Node)

    def _weight(self, tail: Node) -> Label | None:
        """The label of the edge that is drawn for this product; None for any other node."""
        weight = self.draft.weights.get(tail)
        if weight is None:
            return None
        return self.describe.weight_label(weight, self.draft.path(self.draft.key(tail)))

    def _repetition(self, node: Node) -> tuple[Path | None, ...]:
        """The repetitions of folded scopes that the node was declared in."""
        return tuple(self._inside(node, first) for first in self.draft.repeated)

    # ------------------------------------------------------------ titles

    def _titles(self) -> dict[Path, str]:
        paths = {
            box.scope[:size] for box in self.boxes.values() for size in range(1, len(box.scope) + 1)
        }
        return {path: self.describe.title(path) for path in sorted(paths)}


def _delta_label(label: Label, sender: str) -> Label:
    """δ with the name of its node; of a neuron, the node error δ_h2 = ∂L/∂a_h2, and ∂L/∂z_h2."""
    if not label.index:
        return Label("δ", label.text + sender)
    return Label("δ" if label.text == "a" else f"∂L/∂{label.text}", label.index + sender)
