"""The lecture's network against the lecture's formulas, in loops over neurons and examples."""

import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.graph import initial_state
from graphgrad.models import feedforward
from graphgrad.models.feedforward import NUMBERS, Settings, matrices, neuron_state, neurons, task
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model

ACTIVATIONS = ("linear", "tanh", "sigmoid", "relu")
RATE = 0.1
EXAMPLES = 5
LETTERS = {"hidden": "h", "output": "y"}

PHI = {
    "linear": lambda a: a,
    "tanh": math.tanh,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "relu": lambda a: max(0.0, a),
}
PHI_PRIME = {
    "linear": lambda a: 1.0,
    "tanh": lambda a: 1 - math.tanh(a) ** 2,
    "sigmoid": lambda a: math.exp(-a) / (1 + math.exp(-a)) ** 2,
    "relu": lambda a: 1.0 if a > 0 else 0.0,
}


def settings(**values):
    return Settings(**{"dtype": "float64", **values})


def weights(seed=3):
    generator = np.random.default_rng(seed)
    return {"W1": generator.normal(size=(3, 3)), "W2": generator.normal(size=(3, 3))}


def examples(seed=4):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(EXAMPLES, 3)), generator.normal(size=(EXAMPLES, 3))


def neuron_feeds(x, truth):
    return {
        **{f"x{i}": x[:, i - 1] for i in NUMBERS},
        **{f"truth.y{k}": truth[:, k - 1] for k in NUMBERS},
    }


def lecture(state, x, truth, hidden_phi, output_phi):
    """One round of the lecture's algorithm: forward, back, update; everything by the name of the
    graph's nodes, neurons' values as lists over the examples."""
    values = {
        f"{place}{t}.{what}": []
        for place in ("hidden.h", "output.y")
        for t in NUMBERS
        for what in ("a", "z", "delta")
    }
    slopes = {name: 0.0 for name in state}
    loss = 0.0
    for n in range(len(x)):
        z = {f"x{i}": x[n][i - 1] for i in NUMBERS}
        a, error = {}, {}
        for t in (1, 2, 3):
            a[f"h{t}"] = sum(state[f"w.x{h}->h{t}"] * z[f"x{h}"] for h in (1, 2, 3))
            z[f"h{t}"] = PHI[hidden_phi](a[f"h{t}"])
        for t in (1, 2, 3):
            a[f"y{t}"] = sum(state[f"w.h{h}->y{t}"] * z[f"h{h}"] for h in (1, 2, 3))
            z[f"y{t}"] = PHI[output_phi](a[f"y{t}"])
            difference = z[f"y{t}"] - truth[n][t - 1]
            loss += difference**2 / 2
            error[f"y{t}"] = difference * PHI_PRIME[output_phi](a[f"y{t}"])
        for h in (1, 2, 3):
            back = sum(error[f"y{t}"] * state[f"w.h{h}->y{t}"] for t in (1, 2, 3))
            error[f"h{h}"] = PHI_PRIME[hidden_phi](a[f"h{h}"]) * back
        for head, tail in (("x", "h"), ("h", "y")):
            for h in (1, 2, 3):
                for t in (1, 2, 3):
                    slope = error[f"{tail}{t}"] * z[f"{head}{h}"]
                    slopes[f"w.{head}{h}->{tail}{t}"] += slope
        for place, letter in (("hidden.h", "h"), ("output.y", "y")):
            for t in (1, 2, 3):
                for what, found in (("a", a), ("z", z), ("delta", error)):
                    values[f"{place}{t}.{what}"].append(found[f"{letter}{t}"])
    updated = {name: state[name] - RATE * slopes[name] for name in state}
    return loss, values, slopes, updated


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_one_step_is_the_lectures_algorithm(hidden, output):
    """a_t, z_t, δ_t, ∂L/∂w = δ_t z_h and w ← w - η ∂L/∂w, each asked for by its name."""
    graph = derive(neurons(settings(activation=hidden, output_activation=output)), "loss")
    updates = {leaf: leaf - RATE * graph.delta(name) for name, leaf in graph.parameters.items()}
    places = [f"{place}{t}" for place in ("hidden.h", "output.y") for t in NUMBERS]
    asked = {f"{place}.{what}": graph[f"{place}.{what}"] for place in places for what in "az"}
    asked |= {f"{place}.delta": graph.delta(f"{place}.a") for place in places}
    asked |= {f"{name}.delta": graph.delta(name) for name in graph.parameters}
    step = compile(graph.with_outputs({**graph.outputs, **asked}, updates))
    state = neuron_state(weights())
    x, truth = examples()
    loss, values, slopes, updated = lecture(dict(state), x, truth, hidden, output)
    found = step(state, **neuron_feeds(x, truth))
    assert_close(found["loss"], loss)
    for name, expected in values.items():
        assert_close(found[name], expected)
    for name, expected in slopes.items():
        assert_close(found[f"{name}.delta"], expected)
        assert_close(state[name], updated[name])
    assert len(slopes) == 18


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_forms_are_the_same_network(activation, bias):
    chosen = settings(activation=activation, output_activation="sigmoid", bias=bias)
    state, (x, truth) = weights(), examples()
    if bias:
        state |= {"b1": np.array([0.3, -0.2, 0.1]), "b2": np.array([0.0, 0.5, -0.4])}
    as_matrices, as_neurons = (derive(form(chosen), "loss") for form in (matrices, neurons))
    matrix_names = [f"{p}.{w}" for p in ("hidden", "output") for w in "az"] + [*state]
    neuron_names = [
        f"{place}.{letter}{t}.{what}"
        for place, letter in LETTERS.items()
        for t in NUMBERS
        for what in "az"
    ]
    run_matrices = compile(as_matrices, _with_deltas(as_matrices, matrix_names))
    one_by_one = neuron_state(state)
    run_neurons = compile(as_neurons, _with_deltas(as_neurons, [*neuron_names, *one_by_one]))
    left = run_matrices(state, x=x, truth=truth)
    right = run_neurons(one_by_one, **neuron_feeds(x, truth))
    assert_close(right["loss"], left["loss"])
    for place in ("hidden", "output"):
        for t in NUMBERS:
            for what in ("a", "z", "a.delta"):
                assert_close(
                    right[f"{place}.{LETTERS[place]}{t}.{what}"], left[f"{place}.{what}"][:, t - 1]
                )
    deltas = {name: left[f"{name}.delta"] for name in state}
    for name, delta in neuron_state(deltas).items():
        assert_close(right[f"{name}.delta"], delta)


