"""Figures over the steps: the drawn lines are the recorded numbers, of every run and head."""

import math
import warnings

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, DataError
from graphgrad.rendering.plot_steps import MOST_PANELS, plot_metrics, plot_recorded, plot_spread
from graphgrad.rendering.plot_style import encoded, styled
from graphgrad.reports.history import History

HOSTILE = '<script>$\\frac{1}{0}$ "x" \x1b[2J]]>\n日本'


@pytest.fixture(autouse=True)
def style():
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def metrics(run, count=20):
    made = [{"step": s, "loss": 3 / s + run, "gradient_norm": 2.0 + run} for s in range(1, count)]
    made[4]["held_out_loss"] = 0.5 + run
    made[6]["loss"] = math.nan
    return made


def test_each_metric_has_a_panel_and_each_run_a_line():
    runs = [("a", metrics(0)), ("a", metrics(1)), (HOSTILE, metrics(2))]
    figure = plot_metrics(runs)
    names = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"loss", "held_out_loss", "gradient_norm"} <= set(names)
    losses = figure.axes[0].lines
    for run, line in enumerate(losses):
        kept = [r for r in metrics(run) if math.isfinite(r["loss"])]
        np.testing.assert_array_equal(line.get_xdata(), [r["step"] for r in kept])
        np.testing.assert_array_equal(line.get_ydata(), [r["loss"] for r in kept])
    colours = [[line.get_color() for line in axes.lines] for axes in figure.axes]
    assert len(set(map(tuple, colours))) == 1 and len(set(colours[0])) == 3
    assert any(name.endswith(" a (2)") for name in names)
    for form in ("png", "svg", "pdf"):
        assert encoded(plot_metrics(runs[:2], ["loss"]), form)


def test_a_figure_that_no_run_has_is_named_with_the_near_one():
    with pytest.raises(ConfigurationError, match="no run has written a figure 'los'") as caught:
        plot_metrics([("a", metrics(0))], ["los"])
    assert "loss" in str(caught.value)
    with pytest.raises(DataError, match="no metrics yet"):
        plot_metrics([("a", [])])


def history(names, values):
    deltas = {name: name.replace(".delta", "") for name in names if ".delta" in name}
    return History((1, 10, 20), tuple(names), ("norm", "std"), values, deltas)


def test_heads_are_colours_and_runs_are_patterns_of_their_lines():
    names = [f"scores{kind}[head={n}]" for kind in ("", ".delta") for n in range(2)]
    numbers = np.random.default_rng(0).random((3, 4, 2))
    numbers[1, 0, 0] = math.nan
    whole = history(["scores", "scores.delta"], np.ones((3, 2, 2)))
    figure = plot_recorded([("a", history(names, numbers)), ("b", whole)], "norm")
    assert len(figure.axes) == 2
    first, second, other = figure.axes[0].lines
    assert list(first.get_xdata()) == [1, 20], "a number that is missing is left out"
    np.testing.assert_array_equal(second.get_ydata(), numbers[:, 1, 0])
    assert first.get_color() != second.get_color() and list(other.get_ydata()) == [1, 1, 1]
    shown = [text.get_text() for text in figure.axes[1].texts]
    assert "scores.delta" in shown and any(text.endswith("a, head 1") for text in shown)
    both = plot_recorded([(run, history(names, numbers)) for run in "ab"], "std").axes[0].lines
    assert both[0].get_color() == both[2].get_color()
    assert both[0].get_linestyle() != both[2].get_linestyle()


def test_too_many_values_are_refused_and_none_is_an_error():
    names = [f"v{number}" for number in range(MOST_PANELS + 1)]
    with pytest.raises(ConfigurationError, match="more than a picture shows"):
        plot_recorded([("a", history(names, np.ones((3, len(names), 2))))], "norm")
    with pytest.raises(DataError, match="nothing of this was recorded"):
        plot_recorded([("a", history(["v"], np.full((3, 1, 2), math.nan)))], "norm")


def test_a_spread_is_drawn_for_each_figure_and_run_with_enough_numbers():
    runs = [("a", metrics(0, 200)), ("b", metrics(1, 200))]
    figure = plot_spread(runs, ["loss"])
    assert len(figure.axes) == 2
    mesh = figure.axes[0].collections[0].get_array()
    assert round(float((mesh**2).sum())) == 198, "every finite number once"
    assert encoded(figure, "png")
    with pytest.raises(DataError, match="enough numbers"):
        plot_spread([("a", metrics(0))])
