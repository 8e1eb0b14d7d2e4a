"""Pictures of one example: its own numbers on neurons, cards of tensors; graphs in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import ConfigurationError
from graphgrad.models import feedforward
from graphgrad.models.feedforward import NUMBERS
from graphgrad.rendering.dot import write_dot
from graphgrad.rendering.example import COLUMNS, ROWS, card_of, example_annotations, one_example
from graphgrad.rendering.paint import picture
from graphgrad.tools.main import main


def test_neurons_show_the_numbers_of_the_example() -> None:
    graph = gg.derive(feedforward.neurons(feedforward.Settings(dtype="float64")), "loss")
    state = {name: np.array(0.3 * n - 2) for n, name in enumerate(graph.parameters)}
    feeds = {name: np.array([0.5, -1.0, 2.0]) * (1 + n) for n, name in enumerate(graph.inputs)}
    one = one_example(graph, feeds, 1)
    assert {len(value) for value in one.values()} == {1}
    found = example_annotations(graph, one, state, "run", 7, 7, 1)
    a = sum(float(state[f"w.x{i}->h2"]) * feeds[f"x{i}"][1] for i in NUMBERS)
    assert found.values["hidden.h2.a"] == f"{a:.3g}"
    y = {k: float(found.values[f"output.y{k}.z"]) for k in NUMBERS}
    delta = (y[1] - feeds["truth.y1"][1]) * y[1] * (1 - y[1])
    assert float(found.deltas["output.y1.a"]) == pytest.approx(delta, rel=0.02)
    assert not found.cards, "single numbers have no card"
    drawn = picture(graph, annotations=found)
    (box,) = [b for b in drawn.boxes if (b.label.text, b.label.index) == ("δ", "h2")]
    assert box.figure == found.deltas["hidden.h2.a"]
    assert "example 1 of batch 7" in drawn.caption[0]
    for wrong in (3, -1):
        with pytest.raises(ConfigurationError, match=f"no example {wrong}"):
            one_example(graph, feeds, wrong)


def test_a_card_shows_means_of_blocks() -> None:
    value = np.zeros((2, ROWS, 3 * COLUMNS))
    value[1, -1, -3:], value[0, 0, :3] = 6.0, -3.0
    card = card_of(value)
    assert (len(card), len(card[0])) == (ROWS, COLUMNS)
    assert card[-1][-1] == "#2563A8", "the largest is the darkest blue"
    assert card[0][0] not in ("#FFFFFF", "#2563A8") and card[1][1] == "#FFFFFF"
    assert card_of(np.array([1.0, np.inf])) == (("#2563A8", "#FFFFFF"),)


def test_tensors_have_cards_for_values_and_deltas() -> None:
    x, w = gg.input("x", ("batch", 4)), gg.parameter("w", (4, 4))
    graph = gg.derive(gg.Graph({"loss": gg.sum(gg.tanh(x @ w, name="z"), name="loss")}), "loss")
    feeds = {"x": np.arange(8.0).reshape(2, 4)}
    found = example_annotations(graph, one_example(graph, feeds, 0), {"w": np.eye(4)}, "r", 1, 1, 0)
    assert {"x", "w", "z"} <= set(found.cards) and "z" in found.delta_cards
    text = write_dot(picture(graph, annotations=found))
    cells = sum(len(row) for card in (*found.cards.values(),) for row in card)
    assert text.count("FIXEDSIZE") >= cells


def test_graphs_in_use_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "layers=1", "--set", "width=8", "--set", "heads=2"]
    assert main(["render", "transformer", *small, "--graph", "encoding"]) == 0
    shown = capsys.readouterr().out
    assert "output decoder.0.cross_attention.keys" in shown and "δ" not in shown
    assert main(["render", "transformer", *small, "--graph", "decoding"]) == 0
    shown = capsys.readouterr().out
    assert "output log_probabilities" in shown and "keys_so_far" in shown
    page = tmp_path / "page.html"
    assert main(["render", "transformer", *small, "--graph", "decoding", "-o", str(page)]) == 0
    assert "log_probabilities" in page.read_text()
    text = tmp_path / "text.txt"
    text.write_text("the animal did not cross the street because it was too tired. " * 20)
    gpt = ["gpt", "--set", f"text={text}", "--set", "context=8", *small]
    assert main(["render", *gpt, "--graph", "decoding"]) == 0
    shown = capsys.readouterr().out
    assert "output token" in shown and "keys_so_far" in shown and "cross_attention" not in shown
    assert main(["render", *gpt, "--graph", "encoding"]) == 2
    assert "gpt has no encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["feedforward", "--graph", "decoding"], "feedforward is not decoded"),
        (["feedforward", "--example", "0"], "--example is for the values of a run"),
        (["feedforward", "--batch", "0"], "--batch is for the values of a run"),
        (["feedforward", "--example", "0", "--format", "html"], "--example is for the values of"),
        (["feedforward", "--text", "it", "--format", "html"], "--text is for the values of"),
        (["feedforward", "--text", "it"], "--text is for the page of a run"),
        (["feedforward", "--target", "it", "--format", "html"], "--target is the answer to a text"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", *words]) == 2
    assert named in capsys.readouterr().err
