"""What is drawn of an architecture is what the graph computes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from small_models import graph_of

from graphgrad.lecture import Request, topic_called
from graphgrad.lecture.stacks import layer_scopes, parts_of
from graphgrad.tools.main import main


def titles(name: str, scope: str, **settings: object) -> list[str]:
    return [part.title for part in parts_of(graph_of(name, **settings), scope)]


def test_a_layer_has_its_parts_in_their_order() -> None:
    end = ["Feed Forward", "Add & Norm"]
    assert titles("transformer", "encoder.0") == ["Self-Attention", "Add & Norm", *end]
    cross = ["Cross-Attention", "Add & Norm"]
    masked = ["Masked Self-Attention", "Add & Norm"]
    assert titles("transformer", "decoder.1") == [*masked, *cross, *end]
    before = ["Norm", "Self-Attention", "Add", "Norm", "Feed Forward", "Add"]
    assert titles("transformer", "encoder.0", norm="pre") == before
    assert titles("gpt", "decoder.0")[:3] == ["Norm", "Masked Self-Attention", "Add"]
    assert titles("bert", "encoder.0") == ["Self-Attention", "Add & Norm", *end]


def test_layers_are_found_in_order() -> None:
    graph = graph_of("transformer", layers=11)
    assert layer_scopes(graph, "decoder.") == [f"decoder.{number}" for number in range(11)]


@pytest.mark.parametrize(("layers", "crossing"), [(2, 2), (3, 3)])
def test_every_decoder_layer_reads_the_encoder(layers: int, crossing: int) -> None:
    topic = topic_called("layers")
    options = {**topic.options, "layers": str(layers), "width": "16", "inner": "8"}
    (picture,) = topic.lesson(Request(options)).pictures
    texts = [text.text for text in picture.scene.texts()]
    assert texts.count("Cross-Attention") == crossing
    assert texts.count("Self-Attention") == texts.count("Masked Self-Attention") == layers


def test_figure_1_has_a_layer_of_each_side() -> None:
    topic = topic_called("figure1")
    assert topic.name == "transformer"
    (picture,) = topic.lesson(Request({**topic.options, "width": "16", "inner": "8"})).pictures
    texts = [text.text for text in picture.scene.texts()]
    assert texts.count("Cross-Attention") == texts.count("Self-Attention") == 1
    assert texts.count("6 ×") == 2 and "Softmax" in texts


@pytest.mark.parametrize(
    ("name", "boxes"),
    [
        ("transformer", {"Cross-Attention", "Masked Self-Attention", "Self-Attention"}),
        ("gpt", {"Masked Self-Attention", "Norm"}),
        ("bert", {"Self-Attention", "Add & Norm"}),
    ],
)
def test_render_draws_a_model_at_a_glance(name: str, boxes: set[str], tmp_path: Path) -> None:
    file = tmp_path / "overview.svg"
    assert main(["render", name, "--overview", "-o", str(file)]) == 0
    root = ElementTree.parse(file).getroot()
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    attention = {text for text in texts if text and text.endswith("Attention")}
    assert boxes <= texts and attention == {box for box in boxes if box.endswith("Attention")}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["feedforward", "-o", "x.svg"], "has no layers encoder.0 or decoder.0"),
        (["transformer"], "--overview is a picture"),
        (["transformer", "--graph", "decoding", "-o", "x.svg"], "--overview draws the model"),
    ],
)
def test_what_has_no_overview_is_named(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", words[0], "--overview", *words[1:]]) == 2
    assert named in capsys.readouterr().err
