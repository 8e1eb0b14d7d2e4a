"""Turns the labels of straight edges in Graphviz's SVG, so that each is beside its own edge.

Graphviz writes every label horizontally. In a network of neurons the edges are steep and close to
each other, so that horizontal labels are crossed by them. A label here keeps its distance from the
ends of its edge and is written along it. What is not recognised stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_EDGE = re.compile(r'<g id="edge\d+" class="edge">')
_PATH = re.compile(r'<path .*? d="M([-\d.]+),([-\d.]+)C.*?([-\d.]+),([-\d.]+)"')
_TEXT = re.compile(
    r'<text text-anchor="start" x="([-\d.]+)" y="([-\d.]+)" .*?font-size="([\d.]+)"[^>]*>'
    r"([^<]*)</text>"
)
_REFERENCE = re.compile(r"&[^;]+;")
_LETTER = 0.5  # the mean width of a character, as a share of the size
_HALO = 'paint-order="stroke" stroke="white" stroke-width="2.5" stroke-linejoin="round"'
_BESIDE = 9.0  # points between an edge and the middle of its label


def with_turned_labels(svg: str) -> str:
    """The SVG with the labels of edges along their edges."""
    return "\n".join(_turned(svg.split("\n")))


def _turned(lines: list[str]) -> Iterator[str]:
    """The lines of the SVG; those of labels are put into a group that is turned."""
    depth = 0
    block: list[str] = []
    for line in lines:
        if depth or _EDGE.match(line):
            block.append(line)
            depth += line.startswith("<g ") - (line == "</g>")
            if not depth:
                yield from _edge(block)
                block = []
        else:
            yield line
    yield from block


def _edge(block: list[str]) -> Iterator[str]:
    """One edge with its label; the texts of a label are neighbours."""
    path = next((found for line in block if (found := _PATH.search(line))), None)
    texts = [found for line in block if (found := _TEXT.fullmatch(line))]
    if path is None or not texts:
        yield from block
        return
    transform = _transform([float(number) for number in path.groups()], texts)
    first, last = (block.index(text.string) for text in (texts[0], texts[-1]))
    yield from block[:first]
    yield f'<g class="label" transform="{transform}" {_HALO}>'
    yield from block[first : last + 1]
    yield "</g>"
    yield from block[last + 1 :]


def _transform(ends: list[float], texts: list[re.Match[str]]) -> str:
    x1, y1, x2, y2 = ends if ends[0] <= ends[2] else [*ends[2:], *ends[:2]]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    across, down = (x2 - x1) / length, (y2 - y1) / length
    size = float(texts[0][3])
    end = float(texts[-1][1]) + _LETTER * size * len(_REFERENCE.sub("x", texts[-1][4]))
    x, y = (float(texts[0][1]) + end) / 2, float(texts[0][2]) - 0.3 * size
    along = (x - x1) * across + (y - y1) * down
    side = 1.0 if (x - x1) * down - (y - y1) * across >= 0 else -1.0
    to = (
        x1 + along * across + side * _BESIDE * down,
        y1 + along * down - side * _BESIDE * across,
    )
    turn = math.degrees(math.atan2(down, across))
    return f"translate({to[0]:.2f} {to[1]:.2f}) rotate({turn:.2f}) translate({-x:.2f} {-y:.2f})"
