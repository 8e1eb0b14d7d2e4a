"""The nodes that regions contain: no more than is faster, and none that would round differently."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.fusion import region
from graphgrad.ops.evaluate import evaluate

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")

FUSED = {"fuse": True, "smallest_kernel": 1}
FUNCTIONS = ("tanh", "exp", "sigmoid", "gelu", "silu", "sin", "softplus", "erf")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_delta_of_an_extreme_finds_it_again(function: str, axis, dtype: str) -> None:
    """If x of max x is made of a row and a column, it is not computed twice with two roundings."""
    x, y = gg.input("x", (64, 1), dtype), gg.input("y", (64,), dtype)
    z = getattr(gg, function)(x + y)
    loss = gg.sum(gg.max(z, axis)) - gg.sum(gg.min(z * 2.0, axis))
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    graph = graph.with_outputs({"dx": graph.delta("x"), "dy": graph.delta("y")})
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.normal(size=(64, 1)).astype(dtype),
        "y": generator.normal(size=64).astype(dtype),
    }
    values = evaluate(graph, feeds)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    for way in ({"fuse": True}, FUSED, {**FUSED, "without": ["rematerialise"]}):
        found = gg.compile(graph, **way)(**feeds)
        for name, node in graph.outputs.items():
            np.testing.assert_allclose(found[name], values[node], tolerance, tolerance)


def test_comparisons_by_way_of_other_values_keep_their_bits_too() -> None:
    """equal(2 e^z, max of it): the compared value is not z itself, but computed from z."""
    x, y = gg.input("x", (70, 1)), gg.input("y", (70,))
    z = gg.exp(gg.sin(x * y))
    doubled = 2.0 * z
    hits = gg.sum(gg.cast(gg.equal(doubled, gg.max(doubled, 0)), "float32"))
    graph = gg.Graph({"hits": hits, "column": gg.sum(z, 1)})
    generator = np.random.default_rng(1)
    feeds = {
        "x": generator.normal(size=(70, 1)).astype("f4"),
        "y": generator.normal(size=70).astype("f4"),
    }
    assert float(gg.compile(graph, **FUSED)(**feeds)["hits"]) >= 70


def test_truth_values_and_integers_are_made_again_as_before() -> None:
    """Exact values are computed again: the one-hot targets of a cross-entropy take no memory."""
    logits, targets = gg.input("logits", (64, 100)), gg.input("targets", (64,), "int32")
    graph = gg.derive(gg.Graph({"loss": gg.sum(gg.cross_entropy(logits, targets))}), "loss")
    graph = graph.with_outputs({"loss": graph["loss"], "delta": graph.delta("logits")})
    step = gg.compile(graph, fuse=True).program()
    assert step.plan.arena_bytes < 3 * 64 * 100 * 4


def chain(length: int) -> gg.Graph:
    x = gg.input("x", (64, 128))
    y = x
    for number in range(length):
        y = gg.tanh(y) * 0.99 + 0.01 * number
    graph = gg.derive(gg.Graph({"loss": gg.sum(y)}), "loss")
    return graph.with_outputs({"loss": graph["loss"], "delta": graph.delta("x")})


def test_long_chains_are_cut_into_kernels_of_bounded_size() -> None:
    """LLVM's time grows with the square of a kernel: ten times the chain, ten times the kernels."""
    counts = {}
    for length in (30, 300):
        program = gg.compile(chain(length), fuse=True).program()
        sizes = [len(step.group.nodes) for step in program.plan.steps if step.group.nest]
        assert max(sizes) <= region.LARGEST
        counts[length] = len(sizes)
    assert counts[300] <= 12 * counts[30]
    x = np.random.default_rng(0).normal(size=(64, 128)).astype("f4")
    graph = chain(300)
    values = evaluate(graph, {"x": x})
    found = gg.compile(graph, fuse=True)(x=x)
    np.testing.assert_allclose(found["loss"], values[graph["loss"]], 1e-4)
    np.testing.assert_allclose(found["delta"], values[graph.outputs["delta"]], 1e-3, 1e-6)


def test_a_kernel_does_not_wait_for_many_values_at_once() -> None:
    """A sum of many products adds them one by one, so few of them are alive at once."""
    x, w = gg.input("x", (64, 64)), gg.input("w", (64, 64))
    terms = [gg.matmul(x * (1.0 + number), w) for number in range(100)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    graph = gg.Graph({"total": total})
    plain, fused = (gg.compile(graph, fuse=fuse).program().plan for fuse in (False, True))
    size = 64 * 64 * 4
    assert fused.arena_bytes <= plain.arena_bytes + (2 * region.MOST_READ) * size
    nests = [step.group for step in fused.steps if step.group.nest is not None]
    assert max(len(group.inputs) for group in nests) <= region.MOST_READ
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(64, 64)) for name in ("x", "w")}
    feeds = {name: array.astype("f4") for name, array in feeds.items()}
    right = feeds["x"].astype("f8") @ feeds["w"] * sum(range(1, 101))
    np.testing.assert_allclose(gg.compile(graph, fuse=True)(**feeds)["total"], right, 1e-3, 1e-1)


