"""Products with the deltas of one attention as batches, and what is no batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_program
from test_products import described

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.backends.cupy.launches import Array, DeviceProgram, Product
from graphgrad.backends.cupy.product_batches import stacked

POSITIONS, WIDTH, HEADS = 6, 16, 2
WEIGHTS = ("query", "key", "value")


def heads_of(x: Node, weight: Node) -> Node:
    split = gg.reshape(x @ weight, (2, POSITIONS, HEADS, WIDTH // HEADS))
    return gg.transpose(split, (0, 2, 1, 3))


def attention(precision: str = "bf16") -> tuple[Graph, DeviceProgram]:
    """The deltas of one attention's weights and of what it reads."""
    x = gg.input("x", (2, POSITIONS, WIDTH))
    weights = [gg.parameter(name, (WIDTH, WIDTH)) for name in WEIGHTS]
    inner = gg.tanh(x)
    values = gg.dot_product_attention(*(heads_of(inner, weight) for weight in weights))
    loss = gg.sum(gg.tanh(values))
    derived = gg.derive(Graph({"loss": loss}), loss)
    steps = {derived.states[name]: derived.delta(name) for name in WEIGHTS}
    updates = {leaf: leaf - 0.1 * delta for leaf, delta in steps.items()}
    graph = Graph({"loss": loss, "x": derived.delta("x")}, updates)
    return graph, device_program(graph, precision=precision)


def batches(program: DeviceProgram) -> Counter[int]:
    products = [each for each in program.actions if isinstance(each, Product)]
    for each in products:
        assert each.gemm is not None and each.gemm.batch == len(each.nodes)
    return Counter(len(each.nodes) for each in products)


def feeds() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"x": (2, POSITIONS, WIDTH)} | dict.fromkeys(WEIGHTS, (WIDTH, WIDTH))
    return {name: generator.normal(size=size).astype("f4") for name, size in shapes.items()}


@needs_compiler
@pytest.mark.parametrize(("precision", "wanted"), [("bf16", {1: 3, 3: 2}), ("fp32", {1: 6, 3: 1})])
def test_deltas_of_one_attention_are_multiplied_by_one_launch(precision, wanted):
    """In float32 the weights on the right lie where the user keeps them."""
    graph, program = attention(precision)
    assert batches(program) == wanted
    alone = device_program(graph, epilogues=False, precision=precision)
    assert batches(alone) == {1: 9}
    one, other = Bound(program), Bound(alone)
    found, values = one.run(feeds()), other.run(feeds())
    tolerance = 1e-6 if precision == "fp32" else 1e-2
    for name, value in {**values, **other.state()}.items():
        its = {**found, **one.state()}[name]
        np.testing.assert_allclose(its, value, tolerance, tolerance, err_msg=name)


@needs_compiler
def test_a_product_that_is_read_before_the_others_are_there_is_alone():
    """The queries' delta goes on while those of keys and values, of what came first, wait."""
    x, y = gg.input("x", (2, POSITIONS, WIDTH)), gg.input("y", (2, POSITIONS, WIDTH))
    weights = [gg.parameter(name, (WIDTH, WIDTH)) for name in WEIGHTS]
    memory, asking = gg.tanh(x), gg.tanh(gg.tanh(y) @ gg.input("w", (WIDTH, WIDTH)))
    read = (asking, memory, memory)
    values = gg.dot_product_attention(*map(heads_of, read, weights))
    loss = gg.sum(gg.tanh(values))
    derived = gg.derive(Graph({"loss": loss}), loss)
    graph = derived.with_outputs({n: derived.delta(n) for n in ("y", "x", *WEIGHTS)})
    program = device_program(graph, precision="bf16")
    assert batches(program)[2] == 2 and max(batches(program)) == 2
    given = {**feeds(), "y": feeds()["x"][:, ::-1], "w": feeds()["key"][::-1]}
    found = Bound(program).run(given)
    wanted = Bound(device_program(graph, epilogues=False, precision="bf16")).run(given)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, 1e-2, 1e-2, err_msg=name)


def test_matrices_are_stacked_that_lie_at_equal_distances():
    whole = np.zeros((3, 4, 2, 8), np.float32)
    matrices = [described(whole[place]) for place in range(3)]
    one = matrices[0]
    apart = [Array("arena", 256 * n, one.dtype, one.shape, one.strides) for n in (0, 1, 2, 5)]
    found = stacked(apart[:3])
    assert found is not None and found.shape == (3, 8, 8) and found.strides == (256, 32, 4)
    assert stacked([apart[0]] * 2) is not None  # one matrix for all
    assert stacked(apart) is None and stacked(apart[2::-1]) is None
    turned = described(whole.transpose(0, 2, 1, 3)[0])
    rows = [Array("arena", 256 * n, one.dtype, turned.shape, turned.strides) for n in (0, 1)]
    assert stacked(rows) is None  # rows that do not follow each other
