"""Writes the pictures of a lesson as SVG, PNG or PDF.

SVG needs nothing; PNG and PDF are drawn by matplotlib (the extra `plot`), item by item, in the
light colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.lecture.blocks import Lesson
from graphgrad.lecture.scene import Box, Circle, Line, Scene, Text, index_size, stacked
from graphgrad.lecture.svg import LIGHT, MARGIN, SHIFTS, arrow_head, scene_svg
from graphgrad.rendering.plot_fonts import FONT, lacking_note, need_matplotlib, set_fonts
from graphgrad.rendering.plot_style import encoded, styled

FORMATS = ("svg", "png", "pdf")
_INCH = 100.0  # pixels of a scene
_POINT = 72.0 / _INCH  # points of a pixel
_LETTER = 0.92 * _POINT  # DejaVu Sans is wider than the fonts of browsers

Told = Callable[[str], object]


def lesson_picture(lesson: Lesson, form: str, told: Told = str) -> bytes:
    """All drawings of a lesson as one picture. Raises ConfigurationError if it has none."""
    if not lesson.pictures:
        raise ConfigurationError(
            f"{lesson.title} has no picture", fix="leave --output out, or write a .html file"
        )
    several = len(lesson.pictures) > 1
    whole = stacked([(each.title if several else "", each.scene) for each in lesson.pictures])
    return scene_image(whole, form, lesson.title, told)


def scene_image(scene: Scene, form: str, title: str = "", told: Told = str) -> bytes:
    """A scene in one of `FORMATS`; the same scene gives the same bytes.

    `told` is given a note if no font has some of the characters.
    """
    if form not in FORMATS:
        raise ConfigurationError(
            f"a drawing cannot be written as {form!r}"
            if form
            else "the file's name has no ending, which is its format",
            fix=f"choose a file that ends with .{', .'.join(FORMATS)} or .html",
        )
    if form == "svg":
        return scene_svg(scene, title).encode()
    rc_context = need_matplotlib().rc_context
    with styled(), rc_context({"text.hinting": "none"}):  # so that pieces of a text fit together
        figure = scene_figure(scene)
        note = lacking_note(set_fonts(figure))
        if note:
            told(note)
        return encoded(figure, form)


def scene_figure(scene: Scene) -> Any:
    """A scene as a figure of matplotlib, in the light colours."""
    need_matplotlib()
    from matplotlib.figure import Figure

    left, top, right, bottom = scene.extent()
    width, height = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    figure = Figure(figsize=(width / _INCH, height / _INCH), facecolor=LIGHT["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left - MARGIN, right + MARGIN)
    axes.set_ylim(bottom + MARGIN, top - MARGIN)
    for number, item in enumerate(scene.items):
        if isinstance(item, Line):
            _line(axes, item, number)
        elif isinstance(item, Text):
            _text(axes, item, number)
        else:
            _shape(axes, item, number)
            for text in item.texts:
                _text(axes, text, number)
    return figure


def _shape(axes: Any, item: Box | Circle, order: int) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Circle as Round
    from matplotlib.patches import FancyBboxPatch

    face = "none" if item.fill is None else to_rgba(LIGHT[item.fill], item.strength)
    edge = "none" if item.line is None else LIGHT[item.line]
    shape: Any
    if isinstance(item, Circle):
        shape = Round((item.x, item.y), item.radius)
    else:
        style = f"round,pad=0,rounding_size={item.round}" if item.round else "square,pad=0"
        place = (item.x, item.y)
        shape = FancyBboxPatch(place, item.width, item.height, boxstyle=style, mutation_aspect=1)
        shape.set_linestyle((0, (5, 4)) if item.dashed else "solid")
    shape.set(facecolor=face, edgecolor=edge, linewidth=_POINT, zorder=order)
    axes.add_patch(shape)


def _line(axes: Any, line: Line, order: int) -> None:
    from matplotlib.patches import Polygon

    colour = LIGHT[line.role]
    across, down = zip(*line.points, strict=True)
    axes.plot(
        across,
        down,
        color=colour,
        linewidth=line.width * _POINT,
        linestyle=(0, (5, 4)) if line.dashed else "solid",
        alpha=line.strength,
        zorder=order,
    )
    if line.arrow:
        axes.add_patch(Polygon(arrow_head(line), color=colour, linewidth=0, zorder=order))


def _text(axes: Any, text: Text, order: int) -> None:
    """Draws a text; pieces one behind the other, by their widths in the font."""
    options = {
        "va": "center_baseline",
        "color": LIGHT["paper" if text.on else text.role],
        "weight": "bold" if text.bold else "normal",
        "rotation": -text.turn,
        "rotation_mode": "anchor",
        "zorder": order + 0.5,
    }
    sizes = [(index_size(text.size) if p.level else text.size) * _LETTER for p in text.pieces]
    if len(sizes) == 1:
        side = {"start": "left", "middle": "center", "end": "right"}[text.anchor]
        axes.text(text.x, text.y, text.text, fontsize=sizes[0], ha=side, **options)
        return
    widths = [
        text_advance(piece.text, size, text.bold) / _POINT
        for piece, size in zip(text.pieces, sizes, strict=True)
    ]
    across = -sum(widths) * {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor]
    angle = math.radians(text.turn)
    for piece, size, width in zip(text.pieces, sizes, widths, strict=True):
        words = piece.text.lstrip()  # matplotlib draws from the first ink on
        start = across + text_advance(" ", size, text.bold) / _POINT * (
            len(piece.text) - len(words)
        )
        down = SHIFTS[piece.level] * text.size
        x = text.x + start * math.cos(angle) - down * math.sin(angle)
        y = text.y + start * math.sin(angle) + down * math.cos(angle)
        axes.text(x, y, words, fontsize=size, ha="left", **options)
        across += width


def text_advance(text: str, size: float, bold: bool) -> float:
    """The width of a text in points, spaces at its ends included."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ft2font import LoadFlags

    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(size, 72)
    advances = (font.load_char(ord(c), LoadFlags.NO_HINTING).linearHoriAdvance for c in text)
    return float(sum(advances) / 65536)
