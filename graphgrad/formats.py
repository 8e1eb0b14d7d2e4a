"""One function for every format: `render(graph, "svg")` or `render(graph, "network.svg")`.

`Graph.render` is the same with the options of a view as words; it finds `render_options` through
the entry point group `graphgrad.render`, as a graph stands far below what draws it.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.files import write_atomically
from graphgrad.graph import Graph
from graphgrad.page import build_page
from graphgrad.rendering.document import json_text
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.figures import Figures
from graphgrad.rendering.image import IMAGES, SECONDS, draw_image
from graphgrad.rendering.mermaid import write_mermaid
from graphgrad.rendering.paint import picture
from graphgrad.rendering.text import tree_text
from graphgrad.rendering.view import View
from graphgrad.text import suggestion

FORMATS = ("txt", "dot", "svg", "png", "pdf", "json", "html", "mermaid")
ENDINGS = {"mmd": "mermaid"}
"""Endings of file names that mean a format of another name."""


def render(
    graph: Graph,
    to: str | Path,
    view: View | None = None,
    format: str | None = None,
    seconds: float = SECONDS,
    figures: Figures | None = None,
) -> bytes:
    """The graph in a format, as bytes (text as UTF-8), written to a file where `to` is a path.

    `to` is a format, or the path of a file whose ending is one; `format` overrides the ending. A
    `Path` is always a file. svg, png and pdf need Graphviz and stop after `seconds`. The same
    graph and view give the same bytes. `figures` (see `figures_of`) are drawn into pictures, with a
    caption that says of which run they are. Raises ConfigurationError for an unknown format and
    EnvironmentLimitError where Graphviz or the disk fails; then no file is left or changed.
    """
    path = _path(to)
    form = format or (str(to) if path is None else _ending(path))
    if form not in FORMATS:
        raise ConfigurationError(
            f"there is no format {form!r}" if form else f"{str(to)!r} does not name a format",
            fix=f"formats: {', '.join(FORMATS)}",
        )
    content = _content(graph, form, view or View(), seconds, figures)
    if path is not None:
        write_atomically(path, content)
    return content


def render_options(
    graph: Graph,
    to: str | Path,
    *,
    format: str | None = None,
    seconds: float = SECONDS,
    **options: Any,
) -> bytes | None:
    """What `Graph.render` calls: `render` with the fields of `View` as options.

    None where `to` is a file, which is written. Raises ConfigurationError for an unknown option.
    """
    known = [field.name for field in fields(View)]
    for name in options:
        if name not in known:
            choices = [*known, "format", "seconds"]
            raise ConfigurationError(
                f"render has no option {name!r}", fix=suggestion(name, choices, "options")
            )
    content = render(graph, to, View(**options), format, seconds)
    return content if _path(to) is None else None


def _path(to: str | Path) -> Path | None:
    """The file that is meant; None for the name of a format."""
    return None if isinstance(to, str) and to in FORMATS else Path(to)


def _ending(path: Path) -> str:
    ending = path.suffix.removeprefix(".").lower()
    return ENDINGS.get(ending, ending)


def _content(graph: Graph, form: str, view: View, seconds: float, figures: Figures | None) -> bytes:
    if form == "txt":
        caption = figures.caption()[:1] if figures else ()
        return tree_text(graph, view, caption).encode()
    if form == "json":
        return json_text(graph, figures).encode()
    if form == "html":
        return build_page(graph, view=view).encode()
    if form == "mermaid":
        return write_mermaid(picture(graph, view, figures)).encode()
    text = write_dot(picture(graph, view, figures))
    return draw_image(text, form, seconds) if form in IMAGES else text.encode()
