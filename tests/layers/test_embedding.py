"""Embeddings and positions against their formulas."""

import itertools
import math

import numpy as np

from graphgrad.compile import compile
from graphgrad.graph import ONES, Graph, initial_state, input, parameter
from graphgrad.layers import embed, embedding_table, sinusoidal_positions


def run(y, state=None, **feeds):
    return compile(Graph({"y": y}))(state or {}, **feeds)["y"]


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_embedding_is_a_row_times_the_root_of_the_width():
    ids = input("ids", ("batch", "source"), "int32")
    y = embed(ids, embedding_table(7, 16, "float64"))
    state = {"embedding": np.random.default_rng(1).normal(size=(7, 16))}
    chosen = np.array([[0, 6, 3], [3, 3, 1]])
    found = run(y, state, ids=chosen)
    assert found.shape == (2, 3, 16)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[place], state["embedding"][chosen[place]] * 4.0)


def test_an_embedded_token_starts_with_variance_1():
    ids = input("ids", ("batch", "source"), "int32")
    y = embed(ids, embedding_table(500, 64, "float64"))
    found = run(y, initial_state(Graph({"y": y})), ids=np.arange(500)[None])
    assert abs(found.std() - 1) < 0.02


def test_positions_are_sines_and_cosines():
    found = run(sinusoidal_positions(10, 6, "float64"))
    assert found.shape == (10, 6)
    for position, i in itertools.product(range(10), range(3)):
        angle = position / 10000 ** (2 * i / 6)
        assert_close(found[position, 2 * i], math.sin(angle))
        assert_close(found[position, 2 * i + 1], math.cos(angle))


def test_positions_follow_the_length_of_the_input():
    ids = input("ids", ("batch", "source"), "int32")
    x = embed(ids, parameter("table", (3, 4), ONES)) + sinusoidal_positions(
        ids.shape[1], 4, "float32"
    )
    compiled = compile(Graph({"x": x}))
    state = {"table": np.zeros((3, 4), "float32")}
    long = compiled(state, ids=np.zeros((1, 9), "int32"))["x"]
    short = compiled(state, ids=np.zeros((2, 5), "int32"))["x"]
    assert_close(short[1], long[0, :5], 1e-6)
    assert not np.allclose(long[0, 0], long[0, 1])
