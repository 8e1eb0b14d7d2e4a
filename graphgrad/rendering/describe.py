"""Writes the texts of a picture: labels, details and tooltips of nodes, parameters and scopes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from graphgrad.backprop.formula import (
    SCALE,
    delta_formula,
    scaled_head,
    short_name,
    symbol_of,
    value_formula,
)
from graphgrad.backprop.selection import owner_of
from graphgrad.graph import Node, constant, input, parameter, state
from graphgrad.graph.text import attributes_text
from graphgrad.graph.types import shape_text
from graphgrad.memory import size_text
from graphgrad.ops import half_squared_error, reduce_scatter
from graphgrad.rendering.picture import Box, Kind, Label
from graphgrad.rendering.view import Draft, Path, path_of
from graphgrad.text import printable

NEURON = ("a", "z")
"""The names of a neuron's activation input and output."""


class Describer:
    """Writes the texts of a draft; `neurons` is whether weights are drawn on edges."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.graph = draft, draft.graph
        self.outputs = set(self.graph.outputs.values())
        self.neurons = bool(draft.weights)
        self.deltas = set(self.graph.deltas.values())

    def box_of_node(self, node: Node) -> Box:
        """The box of one node; its id is set later."""
        scope = self.draft.scopes[node]
        kind, label = self.kind(node), self.label(node, scope)
        operation, shape = self.operation(node), shape_text(node.shape) if node.shape else ""
        default = re.fullmatch(rf"{re.escape(node.operation.name)}(_\d+)?", label.text)
        if default:
            label, operation = Label(operation), ""
        return Box(
            "",
            label,
            kind,
            scope,
            named=not default,
            detail="  ".join(filter(None, [operation, "" if self.neurons else shape])),
            tags=tuple(self.tags(node)),
            tooltip=self.tooltip(node),
            round=self.neurons and kind in ("input", "operation", "output"),
        )

    def box_of_scope(self, path: Path, members: Sequence[Node]) -> Box:
        """The box of all nodes of a scope, or of a layer that is drawn for its repetitions.

        A neuron is a circle with the names of what it computes, `a → z`.
        """
        kind: Kind = "output" if any(node in self.outputs for node in members) else "scope"
        own = [node for node in members if self.draft.scopes[node][: len(path)] == path]
        inside = self._count(path)
        count = f"{inside} nodes" if inside > 1 else own[0].operation.name
        count += " each" if path in self.draft.repeated and inside > 1 else ""
        if self.neurons:
            count = " → ".join(self._steps(path, own)) or count
        return Box(
            "",
            Label(self.title(path)),
            kind,
            path[:-1],
            detail=count,
            tooltip=".".join(path),
            round=self.neurons,
        )

    def _count(self, path: Path) -> int:
        """How many forward nodes except constants are declared in the scope, as the page counts."""
        return sum(
            self.draft.parts[node] == "forward"
            and node.operation is not constant
            and self.draft.scopes.get(node, path_of(self.graph.name_of(node)))[: len(path)] == path
            for node in self.graph.nodes
        )

    def _steps(self, path: Path, members: Sequence[Node]) -> Iterator[str]:
        """The labels of the nodes of a scope that the user has named, except weighted inputs."""
        for node in members:
            default = re.fullmatch(
                rf"(.*\.)?{re.escape(node.operation.name)}(_\d+)?", self.graph.name_of(node)
            )
            if node.heads and not default and node not in self.draft.weights:
                yield self.label(node, path).text

    def kind(self, node: Node) -> Kind:
        """The kind of the node, which decides the colour of its box."""
        part = self.draft.parts[node]
        if part == "update":
            return "update"
        if part == "delta":
            return "delta" if node in self.deltas else "step"
        if node in self.outputs:
            return "output"
        leaves: dict[object, Kind] = {input: "input", parameter: "parameter", state: "state"}
        known = node.operation is constant or not (
            node.operation in leaves or any(head in self.draft.scopes for head in node.heads)
        )
        return leaves.get(node.operation, "known" if known else "operation")

    def label(self, node: Node, scope: Path) -> Label:
        """The name without the scope of its box; of a delta δ and the name of its node; of the
        contribution that t sends back to u, `u←t`."""
        name = symbol_of(self.graph, node)
        prefix = ".".join(scope) + "." if scope else ""
        owner = None
        if self.draft.parts[node] == "delta":
            owner = owner_of(self.graph, node, self.draft.parts)
        if owner is None:
            local = name.removeprefix(prefix)
            if self.neurons and scope and local in NEURON:  # a and z of a neuron: a_h2, z_h2
                return Label(local, self.title(scope))
            return Label(local)
        if owner.tail:
            tail = owner.tail.rpartition(".")[2] or owner.tail
            return Label("δ", f"{owner.name.removeprefix(prefix)}←{tail}")
        if node in self.deltas:
            return Label("δ", owner.name.removeprefix(prefix))
        if owner.scope and name.startswith(f"{owner.scope}."):
            return Label(name[len(owner.scope) + 1 :])
        return Label(name.removeprefix(prefix))

    def operation(self, node: Node) -> str:
        """The operation with its hidden constants; of a leaf, its dtype unless it is a float."""
        merged = [
            head for head in node.heads if self.draft.stands_for.get(head) is node and head.heads
        ]
        if merged and self.draft.parts[node] == "forward":
            errors = merged[-1].operation is half_squared_error
            return "½ Σ (z - ŷ)²" if errors else "Σ"
        if node.operation is constant:
            return attributes_text(node)
        if node.operation in (input, parameter, state):
            return "" if node.type.is_float else str(node.dtype)
        if self.neurons and "_" in node.operation.name and self.draft.parts[node] == "forward":
            formula = value_formula(self.graph, node, self.called)  # such a name is not in lectures
            return " ".join(filter(None, [formula, sent_text(node)]))
        if scaled_head(node) is not None:
            return f"{node.operation.name} {SCALE}"
        hidden = [
            short_name(self.graph, head)
            for head in node.heads
            if head.operation is constant and head not in self.draft.scopes
        ]
        return " ".join(filter(None, [node.operation.name, *hidden, sent_text(node)]))

    def called(self, node: Node) -> str:
        """The text of a node in a formula: the label of its box, or the value of a constant."""
        if node not in self.draft.scopes or self.draft.parts[node] != "forward":
            return short_name(self.graph, node, None)
        return self.label(node, self.draft.scopes[node]).text

    def tags(self, node: Node) -> Iterator[str]:
        """The parameters inside the box, each with its shape."""
        for leaf in self.draft.inside.get(node, ()):
            name = self.label(leaf, self.draft.scopes[node]).text
            yield f"{name} {shape_text(leaf.shape)}" if leaf.shape else name

    def tooltip(self, node: Node) -> str:
        """All names, the type, the formulas of the value and the delta, the user's line."""
        names = ", ".join(map(printable, self.graph.names_of(node)))
        sent = sent_text(node)
        over_ranks = f", {sent} over the ranks" if sent else ""
        lines = [names, f"{node.operation.name} : {node.type}{over_ranks}"]
        formula, delta = value_formula(self.graph, node), delta_formula(self.graph, node)
        lines += [f"= {formula}"] if formula else []
        lines += [f"δ = {delta}"] if delta else []
        lines += [str(node.origin)] if node.origin else []
        return "\n".join(lines)

    def weight_label(self, weight: Node, scope: Path) -> Label:
        """The label of a weight: `w.x1->h2` is w with the index x1→h2."""
        name = self.label(weight, scope).text
        front, _, back = name.rpartition(".")
        if "->" in back and front:
            return Label(front, back.replace("->", "→"))
        return Label(name)

    def title(self, path: Path) -> str:
        """The title of a scope; a number is preceded by the name of the outer scope."""

        def name(path: Path) -> str:
            return ".".join(path[-2:]) if path[-1].isdecimal() else path[-1]

        if path in self.draft.repeated:
            last, count = self.draft.repeated[path]
            return f"{name(path)} … {name(last)}  ×{count}"
        return name(path)


def sent_text(node: Node) -> str:
    """The bytes that ranks exchange by a node, where it is a collective of known size."""
    if not node.operation.collective or not isinstance(node.type.size, int):
        return ""
    whole = node.heads[0] if node.operation is reduce_scatter else node
    return size_text(whole.type.nbytes)
