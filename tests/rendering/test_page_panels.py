"""The panels of a trained run in a browser, by clicks and keys; numbers against an evaluation."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import sizes_of
from graphgrad.graph import Graph, input, parameter, scope
from graphgrad.inspection.history import History, read_history
from graphgrad.inspection.recording import make_recorder
from graphgrad.models import BUILTIN
from graphgrad.ops import log, matmul, relu, sum, tanh
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import specialise
from graphgrad.rendering.page import build_page
from graphgrad.rendering.page.run_sections import run_sections
from graphgrad.rendering.page.section_history import history_section
from graphgrad.rendering.page.section_passes import pass_section
from graphgrad.rendering.page.section_run import run_section
from graphgrad.training.progress import Progress
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model
from graphgrad.training.trainer import create_run, open_run, train

HOSTILE = (
    "<script>window.hacked=1</script>", "<img/src=x/onerror=window.hacked=1>", "]]>", "\\N",
    "n:port", "javascript:window.hacked=1", "\u202egnirts", "'\"`", "</style><b>", "x" * 10_000,
)  # fmt: skip
STEPS = 4
Open = Callable[..., Any]


@dataclass(frozen=True)
class Trained:
    """A page of a small Transformer that was trained on hostile words, and what it must show."""

    html: str
    graph: Graph
    values: dict[str, np.ndarray]
    """By the names of the graph."""
    history: History
    sections: dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("panels")
    generator = random.Random(5)
    for name in ("source", "target"):
        lines = [" ".join([HOSTILE[0], *generator.choices(HOSTILE, k=generator.randint(2, 6))])
                 for _ in range(60)]  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = load_model("transformer", BUILTIN)
    settings = with_values(model.settings, {
        "layers": 2, "width": 16, "heads": 2, "inner": 12, "batch_size": 6, "steps": STEPS,
        "tokens": "whitespace", "inspect_every": 1, "schedule": "constant",
        "source": str(folder / "source"), "target": str(folder / "target"),
    })  # fmt: skip
    run = create_run(model, settings, folder / "run")
    train(run, progress=Progress(STEPS, 0, stream=io.StringIO()), recorder=make_recorder(run.graph))
    run = open_run(folder / "run", BUILTIN)
    with pytest.MonkeyPatch.context() as patch:  # arrays of tests are small, but kernels are shown
        patch.setattr("graphgrad.kernels.fuse.WORTH_A_KERNEL", 0)
        sections = run_sections(run)
    graph = derive(run.task.graph, "loss", run.task.graph.parameters.values())
    feeds = run.task.feeds(run.step)
    sized = specialise(graph, sizes_of(graph, feeds))
    computed = evaluate(sized, feeds, run.state)
    values = {name: computed[node] for name, node in sized.names.items()}
    html = build_page(graph, sections=sections, title="run")
    return Trained(html, graph, values, read_history(run.folder), sections)


def number(text: str | None) -> float:
    assert text is not None
    return float(text.replace("−", "-").replace("–", "nan").removesuffix(" %").strip())


def close(text: str | None, wanted: float, digits: int = 4) -> bool:
    return number(text) == pytest.approx(float(wanted), rel=10.0 ** (1 - digits), abs=1e-30)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


# ---------------------------------------------------------------- figures


def test_the_side_panel_has_the_figures_of_the_node(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#node=encoder.with_positions")
    panel = page.locator(".panel-figures-node")
    value, delta = (trained.values[name].astype(np.float64) for name in
                    ("encoder.with_positions", "encoder.with_positions.delta"))  # fmt: skip
    for kind, array in (("value", value), ("delta", delta)):
        wanted_figures = {"mean": array.mean(), "std": array.std(), "norm": np.linalg.norm(array),
                          "minimum": array.min(), "maximum": array.max()}  # fmt: skip
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
    assert page.locator("#details h2").inner_text().strip() == order[3].rpartition(".")[2]


def contributions(trained: Trained, name: str) -> list[dict[str, Any]]:
    return trained.sections["run"]["nodes"][name]["contributions"]


def test_the_table_is_sorted_and_filtered(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html)
    page.click('[data-tab="figures"]')
    assert close(page.inner_text('[data-output="loss"]'), trained.values["loss"])
    table = page.locator("table.all-figures")
    page.click('[data-column="d.norm"] button')
    norms = {name.removesuffix(".delta"): np.linalg.norm(array.astype(np.float64))
             for name, array in trained.values.items() if name.endswith(".delta")}  # fmt: skip
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


# ---------------------------------------------------------------- attention


def attention_numbers(page: Any) -> tuple[str, str]:
    return tuple(page.inner_text(f'.readout [data-value="{name}"]') for name in ("weight", "delta"))


def test_attention_shows_exact_numbers_by_keys_and_pointer(
    trained: Trained, open_page: Open
) -> None:
    page = open_page(trained.html, "#tab=attention")
    names = [item["name"] for item in trained.sections["attention"]["maps"]]
    page.select_option('select[aria-label="layer"]', label="decoder.1.attention")
    weights = trained.values["decoder.1.attention.weights"]
    deltas = trained.values["decoder.1.attention.scores.delta"]
    page.locator(".map-area").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    shown = attention_numbers(page)
    assert close(shown[0], weights[0, 0, 2, 1]) and close(shown[1], deltas[0, 0, 2, 1], 3)
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert attention_numbers(page) == ("0", "0") and "masked" in page.inner_text(".readout")
    assert weights[0, 0, 2, 3] == deltas[0, 0, 2, 3] == 0
    for key in ("Home", "PageDown"):
        page.keyboard.press(key)
    assert page.get_attribute(".map-area", "data-head") == "1"
    assert close(attention_numbers(page)[0], weights[0, 1, 2, 0])
    page.click('button[aria-label="example 2"]')
    assert close(attention_numbers(page)[0], weights[1, 1, 2, 0])
    box = page.locator('[data-map="deltas"] canvas.cells').bounding_box()
    keys = trained.sections["attention"]["maps"][names.index("decoder.1.attention")]["examples"][1]
    size = box["width"] / keys["keys"]
    page.mouse.move(box["x"] + 1.5 * size, box["y"] + 3.5 * size)
    assert close(attention_numbers(page)[1], deltas[1, 1, 3, 1], 3)
    page.mouse.click(box["x"] + 0.5 * size, box["y"] + 3.5 * size)
    page.mouse.move(box["x"] + 1.5 * size, box["y"] + 1.5 * size)
    assert close(attention_numbers(page)[0], weights[1, 1, 3, 0])
    page.click('button[aria-label="encoder.0.attention, head 2"]')
    assert page.input_value('select[aria-label="layer"]') == str(names.index("encoder.0.attention"))


def test_tokens_show_as_text_at_the_layer_of_the_selected_node(
    trained: Trained, open_page: Open
) -> None:
    page = open_page(trained.html, "#node=encoder.1.attention.scores", True)
    page.locator(".panel-attention-node .thumb").nth(1).click()
    assert page.get_attribute(".map-area", "data-head") == "1"
    chosen = page.locator('select[aria-label="layer"] option:checked')
    assert chosen.inner_text() == "encoder.1.attention"
    assert page.locator('.thumb[aria-pressed="true"]').count() == 1
    shown = set(page.locator('[data-map="weights"] .row-tokens .token').all_inner_texts())
    for number in range(1, len(trained.sections["attention"]["examples"])):
        page.click(f'button[aria-label="example {number + 1}"]')
        shown |= set(page.locator('[data-map="weights"] .row-tokens .token').all_inner_texts())
    expected = {token[:6].replace("\u202e", "\\u202e") for token in HOSTILE}
    assert len({text[:6] for text in shown} & expected) > 5
    script = page.locator('[data-map="weights"] .token[title="<script>window.hacked=1<"]').first
    assert script.inner_text() == "<script>…ed=1<"
    assert page.evaluate("window.hacked") is None
    assert page.locator("#tab-view img, #tab-view script").count() == 0


# ---------------------------------------------------------------- passes and program


def test_passes_are_walked_by_keys(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#tab=passes")
    section = trained.sections["passes"]
    rows = page.locator("table.passes tbody tr")
    assert rows.count() == len(section["steps"])
    place = next(k for k, step in enumerate(section["steps"]) if step["name"] == "simplify")
    rows.nth(place).click()
    step = section["steps"][place]
    for kind, count in step["counts"].items():
        chip = rows.nth(place).locator(f'[data-kind="{kind}"]')
        assert chip.count() == bool(count)
        if count and kind != "rebuilt":
            listed = page.locator(f'.change-list[data-kind="{kind}"] li')
            assert listed.count() == len(step["lists"][kind])
            item = listed.first
            name, was, now = step["lists"][kind][0]
            assert item.locator(".node-link, span").first.inner_text() == name
            assert item.locator("code.before").inner_text() == was
            assert item.locator("code.after").inner_text() == now
    rows.nth(place).locator("button").focus()
    page.keyboard.press("ArrowDown")
    assert page.inner_text(".pass-details h3") == section["steps"][place + 1]["name"]
    page.keyboard.press("k")
    assert page.inner_text(".pass-details h3") == "simplify"


def chosen_lines(page: Any) -> dict[str, list[str]]:
    return {pane: page.locator(f'[data-pane="{pane}"] .line.chosen .code').all_inner_texts()
            for pane in ("source", "optimised", "program")}  # fmt: skip


def test_three_texts_are_linked(trained: Trained, open_page: Open) -> None:
    """A run is fused: softmax became elementwise nodes, and one kernel computes them and more."""
    pytest.importorskip("llvmlite")
    page = open_page(trained.html, "#node=encoder.0.attention.weights&tab=program")
    shown = chosen_lines(page)
    assert [len(lines) for lines in shown.values()] == [1, 1, 1]
    assert shown["source"][0].startswith("softmax(%") and "batch" in shown["source"][0]
    assert shown["optimised"][0].startswith("multiply(%") and "[6, 2, " in shown["optimised"][0]
    call = shown["program"][0].strip()
    assert call.startswith("op.kernel_") and trained.sections["run"]["step"] == STEPS
    kernel = page.inner_text(".kernel-text")
    assert kernel.startswith(call.removeprefix("op.").partition("(")[0])
    assert " nodes in one loop here" in kernel and "def kernel(" in kernel
    page.locator('[data-pane="source"] .lines').focus()
    page.keyboard.press("ArrowDown")
    assert chosen_lines(page)["program"][0].strip().startswith("op.matmul(v")
    assert page.locator(".kernel-text").is_hidden()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "optimised graph"
    target = page.locator('[data-pane="program"] .line', has_text=call.partition("(")[0]).first
    target.hover()
    together = page.locator('[data-pane="source"] .line.lit .code').all_inner_texts()
    assert len(together) > 1 and any(line.startswith("softmax(") for line in together)
    target.click()
    assert any(line.startswith("softmax(") for line in chosen_lines(page)["source"])
    page.fill('input[aria-label="find a line"]', "cross_entropy")
    assert page.locator('[data-pane="source"] .line.found').count() == 1
    page.keyboard.press("Enter")
    assert "cross_entropy" in "".join(chosen_lines(page)["source"])
    page.locator('[data-pane="source"] .line.chosen').dblclick()
    assert page.locator("#tab-view").is_hidden()
    assert "node=losses" in page.evaluate("location.hash")


def test_the_side_panel_leads_to_the_program(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#node=decoder.0.attention.matches")
    panel = page.locator(".panel-program-node")
    here = panel.locator(".line.here .code").inner_text()
    assert here.startswith("op.matmul(v") and "arena" in panel.inner_text()
    panel.locator('[data-open="program"]').click()
    assert chosen_lines(page)["program"][0].strip().startswith(here)


def test_what_was_removed_says_so(open_page: Open) -> None:
    x = input("x", ("batch", 2), "float32")
    graph = Graph({"y": tanh(x, name="y")}, names={"unused": relu(x, name="unused")})
    section = pass_section(graph, {"batch": 3})
    page = open_page(build_page(graph, sections={"passes": section}), "#node=unused")
    assert "Not in the program" in page.inner_text(".panel-program-node")
    assert "prune removed" in page.inner_text(".panel-program-node")


@pytest.mark.usefixtures("small_kernels")
def test_kernels_are_shown_where_the_program_has_them(open_page: Open) -> None:
    pytest.importorskip("llvmlite")
    x = input("x", ("batch", 4), "float32")
    graph = Graph({"y": sum(tanh(x, name="z") * 2.0, -1, name="y")})
    section = pass_section(graph, {"batch": 3}, fuse=True)
    page = open_page(build_page(graph, sections={"passes": section}), "#node=z")
    summary = page.locator(".panel-program-node details.kernel summary")
    assert summary.inner_text() == "kernel_0 computes it with 2 other nodes in one loop"
    summary.click()
    assert "def kernel" in page.inner_text(".panel-program-node details.kernel pre")
    page.click('[data-open="program"]')
    assert "3 nodes in one loop here" in page.inner_text(".kernel-text")


# ---------------------------------------------------------------- history


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
    assert close(panel.locator('[data-value="delta.norm"]').inner_text()[2:],
                 trained.history.of(f"{name}.delta", "norm")[-1])  # fmt: skip
    legend = page.inner_text("#legend")
    panel.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    shown = panel.locator('[data-value="value.update_ratio"]').inner_text()
    assert close(shown, trained.history.of(name, "update_ratio")[0])
    assert page.inner_text("#legend") != legend


# ---------------------------------------------------------------- hostile names, every panel


def test_hostile_names_are_text_in_every_panel(open_page: Open) -> None:
    x = input("x", ("batch", 3), "float32")
    value = x
    for place, name in enumerate(HOSTILE):
        with scope(f"s{place}"):
            weight = parameter(name, (3, 3), dtype="float32")
            value = tanh(matmul(value, weight, name=f"a{name}"), name=name)
    graph = derive(Graph({"loss": sum(value + x, name="loss")}), "loss")
    state = {name: np.eye(3, dtype=np.float32) for name in graph.parameters}
    feeds = {"x": np.ones((2, 3), np.float32)}
    names = tuple(graph.name_of(node) for node in graph.nodes)
    numbers = np.random.default_rng(0).random((3, len(names), 2))
    recorded = History((1, 2, 3), names, ("norm", "update_ratio"), numbers)
    sections = {
        "run": run_section(graph, feeds, state, HOSTILE[0]),
        "passes": pass_section(graph, {"batch": 2}),
        "history": history_section(recorded, graph),
    }
    page = open_page(build_page(graph, sections=sections, title=HOSTILE[0]))
    for tab in ("figures", "passes", "program", "history"):
        page.click(f'[data-tab="{tab}"]')
        assert page.locator("#tab-view .problem").count() == 0
        assert page.locator("#tab-view :is(script, img, b:has(b), style)").count() == 0
        if tab == "figures":
            assert HOSTILE[0] in page.inner_text("#tab-view")
        if tab == "program":
            assert page.locator('.line .label[title*="<script>window"]').count()
    for place in (0, 1, 5):
        page.evaluate("name => { location.hash = '#node=' + encodeURIComponent(name); }",
                      f"s{place}.{HOSTILE[place]}")  # fmt: skip
        page.locator(".panel-figures-node").wait_for()
        assert page.locator("#details .problem").count() == 0
    assert page.evaluate("window.hacked") is None
