"""The values of a batch: each once, while it is there."""

import tracemalloc

import numpy as np
import pytest

from graphgrad.errors import UnknownNameError
from graphgrad.figures.evaluation import values_of, values_seen, walk
from graphgrad.graph import Graph, constant, input
from graphgrad.ops import relu, sum, tanh
from graphgrad.ops.evaluate import evaluate


def test_a_walk_sees_every_value_once() -> None:
    graph = Graph({"z": tanh(tanh(constant(0.5, "float64")), name="z")})
    seen = {}
    for node, value in walk(graph, {}, {}):
        assert node not in seen
        seen[node] = value.copy()
    expected = evaluate(graph, {})
    assert seen.keys() == expected.keys()
    assert all(np.array_equal(seen[node], expected[node]) for node in seen)
    with pytest.raises(UnknownNameError, match="no value is given for 'x'"):
        list(walk(Graph(input("x")), {}, {}))


def test_a_walk_drops_values_after_their_last_reader() -> None:
    x = input("x", 100_000, "float64")
    for _ in range(50):
        x = tanh(x)
    feeds = {"x": np.ones(100_000)}
    tracemalloc.start()
    for _ in walk(Graph({"y": x}), feeds, {}):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 800_000


def test_nodes_that_the_passes_find_equal_are_seen_together() -> None:
    x = input("x", 3, "float64")
    z = relu(x, name="z")
    graph = Graph({"loss": sum(z, name="loss"), "more": sum(z * 1.0, name="more")})
    feeds = {"x": np.array([1.0, -2.0, 3.0])}
    found = [
        ({graph.name_of(node) for node in nodes}, float(value))
        for nodes, value in values_seen(graph, graph.outputs.values(), feeds, {})
    ]
    assert found == [({"loss", "more"}, 4.0)]


def test_values_of_open_sizes_are_those_of_the_batch() -> None:
    x = input("x", ("batch", 2), "float64")
    graph = Graph({"loss": sum(tanh(x, name="z"), name="loss")})
    feeds = {"x": np.arange(6.0).reshape(3, 2)}
    values = values_of(graph, [graph["z"], graph["x"]], feeds, {})
    assert values.keys() == {graph["z"], graph["x"]}
    assert np.array_equal(values[graph["z"]], np.tanh(feeds["x"]))
