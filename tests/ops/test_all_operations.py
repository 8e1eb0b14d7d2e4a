"""One suite for all operations and all their samples: values, deltas, memory, kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from delta_check import check_deltas, check_second_deltas, declare, feeds_of, has_deltas
from oracles import ORACLES
from scipy import special

import graphgrad as gg
from graphgrad import Graph, Operation
from graphgrad.compile import Compiled
from graphgrad.graph import Sample, verify
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate, evaluate_node

CASES = [
    pytest.param(operation, number, id=f"{operation.name}-{number}")
    for operation in ALL_OPERATIONS
    for number in range(len(operation.samples))
]
WITH_DELTAS = [case for case in CASES if has_deltas(*case.values)]
SMOOTH = [case for case in WITH_DELTAS if case.values[0].samples[case.values[1]].smooth]
IN_PLACE = [case for case in CASES if case.values[0].in_place]
COMPUTED = [operation for operation in ALL_OPERATIONS if operation.compute is not None]
KERNELS = [case for case in CASES if case.values[0].kernel]
FLOATS = pytest.mark.parametrize("dtype", ["float32", "float64"])

NO_DELTA_BY_NATURE = {
    "constant": "it has no heads",
    "iota": "it has no heads",
    "extent": "it has no heads",
    "rank_number": "it has no heads",
    "equal": "its result is bool",
    "not_equal": "its result is bool",
    "less": "its result is bool",
    "less_equal": "its result is bool",
    "logical_and": "its result is bool",
    "logical_or": "its result is bool",
    "logical_not": "its result is bool",
    "is_finite": "its result is bool",
    "argmax": "its result is an integer",
    "checked": "its result is an integer",
    "top": "its result is an integer",
}


def compiled(operation: Operation, sample: Sample, dtype: str) -> tuple[Graph, Compiled]:
    y, *_ = declare(operation, sample, dtype)
    graph = Graph({"y": y})
    return graph, gg.compile(graph)


def test_every_operation_is_described():
    names = [operation.name for operation in ALL_OPERATIONS]
    assert len(set(names)) == len(names)
    assert set(ORACLES) == set(ALL_OPERATIONS)
    for operation in ALL_OPERATIONS:
        assert operation.formula and operation.samples, operation
        assert bool(operation.delta) == bool(operation.delta_formula), operation
        assert (operation.delta is None) == (operation.name in NO_DELTA_BY_NATURE), operation
        assert operation.compute is not None or operation.name == "constant"


@FLOATS
@pytest.mark.parametrize(("operation", "number"), CASES)
def test_the_value_is_that_of_an_independent_formula(operation, number, dtype):
    sample, feeds = operation.samples[number], feeds_of(operation.samples[number], dtype)
    y, *heads = declare(operation, sample, dtype)
    verify(Graph({"y": y}))
    found = evaluate(Graph({"y": y}), feeds)[y]
    assert found.shape == y.shape and found.dtype == y.dtype
    exact = [
        feeds[head.names[0]].astype("float64") if head.type.is_float else feeds[head.names[0]]
        for head in heads
    ]
    expected = ORACLES[operation](*exact, **sample.attributes)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert np.shape(expected) == y.shape
    np.testing.assert_allclose(found, expected, tolerance, tolerance)


@FLOATS
@pytest.mark.parametrize(("operation", "number"), CASES)
def test_the_program_gives_the_value_of_the_reference(operation, number, dtype):
    """Also from inputs whose elements do not lie in order, which it must not write to."""
    sample = operation.samples[number]
    graph, program = compiled(operation, sample, dtype)
    feeds = feeds_of(sample, dtype)
    expected = evaluate(graph, feeds)[graph["y"]]
    for change in (np.array, out_of_order, repeated):
        given = {name: change(array) for name, array in feeds.items()}
        found = program(**given)["y"]
        assert found.dtype == expected.dtype and found.shape == expected.shape
        tolerance = 1e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(found, expected, tolerance, tolerance)
        for name, array in feeds.items():
            np.testing.assert_array_equal(given[name], array)


def out_of_order(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array).reshape(array.shape)


def repeated(array: np.ndarray) -> np.ndarray:
    """The same array as every second element of a larger one, read-only."""
    view = np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else np.array(array)
    view.flags.writeable = False
    return view


@pytest.mark.parametrize(("operation", "number"), WITH_DELTAS)
def test_deltas_agree_with_finite_differences(operation, number):
    check_deltas(operation, number)


@pytest.mark.parametrize(("operation", "number"), SMOOTH)
def test_deltas_of_deltas_agree_with_finite_differences(operation, number):
    check_second_deltas(operation, number)


@pytest.mark.parametrize(("operation", "number"), WITH_DELTAS)
def test_deltas_of_the_program_are_those_of_the_reference(operation, number):
    """After all passes, in float32 and from a cotangent of its own."""
    y, *heads = declare(operation, operation.samples[number], "float32")
    seed = gg.input("seed", y.shape, y.dtype)
    floats = [head for head in heads if head.type.is_float]
    graph = gg.derive(Graph({"y": y}, names={"seed": seed}), y, floats, seed)
    generator = np.random.default_rng(5)
    feeds = feeds_of(operation.samples[number], "float32")
    feeds["seed"] = generator.uniform(-1, 1, y.shape).astype(y.dtype)
    expected = evaluate(graph, feeds)
    found = gg.compile(graph, [graph.delta(head) for head in floats])(**feeds)
    for head in floats:
        delta = graph.delta(head)
        np.testing.assert_allclose(
            found[graph.name_of(delta)], expected[delta], rtol=2e-5, atol=2e-6
        )


@pytest.mark.parametrize(("operation", "number"), IN_PLACE)
def test_writing_in_place_gives_the_same_value(operation, number):
    sample = operation.samples[number]
    y, *heads = declare(operation, sample)
    arrays = list(feeds_of(sample).values())
    expected = evaluate_node(y, arrays)
    tried = 0
    for place, head in enumerate(heads):
        if head.type != y.type:
            continue
        given = [array.copy() for array in arrays]
        keywords = dict(y.attributes)
        if operation.scratch is not None:
            types = operation.scratch(*(h.type for h in heads), **y.attributes)
            keywords["scratch"] = tuple(np.full(t.sizes, np.nan, t.dtype) for t in types)
        operation.compute(np, given[place], *given, **keywords)
        np.testing.assert_array_equal(given[place], expected)
        tried += 1
    assert tried or number, "the first sample has a head of the result's type"


@pytest.mark.parametrize("operation", COMPUTED, ids=lambda operation: operation.name)
def test_nothing_is_left_of_what_was_in_out_or_scratch(operation):
    """Results must not depend on the memory that they are written into."""
    for sample in operation.samples:
        y, *heads = declare(operation, sample)
        arrays = list(feeds_of(sample).values())
        results = []
        for rubbish in (0, 77):
            keywords = dict(y.attributes)
            if operation.scratch is not None:
                types = operation.scratch(*(h.type for h in heads), **y.attributes)
                keywords["scratch"] = tuple(np.full(t.sizes, rubbish, t.dtype) for t in types)
            out = np.full(y.type.sizes, rubbish, y.dtype)
            operation.compute(np, out, *arrays, **keywords)
            results.append(out)
        np.testing.assert_array_equal(*results)


NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "pow": np.power,
    "sin": np.sin,
    "cos": np.cos,
    "erf": special.erf,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sign": np.sign,
    "abs": np.abs,
    "max": np.maximum,
    "min": np.minimum,
    "where": lambda condition, a, b: a if condition else b,
    "isfinite": np.isfinite,
}
"""What a kernel expression may use; each element is a NumPy scalar, so that 1 / 0 is ∞."""


@pytest.mark.parametrize(("operation", "number"), KERNELS)
def test_the_kernel_expression_has_the_same_value(operation, number):
    sample = operation.samples[number]
    arrays = list(feeds_of(sample).values())
    y, *_ = declare(operation, sample)
    names = [f"x{place}" for place in range(len(arrays))]
    code = compile(operation.kernel.format(*names), operation.name, "eval")
    wide = np.broadcast_arrays(*arrays)
    found = np.empty(y.shape, y.dtype)
    with np.errstate(all="ignore"):
        for place in np.ndindex(y.shape):
            elements = dict(zip(names, (array[place] for array in wide), strict=True))
            found[place] = eval(code, NAMESPACE, elements)
    np.testing.assert_allclose(found, evaluate_node(y, arrays), 1e-13, 1e-13)
