"""The public functions take what NumPy's take: arrays, integers of any kind, negative axes.

NumPy is the oracle for axes; for the rest, the same call with Python's own integers must give the
very same node.
"""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from scipy import special

import graphgrad as gg
from graphgrad import Graph, Node, ops
from graphgrad.errors import DeclarationError
from graphgrad.graph.node import TypedOperation
from graphgrad.ops.evaluate import evaluate

VALUES = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")
X = gg.input("x", (2, 3, 4))
I64, U8 = np.int64, np.uint8


def value(node: Node) -> np.ndarray:
    graph = Graph({"y": node})
    return evaluate(graph, {"x": VALUES} if graph.inputs else {})[node]


# ---------------------------------------------------------------- axes are NumPy's


REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "variance": np.var,
    "max": np.max,
    "min": np.min,
    "logsumexp": special.logsumexp,
}
AXES = (None, 0, -1, I64(1), U8(2), (0, 2), (-1, I64(0)), [1, 2], (0, 1, 2), (1,))


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("keepdims", [False, True, np.bool_(True), 1], ids=repr)
def test_reductions_have_numpys_axes(name, axis, keepdims):
    node = getattr(gg, name)(X, axis=axis, keepdims=keepdims)
    plain = axis if axis is None or np.ndim(axis) == 0 else tuple(axis)
    expected = REDUCTIONS[name](VALUES.astype("f8"), axis=plain, keepdims=bool(keepdims))
    assert node.shape == np.shape(expected)
    np.testing.assert_allclose(value(node), expected, 2e-5, 1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, I64(-2), U8(0)], ids=repr)
@pytest.mark.parametrize("keepdims", [False, True])
def test_argmax_has_numpys_axes(axis, keepdims):
    expected = np.argmax(VALUES, axis=axis, keepdims=keepdims)
    for dtype in ("int32", "int64"):
        node = gg.argmax(X, axis, keepdims, dtype)
        assert node.dtype == dtype and node.shape == expected.shape
        np.testing.assert_array_equal(value(node), expected)
    y = gg.input("x", ("n", 3, 4))
    found = gg.compile(Graph({"y": gg.argmax(y, axis, keepdims)}))(x=VALUES)["y"]
    np.testing.assert_array_equal(found, expected)


PAIR = (X, X * 2.0)
VALUES2 = VALUES * 2


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, I64(1), U8(2)], ids=repr)
def test_what_moves_along_an_axis(axis):
    for node, expected in (
        (gg.concatenate(PAIR, axis), np.concatenate([VALUES, VALUES2], axis)),
        (gg.concatenate(iter(PAIR), axis=axis), np.concatenate([VALUES, VALUES2], axis)),
        (gg.stack(PAIR, axis=axis), np.stack([VALUES, VALUES2], axis)),
        (gg.stack([X, VALUES2], -1), np.stack([VALUES, VALUES2], -1)),
        (gg.softmax(X, axis=axis), special.softmax(VALUES, axis)),
        (gg.log_softmax(X, axis), special.log_softmax(VALUES, axis)),
        (gg.expand_dims(X, axis), np.expand_dims(VALUES, axis)),
        (
            gg.expand_dims(X, (axis, 3)) if axis != -1 else X * 1.0,
            np.expand_dims(VALUES, (axis, 3)) if axis != -1 else VALUES,
        ),
        (gg.squeeze(gg.sum(X, axis, True), axis), VALUES.sum(axis)),
        (gg.squeeze(gg.sum(X, axis, True)), VALUES.sum(axis)),
        (gg.split(X, 1, axis)[0] * 1.0, VALUES),
        (
            gg.split(X, [I64(1), I64(VALUES.shape[axis] - 1)], axis)[1],
            np.split(VALUES, [1], axis)[1],
        ),
        (
            gg.take_along_axis(X, np.zeros((1, 1, 1), "i8"), axis),
            np.take_along_axis(VALUES, np.zeros((1, 1, 1), "i8"), axis),
        ),
    ):
        assert node.shape == expected.shape
        np.testing.assert_allclose(value(node), expected, 1e-5, 1e-6)


WRONG_AXES = {
    "sum": lambda axis: gg.sum(X, axis),
    "mean": lambda axis: gg.mean(X, (0, axis)),
    "softmax": lambda axis: gg.softmax(X, axis),
    "argmax": lambda axis: gg.argmax(X, axis),
    "log_softmax": lambda axis: gg.log_softmax(X, axis),
    "concatenate": lambda axis: gg.concatenate(PAIR, axis),
    "stack": lambda axis: gg.stack(PAIR, axis),
    "split": lambda axis: gg.split(X, 1, axis),
    "expand_dims": lambda axis: gg.expand_dims(X, axis),
    "squeeze": lambda axis: gg.squeeze(X, axis),
    "transpose": lambda axis: gg.transpose(X, (0, 1, axis)),
    "take": lambda axis: gg.take_along_axis(X, np.zeros((1, 1, 1), "i8"), axis),
}


