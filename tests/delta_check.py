"""Deltas against finite differences: the oracle that the suite over all operations stands on.

`check_deltas(operation, number)` takes one sample of an operation, derives the deltas of its float
heads from a random cotangent, and compares them with central differences of fourth order, all in
float64. `check_second_deltas` does the same with the deltas themselves. The mutation program calls
the first of them with rules broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgrad import Graph, Node, Operation, derive, input, sum
from graphgrad.graph import Sample
from graphgrad.ops.evaluate import evaluate

Arrays = dict[str, np.ndarray]
STEP = 1e-3
"""Of the differences: their error is of the order of STEP⁴ and of 1e-16 / STEP."""

TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}


def declare(operation: Operation, sample: Sample, dtype: Any = "float64") -> tuple[Node, ...]:
    """The operation on fresh inputs `x0`, `x1`, …, and these inputs: (y, *heads)."""
    dtypes = {"integer": "int32", "boolean": "bool"}
    heads = [
        input(f"x{place}", draw.shape, dtypes.get(draw.kind, dtype))
        for place, draw in enumerate(sample.heads)
    ]
    return operation.node(*heads, name="y", **sample.attributes), *heads


def feeds_of(sample: Sample, dtype: Any = "float64", seed: int = 1) -> Arrays:
    """Values for the inputs that `declare` makes, the same on every run."""
    generator = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    return {
        f"x{place}": np.asarray(draw.array(generator, dtype))
        for place, draw in enumerate(sample.heads)
    }


def numerical_gradient(function: Callable[[np.ndarray], float], point: np.ndarray) -> np.ndarray:
    """∂function/∂point, element by element, by the five-point stencil."""
    gradient = np.empty_like(point)
    for place in np.ndindex(point.shape):
        moved = []
        for steps in (1, -1, 2, -2):
            shifted = point.copy()
            shifted[place] += steps * STEP
            moved.append(function(shifted))
        gradient[place] = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * STEP)
    return gradient


def value_of(graph: Graph, node: Node, feeds: Arrays) -> np.ndarray:
    """The node's value by the reference evaluator."""
    return evaluate(graph, feeds)[node]


def has_deltas(operation: Operation, number: int) -> bool:
    """Whether the sample leads from a float to a float by an operation with a delta rule."""
    y, *heads = declare(operation, operation.samples[number])
    floats = y.type.is_float and any(head.type.is_float for head in heads)
    return operation.delta is not None and floats


@cache
def expected_deltas(operation: Operation, number: int) -> tuple[Arrays, Arrays]:
    """The feeds (with a random cotangent `seed`), and ∂(Σ seed · y)/∂x for each float head x."""
    sample = operation.samples[number]
    y, *heads = declare(operation, sample)
    graph, feeds = Graph({"y": y}), feeds_of(sample)
    seed = np.random.default_rng(2).uniform(0.5, 1.5, value_of(graph, y, feeds).shape)
    gradients: Arrays = {}
    for place, head in enumerate(heads):
        if not head.type.is_float:
            continue
        name = f"x{place}"
        gradients[name] = numerical_gradient(
            lambda x, name=name: float(np.sum(seed * value_of(graph, y, {**feeds, name: x}))),
            feeds[name],
        )
        if not sample.smooth:  # a rule for what has no derivative says that x is a constant
            gradients[name] = np.zeros_like(feeds[name])
    return {**feeds, "seed": seed}, gradients


def first_deltas(operation: Operation, number: int) -> tuple[Graph, list[Node], Node]:
    """The derived graph of one sample, the float heads and the seed."""
    y, *heads = declare(operation, operation.samples[number])
    seed = input("seed", y.shape, y.dtype)
    floats = [head for head in heads if head.type.is_float]
    return derive(Graph({"y": y}, names={"seed": seed}), "y", floats, seed), floats, seed


def check_deltas(operation: Operation, number: int, mutant: Operation | None = None) -> None:
    """AssertionError unless the deltas of the sample agree with finite differences.

    `mutant` is the same operation with another delta rule, to see the check fail.
    """
    feeds, gradients = expected_deltas(operation, number)
    graph, floats, _ = first_deltas(mutant or operation, number)
    values = evaluate(graph, feeds)
    for head in floats:
        name = head.names[0]
        found = values[graph.delta(head)]
        assert found.dtype == head.dtype and found.shape == head.shape
        np.testing.assert_allclose(found, gradients[name], **TOLERANCE, err_msg=f"δ of {name}")


def check_second_deltas(operation: Operation, number: int) -> None:
    """AssertionError unless the deltas of the deltas, in a random direction, agree too."""
    feeds, _ = expected_deltas(operation, number)
    graph, floats, seed = first_deltas(operation, number)
    generator = np.random.default_rng(3)
    terms = []
    for head in floats:
        direction = input(f"direction.{head.names[0]}", head.shape, head.dtype)
        feeds = {**feeds, direction.names[0]: generator.uniform(-1, 1, feeds[head.names[0]].shape)}
        terms.append(sum(graph.delta(head) * direction))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    first = Graph({**graph.outputs, "total": total}, names=graph.names)
    leaves = [*floats, seed]
    second = derive(first, "total", leaves, label="delta2")
    values = evaluate(second, feeds)
    for leaf in leaves:
        name = leaf.names[0]
        expected = numerical_gradient(
            lambda x, name=name: float(value_of(first, total, {**feeds, name: x})), feeds[name]
        )
        found = values[second[f"{second.name_of(leaf)}.delta2"]]
        np.testing.assert_allclose(found, expected, **TOLERANCE, err_msg=f"second δ of {name}")
