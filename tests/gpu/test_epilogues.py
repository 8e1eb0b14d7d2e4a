"""Which kernels become epilogues of products, and that they compute the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_program
from test_products import described, gemm_for

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.backends.cupy.epilogues import Epilogue, aux_bytes
from graphgrad.backends.cupy.launches import DeviceProgram, Extras, Product
from graphgrad.backends.cupy.products import with_epilogue
from graphgrad.ops.evaluate import evaluate

ROWS, IN, OUT = 6, 16, 24


def leaves(dtype: str = "float64") -> tuple[Node, Node, Node]:
    return (
        gg.input("x", (2, ROWS // 2, IN), dtype),
        gg.parameter("w", (IN, OUT), dtype=dtype),
        gg.parameter("b", (OUT,), dtype=dtype),
    )


def epilogues(program: DeviceProgram) -> Counter[str]:
    """How often each epilogue is there; "+" where a matrix is added."""
    products = [each for each in program.actions if isinstance(each, Product)]
    names = [
        each.gemm.epilogue.name + "+" * (each.extras.added is not None)
        for each in products
        if each.gemm is not None
    ]
    assert len(names) == len(products)
    return Counter(names)


def feeds_for(graph: Graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    named = {**graph.inputs, **graph.states}
    return {name: generator.normal(size=n.shape).astype(n.dtype) for name, n in named.items()}


def check(graph: Graph, wanted: dict[str, int], launches: int | None = None) -> None:
    """The values of the reference, by these epilogues."""
    program = device_program(graph)
    assert epilogues(program) == Counter(wanted)
    if launches is not None:
        assert len(program.actions) == launches
    feeds = feeds_for(graph)
    values = evaluate(graph, feeds, feeds)
    found = Bound(program).run(feeds)
    for name, node in graph.outputs.items():
        np.testing.assert_allclose(found[name], values[node], 1e-9, 1e-9, err_msg=name)


@needs_compiler
@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda y, b: y + b, {"BIAS": 1}),
        (lambda y, b: b + y, {"BIAS": 1}),
        (lambda y, b: gg.relu(y), {"RELU": 1}),
        (lambda y, b: gg.relu(y + b), {"RELU_BIAS": 1}),
        (lambda y, b: gg.gelu_tanh(y), {"GELU": 1}),
        (lambda y, b: gg.gelu_tanh(y + b), {"GELU_BIAS": 1}),
        (lambda y, b: gg.gelu(y + b), {"DEFAULT": 1}),
        (lambda y, b: gg.tanh(y + b), {"DEFAULT": 1}),
        (lambda y, b: y + gg.reshape(b, (1, 1, OUT)), {"BIAS": 1}),
        (lambda y, b: y + b[:1], {"DEFAULT": 1}),
        (lambda y, b: y - b, {"DEFAULT": 1}),
        (lambda y, b: y + y, {"DEFAULT": 1}),
        (lambda y, b: gg.softmax(y + b), {"DEFAULT": 1}),
    ],
)
def test_a_kernel_that_a_product_can_do_is_left_out(made, wanted):
    x, w, b = leaves()
    kernels = int("DEFAULT" in wanted)
    check(Graph({"y": made(x @ w, b)}), wanted, 1 + kernels)


def layer(activation: Any, transposed: bool) -> Graph:
    """A loss of two layers, with the deltas of all parameters."""
    x, w, b = leaves()
    weights = gg.parameter("v", (IN, OUT) if transposed else (OUT, IN), dtype="float64")
    z = gg.matmul(activation(x @ w + b), weights, transpose_b=transposed)
    second = gg.parameter("c", (IN,), dtype="float64")
    loss = gg.sum(gg.tanh(z + second) * gg.input("seed", z.shape, z.dtype))
    graph = gg.derive(Graph({"loss": loss}), loss)
    names = ("x", "w", "b", "v", "c")
    return graph.with_outputs({"loss": loss, **{name: graph.delta(name) for name in names}})


@needs_compiler
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("activation", "pair"),
    [
        (gg.relu, {"RELU_AUX_BIAS": 1, "DRELU_BGRAD": 1}),
        (gg.gelu_tanh, {"GELU_AUX_BIAS": 1, "DGELU_BGRAD": 1}),
        (gg.gelu, {"DEFAULT": 2}),
    ],
)
def test_an_activation_and_its_delta_are_epilogues_together(activation, pair, transposed):
    others = Counter({"DEFAULT": 4})
    check(layer(activation, transposed), dict(others + Counter(pair)))


@needs_compiler
@pytest.mark.parametrize("transposed", [False, True])
def test_the_sum_beside_a_product_is_taken_of_the_side_that_has_it(transposed):
    """A bias whose delta nothing else needs: rows of A, or columns of B."""
    x, *_ = leaves()
    flat = gg.reshape(x, (ROWS, IN))
    delta = gg.input("delta", (ROWS, OUT), "float64")
    product = (
        gg.matmul(delta, flat, transpose_a=True)
        if transposed
        else gg.matmul(flat, delta, transpose_a=True)
    )
    graph = Graph({"w": product, "b": gg.sum(delta, 0)})
    check(graph, {"BGRADB" if transposed else "BGRADA": 1}, 1)


@needs_compiler
def test_a_sum_that_widens_what_the_product_reads_in_16_bits_is_taken_with_it():
    x, delta = gg.input("x", (ROWS, IN), "float16"), gg.input("delta", (ROWS, OUT), "float16")
    w = gg.matmul(x, delta, transpose_a=True, dtype="float32")
    graph = Graph({"w": w, "b": gg.sum(gg.cast(delta, "float32"), 0)})
    program, feeds = device_program(graph), feeds_for(graph)
    assert epilogues(program) == Counter({"BGRADA": 1}) and len(program.actions) == 1
    values, found = evaluate(graph, feeds), Bound(program).run(feeds)
    for name, node in graph.outputs.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values[node], 1e-5, 1e-5, err_msg=name)


@needs_compiler
def test_a_sum_over_another_axis_than_the_inner_one_stays_a_kernel():
    x, w, _ = leaves()
    flat = gg.reshape(x, (ROWS, IN))
    check(Graph({"y": flat @ w, "s": gg.sum(flat, 0)}), {"DEFAULT": 1})


@needs_compiler
def test_contributions_are_added_where_the_first_one_is():
    x, w, _ = leaves()
    others = [gg.parameter(f"w{n}", (IN, OUT), dtype="float64") for n in range(2)]
    given = gg.input("given", (2, ROWS // 2, OUT), "float64")
    check(Graph({"y": x @ w + x @ others[0]}), {"DEFAULT": 1, "DEFAULT+": 1}, 2)
    check(Graph({"y": x @ w + x @ others[0] + x @ others[1]}), {"DEFAULT": 1, "DEFAULT+": 2}, 3)
    check(Graph({"y": given + x @ w}), {"DEFAULT+": 1}, 1)
    check(Graph({"y": x @ w + given * 2.0}), {"DEFAULT": 1}, 2)


@needs_compiler
def test_what_others_read_is_kept_as_it_is():
    x, w, b = leaves()
    product = x @ w
    argument = product + b
    check(Graph({"y": gg.relu(argument), "a": argument}), {"DEFAULT": 1})
    check(Graph({"y": gg.gelu_tanh(argument), "a": argument}), {"GELU_AUX_BIAS": 1}, 1)
    check(Graph({"y": gg.gelu_tanh(product), "s": gg.exp(product)}), {"GELU_AUX": 1}, 2)
    check(Graph({"y": argument, "s": gg.exp(product)}), {"DEFAULT": 1})
    check(Graph({"y": argument, "p": product}), {"DEFAULT": 1})


def test_a_batch_of_products_has_no_epilogue():
    a, b = gg.input("a", (3, 8, 16)), gg.input("b", (3, 16, 24))
    program = device_program(Graph({"y": gg.relu(a @ b)}))
    assert epilogues(program) == Counter({"DEFAULT": 1})


def test_an_update_is_written_by_its_kernel_alone():
    """What a guard can stop is no library's."""
    w, x = gg.parameter("w", (8, 16)), gg.input("x", (8, 8))
    graph = Graph({"loss": gg.sum(x)}, {w: w + gg.matmul(x, gg.input("y", (8, 16)))})
    assert epilogues(device_program(graph, ("loss",))) == Counter({"DEFAULT": 1})


