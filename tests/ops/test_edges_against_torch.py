"""Every elementwise operation at the edges of its floats, beside PyTorch: values and deltas.

The points are ±0, ±1, the smallest and largest floats, ±∞ and NaN, and all pairs of them for
operations of two values. `EXCEPTIONS` names every point at which the two differ, with the reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node, Operation
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate

torch = pytest.importorskip("torch")
functional = torch.nn.functional

TORCH: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "negative": torch.negative,
    "reciprocal": torch.reciprocal,
    "absolute": torch.abs,
    "sign": torch.sign,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "is_finite": torch.isfinite,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "power": torch.pow,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
}

NO_COUNTERPART = {
    "clip": "tested below: its bounds are held, too",
    "where": "tested by its own suite: it moves values and computes nothing",
    "cast": "tested below: what does not fit an integer is defined here",
    "identity": "the value itself",
    "stop_gradient": "the value itself",
    "logical_and": "of truth values",
    "logical_or": "of truth values",
    "logical_not": "of truth values",
}

NAN, INFINITY = np.nan, np.inf


def points_of(dtype: str) -> list[float]:
    limits = np.finfo(dtype)
    tiny, large = float(limits.smallest_subnormal), float(limits.max)
    middle = 1e30 if dtype == "float32" else 1e200
    return [
        0.0,
        -0.0,
        tiny,
        -tiny,
        1.0,
        -1.0,
        0.5,
        middle,
        -middle,
        large,
        -large,
        INFINITY,
        -INFINITY,
        NAN,
    ]


def is_nan(*points: np.ndarray) -> np.ndarray:
    return np.any(np.isnan(points), 0)


def is_large(x: np.ndarray) -> np.ndarray:
    return np.abs(x) > 1e19


EXCEPTIONS: dict[tuple[str, str], tuple[Callable[..., np.ndarray], str]] = {
    ("sign", "value"): (is_nan, "NaN has no sign: NaN, as in NumPy; PyTorch says 0"),
    ("gelu", "value"): (is_large, "x or 0, its limits; PyTorch's is ∞ or NaN"),
    ("gelu_tanh", "delta0"): (is_large, "1 or 0, its limits; PyTorch's is NaN where x² overflows"),
    ("absolute", "delta0"): (is_nan, "NaN, as the value; PyTorch's is 0"),
    ("relu", "delta0"): (is_nan, "0: NaN is not above 0; PyTorch's is 1"),
    ("power", "delta1"): (
        lambda x, e: ~(x >= 0),
        "a base without a logarithm: 0; PyTorch's is NaN",
    ),
    **{
        (name, delta): (is_nan, "NaN beats and loses to nothing: 0; PyTorch gives both sides δ")
        for name in ("maximum", "minimum")
        for delta in ("delta0", "delta1")
    },
}
"""Where the two differ on purpose, and why."""

SIGNS_THAT_DIFFER = {"relu": "max(0, -0) is either of the two"}


def compared(operation: Operation, dtype: str) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The points, and (graphgrad's, PyTorch's) value and deltas by name."""
    points = points_of(dtype)
    grid = [
        np.array(p, dtype)
        for p in zip(*itertools.product(points, repeat=operation.arity or 0), strict=True)
    ]
    heads = [gg.input(f"x{n}", array.shape, dtype) for n, array in enumerate(grid)]
    y = operation.node(*heads)
    graph = Graph({"value": y})
    floats = y.type.is_float
    if floats:
        graph = gg.derive(Graph({"value": y, "total": gg.sum(y)}), "total")
        deltas = {f"delta{n}": graph.delta(head) for n, head in enumerate(heads)}
        graph = graph.with_outputs({"value": y, **deltas})
    feeds = {f"x{n}": array for n, array in enumerate(grid)}
    reference = evaluate(graph, feeds)
    tensors = [torch.tensor(array, requires_grad=floats) for array in grid]
    result = TORCH[operation.name](*tensors)
    theirs = {"value": result.detach().numpy()}
    if floats:
        result.sum().backward()
        theirs |= {f"delta{n}": tensor.grad.numpy() for n, tensor in enumerate(tensors)}
    found = {name: (reference[node], theirs[name]) for name, node in graph.outputs.items()}
    return grid, found


ELEMENTWISE = [o for o in ALL_OPERATIONS if o.kernel and o.name not in NO_COUNTERPART]


def test_every_elementwise_operation_has_a_counterpart_or_a_reason():
    assert {o.name for o in ELEMENTWISE} == TORCH.keys()
    assert {o.name for o in ALL_OPERATIONS if o.kernel} == TORCH.keys() | NO_COUNTERPART.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", ELEMENTWISE, ids=lambda operation: operation.name)
def test_values_and_deltas_at_the_edges(operation, dtype):
    grid, found = compared(operation, dtype)
    for name, (ours, theirs) in found.items():
        differs, _ = EXCEPTIONS.get((operation.name, name), (None, ""))
        kept = np.ones(len(grid[0]), bool) if differs is None else ~differs(*grid)
        tolerance = 2e-6 if dtype == "float32" else 1e-12
        smallest = float(np.finfo(dtype).smallest_normal)  # PyTorch may flush what is below
        np.testing.assert_allclose(ours[kept], theirs[kept], tolerance, smallest, err_msg=name)
        zeros = kept & (ours == 0) & (theirs == 0)
        if name == "value" and operation.name not in SIGNS_THAT_DIFFER:
            np.testing.assert_array_equal(np.signbit(ours[zeros]), np.signbit(theirs[zeros]))


