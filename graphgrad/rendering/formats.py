"""One function for every format: `render(graph, "svg")` or `render(graph, "network.svg")`."""

from __future__ import annotations

from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.rendering.document import json_text
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.image import IMAGES, SECONDS, draw_image
from graphgrad.rendering.paint import picture
from graphgrad.rendering.text import tree_text
from graphgrad.rendering.view import View
from graphgrad.training.files import write_atomically

FORMATS = ("txt", "dot", "svg", "png", "pdf", "json")


def render(
    graph: Graph,
    to: str | Path,
    view: View | None = None,
    format: str | None = None,
    seconds: float = SECONDS,
) -> bytes:
    """The graph in a format, as bytes (text as UTF-8), written to a file where `to` is a path.

    `to` is a format, or the path of a file whose ending is one; `format` overrides the ending. A
    `Path` is always a file. svg, png and pdf need Graphviz and stop after `seconds`. The same
    graph and view give the same bytes. Raises ConfigurationError for an unknown format and
    EnvironmentLimitError where Graphviz or the disk fails; then no file is left or changed.
    """
    path = None if isinstance(to, str) and to in FORMATS else Path(to)
    form = format or (str(to) if path is None else path.suffix.removeprefix(".").lower())
    if form not in FORMATS:
        raise ConfigurationError(
            f"there is no format {form!r}" if form else f"{str(to)!r} does not name a format",
            fix=f"formats: {', '.join(FORMATS)}",
        )
    content = _content(graph, form, view or View(), seconds)
    if path is not None:
        write_atomically(path, content)
    return content


def _content(graph: Graph, form: str, view: View, seconds: float) -> bytes:
    if form == "txt":
        return tree_text(graph, view).encode()
    if form == "json":
        return json_text(graph).encode()
    text = write_dot(picture(graph, view))
    return draw_image(text, form, seconds) if form in IMAGES else text.encode()
