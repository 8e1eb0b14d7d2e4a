"""A picture of a graph before it is laid out: boxes in scopes, edges between them, plain text.

Every writer (DOT here, others later) draws the same picture, so none of them decides what is shown.
Texts are the raw names of the user; escaping them is each writer's own duty.

    forward     head ──────────▶ tail       the value flows
    delta       δ_head ◀────── δ_tail       with what the tail's rule makes of δ on it

Edges always point from head to tail, those of deltas too: a writer that ranks by edges gets every
delta beside its node and no edge against the order (the "mirror").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from graphgrad.graph import CONSTANT, DELTA, INPUT, PARAMETER, STATE, Graph, Node
from graphgrad.graph.text import attributes_text
from graphgrad.graph.types import shape_text
from graphgrad.inspection.formula import (
    contribution_formula,
    delta_formula,
    factor_text,
    short_name,
    value_formula,
)
from graphgrad.inspection.selection import contributions_of, delta_of
from graphgrad.ops import add
from graphgrad.rendering.view import MANY, Draft, Key, Path, View, decide

_ENDING = f".{DELTA}"

Kind = Literal[
    "input", "parameter", "state", "known", "operation", "output", "scope", "delta", "step", "update"
]


@dataclass(frozen=True, slots=True)
class Label:
    """A text with an index below: w and x1→h2."""

    text: str
    index: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: `kind` gives the colour, `detail` a second line, `tags` parameters written in it."""

    id: str
    label: Label
    kind: Kind
    scope: Path
    detail: str = ""
    tags: tuple[str, ...] = ()
    tooltip: str = ""
    beside: str = ""
    """The id of the box whose delta this is: both get the same rank."""
    round: bool = False
    named: bool = True
    """Whether a person gave the name, so that it is more than the operation's."""
    copy: bool = False
    """Whether this is one of several boxes of a node that is used in many places."""


@dataclass(frozen=True, slots=True)
class Edge:
    """From head to tail; `kind` is value, delta (flows from tail to head) or use (a value that the
    computation of a delta needs)."""

    head: str
    tail: str
    kind: Literal["value", "delta", "use"] = "value"
    label: Label = Label("")
    weight: bool = False
    """Whether the edge stands for a product with a parameter."""
    tooltip: str = ""


