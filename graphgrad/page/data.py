"""Writes the data of a page: a graph as one JSON document of plain values.

Nodes refer to each other, to scopes, to formulas and to lines of source by position, and empty
fields are left out, so a training graph of thousands of nodes takes a few hundred kilobytes.
Formulas are stored once per operation (`mathematics`). Sizes are symbolic: bytes and floating-point
operations are polynomials in the names of axes, which the page evaluates for the sizes that its
reader sets. The same graph gives the same document.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Mapping
from typing import Any

from graphgrad.backprop.formula import cuts_of, formula_of, rule_of
from graphgrad.backprop.selection import owner_of, parts_of
from graphgrad.explain.rule_explanations import note_of
from graphgrad.graph import LEAVES, Dimension, Graph, Node, constant, parameter
from graphgrad.graph.dimension import product
from graphgrad.graph.text import value_text
from graphgrad.ops.contraction import matmul
from graphgrad.page.factors import factors
from graphgrad.page.mathematics import Tree, formula_tree
from graphgrad.page.scopes import FORWARD, Arrangement, arrange, shared
from graphgrad.rendering.describe import Describer

DEFAULT_SIZE = 32  # of an axis whose size is not given
_HIDDEN = ("declaration", "label", "shape", "dtype", "value")
_LINE = 240  # characters of a line of source


def page_data(
    graph: Graph, title: str = "", sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The document, without sections of runs; `sizes` are the first sizes of axes."""
    return _Writer(graph).document(title, sizes or {})


class _DistinctValues:
    """A list of distinct values, each with its position."""

    def __init__(self) -> None:
        self.positions: dict[Any, int] = {}

    def position(self, value: Any) -> int:
        """The position of a value, which is appended if it is new."""
        return self.positions.setdefault(value, len(self.positions))


