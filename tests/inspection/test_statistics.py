"""Figures of arrays, reports of nodes, and the first node that is not finite."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphgrad.backprop import derive
from graphgrad.errors import UnknownNameError
from graphgrad.graph import Graph, constant, initial_state, input, normal, parameter, scope, state
from graphgrad.inspection.statistics import (
    NodeReport,
    first_non_finite,
    inspect_values,
    statistics_of,
    walk,
)
from graphgrad.ops import (
    exp,
    log,
    matmul,
    mean,
    min,
    not_equal,
    relu,
    softmax,
    subtract,
    sum,
    tanh,
    where,
)
from graphgrad.ops.evaluate import evaluate
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings

NAN, INFINITY = math.nan, math.inf


# ---------------------------------------------------------------- one array


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_figures_are_numpys(values: list[float]) -> None:
    array = np.array(values, np.float32)
    found, exact = statistics_of(array), array.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(), abs=1e-9 * np.abs(exact).max())
    assert found.std == pytest.approx(exact.std(), rel=1e-9, abs=1e-9 * np.abs(exact).max())
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-12)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert found.zeros == pytest.approx(np.mean(exact == 0))
    assert found.non_finite == 0 and found.shape == array.shape


def test_what_is_not_finite_is_counted_apart() -> None:
    found = statistics_of(np.array([[1.0, NAN], [INFINITY, -3.0], [-INFINITY, 0.0]]))
    assert found.non_finite == 3 and found.shape == (3, 2)
    assert (found.minimum, found.maximum, found.mean) == (-3.0, 1.0, pytest.approx(-2 / 3))
    assert found.zeros == pytest.approx(1 / 6)


@pytest.mark.parametrize("array", [np.zeros((0, 4)), np.full(3, NAN), np.array(INFINITY)])
def test_figures_that_do_not_exist_are_none(array: np.ndarray) -> None:
    found = statistics_of(array)
    assert found.mean is found.std is found.minimum is found.maximum is None
    assert found.norm == 0.0 and found.non_finite == array.size
    json.dumps(found.to_dict(), allow_nan=False)


def test_integers_and_booleans_count_as_numbers() -> None:
    truths = statistics_of(np.array([True, False, True, True]))
    assert truths.mean == 0.75 and truths.zeros == 0.25
    assert statistics_of(np.array([3, 4], np.int32)).norm == 5.0


def test_nothing_overflows_or_underflows() -> None:
    large, small = statistics_of(np.array([1e300, -1e300])), statistics_of(np.full(4, 1e-200))
    assert large.norm == pytest.approx(math.sqrt(2) * 1e300) and large.mean == 0.0
    assert small.norm == pytest.approx(2e-200) and small.std == pytest.approx(0.0, abs=1e-215)


# ---------------------------------------------------------------- reports


def network() -> tuple[Graph, dict[str, np.ndarray], dict[str, np.ndarray]]:
    x, w = input("x", ("batch", 3), "float64"), parameter("w", (3, 4), normal(1.0), "float64")
    with scope("hidden"):
        z = tanh(matmul(x, w, name="a"), name="z")
    loss = sum(z * z + 0.5 * z, name="loss")
    graph = derive(Graph({"loss": loss}), "loss")
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 3))}
    return graph, feeds, initial_state(graph, 1)


def by_name(reports: tuple[NodeReport, ...]) -> dict[str, NodeReport]:
    return {report.name: report for report in reports}


def test_reports_hold_the_figures_of_values_and_deltas() -> None:
    graph, feeds, first = network()
    reports = by_name(inspect_values(graph, feeds, first))
    x, z = feeds["x"], np.tanh(feeds["x"] @ first["w"])
    assert reports["hidden.z"].value == statistics_of(z)
    delta = 2 * z + 0.5
    found = reports["hidden.z"].delta
    assert found is not None and found.norm == pytest.approx(np.linalg.norm(delta))
    weights = reports["w"].delta
    expected = np.linalg.norm(x.T @ (delta * (1 - z * z)))
    assert weights is not None and weights.norm == pytest.approx(expected)
    assert reports["hidden.a"].formula == "x w"
    assert reports["hidden.a"].delta_formula == "δ[z] · (1 - z²)"
    assert reports["hidden.a"].shape == (5, 4)
    assert __file__ in reports["hidden.a"].origin


def test_contributions_have_norms_and_shares() -> None:
    graph, feeds, first = network()
    report = by_name(inspect_values(graph, feeds, first, ["hidden.z"]))["hidden.z"]
    z = np.tanh(feeds["x"] @ first["w"])
    norms = [sent.norm for sent in report.contributions]
    assert sorted(norms) == pytest.approx(sorted([np.linalg.norm(z)] * 2 + [0.5 * math.sqrt(20)]))
    assert sum_of_shares(report) == pytest.approx(1.0)
    assert {sent.tail for sent in report.contributions} == {"multiply", "multiply_1"}


def sum_of_shares(report: NodeReport) -> float:
    total = 0.0
    for sent in report.contributions:
        total += sent.share
    return total


def test_only_what_is_asked_for_is_reported() -> None:
    graph, feeds, first = network()
    assert list(by_name(inspect_values(graph, feeds, first, ["hidden.*"]))) == [
        "hidden.a",
        "hidden.z",
    ]
    (report,) = inspect_values(graph, feeds, first, ["hidden.z.delta"])
    assert report.delta is None and report.contributions == ()
    with pytest.raises(UnknownNameError):
        inspect_values(graph, feeds, first, ["nothing*"])
    shown = by_name(inspect_values(graph, feeds, first))
    assert not [name for name in shown if "delta" in name or "constant" in name]


def test_a_report_is_strict_json() -> None:
    graph, _, first = network()
    for report in inspect_values(graph, {"x": np.full((2, 3), NAN)}, first):
        json.dumps(report.to_dict(), allow_nan=False)


def test_nothing_of_the_state_is_updated() -> None:
    x, w = input("x", 3), parameter("w", 3, normal(1.0))
    graph = training_step(Graph({"loss": sum(x * w, name="loss")}), TrainingSettings())
    first = initial_state(graph, 0)
    kept = {name: array.copy() for name, array in first.items()}
    reports = by_name(inspect_values(graph, {"x": np.ones(3, np.float32)}, first))
    assert {"x", "w", "multiply", "loss"} <= set(reports)
    assert all(np.array_equal(first[name], kept[name]) for name in kept)


def test_a_walk_sees_every_value_once() -> None:
    graph = Graph({"z": tanh(tanh(constant(0.5, "float64")), name="z")})
    seen = {}
    walk(graph, {}, {}, lambda node, value: seen.setdefault(node, value.copy()))
    expected = evaluate(graph, {})
    assert seen.keys() == expected.keys()
    assert all(np.array_equal(seen[node], expected[node]) for node in seen)
    with pytest.raises(UnknownNameError, match="no value is given for 'x'"):
        walk(Graph(input("x")), {}, {}, lambda node, value: None)


def test_a_walk_drops_values_after_their_last_reader() -> None:
    x = input("x", 100_000, "float64")
    for _ in range(50):
        x = tanh(x)
    feeds = {"x": np.ones(100_000)}
    tracemalloc.start()
    walk(Graph({"y": x}), feeds, {}, lambda node, value: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 800_000


# ---------------------------------------------------------------- not finite


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