def _with_deltas(graph, names):
    return [*names, *(f"{name}.delta" for name in names if f"{name}.delta" in graph.names)]


def test_w_ij_connects_x_i_and_h_j():
    state = {"W1": np.zeros((3, 3)), "W2": np.zeros((3, 3))}
    state["W1"][0, 1] = 2.0
    compiled = compile(matrices(settings(activation="linear")), ["hidden.a"])
    x = np.array([[5.0, 7.0, 11.0]])
    np.testing.assert_array_equal(
        compiled(state, x=x, truth=np.zeros((1, 3)))["hidden.a"], [[0.0, 10.0, 0.0]]
    )
    assert neuron_state(state)["w.x1->h2"] == 2.0


def _neighbours(graph, start, forward):
    """The nearest neurons' outputs before or behind a node: heads(t) or tails(h) of the lecture."""
    neuron = {
        graph[f"{place}{t}.z"]: f"{letter}{t}"
        for place, letter in (("hidden.h", "h"), ("output.y", "y"))
        for t in NUMBERS
    }
    neuron |= {graph[f"x{i}"]: f"x{i}" for i in NUMBERS}
    found, stack = set(), list(graph.tails(start) if forward else start.heads)
    while stack:
        node = stack.pop()
        if node in neuron:
            found.add(neuron[node])
        else:
            stack.extend(graph.tails(node) if forward else node.heads)
    return found


def test_heads_and_tails_are_the_lectures():
    graph = neurons(settings())
    for t in NUMBERS:
        assert _neighbours(graph, graph[f"hidden.h{t}.z"], forward=False) == {"x1", "x2", "x3"}
        assert _neighbours(graph, graph[f"output.y{t}.z"], forward=False) == {"h1", "h2", "h3"}
        assert _neighbours(graph, graph[f"hidden.h{t}.z"], forward=True) == {"y1", "y2", "y3"}
        assert _neighbours(graph, graph[f"x{t}"], forward=True) == {"h1", "h2", "h3"}
        (only,) = graph.tails(graph[f"hidden.h{t}.a"])
        assert only is graph[f"hidden.h{t}.z"]