@dataclass(frozen=True)
class Picture:
    """Boxes and edges; `titles` of scopes; `style` is `neurons` where weights are on edges."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    titles: dict[Path, str]
    style: Literal["layers", "neurons"]
    direction: Literal["down", "right"]


def picture(graph: Graph, view: View | None = None) -> Picture:
    """The picture of a graph, with deltas where it has them and the view asks for them."""
    return _Painter(decide(graph, view or View()), view or View()).picture()


class _Painter:
    """Makes boxes and edges of a draft, in the order of the graph."""

    def __init__(self, draft: Draft, view: View) -> None:
        self.draft, self.graph, self.view = draft, draft.graph, view
        self.boxes: dict[object, Box] = {}
        self.edges: dict[tuple[object, ...], Edge] = {}
        self.members: dict[Key, list[Node]] = {}
        self.copies: set[Node] = set()
        self.outputs = set(self.graph.outputs.values())
        self.neurons = bool(draft.weights)
        self.learned = self.graph.descendants(self.graph.parameters.values())

    def picture(self) -> Picture:
        for node in self.draft.drawn:
            self.members.setdefault(self.draft.key(node), []).append(node)
        if not self.neurons and len(self.members) > MANY // 2:
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
        scalars = self.neurons and self.view.direction == "auto"
        right = scalars or self.view.direction == "right"
        return Picture(
            tuple(self.boxes.values()),
            tuple(self.edges.values()),
            self._titles(),
            "neurons" if self.neurons else "layers",
            "right" if right else "down",
        )

    # ------------------------------------------------------------ boxes

    def _add_box(self, key: Key, place: object = None, scope: Path | None = None) -> Box:
        """The box of a key; with `place` and `scope`, a copy of it that stands there."""
        identity = key if place is None else (key, place)
        if identity not in self.boxes:
            box = self._box_of_scope(key) if isinstance(key, tuple) else self._box_of_node(key)
            if place is not None:
                box = replace(box, scope=scope or (), copy=True)
            self.boxes[identity] = replace(box, id=f"n{len(self.boxes)}")
        return self.boxes[identity]

    def _box_of_node(self, node: Node) -> Box:
        scope = self.draft.scopes[node]
        kind, label = self._kind(node), self._label(node, scope)
        operation, shape = self._operation(node), shape_text(node.shape) if node.shape else ""
        default = re.fullmatch(rf"{re.escape(node.operation.name)}(_\d+)?", label.text)
        if default:
            label, operation = Label(operation), ""
        return Box(
            "", label, kind, scope, named=not default,
            detail="  ".join(filter(None, [operation, "" if self.neurons else shape])),
            tags=tuple(self._tags(node)), tooltip=self._tooltip(node),
            round=self.neurons and kind in ("input", "operation", "output"),
        )  # fmt: skip

    def _box_of_scope(self, path: Path) -> Box:
        members = self.members[path]
        ends = [node for node in members if node in self.outputs]
        count = f"{len(members)} nodes" if len(members) > 1 else members[0].operation.name
        return Box("", Label(self._title(path)), "output" if ends else "scope", path[:-1],
                   detail=count, tooltip=".".join(path))  # fmt: skip

    def _kind(self, node: Node) -> Kind:
        part = self.draft.parts[node]
        if part == "update":
            return "update"
        if part == "delta":
            return "delta" if self._is_delta(node) else "step"
        if node in self.outputs:
            return "output"
        leaves: dict[object, Kind] = {INPUT: "input", PARAMETER: "parameter", STATE: "state"}
        known = node.operation is CONSTANT or not (
            node.operation in leaves or any(head in self.draft.scopes for head in node.heads)
        )
        return leaves.get(node.operation, "known" if known else "operation")

    def _is_delta(self, node: Node) -> bool:
        return self.graph.name_of(node).endswith(_ENDING)

    def _label(self, node: Node, scope: Path) -> Label:
        name = self.graph.name_of(node)
        prefix = ".".join(scope) + "."
        if self._kind(node) == "delta":
            owner = name.removesuffix(_ENDING)
            return Label("δ", owner.removeprefix(prefix) if scope else owner)
        return Label(name.removeprefix(prefix) if scope else name)

    def _operation(self, node: Node) -> str:
        """The operation with its hidden constants; the dtype of a leaf that is no float."""
        if self.draft.parts[node] == "forward" and node.operation is add and self._is_sum(node):
            return "Σ"
        if node.operation is CONSTANT:
            return attributes_text(node)
        if node.operation in (INPUT, PARAMETER, STATE):
            return "" if node.type.is_float else str(node.dtype)
        hidden = [short_name(self.graph, head) for head in node.heads
                  if head.operation is CONSTANT and head not in self.draft.scopes]  # fmt: skip
        return " ".join([node.operation.name, *hidden])

    def _is_sum(self, node: Node) -> bool:
        return any(self.draft.stands_for.get(head) is node and bool(head.heads)
                   for head in node.heads)  # fmt: skip

    def _tags(self, node: Node) -> Iterator[str]:
        for parameter in self.draft.inside.get(node, ()):
            name = self._label(parameter, self.draft.scopes[node]).text
            yield f"{name} {shape_text(parameter.shape)}" if parameter.shape else name

    def _tooltip(self, node: Node) -> str:
        lines = [", ".join(self.graph.names_of(node)), f"{node.operation.name} : {node.type}"]
        formula, delta = value_formula(self.graph, node), delta_formula(self.graph, node)
        lines += [f"= {formula}"] if formula else []
        lines += [f"δ = {delta}"] if delta else []
        lines += [str(node.origin)] if node.origin else []
        return "\n".join(lines)

    # ------------------------------------------------------------ copies of what many use

    def _is_shared(self, node: Node) -> bool:
        """Whether long edges from this node would only cross the picture: a leaf, mask or table of
        positions that several scopes use."""
        if self.draft.parts[node] != "forward" or node in self.draft.stands_for:
            return False
        small = node.operation in (INPUT, PARAMETER, STATE) or node not in self.learned
        scopes = {self.draft.path(self.draft.key(tail)) for tail in self.graph.tails(node)
                  if tail in self.draft.scopes and self.draft.parts[tail] == "forward"}  # fmt: skip
        return small and len(scopes) > 1

    def _keeps_original(self, key: Key) -> bool:
        """A shared leaf is drawn as copies only; a shared result also where it is computed."""
        return not isinstance(key, Node) or bool(key.heads) or key in self.outputs

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
        weight = draft.weights.get(tail)
        if weight is head:
            return
        label = self._weight_label(weight, draft.path(target)) if weight is not None else Label("")
        name = self._tooltip(weight) if weight is not None else ""
        self._edge(Edge(source.id, drain.id, "value", label, weight is not None, name))
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

    def _edge(self, edge: Edge) -> None:
        self.edges[edge.head, edge.tail, edge.kind, edge.label] = edge

    def _weight_label(self, weight: Node, scope: Path) -> Label:
        """`w.x1->h2` is w with the index x1→h2; any other name stands as it is."""
        name = self._label(weight, scope).text
        front, _, back = name.rpartition(".")
        if "->" in back and front:
            return Label(front, back.replace("->", "→"))
        return Label(name)

    # ------------------------------------------------------------ deltas

    def _set_beside(self) -> None:
        """Sets each delta that is drawn as a node beside what it is the delta of."""
        for key, box in list(self.boxes.items()):
            if isinstance(key, Node) and box.kind == "delta":
                owner = self.graph.names.get(self.graph.name_of(key).removesuffix(_ENDING))
                beside = self.boxes.get(owner) if owner is not None else None
                if beside is not None and beside.scope == box.scope:
                    self.boxes[key] = replace(box, beside=beside.id)

    def _add_delta(self, identity: object, key: Key, tail: Node | None = None) -> None:
        """The box of δ beside a box; beside a copy, that of what the tail there sends back."""
        nodes = self.members[key]
        main = key if isinstance(key, Node) else nodes[-1]
        if identity not in self.boxes or (identity, "δ") in self.boxes:
            return
        if main.operation is INPUT:  # nobody learns an input; `nodes` shows its delta too
            return
        if not any(delta_of(self.graph, node) is not None for node in nodes):
            return
        box, deltas = self.boxes[identity], delta_of(self.graph, main)
        index = box.label.text if tail is None else f"{box.label.text}←{self._local(tail)}"
        lines = [f"δ[{', '.join(self.graph.names_of(main))}]"]
        lines += [f"= {delta_formula(self.graph, main)}"] if isinstance(key, Node) else []
        lines += [str(deltas.type)] if deltas is not None else []
        tags = tuple(f"δ {tag}" for tag in box.tags)
        self.boxes[identity, "δ"] = Box(
            f"n{len(self.boxes)}", Label("δ", index), "delta", box.scope, tags=tags,
            tooltip="\n".join(lines), beside=box.id, round=box.round, copy=box.copy,
        )  # fmt: skip

    def _local(self, node: Node) -> str:
        return short_name(self.graph, node, None)

    def _mirror(self, head: Node, tail: Node, place: int) -> None:
        """The edge of what the tail sends back to the head, beside the edge of the value."""
        key = self.draft.key(head)
        copied = (key, self.draft.path(self.draft.key(tail)))
        above = self.boxes.get((copied, "δ")) or self.boxes.get((key, "δ"))
        below = self.boxes.get((self.draft.key(tail), "δ"))
        sent = any(item.tail is tail for item in contributions_of(self.graph, head))
        if above is None or below is None or not sent:
            return
        weight = tail in self.draft.weights  # the edge of the value beside it bears its name
        inner = isinstance(key, tuple) or isinstance(self.draft.key(tail), tuple)
        label = Label("" if weight or inner else self._factor(tail, place))
        formula = "" if inner else contribution_formula(self.graph, tail, place)
        self._edge(Edge(above.id, below.id, "delta", label, weight, formula))

    def _factor(self, tail: Node, place: int) -> str:
        """What becomes of δ on its way, where it is more than another order or shape."""
        if tail.operation.view is not None:
            return ""
        text = factor_text(self.graph, tail, place).split(", ")[0]
        return "" if text == "δ" else text

    # ------------------------------------------------------------ titles

    def _titles(self) -> dict[Path, str]:
        paths = {box.scope[:size] for box in self.boxes.values()
                 for size in range(1, len(box.scope) + 1)}  # fmt: skip
        return {path: self._title(path) for path in sorted(paths)}

    def _title(self, path: Path) -> str:
        def name(path: Path) -> str:
            return ".".join(path[-2:]) if path[-1].isdecimal() else path[-1]

        if path in self.draft.repeated:
            last, count = self.draft.repeated[path]
            return f"{name(path)} … {name(last)}  ×{count}"
        return name(path)
