"""The parts of a lesson: prose, formulas, tables and pictures, before they are written anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphgrad.lecture.scene import Scene, flowed


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Formula:
    """Lines of mathematics, written as in the lecture; four spaces separate two formulas."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; columns from number `numbers` on are aligned to the right."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    title: str = ""
    numbers: int = 1
    drawn: bool = False
    """Whether a drawing of the lesson has the same numbers, so that a page needs it only once."""


@dataclass(frozen=True)
class Picture:
    """A drawing with its title."""

    title: str
    scene: Scene
    parts: tuple[Scene, ...] = ()
    """The drawings that it is made of, if a page may set them below each other."""

    @classmethod
    def of(cls, title: str, *parts: Scene) -> Picture:
        """A picture of several drawings, side by side as far as they fit."""
        return cls(title, flowed(parts), parts)


Block = Prose | Formula | Table | Picture


@dataclass(frozen=True)
class Lesson:
    """A topic of the lecture, worked through."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The drawings, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))


def shown(value: float, digits: int = 3) -> str:
    """A number with `digits` digits: `0.881`, `−0.0312`, `112`, `0`, `−∞`."""
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = f"{value:.{digits}g}"
    return "0" if text in ("-0", "0") else text.replace("-", "−")


def signed(value: float) -> str:
    """A number as a factor or term: a negative one in brackets."""
    text = shown(value)
    return f"({text})" if text.startswith("−") else text


def shown_all(values: Iterable[float], digits: int = 3) -> tuple[str, ...]:
    """Several numbers."""
    return tuple(shown(float(value), digits) for value in values)
