"""Paints a picture: a box for whatever stands for itself in the draft, an edge for every use.

A leaf, a mask or a table of positions that several scopes of a large graph use is drawn once in
each of them, because long edges from one box would only cross the picture. A parameter among them
has, beside each of its boxes, the contribution that comes back there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphgrad.backprop.formula import cuts_of, delta_formula, short_name
from graphgrad.backprop.selection import owner_of
from graphgrad.graph import Graph, Node, input, parameter, state
from graphgrad.rendering.describe import Describer
from graphgrad.rendering.figures import Figures
from graphgrad.rendering.picture import Box, Edge, Label, Picture
from graphgrad.rendering.sent import Senders, Sent, formulas
from graphgrad.rendering.view import MANY, Draft, Key, Path, View, decide
from graphgrad.text import printable


def picture(graph: Graph, view: View | None = None, figures: Figures | None = None) -> Picture:
    """The picture of a graph, with deltas where it has them and the view asks for them; with the
    figures of a run, where they are given."""
    return _Painter(decide(graph, view or View()), view or View(), figures).picture()


class _Painter:
    """Makes boxes and edges of a draft, in the order of the graph."""

    def __init__(self, draft: Draft, view: View, figures: Figures | None) -> None:
        self.draft, self.graph, self.view = draft, draft.graph, view
        self.figures = figures or Figures("", 0, 0, None)
        self.caption = figures.caption() if figures else ()
        self.boxes: dict[object, Box] = {}
        self.edges: dict[tuple[object, ...], Edge] = {}
        self.members: dict[Key, list[Node]] = {}
        self.copies: set[Node] = set()
        self.deltas: dict[Node, Box] = {}
        self.describe = Describer(draft)
        self.senders = Senders(self.describe)
        self.sent: dict[tuple[object, ...], dict[object, list[Sent]]] = {}
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
        for head, tail, place in self._uses():
            self._connect(head, tail, place)
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

    def _add_box(self, key: Key, place: object = None, scope: Path | None = None) -> Box:
        """The box of a key; with `place` and `scope`, a copy of it that stands there."""
        identity = key if place is None else (key, place)
        if identity not in self.boxes:
            box = (
                self.describe.box_of_scope(key, self.members[key])
                if isinstance(key, tuple)
                else self.describe.box_of_node(key)
            )
            if isinstance(key, Node):
                shown = self.figures.values.get(self.graph.name_of(key), "")
                box = replace(box, figure=shown)
            if place is not None:
                box = replace(box, scope=scope or (), copy=True)
            self.boxes[identity] = replace(box, id=f"n{len(self.boxes)}")
        return self.boxes[identity]

    # ------------------------------------------------------------ copies of what many use

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
        """The box of a head as its tail sees it: for a shared node the copy in the tail's scope."""
        key = self.draft.key(head)
        scope = self.draft.path(self.draft.key(tail))
        if key not in self.copies:
            return self.boxes[key]
        if self._keeps_original(key) and self.draft.path(key) == scope:
            return self.boxes[key]
        copy = self._add_box(key, scope, scope)
        if self.draft.deltas == "contributions":
            self._add_delta((key, scope), key, tail)
        return copy

    # ------------------------------------------------------------ edges

    def _uses(self) -> Iterator[tuple[Node, Node, int]]:
        """Each use of one drawn node by another, once for each of its places."""
        for tail in self.draft.drawn:
            for place, head in enumerate(tail.heads):
                if head in self.draft.scopes:
                    yield head, tail, place

    def _connect(self, head: Node, tail: Node, place: int) -> None:
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
            shown = self.figures.values.get(self.graph.name_of(draft.weights[tail]), "")
            edge = replace(edge, label=label, weight=True, tooltip=tooltip, figure=shown)
        self._edge(edge)
        if draft.deltas == "contributions":
            self._mirror(head, tail, place)

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
        """Among deltas the value flows from head to tail, so the edge is written the other way."""
        source, drain = self._source(head, tail), self.boxes[self.draft.key(tail)]
        if self.draft.parts[head] == "delta":
            self._edge(Edge(drain.id, source.id, "delta"))
        else:
            self._edge(Edge(source.id, drain.id, "use"))

    def _connect_updates(self) -> None:
        """From deltas that are drawn beside their nodes to the updates that use them."""
        for tail in self.draft.drawn:
            for head in tail.heads if self.draft.parts[tail] == "update" else ():
                if head in self.deltas and head not in self.draft.scopes:
                    drain = self.boxes[self.draft.key(tail)]
                    self._edge(Edge(self.deltas[head].id, drain.id, "use"))

    def _edge(self, edge: Edge) -> None:
        self.edges[edge.head, edge.tail, edge.kind, edge.label] = edge

    # ------------------------------------------------------------ deltas

    def _set_beside(self) -> None:
        """Sets each delta that is drawn as a node beside what it is the delta of."""
        for key, box in list(self.boxes.items()):
            if isinstance(key, Node) and box.kind == "delta":
                owner = owner_of(self.graph, key, self.draft.parts)
                beside = None if owner is None else self.boxes.get(owner.node)
                if beside is not None and beside.scope == box.scope:
                    self.boxes[key] = replace(box, beside=beside.id)

    def _add_delta(self, identity: object, key: Key, tail: Node | None = None) -> None:
        """The box of δ beside a box; beside a copy, that of what the tail there sends back."""
        nodes = self.members[key]
        main = key if isinstance(key, Node) else nodes[-1]
        if identity not in self.boxes or (identity, "δ") in self.boxes:
            return
        if main.operation is input:  # nobody learns an input; `nodes` shows its delta too
            return
        if not any(self.graph.delta_or_none(node) is not None for node in nodes):
            return
        box, deltas = self.boxes[identity], self.graph.delta_or_none(main)
        sender = "" if tail is None else f"←{short_name(self.graph, tail, None)}"
        names = ", ".join(map(printable, self.graph.names_of(main)))
        lines = [f"δ[{names}]"] if isinstance(key, Node) else []
        lines += [f"= {delta_formula(self.graph, main)}"] if isinstance(key, Node) else []
        lines += [str(deltas.type)] if deltas is not None and isinstance(key, Node) else []
        tags = tuple(f"δ {tag}" for tag in box.tags)
        shown = tail is None and isinstance(key, Node)
        figure = self.figures.deltas.get(self.graph.name_of(main), "") if shown else ""
        self.boxes[identity, "δ"] = Box(
            f"n{len(self.boxes)}",
            Label("δ", box.label.text + sender),
            "delta",
            box.scope,
            detail=", ".join(cuts_of(self.graph, self.graph.cuts(main))) if tail is None else "",
            tags=tags,
            tooltip="\n".join(lines),
            beside=box.id,
            round=box.round,
            copy=box.copy,
            figure=figure,
        )
        if deltas is not None and tail is None:
            self.deltas.setdefault(deltas, self.boxes[identity, "δ"])

    def _mirror(self, head: Node, tail: Node, place: int) -> None:
        """The edge of what the tail sends back to the head, beside the edge of the value."""
        key = self.draft.key(head)
        copied = (key, self.draft.path(self.draft.key(tail)))
        above = self.boxes.get((copied, "δ")) or self.boxes.get((key, "δ"))
        below = self.boxes.get((self.draft.key(tail), "δ"))
        sent = self.senders.sent(head, tail, place)
        if above is None or below is None or sent is None:
            return
        weight = self._weight(tail)
        line = (above.id, below.id, "delta", weight)
        # what goes one way is one sum; of an edge drawn for several repetitions, that of the first
        ways = self.sent.setdefault(line, {})
        ways.setdefault((self._repetition(head), self._repetition(tail)), []).append(sent)
        together = next(iter(ways.values()))
        label, formula = Label(""), ""
        if weight is not None or self._is_between_nodes(head, tail):
            label = self.senders.label(together, weight)
            formula = formulas(together)
        self.edges[line] = Edge(above.id, below.id, "delta", label, weight is not None, formula)

    def _is_between_nodes(self, head: Node, tail: Node) -> bool:
        """Whether the boxes at both ends are of these nodes: the head may be the output of a neuron
        that is one circle."""
        key = self.draft.key(head)
        output = self.describe.neurons and isinstance(key, tuple) and self.members[key][-1] is head
        return (isinstance(key, Node) or output) and isinstance(self.draft.key(tail), Node)

    def _weight(self, tail: Node) -> Label | None:
        """What is written at the edge that stands for this product."""
        weight = self.draft.weights.get(tail)
        if weight is None:
            return None
        return self.describe.weight_label(weight, self.draft.path(self.draft.key(tail)))

    def _repetition(self, node: Node) -> tuple[Path | None, ...]:
        """Which repetitions of folded scopes the node was declared in."""
        return tuple(self._inside(node, first) for first in self.draft.repeated)

    # ------------------------------------------------------------ titles

    def _titles(self) -> dict[Path, str]:
        paths = {
            box.scope[:size] for box in self.boxes.values() for size in range(1, len(box.scope) + 1)
        }
        return {path: self.describe.title(path) for path in sorted(paths)}
