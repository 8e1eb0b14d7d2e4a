"""Optimisers and schedules as graph, against their formulas in plain Python and NumPy."""

import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import DeclarationError, NonFiniteError
from graphgrad.graph import (
    Graph,
    constant,
    full,
    initial_state,
    input,
    normal,
    parameter,
    scope,
)
from graphgrad.layers import dropout
from graphgrad.ops import cast, half_squared_error, matmul, tanh
from graphgrad.ops import sum as total
from graphgrad.training.optimisers import (
    SEED,
    STEP,
    learning_rate,
    randomness_of_run,
    training_step,
)
from graphgrad.training.settings import OPTIMISERS, SCHEDULES, TrainingSettings

STEPS = 12


def settings_of(**values):
    plain = {
        "dtype": "float64",
        "schedule": "constant",
        "warmup": 0,
        "clip_norm": 0.0,
        "learning_rate": 0.1,
        "weight_decay": 0.02,
        "epsilon": 1e-3,
    }
    return TrainingSettings(**{**plain, **values})


def network():
    x, truth = (input(name, ("batch", 3), "float64") for name in ("x", "truth"))
    with scope("layer"):
        first = parameter("first", (3, 4), normal(1.0), "float64")
    second = parameter("second", (4, 3), normal(1.0), "float64")
    return Graph({"loss": half_squared_error(matmul(tanh(x @ first), second), truth, name="loss")})


def examples(count=STEPS, seed=0):
    pairs = np.random.default_rng(seed).normal(size=(count, 2, 5, 3))
    return [{"x": x, "truth": truth} for x, truth in pairs]


# ---------------------------------------------------------------- schedules


def rate(number, settings):
    """The rate of step `number` by the graph."""
    node = constant(float(number), "float64", "number")
    return float(compile(Graph({"rate": learning_rate(node, settings)}))()["rate"])


def formula(number, settings):
    """The same by its definition."""
    peak, warmup, steps = settings.learning_rate, settings.warmup, settings.steps
    if number < warmup:
        return peak * number / warmup
    if settings.schedule in ("noam", "inverse_sqrt"):
        return peak * math.sqrt(max(warmup, 1) / number)
    done = (number - warmup) / (steps + 1 - warmup)
    return {
        "constant": peak,
        "linear": peak * (1 - done),
        "cosine": peak * (1 + math.cos(math.pi * done)) / 2,
        "wsd": peak * min(1, (steps + 1 - number) / (0.2 * steps + 1)),
        "exponential": peak * (settings.final_share or 1) ** done,
    }[settings.schedule]


def least(schedule):
    """The share of the peak at the end; exponential has none with 0."""
    return 0.01 if schedule == "exponential" else 0.0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("number", [1, 5, 10, 11, 55, 99, 100])
def test_schedules_follow_their_formulas(schedule, warmup, number):
    settings = settings_of(
        schedule=schedule, warmup=warmup, steps=100, learning_rate=0.3, final_share=least(schedule)
    )
    expected = formula(number, settings)
    assert rate(number, settings) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_peaks_at_the_end_of_its_warm_up(schedule):
    settings = settings_of(schedule=schedule, warmup=10, steps=40, final_share=least(schedule))
    rates = [rate(number, settings) for number in range(1, 41)]
    assert rates[9] == pytest.approx(settings.learning_rate, rel=1e-12)
    assert max(rates) == pytest.approx(rates[9], rel=1e-12)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] > 0, "the last step moves something"
    if schedule in ("linear", "cosine", "wsd"):
        assert rate(41, settings) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("number", [1, 100, 4000, 4001, 100_000])
def test_noam_is_the_papers_equation(number):
    """lrate = width^-½ · min(number^-½, number · warmup^-1½), with its peak as the rate."""
    width, warmup = 512, 4000
    settings = settings_of(schedule="noam", warmup=warmup, learning_rate=(width * warmup) ** -0.5)
    expected = width**-0.5 * min(number**-0.5, number * warmup**-1.5)
    assert rate(number, settings) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_schedule_leaves_its_range_after_the_end(schedule):
    """A run that is resumed with fewer steps than it has done must not climb or go below 0."""
    settings = settings_of(schedule=schedule, warmup=10, steps=20, final_share=least(schedule))
    for number in (21, 30, 1000):
        assert 0 <= rate(number, settings) <= settings.learning_rate


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warm_up_longer_than_the_run_still_gives_numbers(schedule):
    settings = settings_of(schedule=schedule, warmup=50, steps=20, final_share=least(schedule))
    for number in (1, 10, 20):
        expected = settings.learning_rate * number / 50
        assert rate(number, settings) == pytest.approx(expected, rel=1e-12)


