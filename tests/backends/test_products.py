"""Products by our own kernels: values, deltas and updates are those of NumPy, for any threads."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.backends.numpy import COMPILES, lower

if not COMPILES:
    pytest.skip("the kernels are compiled by LLVM", allow_module_level=True)

from graphgrad.backends.numpy import product_classes
from graphgrad.backends.numpy.product_choice import own_product
from graphgrad.backends.numpy.product_classes import CLASSES, choice, class_of, read_rates
from graphgrad.backends.numpy.product_groups import ProductGroup
from graphgrad.backends.numpy.product_shapes import shape_of

OURS = {str(each): (2.0, 1.0) for each in CLASSES}
THEIRS = {str(each): (1.0, 2.0) for each in CLASSES}


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """Products of all sizes are large enough."""
    monkeypatch.setattr("graphgrad.backends.numpy.backend.SMALLEST", 0)
    monkeypatch.setattr(product_classes, "SMALLEST", 0)


def numbers(*shape: int) -> np.ndarray:
    """Random numbers of this shape."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def own(graph: gg.Graph, **options):
    """The graph, compiled with our own products wherever that can be."""
    return gg.compile(graph, fuse=True, smallest_kernel=1, product_rates=OURS, **options)


def groups_of(compiled, **sizes: int) -> list[ProductGroup]:
    """The steps of a program that compute products by themselves."""
    groups = [step.group for step in compiled.program(**sizes).plan.steps]
    return [group for group in groups if isinstance(group, ProductGroup)]


# ------------------------------------------------------------ single products

SIZES = [(1, 1, 1)]
SIZES += [(1, 7, 3), (17, 1, 5), (13, 33, 29), (64, 64, 64), (70, 99, 90), (37, 257, 1031)]


@pytest.mark.parametrize(("rows", "columns", "depth"), SIZES)
def test_products_of_all_layouts_have_the_same_bits_for_any_number_of_threads(rows, columns, depth):
    for a_transposed in (False, True):
        for b_transposed in (False, True):
            a = numbers(depth, rows).T if a_transposed else numbers(rows, depth)
            b = numbers(columns, depth).T if b_transposed else numbers(depth, columns)
            results = []
            for threads in (1, 2, 5):
                c = np.full((rows, columns), np.nan, np.float32)
                own_product(c, a, b, threads)()
                results.append(c)
            assert all(np.array_equal(each, results[0]) for each in results)
            expected = a.astype(np.float64) @ b
            assert np.allclose(results[0], expected, rtol=0, atol=1e-6 * depth**0.5 * 10)


@pytest.mark.parametrize("stride", [1024, 2048])
def test_rows_that_share_sets_of_a_cache_are_copied(stride):
    for a in (numbers(20, stride), numbers(20, stride)[:, : stride - 3], numbers(9, stride).T):
        b, c = numbers(a.shape[1], 40), np.empty((len(a), 40), np.float32)
        shape = shape_of(c, a, b)
        assert shape is not None and shape.copies_a
        for _ in range(2):
            own_product(c, a, b, 2)()
            assert np.allclose(c, a @ b, rtol=1e-3, atol=1e-3)


def test_a_long_sum_is_as_accurate_as_that_of_the_blas():
    a, b, c = numbers(5, 10_000), numbers(10_000, 30), np.empty((5, 30), np.float32)
    own_product(c, a, b, 1)()
    exact = a.astype(np.float64) @ b.astype(np.float64)
    ours, theirs = (np.sqrt(np.mean((each - exact) ** 2)) for each in (c, a @ b))
    assert ours <= 1.5 * theirs


def test_infinities_and_nan_stay_where_they_belong():
    a, b, c = numbers(30, 5), numbers(5, 40), np.empty((30, 40), np.float32)
    a[3, 1], a[20, 2], b[0, 39], b[4, 0] = np.nan, np.inf, -np.inf, np.nan
    own_product(c, a, b, 2)()
    with np.errstate(invalid="ignore"):
        expected = a @ b
    assert np.array_equal(np.isnan(c), np.isnan(expected))
    assert np.array_equal(np.isinf(c), np.isinf(expected))


# ------------------------------------------------------------ joined with regions


def dense_step(rows: int) -> gg.Graph:
    """Two layers with bias, residual, norm and dropout, and the update of their weights."""
    x, y = gg.input("x", (3, rows, 20)), gg.input("y", (3, rows, 20))
    inner = gg.relu(gg.layers.dense(x, 70, "inner"))
    random = gg.layers.Randomness(*(gg.state(name, dtype="int64") for name in ("seed", "count")))
    outer = gg.layers.dropout(gg.layers.dense(inner, 20, "outer"), 0.1, random)
    out = gg.layers.layer_norm(x + outer)
    loss = gg.mean((gg.layers.dense(out, 20, "last") - y) ** 2.0, name="loss")
    return gg.adam(gg.Graph(loss), 1e-2)