def test_each_tail_sends_back_its_error_times_the_weight():
    """δ_h = φ'(a_h) Σ_t δ_t w_{h→t}, term by term."""
    graph = derive(neurons(settings()), "loss")
    sent = graph.contributions("hidden.h2.z")
    assert sorted(sent) == [f"output.y{t}.from_h2" for t in NUMBERS]
    outputs = {f"sent{t}": sent[f"output.y{t}.from_h2"] for t in NUMBERS}
    outputs |= {f"error{t}": graph.delta(f"output.y{t}.a") for t in NUMBERS}
    outputs["total"] = graph.delta("hidden.h2.z")
    state, (x, truth) = neuron_state(weights()), examples()
    found = compile(graph.with_outputs(outputs))(state, **neuron_feeds(x, truth))
    for t in NUMBERS:
        assert_close(found[f"sent{t}"], found[f"error{t}"] * state[f"w.h2->y{t}"])
    assert_close(found["total"], found["sent1"] + found["sent2"] + found["sent3"])


def test_a_linear_neuron_has_both_a_and_z():
    graph = derive(neurons(settings(activation="linear")), "loss")
    a, z = graph["hidden.h1.a"], graph["hidden.h1.z"]
    assert a is not z and z.heads == (a,) and graph.tails(a) == (z,)
    assert {graph[f"output.y{k}.from_h1"] for k in NUMBERS} < set(graph.tails(z))
    x, truth = examples()
    asked = {"a": a, "z": z, "δ": graph.delta("hidden.h1.a"), "∂z": graph.delta("hidden.h1.z")}
    found = compile(graph.with_outputs(asked))(neuron_state(weights()), **neuron_feeds(x, truth))
    np.testing.assert_array_equal(found["a"], found["z"])
    np.testing.assert_array_equal(found["δ"], found["∂z"])  # φ' = 1


@pytest.mark.parametrize("form", feedforward.FORMS)
def test_gradient_descent_learns_the_irises(form):
    chosen = Settings(form=form)
    learnt = task(chosen, {})
    step = compile(training_step(learnt.graph, chosen))
    state = initial_state(step.source_graph, chosen.seed)
    losses = [float(step(state, **learnt.feeds(n))["loss"]) for n in range(chosen.steps)]
    assert losses[-1] < losses[0] / 10
    figures = learnt.evaluate(state)
    assert figures["accuracy"] >= 0.9
    assert figures["examples"] == 50
    lines = learnt.examples(state)
    assert len(lines) == 7
    assert all(line.endswith("right") or "wrong, it is" in line for line in lines)
    assert sum(line.endswith("right") for line in lines) >= 5


def test_a_small_rate_goes_down_at_every_step():
    chosen = settings(learning_rate=0.01)
    learnt = task(chosen, {})
    graph = derive(learnt.graph, "loss")
    updates = {
        leaf: leaf - chosen.learning_rate * graph.delta(name)
        for name, leaf in graph.parameters.items()
    }
    step = compile(graph.with_outputs(graph.outputs, updates))
    state = neuron_state(weights())
    losses = [float(step(state, **learnt.feeds(n))["loss"]) for n in range(100)]
    assert np.all(np.diff(losses) < 0)