def test_the_rate_of_a_step_is_an_output_of_that_step():
    settings = settings_of(schedule="linear", warmup=3, steps=10)
    step = compile(training_step(network(), settings))
    state = initial_state(step.source_graph)
    rates = [float(step(state, **feeds)["learning_rate"]) for feeds in examples(10)]
    expected = [formula(number, settings) for number in range(1, 11)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------- optimisers


def reference(settings, start, gradients_of, count):
    """Parameters after `count` steps, by the published algorithms, one array at a time."""
    w = {name: array.copy() for name, array in start.items()}
    m, v = ({name: np.zeros_like(array) for name, array in w.items()} for _ in range(2))
    for number in range(1, count + 1):
        gradients = gradients_of(w, number - 1)
        norm = math.sqrt(sum(float(np.sum(g * g)) for g in gradients.values()))
        if settings.clip_norm and norm > settings.clip_norm:
            gradients = {name: g * settings.clip_norm / norm for name, g in gradients.items()}
        for name, g in gradients.items():
            if settings.optimiser == "sgd":
                w[name] -= settings.learning_rate * g
            elif settings.optimiser == "momentum":
                v[name] = settings.momentum * v[name] + g
                w[name] -= settings.learning_rate * v[name]
            else:
                decay = settings.weight_decay if settings.optimiser == "adamw" else 0.0
                m[name] = settings.beta1 * m[name] + (1 - settings.beta1) * g
                v[name] = settings.beta2 * v[name] + (1 - settings.beta2) * g**2
                mean = m[name] / (1 - settings.beta1**number)
                root = np.sqrt(v[name] / (1 - settings.beta2**number))
                change = mean / (root + settings.epsilon) + decay * w[name]
                w[name] = w[name] - settings.learning_rate * change
    return w


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers_follow_their_algorithms(optimiser, clip_norm):
    settings, feeds = settings_of(optimiser=optimiser, clip_norm=clip_norm), examples()
    graph = network()
    derived = derive(graph, "loss")
    deltas = compile(derived, [f"{name}.delta" for name in graph.parameters])

    def gradients(w, number):
        found = deltas(w, **feeds[number])
        return {name: found[f"{name}.delta"] for name in w}

    step = compile(training_step(graph, settings))
    state = initial_state(step.source_graph, 3)
    expected = reference(settings, {n: state[n] for n in graph.parameters}, gradients, STEPS)
    for batch in feeds:
        step(state, **batch)
    for name, array in expected.items():
        # clipping divides by norm + 1e-6, which the reference does not
        np.testing.assert_allclose(state[name], array, rtol=1e-4 if clip_norm == 0.5 else 1e-9)


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_the_first_step_of_adam_has_the_length_of_the_rate(optimiser):
    settings = settings_of(optimiser=optimiser, epsilon=1e-12, weight_decay=0.0)
    step = compile(training_step(network(), settings))
    state = initial_state(step.source_graph, 1)
    before = {name: state[name].copy() for name in step.source_graph.parameters}
    step(state, **examples()[0])
    for name, array in before.items():
        np.testing.assert_allclose(np.abs(state[name] - array), settings.learning_rate, rtol=1e-6)


def test_adam_has_no_weight_decay_and_adamw_shrinks_what_has_no_gradient():
    def after(optimiser):
        kept = parameter("kept", (3,), full(2.0), "float64")
        loss = total(kept * 0.0, name="loss")
        settings = settings_of(optimiser=optimiser, learning_rate=0.1, weight_decay=0.5)
        step = compile(training_step(Graph({"loss": loss}), settings))
        state = initial_state(step.source_graph)
        step(state)
        return state["kept"]

    np.testing.assert_array_equal(after("adam"), 2.0)
    np.testing.assert_allclose(after("adamw"), 2.0 * (1 - 0.1 * 0.5))


@pytest.mark.parametrize(
    ("optimiser", "moments"),
    [
        ("sgd", []),
        ("momentum", ["velocity"]),
        ("adam", ["first_moment", "second_moment"]),
        ("adamw", ["first_moment", "second_moment"]),
    ],
)
def test_moments_are_states_named_after_their_parameter(optimiser, moments):
    graph = training_step(network(), settings_of(optimiser=optimiser))
    parameters = {"layer.first", "second"}
    expected = {f"optimiser.{name}.{moment}" for name in parameters for moment in moments}
    assert graph.states.keys() == parameters | expected | {STEP}
    assert graph.updates.keys() == set(graph.states.values())
    assert graph.names["optimiser.second.next"] is graph.updates[graph.parameters["second"]]


def test_the_norm_is_over_all_gradients_and_before_clipping():
    feeds, graph = examples()[0], network()
    deltas = compile(derive(graph, "loss"), [f"{name}.delta" for name in graph.parameters])
    state = initial_state(graph, 2)
    found = deltas(state, **feeds)
    arrays = [found[f"{name}.delta"].ravel() for name in graph.parameters]
    expected = float(np.linalg.norm(np.concatenate(arrays)))
    for clip_norm in (0.0, 0.1, 1e9):
        step = compile(training_step(graph, settings_of(optimiser="sgd", clip_norm=clip_norm)))
        state = initial_state(step.source_graph, 2)
        before = {name: state[name].copy() for name in graph.parameters}
        assert float(step(state, **feeds)["gradient_norm"]) == pytest.approx(expected, rel=1e-12)
        moved = [(before[name] - state[name]).ravel() for name in graph.parameters]
        length = float(np.linalg.norm(np.concatenate(moved))) / 0.1
        wanted = expected if not clip_norm else min(expected, clip_norm)
        assert length == pytest.approx(wanted, rel=1e-5)


def test_a_gradient_of_zeros_is_no_division_by_zero():
    weight = parameter("weight", (3,), full(2.0), "float64")
    for optimiser in OPTIMISERS:
        settings = settings_of(optimiser=optimiser, clip_norm=1.0, weight_decay=0.0)
        step = compile(training_step(Graph({"loss": total(weight * 0.0, name="loss")}), settings))
        state = initial_state(step.source_graph)
        assert float(step(state)["gradient_norm"]) == 0.0
        np.testing.assert_array_equal(state["weight"], 2.0)


def test_a_parameter_that_the_loss_does_not_know_stays():
    used, unused = (parameter(name, (2,), full(3.0), "float64") for name in ("used", "unused"))
    graph = Graph({"loss": total(used * used, name="loss"), "other": total(unused)})
    step = compile(training_step(graph, settings_of(optimiser="adam")))
    state = initial_state(step.source_graph)
    step(state)
    np.testing.assert_array_equal(state["unused"], 3.0)
    assert (state["used"] != 3.0).all()


def test_dropout_and_the_optimiser_count_the_same_steps():
    """The first step draws its mask with 0 steps done and has the rate of step 1."""
    randomness = randomness_of_run()
    weight = parameter("weight", (64,), full(1.0), "float64")
    loss = total(dropout(weight, 0.5, randomness), name="loss")
    graph = training_step(Graph({"loss": loss}), settings_of(optimiser="sgd"))
    step = compile(graph, ["dropout.mask"])
    state = initial_state(graph)
    assert {STEP, SEED} <= state.keys()
    masks = []
    for number in range(1, 4):
        masks.append(step(state)["dropout.mask"])
        assert int(state[STEP]) == number
    assert len({mask.tobytes() for mask in masks}) == 3
    state[STEP][...] = 1
    np.testing.assert_array_equal(step(state)["dropout.mask"], masks[1])
    assert int(state[SEED]) == 0


def test_a_guarded_step_that_is_not_finite_changes_nothing():
    graph = training_step(network(), settings_of(optimiser="adam"))
    step = compile(graph, guards=("loss", "gradient_norm"))
    state, (good, bad) = initial_state(graph), examples(2)
    step(state, **good)
    before = {name: array.tobytes() for name, array in state.items()}
    bad["x"][2, 1] = np.inf
    with pytest.raises(NonFiniteError):
        step(state, **bad)
    assert {name: array.tobytes() for name, array in state.items()} == before


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_the_optimiser_adds_has_the_line_of_what_it_serves(optimiser):
    """A parameter's update that of the parameter, the rest that of the loss: as deltas have."""
    graph = network()
    step = training_step(graph, settings_of(optimiser=optimiser, clip_norm=1.0))
    origins = {name: leaf.origin for name, leaf in graph.parameters.items()}
    assert len(set(origins.values())) == len(origins) > 1
    added = [
        node
        for node in step.nodes  # but for numbers, which all graphs share
        if node.name.startswith("optimiser.") and node.operation is not constant
    ]
    assert len(added) > 10
    for node in added:
        served = [
            origin for name, origin in origins.items() if node.name.startswith(f"optimiser.{name}.")
        ]
        assert node.origin == (served or [graph.outputs["loss"].origin])[0], node


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_parameters_of_two_dtypes_train_side_by_side(optimiser, clip_norm):
    """Each moves in its own dtype; the norm that clips both is taken in the wider one."""

    def graph_of(inner):
        x, truth = (input(name, ("batch", 3), "float64") for name in ("x", "truth"))
        first = parameter("first", (3, 4), normal(1.0), inner)
        second = parameter("second", (4, 3), normal(1.0), "float64")
        hidden = cast(tanh(matmul(cast(x, inner), first)), "float64")
        loss = half_squared_error(matmul(hidden, second), truth)
        return training_step(Graph({"loss": loss}), settings_of(**chosen))

    chosen = {"optimiser": optimiser, "clip_norm": clip_norm, "learning_rate": 0.01}
    mixed, wide = graph_of("float32"), graph_of("float64")
    narrow = initial_state(mixed, 1)
    first_values = {name: narrow[name] for name in ("first", "second")}
    states = [narrow, initial_state(wide, 1, first_values)]
    runs = [compile(graph) for graph in (mixed, wide)]
    for feeds in examples(5):
        results = [run(state, **feeds) for run, state in zip(runs, states, strict=True)]
        found, right = (result["gradient_norm"] for result in results)
        assert found.dtype == np.float64 and found == pytest.approx(float(right), rel=1e-4)
    assert states[0]["first"].dtype == np.float32
    for name in ("first", "second"):
        np.testing.assert_allclose(states[0][name], states[1][name], 1e-4, 1e-5)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(DeclarationError, match="no parameter to train"):
        training_step(Graph({"loss": total(input("x", 3))}), settings_of())
