"""Nodes, operations, graphs and programs exist once."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError

X = gg.input("x", 3)
Y = gg.tanh(X, name="y")
GRAPH = Graph({"y": Y})
COMPILED = gg.compile(GRAPH)
SINGLE = {
    "node": Y,
    "operation": gg.tanh,
    "graph": GRAPH,
    "compiled": COMPILED,
    "program": COMPILED.program(),
    "plan": COMPILED.program().plan,
}


@pytest.mark.parametrize("item", SINGLE.values(), ids=SINGLE)
def test_a_copy_is_the_thing_itself(item):
    assert copy.copy(item) is item and copy.deepcopy(item) is item
    assert copy.deepcopy({"a": [item]})["a"][0] is item


def test_of_a_model_only_the_arrays_are_copied():
    """What people deep-copy: a model with its program and its weights."""
    model = {"run": COMPILED, "loss": Y, "state": {"w": np.ones(3)}}
    twin = copy.deepcopy(model)
    twin["state"]["w"][0] = 5.0
    assert model["state"]["w"][0] == 1.0 and twin["loss"] is Y
    assert gg.tanh(copy.copy(X)) is Y
    np.testing.assert_array_equal(twin["run"](x=np.zeros(3))["y"], np.zeros(3))


@pytest.mark.parametrize("item", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_of_it_is_pickled(item, protocol):
    for given in (item, {"inside": [item]}):
        with pytest.raises(DeclarationError, match="cannot be pickled") as caught:
            pickle.dumps(given, protocol)
        assert "each process" in caught.value.fix
