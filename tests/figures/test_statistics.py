"""Figures of arrays, and reports of nodes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphgrad.backprop import derive
from graphgrad.errors import UnknownNameError
from graphgrad.figures.statistics import (
    NodeReport,
    inspect_values,
    statistics_of,
)
from graphgrad.graph import Graph, initial_state, input, normal, parameter, scope
from graphgrad.ops import (
    matmul,
    sum,
    tanh,
)
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
