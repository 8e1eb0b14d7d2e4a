"""Writes the pictures of a lesson as SVG, PNG or PDF.

SVG needs nothing; PNG and PDF are drawn by matplotlib (the extra `plot`), item by item, in the
light colours.
"""

from __future__ import annotations

from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.lecture.blocks import Lesson
from graphgrad.lecture.scene import Box, Circle, Line, Scene, Text, index_size, stacked, text_width
from graphgrad.lecture.svg import LIGHT, MARGIN, arrow_head, scene_svg
from graphgrad.rendering.plot_fonts import need_matplotlib
from graphgrad.rendering.plot_style import encoded, styled

FORMATS = ("svg", "png", "pdf")
_INCH = 100.0  # pixels of a scene
_POINT = 72.0 / _INCH  # points of a pixel


def lesson_picture(lesson: Lesson, form: str) -> bytes:
    """All drawings of a lesson as one picture. Raises ConfigurationError if it has none."""
    if not lesson.pictures:
        raise ConfigurationError(
            f"{lesson.title} has no picture", fix="leave --output out, or write a .html file"
        )
    several = len(lesson.pictures) > 1
    whole = stacked([(each.title if several else "", each.scene) for each in lesson.pictures])
    return scene_image(whole, form, lesson.title)


def scene_image(scene: Scene, form: str, title: str = "") -> bytes:
    """A scene in one of `FORMATS`; the same scene gives the same bytes."""
    if form not in FORMATS:
        raise ConfigurationError(
            f"a drawing cannot be written as {form!r}",
            fix=f"choose a file that ends with .{', .'.join(FORMATS)} or .html",
        )
    if form == "svg":
        return scene_svg(scene, title).encode()
    need_matplotlib()
    with styled():
        return encoded(scene_figure(scene), form)


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

    colour = line.colour or LIGHT[line.role]
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
    role = "paper" if text.on else text.role
    options = {"va": "center_baseline", "color": LIGHT[role], "zorder": order + 0.5}
    weight = "bold" if text.bold else "normal"
    if not text.index:
        sides = {"start": "left", "middle": "center", "end": "right"}
        options |= {"ha": sides[text.anchor], "weight": weight}
        axes.text(text.x, text.y, text.text, fontsize=text.size * _POINT, **options)
        return
    first = text_width(text.text, text.size) * (1.06 if text.bold else 1.0)
    shares = {"start": 0.0, "middle": 0.5, "end": 1.0}
    left = text.x - text.width * shares[text.anchor]
    size = index_size(text.size)
    axes.text(
        left + first,
        text.y,
        text.text,
        fontsize=text.size * _POINT,
        ha="right",
        weight=weight,
        **options,
    )
    axes.text(
        left + first + 1,
        text.y + 0.28 * text.size,
        text.index,
        fontsize=size * _POINT,
        ha="left",
        **options,
    )