# ---------------------------------------------------------------- what the library demands


def case(order: str = "C", k: int = IN) -> tuple[Any, ...]:
    """A product and arrays of an epilogue that fit it."""
    out = np.zeros((ROWS, OUT), np.float32, order)
    heads = np.zeros((ROWS, k), np.float32), np.zeros((k, OUT), np.float32)
    gemm = gemm_for(*heads, out)
    assert gemm is not None
    bits = np.zeros(aux_bytes(gemm.rows, gemm.columns), np.uint8)
    return (
        gemm,
        described(out),
        [*map(described, heads)],
        described(np.zeros(OUT, np.float32)),
        bits,
    )


def refused(epilogue: Epilogue, *given: Any, **extras: Any) -> str:
    gemm, out, heads = given[:3]
    found, why = with_epilogue(gemm, epilogue, out, heads, Extras(**extras))
    assert (found is None) == bool(why)
    return why


def test_what_the_library_demands_is_checked_in_one_place():
    gemm, out, heads, bias, bits = case()
    its = gemm, out, heads
    assert refused(Epilogue.BIAS, *its, vector=bias) == ""
    assert "too little or too much" in refused(Epilogue.BIAS, *its)
    assert "too little or too much" in refused(Epilogue.RELU, *its, vector=bias)
    assert "another length" in refused(Epilogue.BIAS, *its, vector=described(np.zeros(3, "f4")))
    assert "another length or dtype" in refused(
        Epilogue.BIAS, *its, vector=described(np.zeros(OUT))
    )
    strided = described(np.zeros(2 * OUT, "f4")[::2])
    assert "do not lie together" in refused(Epilogue.BIAS, *its, vector=strided)
    aside = replace(bias, offset=8)
    assert "multiple of 16" in refused(Epilogue.BIAS, *its, vector=aside)
    assert "BLAS does not read" in refused(Epilogue.BIAS, None, *its[1:], vector=bias)
    assert "it is a batch" in refused(Epilogue.BIAS, replace(gemm, batch=2), *its[1:], vector=bias)
    turned = case("F")
    assert "features" in refused(Epilogue.BIAS, *turned[:3], vector=bias)
    thin = case(k=1)
    assert "inner size" in refused(Epilogue.BGRADA, *thin[:3], vector=bias)
    assert "not read transposed" in refused(Epilogue.BGRADB, *its, vector=bias)
    assert refused(Epilogue.RELU_AUX, *its, aux=described(bits)) == ""
    assert "too little room" in refused(Epilogue.RELU_AUX, *its, aux=described(bits[1:]))
    assert refused(Epilogue.GELU_AUX, *its, aux=out) == ""
    assert "as the library reads it" in refused(
        Epilogue.GELU_AUX, *its, aux=described(np.zeros((ROWS, OUT), "f4", "F"))
    )
    assert refused(Epilogue.DEFAULT, *its, added=out) == ""
    assert "as the result does" in refused(
        Epilogue.DEFAULT, *its, added=described(np.zeros((ROWS, 2 * OUT), "f4")[:, ::2])
    )


