"""Which kernels become epilogues of products whose results are rounded to 16 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_program
from test_epilogues import IN, OUT, ROWS, epilogues, feeds_for

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.backends.cupy.launches import Launch
from graphgrad.ops.evaluate import evaluate

Made = Callable[[Node, Node], Node]


def leaves() -> tuple[Node, Node, Node]:
    x, w = gg.input("x", (2, ROWS // 2, IN), "bfloat16"), gg.input("w", (IN, OUT), "bfloat16")
    return x, w, gg.parameter("b", OUT)


def rounded(node: Node) -> Node:
    return gg.cast(node, "bfloat16")


def widened(bias: Node, shape: tuple[int, ...]) -> Node:
    """A bias of float32, read in 16 bits."""
    return gg.cast(gg.broadcast_to(rounded(bias), shape), "float32")


def graph_of(made: Made, given: bool = True) -> Graph:
    x, w, b = leaves()
    product = gg.matmul(x, w, dtype="float32")
    bias = widened(b, product.shape) if given else b
    return Graph({"y": made(product, bias)})


@needs_compiler
@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda y, b: rounded(y + b), "BIAS"),
        (lambda y, b: rounded(b + y), "BIAS"),
        (lambda y, b: rounded(gg.relu(y)), "RELU"),
        (lambda y, b: rounded(gg.relu(y + b)), "RELU_BIAS"),
        (lambda y, b: rounded(gg.gelu_tanh(y + b)), "GELU_BIAS"),
        (lambda y, b: rounded(gg.exp(y + b)), "DEFAULT"),
        (lambda y, b: y + b, "DEFAULT"),  # the bias would have to be float32 as the result is
    ],
)
def test_a_result_is_rounded_where_it_is_written(made, wanted):
    graph = graph_of(made)
    program, feeds = device_program(graph), feeds_for(graph)
    assert epilogues(program) == {wanted: 1}
    kernels = sum(isinstance(action, Launch) for action in program.actions)
    assert kernels == 1 + (wanted == "DEFAULT") - (wanted == "RELU")  # one rounds the bias
    found, values = Bound(program).run(feeds), evaluate(graph, feeds, feeds)
    y = graph.outputs["y"]
    assert found["y"].dtype == y.dtype
    apart = np.abs(found["y"].astype("f4") - values[y].astype("f4"))
    assert (apart <= 2.0**-7 * np.abs(values[y].astype("f4"))).all()
    assert apart.mean() < 1e-4


def test_a_bias_of_float32_is_not_read_by_a_product_of_16_bits():
    graph = graph_of(lambda y, b: rounded(y + b), given=False)
    assert epilogues(device_program(graph)) == {"DEFAULT": 1}


def test_what_others_read_unrounded_is_written_by_a_kernel():
    x, w, b = leaves()
    product = gg.matmul(x, w, dtype="float32")
    summed = product + widened(b, product.shape)
    graph = Graph({"y": rounded(gg.relu(summed)), "s": gg.max(summed)})
    assert epilogues(device_program(graph)) == {"DEFAULT": 1}


def test_a_layer_of_mixed_precision_stores_16_bits_alone():
    """Forward, ReLU's result has 16 bits alone, by whose sign its delta is chosen."""
    x, b = gg.input("x", (64, 32)), gg.parameter("b", 48)
    w, v = gg.parameter("w", (32, 48)), gg.parameter("v", (48, 16))
    loss = gg.sum(gg.tanh(gg.relu(x @ w + b) @ v))
    derived = gg.derive(Graph({"loss": loss}), loss)
    graph = derived.with_outputs({name: derived.delta(name) for name in ("w", "b", "v")})
    program = device_program(graph, precision="bf16")
    assert epilogues(program)["RELU_BIAS"] == 1
    whole = [node for node in program.values if node.shape == (64, 48)]
    assert {str(node.dtype) for node in whole} - {"bool"} == {"bfloat16"}
