"""The panels of figures of a trained run in a browser; numbers against an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from page_driver import Open, close, number, title
from page_runs import Trained

from graphgrad.backprop import derive
from graphgrad.graph import Graph, initial_state, input, normal, parameter, scope
from graphgrad.ops import log, matmul, relu, sum
from graphgrad.page import build_page
from graphgrad.page.section_run import run_section
from graphgrad.training.optimisers import STEP, training_step
from graphgrad.training.settings import TrainingSettings


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def contributions(trained: Trained, name: str) -> list[dict[str, Any]]:
    return trained.sections["run"]["nodes"][name]["contributions"]


def test_the_side_panel_has_the_figures_of_the_node(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#node=encoder.with_positions")
    panel = page.locator(".panel-figures-node")
    value, delta = (
        trained.values[name].astype(np.float64)
        for name in ("encoder.with_positions", "encoder.with_positions.delta")
    )
    for kind, array in (("value", value), ("delta", delta)):
        wanted_figures = {
            "mean": array.mean(),
            "std": array.std(),
            "norm": np.linalg.norm(array),
            "minimum": array.min(),
            "maximum": array.max(),
        }
        for name, wanted in wanted_figures.items():
            cell = panel.locator(f'[data-figure="{kind}.{name}"]')
            assert float(cell.get_attribute("title")) == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    sent = trained.graph.contributions("encoder.with_positions")
    arrays = [trained.values[f"encoder.with_positions.delta<-{tail}"] for tail in sent]
    rows = panel.locator("table.contributions tbody tr")
    assert rows.count() == len(sent) == 4
    order = [row["tail"] for row in contributions(trained, "encoder.with_positions")]
    by_tail = dict(zip(sent, arrays, strict=True))
    for place, tail in enumerate(order):
        cells = rows.nth(place).locator("td")
        assert close(cells.nth(0).inner_text(), np.linalg.norm(by_tail[tail]), 3)
        assert number(cells.nth(2).inner_text()) == pytest.approx(
            cosine(by_tail[tail], delta), abs=2e-3
        )
    shown = panel.locator('[data-pair="3.1"]').inner_text()
    assert number(shown) == pytest.approx(cosine(by_tail[order[3]], by_tail[order[1]]), abs=0.011)
    panel.locator("table.contributions .node-link").nth(3).click()
    assert title(page).strip() == order[3].rpartition(".")[2]


def test_the_table_is_sorted_and_filtered(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html)
    page.click('[data-tab="figures"]')
    assert close(page.inner_text('[data-output="loss"]'), trained.values["loss"])
    table = page.locator("table.all-figures")
    page.click('[data-column="d.norm"] button')
    norms = {
        name.removesuffix(".delta"): np.linalg.norm(array.astype(np.float64))
        for name, array in trained.values.items()
        if name.endswith(".delta")
    }
    shown = table.locator('tbody td[data-column="d.norm"]').all_inner_texts()
    numbers = [number(text) for text in shown if text]
    assert numbers == sorted(numbers, reverse=True)
    names = table.locator("tbody th").all_inner_texts()
    nodes = trained.sections["run"]["nodes"]
    largest = max(norms[name] for name in nodes if name in norms and "delta" in nodes[name])
    assert numbers[0] == pytest.approx(largest, rel=1e-2)
    assert norms[names[0]] == pytest.approx(largest, rel=1e-4)
    page.keyboard.press("Enter")
    assert page.get_attribute('[data-column="d.norm"]', "aria-sort") == "ascending"
    page.fill('input[aria-label="filter the table"]', "feed_forward.z")
    assert table.locator("tbody tr").count() == 4
    table.locator("tbody .node-link").first.click()
    assert page.locator("#tab-view").is_hidden()
    assert ".feed_forward.z" in page.evaluate("location.hash")
    assert "dead" in page.locator(".panel-figures-node").inner_text()


def test_the_graph_is_coloured_by_figures(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html)
    for name in (
        "value-mean",
        "delta-norm",
        "update-ratio",
        "cosine",
        "program-line",
        "history-delta-norm",
    ):
        page.select_option("#colour-by", name)
        assert page.locator("#legend").is_visible() and "no node" not in page.inner_text("#legend")


def test_the_first_value_that_is_not_finite_is_on_the_page(open_page: Open) -> None:
    x, w = input("x", ("batch", 2), "float32"), parameter("w", (2, 2))
    with scope("layer"):
        bad = log(relu(matmul(x, w, name="a"), name="z"), name="bad")
    graph = derive(Graph({"loss": sum(bad, name="loss")}), "loss")
    state = {"w": np.array([[1, -1], [0, 0]], np.float32)}
    section = run_section(graph, {"x": np.ones((3, 2), np.float32)}, state)
    page = open_page(build_page(graph, sections={"run": section}), "#tab=figures")
    card = page.locator(".card.bad", has_text="Not finite")
    assert "layer.bad" in card.locator(".first").inner_text()
    assert card.locator("ol li").all_inner_texts()[1].startswith("layer.z")
    assert "layer.z\n1 / 2" in page.locator(".card", has_text="Dead").inner_text()
    card.locator("li .node-link").first.click()
    panel = page.locator(".panel-figures-node")
    assert panel.locator('[data-figure="value.non_finite"]').inner_text() == "3"
    assert panel.locator(".note.bad").is_visible()


@pytest.mark.parametrize(("step", "said"), [(0, "one step moves it by"), (3, "is 0: it does not")])
def test_a_step_at_rate_zero_is_said_to_move_nothing(open_page: Open, step: int, said: str) -> None:
    """A schedule that has ended gives a rate of 0; ‖Δw‖ = 0 alone would look like a fault."""
    settings = TrainingSettings(steps=3, warmup=0, schedule="linear", optimiser="sgd")
    x, w = input("x", (4, 2)), parameter("w", (2, 3), normal(1.0))
    graph = training_step(Graph({"loss": sum(relu(matmul(x, w)), name="loss")}), settings)
    state = {**initial_state(graph, 0), STEP: np.array(step)}
    section = run_section(graph, {"x": np.ones((4, 2), np.float32)}, state, "r", step, step)
    page = open_page(build_page(graph, sections={"run": section}), "#node=w")
    assert said in page.inner_text(".panel-figures-node")
