"""Where the boxes and wires of the drawn graph lie: apart, values down and deltas up."""

from collections.abc import Callable
from typing import Any

import pytest
from page_driver import Open, title

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.page import build_page


def places(page: Any) -> list[list[float]]:
    """x, y, width and height of every closed box, in the coordinates of the picture."""
    return page.evaluate(
        "[...document.querySelectorAll('#canvas .box')].map((box) => {"
        "  const at = box.transform.baseVal[0].matrix, body = box.querySelector('.body');"
        "  return [at.e, at.f, body.width.baseVal.value, body.height.baseVal.value]; })"
    )


def overlapping(boxes: list[list[float]]) -> int:
    found = 0
    for number, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:number]:
            apart = left + wide <= x or x + width <= left or top + high <= y or y + height <= top
            found += not apart
    return found


@pytest.mark.parametrize("view", ["mirror", "backward"])
def test_no_box_lies_on_another(open_page: Open, large: str, view: str) -> None:
    page = open_page(large, f"#view={view}")
    page.keyboard.press("e")
    boxes = places(page)
    assert len(boxes) > 100 and overlapping(boxes) == 0


def test_values_flow_down_and_deltas_up(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.keyboard.press("e")
    for kind, sign in (("value", 1), ("delta", -1)):
        ends = page.evaluate(
            "kind => [...document.querySelectorAll(`.wire-${kind}`)].map((wire) => {"
            "  const last = wire.getPointAtLength(wire.getTotalLength());"
            "  return last.y - wire.getPointAtLength(0).y; })",
            kind,
        )
        assert len(ends) > 20 and all(sign * end >= 0 for end in ends)


# ---------------------------------------------------------------- odd graphs


def crossing_scopes() -> Graph:
    """Two scopes each of which uses what the other computes."""
    x = gg.input("x", ("batch", 3))
    with gg.scope("a"):
        first = gg.tanh(x, name="first")
    with gg.scope("b"):
        second = gg.tanh(first, name="second")
    with gg.scope("a"):
        third = gg.tanh(second, name="third")
    return Graph({"y": third + first})


def deep_scopes() -> Graph:
    value = gg.input(".".join(f"s{depth}" for depth in range(20)) + ".x", 3)
    return Graph({"y": gg.tanh(value)})


def wide_concatenation() -> Graph:
    heads = [gg.input(f"x{number}", ("batch", 2)) for number in range(120)]
    return gg.derive(Graph({"loss": gg.sum(gg.concatenate(heads, axis=1))}), "loss")


def long_ways() -> Graph:
    """Every value is used at once and at the very end."""
    value = gg.input("x", 3)
    values = [value]
    for _ in range(120):
        value = gg.tanh(value)
        values.append(value)
    for other in values:
        value = value + other
    return Graph({"y": value})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Graph({"y": gg.input("x", 3)}),
        lambda: Graph({"y": gg.constant(2.0)}),
        crossing_scopes,
        deep_scopes,
        wide_concatenation,
        long_ways,
    ],
    ids=["input", "constant", "crossing", "deep", "wide", "long"],
)
def test_odd_graphs_are_drawn(open_page: Open, make: Callable[[], Graph]) -> None:
    page = open_page(build_page(make()))
    page.keyboard.press("e")
    boxes = places(page)
    assert len(boxes) >= 1 and overlapping(boxes) == 0
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    assert title(page) != ""
