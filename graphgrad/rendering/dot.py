"""Writes a picture as a DOT text for Graphviz.

- Identifiers are n0, n1, … and c0, c1, …. A user's name is only used in labels and tooltips:
  shortened, unprintable characters as escapes, and escaped by `markup` or `quoted`. Users cannot
  add links, images or attributes.
- Labels are Graphviz's HTML-like ones, so that they can have two sizes and an index.
- An edge of deltas is written from δ_head to δ_tail with `dir=back`, and δ_u has the rank of u. So
  the deltas are laid out like the values, and hundreds of nodes take a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphgrad.rendering.picture import Box, Edge, Kind, Label, Picture
from graphgrad.rendering.view import Path
from graphgrad.text import printable

FONT = "Arial,Helvetica,sans-serif"
_LONGEST = 48  # characters of a line in a box
_TOOLTIP = 400
STRAIGHT = "splines=line"
"""The attribute of a graph whose edges are straight lines."""
_SMALL = 9  # points: 12 pixels (Graphviz reads whole numbers only)
_FACTOR = 34  # characters on an edge; longer texts are in its tooltip only


@dataclass(frozen=True, slots=True)
class Colours:
    """Border and filling of a kind of box."""

    line: str
    fill: str


COLOURS: dict[Kind, Colours] = {
    "input": Colours("#2F855A", "#E6F6EC"),
    "parameter": Colours("#B7791F", "#FDF3D7"),
    "state": Colours("#8A6D3B", "#F7F0E3"),
    "known": Colours("#9AA5B1", "#F1F3F5"),
    "operation": Colours("#3A6EA5", "#EAF2FB"),
    "output": Colours("#5B3FA0", "#EDE7FA"),
    "scope": Colours("#52606D", "#E4E7EB"),
    "delta": Colours("#C0355E", "#FDEAF0"),
    "step": Colours("#D98BA3", "#FEF6F8"),
    "update": Colours("#6B7280", "#F3F0E8"),
}
_INK, _FAINT, _VALUE, _DELTA, _USE = "#1F2933", "#6B7785", "#64748B", "#C0355E", "#E3B4C2"
_FIGURE = "#334155"
_SCOPES = ("#F8FAFC", "#F1F5F9", "#E9EEF4", "#E2E8F0")


def write_dot(picture: Picture) -> str:
    """The DOT text of a picture."""
    lines = ["digraph graphgrad {", *_settings(picture)]
    lines += _scope((), picture, _Numbers())
    met: dict[str, int] = {}
    for edge in picture.edges:
        end = edge.head if edge.kind == "delta" else edge.tail  # the end with the arrow
        met[end] = met.get(end, -1) + edge.weight
        lines.append(f"  {edge.head} -> {edge.tail} [{_edge(edge, met[end])}];")
    if picture.caption:  # written last: clusters inherit a label that is set before them
        text = '<BR ALIGN="LEFT"/>'.join(markup(line, _TOOLTIP) for line in picture.caption)
        lines.append(f'  label=<{text}<BR ALIGN="LEFT"/>>; labelloc=t; labeljust=l;')
    lines.append("}")
    return "\n".join(lines) + "\n"


def markup(text: str, limit: int = _LONGEST) -> str:
    """Escapes a user's text for an HTML-like label."""
    escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\\": "\\\\"}
    return "".join(escapes.get(c, c) for c in printable(text, limit)) or " "


def quoted(text: str, limit: int = _TOOLTIP) -> str:
    """Escapes a user's text, which may have several lines, as a quoted string.

    A backslash is written as ∖: Graphviz expands `\\N` in tooltips, some versions twice, so that no
    number of backslashes is right for all of them.
    """
    escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': '\\"', "\\": "∖"}
    lines = [
        "".join(escapes.get(c, c) for c in printable(line, limit)) for line in text.split("\n")
    ]
    return '"' + "\\n".join(lines) + '"'


