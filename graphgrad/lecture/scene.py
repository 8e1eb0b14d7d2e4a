"""Drawings as data: rectangles, lines, circles and texts with roles instead of colours.

A scene is written as SVG (`svg.py`), and as PNG or PDF (`image.py`). Positions are pixels, y grows
downwards, and the middle of a text is at its y. No text is smaller than `LEAST` pixels. A text that
was put into a box by `Scene.box` fits it: the box grows with the text, whose width is estimated
from above (a browser's font may be narrower).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from graphgrad.lecture.notation import Notation, Piece, pieces
from graphgrad.text import printable

Role = Literal[
    "ink",
    "muted",
    "faint",
    "value",
    "delta",
    "weight",
    "input",
    "output",
    "paper",
    "violet",
    "head0",
    "head1",
    "head2",
    "head3",
    "head4",
    "head5",
    "head6",
    "head7",
]
HEADS: tuple[Role, ...] = (
    "head0",
    "head1",
    "head2",
    "head3",
    "head4",
    "head5",
    "head6",
    "head7",
)
"""The roles of heads of attention, by number; again from the first for further heads."""
Anchor = Literal["start", "middle", "end"]

LEAST = 11.0
"""Pixels: the smallest text."""
INDEX = 0.76
"""The size of an index beside that of its text."""
LONGEST = 60  # characters of a text
WIDEST = 1160.0  # pixels of a drawing on a page of usual width
_NARROW = frozenset("iljtfrI.,:;'|!()[] ·")
_WIDE = frozenset("mwMW@%→←√…")


@dataclass(frozen=True)
class Text:
    """A text, with its indices lower or raised if it is `Notation`."""

    x: float
    y: float
    text: str
    size: float = 13.0
    role: Role = "ink"
    anchor: Anchor = "middle"
    bold: bool = False
    on: bool = False
    """Whether it is on a dark cell, so that it is drawn in the colour of the paper."""
    turn: float = 0.0
    """Degrees by which it is turned around its place, clockwise."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Its parts on the line, lower and raised."""
        return pieces(self.text)

    @property
    def width(self) -> float:
        """The estimated width in pixels."""
        return text_width(self.text, self.size) * (1.06 if self.bold else 1.0)


@dataclass(frozen=True)
class Box:
    """A rectangle; with `texts` they are inside of it."""

    x: float
    y: float
    width: float
    height: float
    line: Role | None = "muted"
    fill: Role | None = None
    strength: float = 0.12
    """The opacity of the filling: that of a heat map, or of a tint."""
    round: float = 0.0
    dashed: bool = False
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Circle:
    """A circle; with `texts` they are inside of it."""

    x: float
    y: float
    radius: float
    line: Role = "value"
    fill: Role | None = None
    strength: float = 0.12
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Line:
    """Straight lines through points, with an arrow at the end if wanted."""

    points: tuple[tuple[float, float], ...]
    role: Role = "muted"
    width: float = 1.2
    dashed: bool = False
    arrow: bool = False
    strength: float = 1.0


Item = Text | Box | Circle | Line


class Scene:
    """A drawing that is built item by item."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 13.0,
        role: Role = "ink",
        anchor: Anchor = "middle",
        bold: bool = False,
        turn: float = 0.0,
    ) -> Text:
        """Adds a text, made printable and shortened."""
        made = words(x, y, text, size, role, anchor, bold, turn=turn)
        self.items.append(made)
        return made

    def box(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        line: Role | None = "value",
        fill: Role | None = "value",
        least: float = 40.0,
        size: float = 13.0,
        dashed: bool = False,
        round: float = 6.0,
        centred: bool = False,
        strength: float = 0.12,
    ) -> Box:
        """Adds a box around lines of text, the first in bold, at x (or centred there) and y."""
        made = [words(0, 0, text, size, bold=number == 0) for number, text in enumerate(lines)]
        width = max([least, *(each.width + 18 for each in made)])
        height = max(len(made), 1) * (size + 5) + 9
        left = x - width / 2 if centred else x
        texts = tuple(
            replace(each, x=left + width / 2, y=y + 4.5 + (size + 5) * (number + 0.5))
            for number, each in enumerate(made)
        )
        found = Box(
            left, y, width, height, line, fill, strength, round=round, dashed=dashed, texts=texts
        )
        self.items.append(found)
        return found

    def line(
        self,
        *points: tuple[float, float],
        role: Role = "muted",
        width: float = 1.2,
        dashed: bool = False,
        arrow: bool = False,
        strength: float = 1.0,
    ) -> None:
        """Adds a line through points."""
        self.items.append(Line(points, role, width, dashed, arrow, strength))

    def add(self, item: Item) -> None:
        """Adds any item."""
        self.items.append(item)

    def moved(self, right: float, down: float) -> Scene:
        """The same drawing at another place."""
        found = Scene()
        found.items = [_moved(item, right, down) for item in self.items]
        return found

    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of everything, texts included."""
        found = [corner for item in self.items for corner in _corners(item)]
        if not found:
            return 0.0, 0.0, 1.0, 1.0
        across, down = [x for x, _ in found], [y for _, y in found]
        return min(across), min(down), max(across), max(down)

    def texts(self) -> list[Text]:
        """All texts, those in boxes and circles included."""
        return [text for item in self.items for text in _texts(item)]


