"""The page as one text: data, script and style in one file that may load nothing.

- The content security policy allows the one script and the one style of the page, by their hashes,
  and nothing else: no request can leave the page, whatever stands in it.
- Data are JSON in a block that no browser runs, with `<`, `>`, `&` and all that is not ASCII
  written as escapes, so no name can end the block.
- The template is filled in one pass, so text of the user's is never looked at for placeholders.
- The same graph, sections and title give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.page.data import page_data
from graphgrad.page.modules import join_modules
from graphgrad.rendering.view import View
from graphgrad.text import printable

STYLES = ("base.css", "drawing.css", "page.css", "panels/panels.css")
_TITLE = 120  # characters
_DEEPEST = 100  # levels of the data of a section
_UNSAFE = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\x7f"}
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def build_page(
    graph: Graph,
    *,
    sections: Mapping[str, object] | None = None,
    title: str = "graphgrad",
    sizes: Mapping[str, int] | None = None,
    view: View | None = None,
) -> str:
    """The HTML page of a graph.

    `sections` are further data by name, plain JSON values, for the panels that ask for them
    (`assets/core/contract.js`); numbers that are not finite arrive as the texts "NaN", "Infinity"
    and "-Infinity". `sizes` gives the sizes of axes that bytes and operations are shown for; the
    page's reader can change them. `view` says how the page opens: `deltas="none"` on the values
    alone, `deltas="nodes"` on the graph of the deltas, folded or not, open to a depth; all the rest
    is there to be opened. Raises ConfigurationError for sections that are no JSON.
    """
    data = page_data(graph, title, sizes)
    data.update(_opening(view or View()))
    data["sections"] = {
        name: _plain_value(value, f"sections[{name!r}]", 0)
        for name, value in (sections or {}).items()
    }
    script, style = page_script(), page_style()
    parts = {
        "script_hash": content_hash(script),
        "style_hash": content_hash(style),
        "title": html.escape(printable(title, _TITLE)),
        "style": style,
        "data": json_block(data),
        "script": script,
    }
    return _PLACE.sub(lambda place: parts[place[1]], _text(_assets() / "page.html"))


def _opening(view: View) -> dict[str, object]:
    """The choices of a view that the page begins with; what is not chosen is left out."""
    views = {"none": "forward", "nodes": "backward", "contributions": "mirror", None: None}
    chosen = {"view": views[view.deltas], "folds": view.fold, "depth": view.depth}
    return {name: value for name, value in chosen.items() if value is not None}


def json_block(data: object) -> str:
    """JSON that stands safely between `<script type="application/json">` and its end."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def page_script() -> str:
    """All scripts in one: the module `main.js` and all that it imports."""
    return join_modules(_assets(), "main.js")


def page_style() -> str:
    """All styles in one."""
    return "\n".join(_text(_assets() / name) for name in STYLES)


def _assets() -> Traversable:
    return files("graphgrad.page") / "assets"


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def content_hash(text: str) -> str:
    """What a content security policy calls a script or style by."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _plain_value(value: object, where: str, depth: int) -> Any:
    """A value of plain JSON; numbers that are not finite become texts."""
    if depth > _DEEPEST:
        raise ConfigurationError(f"{where[:80]}… is nested more than {_DEEPEST} deep")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ConfigurationError(f"{where[:200]}: keys in JSON are text", fix="str()")
        return {key: _plain_value(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [
            _plain_value(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)
        ]
    raise ConfigurationError(
        f"{where[:200]} is no JSON: {type(value).__name__}",
        fix="give lists, dictionaries, texts and Python numbers (array.tolist(), float(x))",
    )
