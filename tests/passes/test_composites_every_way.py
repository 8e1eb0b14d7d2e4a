"""Softmax, cross-entropy, means and standardisation give the right value in every way of compiling.

Each case runs by the reference, plain, and as kernels (the rows are many enough for one), and each
is compared with PyTorch or with what the value must be: values and deltas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DataError
from graphgrad.ops.evaluate import evaluate

ROWS = 600
"""With eight columns and more, enough for a kernel."""

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fused": {"fuse": True},
    "not written out": {"fuse": True, "without": "decompose"},
    "not stabilised": {"without": "stabilise"},
    "as it is": {"passes": (), "specialised_passes": ()},
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)
FLOATS = pytest.mark.parametrize("dtype", ["float32", "float64"])


def ran(way: str, graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = dict(WAYS[way])
    if "without" in options:
        options["without"] = [options["without"]]
    return gg.compile(graph, **options)(**feeds)


def derived(y: Node, *heads: Node) -> Graph:
    """The value and the deltas of the heads from a seed of its own."""
    seed = gg.input("seed", y.shape, y.dtype)
    graph = gg.derive(Graph({"y": y}, names={"seed": seed}), y, list(heads), seed)
    deltas = {f"d{n}": graph.delta(head) for n, head in enumerate(heads)}
    return graph.with_outputs({"y": y, **deltas})


def of_torch(function: Callable[..., Any], x: np.ndarray, seed: np.ndarray) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(x, requires_grad=True)
    y = function(torch.nn.functional, tensor)
    y.backward(torch.tensor(seed, dtype=y.dtype))
    return y.detach().numpy(), tensor.grad.numpy()


def logits(offset: float, dtype: str) -> np.ndarray:
    """Rows that share an offset, as far apart as the dtype tells numbers of this size apart."""
    steps = np.random.default_rng(0).integers(-3, 4, (ROWS, 8))
    return (
        np.asarray(offset, dtype) + steps * np.spacing(np.asarray(max(offset, 1.0), dtype))
    ).astype(dtype)


OFFSETS = [0.0, 1e3, 1e4, 1e6, 1e8, 3e37]


@EVERY_WAY
@FLOATS
@pytest.mark.parametrize("offset", OFFSETS)
def test_an_offset_that_logits_share_costs_no_digits(offset, dtype, way):
    x = logits(offset, dtype)
    seed = np.random.default_rng(1).normal(size=x.shape).astype(dtype)
    node = gg.input("x", x.shape, dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    exact = x.astype("float64") - x.max(1, keepdims=True).astype(
        "float64"
    )  # exact, and what softmax is of
    exact -= np.log(np.exp(exact).sum(1, keepdims=True))
    stable = way not in ("not stabilised", "as it is")
    for y in [gg.log_softmax(node)] + [gg.log(gg.softmax(node))] * stable:
        found = ran(way, derived(y, node), {"x": x, "seed": seed})
        np.testing.assert_allclose(found["y"], exact, tolerance, tolerance / 10)
        delta = seed - np.exp(exact) * seed.sum(1, keepdims=True)
        np.testing.assert_allclose(found["d0"], delta, tolerance, tolerance * 10)


@EVERY_WAY
@FLOATS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("offset", OFFSETS)
def test_cross_entropy_of_logits_that_share_an_offset(offset, smoothing, dtype, way):
    x = logits(offset, dtype)
    targets = np.random.default_rng(2).integers(0, 8, ROWS).astype("int32")
    targets[::7] = -1
    seed = np.random.default_rng(1).normal(size=ROWS).astype(dtype)
    node, wanted = gg.input("x", x.shape, dtype), gg.input("t", ROWS, "int32")
    graph = derived(gg.cross_entropy(node, wanted, smoothing), node)
    found = ran(way, graph, {"x": x, "t": targets, "seed": seed})
    exact = x.astype("float64") - x.max(1, keepdims=True).astype("float64")
    tolerance = 1e-5 if dtype == "float32" else 1e-13

    def loss(functional: Any, tensor: Any) -> Any:
        chosen = tensor.new_tensor(targets).long()
        return functional.cross_entropy(
            tensor, chosen, ignore_index=-1, reduction="none", label_smoothing=smoothing
        )

    value, delta = of_torch(loss, exact, seed)
    np.testing.assert_allclose(found["y"], value, tolerance, tolerance)
    np.testing.assert_allclose(found["d0"], delta, tolerance, tolerance)
    assert not found["y"][::7].any() and not found["d0"][::7].any()


@EVERY_WAY
@FLOATS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_that_are_masked_out(smoothing, dtype, way):
    """A logit of -∞ costs nothing where its class is not the target, and ∞ where it is, or where
    smoothing wants a little of every class; deltas are finite everywhere."""
    x = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(dtype)
    x[:, 0] = -np.inf
    targets = (np.arange(ROWS) % 8).astype("int32")
    seed = np.ones(ROWS, dtype)
    node, wanted = gg.input("x", x.shape, dtype), gg.input("t", ROWS, "int32")
    graph = derived(gg.cross_entropy(node, wanted, smoothing), node)
    found = ran(way, graph, {"x": x, "t": targets, "seed": seed})
    value, delta = of_torch(
        lambda f, t: f.cross_entropy(
            t, t.new_tensor(targets).long(), reduction="none", label_smoothing=smoothing
        ),
        x,
        seed,
    )
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found["y"], value, tolerance)
    np.testing.assert_allclose(found["d0"], delta, tolerance, tolerance)
    assert np.isfinite(found["d0"]).all()


INDEXED: dict[str, Callable[[Node, Node], Node]] = {
    "cross_entropy": lambda x, t: gg.cross_entropy(x, t, 0.1, ignored=-1),
    "one_hot": lambda x, t: gg.one_hot(t, 8) * x,
    "gather": lambda x, t: gg.gather(gg.transpose(x), t),
    "take_along_axis": lambda x, t: gg.take_along_axis(x, gg.expand_dims(t, 1), 1),
    "put_along_axis": lambda x, t: gg.put_along_axis(gg.expand_dims(t, 1), x[:, :1], 8, 1),
    "scatter_add": lambda x, t: gg.scatter_add(t, x, 8),
}


@EVERY_WAY
@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("bad", [8, 999, -2])
def test_an_index_outside_is_an_error_in_every_way_and_in_deltas_alone(name, bad, way):
    x, t = gg.input("x", (ROWS, 8)), gg.input("t", ROWS, "int32")
    y = INDEXED[name](x, t)
    both = derived(y, x)
    good = np.arange(ROWS, dtype="int32") % 8
    feeds = {"x": np.ones((ROWS, 8), "f"), "seed": np.ones(y.type.sizes, "f")}
    for outputs in ({"y": both.outputs["y"]}, {"d0": both.outputs["d0"]}):
        graph = Graph(outputs)
        given = {key: value for key, value in feeds.items() if key in graph.inputs}
        ran(way, graph, {**given, "t": good})
        targets = good.copy()
        targets[3] = bad
        with pytest.raises(DataError, match=r"outside \[0, 8\)"):
            ran(way, graph, {**given, "t": targets})


def test_the_index_that_is_ignored_passes_every_check():
    x, t = gg.input("x", (ROWS, 8)), gg.input("t", ROWS, "int32")
    targets = np.full(ROWS, 77, "int32")
    graph = derived(gg.cross_entropy(x, t, ignored=77), x)
    for way in WAYS:
        found = ran(
            way, graph, {"x": np.ones((ROWS, 8), "f"), "t": targets, "seed": np.ones(ROWS, "f")}
        )
        assert not found["y"].any() and not found["d0"].any()


@EVERY_WAY
@FLOATS
@pytest.mark.parametrize("size", [1, 2, 7, 64, 511, 1000, 4099])
@pytest.mark.parametrize("value", [0.1, 1234.567, 1.1e6, -3e7, 1e-30])
def test_a_constant_row_is_exactly_0_when_standardised(value, size, dtype, way):
    x = np.full((max(2, 8192 // size), size), value, dtype)
    node = gg.input("x", x.shape, dtype)
    found = ran(way, Graph({"y": gg.standardise(node), "v": gg.variance(node, 1)}), {"x": x})
    assert not found["y"].any()
    np.testing.assert_allclose(found["v"], 0, atol=1e-12 * value * value)


@EVERY_WAY
@FLOATS
def test_standardised_rows_and_their_deltas_against_torch(dtype, way):
    """Also rows whose mean is large beside what they differ by."""
    generator = np.random.default_rng(3)
    for mean in (0.0, 100.0, 3e3):
        x = (generator.normal(size=(ROWS, 48)) + mean).astype(dtype)
        seed = generator.normal(size=x.shape).astype(dtype)
        node = gg.input("x", x.shape, dtype)
        found = ran(way, derived(gg.standardise(node), node), {"x": x, "seed": seed})
        value, delta = of_torch(lambda f, t: f.layer_norm(t, (48,)), x.astype("float64"), seed)
        tolerance = 3e-6 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(found["y"], value, tolerance, tolerance)
        np.testing.assert_allclose(found["d0"], delta, tolerance, tolerance)


EMPTY = [(0, 8), (3, 0), (0, 0), (3, 1), (1, 1)]


@EVERY_WAY
@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_axes_of_size_0_and_1(shape, way):
    """As NumPy has them: the mean of nothing is NaN, the variance of one number 0."""
    x = np.random.default_rng(0).normal(size=shape)
    node = gg.input("x", shape, "float64")
    outputs = {"mean": gg.mean(node, 1), "variance": gg.variance(node, 1), "sum": gg.sum(node, 1)}
    if shape[1]:
        outputs |= {
            "p": gg.softmax(node),
            "log": gg.log_softmax(node),
            "z": gg.standardise(node),
            "lse": gg.logsumexp(node, 1),
        }
    graph = Graph(outputs)
    expected = evaluate(graph, {"x": x})
    found = ran(way, graph, {"x": x})
    for name, node_of in graph.outputs.items():
        np.testing.assert_allclose(found[name], expected[node_of], 1e-12, err_msg=name)
    nothing = np.full(shape[0], np.nan)
    np.testing.assert_allclose(found["mean"], x.mean(1) if shape[1] else nothing)
    np.testing.assert_allclose(found["variance"], x.var(1) if shape[1] else nothing, atol=1e-30)


@EVERY_WAY
@FLOATS
def test_a_row_of_nothing_but_minus_infinity(dtype, way):
    """Its softmax is 0 and so is whatever is sent back to it, never NaN."""
    x = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(dtype)
    x[::3] = -np.inf
    x[1::3, 2:5] = -np.inf
    node = gg.input("x", x.shape, dtype)
    for y in (gg.softmax(node), gg.logsumexp(node, 1), gg.logsumexp(node, (0, 1))):
        seed = np.ones(y.type.sizes, dtype)
        found = ran(way, derived(y, node), {"x": x, "seed": seed})
        assert np.isfinite(found["d0"]).all() and not found["d0"][::3].any()
        assert not np.isnan(found["y"]).any()


@EVERY_WAY
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_delta_of_logsumexp_sums_to_one(offset, way):
    x = logits(offset, "float32")
    exact = np.exp(x.astype("float64") - x.max(1, keepdims=True))
    node = gg.input("x", x.shape)
    found = ran(way, derived(gg.logsumexp(node, 1), node), {"x": x, "seed": np.ones(ROWS, "f")})
    np.testing.assert_allclose(found["d0"], exact / exact.sum(1, keepdims=True), 1e-5)