@pytest.mark.parametrize("rows", [2, 3, 100])
def test_a_number_for_each_row_takes_no_place_of_elements(rows: int) -> None:
    """In rows of one element, a sum has the type of what is summed and dies with it."""
    x = gg.input("x", (rows, 1), "float64")
    turned = gg.matmul(x, gg.constant(np.eye(1)))  # computed elsewhere, and read here alone
    total = gg.sum(gg.exp(turned), 1, keepdims=True)
    largest = gg.max(gg.tanh(gg.matmul(x, gg.constant(2.0 * np.eye(1)))), 1, keepdims=True)
    values = np.random.default_rng(0).normal(size=(rows, 1))
    way = {**FUSED, "without": ["simplify", "fold_constants"]}
    found = gg.compile(gg.Graph({"total": total, "largest": largest}), **way)(x=values)
    np.testing.assert_allclose(found["total"], np.exp(values), 1e-12)
    np.testing.assert_allclose(found["largest"], np.tanh(2.0 * values), 1e-12)


INTEGERS = {
    "max": lambda i: gg.max(i, 1),
    "min": lambda i: gg.min(i, 1),
    "sum": lambda i: gg.sum(i, 1),
    "sum of all": lambda i: gg.sum(i),
    "any": lambda i: gg.max(gg.less(i, 3), 1),
    "all": lambda i: gg.min(gg.less(i, 3), 1),
    "is_finite": lambda i: gg.is_finite(i + 1),
}


@pytest.mark.parametrize("columns", [1, 3, 128])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_and_truth_values_reduce(name: str, dtype: str, columns: int) -> None:
    i = gg.input("i", (64, columns), dtype)
    graph = gg.Graph({"y": INTEGERS[name](i)})
    limits = np.iinfo(dtype)
    array = np.random.default_rng(0).integers(limits.min // 4, 7, (64, columns)).astype(dtype)
    array[0], array[1] = limits.min, limits.max
    expected = evaluate(graph, {"i": array})[graph["y"]]
    found = gg.compile(graph, **FUSED)(i=array)["y"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("constant", [False, True])
def test_seeds_of_any_integer_type_draw_the_same_mask(dtype: str, constant: bool) -> None:
    seed, step = (
        gg.constant(np.array(n, dtype)) if constant else gg.input(name, (), dtype)
        for n, name in ((7, "seed"), (2, "step"))
    )
    x = gg.input("x", (64, 128))
    graph = gg.Graph({"y": x * gg.dropout_mask(seed, step, (64, 128), 0.5, 0)})
    feeds = {"x": np.ones((64, 128), "f4")}
    feeds |= {} if constant else {"seed": np.array(7, dtype), "step": np.array(2, dtype)}
    plain, fused = (gg.compile(graph, fuse=fuse)(**feeds)["y"] for fuse in (False, True))
    np.testing.assert_array_equal(plain, fused)
    assert 0.4 < np.mean(plain == 0) < 0.6


def test_a_mask_is_not_drawn_by_the_kernel_that_computes_its_seed() -> None:
    """What is made again in a kernel is made of values that have to stand before it starts."""
    ids = gg.input("ids", (70, 90), "int32")
    doubled = ids * 2
    seed = gg.sum(doubled)  # in the kernel of `doubled`
    mask = gg.dropout_mask(seed, seed, (70, 90), 0.5, 3)
    graph = gg.Graph({"y": gg.cast(doubled, "float32") * mask})
    array = np.random.default_rng(0).integers(0, 5, (70, 90)).astype("i4")
    right = evaluate(graph, {"ids": array})[graph.outputs["y"]]
    for way in ({"fuse": True}, FUSED):
        np.testing.assert_array_equal(gg.compile(graph, **way)(ids=array)["y"], right)


@pytest.mark.parametrize("view", ["reshaped", "part", "turned"])
def test_a_kernel_reads_a_view_of_a_next_value_in_its_state(view: str) -> None:
    """A moment that is kept flat, say: its next value is written straight into the state."""
    flat = gg.state("flat", (12,) if view != "part" else (3, 4))
    w = gg.parameter("w", (4, 3) if view == "turned" else (3, 4) if view == "reshaped" else (2, 4))
    moved = flat * 0.5 + 1.0
    seen = {
        "reshaped": lambda x: gg.reshape(x, (3, 4)),
        "part": lambda x: x[1:],
        "turned": lambda x: gg.transpose(gg.reshape(x, (3, 4))),
    }[view](moved)
    graph = gg.Graph({}, {flat: moved, w: w - gg.tanh(seen) * 0.1})
    generator = np.random.default_rng(0)
    old = {
        "flat": generator.normal(size=flat.shape).astype("f4"),
        "w": generator.normal(size=w.shape).astype("f4"),
    }
    values = evaluate(graph, {}, old)
    state = {name: array.copy() for name, array in old.items()}
    gg.compile(graph, **FUSED)(state)
    for leaf, node in graph.updates.items():
        name = leaf.attributes["label"]
        np.testing.assert_allclose(state[name], values[node], 1e-5, 1e-6)
