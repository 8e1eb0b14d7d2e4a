"""Plots of the training of a run: the drawn values are the measured ones, whatever they are."""

import math
import warnings

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DataError
from graphgrad.figures.recording import RECORDED_FIGURES, figure_table
from graphgrad.rendering.plot_flow import plot_flow
from graphgrad.rendering.plot_style import encoded, spread, styled
from graphgrad.rendering.plots import plot_loss, plot_schedule, plot_updates
from graphgrad.reports.history import History

HOSTILE = '<script>$\\frac{1}{0}$ "x" \x1b[2J]]>\n日本'


def metrics(losses, norm=1.0):
    return [
        {"step": step, "loss": loss, "gradient_norm": norm, "learning_rate": 0.1 / step}
        for step, loss in enumerate(losses, 1)
    ]


def history(names, figures, steps=(1, 10, 20)):
    values = np.full((len(steps), len(names), len(RECORDED_FIGURES)), np.nan)
    for column, value in figures.items():
        values[:, :, RECORDED_FIGURES.index(column)] = value
    deltas = {name: name.removesuffix(".delta") for name in names if name.endswith(".delta")}
    return History(tuple(steps), tuple(names), RECORDED_FIGURES, values, deltas)


def deltas(*names, size=1.0):
    return history([f"{name}.delta" for name in names], {"mean": 0.0, "std": size})


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def lines(axes):
    return [line.get_xydata() for line in axes.lines]


@pytest.fixture(autouse=True)
def style():
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_loss_is_drawn_with_its_mean_and_its_last_value():
    losses = 2 + np.sin(np.arange(1.0, 401))
    figure = plot_loss(metrics(losses), "run")
    raw, mean = lines(figure.axes[0])
    np.testing.assert_array_equal(raw, np.column_stack([np.arange(1, 401), losses]))
    assert mean[-1, 1] == pytest.approx(losses[-10:].mean())
    assert mean[3, 1] == pytest.approx(losses[:4].mean())
    assert f"{losses[-10:].mean():.3g}" in texts(figure) and "Loss of run" in texts(figure)
    assert encoded(figure, "png").startswith(b"\x89PNG")


def test_values_that_span_much_are_drawn_on_a_logarithmic_axis():
    assert plot_loss(metrics(np.geomspace(1, 1e-4, 50)), "run").axes[0].get_yscale() == "log"
    assert plot_loss(metrics(np.linspace(3, 1, 50)), "run").axes[0].get_yscale() == "linear"


def test_one_early_value_does_not_squeeze_the_rest():
    figure = plot_loss(metrics([1e6, *np.linspace(2, 1, 999)]), "run")
    assert figure.axes[0].get_yscale() == "linear" or figure.axes[0].get_ylim()[0] > 0.5


@pytest.mark.parametrize("losses", [[1.0], [0.0, 0.0], [-1.0, -2.0], [math.nan, 2.0, math.inf]])
def test_short_and_odd_runs_are_drawn(losses):
    forms = ("svg",) if np.isfinite(losses).all() else ("png", "svg", "pdf")
    for figure in (plot_loss(metrics(losses), HOSTILE), plot_schedule(metrics(losses, 0.0), "r")):
        assert all(encoded(figure, form) for form in forms)


def test_a_run_without_metrics_says_so():
    for empty in ([], metrics([math.nan])):
        with pytest.raises(DataError, match="have no loss"):
            plot_loss(empty, "run")


def test_the_schedule_names_its_peak():
    figure = plot_schedule(metrics([1.0] * 10), "run")
    assert "0.1 at step 1" in texts(figure) and len(figure.axes) == 2


def test_the_flow_has_a_median_for_each_block():
    names = ["e.0.a", "e.0.b", "e.0.c", "e.1.a", "e.1.b", "d.a", "d.b", "f.0.x", "f.0.y", "loss"]
    found = deltas(*names)
    sizes = 10.0 ** -np.arange(len(names))
    found.values[:, :, RECORDED_FIGURES.index("std")] = sizes * np.array([[1], [2], [3]])
    axes = plot_flow(found, "run").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["e.0", "e.1", "d", "f.0"]
    dots, first, middle, last = lines(axes)  # without a graph nothing is joined
    np.testing.assert_allclose(np.sort(dots[:, 1]), np.sort(3 * sizes[:-1]))
    for line, factor in ((first, 1), (middle, 2), (last, 3)):
        medians = [np.median(sizes[:3]), sizes[3:5].mean(), sizes[5:7].mean(), sizes[7:9].mean()]
        np.testing.assert_allclose(line[:, 1], factor * np.array(medians))
    assert {"step 1", "step 10", "step 20"} <= set(texts(axes.figure))