@pytest.mark.parametrize("key", EXCEPTIONS, ids="-".join)
def test_an_exception_is_one(key):
    """No entry stands in the table for nothing."""
    name, part = key
    operation = next(operation for operation in ELEMENTWISE if operation.name == name)
    grid, found = compared(operation, "float32")
    ours, theirs = found[part]
    differs = EXCEPTIONS[key][0](*grid)
    assert not np.allclose(ours[differs], theirs[differs], 2e-6, equal_nan=True)


LIMITS = {
    gg.gelu: (
        [-INFINITY, -1e30, -3.4e38, 3.4e38, INFINITY],
        [NAN, 0, 0, 3.4e38, INFINITY],
        [NAN, 0, 0, 1, NAN],
    ),
    gg.gelu_tanh: (
        [-INFINITY, -1e30, -3.4e38, 3.4e38, INFINITY],
        [NAN, 0, 0, 3.4e38, INFINITY],
        [0, 0, 0, 1, 1],
    ),
}


@pytest.mark.parametrize("operation", LIMITS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("fuse", [False, True])
def test_the_activations_far_out(operation, fuse):
    points, values, slopes = (np.array(row, "float32") for row in LIMITS[operation])
    copies = 1024  # enough for a kernel
    value, delta = deltas_of(operation, np.tile(points, copies), fuse=fuse)
    np.testing.assert_array_equal(value[:5], values)
    np.testing.assert_array_equal(delta[:5], slopes)
    assert value.shape == (5 * copies,)


def deltas_of(function: Callable[..., Node], x: np.ndarray, fuse: bool = False) -> Any:
    """The value of a function of one array, and what a sum of it sends back."""
    head = gg.input("x", x.shape, x.dtype)
    y = function(head)
    graph = gg.derive(Graph({"y": y, "total": gg.sum(y)}), "total")
    return gg.compile(graph.with_outputs({"y": y, "d": graph.delta("x")}), fuse=fuse)(x=x).values()


def test_clip_holds_at_its_bounds():
    x = np.array([-INFINITY, -2, -1, -0.5, 0.5, 1, 2, INFINITY, NAN])
    value, delta = deltas_of(lambda x: gg.clip(x, -1.0, 1.0), x)
    np.testing.assert_array_equal(value, np.clip(x, -1, 1))
    np.testing.assert_array_equal(delta, [0, 0, 0, 1, 1, 0, 0, 0, 1])  # NaN is not held
    np.testing.assert_array_equal(value, torch.tensor(x).clamp(-1, 1).numpy())
    value, delta = deltas_of(lambda x: gg.clip(x, 1.0, 1.0), np.array([0.0, 1.0, 2.0]))
    assert value.tolist() == [1, 1, 1] and delta.tolist() == [0, 0, 0]


def test_what_clip_holds_back_goes_to_the_bound():
    """Also where the bounds cross: every δ arrives at exactly one of the three."""
    points = [-2.0, -1.0, -0.0, 0.5, 1.0, 3.0]
    grid = np.array(list(itertools.product(points, repeat=3))).T
    heads = [gg.input(name, grid.shape[1:], "float64") for name in ("x", "low", "high")]
    y = gg.clip(*heads)
    graph = gg.derive(Graph({"y": y, "total": gg.sum(y)}), "total")
    feeds = dict(zip(("x", "low", "high"), grid, strict=True))
    values = evaluate(graph, feeds)
    deltas = [values[graph.delta(head)] for head in heads]
    np.testing.assert_array_equal(sum(deltas), 1)
    np.testing.assert_array_equal(sum(d * h for d, h in zip(deltas, grid, strict=True)), values[y])


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("wanted", ["int32", "int64"])
def test_a_cast_to_integers_is_defined_everywhere(given, wanted):
    """Cut towards zero; held within the integers; NaN is 0."""
    limits = np.iinfo(wanted)
    near = [
        float(np.nextafter(np.dtype(given).type(bound), 0)) for bound in (limits.max, -limits.max)
    ]
    points = [
        NAN,
        INFINITY,
        -INFINITY,
        1e30,
        -1e30,
        2.0**31,
        -(2.0**31),
        2.0**63,
        -(2.0**63),
        -0.5,
        1.9,
        -1.9,
        *near,
    ]
    x = np.array(points, given)
    expected = [
        0
        if np.isnan(p)
        else max(limits.min, min(limits.max, int(p)))
        if np.isfinite(p)
        else (limits.max if p > 0 else limits.min)
        for p in x.tolist()
    ]
    node = gg.input("x", x.shape, given)
    graph = Graph({"y": gg.cast(node, wanted)})
    for options in ({}, {"fuse": True, "smallest_kernel": 1}):
        assert gg.compile(graph, **options)(x=x)["y"].tolist() == expected


def test_roots_are_those_of_numpy_and_torch():
    x = np.array([-INFINITY, -1.0, -0.0, 0.0, 4.0, INFINITY])
    for exponent, root in ((0.5, lambda x: x**0.5), (-0.5, torch.rsqrt)):
        value, delta = deltas_of(lambda x, n=exponent: x**n, x)
        tensor = torch.tensor(x, requires_grad=True)
        result = root(tensor)
        result.sum().backward()
        np.testing.assert_array_equal(value, result.detach().numpy())
        np.testing.assert_array_equal(delta, tensor.grad.numpy())
