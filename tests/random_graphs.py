"""Random small graphs: valid by construction, with the shapes, fan-out and idioms that passes meet.

A graph grows from a few inputs, parameters and states; every step applies one of `GROWTHS`
(`random_growth.py`) to nodes drawn from those that are there already.

A case is small, or of the size at which kernels start (`large`), in float64 or float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from random_growth import GROWTHS, Growing

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.ops.evaluate import evaluate

Arrays = dict[str, np.ndarray]

QUICK = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

LEAVES = {
    "x": (2, 3),
    "y": (2, 3),
    "row": (3,),
    "column": (2, 1),
    "scalar": (),
    "square": (3, 3),
    "single": (1, 3),
    "cube": (2, 2, 3),
}
LARGE = {
    "x": (70, 90),
    "y": (70, 90),
    "row": (90,),
    "column": (70, 1),
    "scalar": (),
    "square": (90, 90),
    "single": (1, 90),
    "cube": (2, 70, 90),
}
"""Leaves from which kernels of the usual limit are made: no size is a power of two."""


@dataclass
class Case:
    """A graph with everything that is needed to run it."""

    graph: Graph
    feeds: Arrays
    state: Arrays

    def values(self, graph: Graph | None = None) -> dict[str, np.ndarray]:
        """Outputs and next states by name, by the reference evaluator."""
        graph = self.graph if graph is None else graph
        found = evaluate(graph, self.feeds, self.state)
        values = {name: found[node] for name, node in graph.outputs.items()}
        updates = {
            f"next {leaf.attributes['label']}": found[node] for leaf, node in graph.updates.items()
        }
        return values | updates

    def ran(self, compiled: Any) -> dict[str, np.ndarray]:
        """Outputs and next states by name, by a program; the case's own state stays as it is."""
        state = {name: array.copy() for name, array in self.state.items()}
        outputs = compiled(state, **self.feeds)
        names = [leaf.attributes["label"] for leaf in self.graph.updates]
        return outputs | {f"next {name}": state[name] for name in names}


def assert_same_values(
    found: Mapping[str, Any], expected: Mapping[str, Any], note: str = ""
) -> None:
    """Equal up to rounding, with the scale of the value; the same names on both sides.

    In float32, one element in a hundred may be another: there two values may be ordered otherwise
    that are equal but for rounding.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        finite = value[np.isfinite(value)] if value.dtype.kind == "f" else value
        scale = 1.0 + float(np.max(np.abs(finite), initial=0))
        got, rtol, atol = found[name], 1e-8, 1e-9 * scale
        if value.dtype == np.float32:
            rtol, atol = 5e-3, 2e-3 * scale
            same = np.isclose(got, value, rtol, atol, equal_nan=True)
            if got.shape == value.shape and np.mean(~same) <= 0.01:
                continue
        np.testing.assert_allclose(got, value, rtol, atol, err_msg=f"{name} {note}", strict=True)


def grow_case(seed: int, growths: int, dtype: str = "float64", large: bool = False) -> Case:
    """The graph of this seed: three to five outputs, the deltas of a loss, updates of states."""
    growing = Growing(Random(seed), dtype)
    feeds, state = _leaves(growing, np.random.default_rng(seed), LARGE if large else LEAVES)
    largest = 100 * (300 if large else 2)
    for _ in range(growths):
        node = growing.add(growing.random.choice(GROWTHS)(growing))
        if node.type.size > largest:
            growing.add(gg.mean(node))
    nodes = growing.tame
    outputs = {f"out{n}": node for n, node in enumerate(growing.some(nodes[-12:], 3, 5))}
    names = {node.attributes["label"]: node for node in nodes if "label" in node.attributes}
    floats = [gg.mean(node) for node in outputs.values() if node.type.is_float]
    loss = gg.sum(gg.tanh(sum(floats, gg.constant(0.0, dtype))))
    graph = gg.derive(Graph({**outputs, "loss": loss}, names=names), "loss")
    deltas = [f"{name}.delta" for name in sorted(names) if f"{name}.delta" in graph.names]
    wanted = {name: graph[name] for name in growing.some(deltas, 1, 3)}
    updates = _updates(growing, graph, sorted(state))
    graph = graph.with_outputs({**graph.outputs, **wanted}, updates)
    return Case(graph, {name: feeds[name] for name in graph.inputs}, state)


cases = st.builds(grow_case, st.integers(0, 10**6), st.integers(10, 30))
"""The strategy; a failing case shrinks to fewer growths."""


def _leaves(
    growing: Growing, generator: np.random.Generator, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Arrays, Arrays]:
    feeds: Arrays = {}
    state: Arrays = {}
    declared: list[tuple[Any, ...]] = [(gg.input, name, shapes[name], feeds) for name in shapes]
    declared += [
        (gg.parameter, "w", shapes["x"], state),
        (gg.parameter, "v", shapes["square"], state),
        (gg.state, "s", shapes["x"], state),
        (gg.state, "t", shapes["x"], state),
    ]
    for declare, name, shape, values in declared:
        node = declare(name, shape, dtype=growing.dtype)
        values[name] = np.array(generator.uniform(-2, 2, shape), growing.dtype)
        growing.values[node] = values[name]
        growing.tame.append(node)
    return feeds, state


def _updates(growing: Growing, graph: Graph, names: list[str]) -> dict[Node, Node]:
    """Next values: a step along the delta, another state, a swap, any node of the right type, one
    that is made of a view of another next value."""
    updates: dict[Node, Node] = {}
    for name in growing.some(names, 0, 4):
        leaf = graph[name]
        if f"{name}.delta" in graph.names and growing.coin():
            updates[leaf] = leaf - 0.1 * graph.names[f"{name}.delta"]
            continue
        node = growing.random.choice([n for n in growing.tame if n.type == leaf.type])
        updates[leaf] = node * 0.5 + leaf if growing.coin() else node
    for leaf in [graph[name] for name in names if graph[name] not in updates]:
        larger = [n for n in updates.values() if n.shape[0] >= leaf.shape[0]]
        if larger and growing.coin():
            updates[leaf] = gg.tanh(growing.random.choice(larger)[-leaf.shape[0] :]) + leaf
    return updates
