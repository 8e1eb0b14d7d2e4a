"""Writes a scene as SVG: plain shapes and texts, light and dark by the reader's wish.

Texts are the only content that may come from a user; they are escaped, and nothing in the file is a
link, a script or a request. Each box is a group with its texts inside, so that a test can measure
in a browser that they fit.
"""

from __future__ import annotations

from html import escape

from graphgrad.lecture.scene import Box, Circle, Item, Line, Role, Scene, Text, index_size

MARGIN = 14.0
SHIFTS = {-1: 0.28, 0: 0.0, 1: -0.38}
"""By how much of the size of a text its indices are lower than the line."""
FONT = "Arial, Helvetica, 'Liberation Sans', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
LIGHT: dict[Role, str] = {
    "ink": "#1f2933",
    "muted": "#5b6775",
    "faint": "#d5dbe2",
    "value": "#2563a8",
    "delta": "#b3315a",
    "weight": "#96600f",
    "input": "#2a7550",
    "output": "#5b3fa0",
    "violet": "#6d4aa3",
    "paper": "#ffffff",
    "head0": "#3b6ea8",
    "head1": "#c4572f",
    "head2": "#2f7d52",
    "head3": "#8a4fa3",
    "head4": "#a8780c",
    "head5": "#5a6672",
    "head6": "#0f8b8d",
    "head7": "#b5347d",
}
DARK: dict[Role, str] = {
    "ink": "#e6ebf1",
    "muted": "#a3afbd",
    "faint": "#3b4653",
    "value": "#7db4ec",
    "delta": "#f08aa8",
    "weight": "#e5b567",
    "input": "#7ccba2",
    "output": "#b9a3f0",
    "violet": "#c3a6ee",
    "paper": "#161b22",
    "head0": "#86b2e6",
    "head1": "#f0976c",
    "head2": "#6cc295",
    "head3": "#c795dd",
    "head4": "#e0bd5c",
    "head5": "#a3adba",
    "head6": "#59cfd0",
    "head7": "#f08bc0",
}


def scene_svg(scene: Scene, title: str = "", styled: bool = True) -> str:
    """The SVG text; without `styled` it needs `STYLE` in the page around it."""
    left, top, right, bottom = scene.extent()
    width, height = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    view = f"{_n(left - MARGIN)} {_n(top - MARGIN)} {_n(width)} {_n(height)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lecture" width="{_n(width)}" '
        f'height="{_n(height)}" viewBox="{view}" role="img" aria-label="{escape(title)}">'
    ]
    lines += [f"<style>{STYLE}</style>"] if styled else []
    lines.append(
        f'<rect class="page f-paper" x="{_n(left - MARGIN)}" y="{_n(top - MARGIN)}" '
        f'width="{_n(width)}" height="{_n(height)}"/>'
    )
    lines += [_written(item) for item in scene.items]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _rules(colours: dict[Role, str]) -> str:
    return "".join(
        f".lecture .f-{role}{{fill:{colour}}}.lecture .s-{role}{{stroke:{colour}}}"
        for role, colour in colours.items()
    )


STYLE = (
    f".lecture text{{font-family:{FONT};white-space:pre}}.lecture .s{{fill:none}}"
    f".lecture .none{{fill:none}}{_rules(LIGHT)}"
    f"@media (prefers-color-scheme: dark){{{_rules(DARK)}}}"
)
"""The rules of colours; those of the dark ones apply where the reader prefers them."""


def _n(value: float) -> str:
    """A number with at most two digits behind the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


def _written(item: Item) -> str:
    if isinstance(item, Text):
        return _text(item)
    if isinstance(item, Line):
        return _line(item)
    shape = _box(item) if isinstance(item, Box) else _circle(item)
    if not item.texts:
        return shape
    return f'<g class="boxed">{shape}{"".join(map(_text, item.texts))}</g>'


def _text(text: Text) -> str:
    role: Role = "paper" if text.on else text.role
    weight = ' font-weight="bold"' if text.bold else ""
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    turn = f' transform="rotate({_n(text.turn)} {_n(text.x)} {_n(text.y)})"' if text.turn else ""
    return (
        f'<text class="f-{role}" x="{_n(text.x)}" y="{_n(text.y + 0.35 * text.size)}" '
        f'font-size="{_n(text.size)}"{weight}{anchor}{turn}>{_content(text)}</text>'
    )


def _content(text: Text) -> str:
    """The pieces of a text; one behind an index goes back to the line."""
    made, offset = [], 0.0
    for piece in text.pieces:
        wanted = SHIFTS[piece.level] * text.size
        shift = f' dy="{_n(wanted - offset)}"' if wanted != offset else ""
        size = f' font-size="{_n(index_size(text.size))}"' if piece.level else ""
        shown = escape(piece.text)
        made.append(f"<tspan{shift}{size}>{shown}</tspan>" if shift or size else shown)
        offset = wanted
    return "".join(made)


def _paint(fill: Role | None, line: Role | None, strength: float, dashed: bool = False) -> str:
    filled = "none" if fill is None else f"f-{fill}"
    inside = f'class="{filled} s-{line}"' if line else f'class="{filled}"'
    opacity = "" if fill is None else f' fill-opacity="{_n(strength)}"'
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f"{inside}{opacity}{dashes}"


def _box(box: Box) -> str:
    corner = f' rx="{_n(box.round)}"' if box.round else ""
    corner += "" if box.line else ' shape-rendering="crispEdges"'  # no gaps between cells
    paint = _paint(box.fill, box.line, box.strength, box.dashed)
    return (
        f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}"{corner} {paint}/>'
    )


def _circle(circle: Circle) -> str:
    return (
        f'<circle cx="{_n(circle.x)}" cy="{_n(circle.y)}" r="{_n(circle.radius)}" '
        f"{_paint(circle.fill, circle.line, circle.strength)}/>"
    )


def _line(line: Line) -> str:
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in line.points)
    fields = [
        f'class="s s-{line.role}"',
        f'stroke-width="{_n(line.width)}"',
        *(['stroke-dasharray="5 4"'] if line.dashed else []),
        *([f'stroke-opacity="{_n(line.strength)}"'] if line.strength < 1 else []),
    ]
    shape = f'<polyline points="{points}" {" ".join(fields)}/>'
    if not line.arrow:
        return shape
    head = " ".join(f"{_n(x)},{_n(y)}" for x, y in arrow_head(line))
    return f'{shape}<polygon class="f-{line.role}" points="{head}"/>'


def arrow_head(line: Line) -> tuple[tuple[float, float], ...]:
    """The three corners of the arrow at the end of a line."""
    (x1, y1), (x2, y2) = line.points[-2:]
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
    across, down = (x2 - x1) / length, (y2 - y1) / length
    long, wide = 7.0, 3.2
    back = (x2 - long * across, y2 - long * down)
    return (
        (x2, y2),
        (back[0] - wide * down, back[1] + wide * across),
        (back[0] + wide * down, back[1] - wide * across),
    )
