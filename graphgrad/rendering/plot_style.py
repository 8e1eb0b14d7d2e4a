"""Defines the style of plots and writes them to files: little ink, direct labels, stable bytes.

Figures are made with matplotlib's objects, without pyplot, whose figures are global state.
matplotlib is the optional extra `plot` and imported when a plot is drawn. Texts are not parsed as
mathematics, and are texts in SVG.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.rendering.plot_fonts import FONT, need_matplotlib, set_fonts
from graphgrad.text import printable

INK, MUTED, FAINT, GRID = "#1f2933", "#6b7785", "#b6bec8", "#e6e9ee"
BLUE, RED, GREEN, ORANGE, PURPLE = "#2563a8", "#b3315a", "#2f7d5b", "#c2701c", "#6d4aa3"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE)
FORMATS = ("png", "svg", "pdf")
_PIXELS = 200  # an inch
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "graphgrad",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
}


@contextmanager
def styled() -> Iterator[None]:
    """Applies the style to all plots that are drawn inside."""
    with need_matplotlib().rc_context(_STYLE):
        yield


def new_figure(width: float = 7.2, height: float = 4.2) -> Any:
    """An empty figure, in inches."""
    need_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def titled(axes: Any, title: str, subtitle: str = "") -> None:
    """Writes a title at the left, and under it, in grey, a description."""
    position = {
        "xy": (0, 1),
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "annotation_clip": False,
    }
    axes.annotate(
        printable(title),
        xytext=(0, 25 if subtitle else 12),
        fontsize=12,
        fontweight="bold",
        **position,
    )
    axes.annotate(printable(subtitle), xytext=(0, 9), color=MUTED, **position)


def logarithmic(axes: Any) -> None:
    """Makes the vertical axis logarithmic, with ticks as texts: 0.01, 10⁻⁵."""
    need_matplotlib()
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_text(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def power_text(value: float) -> str:
    """A number as a tick; a small or large power of ten is written as 10⁻⁵."""
    exponent = math.log10(value) if value > 0 else 0.0
    if abs(exponent) > 3 and abs(exponent - round(exponent)) < 1e-9:
        return "10" + str(round(exponent)).translate(_RAISED)
    return f"{value:g}"


def labelled(axes: Any, x: float, y: float, text: str, colour: str, **keywords: Any) -> None:
    """Writes a label to the right of a point."""
    axes.annotate(
        printable(text, 40),
        (x, y),
        xytext=(5, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        annotation_clip=False,
        **keywords,
    )


def spread(positions: list[float], gap: float) -> list[float]:
    """Moves positions apart, each as little as needed, until all distances are at least `gap`."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = list(positions)
    for _ in range(50):
        for below, above in itertools.pairwise(order):
            lacking = gap - (moved[above] - moved[below])
            if lacking > 0:
                moved[below] -= lacking / 2
                moved[above] += lacking / 2
    return moved


def encoded(figure: Any, form: str) -> bytes:
    """Encodes a figure in a format of `FORMATS`; the same figure gives the same bytes."""
    if form not in FORMATS:
        raise ConfigurationError(
            f"a plot cannot be written as {form!r}",
            fix=f"choose a file that ends with {', '.join(FORMATS)}",
        )
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    set_fonts(figure, escape=form != "svg")
    with warnings.catch_warnings(), _quiet_about_weights():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # in SVG they are texts
        figure.savefig(buffer, format=form, dpi=_PIXELS, metadata=dates.get(form))
    return buffer.getvalue()


@contextmanager
def _quiet_about_weights() -> Iterator[None]:
    """Silences matplotlib's warning that a fallback font has no bold weight."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def format_of(path: Path) -> str:
    """The format that the ending of a file's name stands for."""
    return path.suffix.removeprefix(".").lower()
