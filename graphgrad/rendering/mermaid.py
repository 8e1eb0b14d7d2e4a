"""Mermaid: the picture as text that GitHub, GitLab and notebooks draw by themselves.

- Identifiers are n0, n1, … and s0, s1, …; a name of the user's only ever stands in a quoted label,
  and there every character that Mermaid could read as its own is written as its number, `#35;`.
- Scopes are subgraphs, folded as in every other picture. Deltas run backwards, dashed and red.
- Mermaid itself refuses more than 50,000 characters or 500 edges, with a picture of a bomb. What
  would come to that is refused here, with words.
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
"""Mermaid's own limits, `maxTextSize` and `maxEdges`, as they are where nobody changes them."""
_LONGEST = 48  # characters of a line in a box
_PLAIN = frozenset(" ,+-=()/|")
_FILLS = ("#F8FAFC", "#F1F5F9", "#E9EEF4", "#E2E8F0")
_DELTA, _USE = "#C0355E", "#E3B4C2"
_KINDS = {"delta": f"stroke:{_DELTA},stroke-width:1px", "use": f"stroke:{_USE},stroke-width:1px"}


def write_mermaid(picture: Picture) -> str:
    """The flowchart of a picture; ConfigurationError where Mermaid would refuse it."""
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
    """A user's text inside a quoted label: shown as it is, never read as anything else.

    An underscore stays within a word only, and a point only where no space follows: elsewhere
    Mermaid takes them for marks of emphasis and of lists.
    """
    shown = printable(text, limit)
    return "".join(_character(shown, place) for place in range(len(shown))) or " "


def _caption(lines: tuple[str, ...]) -> list[str]:
    """The title, as the front matter of the text: YAML, in which JSON's texts are texts too."""
    if not lines:
        return []
    title = json.dumps(" · ".join(printable(line, 200) for line in lines), ensure_ascii=False)
    return ["---", f"title: {title}", "---"]


def _character(text: str, place: int) -> str:
    character = text[place]
    after = text[place + 1 : place + 2]
    inside = 0 < place < len(text) - 1 and text[place - 1].isalnum() and after.isalnum()
    if character == "_" and inside:
        return character
    if character == "." and after not in ("", " "):
        return character
    if character in "-+" and place == 0:  # the start of a list
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
        return f'{box.id}(("{text.replace("<br/>", " ")}"))'  # two short lines burst a circle
    return f'{box.id}("{text}")' if box.kind == "operation" else f'{box.id}["{text}"]'


def _label(label: Label) -> str:
    """An index stands behind its name, as δ[z] does."""
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
    for way, style in _KINDS.items():
        places = [str(place) for place, edge in enumerate(picture.edges) if edge.kind == way]
        if places:
            yield f"  linkStyle {','.join(places)} {style}"


def _too_large(size: str, limit: str) -> ConfigurationError:
    return ConfigurationError(
        f"the picture has {size}; Mermaid draws at most {limit}",
        fix="fold it: --depth 2 makes boxes of deeper scopes, --fold draws equal layers once, "
        "--forward leaves the deltas out; html and svg have no such limit",
    )
