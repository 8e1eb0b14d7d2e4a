"""The first node that is not finite."""

import json
import math

import numpy as np

from graphgrad.backprop import derive
from graphgrad.figures.non_finite import first_non_finite
from graphgrad.graph import Graph, constant, initial_state, input, normal, parameter, scope, state
from graphgrad.ops import (
    exp,
    log,
    mean,
    min,
    not_equal,
    relu,
    softmax,
    subtract,
    sum,
    where,
)
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings

NAN, INFINITY = math.nan, math.inf


def stopped(x: float, weight: float = 1.0) -> Graph:
    """x -> a = x · w -> e = exp a -> ratio = e / (1 + e) -> loss."""
    value, w = input("x", 2, "float64"), parameter("w", 2, dtype="float64")
    with scope("deep"):
        e = exp(value * w, name="e")
    return Graph({"loss": mean(e / (1.0 + e), name="loss")})


def test_the_first_value_that_is_not_finite_is_named() -> None:
    graph = stopped(1.0)
    found = first_non_finite(graph, {"x": np.array([1.0, 1e4])}, {"w": np.ones(2)})
    assert found is not None
    assert (found.name, found.part, found.operation) == ("deep.e", "forward", "exp")
    assert (found.kind, found.nan, found.infinite) == ("infinite", 0, 1)
    text = str(found)
    assert "the value deep.e [2]" in text and "1 infinite elements, computed by exp" in text
    assert __file__ in text
    json.dumps(found.to_dict(), allow_nan=False)
    assert first_non_finite(graph, {"x": np.ones(2)}, {"w": np.ones(2)}) is None


def test_a_leaf_that_was_given_so_is_named_itself() -> None:
    found = first_non_finite(stopped(1.0), {"x": np.ones(2)}, {"w": np.array([NAN, 1.0])})
    assert found is not None and found.name == "w" and "given as parameter" in str(found)


def test_a_delta_is_called_a_delta() -> None:
    x, w = input("x", 2, "float64"), parameter("w", 2, dtype="float64")
    graph = derive(Graph({"loss": sum(log(x * w + 1e-320), name="loss")}), "loss")
    graph = graph.with_outputs({"loss": graph["loss"], "gradient": graph.delta("w")})
    found = first_non_finite(graph, {"x": np.zeros(2)}, {"w": np.ones(2)})
    assert found is not None and found.part == "delta" and str(found).startswith("the delta ")


def test_an_update_is_called_the_next_value() -> None:
    x, w = input("x", 2), parameter("w", 2, normal(1.0))
    settings = TrainingSettings(optimiser="sgd", learning_rate=1e30, clip_norm=0.0)
    graph = training_step(Graph({"loss": sum(x * w, name="loss")}), settings)
    feeds, first = {"x": np.full(2, 1e30, np.float32)}, initial_state(graph, 0)
    found = first_non_finite(graph, feeds, first)
    assert found is not None and found.part == "update" and "next value" in str(found)


def test_masks_of_minus_infinity_are_no_suspects() -> None:
    x, ids = input("x", (2, 3), "float64"), input("ids", (2, 3), "int32")
    masked = where(not_equal(ids, 0), x, -INFINITY, name="masked")
    graph = Graph({"loss": sum(log(softmax(masked, 1)[:, 0] - 1.0, name="bad"), name="loss")})
    found = first_non_finite(
        graph, {"x": np.zeros((2, 3)), "ids": np.array([[1, 0, 1], [1, 1, 1]], np.int32)}
    )
    assert found is not None and found.name == "bad" and found.kind == "NaN"


def test_a_finite_run_with_masks_has_no_suspect() -> None:
    x, ids = input("x", (2, 3), "float64"), input("ids", (2, 3), "int32")
    masked = where(not_equal(ids, 0), x, -INFINITY, name="masked")
    graph = Graph({"loss": sum(softmax(masked, 1) * x, name="loss")})
    feeds = {"x": np.zeros((2, 3)), "ids": np.array([[1, 0, 1], [1, 1, 1]], np.int32)}
    assert first_non_finite(graph, feeds) is None


def test_nan_that_arises_of_infinities_is_blamed() -> None:
    x = input("x", 2, "float64")
    masked = where(x > 0.0, x, -INFINITY, name="masked")
    centred = subtract(masked, min(masked, keepdims=True), name="centred")
    found = first_non_finite(
        Graph({"loss": sum(centred, name="loss")}), {"x": np.array([1.0, -1.0])}
    )
    assert found is not None and (found.name, found.kind, found.nan) == ("centred", "NaN", 1)


def test_infinities_that_lead_nowhere_are_passed_over() -> None:
    x = input("x", 2, "float64")
    harmless = where(x > 0.0, log(relu(x), name="harmless"), 0.0)
    late = exp(1000.0 * x, name="late")
    graph = Graph({"loss": sum(harmless, name="one") + sum(late, name="two")})
    found = first_non_finite(graph, {"x": np.array([0.0, 1.0])})
    assert found is not None and found.name == "late"


def test_sizes_are_read_off_the_inputs_and_states_are_left_alone() -> None:
    x, step = input("x", "n", "float64"), state("step", (), dtype="int32")
    graph = Graph({"loss": sum(exp(x, name="e"), name="loss")}, {step: step + constant(1)})
    first = {"step": np.array(7, np.int32)}
    found = first_non_finite(graph, {"x": np.array([1.0, 1e9, 2.0])}, first)
    assert found is not None and found.shape == (3,)
    assert first["step"] == 7