def words(
    x: float,
    y: float,
    text: str,
    size: float = 13.0,
    role: Role = "ink",
    anchor: Anchor = "middle",
    bold: bool = False,
    on: bool = False,
    turn: float = 0.0,
) -> Text:
    """A text that is printable, not too long (notation is not shortened), and large enough."""
    whole = isinstance(text, Notation)
    shown = Notation(printable(text, len(text) * 12)) if whole else printable(text, LONGEST)
    return Text(x, y, shown, max(size, LEAST), role, anchor, bold, on, turn)


def index_size(size: float) -> float:
    """The size of an index of a text."""
    return max(LEAST, INDEX * size)


def text_width(text: str, size: float) -> float:
    """The width of a text, estimated from above for a sans-serif font."""
    return sum(
        (index_size(size) if piece.level else size) * sum(map(_em, piece.text))
        for piece in pieces(text)
    )


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.37
    if character in _WIDE:
        return 1.02
    if unicodedata.combining(character):
        return 0.0
    return 0.72 if character.isupper() else 0.6


def stacked(scenes: Sequence[tuple[str, Scene]], gap: float = 26.0) -> Scene:
    """Several drawings with their titles, one below the other."""
    found, top = Scene(), 0.0
    for title, scene in scenes:
        if title:
            found.text(0, top + 9, title, 15, anchor="start", bold=True)
            top += 30
        left, above, _, below = scene.extent()
        found.items += scene.moved(-left, top - above).items
        top += below - above + gap
    return found


def flowed(scenes: Sequence[Scene], widest: float = WIDEST, gap: float = 44.0) -> Scene:
    """Several drawings in rows, each as long as it fits the width."""
    found = Scene()
    across = down = low = 0.0
    for scene in scenes:
        left, top, right, bottom = scene.extent()
        if across and across + right - left > widest:
            across, down = 0.0, low + gap
        found.items += scene.moved(across - left, down - top).items
        across += right - left + gap
        low = max(low, down + bottom - top)
    return found


def _texts(item: Item) -> tuple[Text, ...]:
    if isinstance(item, Text):
        return (item,)
    return item.texts if isinstance(item, Box | Circle) else ()


def _moved(item: Item, right: float, down: float) -> Item:
    if isinstance(item, Line):
        return replace(item, points=tuple((x + right, y + down) for x, y in item.points))
    if isinstance(item, Text):
        return replace(item, x=item.x + right, y=item.y + down)
    texts = tuple(replace(text, x=text.x + right, y=text.y + down) for text in item.texts)
    return replace(item, x=item.x + right, y=item.y + down, texts=texts)


def _corners(item: Item) -> list[tuple[float, float]]:
    if isinstance(item, Line):
        return list(item.points)
    if isinstance(item, Circle):
        return [
            (item.x - item.radius, item.y - item.radius),
            (item.x + item.radius, item.y + item.radius),
        ]
    if isinstance(item, Box):
        return [(item.x, item.y), (item.x + item.width, item.y + item.height)]
    shares = {"start": 0.0, "middle": 0.5, "end": 1.0}
    left = item.x - item.width * shares[item.anchor]
    low = 0.95 if any(piece.level < 0 for piece in item.pieces) else 0.6
    top, bottom = item.y - 0.6 * item.size, item.y + low * item.size
    angle = math.radians(item.turn)
    return [
        (
            item.x + (x - item.x) * math.cos(angle) - (y - item.y) * math.sin(angle),
            item.y + (x - item.x) * math.sin(angle) + (y - item.y) * math.cos(angle),
        )
        for x, y in (
            (left, top),
            (left + item.width, top),
            (left, bottom),
            (left + item.width, bottom),
        )
    ]
