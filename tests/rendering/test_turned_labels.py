"""Labels of straight edges are written along their edges, and nothing else changes."""

from __future__ import annotations

import math
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from graphgrad.backprop import derive
from graphgrad.formats import render
from graphgrad.models import feedforward
from graphgrad.rendering import View
from graphgrad.rendering.turned_labels import with_turned_labels

EDGE = """<g id="edge1" class="edge">
<title>a&#45;&gt;b</title>
<path fill="none" stroke="#64748b" d="M{x1},{y1}C1,1 2,2 {x2},{y2}"/>
<text text-anchor="start" x="40" y="{y}" font-size="10.00">w</text>
<text text-anchor="start" x="48" y="{y}" baseline-shift="sub" font-size="10.00">a&#45;b</text>
</g>"""
MOVED = re.compile(r"translate\(([-0-9.]+) ([-0-9.]+)\) rotate\(([-0-9.]+)\)")


@pytest.mark.parametrize("ends", [(0, 0, 100, 100), (100, 100, 0, 0), (0, 100, 100, 0)])
@pytest.mark.parametrize("y", [20, 80])
def test_a_label_is_beside_its_edge_and_parallel_to_it(ends: tuple[int, ...], y: int) -> None:
    x1, y1, x2, y2 = ends
    turned = with_turned_labels(EDGE.format(x1=x1, y1=y1, x2=x2, y2=y2, y=y))
    x, down, angle = (float(number) for number in MOVED.search(turned).groups())
    slope = (y2 - y1) / (x2 - x1)
    assert angle == pytest.approx(math.degrees(math.atan(slope)))
    level = max(y1, y2) if slope < 0 else min(y1, y2)
    assert abs(down - level - slope * x) / math.hypot(1, slope) == pytest.approx(9, abs=0.1)
    middle = 52.0  # of the label, which stays on its side of the edge
    assert (down > level + slope * x) == (y - 3 > level + slope * middle)
    assert ElementTree.fromstring(turned) is not None


@pytest.mark.parametrize("svg", ["<svg/>", EDGE.replace("path", "line"), EDGE.replace("text", "t")])
def test_what_is_not_recognised_stays(svg: str) -> None:
    assert with_turned_labels(svg) == svg


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_all_weights_of_a_network_are_turned() -> None:
    graph = derive(feedforward.neurons(feedforward.Settings()), "loss")
    svg = render(graph, "svg", View(), "svg").decode()
    root = ElementTree.fromstring(svg)
    labels = [
        "".join(group.itertext()).replace("\n", "")
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if group.get("class") == "label"
    ]
    weights = [f"w{h}{i}→{t}{j}" for h, t in ("xh", "hy") for i in "123" for j in "123"]
    assert set(weights) <= set(labels)
    layers = render(feedforward.matrices(feedforward.Settings()), "svg", View(), "svg").decode()
    assert 'class="label"' not in layers, "its edges are curves"
