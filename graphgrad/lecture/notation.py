"""The lecture's notation in texts: `a_{h2}`, `w_{h→t}`, `D_k`, `W^O`, `10000^{2i/width}`.

A text has lower and raised indices only if it is marked as `Notation`. So a user's word such as
`snake_case` is written as it is, and a terminal prints the marked text unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

_INDEX = re.compile(r"([_^])(?:\{([^{}]*)\}|(\w))")
Level = Literal[-1, 0, 1]


class Notation(str):
    """A text of the lecture whose indices are set lower (`_`) or higher (`^`)."""

    __slots__ = ()


@dataclass(frozen=True)
class Piece:
    """A part of a text: on the line (0), lower (-1) or raised (1)."""

    text: str
    level: Level = 0


def pieces(text: str) -> tuple[Piece, ...]:
    """The parts of a text; the whole of it if it is not marked."""
    return tuple(_pieces(text)) if isinstance(text, Notation) else (Piece(text),)


def _pieces(text: str) -> Iterator[Piece]:
    end = 0
    for match in _INDEX.finditer(text):
        if match.start() > end:
            yield Piece(text[end : match.start()])
        yield Piece(match[2] or match[3] or "", -1 if match[1] == "_" else 1)
        end = match.end()
    if end < len(text) or not text:
        yield Piece(text[end:])


def notation_html(text: str) -> str:
    """The text as HTML, its indices as `<sub>` and `<sup>`."""
    tags = {-1: "sub", 1: "sup"}
    return "".join(
        f"<{tags[piece.level]}>{escape(piece.text)}</{tags[piece.level]}>"
        if piece.level
        else escape(piece.text)
        for piece in pieces(text)
    )
