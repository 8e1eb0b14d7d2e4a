"""Writes a lesson as text for a terminal; its pictures are named, with what draws them."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator

from graphgrad.lecture.blocks import Formula, Lesson, Prose, Table
from graphgrad.text import printable

WIDTH = 96
LONGEST = 110  # characters of a cell


def lesson_text(lesson: Lesson, command: str = "") -> str:
    """The lesson as lines of text; `command` is the one that writes its pictures."""
    lines = [lesson.title, "=" * _columns(lesson.title), ""]
    for block in lesson.blocks:
        if isinstance(block, Prose):
            lines += textwrap.wrap(block.text, WIDTH)
        elif isinstance(block, Formula):
            lines += [f"    {line}" for line in block.lines]
        elif isinstance(block, Table):
            lines += table_lines(block)
        else:
            continue
        lines.append("")
    if lesson.pictures and command:
        titles = "; ".join(picture.title for picture in lesson.pictures)
        lines += [*textwrap.wrap(f"Its pictures: {titles}", WIDTH), f"    {command}"]
    return "\n".join(lines).rstrip() + "\n"


def table_lines(table: Table) -> Iterator[str]:
    """A table as aligned text."""
    rows = [table.headings, *table.rows]
    cells = [[printable(cell, LONGEST) for cell in row] for row in rows]
    count = len(table.headings)
    widths = [max(_columns(row[column]) for row in cells) for column in range(count)]
    if table.title:
        yield table.title
    for row in cells:
        parts = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _columns(cell))
            parts.append(space + cell if column >= table.numbers else cell + space)
        yield ("  " + "  ".join(parts)).rstrip()


def _columns(text: str) -> int:
    """The columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