@pytest.mark.parametrize("axis", [1.0, "1", True, np.float32(1), 7, -9], ids=repr)
@pytest.mark.parametrize("name", WRONG_AXES)
def test_what_is_no_axis_is_refused_by_its_function(name, axis):
    with pytest.raises(DeclarationError, match=r"\(.*x: float32\[2, 3, 4\]") as caught:
        WRONG_AXES[name](axis)
    assert "axis" in caught.value.problem and __file__ in caught.value.where


@pytest.mark.parametrize(
    "name", ["softmax", "log_softmax", "concatenate", "stack", "split", "expand_dims", "take"]
)
def test_none_is_an_axis_of_reductions_only(name):
    with pytest.raises(DeclarationError, match="an axis is an integer, not None"):
        WRONG_AXES[name](None)


@pytest.mark.parametrize("keepdims", [2, "yes", None, (1,)])
def test_keepdims_is_yes_or_no(keepdims):
    with pytest.raises(DeclarationError, match="keepdims is True or False"):
        gg.sum(X, 0, keepdims)


# ---------------------------------------------------------------- integers of any kind


N, V = gg.input("n", (3,), "int32"), gg.input("v", (6,))
SAME = {
    "slice": lambda i: V[i(1) : i(5) : i(2)],
    "index": lambda i: V[i(4)],
    "negative index": lambda i: X[i(-1), i(0) : i(-1)],
    "pad": lambda i: gg.pad(V, [(i(1), i(2))]),
    "reshape": lambda i: gg.reshape(V, (i(2), i(3))),
    "one size": lambda i: gg.reshape(X, i(24)),
    "what is left": lambda i: gg.reshape(V, (i(-1), i(3))),
    "broadcast": lambda i: gg.broadcast_to(V, (i(2), i(6))),
    "transpose": lambda i: gg.transpose(X, (i(2), i(0), i(-2))),
    "split": lambda i: gg.split(V, i(3))[1],
    "parts": lambda i: gg.split(V, [i(2), i(4)])[1],
    "one hot": lambda i: gg.one_hot(N, i(4)),
    "iota": lambda i: gg.iota(i(5)) * 1,
    "scatter": lambda i: gg.scatter_add(N, N * 1, i(4)),
    "put": lambda i: gg.put_along_axis(N, N * 1, i(4), i(-1)),
    "ignored": lambda i: gg.cross_entropy(X[0], N, ignored=i(0)),
    "dropout": lambda i: gg.dropout_mask(1, 2, (i(3),), 0.5, i(7)),
    "dimension": lambda i: gg.broadcast_to(gg.sum(V), (i(2) * gg.dimension("n") + i(1),)),
}


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int8])
@pytest.mark.parametrize("name", SAME)
def test_an_integer_of_numpys_is_an_integer(name, kind):
    node = SAME[name](kind)
    assert node is SAME[name](int)
    feeds = {"x": VALUES, "v": np.arange(6.0), "n": np.arange(3)}
    graph = Graph({"y": node})
    if not any(isinstance(size, gg.Dimension) for size in node.shape):
        gg.compile(graph)(**{name: feeds[name] for name in graph.inputs})


