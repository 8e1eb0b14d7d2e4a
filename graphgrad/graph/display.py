"""A graph for a notebook: its picture, and tables of its nodes by scope; see `html` for how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from graphgrad.graph.html import image, shown, table
from graphgrad.graph.plain import plain
from graphgrad.graph.text import attributes_text

if TYPE_CHECKING:
    from graphgrad.graph.graph import Graph
    from graphgrad.graph.node import Node

_MOST = 300  # rows of all tables together
_EACH = 60  # rows of one scope


def graph_html(graph: Graph, drawn: str | None = None) -> str:
    """The picture, where there is one, and a table of the nodes by scope."""
    title = summary(graph)
    opened = "" if drawn else " open"
    nodes = f"<details{opened}><summary>{shown(title)}</summary>{_tables(graph)}</details>"
    return f"<div>{image(drawn, title)}{nodes}</div>"


def summary(graph: Graph) -> str:
    """`graph of 12 nodes: inputs x; parameters w; outputs loss`."""
    parts = [f"graph of {len(graph)} nodes"]
    listed: Sequence[tuple[str, Mapping[str, Node]]] = (
        ("inputs", graph.inputs),
        ("parameters", graph.parameters),
        ("outputs", graph.outputs),
    )
    for what, nodes in listed:
        if nodes:
            names = list(nodes)[:4]
            more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
            parts.append(f"{what} {', '.join(plain(name, 40) for name in names)}{more}")
    return parts[0] + ": " + "; ".join(parts[1:]) if parts[1:] else parts[0]


def _tables(graph: Graph) -> str:
    """A table for each outermost scope, closed where there are several; long ones are cut."""
    scopes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        name = graph.name_of(node)
        scopes.setdefault(name.partition(".")[0] if "." in name else "", []).append(node)
    left, parts = _MOST, []
    for scope, nodes in scopes.items():
        listed = nodes[: min(_EACH, left)]
        left -= len(listed)
        rows = table(("", "name", "operation", "type"), _rows(graph, listed))
        if len(listed) < len(nodes):
            rows += f"<p>… {len(nodes) - len(listed):,} more: print(graph) shows all</p>"
        if not scope:
            parts.append(rows)
            continue
        title = f"{plain(scope, 80)} ({len(nodes):,} nodes)"
        parts.append(f"<details><summary>{shown(title)}</summary>{rows}</details>")
    return "".join(parts)


def _rows(graph: Graph, nodes: Sequence[Node]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        heads = [f"%{graph.position(head)}" for head in node.heads[:8]]
        heads += ["…"] if len(node.heads) > 8 else []
        arguments = ", ".join(filter(None, [*heads, attributes_text(node)]))
        name = ", ".join(plain(name, 80) for name in graph.names_of(node)[:3])
        yield (
            f"%{graph.position(node)}",
            name,
            plain(f"{node.operation.name}({arguments})"),
            str(node.type),
        )