def test_the_flow_joins_what_follows_in_depth_and_divides_what_is_led_back_to():
    """Shared weights, two branches with an equal sum, a scope with the first and last layer."""
    x = gg.input("x", ("batch", 3))
    w = gg.parameter("w", (3, 3), gg.normal(0.5))
    with gg.scope("model"):
        first = gg.tanh(gg.matmul(x, w), name="first")
        also = gg.exp(first, name="also")
    branches = []
    for name in ("left", "right"):
        with gg.scope(name):
            both = gg.add(first, also, name="sum")  # one node, which both branches declare
            value = gg.matmul(both, gg.parameter("w", (3, 3), gg.normal(0.5)), name="a")
            branches.append(gg.tanh(value * 2.0 if name == "left" else value, name="z"))
    with gg.scope("model"):
        both = gg.multiply(*branches, name="both")
        last = gg.tanh(gg.matmul(both, w), name="last")
    graph = gg.derive(gg.Graph({"loss": gg.sum(last * last, name="loss")}), "loss")
    feeds = {"x": np.ones((2, 3), np.float32)}
    found = figure_table(graph, feeds, gg.initial_state(graph))
    recorded = History((1,), found[0], found[2], found[3][None], found[1])
    axes = plot_flow(recorded, "run", graph).axes[0]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["model", "left", "right", "model (2)"]
    _, bars, joined = lines(axes)
    ends = [(int(a), int(b)) for a, b in joined[:, 0].reshape(-1, 3)[:, :2]]
    assert ends == [(0, 1), (0, 2), (1, 3), (2, 3)]
    np.testing.assert_array_equal(joined[~np.isnan(joined[:, 0]), 1], bars[np.ravel(ends), 1])


def test_deltas_that_are_0_up_to_rounding_are_counted_and_do_not_set_the_axis():
    found = deltas("a.0.x", "a.0.y", "a.0.z", "a.1.x", "a.1.y")
    found.values[:, 1, RECORDED_FIGURES.index("std")] = 1e-12
    figure = plot_flow(found, "run")
    assert figure.axes[0].get_ylim()[0] > 1e-3
    assert "1 nodes are below, 0 but for rounding" in texts(figure)


def test_nothing_recorded_is_an_error():
    for found in (deltas(), deltas("a", size=0.0), deltas("a", size=np.nan)):
        with pytest.raises(DataError, match="no delta was recorded"):
            plot_flow(found, "run")
    with pytest.raises(DataError, match="no update of a parameter"):
        plot_updates(deltas("a"), "run")


def test_update_ratios_are_labelled_where_they_are_extreme():
    names = [f"w{number}" for number in range(9)]
    found = history(names, {"update_ratio": 10.0 ** -np.arange(1, 10)})
    figure = plot_updates(found, "run")
    shown = texts(figure)
    assert {"w0", "w1", "w8", "median", "0.001"} <= set(shown) and "w4" not in shown
    assert figure.axes[0].get_yscale() == "log"


def test_a_last_step_without_updates_is_left_out():
    found = history(["a", "b"], {"update_ratio": 0.1})
    found.values[-1, :, -1] = 0.0
    assert encoded(plot_updates(found, "run"), "svg")


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_same_data_gives_the_same_bytes(form):
    def drawn():
        return encoded(plot_flow(deltas("a.0.x", "a.1.y", "a.2.z"), "run"), form)

    assert drawn() == drawn()


def test_hostile_names_are_text():
    svg = encoded(plot_updates(history([HOSTILE, "b"], {"update_ratio": 0.1}), HOSTILE), "svg")
    text = svg.decode()
    assert "<script>" not in text and "&lt;script&gt;$\\frac" in text and "\x1b" not in text
    assert "日本" in text


def test_labels_are_moved_apart_as_little_as_needed():
    assert spread([0.0, 5.0], 1.0) == [0.0, 5.0]
    moved = spread([1.0, 1.0, 1.1], 1.0)
    assert np.all(np.diff(sorted(moved)) > 0.99) and np.mean(moved) == pytest.approx(3.1 / 3)
    assert spread([], 1.0) == []


def test_the_loss_on_held_out_data_is_drawn_beside_the_loss():
    lines = metrics(np.linspace(3, 1, 40))
    lines[9]["held_out_loss"], lines[19]["held_out_loss"] = 2.5, float("nan")
    lines[29]["held_out_loss"] = 1.75
    figure = plot_loss(lines, "run", {"step": 40, "loss": 1.25})
    *_, held_out = figure.axes[0].lines
    assert held_out.get_xdata().tolist() == [10, 30, 40], "what is not finite is left out"
    assert held_out.get_ydata().tolist() == [2.5, 1.75, 1.25]
    written = [text.get_text() for text in figure.axes[0].texts]
    assert "1.25 held out" in written and any("dots: held-out data" in text for text in written)
    unfinished = plot_loss(lines, "run", {"step": 40, "loss": None})
    assert unfinished.axes[0].lines[-1].get_xdata().tolist() == [10, 30]


def test_a_held_out_loss_of_zero_is_drawn_on_a_logarithmic_axis():
    lines = metrics(np.geomspace(1, 1e-4, 200))
    figure = plot_loss(lines, "run", {"step": 200, "loss": 0.0})
    assert figure.axes[0].get_yscale() == "log"
    assert "0 held out" in [text.get_text() for text in figure.axes[0].texts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded(figure, "png")
