"""The panels of history of a trained run in a browser: the slider, curves, one node over time."""

from __future__ import annotations

from page_driver import Open, close
from page_runs import WORDS, Trained

STEPS = WORDS["steps"]


def test_the_slider_moves_every_figure(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#tab=history")
    history, slider = trained.history, page.locator("#tab-view input[type=range]")
    section = trained.sections["history"]
    first, second, *_ = [n for n in section["depth"] if n not in section["parameters"]]
    flow = page.locator('[data-flow="depth"] .readout [data-value]')
    for step in (STEPS - 1, STEPS - 2):
        assert page.inner_text(".step-label") == f"step {history.steps[step]}"
        assert close(flow.inner_text(), history.of(f"{first}.delta", "norm")[step])
        slider.focus()
        page.keyboard.press("ArrowLeft")
    ratio = page.locator('[data-flow="ratio"] .readout [data-value]')
    name = ratio.get_attribute("data-value")
    assert close(ratio.inner_text(), history.of(name, "update_ratio")[STEPS - 3])
    area = page.locator('[data-flow="depth"] .flow-area')
    area.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert page.inner_text(".step-label") == f"step {history.steps[STEPS - 4]}"
    assert close(flow.inner_text(), history.of(f"{second}.delta", "norm")[STEPS - 4])
    page.select_option('select[aria-label="statistic"]', "maximum")
    page.select_option('select[aria-label="of values or deltas"]', "value")
    assert close(flow.inner_text(), history.of(first, "maximum")[STEPS - 4])
    page.select_option('select[aria-label="which nodes"]', "parameters")
    name = flow.get_attribute("data-value")
    assert name in trained.graph.parameters
    assert close(flow.inner_text(), history.of(name, "maximum")[STEPS - 4])


def test_chosen_nodes_are_followed_over_time(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#tab=history")
    area = page.locator('[data-flow="depth"] .flow-area')
    area.focus()
    page.keyboard.press("Enter")
    area.locator("svg.depth-chart").click(position={"x": 500, "y": 60})
    assert page.locator(".series li").count() == 2
    assert page.locator("path.series-line").count() == 2
    page.locator(".series button.drop").first.click()
    assert page.locator("path.series-line").count() == 1
    canvas = area.locator("canvas").bounding_box()
    page.mouse.click(canvas["x"] + 200, canvas["y"] + 2)
    assert page.inner_text(".step-label") == f"step {trained.history.steps[0]}"
    page.click(".step-slider .play")
    page.locator(".step-label", has_text=f"step {STEPS}").wait_for()


def test_a_node_has_its_own_history(trained: Trained, open_page: Open) -> None:
    name = "decoder.0.attention.query.w"
    page = open_page(trained.html, f"#node={name}&colour=history-update-ratio")
    panel = page.locator(".panel-history-node")
    assert close(
        panel.locator('[data-value="delta.norm"]').inner_text()[2:],
        trained.history.of(f"{name}.delta", "norm")[-1],
    )
    legend = page.inner_text("#legend")
    panel.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    shown = panel.locator('[data-value="value.update_ratio"]').inner_text()
    assert close(shown, trained.history.of(name, "update_ratio")[0])
    assert page.inner_text("#legend") != legend
