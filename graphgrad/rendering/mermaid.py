"""Writes a picture as a Mermaid text, which GitHub, GitLab and notebooks draw.

- Identifiers are n0, n1, … and s0, s1, …. A user's name is only used in quoted labels, where every
  character that has a meaning in Mermaid is written as its number, `#35;`.
- Scopes are subgraphs, folded as in every other picture. Edges of deltas are reversed, dashed, red.
- Mermaid draws at most 50,000 characters and 500 edges. A larger picture raises
  ConfigurationError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

from graphgrad.errors import ConfigurationError
from graphgrad.rendering.dot import COLOURS
from graphgrad.rendering.picture import Box, Edge, Label, Picture
from graphgrad.rendering.view import Path
from graphgrad.text import printable

MOST_CHARACTERS = 50_000
MOST_EDGES = 500
"""The default values of Mermaid's limits `maxTextSize` and `maxEdges`."""
_LONGEST = 48  # characters of a line in a box
_PLAIN = frozenset(" ,+-=()/|")
_FILLS = ("#F8FAFC", "#F1F5F9", "#E9EEF4", "#E2E8F0")
_DELTA, _USE = "#C0355E", "#E3B4C2"
_KINDS = {"delta": f"stroke:{_DELTA},stroke-width:1px", "use": f"stroke:{_USE},stroke-width:1px"}


def write_mermaid(picture: Picture) -> str:
    """Writes the flowchart of a picture; raises ConfigurationError if Mermaid would not draw it."""
    if len(picture.edges) > MOST_EDGES:
        raise _too_large(f"{len(picture.edges):,} edges", f"{MOST_EDGES} edges")
    directions = {"right": "LR", "down": "TB", "up": "BT"}
    lines = _caption(picture.caption)
    lines.append(f"flowchart {directions[picture.direction]}")
    lines += _scope((), picture, count())
    lines += [f"  {_edge(edge)}" for edge in picture.edges]
    lines += _styles(picture)
    text = "\n".join(lines) + "\n"
    if len(text) > MOST_CHARACTERS:
        raise _too_large(f"{len(text):,} characters", f"{MOST_CHARACTERS:,} characters")
    return text


def escaped(text: str, limit: int = _LONGEST) -> str:
    """Escapes a user's text for a quoted label.

    An underscore is not escaped within a word, nor a point that no space follows: elsewhere they
    mark emphasis and lists.
    """
    shown = printable(text, limit)
    return "".join(_character(shown, position) for position in range(len(shown))) or " "


def _caption(lines: tuple[str, ...]) -> list[str]:
    """The title, as front matter in YAML; a JSON string is also a YAML string."""
    if not lines:
        return []
    title = json.dumps(" · ".join(printable(line, 200) for line in lines), ensure_ascii=False)
    return ["---", f"title: {title}", "---"]


def _character(text: str, position: int) -> str:
    """One character of a text, escaped if it has a meaning in Mermaid at this position."""
    character = text[position]
    after = text[position + 1 : position + 2]
    inside = 0 < position < len(text) - 1 and text[position - 1].isalnum() and after.isalnum()
    if character == "_" and inside:
        return character
    if character == "." and after not in ("", " "):
        return character
    if character in "-+" and position == 0:  # the start of a list
        return f"#{ord(character)};"
    if character.isalnum() or character in _PLAIN or ord(character) > 127:
        return character
    return f"#{ord(character)};"


def _scope(path: Path, picture: Picture, numbers: Iterator[int]) -> Iterator[str]:
    """The boxes of a scope and, as subgraphs, the scopes inside it."""
    indent = "  " * (len(path) + 1)
    for box in picture.boxes:
        if box.scope == path:
            yield f"{indent}{_box(box)}"
    size = len(path) + 1
    inner = dict.fromkeys(
        box.scope[:size]
        for box in picture.boxes
        if len(box.scope) >= size and box.scope[: size - 1] == path
    )
    for scope in inner:
        identifier = f"s{next(numbers)}"
        yield f'{indent}subgraph {identifier}["{escaped(picture.titles[scope])}"]'
        yield from _scope(scope, picture, numbers)
        yield f"{indent}end"
        fill = _FILLS[min(len(path), len(_FILLS) - 1)]
        yield f"{indent}style {identifier} fill:{fill},stroke:#CBD5E1,color:#52606D"


def _box(box: Box) -> str:
    lines = [_label(box.label), *(escaped(text) for text in (box.detail, box.figure) if text)]
    text = "<br/>".join([*lines, *map(escaped, box.tags)])
    if box.round:
        return f'{box.id}(("{text.replace("<br/>", " ")}"))'  # one line: two do not fit a circle
    return f'{box.id}("{text}")' if box.kind == "operation" else f'{box.id}["{text}"]'


def _label(label: Label) -> str:
    """A label; an index is written after the text, as in δ[z]."""
    text = "<br/>".join(map(escaped, label.text.split("\n")))
    return text + (f"#91;{escaped(label.index)}#93;" if label.index else "")


def _edge(edge: Edge) -> str:
    shown = f" = {escaped(edge.figure)}" if edge.figure else ""
    text = f'|"{_label(edge.label)}{shown}"|' if edge.label.text else ""
    if edge.kind == "delta":
        return f"{edge.tail} -.->{text} {edge.head}"
    return f"{edge.head} {'-.->' if edge.kind == 'use' else '-->'}{text} {edge.tail}"


def _styles(picture: Picture) -> Iterator[str]:
    """A class of boxes for each kind, a style of edges for deltas and uses."""
    for kind in dict.fromkeys(box.kind for box in picture.boxes):
        colours = COLOURS[kind]
        ids = ",".join(box.id for box in picture.boxes if box.kind == kind)
        yield f"  classDef {kind}Box fill:{colours.fill},stroke:{colours.line},color:#1F2933"
        yield f"  class {ids} {kind}Box"
    for kind_of_edge, style in _KINDS.items():
        numbers = [str(n) for n, edge in enumerate(picture.edges) if edge.kind == kind_of_edge]
        if numbers:
            yield f"  linkStyle {','.join(numbers)} {style}"


def _too_large(size: str, limit: str) -> ConfigurationError:
    return ConfigurationError(
        f"the picture has {size}; Mermaid draws at most {limit}",
        fix="fold it: --depth 2 makes boxes of deeper scopes, --fold draws equal layers once, "
        "--forward leaves the deltas out; html and svg have no such limit",
    )
