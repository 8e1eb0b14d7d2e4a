"""At the page's red lines stands what a delta is multiplied by."""

import numpy as np
from page_driver import Open

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.models import feedforward
from graphgrad.page import build_page
from graphgrad.training.optimisers import derived_graph


def test_the_page_draws_the_factors_at_its_red_lines(open_page: Open) -> None:
    settings = feedforward.Settings()
    page = open_page(build_page(derived_graph(feedforward.network(settings), settings)))
    texts = page.locator("#canvas .line-label.factor").all_text_contents()
    assert sorted(texts) == sorted(
        [f"δ · wh{h}→y{t}" for h in (1, 2, 3) for t in (1, 2, 3)]
        + ["δ · z · (1 - z)"] * 6
        + [f"δ · (z - truth.y{t})" for t in (1, 2, 3)]
    )


def test_a_node_that_is_used_twice_has_both_factors_at_one_line(open_page: Open) -> None:
    x = gg.tanh(gg.input("given", (2, 2), "float64"), name="x")
    y = gg.matmul(x, x, name="y")
    graph = gg.derive(
        Graph({"loss": gg.sum(y * np.arange(1.0, 5.0).reshape(2, 2), name="loss")}), "loss"
    )
    page = open_page(build_page(graph))
    assert page.locator("#canvas .line-label.factor").all_text_contents() == ["δ xᵀ + xᵀ δ"]
