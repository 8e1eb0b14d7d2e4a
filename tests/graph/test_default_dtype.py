"""A model's dtype is given once."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError


def model():
    x = gg.input("x", ("batch", 4))
    ids = gg.input("ids", "batch", "int32")
    table = gg.layers.embedding_table(5, 4)
    h = gg.layers.layer_norm(gg.layers.dense(x, 4) * 0.1 + gg.layers.embed(ids, table))
    positions = gg.layers.sinusoidal_positions(x.shape[0], 4)
    hot = gg.one_hot(ids, 4) * gg.constant(0.1) + gg.zeros(("batch", 4)) + gg.ones(4)
    mask = gg.dropout_mask(gg.constant(1), gg.constant(2), h.shape, 0.5, 0)
    kept = gg.state("average", 4, 0.1)
    size = gg.extent(x.shape[0])
    loss = gg.half_squared_error(h * mask + positions, hot + kept) / size
    return gg.Graph({"loss": gg.alias(loss, "loss")}, {kept: kept * 0.9})


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float64, np.dtype("float32")])
def test_every_float_of_a_model_has_the_dtype(dtype):
    with gg.default_dtype(dtype):
        graph = model()
    floats = {node.dtype for node in gg.derive(graph, "loss") if node.type.is_float}
    assert floats == {np.dtype(dtype)}


def test_numbers_are_not_rounded_on_the_way():
    with gg.default_dtype("float64"):
        node = gg.constant(0.1)
    assert node.attributes["value"].array == np.float64(0.1)


def test_a_dtype_that_is_given_wins_and_integers_stay():
    with gg.default_dtype("float64"):
        assert gg.input("x", (), "float32").dtype == "float32"
        assert gg.constant(1).dtype == gg.iota(3).dtype == "int32"
        with gg.scope("inner"), gg.default_dtype("float32"):
            assert gg.input("x").dtype == "float32" and gg.input("x").name == "inner.x"
        assert gg.parameter("w", 2).dtype == "float64"
    assert gg.input("x").dtype == "float32"


def test_another_thread_has_its_own():
    found = []
    with gg.default_dtype("float64"):
        thread = threading.Thread(target=lambda: found.append(gg.input("x").dtype))
        thread.start()
        thread.join()
    assert found == ["float32"]


@pytest.mark.parametrize("dtype", ["float16", "int32", None, "f9", 3.0])
def test_only_floats_that_are_computed_with(dtype):
    with pytest.raises(DeclarationError, match="one of float32, float64"), gg.default_dtype(dtype):
        pass