@pytest.mark.parametrize("rows", [1, 5, 32])
def test_steps_with_joined_products_are_those_of_the_plain_program(rows):
    graph = dense_step(rows)
    feeds = {"x": numbers(3, rows, 20), "y": numbers(3, rows, 20) + 1}
    compiled = own(graph)
    assert any(group.nest is not None for group in groups_of(compiled))
    states = []
    for run in (gg.compile(graph), compiled, own(graph, without="epilogues")):
        state = gg.initial_state(graph)
        losses = [run(state, **feeds)["loss"] for _ in range(3)]
        states.append((losses, state))
    for losses, state in states[1:]:
        assert np.allclose(losses, states[0][0], rtol=1e-5)
        for name, array in state.items():
            assert np.allclose(array, states[0][1][name], rtol=1e-3, atol=1e-5), name


def test_joined_steps_have_the_same_bits_for_any_number_of_threads():
    graph = dense_step(31)
    plan = own(graph).program().plan
    feeds = {"x": numbers(3, 31, 20), "y": numbers(3, 31, 20) + 1}
    found = []
    for threads in (1, 2, 5):
        program, state = lower(plan, threads), gg.initial_state(graph)
        losses = [program(state, **feeds)["loss"].tobytes() for _ in range(3)]
        found.append((losses, {name: array.tobytes() for name, array in state.items()}))
    assert found[0] == found[1] == found[2]


def test_a_product_that_nothing_else_reads_is_not_stored():
    x, w = gg.input("x", (40, 8)), gg.input("w", (8, 12))
    once = gg.Graph({"y": gg.tanh(gg.matmul(x, w, name="p")) * 2.0})
    twice = gg.Graph({"y": gg.tanh(gg.matmul(x, w, name="p")), "p": gg.matmul(x, w, name="p")})
    (joined,), (stored,) = groups_of(own(once)), groups_of(own(twice))
    assert not joined.products[0].stored and stored.products[0].stored
    feeds = {"x": numbers(40, 8), "w": numbers(8, 12)}
    for graph in (once, twice):
        for name, value in own(graph)({}, **feeds).items():
            assert np.allclose(value, gg.compile(graph)({}, **feeds)[name], atol=1e-5), name
    source = own(once).program().source
    assert "np.matmul" not in source and "multiply_rows(" in own(once).program().kernels["kernel_0"]


def test_a_result_does_not_overwrite_what_other_rows_of_the_product_read():
    x = gg.input("x", (64, 64))
    a = gg.tanh(x)
    graph = gg.Graph({"y": gg.sum(gg.sin(gg.matmul(a, a) + a), axis=0)})
    feeds = {"x": numbers(64, 64)}
    found = own(graph)({}, **feeds)["y"]
    assert np.allclose(found, gg.compile(graph)({}, **feeds)["y"], atol=1e-4)
    (group,) = groups_of(own(graph))
    assert not any(group.may_overwrite.values())


def test_batches_of_different_matrices_are_left_to_numpy():
    a, b = gg.input("a", (3, 8, 8)), gg.input("b", (3, 8, 8))
    assert not groups_of(own(gg.Graph({"y": gg.matmul(a, b)})))
    assert not groups_of(own(gg.Graph({"y": gg.matmul(a, b)}), without="products"))
    w = gg.input("w", (8, 8))
    (group,) = groups_of(own(gg.Graph({"y": gg.matmul(a, w, transpose_b=True)})))
    assert group.products[0].shape.rows == 24
    assert not groups_of(own(gg.Graph({"y": gg.matmul(a, w)}), without="products"))


# ------------------------------------------------------------ the choice


def test_the_faster_way_is_chosen_and_a_mixture_has_to_gain():
    small, large = (shape_of(numbers(n, n), numbers(n, n), numbers(n, n)) for n in (64, 300))
    assert small and large and class_of(small) != class_of(large)
    assert all(map(choice([small, large], OURS), (small, large)))
    assert not any(map(choice([small, large], THEIRS), (small, large)))
    rates = {**THEIRS, class_of(large): (4.0, 1.0)}  # the small one hardly counts
    assert all(map(choice([small, large], rates), (small, large)))
    rates = {**OURS, class_of(large): (1.0, 4.0)}
    takes = choice([small, large], rates)
    assert takes(small) and not takes(large)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"x": [1, 2]},
        {**OURS, str(CLASSES[0]): [1]},
        {**OURS, str(CLASSES[0]): [0, 1]},
    ],
)
def test_rates_that_are_damaged_are_none(value):
    assert read_rates(value) is None
    assert read_rates({name: list(pair) for name, pair in OURS.items()}) == OURS
