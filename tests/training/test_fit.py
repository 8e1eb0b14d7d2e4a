"""`fit` is the loop that one would write by hand: the same batches give the same state."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.data import permutation
from graphgrad.errors import DeclarationError, NonFiniteError, UnknownNameError

POINTS = np.random.default_rng(0).normal(size=(10, 3))
TRUTH = POINTS @ np.array([[1.0], [-2.0], [0.5]])


def line():
    with gg.default_dtype("float64"), gg.scope("data"):
        x, truth = gg.input("x", ("batch", 3)), gg.input("truth", ("batch", 1))
    error = gg.layers.dense(x, 1) - truth
    half = gg.input("half", (), "float64")
    return gg.Graph({"loss": gg.alias((error * error).mean() * half, "loss"), "rows": error})


def arrays():
    return {"data.x": POINTS, "data.truth": TRUTH, "half": 0.5}


def test_it_is_the_loop_by_hand():
    step, told = gg.adam(line(), 0.1), []
    state = gg.fit(
        step,
        arrays(),
        epochs=3,
        batch_size=4,
        seed=5,
        report=lambda epoch, figures: told.append((epoch, figures)),
        fuse=False,
    )
    by_hand, run, means = gg.initial_state(step, 5), gg.compile(step), []
    for epoch in range(3):
        order, losses = permutation(10, 5, epoch=epoch), []
        for batch in (order[:4], order[4:8], order[8:]):
            found = run(by_hand, {"data.x": POINTS[batch], "data.truth": TRUTH[batch], "half": 0.5})
            losses.append(float(found["loss"]))
        means.append(np.average(losses, weights=[4, 4, 2]))
    for name, array in by_hand.items():
        np.testing.assert_array_equal(state[name], array)
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    np.testing.assert_allclose([figures["loss"] for _, figures in told], means)
    assert "rows" not in told[0][1] and "gradient_norm" in told[0][1]


def test_it_learns_and_goes_on_from_a_state_in_place():
    step, losses = gg.adam(line(), 0.05), []
    state = gg.fit(step, arrays(), epochs=50)
    again = gg.fit(
        step,
        arrays(),
        epochs=200,
        state=state,
        report=lambda epoch, figures: losses.append(figures["loss"]),
    )
    assert again is state and state["run.step"] == 250 and losses[-1] < 1e-4 < losses[0]


def test_parameters_alone_are_a_state_to_start_from():
    graph = line()
    parameters = {"dense.w": np.ones((3, 1)), "dense.b": np.zeros(1)}
    state = gg.fit(gg.sgd(graph, 1e-9), arrays(), state=parameters)
    assert state is parameters and "run.step" in state
    np.testing.assert_allclose(state["dense.w"], 1.0, 1e-6)


def test_nodes_may_stand_for_inputs():
    graph = line()
    given = {graph.inputs["data.x"]: POINTS, graph.inputs["data.truth"]: TRUTH, "half": 0.5}
    state = gg.fit(gg.sgd(graph, 0.1), given)
    np.testing.assert_array_equal(state["dense.w"], gg.fit(gg.sgd(graph, 0.1), arrays())["dense.w"])


def test_a_value_that_is_not_finite_stops_it_and_changes_nothing():
    step, state = gg.sgd(line(), 0.1), {}
    bad = {**arrays(), "data.truth": np.where(np.arange(10)[:, None] == 3, np.nan, TRUTH)}
    with pytest.raises(NonFiniteError, match="loss is nan"):
        gg.fit(step, bad, state=state, batch_size=10)
    expected = gg.initial_state(step)
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"data.truth": TRUTH[:9]}, DeclarationError, "'data.truth' has 9, 'data.x' has 10"),
        ({"data.x": POINTS[:0], "data.truth": TRUTH[:0]}, DeclarationError, "no examples"),
        ({"data.y": POINTS}, UnknownNameError, "unknown data.y"),
        ({"data.x": POINTS[:, :2]}, DeclarationError, r"\[10, 2\]|shape"),
    ],
)
def test_arrays_that_do_not_fit(change, error, reason):
    with pytest.raises(error, match=reason):
        gg.fit(gg.sgd(line()), {**arrays(), **change}, batch_size=10)


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3"])
def test_counts_are_whole_numbers_from_one(name, value):
    with pytest.raises(DeclarationError, match=name):
        gg.fit(gg.sgd(line()), arrays(), **{name: value})


def test_a_graph_without_updates_says_what_to_do():
    with pytest.raises(DeclarationError, match=r"updates nothing(.|\n)*adam\(graph"):
        gg.fit(line(), arrays())


def test_an_error_of_the_report_is_the_users_own():
    def report(epoch, figures):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        gg.fit(gg.sgd(line()), arrays(), report=report)
