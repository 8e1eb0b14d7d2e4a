"""Builds the page: data, script and style in one HTML file that loads nothing.

- The content security policy allows only the script and the style of the page, by their hashes: no
  text in the page can cause a request.
- Data are JSON in a block that browsers do not run. `<`, `>`, `&` and all non-ASCII characters are
  escaped, so no name can end the block.
- The template is filled in one pass, so a user's text is not searched for placeholders.
- The same graph, sections and title give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
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
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\x7f"}
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def build_page(
    graph: Graph,
    *,
    sections: Mapping[str, object] | None = None,
    title: str = "graphgrad",
    sizes: Mapping[str, int] | None = None,
    view: View | None = None,
) -> str:
    """The HTML page of a graph.

    `sections` are further data for panels, by name, as plain JSON values
    (`assets/core/contract.js`); numbers that are not finite become the texts "NaN", "Infinity" and
    "-Infinity". `sizes` are the sizes of axes that bytes and operations are computed for; a reader
    of the page can change them. `view` is the first view: `deltas="none"` shows the values only,
    `deltas="nodes"` the graph of the deltas, folded or not, expanded to a depth. Raises
    ConfigurationError for sections that are not JSON.
    """
    data = page_data(graph, title, sizes)
    data.update(_opening(view or View()))
    data["sections"] = {
        name: _plain_value(value, f"sections[{name!r}]", 0)
        for name, value in (sections or {}).items()
    }
    script, style = page_script(), page_style()
    parts = {
        "policy": policy_of(script, style),
        "title": html.escape(printable(title, _TITLE)),
        "style": style,
        "data": json_block(data),
        "script": script,
    }
    return filled("page.html", parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template of the assets with its placeholders replaced, in one pass."""
    return _PLACEHOLDER.sub(lambda found: parts[found[1]], _text(_assets() / template))


def policy_of(script: str, style: str, *more: str) -> str:
    """The content security policy of a page: its own script and style, no request, and `more`."""
    allowed = (
        "default-src 'none'",
        f"script-src '{content_hash(script)}'",
        f"style-src '{content_hash(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join((*allowed, *more))


def _opening(view: View) -> dict[str, object]:
    """The options of a view that the page opens with; unset options are left out."""
    views = {"none": "forward", "nodes": "backward", "contributions": "mirror", None: None}
    chosen = {"view": views[view.deltas], "folds": view.fold, "depth": view.depth}
    return {name: value for name, value in chosen.items() if value is not None}


def json_block(data: object) -> str:
    """JSON that is safe between `<script type="application/json">` and its end tag."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def page_script(entry: str = "main.js") -> str:
    """All scripts in one: the module `entry` and all that it imports."""
    return join_modules(_assets(), entry)


def page_style(names: Sequence[str] = STYLES) -> str:
    """All styles in one."""
    return "\n".join(_text(_assets() / name) for name in names)


def _assets() -> Traversable:
    return files("graphgrad.page") / "assets"


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def content_hash(text: str) -> str:
    """The hash of a script or style for a content security policy."""
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
            _plain_value(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)
        ]
    raise ConfigurationError(
        f"{where[:200]} is not JSON: {type(value).__name__}",
        fix="give lists, dictionaries, texts and Python numbers (array.tolist(), float(x))",
    )