def _settings(picture: Picture) -> Iterator[str]:
    directions = {"right": "LR", "down": "TB", "up": "BT"}
    neurons = picture.style == "neurons"
    spaces = (0.26, 1.0) if neurons else (0.22, 0.32)
    yield (
        f'  graph [newrank=true, rankdir={directions[picture.direction]}, fontname="{FONT}", '
        f'fontsize=11, fontcolor="{_FAINT}", labeljust=l, '
        f"nodesep={spaces[0]}, ranksep={spaces[1]}, pad=0.25, "
        f'{STRAIGHT if neurons else "splines=spline"}, bgcolor="white", outputorder=edgesfirst, '
        f"nslimit=4, mclimit=2];"
    )
    yield (
        f'  node [fontname="{FONT}", fontsize=11, fontcolor="{_INK}", shape=box, '
        f'style="rounded,filled", penwidth=1.1, margin="0.09,0.045", height=0.3, width=0.4];'
    )
    yield (
        f'  edge [fontname="{FONT}", fontsize={_SMALL}, color="{_VALUE}", fontcolor="{_FAINT}", '
        f"arrowsize=0.55, penwidth=1.0];"
    )


class _Numbers:
    """Numbers the clusters."""

    def __init__(self) -> None:
        self.last = -1

    def next(self) -> int:
        self.last += 1
        return self.last


def _scope(path: Path, picture: Picture, numbers: _Numbers) -> Iterator[str]:
    """The boxes of a scope and, as clusters, the scopes inside it."""
    indent = "  " * (len(path) + 1)
    for box in picture.boxes:
        if box.scope == path:
            yield f"{indent}{box.id} [{_box(box)}];"
            if box.beside:
                pair = (
                    f"{box.beside} -> {box.id} [style=invis, weight=8]"  # δ_u on one side of all u
                )
                yield f"{indent}{{ rank=same; {pair}; }}"
    inputs = [box.id for box in picture.boxes if box.scope == path and box.kind == "input"]
    if picture.style == "neurons" and len(inputs) > 1:  # in one column, in their order
        yield f"{indent}{{ rank=same; edge [style=invis]; {' -> '.join(inputs)}; }}"
    yield from _column(path, picture, indent)
    for inner in _children(path, picture):
        title = picture.titles[inner]
        while not any(box.scope == inner for box in picture.boxes):
            below = _children(inner, picture)
            if len(below) != 1:
                break
            (inner,) = below
            title = f"{title}.{picture.titles[inner].rpartition('.')[2] or picture.titles[inner]}"
        if _circles(inner, picture):  # a cluster would change the order of the neurons inside
            yield f"{indent}subgraph layer_c{numbers.next()} {{"
        else:
            yield f"{indent}subgraph cluster_c{numbers.next()} {{"
            yield f"{indent}  {_cluster(inner, title, picture)}"
        yield from _scope(inner, picture, numbers)
        yield f"{indent}}}"


def _column(path: Path, picture: Picture, indent: str) -> Iterator[str]:
    """Puts neurons that are one circle each in a column, in their order, each beside its δ."""
    deltas = {box.beside: box.id for box in picture.boxes if box.beside}
    order = [
        item
        for circle in _circles(path, picture)
        for item in (circle, deltas.get(circle))
        if item is not None
    ]
    if len(order) > 1:
        yield f"{indent}{{ rank=same; edge [style=invis]; {' -> '.join(order)}; }}"


def _circles(path: Path, picture: Picture) -> list[str]:
    """The neurons of a layer that are one circle each."""
    return [
        box.id for box in picture.boxes if box.scope == path and box.round and box.kind == "scope"
    ]


def _children(path: Path, picture: Picture) -> list[Path]:
    size = len(path) + 1
    found = {
        box.scope[:size]: None
        for box in picture.boxes
        if len(box.scope) >= size and box.scope[: size - 1] == path
    }
    return list(found)


def _cluster(path: Path, title: str, picture: Picture) -> str:
    fill = _SCOPES[min(len(path) - 1, len(_SCOPES) - 1)]
    several = ", peripheries=2" if "  ×" in title else ""
    return (
        f'graph [label=<<FONT POINT-SIZE="10">{markup(title)}</FONT>>, '
        f'style="rounded,filled", color="#CBD5E1", fillcolor="{fill}", penwidth=0.9, margin=9'
        f"{several}];"
    )


# ---------------------------------------------------------------- boxes


