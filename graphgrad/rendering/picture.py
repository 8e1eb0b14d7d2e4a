"""A picture of a graph before it is laid out: boxes in scopes, edges between them, plain text.

Every writer (DOT here, others later) draws the same picture, so none of them decides what is shown.
Texts are the raw names of the user; escaping them is each writer's own duty.

    forward     head ──────────▶ tail       the value flows
    delta       δ_head ◀────── δ_tail       with what the tail's rule makes of δ on it

Edges always point from head to tail, those of deltas too: a writer that ranks by edges gets every
delta beside its node and no edge against the order (the "mirror").
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
    """One box: `kind` gives the colour, `detail` a second line, `tags` parameters written in it."""

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
    """Whether a person gave the name, so that it is more than the operation's."""
    figure: str = ""
    """What a run's value or delta is at one batch, in short."""
    copy: bool = False
    """Whether this is one of several boxes of a node that is used in many places."""


@dataclass(frozen=True, slots=True)
class Edge:
    """From head to tail; `kind` is value, delta (flows from tail to head) or use (a value that the
    computation of a delta needs)."""

    head: str
    tail: str
    kind: Literal["value", "delta", "use"] = "value"
    label: Label = Label("")
    weight: bool = False
    """Whether the edge stands for a product with a parameter."""
    tooltip: str = ""
    figure: str = ""
    """The value of the weight that the label names."""


@dataclass(frozen=True)
class Picture:
    """Boxes and edges; `titles` of scopes; `style` is `neurons` where weights are on edges."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    titles: dict[Path, str]
    style: Literal["layers", "neurons"]
    direction: Literal["down", "right", "up"]
    caption: tuple[str, ...] = ()
    """Lines that stand above it."""