def test_the_parts_of_an_epilogue_are_read_off_its_name():
    for its in Epilogue:
        assert its.adds_bias == its.name.endswith("BIAS")
        assert its.is_delta == its.name.startswith(("DRELU", "DGELU"))
        assert its.has_aux == ("AUX" in its.name or its.is_delta)
        assert its.has_vector == ("BIAS" in its.name or "GRAD" in its.name)
        assert its.activation == {"R": "relu", "G": "gelu_tanh"}.get(
            its.name.removeprefix("D")[0] if "ELU" in its.name else "", ""
        )


def test_a_program_prints_its_epilogues_and_the_plan_has_places_for_them():
    graph = layer(gg.relu, False)
    program = device_program(graph)
    lines = str(program).splitlines()
    assert sum(line.startswith("product RELU_AUX_BIAS") for line in lines) == 1
    (value,) = (
        each
        for each in program.actions
        if isinstance(each, Product) and each.gemm and each.gemm.epilogue.name == "RELU_AUX_BIAS"
    )
    bits = value.extras.aux
    assert bits is not None and bits.memory == "arena"
    assert bits.size == aux_bytes(OUT, ROWS) == 16 * ROWS
    others = [p for each in program.actions if each is value for p in value.pointers]
    mine = bits.written
    assert not any(mine.meets(other) for other in others if other != mine)
