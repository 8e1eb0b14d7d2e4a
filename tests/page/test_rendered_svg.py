"""SVGs of `render` in a browser: every text is inside the box or frame that it belongs to."""

from __future__ import annotations

import re
import shutil

import pytest
from page_driver import Open

from graphgrad.backprop import derive
from graphgrad.formats import render
from graphgrad.models import BUILTIN
from graphgrad.rendering import View
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model

SMALL = {"layers": 1, "width": 8, "heads": 2, "inner": 8}
DRAWN = {
    "feedforward": ({}, View()),
    "attention": ({}, View(deltas="nodes")),
    "transformer": (SMALL, View(deltas="none", fold=True)),
    "gpt": (SMALL, View()),
}
MEASURED = """() => {
  const wrong = [];
  let measured = 0;
  for (const group of document.querySelectorAll("g.node, g.cluster")) {
    const shapes = [...group.querySelectorAll("polygon, path, ellipse, rect")];
    if (!shapes.length) continue;
    const places = shapes.map((shape) => shape.getBoundingClientRect());
    const least = (side) => Math.min(...places.map((place) => place[side])) - 1;
    const most = (side) => Math.max(...places.map((place) => place[side])) + 1;
    for (const text of group.querySelectorAll("text")) {
      const at = text.getBoundingClientRect();
      measured += 1;
      if (at.left < least("left") || at.right > most("right") || at.top < least("top")
          || at.bottom > most("bottom")) wrong.push(text.textContent);
    }
  }
  const sizes = [...document.querySelectorAll("svg text")].map((text) => {
    const {a, b} = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
  });
  return [measured, wrong, Math.min(...sizes)];
}"""


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_texts_are_inside_their_boxes(open_page: Open) -> None:
    for name, (values, view) in DRAWN.items():
        model = load_model(name, BUILTIN)
        graph = model.task(with_values(model.settings, values), {}).graph
        graph = graph if view.deltas == "none" else derive(graph, "loss")
        svg = re.sub(r"^.*?(?=<svg)", "", render(graph, "svg", view, "svg").decode(), flags=re.S)
        page = open_page(f"<!doctype html><html data-ready lang='en'><body>{svg}</body></html>")
        measured, wrong, smallest = page.evaluate(MEASURED)
        assert measured > 20 and not wrong, (name, measured, wrong)
        assert smallest >= 11, (name, smallest)
    page.add_style_tag(content="text { font-size: 40px; }")
    assert page.evaluate(MEASURED)[1], "what is measured would not find larger texts"
