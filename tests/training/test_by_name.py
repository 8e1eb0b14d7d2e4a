"""Optimisers by name: PyTorch's defaults, groups of parameters, several losses, clear errors.

The oracle is the published algorithm in NumPy; the gradients of the tests' models are known.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.passes.surgery import scale
from graphgrad.training import by_name
from graphgrad.training.optimisers import has_optimiser

OPTIMISERS = ("sgd", "momentum", "adam", "adamw")


def quadratic():
    """½ Σ w² + 3 Σ b: the gradients are w and 3."""
    with gg.default_dtype("float64"), gg.scope("layer"):
        w, b = gg.parameter("w", 3, gg.normal(1.0)), gg.parameter("b", 2, 0.5)
    return gg.Graph({"loss": gg.alias(0.5 * (w * w).sum() + 3.0 * b.sum(), "loss")})


def after(step, count=1):
    """The state before and after some steps."""
    state = gg.initial_state(step, 1)
    before = {name: array.copy() for name, array in state.items()}
    run = gg.compile(step)
    for _ in range(count):
        run(state)
    return before, state


def adam(w, gradients, rate, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0):
    m = v = np.zeros_like(w)
    for number, gradient in enumerate(gradients, 1):
        g = gradient(w)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        change = m / (1 - beta1**number) / (np.sqrt(v / (1 - beta2**number)) + epsilon)
        w = w - rate * (change + decay * w)
    return w


def test_the_defaults_are_those_of_pytorch():
    before, state = after(gg.adam(quadratic()), 4)
    expected = adam(before["layer.w"], [lambda w: w] * 4, 1e-3)
    np.testing.assert_allclose(state["layer.w"], expected, 1e-12)
    before, state = after(gg.adamw(quadratic(), 0.1, no_decay="*.b"), 4)
    expected = adam(before["layer.w"], [lambda w: w] * 4, 0.1, decay=0.01)
    np.testing.assert_allclose(state["layer.w"], expected, 1e-12)
    expected = adam(before["layer.b"], [lambda w: 3 + 0 * w] * 4, 0.1)
    np.testing.assert_allclose(state["layer.b"], expected, 1e-12)


def test_sgd_and_momentum():
    before, state = after(gg.sgd(quadratic(), 0.1), 3)
    np.testing.assert_allclose(state["layer.w"], before["layer.w"] * 0.9**3, 1e-12)
    before, state = after(gg.momentum(quadratic(), 0.1, momentum=0.5), 2)
    np.testing.assert_allclose(state["layer.b"], 0.5 - 0.1 * (3 + 4.5), 1e-12)


@pytest.mark.parametrize("frozen", ["layer.w", "*.w", ["*.w"], "nothing.*, *.w"])
def test_what_is_frozen_stays_and_has_no_moments(frozen):
    if frozen == "nothing.*, *.w":
        with pytest.raises(ConfigurationError, match=r"no parameter is called 'nothing\.\*'"):
            gg.adam(quadratic(), frozen=frozen)
        return
    step = gg.adam(quadratic(), 0.1, frozen=frozen)
    before, state = after(step)
    np.testing.assert_array_equal(state["layer.w"], before["layer.w"])
    np.testing.assert_allclose(state["layer.b"], 0.4, 1e-6)
    assert not [name for name in state if "layer.w." in name]


def test_two_optimisers_of_one_loss_read_the_values_before_the_step():
    step = gg.adam(gg.sgd(quadratic(), 0.1, parameters="*.w"), 0.1, parameters="*.b")
    assert {*step.outputs} == {
        "loss",
        "gradient_norm",
        "learning_rate",
        "optimiser_1.gradient_norm",
        "optimiser_1.learning_rate",
    }
    before, state = after(step, 2)
    np.testing.assert_allclose(state["layer.w"], before["layer.w"] * 0.81, 1e-12)
    expected = adam(before["layer.b"], [lambda w: 3 + 0 * w] * 2, 0.1)
    np.testing.assert_allclose(state["layer.b"], expected, 1e-12)
    assert state["run.step"] == 2
    found = gg.compile(step)(gg.initial_state(step, 1))
    w = before["layer.w"]
    np.testing.assert_allclose(found["gradient_norm"], np.sqrt((w * w).sum() + 18))
    np.testing.assert_allclose(found["optimiser_1.gradient_norm"], np.sqrt(18))


def two_players():
    with gg.default_dtype("float64"):
        a, b = gg.parameter("a", (), 2.0), gg.parameter("b", (), 3.0)
    return gg.Graph({"mine": gg.alias(a * b, "mine"), "theirs": gg.alias(-(a * b * b), "theirs")})


def test_each_optimiser_follows_its_own_loss():
    step = gg.sgd(two_players(), 0.1, loss="mine", parameters="a")
    step = gg.sgd(step, 0.1, loss="theirs", parameters="b", name="other")
    _, state = after(step)
    assert state["a"] == pytest.approx(2.0 - 0.1 * 3.0)  # ∂(ab)/∂a = b
    assert state["b"] == pytest.approx(3.0 + 0.1 * 2 * 2 * 3.0)  # ∂(-ab²)/∂b = -2ab
    assert step.delta("a") is not None and "other.gradient_norm" in step.outputs


def test_a_node_of_the_graph_may_be_the_loss():
    graph = two_players()
    _, state = after(gg.sgd(graph, 0.1, loss=graph.outputs["theirs"], parameters=["b"]))
    assert state["b"] == pytest.approx(3.0 + 0.1 * 2 * 2 * 3.0)


def test_deltas_that_were_cut_stay_cut():
    graph = gg.derive(quadratic(), "loss")
    cut = gg.surgery(graph, [scale("layer.b", 0.5)])
    _, state = after(gg.sgd(cut, 0.1))
    np.testing.assert_allclose(state["layer.b"], 0.5 - 0.1 * 1.5)


def test_the_schedule_and_clipping_are_those_of_runs():
    step = gg.sgd(quadratic(), 1.0, schedule="linear", steps=3, warmup=1, clip_norm=0.5)
    run, state = gg.compile(step), gg.initial_state(step)
    rates = [float(run(state)["learning_rate"]) for _ in range(4)]
    np.testing.assert_allclose(rates, [1.0, 2 / 3, 1 / 3, 0.0], 1e-9, 1e-9)
    before, state = after(step)
    moved = [before[name] - state[name] for name in ("layer.w", "layer.b")]
    assert np.sqrt(sum((each**2).sum() for each in moved)) == pytest.approx(0.5, 1e-5)


WRONG = {
    "a keyword": (lambda: gg.adam(quadratic(), learning_rat=1), "'learning_rat'", "learning_rate"),
    "a number": (lambda: gg.adam(quadratic(), -1.0), "learning_rate must be above 0", ""),
    "a text": (lambda: gg.adam(quadratic(), "1e-3"), "learning_rate", ""),
    "a schedule": (lambda: gg.sgd(quadratic(), schedule="cosin"), "not 'cosin'", "cosine"),
    "no end": (lambda: gg.sgd(quadratic(), schedule="cosine"), "ends at a step", "steps"),
    "no graph": (lambda: gg.adam(1.0), "adam takes a graph, not float", "Graph"),
    "twice": (lambda: gg.adam(gg.adam(quadratic())), "'layer.w' its next value", "leave"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_one_clear_error(case):
    call, problem, fix = WRONG[case]
    with pytest.raises(DeclarationError, match=problem) as caught:
        call()
    assert fix in caught.value.fix and "--set" not in str(caught.value)


def test_an_unknown_loss_or_parameter_is_named_with_the_nearest():
    with pytest.raises(gg.UnknownNameError, match="no node is called 'los'"):
        gg.adam(quadratic(), loss="los")
    with pytest.raises(ConfigurationError, match=r"'layer.v'(.|\n)*did you mean 'layer.w'"):
        gg.adam(quadratic(), parameters="layer.v")
    with pytest.raises(ConfigurationError, match="no parameter left to train"):
        gg.adam(quadratic(), frozen="*")


def test_all_take_the_same_words_and_say_what_they_do():
    common = {
        "graph",
        "learning_rate",
        "loss",
        "parameters",
        "frozen",
        "clip_norm",
        "schedule",
        "warmup",
        "steps",
        "name",
    }
    for name in OPTIMISERS:
        function = getattr(gg, name)
        assert function is getattr(by_name, name)
        assert common <= set(inspect.signature(function).parameters)
        assert inspect.getdoc(function)
    assert not has_optimiser(quadratic()) and has_optimiser(gg.sgd(quadratic()))
