"""`zeros` and `ones` are NumPy's, with named sizes too."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg


@pytest.mark.parametrize("shape", [(), 3, (2, 3), (0, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_values_shapes_and_dtypes(name, dtype, shape):
    # a number alone is shared by all graphs, and keeps the name that it is given first
    chosen = None if shape == () else f"{name}_{dtype}_{shape}"
    graph = gg.Graph({"y": getattr(gg, name)(shape, dtype, name=chosen)})
    found, expected = gg.compile(graph)()["y"], getattr(np, name)(shape, dtype)
    assert found.dtype == dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert chosen is None or graph[chosen] is graph.outputs["y"]


def test_an_open_size_is_that_of_the_inputs():
    x = gg.input("x", ("batch", 2))
    start = gg.zeros((x.shape[0], 3))
    run = gg.compile(gg.Graph({"start": start, "x": x + gg.ones_like(x), "n": gg.zeros_like(x)}))
    found = run(x=np.full((5, 2), 3.0))
    assert found["start"].shape == (5, 3) and not found["start"].any()
    assert (found["x"] == 4).all() and found["n"].shape == (5, 2)


def test_the_like_ones_have_the_dtype_of_x():
    x = gg.input("x", 3, "int64")
    assert gg.zeros_like(x).dtype == "int64" and gg.ones_like(x, "float32").dtype == "float32"


def test_a_number_is_a_first_value():
    w = gg.parameter("w", 3, 1.5)
    state = gg.initial_state(gg.Graph({"y": w + gg.state("s", 3, np.float32(2))}))
    assert state["w"].tolist() == [1.5] * 3 and state["s"].tolist() == [2.0] * 3
