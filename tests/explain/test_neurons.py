"""heads(u) and tails(u) of neurons: the network of the lecture, layers, and what is no neuron."""

from __future__ import annotations

import pytest

from graphgrad.backprop import derive
from graphgrad.explain.neurons import neuron_of
from graphgrad.graph import Graph, input
from graphgrad.models.feedforward import Settings, matrices, neurons
from graphgrad.ops import exp, sum
from graphgrad.tools.main import main


@pytest.mark.parametrize(
    ("node", "heads", "tails"),
    [
        ("x2", (), ("h1", "h2", "h3")),
        ("hidden.h2.a", ("x1", "x2", "x3"), ("y1", "y2", "y3")),
        ("hidden.h2.z", ("x1", "x2", "x3"), ("y1", "y2", "y3")),
        ("output.y3.from_h1", ("h1", "h2", "h3"), ()),
    ],
)
def test_neurons_of_the_lecture(node: str, heads: tuple[str, ...], tails: tuple[str, ...]) -> None:
    graph = derive(neurons(Settings()), "loss")
    found = neuron_of(graph, graph[node])
    assert found is not None
    assert (set(found.heads), set(found.tails)) == (set(heads), set(tails))


def test_a_layer_counts_as_one() -> None:
    graph = matrices(Settings())
    found = neuron_of(graph, graph["hidden.a"])
    assert str(found) == "heads(hidden) = {x}, tails(hidden) = {output}"


def test_other_nodes_are_of_no_neuron() -> None:
    graph = Graph({"loss": sum(exp(input("x", (3,))), name="loss")})
    assert neuron_of(graph, graph["loss"]) is None and neuron_of(graph, graph["x"]) is None


def test_explain_says_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "feedforward", "--explain", "hidden.h2.z"]) == 0
    shown = capsys.readouterr().out
    assert "heads(h2) = {x1, x2, x3}, tails(h2) = {y1, y2, y3}" in shown
