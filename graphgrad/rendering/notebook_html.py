"""A node, a graph or a program as HTML for a notebook: escaped text in tables, pictures in `img`.

A name is shown as text and nothing else, and no script of an SVG runs in an `img`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from graphgrad.graph import Graph, Node
from graphgrad.graph.text import attributes_text, summary
from graphgrad.text import printable

LONGEST_TEXT = 20_000
"""Characters of a program's text."""
MOST_ROWS = 300
"""Of all tables of a graph together."""
SCOPE_ROWS = 60
"""Of the table of one scope."""
_STYLE = "text-align:left;font-family:monospace;white-space:nowrap"


def node_html(node: Node) -> str:
    """Everything that a node knows of itself; it does not know its tails."""
    rows = [
        ("names", ", ".join(map(printable, node.names))),
        ("operation", node.operation.name),
        ("formula", node.operation.formula),
        ("type", str(node.type)),
        ("attributes", ", ".join(f"{name}={value!r}" for name, value in node.attributes.items())),
        ("heads", ", ".join(f"{printable(head.name)}: {head.type}" for head in node.heads[:20])),
        ("delta", node.operation.delta_formula),
        ("declared at", str(node.origin or "")),
    ]
    return table(("", f"node {printable(node.name, 80)}"), [row for row in rows if row[1]])


def graph_html(graph: Graph, drawn: str | None = None) -> str:
    """The picture, where there is one, and a table of the nodes by scope."""
    title = summary(graph)
    opened = "" if drawn else " open"
    nodes = f"<details{opened}><summary>{shown(title)}</summary>{_tables(graph)}</details>"
    return f"<div>{image(drawn, title)}{nodes}</div>"


def _tables(graph: Graph) -> str:
    """A table for each outermost scope, closed where there are several; long ones are cut."""
    scopes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        name = graph.name_of(node)
        scopes.setdefault(name.partition(".")[0] if "." in name else "", []).append(node)
    left, parts = MOST_ROWS, []
    for scope, nodes in scopes.items():
        listed = nodes[: min(SCOPE_ROWS, left)]
        left -= len(listed)
        rows = table(("", "name", "operation", "type"), _rows(graph, listed))
        if len(listed) < len(nodes):
            rows += f"<p>… {len(nodes) - len(listed):,} more: print(graph) shows all</p>"
        if not scope:
            parts.append(rows)
            continue
        title = f"{printable(scope, 80)} ({len(nodes):,} nodes)"
        parts.append(f"<details><summary>{shown(title)}</summary>{rows}</details>")
    return "".join(parts)


def _rows(graph: Graph, nodes: Sequence[Node]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        heads = [f"%{graph.position(head)}" for head in node.heads[:8]]
        heads += ["…"] if len(node.heads) > 8 else []
        arguments = ", ".join(filter(None, [*heads, attributes_text(node)]))
        name = ", ".join(printable(name, 80) for name in graph.names_of(node)[:3])
        yield (
            f"%{graph.position(node)}",
            name,
            printable(f"{node.operation.name}({arguments})"),
            str(node.type),
        )


def program_html(
    title: str,
    figures: Sequence[tuple[str, str]],
    texts: Mapping[str, str],
    drawn: str | None = None,
) -> str:
    """A program: its picture, figures, and its texts (source, kernels) to open."""
    parts = [image(drawn, title), table(("", title), figures)]
    for name, text in texts.items():
        cut = (
            text
            if len(text) <= LONGEST_TEXT
            else f"{text[:LONGEST_TEXT]}\n… {len(text) - LONGEST_TEXT:,} more"
        )
        parts.append(f"<details><summary>{shown(name)}</summary><pre>{escape(cut)}</pre></details>")
    return f"<div>{''.join(parts)}</div>"


def image(drawn: str | None, title: str) -> str:
    """The picture as an `img`; nothing where there is none."""
    if drawn is None:
        return ""
    data = base64.b64encode(drawn.encode()).decode()
    return (
        f'<img style="max-width:100%" alt="{shown(title)}" src="data:image/svg+xml;base64,{data}"/>'
    )


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, each escaped."""
    head = "".join(f"<th>{shown(cell)}</th>" for cell in heading)
    body = "".join(f"<tr>{''.join(f'<td>{shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table style="{_STYLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def shown(text: str) -> str:
    """A text on one line, cut and escaped."""
    return escape(printable(text, 400))
