"""Pictures for notebooks: what the entry point group `graphgrad.display` finds.

A cell must come back soon, so a picture is small or there is none: equal layers are drawn once,
scopes become boxes until few are left, and Graphviz gets a few seconds.
"""

from __future__ import annotations

from typing import Any

from graphgrad.compile import Compiled
from graphgrad.errors import GraphgradError
from graphgrad.graph import Graph
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.image import draw_image, find_drawing_program
from graphgrad.rendering.paint import picture
from graphgrad.rendering.picture import Picture
from graphgrad.rendering.view import View

SECONDS = 8.0
_BOXES = 160
_NODES = 20_000
_DEPTHS = (None, 3, 2, 1, 0)


def draw(item: Any) -> str | None:
    """The SVG of a graph, or of the graph that a compiled object was made of; else None."""
    graph = item.source_graph if isinstance(item, Compiled) else item
    if not isinstance(graph, Graph) or len(graph) > _NODES or find_drawing_program() is None:
        return None
    small = _small(graph)
    if small is None:
        return None
    try:
        return draw_image(write_dot(small), "svg", SECONDS).decode()
    except GraphgradError:
        return None


def _small(graph: Graph) -> Picture | None:
    """The deepest picture with few enough boxes."""
    for depth in _DEPTHS:
        found = picture(graph, View(depth=depth))
        if len(found.boxes) <= _BOXES:
            return found
    return None
