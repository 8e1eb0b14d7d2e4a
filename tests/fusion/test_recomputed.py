"""What a device computes again from a product, and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_program

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.backends.cupy.launches import DeviceProgram

ROWS, CLASSES = 24, 40


def step() -> Graph:
    """The loss of one layer, and the deltas of its parameters."""
    x, targets = gg.input("x", (ROWS, 8)), gg.input("targets", ROWS, "int32")
    w, b = gg.parameter("w", (8, CLASSES)), gg.parameter("b", CLASSES)
    logits = gg.add(x @ w, b, name="logits")
    loss = gg.mean(gg.cross_entropy(logits, targets))
    graph = gg.derive(Graph({"loss": loss}), loss)
    return graph.with_outputs({"loss": loss, "w": graph.delta("w"), "b": graph.delta("b")})


def large(program: DeviceProgram) -> set[Node]:
    """The values of the size of the logits that are stored."""
    return {node for node in program.values if node.type.size == ROWS * CLASSES}


def run(program: DeviceProgram) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.normal(size=(ROWS, 8)).astype("f4"),
        "w": generator.normal(size=(8, CLASSES)).astype("f4"),
        "b": generator.normal(size=CLASSES).astype("f4"),
        "targets": generator.integers(0, CLASSES, ROWS).astype("i4"),
    }
    return Bound(program).run(feeds)


@needs_compiler
def test_probabilities_are_made_of_the_logits_where_deltas_need_them(monkeypatch):
    program = device_program(step())
    assert {node.operation.name for node in large(program)} == {"matmul", "multiply"}
    monkeypatch.setattr("graphgrad.fusion.recomputed.LONGEST", 0)
    stored = device_program(step())
    assert "exp" in {node.operation.name for node in large(stored)}
    found, wanted = run(program), run(stored)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("asked", ["losses.exp", "logits"])
def test_what_is_asked_for_is_stored(asked):
    x, w = gg.input("x", (ROWS, 8)), gg.parameter("w", (8, CLASSES))
    logits = gg.multiply(x @ w, 2.0, name="logits")
    weights = gg.exp(logits - gg.max(logits, axis=1, keepdims=True), name="losses.exp")
    total = gg.sum(weights, axis=1, keepdims=True)
    later = gg.matmul(weights / total, gg.input("v", (CLASSES, 2)))
    graph = Graph({"y": later})
    asking = graph.with_outputs({"y": later, asked: graph[asked]})
    assert graph[asked] in large(device_program(asking))
