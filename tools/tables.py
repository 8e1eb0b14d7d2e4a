"""Tables that commands print: rich in a terminal, aligned text into a pipe, CSV where asked for.

Text from data is never read as markup or control sequence.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from graphgrad.text import printable
from graphgrad.tools.streams import say, write_document

Cell = str | float | int | None
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Table:
    """Headings and rows; columns from `numbers` on are figures, aligned to the right."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    numbers: int = 1
    deltas: Collection[str] = ()
    """First cells of the rows that are those of deltas: a terminal shows them in colour."""


def print_table(table: Table) -> None:
    """Prints the table in the form that the output asks for."""
    if sys.stdout.isatty():
        Console(highlight=False).print(rich_table(table))
    else:
        for line in text_lines(table):
            say(line)


def print_csv(table: Table) -> None:
    """Prints the table as CSV, numbers with all their digits; what does not exist is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headings)
    for row in table.rows:
        writer.writerow(
            [printable(cell, 10**6) if isinstance(cell, str) else _exact(cell) for cell in row]
        )
    write_document(text.getvalue())


def text_lines(table: Table) -> Iterator[str]:
    """Aligned plain text, a line a row."""
    rows = [table.headings, *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headings))]
    for row in rows:
        cells = [
            cell.rjust(width) if column >= table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def rich_table(table: Table) -> RichTable:
    """The same for a terminal."""
    drawn = RichTable(box=None, padding=(0, 0, 0, 2), header_style="dim", pad_edge=False)
    for column, heading in enumerate(table.headings):
        right = column >= table.numbers
        drawn.add_column(
            heading, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in table.rows:
        colour = "magenta" if row[0] in table.deltas else ""
        drawn.add_row(*(Text(shown(cell), colour) for cell in row))
    return drawn


def shown(cell: Cell) -> str:
    """A cell as a person reads it: three digits of a number, - for what does not exist."""
    if isinstance(cell, str):
        return printable(cell)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    return str(cell) if isinstance(cell, int) else f"{cell:.3g}"


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """The course of a figure in at most `width` characters, from its smallest to its largest."""
    count = min(width, len(values))
    picked = [
        values[round(place * (len(values) - 1) / max(count - 1, 1))] for place in range(count)
    ]
    finite = [value for value in picked if math.isfinite(value)]
    # halves, so that no difference overflows
    low, high = (min(finite) / 2, max(finite) / 2) if finite else (0.0, 0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round((value / 2 - low) * scale)] if math.isfinite(value) else " " for value in picked
    )


def _exact(cell: float | int | None) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return repr(cell)
