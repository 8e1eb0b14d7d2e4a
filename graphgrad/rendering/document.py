"""A graph as one JSON object: nodes in order, heads and deltas by position, formulas as text.

    {"nodes": [{"name": …, "operation": …, "heads": [0, 2], "delta": 17, …}, …],
     "outputs": {"loss": 16}, "updates": [[3, 20], …]}

Stable: the same graph gives the same text. Arrays of constants are left out.
"""

from __future__ import annotations

from typing import Any

from graphgrad.backprop.formula import contribution_formula, delta_formula, value_formula
from graphgrad.backprop.selection import parts_of
from graphgrad.graph import Graph, Node
from graphgrad.graph.text import value_text
from graphgrad.rendering.figures import Figures
from graphgrad.strict_json import format_json


def document(graph: Graph, figures: Figures | None = None) -> dict[str, Any]:
    """The graph in plain values, and of a run which it is and how far it has come."""
    parts = parts_of(graph)
    run = (
        {}
        if figures is None
        else {
            "run": {
                "name": figures.run,
                "step": figures.step,
                "batch": figures.batch,
                "loss": figures.loss,
            }
        }
    )
    return {
        **run,
        "nodes": [{**_node(graph, node), "part": parts[node]} for node in graph.nodes],
        "outputs": {name: graph.position(node) for name, node in graph.outputs.items()},
        "updates": [
            [graph.position(leaf), graph.position(node)] for leaf, node in graph.updates.items()
        ],
    }


def json_text(graph: Graph, figures: Figures | None = None) -> str:
    """The graph as strict JSON text that ends with a line break."""
    return format_json(document(graph, figures), "the graph") + "\n"


def _node(graph: Graph, node: Node) -> dict[str, Any]:
    delta = graph.delta_or_none(node)
    return {
        "name": graph.name_of(node),
        "names": list(graph.names_of(node)),
        "operation": node.operation.name,
        "heads": [graph.position(head) for head in node.heads],
        "attributes": {
            name: value_text(value)
            for name, value in node.attributes.items()
            if name not in ("declaration", "label")
        },
        "shape": [size if isinstance(size, int) else str(size) for size in node.shape],
        "dtype": str(node.dtype),
        "formula": value_formula(graph, node),
        "delta": None if delta is None else graph.position(delta),
        "delta_formula": delta_formula(graph, node),
        "contributions": [
            {
                "tail": graph.position(item.tail),
                "place": item.place,
                "value": graph.position(item.value),
                "formula": contribution_formula(graph, item.tail, item.place),
            }
            for item in graph.sent_back(node)
        ],
        "origin": {"file": node.origin.file, "line": node.origin.line} if node.origin else None,
    }
