"""What finite differences cannot say: ties, kinks, masks, extremes, empty values, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DataError, DeclarationError
from graphgrad.graph.types import FLOAT64
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate

INFINITY = float("inf")
FLOAT_ELEMENTWISE = [
    operation
    for operation in ALL_OPERATIONS
    if operation.kernel
    and operation.name not in ("logical_and", "logical_or", "logical_not", "where", "cast")
]
EXTREMES = [0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 1e-30, -1e-30, 80.0, -80.0]


def run(function: Callable[..., Node], *arrays: Any, seed: Any = None) -> list[np.ndarray]:
    """[value, the delta of each float array] of the compiled program; `seed` is the delta of y."""
    arrays = tuple(np.asarray(array) for array in arrays)
    heads = [gg.input(f"x{n}", a.shape, a.dtype) for n, a in enumerate(arrays)]
    y = function(*heads)
    graph = Graph({"value": y})
    feeds = {f"x{n}": array for n, array in enumerate(arrays)}
    if y.type.is_float:
        cotangent = gg.input("seed", y.shape, y.dtype)
        feeds["seed"] = np.asarray(np.ones(y.type.sizes) if seed is None else seed, y.dtype)
        graph = gg.derive(Graph({"value": y}, names={"seed": cotangent}), y, seed=cotangent)
    deltas = [graph.delta(head) for head in heads if head.type.is_float and y.type.is_float]
    graph = graph.with_outputs({"value": y, **{f"delta{n}": d for n, d in enumerate(deltas)}})
    return list(gg.compile(graph)(**feeds).values())


# ---------------------------------------------------------------- ties and kinks


def test_a_tie_of_maximum_shares_the_delta():
    value, to_a, to_b = run(gg.maximum, [1.0, 2.0, 3.0], [1.0, 5.0, 0.0], seed=[2.0, 4.0, 6.0])
    np.testing.assert_array_equal(value, [1, 5, 3])
    np.testing.assert_array_equal(to_a, [1, 0, 6])
    np.testing.assert_array_equal(to_b, [1, 4, 0])


def test_a_tie_of_minimum_shares_the_delta():
    value, to_a, to_b = run(gg.minimum, [1.0, 2.0, 3.0], [1.0, 5.0, 0.0], seed=[2.0, 4.0, 6.0])
    np.testing.assert_array_equal(value, [1, 2, 0])
    np.testing.assert_array_equal(to_a, [1, 4, 0])
    np.testing.assert_array_equal(to_b, [1, 0, 6])


@pytest.mark.parametrize(("function", "sign"), [(gg.max, 1.0), (gg.min, -1.0)])
def test_a_tie_of_a_reduction_shares_the_delta(function, sign):
    x = sign * np.array([[3.0, 1.0, 3.0, 3.0], [0.0, 5.0, 4.0, -2.0]])
    value, delta = run(lambda x: function(x, 1), x, seed=[6.0, 7.0])
    np.testing.assert_array_equal(value, [sign * 3, sign * 5])
    np.testing.assert_array_equal(delta, [[2, 0, 2, 2], [0, 7, 0, 0]])


def test_kinks_have_the_delta_of_a_flat_side():
    assert run(gg.relu, [0.0, -1.0, 2.0])[1].tolist() == [0, 0, 1]
    assert run(gg.absolute, [0.0, -1.0, 2.0])[1].tolist() == [0, -1, 1]
    held = run(lambda x: gg.clip(x, -1.0, 1.0), [-2.0, -0.5, 0.5, 2.0])
    assert held[0].tolist() == [-1, -0.5, 0.5, 1] and held[1].tolist() == [0, 1, 1, 0]


def test_argmax_and_sign_of_ties():
    assert run(gg.argmax, [[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])[0].tolist() == [1, 0]
    x = gg.input("x", 3)
    assert evaluate(Graph(gg.sign(x)), {"x": np.array([-2.0, 0, 3])})[gg.sign(x)].tolist() == [
        -1,
        0,
        1,
    ]


def test_stop_gradient_sends_nothing_back():
    value, delta = run(lambda x: gg.stop_gradient(x) * x, [2.0, 3.0])
    assert value.tolist() == [4, 9] and delta.tolist() == [2, 3]


def test_powers_at_zero_are_polynomials():
    """x ^ 0, x ^ 1 and x ^ 2 and their derivatives have values at 0 and below."""
    for exponent, slopes in ((0.0, [0, 0, 0]), (1.0, [1, 1, 1]), (2.0, [0, -2, 4])):
        assert run(lambda x, n=exponent: x**n, [0.0, -1.0, 2.0])[1].tolist() == slopes
        heads = [0.0, -1.0, 2.0], [exponent] * 3
        assert run(gg.power, *heads)[1].tolist() == slopes


# ---------------------------------------------------------------- masks


def test_masked_softmax_rows():
    """-∞ gives exactly 0, a row of nothing else gives zeros, and no delta is NaN."""
    x = np.array([[1.0, -INFINITY, 2.0], [-INFINITY] * 3, [0.0, 0.0, -INFINITY]], np.float32)
    value, delta = run(gg.softmax, x, seed=np.arange(9.0).reshape(3, 3))
    assert value[0, 1] == 0 and value[2].tolist() == [0.5, 0.5, 0] and not value[1].any()
    assert np.isfinite(delta).all() and not delta[1].any()
    assert delta[0, 1] == 0 and np.isclose(value[0].sum(), 1)


def test_masked_log_softmax_rows():
    x = np.array([[1.0, -INFINITY, 2.0], [-INFINITY] * 3])
    value, delta = run(gg.log_softmax, x)
    np.testing.assert_allclose(np.exp(value[0]).sum(), 1)
    assert (value[1] == -INFINITY).all() and value[0, 1] == -INFINITY
    assert not np.isnan(delta).any()


def test_logsumexp_of_infinities():
    x = np.array([[1.0, -INFINITY, 2.0], [-INFINITY] * 3, [0.0, INFINITY, 1.0]])
    value, _ = run(lambda x: gg.logsumexp(x, 1), x)
    assert value[1] == -INFINITY and value[2] == INFINITY
    np.testing.assert_allclose(value[0], np.log(np.exp(1) + np.exp(2)))


@pytest.mark.parametrize("low", [-1e30, -1e4])
def test_softmax_of_extreme_logits(low):
    value, delta = run(gg.softmax, np.array([low, 0.0, -low], np.float32))
    assert value.tolist() == [0, 0, 1] and delta.tolist() == [0, 0, 0]
    assert run(gg.logsumexp, np.array([low, 0.0, -low]))[0] == -low


# ---------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_cross_entropy_against_its_formula(smoothing, dtype):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4, 5, 7)) * 3
    targets = generator.integers(0, 7, (4, 5)).astype(dtype)
    targets[1, 2:] = 3
    value, delta = run(lambda x, t: gg.cross_entropy(x, t, smoothing, ignored=3), logits, targets)
    counted = targets != 3
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    q = (1 - smoothing) * np.eye(7)[targets] + smoothing / 7
    assert (~counted).any()
    np.testing.assert_allclose(value, np.where(counted, -(q * np.log(p)).sum(-1), 0), 1e-12)
    np.testing.assert_allclose(delta, (p - q) * counted[..., None], 1e-10, 1e-12)
    assert not value[~counted].any() and not delta[~counted].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_against_torch(smoothing):
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(12, 9)) * 10
    targets = generator.integers(0, 9, 12).astype("int64")
    targets[::5] = -1
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        x, torch.tensor(targets), ignore_index=-1, reduction="sum", label_smoothing=smoothing
    )
    loss.backward()
    value, delta = run(lambda x, t: gg.sum(gg.cross_entropy(x, t, smoothing)), logits, targets)
    np.testing.assert_allclose(value, loss.detach().numpy(), 1e-12)
    np.testing.assert_allclose(delta, x.grad.numpy(), 1e-10, 1e-12)


def test_mean_over_targets_counts_only_those():
    losses, targets = np.array([1.0, 2.0, 4.0]), np.array([5, 0, 6], np.int32)
    value, delta = run(
        lambda x, t: gg.mean_over_targets(x, t, ignored=0), losses * [1, 0, 1], targets
    )
    assert value == 2.5 and delta.tolist() == [0.5, 0.5, 0.5]


def test_a_target_outside_the_vocabulary_is_refused_when_it_runs():
    for bad in (7, -2):
        with pytest.raises(DataError, match=r"cross_entropy: an index lies outside \[0, 3\)"):
            run(gg.cross_entropy, np.zeros((1, 3)), np.array([bad], np.int32))
        with pytest.raises(DataError, match="gather"):
            run(gg.gather, np.zeros((3, 2)), np.array([bad], np.int32))
        with pytest.raises(DataError, match="take_along_axis"):
            run(gg.take_along_axis, np.zeros(3), np.array([bad], np.int32))


# ---------------------------------------------------------------- extremes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", FLOAT_ELEMENTWISE, ids=lambda operation: operation.name)
def test_extreme_elements(operation, dtype):
    """The program has the reference's infinities and NaNs, in values and in deltas."""
    points = np.array(list(itertools.product(EXTREMES, repeat=operation.arity)), dtype).T
    heads = [gg.input(f"x{n}", row.shape, dtype) for n, row in enumerate(points)]
    y = operation.node(*heads)
    graph = Graph({"value": y})
    if y.type.is_float and operation.delta is not None:
        graph = gg.derive(Graph({"value": y, "sum": gg.sum(y)}), "sum")
        graph = graph.with_outputs(
            {"value": y, **{f"delta{n}": graph.delta(h) for n, h in enumerate(heads)}}
        )
    feeds = {f"x{n}": row for n, row in enumerate(points)}
    reference = evaluate(graph, feeds)
    for name, found in gg.compile(graph)(**feeds).items():
        np.testing.assert_allclose(found, reference[graph.outputs[name]], 1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("operation", "at_minus", "at_plus"),
    [
        (gg.sigmoid, 0, 1),
        (gg.tanh, -1, 1),
        (gg.erf, -1, 1),
        (gg.relu, 0, 1e30),
        (gg.softplus, 0, 1e30),
        (gg.gelu, 0, 1e30),
        (gg.gelu_tanh, 0, 1e30),
        (gg.silu, 0, 1e30),
        (gg.expm1, -1, None),
        (gg.exp, 0, None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_functions_far_out(operation, at_minus, at_plus, dtype):
    """They saturate or grow without NaN, and so do their deltas."""
    value, delta = run(operation, np.array([-1e30, 1e30], dtype))
    assert value[0] == at_minus
    if at_plus is not None:
        assert value[1] == np.dtype(dtype).type(at_plus)
        assert delta[1] == (1 if at_plus == 1e30 else 0)
    assert delta[0] == 0


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (1, 1), (3, 0), (5, 3, 1)], ids=str)
@pytest.mark.parametrize("operation", FLOAT_ELEMENTWISE, ids=lambda operation: operation.name)
def test_elementwise_operations_of_any_shape(operation, shape):
    generator = np.random.default_rng(0)
    arrays = [generator.uniform(0.5, 2, shape) for _ in range(operation.arity)]
    heads = [gg.input(f"x{n}", shape, "float64") for n in range(operation.arity)]
    y = operation.node(*heads)
    assert y.shape == shape
    feeds = {f"x{n}": array for n, array in enumerate(arrays)}
    found = gg.compile(Graph({"y": y}))(**feeds)["y"]
    np.testing.assert_allclose(found, evaluate(Graph(y), feeds)[y], 1e-14)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 7)], ids=str)
