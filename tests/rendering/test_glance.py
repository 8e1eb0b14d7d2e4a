"""Pictures at a glance: the paper's figure of the Transformer, the lecture's network of neurons,
and what surgery leaves to be seen."""

import shutil
import subprocess
from typing import Literal

import pytest

from graphgrad.backprop import derive
from graphgrad.formats import render
from graphgrad.graph import Graph
from graphgrad.models import feedforward, transformer
from graphgrad.passes.surgery import clip, scale, surgery
from graphgrad.rendering import View
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.paint import picture
from graphgrad.rendering.view import GLANCE

Direction = Literal["auto", "down", "right", "up"]

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def neurons() -> Graph:
    return derive(feedforward.network(feedforward.Settings()), "loss")


def places(dot_text: str) -> dict[str, tuple[float, float]]:
    """Where `dot` sets each box: its label -> (x, y)."""
    plain = subprocess.run(
        ["dot", "-Tplain"], input=dot_text, capture_output=True, text=True, check=True
    ).stdout
    words = [line.split() for line in plain.splitlines() if line.startswith("node")]
    return {word[1]: (float(word[2]), float(word[3])) for word in words}


@needs_dot
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_transformer_is_the_papers_figure(norm: str) -> None:
    graph = transformer.training_graph(transformer.Settings(layers=6, norm=norm), 50, 40)
    found = picture(graph, View(fold=True, direction="up"))
    assert len(found.boxes) <= GLANCE
    titles = set(found.titles.values())
    assert {"encoder.0 … encoder.5  ×6", "decoder.0 … decoder.5  ×6"} <= titles
    labels = {(box.scope, box.label.text): box.id for box in found.boxes}
    at = places(write_dot(found))
    source = at[labels[(), "source"]]
    attention = at[labels[("encoder", "0"), "attention"]]
    feed_forward = at[labels[("encoder", "0"), "feed_forward"]]
    cross = at[labels[("decoder", "0"), "cross_attention"]]
    loss = at[labels[(), "loss"]]
    assert source[1] < attention[1] < feed_forward[1] < cross[1] < loss[1], "from below upwards"
    assert attention[0] < cross[0], "the encoder on the left"
    assert {box.detail for box in found.boxes if box.label.text == "attention"} == {"29 nodes"}


@needs_dot
def test_a_neuron_is_a_circle_with_its_delta_below_and_weights_on_arrows() -> None:
    found = picture(neurons(), View(fold=True))
    circles = {box.label.text: box for box in found.boxes if box.kind == "scope"}
    wanted = {f"{letter}{k}" for letter in "hy" for k in (1, 2, 3)}
    assert set(circles) == wanted
    assert all(box.round for box in circles.values()) and circles["h2"].detail == "a → z"
    weights = [edge for edge in found.edges if edge.weight and edge.kind == "value"]
    assert len(weights) == 18 and {edge.label.text for edge in weights} == {"w"}
    at = places(write_dot(found))
    deltas = {box.beside: box.id for box in found.boxes if box.beside}
    column = [
        at[item]
        for k in (1, 2, 3)
        for box in [circles[f"h{k}"]]
        for item in (box.id, deltas[box.id])
    ]
    assert len({x for x, _ in column}) == 1, "one column"
    assert column == sorted(column, key=lambda place: -place[1]), "h1, its δ, h2, its δ, h3, its δ"


def test_without_a_wish_nothing_is_at_a_glance() -> None:
    assert any(box.label.text == "a" for box in picture(neurons()).boxes)
    graph = transformer.training_graph(transformer.Settings(), 50, 40)
    assert len(picture(graph).boxes) > GLANCE
    assert len(picture(graph, View(fold=True, depth=3)).boxes) > GLANCE, "a depth is a wish"


def test_every_direction_is_written() -> None:
    graph = neurons()
    horizontal: tuple[Direction, ...] = ("auto", "right")
    for direction in horizontal:
        assert "rankdir=LR" in render(graph, "dot", View(direction=direction)).decode()
    assert "rankdir=TB" in render(graph, "dot", View(direction="down")).decode()
    layers = transformer.training_graph(transformer.Settings(), 50, 40)
    words: dict[Direction, str] = {"up": "rankdir=BT", "right": "rankdir=LR", "auto": "rankdir=TB"}
    for direction, word in words.items():
        assert word in render(layers, "dot", View(direction=direction)).decode()
    assert render(layers, "mermaid", View(direction="up", fold=True)).startswith(b"flowchart BT")


def test_surgery_is_seen_in_every_picture() -> None:
    cut = surgery(
        neurons(), [clip("hidden.h2.z", 0.1), scale("hidden.h1.z<-output.y1.from_h1", 0.5)]
    )
    found = picture(cut)
    assert "clip 0.1" in {box.detail for box in found.boxes if box.kind == "delta"}
    assert any("scale 0.5" in edge.label.text for edge in found.edges if edge.kind == "delta")
    assert "δ = clip 0.1 (" in render(cut, "txt").decode()
    assert "hidden.h2.z.delta.clip" in render(cut, "json").decode()
    whole = picture(cut, View(deltas="nodes", parameters="nodes"))
    assert "hidden.h2.z.delta.before" in " ".join(box.tooltip for box in whole.boxes)