def _box(box: Box) -> str:
    colours = COLOURS["operation" if box.round and box.kind == "scope" else box.kind]
    style = "filled" if box.round else "rounded,filled"
    fields = [
        f"label=<{_text(box)}>",
        f'color="{colours.line}"',
        f'fillcolor="{box.fill or colours.fill}"',
        f"tooltip={quoted(box.tooltip)}",
    ]
    if box.round:
        fields += ["shape=ellipse", 'margin="0.02,0.0"', "height=0.44", "width=0.55"]
    if box.copy:
        style += ",dashed"
    if box.kind == "output":
        fields.append("penwidth=2")
    if box.copy or box.round:
        fields.append(f'style="{style}"')
    return ", ".join(fields)


def _text(box: Box) -> str:
    lines = [_label(box.label, bold=box.named and box.kind not in ("delta", "step"))]
    if box.detail:
        lines.append(f'<FONT POINT-SIZE="{_SMALL}" COLOR="{_FAINT}">{markup(box.detail)}</FONT>')
    if box.figure:
        lines.append(f'<FONT POINT-SIZE="{_SMALL}" COLOR="{_FIGURE}">{markup(box.figure)}</FONT>')
    below = box.detail or box.figure
    if (
        not box.card and not box.tags and not (below and box.label.index)
    ):  # an index would overlap the next line
        return "<BR/>".join(lines)
    colours = COLOURS["delta" if box.kind == "delta" else "parameter"]
    fill = f' BGCOLOR="{colours.fill}"' if box.kind != "delta" else ""
    rows = "".join(f"<TR><TD>{line}</TD></TR>" for line in lines)
    rows += f"<TR><TD>{_card(box.card)}</TD></TR>" if box.card else ""
    for tag in box.tags:
        rows += (
            f'<TR><TD{fill}><FONT POINT-SIZE="{_SMALL}" COLOR="{colours.line}">{markup(tag)}'
            f"</FONT></TD></TR>"
        )
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1">{rows}</TABLE>'


def _card(card: tuple[tuple[str, ...], ...]) -> str:
    """A heat card: a cell of each colour."""
    size = 'FIXEDSIZE="TRUE" WIDTH="8" HEIGHT="8"'
    rows = ""
    for row in card:
        cells = "".join(f'<TD BGCOLOR="{colour}" {size}></TD>' for colour in row)
        rows += f"<TR>{cells}</TR>"
    return f'<TABLE BORDER="1" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">{rows}</TABLE>'


def _label(label: Label, bold: bool = False) -> str:
    text = markup(label.text)
    if bold:
        text = f"<B>{text}</B>"
    if label.index:
        text += f'<SUB><FONT POINT-SIZE="{_SMALL}">{markup(label.index)}</FONT></SUB>'
        text += "&#160;" * (len(label.index) // 10)  # Graphviz measures long indices too short
    return text


# ---------------------------------------------------------------- edges


def _edge(edge: Edge, number: int) -> str:
    """The attributes of an edge, the `number`th edge with a weight that points to its end."""
    fields: list[str] = []
    if edge.kind == "delta":
        fields += ["dir=back", f'color="{_DELTA}"', f'fontcolor="{_DELTA}"', "penwidth=0.9"]
    elif edge.kind == "use":
        fields += ["constraint=false", f'color="{_USE}"', "style=dotted", "arrowsize=0.4"]
    else:
        fields += ["weight=3"]
    if edge.label.text and edge.weight:  # away from the arrow, where edges of a neuron are apart
        short = Label(printable(edge.label.text, _FACTOR), printable(edge.label.index, _FACTOR))
        delta = edge.kind == "delta"  # written from the head, too, and with the arrow there
        # at different distances, so that labels do not overlap
        near = 7.5 if delta or edge.figure else 5.5
        distance = near + (2.4 if delta else 1.6) * (number % 3)
        end = "tail" if delta else "head"
        shown = f"&#160;= {markup(edge.figure)}" if edge.figure else ""
        fields.append(
            f"{end}label=<{_label(short)}{shown}>, labeldistance={distance:.1f}, labelangle=7"
        )
    elif "\n" in edge.label.text or 0 < len(edge.label.text) <= _FACTOR:
        lines = map(markup, edge.label.text.split("\n"))
        fields.append(f"label=<&#160;{'<BR/>&#160;'.join(lines)}>")  # a space beside the line
    if edge.weight:
        fields.append("minlen=3")
    if edge.tooltip:
        fields.append(f"edgetooltip={quoted(edge.tooltip)}")
    return ", ".join(fields)