class _Writer:
    """Writes the document of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parts = parts_of(graph)
        self.arrangement = arrange(graph)
        self.near = Describer(self.arrangement.near)
        self.full = Describer(self.arrangement.full)
        self.shared = shared(self.arrangement)
        self.formulas, self.sources = _DistinctValues(), _DistinctValues()
        self.dimensions: dict[str, Dimension] = {}

    def document(self, title: str, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The whole document."""
        graph, found = self.graph, self.arrangement
        nodes = [self.node(node) for node in graph.nodes]
        names = sorted({name for size in self.dimensions.values() for name in size.names})
        return {
            "title": title,
            "style": "neurons" if found.neurons else "layers",
            "folds": found.folds,
            "hasDeltas": "delta" in self.parts.values(),
            "outputs": {name: graph.position(node) for name, node in graph.outputs.items()},
            "updates": [
                [graph.position(leaf), graph.position(node)] for leaf, node in graph.updates.items()
            ],
            "sizes": {name: int(sizes.get(name, DEFAULT_SIZE)) for name in names},
            "dimensions": {text: _terms(size) for text, size in self.dimensions.items()},
            "scopes": [
                {"name": path[-1] if path else "", "path": ".".join(path), "parent": parent}
                for path, parent in zip(found.paths, found.parents, strict=True)
            ],
            "runs": found.runs,
            "factors": list(factors(found, self.near)),
            "formulas": [formula_tree(text) for text in self.formulas.positions],
            "sources": [_source(file, line) for file, line in self.sources.positions],
            "nodes": nodes,
        }

    def node(self, node: Node) -> dict[str, Any]:
        """One node; see `assets/core/model.js` for the fields."""
        graph, found = self.graph, self.arrangement
        names = graph.names_of(node)
        delta, origin = graph.delta_or_none(node), node.origin
        owner, changes = owner_of(graph, node, self.parts), graph.cuts(node)
        fields: dict[str, Any] = {
            "name": names[0],
            "names": list(names) if len(names) > 1 else None,
            "op": node.operation.name,
            "part": self.parts[node],
            **self.label(node),
            "scope": found.scope_of[node],
            "shape": [self.size(size) for size in node.shape],
            "dtype": str(node.dtype),
            "heads": [graph.position(head) for head in node.heads] or None,
            "formula": self.formula(node),
            "note": note_of(node.operation) or None,
            "delta": None if delta is None else graph.position(delta),
            "owner": None if owner is None else graph.position(owner.node),
            "contributions": self.contributions(node) or None,
            "cuts": list(cuts_of(graph, changes)) or None,
            "before": graph.position(changes[0].before) if changes else None,
            "flops": _flops(node),
            "attributes": _attributes(node) or None,
            "value": _constant(node),
            "source": None if origin is None else self.sources.position((origin.file, origin.line)),
            "drawn": found.drawn[node],
            **self.box(node),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def label(self, node: Node) -> dict[str, Any]:
        """The texts of its box: name without scope, index, operation with hidden constants."""
        found = self.arrangement
        describe = self.near if found.drawn[node] & FORWARD else self.full
        label = describe.label(node, describe.draft.scopes[node])
        operation = describe.operation(node)
        default = re.fullmatch(rf"{re.escape(node.operation.name)}(_\d+)?", label.text)
        return {
            "kind": describe.kind(node),
            "label": operation if default and operation else label.text,
            "index": label.index or None,
            "does": None if default or not operation else operation,
        }

    def box(self, node: Node) -> dict[str, Any]:
        """The box that the node is drawn in, if it has none of its own."""
        near, position = self.arrangement.near, self.graph.position
        other = near.stands_for.get(node)
        inside = isinstance(other, Node) and node.operation is parameter
        weight = near.weights.get(node)
        return {
            "inside": position(other) if inside and isinstance(other, Node) else None,
            "into": position(other) if not inside and isinstance(other, Node) else None,
            "weight": None if weight is None else position(weight),
            "weightLabel": None if weight is None else self.weight_label(node, weight),
            "shared": True if node in self.shared else None,
        }

    def weight_label(self, node: Node, weight: Node) -> list[str]:
        key = self.arrangement.near.key(node)
        label = self.near.weight_label(weight, self.arrangement.near.path(key))
        return [label.text, label.index]

    def formula(self, node: Node) -> int | None:
        """The position of its formula; None for a leaf."""
        if node.operation in LEAVES:
            return None
        return self.formulas.position(formula_of(node))

    def contributions(self, node: Node) -> list[list[Any]]:
        """[tail, position, value, formula of the rule] for each, and cuts of surgery if any."""
        found: list[list[Any]] = []
        for item in self.graph.sent_back(node):
            rule = self.formulas.position(rule_of(item.tail, item.position))
            ids = [self.graph.position(item.tail), item.position, self.graph.position(item.value)]
            cuts = list(cuts_of(self.graph, item.changes))
            found.append([*ids, rule, cuts] if cuts else [*ids, rule])
        return found

    def size(self, size: int | Dimension) -> int | str:
        if isinstance(size, int):
            return size
        self.dimensions.setdefault(str(size), size)
        return str(size)


def _terms(size: int | Dimension) -> list[list[Any]]:
    """[[coefficient, [names]], …]: a polynomial in the names of axes."""
    if isinstance(size, int):
        return [[size, []]] if size else []
    return [[coefficient, list(names)] for names, coefficient in size.terms]


def _flops(node: Node) -> list[list[Any]] | None:
    """2 m n k of a matrix product, times its batch (as `performance.cost` counts), else None."""
    if node.operation is not matmul:
        return None
    inner = node.heads[0].shape[-2 if node.attributes["transpose_a"] else -1]
    return _terms(product((2, *node.shape, inner)))


def _attributes(node: Node) -> dict[str, str]:
    return {
        name: value_text(value) for name, value in node.attributes.items() if name not in _HIDDEN
    }


def _constant(node: Node) -> str | None:
    """The number of a scalar constant, which formulas show instead of a name."""
    if node.operation is not constant or node.attributes["value"].array.size != 1:
        return None
    return f"{node.attributes['value'].array.reshape(()).item():.6g}"


def _source(file: str, line: int) -> dict[str, Any]:
    """A line of the user's program, with its text if the file can be read."""
    text = linecache.getline(file, line).strip() if file.endswith(".py") else ""
    return {"file": file, "line": line, "text": text[:_LINE]}


__all__ = ["DEFAULT_SIZE", "Arrangement", "Tree", "page_data"]
