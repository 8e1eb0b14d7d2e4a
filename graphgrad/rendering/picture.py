"""Defines pictures of graphs before layout: boxes in scopes, edges between them, plain texts.

All writers (DOT, Mermaid) draw the same picture, so none of them decides what is shown. Texts are
the user's names, unescaped; every writer escapes them.

    forward     head ──────────▶ tail       the value flows
    delta       δ_head ◀────── δ_tail       labelled with the term that the tail sends back

Every `Edge` is stored from head to tail, edges of deltas too: if boxes are ranked by edges, every
delta is beside its node and no edge is against the order (the "mirror").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphgrad.rendering.view import Path

Kind = Literal[
    "input",
    "parameter",
    "state",
    "known",
    "operation",
    "output",
    "scope",
    "delta",
    "step",
    "update",
]


@dataclass(frozen=True, slots=True)
class Label:
    """A text with an index below: w and x1→h2."""

    text: str
    index: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: `kind` decides the colour, `detail` is a second line, `tags` are parameters in
    it."""

    id: str
    label: Label
    kind: Kind
    scope: Path
    detail: str = ""
    tags: tuple[str, ...] = ()
    tooltip: str = ""
    beside: str = ""
    """The id of the box whose delta this is: both get the same rank."""
    round: bool = False
    named: bool = True
    """Whether the user has named the node; else its name is the operation's."""
    figure: str = ""
    """The figure of a run's value or delta for one batch, as a short text."""
    fill: str = ""
    """The colour of the box, where it means more than the kind."""
    card: tuple[tuple[str, ...], ...] = ()
    """The colours of the cells of a heat card, row by row."""
    copy: bool = False
    """Whether this is one of several boxes of a node that is used in many places."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge from head to tail; `kind` is value, delta (which flows from tail to head) or use (a
    value that a delta is computed from)."""

    head: str
    tail: str
    kind: Literal["value", "delta", "use"] = "value"
    label: Label = Label("")
    weight: bool = False
    """Whether the edge stands for a product with a parameter."""
    tooltip: str = ""
    figure: str = ""
    """The value of the weight in the label."""


@dataclass(frozen=True)
class Picture:
    """Boxes, edges and titles of scopes; `style` is `neurons` if weights are drawn on edges."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    titles: dict[Path, str]
    style: Literal["layers", "neurons"]
    direction: Literal["down", "right", "up"]
    caption: tuple[str, ...] = ()
    """The lines above the picture."""
