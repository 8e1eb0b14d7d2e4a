"""The flow by depth joins nodes that follow one another, never neurons of one layer."""

from __future__ import annotations

import numpy as np
from page_driver import Open

from graphgrad.backprop import derive
from graphgrad.figures.recording import figure_table
from graphgrad.graph import initial_state
from graphgrad.models import BUILTIN
from graphgrad.page import build_page
from graphgrad.page.section_history import history_section
from graphgrad.reports.history import History
from graphgrad.training.task import load_model


def test_lines_lead_from_neuron_to_neuron_of_the_next_layer(open_page: Open) -> None:
    model = load_model("feedforward", BUILTIN)
    task = model.task(model.settings, {})
    graph = derive(task.graph, "loss")
    names, deltas, figures, values = figure_table(graph, task.feeds(0), initial_state(graph))
    history = History((0, 1), names, figures, np.stack([values, values]), deltas)
    section = history_section(history, graph)
    assert section is not None
    depth = section["depth"]
    joined = {(depth[first], depth[second]) for first, second in section["following"]}
    for one in (1, 2, 3):
        to = {second for first, second in joined if first == f"hidden.h{one}.z"}
        assert to == {f"output.y{two}.from_h{one}" for two in (1, 2, 3)}
    within = {(a.split(".")[1], b.split(".")[1]) for a, b in joined if "." in a and "." in b}
    assert not within & {("h1", "h2"), ("h2", "h3"), ("y1", "y2"), ("y2", "y3")}
    page = open_page(build_page(graph, sections={"history": section}), "#tab=history")
    parameters = set(section["parameters"])
    path = page.get_attribute(".depth-chart path.now", "d")
    lines = [[end.split() for end in piece.split("L")] for piece in path.split("M")[1:]]
    assert len(lines) == len([pair for pair in joined if not parameters & set(pair)])
    dots = page.locator(".depth-chart").first.locator(".dots circle")
    places = [[dot.get_attribute(name) for name in ("cx", "cy")] for dot in dots.all()]
    shown = [name for name in depth if name not in parameters]
    place = dict(zip(shown, places, strict=True))
    drawn = {(tuple(map(float, one)), tuple(map(float, other))) for one, other in lines}
    for first, second in joined:
        ends = [
            tuple(round(float(number), 1) for number in place[name]) for name in (first, second)
        ]
        assert tuple(ends) in drawn
