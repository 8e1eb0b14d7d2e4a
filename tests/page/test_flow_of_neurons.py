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


def test_neurons_of_one_layer_are_not_joined(open_page: Open) -> None:
    model = load_model("feedforward", BUILTIN)
    task = model.task(model.settings, {})
    graph = derive(task.graph, "loss")
    names, deltas, figures, values = figure_table(graph, task.feeds(0), initial_state(graph))
    history = History((0, 1), names, figures, np.stack([values, values]), deltas)
    section = history_section(history, graph)
    page = open_page(build_page(graph, sections={"history": section}), "#tab=history")
    path = page.get_attribute(".depth-chart path.now", "d")
    pieces = [piece.count("L") + 1 for piece in path.split("M")[1:]]
    assert sum(pieces) == page.locator(".depth-chart").first.locator(".dots circle").count()
    assert len(pieces) >= 5, "h1 | h2 | h3, then y1 | y2 | y3"