def test_sums_and_products_of_empty_and_single_rows(shape):
    x = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(run(lambda x: gg.sum(x, 1), x)[0], x.sum(1))
    assert run(gg.sum, x)[1].shape == shape
    value, to_x, to_w = run(gg.matmul, x, np.ones((shape[1], 2)))
    np.testing.assert_allclose(value, x @ np.ones((shape[1], 2)))
    assert to_x.shape == shape and to_w.shape == (shape[1], 2)
    stacked = np.broadcast_to(x, (2, *shape))
    value, _, to_w = run(gg.matmul, stacked, np.ones((shape[1], 2)))
    np.testing.assert_allclose(to_w, np.ones((shape[1], 2)) * 2 * x.sum(0)[:, None])


def test_slices_of_nothing_have_deltas_of_deltas():
    x = gg.input("x", 4, "float64")
    y = gg.sum(gg.slice(x, slice(2, 2, 2)))
    graph = gg.derive(Graph({"y": y}), y)
    total = gg.sum(graph.delta("x") * x)
    second = gg.derive(Graph({"total": total}), "total", [x])
    assert evaluate(second, {"x": np.ones(4)})[second.delta(x)].tolist() == [0, 0, 0, 0]


# ---------------------------------------------------------------- refusals


X, N, B = (
    gg.input(name, (2, 3), dtype)
    for name, dtype in (("x", "float32"), ("n", "int32"), ("b", "bool"))
)
REFUSALS = {
    "axis of softmax": (lambda: gg.softmax(X, 5), "axis 5 of a value with 2 axes"),
    "axis of sum": (lambda: gg.sum(X, 2), "axis 2 of a value with 2 axes"),
    "axis twice": (lambda: gg.sum(X, (1, -1)), "named twice"),
    "axis of argmax": (lambda: gg.argmax(X, -3), "axis -3"),
    "axes of transpose": (lambda: gg.transpose(X, (0, 0)), "not an order"),
    "axis of concatenate": (lambda: gg.concatenate([X, X], 2), "axis 2"),
    "nothing to join": (lambda: gg.concatenate([]), "at least one value"),
    "shapes to join": (lambda: gg.concatenate([X, X[:1]], 1), "does not join"),
    "dtype of cast": (lambda: gg.cast(X, "uint8"), "uint8 is not one of"),
    "no dtype": (lambda: gg.cast(X, "flout32"), "flout32"),
    "elements of reshape": (lambda: gg.reshape(X, (4, 2)), r"\[2, 3\] has 6 elements"),
    "rest of reshape": (lambda: gg.reshape(X, (4, -1)), "6 is not always divisible by 4"),
    "two rests": (lambda: gg.reshape(X, (-1, -1)), "negative"),
    "size of squeeze": (lambda: gg.squeeze(X, 0), "size 2, not 1"),
    "broadcast": (lambda: gg.broadcast_to(X, (3, 3)), "differ and neither is 1"),
    "parts of split": (lambda: gg.split(X, [1, 1]), "do not add up to 3"),
    "split into unequal": (lambda: gg.split(X, 2), "divisible"),
    "split into none": (lambda: gg.split(X, -1), "into -1 parts"),
    "widths of pad": (lambda: gg.pad(X, [(1, 1)]), "for each of 2 axes"),
    "negative pad": (lambda: gg.pad(X, [(0, 0), (-1, 0)]), "cannot be negative"),
    "index": (lambda: X[2], "index 2 of an axis of size 2"),
    "too many indices": (lambda: X[0, 0, 0], "3 indices for 2 axes"),
    "node as index": (lambda: X[N], "gather"),
    "step": (lambda: X[::-1], "positive step"),
    "outside": (lambda: X[1:1, 5:], "is not within"),
    "inner sizes": (lambda: X @ X, r"inner sizes 3 and 2 differ"),
    "scalar product": (lambda: gg.sum(X) @ X, "a scalar has no rows"),
    "integers in exp": (lambda: gg.exp(N), "needs floats, not int32"),
    "bool in a sum": (lambda: gg.sum(B), "needs numbers, not bool"),
    "bool in an addition": (lambda: B + B, "needs numbers, not bool"),
    "number in logic": (lambda: gg.logical_and(B, N), "needs bool"),
    "floats as indices": (lambda: gg.gather(X, X), "indices must be integers"),
    "dtypes": (lambda: X + N, "float32 and int32 do not mix"),
    "float and integer": (lambda: N + 0.5, "the number 0.5 meets a node of dtype int32"),
    "too large": (lambda: X + 1e300, "overflow"),
    "too large an integer": (lambda: N + 2**40, "constant"),
    "no value": (lambda: X + "1", "takes nodes, numbers and arrays, not str"),
    "no scalar seed": (lambda: gg.dropout_mask(N, N, (2,), 0.5, 1), "must be scalars"),
    "rate": (lambda: gg.dropout_mask(gg.constant(1), gg.constant(1), (2,), 1.0, 1), r"\[0, 1\)"),
    "smoothing": (lambda: gg.cross_entropy(X, N[:, 0], 1.0), r"\[0, 1\)"),
    "rows of logits": (lambda: gg.cross_entropy(X, N), "one row of logits for every target"),
    "empty maximum": (lambda: gg.max(X[:, :0], 1), "no largest"),
    "empty softmax": (lambda: gg.softmax(X[:, :0]), "size 0"),
    "negative iota": (lambda: gg.iota(-1), "negative"),
    "heads": (lambda: gg.exp(X, X), r"takes 1 head\(s\), not 2"),
    "truth value": (lambda: bool(X), "no truth value"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_declaration_names_the_reason_and_this_line(name):
    function, reason = REFUSALS[name]
    with pytest.raises(DeclarationError, match=reason) as caught:
        function()
    place = caught.value.where
    line = function.__code__.co_firstlineno
    assert __file__ in place and place.endswith(f":{line}")


def test_a_choice_of_numbers_has_their_dtype():
    for a, b, dtype in ((1.5, 0.0, "float32"), (3, 4, "int32"), (True, False, "bool")):
        assert gg.where(B, a, b).dtype == dtype
    assert gg.where(B, gg.cast(X, FLOAT64), 0.0).dtype == FLOAT64


def test_numbers_take_the_dtype_of_the_node_they_meet():
    assert (X * 2).dtype == "float32" and (2 - N).dtype == "int32"
    assert (gg.cast(X, "float64") / 3).dtype == "float64"
    assert gg.constant(np.float64(0.5)).dtype == "float64"
    assert (X * np.float64(2)).dtype == "float32"
