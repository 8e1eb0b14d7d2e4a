"""Recomputing what depends on one node gives what evaluating the whole graph anew gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.checks.perturbation import Perturbation
from graphgrad.errors import UnknownNameError
from graphgrad.graph import Graph, Node, Operation, constant, input
from graphgrad.ops import exp, softmax, stop_gradient, sum, tanh, where
from graphgrad.ops.evaluate import evaluate


def random_graph(choices: list[int]) -> Graph:
    """A graph whose nodes each use two earlier ones, drawn from the choices."""
    nodes: list[Node] = [input("x", (2, 3), "float64"), input("y", (2, 3), "float64")]
    for number, choice in enumerate(choices):
        a, b = nodes[choice % len(nodes)], nodes[(choice // 7) % len(nodes)]
        made = (a + b, a * b, tanh(a) - b, softmax(a, 1), b * 0.5)[choice % 5]
        nodes.append(tanh(made, name=f"node{number}"))
    return Graph({"loss": sum(nodes[-1] * nodes[-2], name="loss")})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(0, 10**6))
def test_a_change_is_the_difference_of_two_evaluations(choices: list[int], seed: int) -> None:
    graph = random_graph(choices)
    generator = np.random.default_rng(seed)
    feeds = {name: generator.standard_normal((2, 3)) for name in graph.inputs}
    before = evaluate(graph, feeds)
    around = Perturbation(graph, graph["loss"], before)
    for name in graph.inputs:
        leaf = graph[name]
        if leaf not in around.position:
            continue
        moved = before[leaf] + 0.1
        after = evaluate(graph, {**feeds, name: moved})
        grown = around.change(leaf, moved, around.dependents(leaf))
        assert grown == pytest.approx(after[graph["loss"]] - before[graph["loss"]], abs=1e-12)
    assert all(np.array_equal(around.values[p], before[n]) for n, p in around.position.items())


def test_only_what_leads_to_the_target_is_recomputed() -> None:
    x = input("x", 2, "float64")
    used, other = tanh(x, name="used"), tanh(x * 2.0, name="other")
    graph = Graph({"loss": sum(used, name="loss"), "other": other})
    around = Perturbation(graph, graph["loss"], evaluate(graph, {"x": np.ones(2)}))
    reached = [graph.name_of(around.nodes[place]) for place in around.dependents(graph["x"])]
    assert reached == ["used", "loss"]


def test_a_change_does_not_pass_what_is_held_constant() -> None:
    x = input("x", 2, "float64")
    graph = Graph({"loss": sum(stop_gradient(tanh(x, name="z"), name="held"), name="loss")})
    around = Perturbation(graph, graph["loss"], evaluate(graph, {"x": np.ones(2)}))
    names = [graph.name_of(around.nodes[place]) for place in around.dependents(graph["x"])]
    assert names == ["z"]
    assert around.change(graph["x"], np.zeros(2), around.dependents(graph["x"])) == 0.0


def test_one_operation_alone_grows() -> None:
    x = input("x", 2, "float64")
    z = tanh(x, name="z")
    graph = Graph({"loss": sum(z, name="loss")})
    around = Perturbation(graph, graph["loss"], evaluate(graph, {"x": np.zeros(2)}))
    grown = around.change_of(graph["z"], graph["x"], np.array([1.0, 0.0]))
    assert np.allclose(grown, [np.tanh(1.0), 0.0])
    assert np.array_equal(around.values[around.position[graph["x"]]], np.zeros(2))


def test_minus_infinity_that_stays_did_not_grow() -> None:
    x = input("x", 2, "float64")
    masked = where(constant([True, False]), x, -np.inf, name="masked")
    graph = Graph({"loss": sum(exp(masked), name="loss")})
    around = Perturbation(graph, graph["loss"], evaluate(graph, {"x": np.zeros(2)}))
    grown = around.change_of(graph["masked"], graph["x"], np.array([1.0, 5.0]))
    assert np.array_equal(grown, [1.0, 0.0])


def test_an_operation_without_a_computation_is_named() -> None:
    x = input("x", 2, "float64")
    blank = Operation("blank", lambda x: x, "x")
    graph = Graph({"loss": sum(blank(x, name="y"), name="loss")})
    around = Perturbation(graph, graph["loss"], {node: np.zeros(node.type.sizes) for node in graph})
    with pytest.raises(UnknownNameError, match=r"'y' \(blank\)"):
        around.change(graph["x"], np.ones(2), around.dependents(graph["x"]))
