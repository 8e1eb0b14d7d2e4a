"""What a notebook shows of a node, a graph or a program: HTML made here, pictures made above.

This module stands below everything, so it only knows text and tables. A picture needs the drawing
layers that stand far above it. They offer themselves through the entry point group
`graphgrad.display` of the installed package (pyproject.toml): a function from the object to SVG, or
None where there is no `dot` or the picture would be too large. It is looked up when a notebook asks
for a picture, so nothing here imports upwards, no table of the process is written to, and a package
of somebody else may draw as well. `Graph.render` finds its function the same way, in the group
`graphgrad.render`.

Displaying never fails and never shows a name as anything but text: every text is escaped, and the
picture stands in an `img`, where no script of an SVG could run.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from graphgrad.errors import EnvironmentLimitError
from graphgrad.graph.plain import plain

if TYPE_CHECKING:
    from graphgrad.graph.node import Node

GROUP = "graphgrad.display"
RENDER_GROUP = "graphgrad.render"
_TEXT = 20_000  # characters of a program's text
_STYLE = "text-align:left;font-family:monospace;white-space:nowrap"


def mimebundle(
    item: Any, html: Callable[[str | None], str], include: Any = None, exclude: Any = None
) -> dict[str, str]:
    """What `_repr_mimebundle_` of an object gives: text, HTML, and SVG where something draws it.

    `html` makes the HTML around the picture, or around None.
    """
    drawn = picture(item)
    bundle = {"text/plain": repr(item), "text/html": html(drawn)}
    if drawn is not None:
        bundle["image/svg+xml"] = drawn
    return {
        kind: text
        for kind, text in bundle.items()
        if (not include or kind in include) and kind not in (exclude or ())
    }


def picture(item: Any) -> str | None:
    """The SVG that the installed drawer makes of an object; None where there is none."""
    for entry in entry_points(group=GROUP):
        drawn = _drawn(entry, item)
        if drawn is not None:
            return drawn
    return None


def _drawn(entry: EntryPoint, item: Any) -> str | None:
    try:
        return entry.load()(item)
    except Exception:  # a notebook shows the table instead: a failing picture is no failing cell
        return None


def renderer() -> Callable[..., bytes | None]:
    """The function that `Graph.render` calls; EnvironmentLimitError where none is installed."""
    for entry in entry_points(group=RENDER_GROUP):
        return cast(Callable[..., bytes | None], entry.load())
    raise EnvironmentLimitError(
        "no installed package renders graphs: graphgrad is not installed, or was before it could",
        fix="install it (again): pip install -e . — or call graphgrad.formats.render(graph, to)",
    )


def node_html(node: Node) -> str:
    """Everything that a node knows of itself; it does not know its tails."""
    rows = [
        ("names", ", ".join(map(plain, node.names))),
        ("operation", node.operation.name),
        ("formula", node.operation.formula),
        ("type", str(node.type)),
        ("attributes", ", ".join(f"{name}={value!r}" for name, value in node.attributes.items())),
        ("heads", ", ".join(f"{plain(head.name)}: {head.type}" for head in node.heads[:20])),
        ("delta", node.operation.delta_formula),
        ("declared at", str(node.origin or "")),
    ]
    return table(("", f"node {plain(node.name, 80)}"), [row for row in rows if row[1]])


def program_html(
    title: str,
    figures: Sequence[tuple[str, str]],
    texts: Mapping[str, str],
    drawn: str | None = None,
) -> str:
    """A program: its picture, figures, and its texts (source, kernels) to open."""
    parts = [image(drawn, title), table(("", title), figures)]
    for name, text in texts.items():
        cut = text if len(text) <= _TEXT else f"{text[:_TEXT]}\n… {len(text) - _TEXT:,} more"
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
    return escape(plain(text, 400))
