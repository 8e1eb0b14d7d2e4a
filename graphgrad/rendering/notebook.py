"""What a notebook shows: the function that the entry point group `graphgrad.display` finds.

A cell must come back soon, so a picture is small or there is none: equal layers are drawn once,
scopes become boxes until few are left, and Graphviz gets a few seconds.
"""

from __future__ import annotations

from graphgrad.backends import Program
from graphgrad.compile import Compiled
from graphgrad.graph import Graph, Node
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.image import draw_image, find_drawing_program
from graphgrad.rendering.notebook_html import graph_html, node_html, program_html
from graphgrad.rendering.paint import picture
from graphgrad.rendering.picture import Picture
from graphgrad.rendering.view import View

SECONDS = 8.0
_BOXES = 160
_NODES = 20_000
_DEPTHS = (None, 3, 2, 1, 0)


def show(item: object) -> dict[str, str]:
    """An object of the package as HTML, and as SVG where it is small; nothing for another one."""
    drawn: str | None = None
    match item:
        case Node():
            html = node_html(item)
        case Program():
            html = program_html("program", *_program_parts(item))
        case Graph():
            drawn = draw(item)
            html = graph_html(item, drawn)
        case Compiled():
            drawn = draw(item.source_graph)
            html = program_html("compiled graph", *_compiled_parts(item), drawn)
        case _:
            return {}
    return {"text/html": html} if drawn is None else {"text/html": html, "image/svg+xml": drawn}


def _program_parts(program: Program) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The figures and the texts of a program."""
    figures = [
        ("nodes", str(len(program.graph))),
        ("bytes at the peak", f"{program.peak_bytes:,}"),
        ("of which arena", f"{program.plan.arena_bytes:,}"),
    ]
    return figures, {"source": program.source, "plan": str(program.plan)}


def _compiled_parts(compiled: Compiled) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The figures and the texts of a compiled graph."""
    count = f"{len(compiled.source_graph)} declared, {len(compiled.graph)} optimised"
    figures = [
        ("nodes", count),
        ("open sizes", ", ".join(compiled.open_sizes) or "none"),
        ("programs so far", str(compiled.program_count)),
    ]
    return figures, {"passes": "\n".join(map(str, compiled.reports))}


def draw(graph: Graph) -> str | None:
    """The graph as SVG; None where nothing draws, or the picture would be too large."""
    if len(graph) > _NODES or find_drawing_program() is None:
        return None
    try:
        small = _small(graph)
        return None if small is None else draw_image(write_dot(small), "svg", SECONDS).decode()
    except Exception:  # the cell shows the table alone
        return None


def _small(graph: Graph) -> Picture | None:
    """The deepest picture with few enough boxes."""
    for depth in _DEPTHS:
        found = picture(graph, View(depth=depth))
        if len(found.boxes) <= _BOXES:
            return found
    return None
