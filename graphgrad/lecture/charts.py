"""Parts of drawings that several lessons use: axes with curves, matrices as cells, bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphgrad.lecture.blocks import shown
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.scene import Anchor, Box, Role, Scene, text_width, words

_DARK_CELL = 0.62  # from this opacity on, a number in a cell has the colour of the paper
CELL = 46.0
Curve = tuple[str, np.ndarray, Role, bool]
"""A curve: its name, values and role, and whether it is dashed."""


def matrix(
    scene: Scene,
    x: float,
    y: float,
    title: str,
    values: np.ndarray,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    cell: float = CELL,
    digits: int = 2,
    numbers: bool = True,
    scale: float | None = None,
    high: float | None = None,
    line: str | None = None,
) -> tuple[float, float]:
    """A matrix as a heat map, positive blue and negative red, with its numbers in the cells.

    Returns the right and the bottom edge. -∞ is written into an empty cell. `scale` is the
    magnitude of the darkest cell; by default the largest one. `high` is the height of a cell, and
    `line` a heading over all columns.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = scale or (float(finite.max()) if finite.size else 0.0) or 1.0
    margin = max([0.0, *(text_width(name, 12) + 8 for name in rows)])
    height = high or (28.0 if numbers else cell)
    left, top = x + margin, y + 22 + (18 if columns or line is not None else 0)
    if title:
        scene.text(left, y + 8, title, 13, anchor="start", bold=True)
    for number, name in enumerate(columns):
        scene.text(left + cell * (number + 0.5), top - 9, name, 12, "muted")
    for row, line in enumerate(values):
        if rows:
            place = top + height * (row + 0.5)
            scene.text(left - 6, place, rows[row], 12, "muted", "end")
        for column, value in enumerate(line):
            across, down = left + cell * column, top + height * row
            scene.add(_cell(across, down, cell, height, float(value), largest, digits, numbers))
    return left + cell * values.shape[1], top + height * values.shape[0]


def _cell(
    x: float,
    y: float,
    width: float,
    height: float,
    value: float,
    largest: float,
    digits: int,
    numbers: bool,
) -> Box:
    strength = min(abs(value) / largest, 1.0) if np.isfinite(value) else 0.0
    role: Role = "delta" if value < 0 else "value"
    text = shown(value, digits) if np.isfinite(value) else "−∞" if value < 0 else "∞"
    inside = (
        (words(x + width / 2, y + height / 2, text, 12, on=strength > _DARK_CELL),)
        if numbers
        else ()
    )
    line: Role | None = "faint" if numbers else None
    return Box(x, y, width, height, line, role, strength, texts=inside)


def column_width(texts: Sequence[str], least: float = CELL) -> float:
    """The width of cells under these headings."""
    return max([least, *(text_width(text, 12) + 10 for text in texts)])


def curves(
    scene: Scene,
    x: float,
    y: float,
    size: tuple[float, float],
    title: str,
    across: np.ndarray,
    lines: Sequence[Curve],
    labels: tuple[str, str] = ("", ""),
) -> None:
    """Curves over one axis, each with its name, values, role and whether it is dashed."""
    width, height = size
    low = min(0.0, *(float(values.min()) for _, values, _, _ in lines))
    high = max(0.0, *(float(values.max()) for _, values, _, _ in lines))
    high += high == low
    first, last = float(across[0]), float(across[-1])

    def place(value: float, level: float) -> tuple[float, float]:
        return (
            x + width * (value - first) / ((last - first) or 1.0),
            y + 26 + height * (high - level) / (high - low),
        )

    scene.text(x, y + 8, title, 13, anchor="start", bold=True)
    scene.line(place(first, 0), place(last, 0), role="faint")
    if first < 0 < last:
        scene.line(place(0, low), place(0, high), role="faint")
    ends: tuple[tuple[float, Anchor], ...] = ((first, "start"), (last, "end"))
    for value, anchor in ends:
        scene.text(place(value, 0)[0], y + 26 + height + 12, shown(value), 11.5, "muted", anchor)
    for level in {low, high}:
        scene.text(x - 6, place(first, level)[1], shown(level, 2), 11.5, "muted", "end")
    if labels[0]:
        scene.text(x + width / 2, y + 26 + height + 12, labels[0], 11.5, "muted")
    for name, values, role, dashed in lines:
        points = tuple(place(float(a), float(b)) for a, b in zip(across, values, strict=True))
        scene.line(*points, role=role, width=2.0, dashed=dashed)
        if name:
            scene.text(x + width + 8, points[-1][1], name, 13, role, "start")


def weight_label(
    scene: Scene, head: tuple[float, float], tail: tuple[float, float], begin: float, text: str
) -> None:
    """The weight of an edge, written along it from a distance of its head."""
    length = math.hypot(tail[0] - head[0], tail[1] - head[1])
    across, down = (tail[0] - head[0]) / length, (tail[1] - head[1]) / length
    x, y = head[0] + begin * across + 10 * down, head[1] + begin * down - 10 * across
    turn = math.degrees(math.atan2(down, across))
    scene.text(x, y, Notation(text), 12, "weight", "start", turn=turn)
