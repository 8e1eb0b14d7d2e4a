"""Costs: the matrix products of small graphs and of a whole Transformer, counted by hand."""

import numpy as np

import graphgrad as gg
from graphgrad.performance.bench_worker import Workload
from graphgrad.performance.cost import Cost, bytes_of, cost_of, flops_of, flops_of_graph
from graphgrad.tools.peers import graphgrad_engine


def test_a_product_costs_two_operations_for_each_element_and_inner_place() -> None:
    a, b = gg.input("a", (5, 3, 4)), gg.input("b", (5, 7, 4))
    product = gg.matmul(a, b, transpose_b=True)
    assert flops_of(product) == 2 * 5 * 3 * 7 * 4
    assert flops_of(gg.matmul(b, a, transpose_a=False, transpose_b=True)) == 2 * 5 * 7 * 3 * 4
    turned = gg.matmul(gg.input("c", (4, 3)), gg.input("d", (4, 6)), transpose_a=True)
    assert flops_of(turned) == 2 * 3 * 6 * 4
    assert flops_of(a + 1.0) == 0


def test_bytes_are_each_head_once_and_the_result() -> None:
    x = gg.input("x", (10, 10))
    assert bytes_of(x) == 0
    assert bytes_of(x * x) == 2 * 400
    assert bytes_of(gg.less(x, gg.input("y", (10, 1)))) == 400 + 40 + 100


def test_only_what_outputs_and_updates_need_is_counted() -> None:
    x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3, 4))
    product = gg.matmul(x, w)
    unused = gg.matmul(x, gg.constant(np.ones((3, 100), np.float32)), name="unused")
    graph = gg.Graph({"y": product}, names={"unused": unused})
    assert flops_of_graph(graph, {"batch": 6}) == 2 * 6 * 3 * 4


def test_leaves_and_views_cost_nothing() -> None:
    x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3, 4))
    graph = gg.Graph({"y": gg.tanh(gg.reshape(gg.matmul(x, w), (-1,)))})
    product, turned = 2 * 6 * 3 * 4, 2 * 4 * 24
    assert cost_of(graph, {"batch": 6}) == Cost(2, product, 4 * (18 + 12 + 24) + turned)


def test_a_training_step_costs_what_its_layers_say() -> None:
    width, inner, heads, layers, vocabulary, source, target, batch = 8, 12, 2, 3, 30, 5, 7, 4
    workload = Workload(width, inner, heads, layers, vocabulary, source, target, batch)
    graph = graphgrad_engine.training_graph(workload, 0.1)
    counted = flops_of_graph(graph, {"batch": batch, "source": source, "target": target})

    def attention(queries: int, keys: int) -> int:
        maps = (2 * queries + 2 * keys) * width * width  # query and output, key and value
        return maps + 2 * queries * keys * width

    def feed_forward(length: int) -> int:
        return 2 * length * width * inner

    encoder = attention(source, source) + feed_forward(source)
    decoder = attention(target, target) + attention(target, source) + feed_forward(target)
    forward = layers * (encoder + decoder) + target * width * vocabulary
    # every product sends two products back, one to each of its heads
    assert counted == 3 * 2 * batch * forward