@pytest.mark.parametrize("form", feedforward.FORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_deltas_of_the_parameters_are_slopes(form, bias):
    chosen = with_values(Settings(form=form, bias=bias), feedforward.CHECK)
    small = task(chosen, {})
    graph = derive(small.graph, "loss")
    compiled = compile(graph, [f"{name}.delta" for name in graph.parameters])
    generator = np.random.default_rng(0)
    state = {
        name: np.array(generator.normal(size=leaf.shape)) for name, leaf in graph.parameters.items()
    }
    feeds = small.feeds(0)
    deltas = compiled(state, **feeds)
    for name, value in state.items():
        for place in np.ndindex(value.shape):
            kept, losses = value[place], []
            for change in (1e-6, -1e-6):
                value[place] = kept + change
                losses.append(float(compiled(state, **feeds)["loss"]))
            value[place] = kept
            slope = (losses[0] - losses[1]) / 2e-6
            assert_close(deltas[f"{name}.delta"][place], slope, 1e-7)
    assert len(state) == {"neurons": 24 if bias else 18, "matrices": 4 if bias else 2}[form]


def test_a_fresh_state_fits_the_program():
    """Weights are scalars: what a run starts with must still be arrays that it can write to."""
    for name, value in initial_state(neurons(Settings()), seed=1).items():
        assert isinstance(value, np.ndarray), name
        assert value.shape == ()


def test_the_flowers_are_fishers():
    centimetres, species = feedforward.read_flowers(feedforward.shipped_data())
    assert np.bincount(species).tolist() == [50, 50, 50]
    np.testing.assert_allclose(centimetres.mean(axis=0), [3.0573333, 3.758, 1.1993333], rtol=1e-6)
    # two flowers that the UCI copy of the table gets wrong
    assert centimetres[34].tolist() == [3.1, 1.5, 0.2]
    assert centimetres[37].tolist() == [3.6, 1.4, 0.1]


def test_held_out_flowers_take_no_part_in_learning():
    learnt, unseen = feedforward.split_flowers(feedforward.shipped_data())
    assert (len(learnt), len(unseen)) == (100, 50)
    assert np.bincount(unseen.species).tolist() == [16, 17, 17]
    assert_close(learnt.features.mean(axis=0), 0.0)
    assert_close(learnt.features.std(axis=0), 1.0)
    assert abs(unseen.features.mean()) > 1e-3
    feeds = task(Settings(form="matrices"), {}).feeds(0)
    np.testing.assert_array_equal(feeds["x"], learnt.features)
    np.testing.assert_array_equal(feeds["truth"].argmax(axis=1), learnt.species)
    np.testing.assert_array_equal(feeds["truth"].sum(axis=1), 1.0)


def test_smaller_batches_visit_every_flower_once_an_epoch():
    chosen = Settings(form="matrices", batch_size=20)
    small = task(chosen, {})
    learnt, _ = feedforward.split_flowers(feedforward.shipped_data())
    epoch = np.concatenate([small.feeds(step)["x"] for step in range(5)])
    assert epoch.shape == (100, 3)
    np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(learnt.features, axis=0))
    np.testing.assert_array_equal(small.feeds(7)["x"], task(chosen, {}).feeds(7)["x"])
    assert not np.array_equal(small.feeds(0)["x"], small.feeds(5)["x"])


def test_a_run_can_be_used_without_the_shipped_table():
    """The task keeps its data as a file of the run and reads it from there."""
    header, *rows = feedforward.shipped_data().splitlines()
    text = "\n".join([header, *rows[::5]])
    small = task(Settings(), {feedforward.DATA: text})
    assert small.files == {feedforward.DATA: text}
    assert len(small.feeds(0)["x1"]) == 20


HEADER = ",".join(feedforward.COLUMNS)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "iris.csv:1"),
        ("a,b\n", "iris.csv:1"),
        (f"{HEADER}\n1,2,3,4,setosa\n1,2,3,setosa\n", "iris.csv:3"),
        (f"{HEADER}\n1,2,3,4,5,setosa\n", "iris.csv:2"),
        (f"{HEADER}\n1,2,nan,4,setosa\n", "iris.csv:2"),
        (f"{HEADER}\n1,2,three,4,setosa\n", "iris.csv:2"),
        (f"{HEADER}\n1,2,3,4,rose\n", "iris.csv:2"),
        (f"{HEADER}\n\n", "iris.csv:2"),
        (f"{HEADER}\n1,2,3,4,setosa\n", "iris.csv"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(text, where):
    with pytest.raises(DataError) as error:
        task(Settings(), {feedforward.DATA: text})
    assert error.value.where == where


@pytest.mark.parametrize("setting", ["form", "activation", "output_activation"])
def test_unknown_choices_are_refused(setting):
    with pytest.raises(ConfigurationError, match=setting):
        Settings(**{setting: "tahn"})


def test_commands_find_the_model():
    model = load_model("feedforward", {"feedforward": feedforward})
    assert model.settings == Settings()
    assert model.check == feedforward.CHECK
