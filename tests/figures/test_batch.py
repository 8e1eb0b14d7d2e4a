"""Figures of one batch: histograms, contributions, units and updates, against NumPy."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphgrad.backprop import derive
from graphgrad.figures.batch import BINS, BatchFigures, histogram_of
from graphgrad.graph import Graph, input, parameter, state
from graphgrad.ops import relu, subtract, sum, tanh
from graphgrad.passes import specialise


@given(st.lists(st.floats(allow_nan=True, width=64), min_size=0, max_size=50))
def test_a_histogram_counts_every_finite_element_in_its_binade(values: list[float]) -> None:
    first, positive, negative = histogram_of(np.array(values))
    counted = [x for x in values if math.isfinite(x) and x != 0]
    assert math.fsum(positive) + math.fsum(negative) == len(counted)
    assert len(positive) == len(negative) <= BINS
    for sign, counts in ((1, positive), (-1, negative)):
        for k, count in enumerate(counts):
            low, high = math.ldexp(1.0, first + k) if k else 0.0, first + k + 1
            inside = [
                x
                for x in counted
                if x * sign > 0
                and abs(x) >= low
                and (high > 1023 or abs(x) < math.ldexp(1.0, high))
            ]
            assert count == len(inside)


def test_products_are_those_of_what_the_tails_send_and_of_the_delta() -> None:
    x, w = input("x", (3, 4), "float64"), parameter("w", (3, 4), dtype="float64")
    u = x * w
    loss = sum(u * u, name="squares") + sum(tanh(u), name="bounded")
    graph = derive(Graph({"loss": loss}), loss)
    generator = np.random.default_rng(1)
    feeds, first = {"x": generator.normal(size=(3, 4))}, {"w": generator.normal(size=(3, 4))}
    found = BatchFigures(graph, feeds, first)
    value = feeds["x"] * first["w"]
    bend = 1 - np.tanh(value) ** 2
    tails = [item.tail.operation for item in graph.sent_back(u)]
    assert tails.count(tanh) == 1 and len(tails) == 3  # u · u has two places for u
    vectors = [(bend if tail is tanh else value).ravel() for tail in tails]
    vectors.append((2 * value + bend).ravel())
    expected = [[float(a @ b) for b in vectors] for a in vectors]
    np.testing.assert_allclose(found.products[u], expected, rtol=1e-12)


def test_an_update_is_measured_beside_its_parameter_and_stuck_units_are_listed() -> None:
    x = input("x", ("batch", 3), "float64")
    w, count = parameter("w", (3,), dtype="float64"), state("count", (), dtype="int32")
    z = relu(x * w, name="z")
    graph = Graph({"loss": sum(z, name="loss")}, {w: subtract(w, 0.5), count: count + 1})
    feeds = {"x": np.array([[1.0, -1.0, 2.0], [3.0, -2.0, -1.0]])}
    first = {"w": np.array([1.0, 2.0, 2.0]), "count": np.array(3, np.int32)}
    sized = specialise(graph, {"batch": 2})
    found = BatchFigures(sized, feeds, first)
    assert found.updates == {sized["w"]: (math.sqrt(0.75), 3.0)}
    units = found.units[sized["z"]]
    assert (units.kind, units.units, units.stuck, units.share) == ("relu", 3, (1,), 0.5)
    assert found.non_finite is None