REFUSED = {
    "two ellipses": (lambda: V[..., ...], "once only"),
    "an array": (lambda: V[np.array([0, 1])], "not ndarray"),
    "a list": (lambda: V[[0, 1]], "not list"),
    "a mask": (lambda: V[V > 0], "not Node"),
    "a node as a bound": (lambda: V[: N[0]], "not Node"),
    "a float": (lambda: V[1.0], "not 1.0"),
    "a float as a bound": (lambda: V[1.0:], "a slice's start is an integer"),
    "a float as a step": (lambda: V[::1.5], "a slice's step is an integer"),
    "a truth value": (lambda: V[True], "not True"),
    "nothing there": (lambda: gg.input("empty", 0)[-1], "index -1 of an axis of size 0"),
    "before the first": (lambda: V[-7], "index -7 of an axis of size 6"),
    "a start before the first": (lambda: V[-7:], "-7 is before the first element"),
    "a stop before the first": (lambda: V[:-7], "-7 is before the first element"),
    "a scalar product": (lambda: V @ 2.0, "a scalar has no rows"),
    "a scalar before": (lambda: 2.0 @ X, "a scalar has no rows"),
    "floats in one_hot": (lambda: gg.one_hot(V, 3), "indices must be integers"),
    "a node to join": (lambda: gg.concatenate(X), "several values in a list"),
    "shapes to stack": (lambda: gg.stack([V, X]), "one shape"),
    "size of squeeze": (lambda: gg.squeeze(X, 1), "axis 1 has size 3"),
    "width of pad": (lambda: gg.pad(V, [(1.5, 0)]), "a size is an integer"),
    "widths of pad": (lambda: gg.pad(V, [(1, 1, 1)]), "two widths"),
    "negative stream": (lambda: gg.dropout_mask(1, 2, (3,), 0.5, -1), "from 0 to 2³²"),
    "large stream": (lambda: gg.dropout_mask(1, 2, (3,), 0.5, 2**32), "from 0 to 2³²"),
    "stream": (lambda: gg.dropout_mask(1, 2, (3,), 0.5, 1.5), "a stream is an integer"),
    "rate": (lambda: gg.dropout_mask(1, 2, (3,), "0.5", 1), "a rate is a finite number"),
    "epsilon": (lambda: gg.standardise(X, None), "epsilon is a finite number"),
    "ignored": (lambda: gg.cross_entropy(X[0], N, ignored=1.5), "ignored target is an integer"),
    "smoothing": (lambda: gg.cross_entropy(X[0], N, np.nan), "label smoothing is a finite"),
    "an attribute": (lambda: gg.tanh(X, axis=1), "there is no argument 'axis'"),
    "a name": (lambda: gg.tanh(X + 5.0, name=5), "a name is text, not 5"),
    "heads of with_delta": (lambda: gg.with_delta(X, X, lambda d, y, x: (d,)), r"write \(x,\)"),
    "a list of numbers": (lambda: V * [1.0] * 6, "not list"),
    "text": (lambda: gg.sum("x"), "sum takes nodes, numbers and arrays, not str"),
    "nothing": (lambda: gg.softmax(None), "softmax takes nodes, numbers and arrays"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_one_clear_error(name):
    function, reason = REFUSED[name]
    with pytest.raises(DeclarationError) as caught:
        function()
    assert re.search(reason, str(caught.value))
    assert __file__ in caught.value.where


# ---------------------------------------------------------------- arrays in every place of a node


PUBLIC = [
    each
    for each in map(ops.__dict__.get, ops.__all__)
    if inspect.isfunction(each) or isinstance(each, TypedOperation)
]
ARGUMENTS = {
    "indices": np.zeros(3, "i4"),
    "targets": np.zeros(2, "i4"),
    "values": np.zeros(3, "i4"),
    "rows": np.zeros((3, 2)),
    "table": np.zeros((3, 2)),
    "y": np.zeros(1),
    "logits": np.zeros((2, 3)),
    "losses": np.zeros(2),
    "size": 4,
    "depth": 4,
    "axis": 0,
    "dtype": "float64",
    "low": 0.0,
    "high": 1.0,
    "ignored": 0,
    "key": 0,
    "shape": (1,),
    "widths": [(1, 1)],
    "sections": 1,
    "k": 1,
    "rate": 0.5,
    "stream": 1,
    "seed": 1,
    "step": 2,
    "truth": np.zeros(1),
    "a": np.ones((1, 1)),
    "b": np.ones((1, 1)),
    "heads": (),
    "rule": lambda delta, y: (),
}


@pytest.mark.parametrize("function", PUBLIC, ids=lambda f: f.__name__)
def test_every_function_takes_arrays_for_nodes(function):
    """By place and by name; the values are those of the same call on constants."""
    parameters = inspect.signature(function).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty or p.name in ("a", "b")]
    given = {name: ARGUMENTS.get(name, np.ones(1)) for name in wanted}
    if function is gg.write_rows:
        given = {"x": np.ones((2, 3)), "rows": np.ones((2, 1)), "places": np.zeros((2, 1), "i4")}
    if function is gg.dot_product_attention:
        given = {name: np.ones((2, 3)) for name in wanted}
    if function is gg.all_gather:
        given["x"] = np.ones(4)
    if function in (gg.concatenate, gg.stack):
        given["values"] = [np.zeros(2), np.zeros(2)]
    nodes = {p.name for p in parameters if p.annotation == "Node"}
    constants = {name: gg.constant(item) if name in nodes else item for name, item in given.items()}
    by_name, by_place = function(**given), function(*given.values())
    if function is not gg.with_delta:  # whose rule makes each call its own
        assert by_name == by_place == function(**constants)
    for node in by_name if isinstance(by_name, tuple) else [by_name]:
        assert isinstance(node, Node)


def test_a_size_is_a_number_beside_nodes():
    """The mean over an open axis, written as people write it."""
    x = gg.input("x", ("batch", 3))
    batch = x.shape[0]
    means = {
        "divided": gg.sum(x, 0) / batch,
        "first": gg.sum(x / batch, 0),
        "left": gg.sum(1.0 / gg.extent(batch) * x, 0),
        "twice": gg.sum(batch * x, 0) / batch / batch,
    }
    array = VALUES[0, :, :3]
    found = gg.compile(Graph({**means, "count": batch * gg.iota("batch")}))(x=array)
    for name in means:
        np.testing.assert_allclose(found[name], array.mean(0), 1e-5)
    np.testing.assert_array_equal(found["count"], [0, 3, 6])


def test_an_accuracy_is_one_line():
    logits, ids = gg.input("x", ("n", 4)), gg.input("ids", ("n",), "int32")
    accuracy = gg.mean(gg.cast(gg.equal(gg.argmax(logits), ids), "float32"))
    truth = np.array([0, 1, 2])
    found = gg.compile(Graph({"y": accuracy}))(x=VALUES[0], ids=truth)["y"]
    assert found == np.float32((VALUES[0].argmax(1) == truth).mean())
    assert gg.argmax(logits).dtype == gg.iota("n").dtype == gg.constant(1).dtype


@pytest.mark.parametrize(
    ("shape", "indices"), [((3, 5), (1, 2)), ((1, 5), (3, 2)), ((3, 5), (3, 2))]
)
def test_indices_along_an_axis_broadcast_as_numpys(shape, indices):
    x, i = gg.input("x", shape, "float64"), gg.input("i", indices, "int32")
    y = gg.take_along_axis(x, i, 1)
    array, places = np.random.default_rng(0).normal(size=shape), np.array([[4, 1]] * indices[0])
    wide = np.broadcast_shapes(shape[:1], indices[:1])
    expected = np.take_along_axis(
        np.broadcast_to(array, (*wide, 5)), np.broadcast_to(places, (*wide, 2)), 1
    )
    graph = gg.derive(Graph({"loss": gg.sum(y * y), "y": y}), "loss", [x])
    found = gg.compile(graph, [graph.delta(x)])(x=array, i=places)
    np.testing.assert_array_equal(found["y"], expected)
    delta = np.zeros((*wide, 5))
    for row in range(wide[0]):
        for column in range(2):
            place = int(np.broadcast_to(places, (*wide, 2))[row, column])
            delta[row, place] += 2 * expected[row, column]
    found_delta = next(array for name, array in found.items() if name.startswith("x.delta"))
    np.testing.assert_allclose(found_delta, delta.sum(0, keepdims=True) if shape[0] == 1 else delta)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_bad_index_is_named_after_what_was_declared(fuse):
    """Where the delta alone is computed, the index meets what the delta is made of."""
    table, i = gg.input("table", (5, 3)), gg.input("i", 4, "int32")
    t = gg.input("t", (4, 1), "int32")
    x = gg.input("x", (4, 3))
    loss = gg.sum(gg.gather(table, i)) + gg.sum(gg.take_along_axis(x, t))
    graph = gg.derive(Graph({"loss": loss}), "loss")
    for leaf, feed, declared in ((table, "i", "gather"), (x, "t", "take_along_axis")):
        compiled = gg.compile(Graph({"d": graph.delta(leaf)}), fuse=fuse)
        with pytest.raises(gg.GraphgradError, match=declared):
            compiled(**{feed: np.full(i.shape if feed == "i" else t.shape, 9)})


def test_a_function_of_steps_has_the_delta_zero():
    """As torch and JAX have it: d/dx of sign(x) · x is sign x, of sign(x) alone 0."""
    x = gg.input("x", (3,), "float64")
    for node, right in (
        (gg.sign(x) * x, [-1.0, 0, 1]),
        (gg.sign(x), [0.0, 0, 0]),
        (gg.tanh(gg.sign(x)) * x, np.tanh([-1.0, 0, 1])),
    ):
        graph = gg.derive(Graph({"loss": gg.sum(node)}), "loss")
        delta = evaluate(graph, {"x": np.array([-2.0, 0.0, 3.0])})[graph.delta("x")]
        np.testing.assert_allclose(delta, right)


def test_a_name_that_is_asked_for_is_there():
    x = gg.input("x", (2, 3))
    assert "same" in gg.cast(x, "float32", name="same").names
    named = {
        "r": gg.reshape(x, (2, 3), name="r"),
        "s": gg.slice(x, ..., name="s"),
        "q": gg.squeeze(x, name="q"),
        "m": gg.matmul(x, np.ones(3), name="m"),
        "a": gg.argmax(x, keepdims=True, name="a"),
    }
    for name, node in named.items():
        assert name in node.names
