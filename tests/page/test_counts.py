"""How many nodes: text, pictures and the page say the same numbers, and say of what."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from page_driver import Open

import graphgrad as gg
from graphgrad.backprop.selection import parts_of
from graphgrad.formats import render
from graphgrad.graph import Graph, constant
from graphgrad.models import BUILTIN, feedforward, transformer
from graphgrad.page import build_page
from graphgrad.rendering import View
from graphgrad.rendering.paint import picture
from graphgrad.tools.main import main
from graphgrad.training.optimisers import training_step
from graphgrad.training.runs import create_run
from graphgrad.training.task import load_model


def network() -> Graph:
    return gg.derive(feedforward.network(feedforward.Settings()), "loss")


def step() -> Graph:
    settings = transformer.Settings(layers=2, width=8, heads=2, inner=8)
    return training_step(transformer.training_graph(settings, 11, 9), settings)


GRAPHS = {"network": network, "step": step}


@pytest.mark.parametrize("name", GRAPHS)
def test_text_and_page_count_the_nodes_of_each_part(open_page: Open, name: str) -> None:
    graph = GRAPHS[name]()
    parts = parts_of(graph)
    counts = Counter("constant" if n.operation is constant else parts[n] for n in graph)
    said = render(graph, "txt").decode().split(";")[0]
    numbers = [f"{counts['forward']:,} forward nodes", f"{counts['delta']:,} for deltas"]
    numbers += [f"{counts['update']:,} for updates"] if counts["update"] else []
    numbers += [f"{counts['constant']:,} constant{'s' if counts['constant'] > 1 else ''}"]
    assert said == ", ".join(numbers)
    page = open_page(build_page(graph))
    facts = page.locator("#details .facts").first.inner_text().replace("\n", " ").replace(",", "")
    rows = {"forward": "forward", "delta": "deltas", "update": "updates", "constant": "constants"}
    for part, row in rows.items():
        found = re.search(rf"\b{row}\s+(\d+) nodes?", facts)
        assert (int(found[1]) if found else 0) == counts[part], facts
    assert sum(counts.values()) == len(graph)


@pytest.mark.parametrize("name", GRAPHS)
def test_pictures_and_page_count_the_nodes_of_a_scope_alike(name: str) -> None:
    graph = GRAPHS[name]()
    counted = _scopes_of_page(graph)
    tried = 0
    for depth in range(4):
        for box in picture(graph, View(depth=depth, parameters="nodes")).boxes:
            count = re.fullmatch(r"(\d+) nodes( each)?", box.detail)
            if box.kind == "scope" and count:
                path = box.tooltip
                assert int(count[1]) == counted[path], path
                tried += 1
    assert tried > 3


def test_the_text_of_a_run_its_page_and_its_panels_count_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, run, html = load_model("feedforward", BUILTIN), tmp_path / "run", tmp_path / "run.html"
    create_run(model, model.settings, run)
    assert main(["render", str(run)]) == 0
    line = r"(\d+) forward nodes, (\d+) for deltas, (\d+) for updates, (\d+) constants?;"
    said = re.search(line, capsys.readouterr().out)
    assert said is not None
    assert main(["render", str(run), "--output", str(html)]) == 0
    data = _data(html.read_text(encoding="utf-8"))
    counts = Counter(
        "constant" if node["op"] == "constant" else node["part"] for node in data["nodes"]
    )
    parts = ("forward", "delta", "update", "constant")
    assert [int(count) for count in said.groups()] == [counts[part] for part in parts]
    assert data["sections"]["passes"]["source_count"] == sum(counts.values())


def _scopes_of_page(graph: Graph) -> dict[str, int]:
    data = _data(build_page(graph, view=View(parameters="nodes")))
    found: Counter[str] = Counter()
    for node in data["nodes"]:
        counted = node["part"] == "forward" and node["op"] != "constant"
        scope = node["scope"] if counted else -1
        while scope >= 0:
            found[data["scopes"][scope]["path"]] += 1
            scope = data["scopes"][scope]["parent"]
    return found


def _data(html: str) -> dict[str, Any]:
    block = re.search(r'id="page-data"[^>]*>(.*?)</script>', html, re.S)
    assert block is not None
    return json.loads(block[1])


def test_a_closed_scope_says_the_count_of_its_panel(open_page: Open) -> None:
    page = open_page(build_page(step()))
    box = page.locator("#canvas .box.scope-box[data-side=value]").first
    name, said = box.get_attribute("data-name"), box.locator(".count").text_content()
    page.evaluate("path => { location.hash = '#scope=' + encodeURIComponent(path); }", name)
    page.wait_for_selector("#details .kicker:has-text('scope')")
    panel = page.locator("#details .facts").first.inner_text()
    count = re.search(r"nodes\s+([\d,]+) forward", panel)
    assert count is not None and said == f"{count[1]} nodes"
    link = page.locator("#details .part", has_text="scopes in it")
    assert link.count() == 0 or re.search(r"\d+ nodes?", link.first.inner_text())
