"""Conditions on figures, and sorting by one."""

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.figures.statistics import NodeReport, statistics_of
from graphgrad.reports.filters import (
    REPORTED,
    figures_of_history,
    figures_of_report,
    known_figure,
    ordered,
    parse_condition,
)
from graphgrad.reports.history import History


@pytest.mark.parametrize(
    "text, holds",
    [
        ("zeros>0.5", False),
        ("zeros >= 0.5", True),
        ("zeros<0.6", True),
        ("zeros<=.5", True),
        ("zeros=0.5", True),
        ("zeros==0.5", True),
        ("zeros!=0.5", False),
        ("mean<-1e-3", True),
        ("norm>0", False),
        ("delta_norm>1e9", True),
        ("delta_norm<inf", False),
    ],
)
def test_a_condition_compares_a_figure_with_a_number(text, holds):
    figures = {"zeros": 0.5, "mean": -2.0, "norm": None, "delta_norm": float("inf")}
    assert parse_condition(text).holds(figures) is holds


@pytest.mark.parametrize(
    "text",
    ["", "zeros", "zeros>", "zeros>x", ">1", "zeros>1>2", "zeros>nan", "zeros>__import__('os')"],
)
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"no condition[\s\S]*zeros>0\.5"):
        parse_condition(text)


def test_an_unknown_figure_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'zeros'"):
        parse_condition("zeroes>1")
    with pytest.raises(ConfigurationError, match="choose one of: mean"):
        known_figure("q", REPORTED)


def test_the_largest_magnitude_comes_first_and_what_is_missing_last():
    items = {"a": {"mean": 1.0}, "b": {"mean": None}, "c": {"mean": -3.0}, "d": {"mean": 2.0}}
    assert ordered(items, items.__getitem__, "mean") == ["c", "d", "a", "b"]
    assert ordered(items, items.__getitem__) == list(items)
    chosen = ordered(items, items.__getitem__, "mean", 1, [parse_condition("mean>-2")])
    assert chosen == ["d"]


def test_the_figures_of_a_report_and_of_a_history_have_the_same_names():
    found = statistics_of(np.array([1.0, -2.0, 0.0]))
    report = NodeReport("x", "tanh", (3,), "", found, found, "", "", ())
    table = figures_of_report(report)
    assert tuple(table) == REPORTED and table["delta_minimum"] == -2.0
    history = History(
        (3, 6),
        ("x", "x.delta"),
        ("mean", "update_ratio"),
        np.array([[[1.0, 2], [3, 4]], [[5, np.nan], [7, 8]]]),
        {"x.delta": "x"},
    )
    assert figures_of_history(history, 6) == {
        "x": {"mean": 5.0, "update_ratio": None, "delta_mean": 7.0, "delta_update_ratio": 8.0}
    }
