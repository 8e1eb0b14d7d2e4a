"""The positional encoding: its values, and the inner products of positions by their distance."""

from __future__ import annotations

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.layers import sinusoidal_positions
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown, shown_all
from graphgrad.lecture.charts import Curve, curves, matrix
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.scene import Box, Role, Scene
from graphgrad.lecture.values import computed
from graphgrad.ops import matmul

POSITIONS = {"length": "50", "width": "64"}
_SHOWN = 6


def positions_lesson(request: Request) -> Lesson:
    """The encoding drawn, and p_i · p_j, which depends on the distance of i and j alone."""
    length, width = request.whole("length", 4, 200), request.whole("width", 2, 512)
    if width % 2:
        raise ConfigurationError(
            f"width must be even, not {width}: each sine has its cosine",
            fix=f"--set width={width + 1}",
        )
    table = sinusoidal_positions(length, width, "float64")
    graph = Graph({"p": table, "products": matmul(table, table, transpose_b=True)})
    found = computed(graph, {"p": table, "products": graph.outputs["products"]}, {})
    p, products = found["p"], found["products"]
    by_distance = products[0]
    spread = max(float(np.ptp(np.diagonal(products, k))) for k in range(length))
    columns = min(_SHOWN, width)
    rows = [[str(n), *shown_all(p[n, :columns], 2)] for n in range(min(_SHOWN, length))]
    distances = [d for d in (0, 1, 2, 4, 8, 16, 32, 64, 128) if d < length]
    return Lesson(
        "Positions: the positional encoding",
        (
            Prose(
                "Attention alone does not see the order of words. So a vector that tells the "
                "position is added to the embedding of each word: the same word has another value "
                "at another position."
            ),
            Formula(
                (
                    "p_{pos, 2i} = sin(pos / 10000^{2i/width})",
                    "p_{pos, 2i+1} = cos(pos / 10000^{2i/width})",
                )
            ),
            Table(
                ("position", *(f"feature {n}" for n in range(columns))), rows, "The first values"
            ),
            Table(
                ("distance", *map(str, distances)),
                [[Notation("p_i · p_j"), *(shown(float(by_distance[d])) for d in distances)]],
                "Inner products of two positions",
            ),
            Prose(
                "The inner product depends on the distance only: at equal distances it differs by "
                f"at most {spread:.1g} in this table."
            ),
            Picture("The encoding", _heat(p)),
            Picture("Inner products by distance", _curve(by_distance)),
        ),
    )


def _heat(p: np.ndarray) -> Scene:
    """The encoding as a heat map, with numbers at both sides and a key to the colours."""
    scene, (length, width) = Scene(), p.shape
    cell = max(2.0, min(11.0, 620 / width, 520 / length))
    right, bottom = matrix(scene, 40, 10, "", p, cell=cell, numbers=False, scale=1.0)
    top = bottom - cell * length
    for side, count in (("feature", width), ("position", length)):
        step = next(n for n in (1, 2, 5, 10, 20, 50, 100) if n * cell >= 26)
        for number in range(0, count, step):
            along = cell * (number + 0.5)
            if side == "feature":
                scene.text(40 + along, top - 9, str(number), 11.5, "muted")
            else:
                scene.text(34, top + along, str(number), 11.5, "muted", "end")
    scene.text((40 + right) / 2, top - 28, "feature", 12, "muted")
    scene.text(6, (top + bottom) / 2, "position", 12, "muted", turn=-90)
    for number, (value, text) in enumerate(((1.0, "1"), (0.0, "0"), (-1.0, "−1"))):
        y = top + 22.0 * number
        role: Role = "delta" if value < 0 else "value"
        scene.add(Box(right + 16, y, 16, 16, "faint", role, abs(value)))
        scene.text(right + 38, y + 8, text, 12, "muted", "start")
    return scene


def _curve(products: np.ndarray) -> Scene:
    """The inner products over the distance."""
    scene, across = Scene(), np.arange(len(products))
    lines: list[Curve] = [("", products, "value", False)]
    title = Notation("p_i · p_j by the distance |i − j|")
    curves(scene, 40, 0, (460, 190), title, across, lines, ("distance", ""))
    return scene
