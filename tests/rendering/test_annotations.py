"""Annotations in pictures: the figures are those of the batch, in every box that has figures."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.figures.array_figures import figures_of
from graphgrad.formats import render
from graphgrad.graph import Graph
from graphgrad.models import feedforward
from graphgrad.rendering import View
from graphgrad.rendering.annotations import Annotations, annotations_of, delta_text, value_text
from graphgrad.rendering.paint import picture

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@pytest.mark.parametrize(
    ("values", "value", "delta"),
    [
        ([1.0, 2.0, 3.0], "2 ± 0.82", "‖δ‖ 3.74"),
        ([[0.25]], "0.25", "‖δ‖ 0.25"),
        ([1e-9, 1.0, -1.0], "0 ± 0.82", "‖δ‖ 1.41"),
        ([7.0, 7.0], "7 ± 0", "‖δ‖ 9.9"),
        ([np.nan, 1.0, np.inf], "2 not finite", "2 not finite"),
        ([], "", "‖δ‖ 0"),
    ],
)
def test_figures_in_short(values: list[float], value: str, delta: str) -> None:
    found = figures_of(np.array(values))
    assert (value_text(found), delta_text(found)) == (value, delta)


def trained() -> tuple[Graph, dict[str, np.ndarray], Annotations]:
    """The lecture's network with hand-made weights on a batch of two flowers."""
    settings = feedforward.Settings(dtype="float64")
    graph = gg.derive(feedforward.network(settings), "loss")
    state = {name: np.array(0.1 * place - 0.5) for place, name in enumerate(graph.parameters)}
    feeds = {name: np.array([0.5, -1.0]) * (1 + place) for place, name in enumerate(graph.inputs)}
    return graph, state, annotations_of(graph, feeds, state, "my run", 1200, 1200)


def test_boxes_edges_and_deltas_have_the_numbers_of_the_batch() -> None:
    graph, state, annotations = trained()
    x = np.stack([np.array([0.5, -1.0]) * (1 + place) for place in range(3)])
    w = np.array([state[f"w.x{h}->h1"] for h in (1, 2, 3)])
    a = w @ x
    found = picture(graph, annotations=annotations)
    (box,) = [b for b in found.boxes if b.label.text == "a" and b.scope == ("hidden", "h1")]
    assert box.figure == f"{a.mean():.3g} ± {a.std():.2g}"
    edge = next(e for e in found.edges if e.label.index == "x2→h1" and e.kind == "value")
    assert edge.figure == f"{w[1]:.3g}"
    (last,) = [b for b in found.boxes if b.kind == "delta" and not b.scope]
    assert last.figure == "‖δ‖ 1", "∂L/∂L"
    assert all(b.figure for b in found.boxes if b.kind != "scope")
    assert found.caption[0].startswith("my run · after step 1,200 · loss ")


def test_without_annotations_there_is_no_caption() -> None:
    graph, _, _ = trained()
    found = picture(graph)
    assert not found.caption and not any(b.figure for b in found.boxes)


@needs_dot
def test_every_image_shows_them_and_hostile_names_of_runs_stay_text() -> None:
    graph, _, _ = trained()
    name = '<b>"x"</b>\n---\n&{}'
    annotations = Annotations(name, 1, 1, 2.0, {"loss": "<i>3</i>"}, {"loss": "‖δ‖ 1"})
    for view in (View(), View(fold=True)):
        svg = render(graph, "svg", view, annotations=annotations).decode()
        assert "after step 1 · loss 2 on the batch of step 1" in svg
        assert "&lt;b&gt;" in svg and "<b>" not in svg and "&lt;i&gt;3&lt;/i&gt;" in svg
        mermaid = render(graph, "mermaid", view, annotations=annotations).decode().split("\n")
        assert mermaid[0] == mermaid[2] == "---" and mermaid[3].startswith("flowchart")
        assert mermaid[1].startswith('title: "<b>\\"x\\"</b>\\\\n---')
