"""Nothing recurses: chains of 30,000 nodes are declared, derived, evaluated and freed."""

from __future__ import annotations

import gc
import sys
import time
import weakref

import numpy as np

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.graph import verify
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import PASSES, optimise


def chain(length: int) -> tuple[Node, Node]:
    x = gg.input("x", 2, "float64")
    node = x
    for _ in range(length):
        node = gg.sin(node)
    return x, node


def slope_of(point: np.ndarray, length: int) -> np.ndarray:
    value, slope = point, np.ones_like(point)
    for _ in range(length):
        slope, value = slope * np.cos(value), np.sin(value)
    return slope


def test_a_chain_of_tens_of_thousands_of_nodes(record_property):
    length, point = 30_000, np.array([0.5, -1.0])
    assert sys.getrecursionlimit() < 10_000
    started = time.process_time()  # not the clock's: other programs may be running
    x, y = chain(length)
    graph = gg.derive(Graph({"loss": gg.sum(y)}), "loss")
    delta = evaluate(graph, {"x": point})[graph.delta(x)]
    np.testing.assert_allclose(delta, slope_of(point, length), 1e-9)
    size, alive = len(graph), weakref.ref(y.heads[0])
    assert size > 3 * length
    del graph, x, y
    gc.collect()
    assert alive() is None, "the nodes were not freed"
    seconds = time.process_time() - started
    record_property("seconds", seconds)
    assert seconds < 15


def test_a_chain_of_five_thousand_nodes_through_the_program():
    length, point = 5_000, np.array([0.5, -1.0])
    x, y = chain(length)
    graph = gg.derive(Graph({"loss": gg.sum(y)}), "loss")
    compiled = gg.compile(graph, [graph.delta(x)])
    found = compiled(x=point)
    np.testing.assert_allclose(found["x.delta"], slope_of(point, length), 1e-9)
    plan = compiled.program().plan
    assert len(plan.steps) >= 3 * length
    verify(compiled.graph)


def test_a_chain_through_the_passes():
    x = gg.input("x", 2, "float64")
    node = x
    for number in range(3_000):
        node = gg.negative(node) if number % 2 else node * 1.0 - 0.0
    graph, _ = optimise(Graph({"y": node}), PASSES)
    assert len(graph) == 2 or graph.outputs["y"] is x


def test_a_wide_graph():
    """One node with 3,000 tails, and its delta a sum of as many contributions."""
    x = gg.input("x", 2, "float64")
    total = gg.concatenate([gg.sin(x * float(n)) for n in range(1, 3_001)])
    graph = gg.derive(Graph({"loss": gg.sum(total)}), "loss")
    assert len(graph.contributions("x")) == 3_000
    point = np.array([1e-3, 2e-3])
    n = np.arange(1, 3_001)[:, None]
    found = evaluate(graph, {"x": point})[graph.delta("x")]
    np.testing.assert_allclose(found, (n * np.cos(point * n)).sum(0), 1e-9)
