"""Symbolic backpropagation: the textbook's formulas, names, sums, seeds and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from delta_check import numerical_gradient

import graphgrad as gg
from graphgrad import Graph, Node, derive
from graphgrad.backprop import deltas_of
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import specialise

NEURON = """\
%0 = input() : float64[1, 2]    # x
%1 = input() : float64[1, 1]    # truth
%2 = parameter(initial=constant(0)) : float64[2, 1]    # w
%3 = matmul(%0, %2, transpose_a=False, transpose_b=False) : float64[1, 1]    # a
%4 = tanh(%3) : float64[1, 1]    # z
%5 = subtract(%4, %1) : float64[1, 1]    # error
%6 = sum(%5, axes=(0, 1), keepdims=False) : float64[]    # loss
%7 = constant(1.0) : float64[]    # loss.delta
%8 = reshape(%7, shape=(1, 1)) : float64[1, 1]    # error.reshape
%9 = broadcast_to(%8, shape=(1, 1)) : float64[1, 1]    # error.delta, z.delta, error.delta<-loss, \
z.delta<-error
%10 = multiply(%4, %4) : float64[1, 1]    # z.rule.multiply
%11 = subtract(%7, %10) : float64[1, 1]    # z.rule.subtract
%12 = multiply(%9, %11) : float64[1, 1]    # a.delta, a.delta<-z
%13 = matmul(%0, %12, transpose_a=True, transpose_b=False) : float64[2, 1]    # w.delta, w.delta<-a
output loss = %6"""


def test_the_derivation_of_a_neuron_to_the_letter():
    """δ_a = φ'(a) δ_z with φ' = 1 - z², and ∂L/∂w = xᵀ δ_a."""
    x, truth = gg.input("x", (1, 2), "float64"), gg.input("truth", (1, 1), "float64")
    w = gg.parameter("w", (2, 1), dtype="float64")
    z = gg.tanh(gg.matmul(x, w, name="a"), name="z")
    loss = gg.sum(gg.subtract(z, truth, name="error"), name="loss")
    assert str(derive(Graph({"loss": loss}), "loss", ["w"])) == NEURON


def test_the_lectures_formulas():
    """δ_h = φ'(a_h) Σ_t δ_t w_{h→t} and ∂L/∂w_{h→t} = δ_t z_h, neuron by neuron."""
    generator = np.random.default_rng(0)
    x, w1, w2 = (
        gg.input(n, s, "float64") for n, s in (("x", (1, 3)), ("w1", (3, 4)), ("w2", (4, 2)))
    )
    truth = gg.input("truth", (1, 2), "float64")
    z1 = gg.tanh(gg.matmul(x, w1, name="a1"), name="z1")
    y = gg.sigmoid(gg.matmul(z1, w2, name="a2"), name="y")
    loss = gg.half_squared_error(y, truth, name="loss")
    graph = derive(Graph({"loss": loss}), "loss")
    feeds = {n: generator.normal(size=node.shape) for n, node in graph.inputs.items()}
    values = evaluate(graph, feeds)
    at = {name: values[graph[name]][0] for name in ("x", "a1", "z1", "a2", "y", "truth")}
    node_error = {}
    for t in range(2):
        node_error[t] = (at["y"][t] - at["truth"][t]) * at["y"][t] * (1 - at["y"][t])
        np.testing.assert_allclose(values[graph.delta("a2")][0, t], node_error[t])
    for h in range(4):
        total = sum(node_error[t] * feeds["w2"][h, t] for t in range(2))
        error = (1 - np.tanh(at["a1"][h]) ** 2) * total
        np.testing.assert_allclose(values[graph.delta("a1")][0, h], error)
        for t in range(2):
            delta = values[graph.delta("w2")][h, t]
            np.testing.assert_allclose(delta, node_error[t] * at["z1"][h])
        for i in range(3):
            np.testing.assert_allclose(values[graph.delta("w1")][i, h], error * at["x"][i])


@pytest.fixture
def fan_out() -> Graph:
    """u has three tails; one of them uses it twice."""
    x = gg.input("x", 3, "float64")
    u = gg.exp(x, name="u")
    terms = [
        gg.sum(gg.sin(u, name="p")),
        gg.sum(gg.multiply(u, u, name="q")),
        gg.sum(gg.multiply(u, x, name="r")),
    ]
    loss = gg.add(gg.add(terms[0], terms[1]), terms[2], name="loss")
    return derive(Graph({"loss": loss}), "loss")


def test_contributions_are_named_and_sum_to_the_delta(fan_out):
    sent = fan_out.contributions("u")
    assert list(sent) == ["r", "q", "q#2", "p"]
    for name, node in sent.items():
        assert fan_out[f"u.delta<-{name}"] is node
    values = evaluate(fan_out, {"x": np.array([0.1, -0.2, 0.3])})
    total = sum(values[node] for node in sent.values())
    np.testing.assert_allclose(values[fan_out.delta("u")], total, 1e-14)
    u, x = values[fan_out["u"]], values[fan_out["x"]]
    np.testing.assert_allclose(values[sent["p"]], np.cos(u))
    np.testing.assert_allclose(values[sent["q"]], u)
    np.testing.assert_allclose(values[sent["r"]], x)
    np.testing.assert_allclose(values[fan_out.delta("x")], (np.cos(u) + 2 * u + x) * u + u)


def test_every_node_between_has_its_delta(fan_out):
    for name in ("x", "u", "p", "q", "r", "loss", "sum", "add"):
        assert fan_out.delta(name).type == fan_out[name].type, name


def test_a_leaf_that_the_loss_does_not_depend_on_has_zeros():
    x, y = gg.input("x", 3), gg.parameter("y", (2, 2), dtype="float64")
    graph = derive(Graph({"loss": gg.sum(x)}, names={"y": y}), "loss")
    assert evaluate(graph, {"x": np.ones(3)}, {"y": np.ones((2, 2))})[
        graph.delta("y")
    ].tolist() == [[0, 0], [0, 0]]
    assert graph.delta("y").type == y.type


def test_only_what_lies_between_is_derived():
    x, w = gg.input("x", 3), gg.parameter("w", 3)
    graph = Graph({"loss": gg.sum(gg.multiply(gg.exp(x, name="e"), w, name="m"))})
    derived = derive(graph, "loss", ["w"])
    assert derived.delta("m").shape == derived.delta("w").shape == (3,)
    for name in ("e", "x"):
        with pytest.raises(UnknownNameError, match="has no delta"):
            derived.delta(name)
    for one in ("w", w, [w]):
        assert derive(graph, "loss", one).names == derived.names


def test_integers_and_states_have_no_delta():
    n, s = gg.input("n", 3, "int32"), gg.state("s", 3)
    graph = derive(Graph({"loss": gg.sum(gg.cast(n, "float32") * s)}), "loss")
    for name in ("n", "s"):
        with pytest.raises(UnknownNameError, match="has no delta"):
            graph.delta(name)
    assert derive(graph, "loss", ["s"], label="again")["s.again"].shape == (3,)


# ---------------------------------------------------------------- seeds


def test_a_seed_is_the_delta_of_the_node():
    x, seed = gg.input("x", (2, 3), "float64"), gg.input("seed", (2, 3), "float64")
    y = gg.tanh(x, name="y")
    graph = derive(Graph({"y": y}, names={"seed": seed}), "y", seed=seed)
    assert graph.delta("y") is seed
    v = np.random.default_rng(0).normal(size=(2, 3))
    values = evaluate(graph, {"x": v, "seed": v + 1})
    np.testing.assert_allclose(values[graph.delta("x")], (v + 1) * (1 - np.tanh(v) ** 2))


def test_what_has_no_delta_is_refused():
    x = gg.input("x", 3)
    y = gg.exp(x, name="y")
    with pytest.raises(DeclarationError, match="only a scalar has deltas") as caught:
        derive(Graph(y), "y")
    assert "seed" in caught.value.fix and __file__ in caught.value.where
    with pytest.raises(DeclarationError, match=r"the seed is float32\[4\]"):
        derive(Graph(y), "y", seed=gg.input("seed", 4))
    with pytest.raises(DeclarationError, match="only floats have deltas"):
        derive(Graph(gg.sum(gg.argmax(y, name="best"), name="n")), "n")
    with pytest.raises(UnknownNameError, match="'lost'"):
        derive(Graph(y), "lost")


def test_an_operation_without_a_rule_is_named_with_its_line():
    without = gg.Operation("without", lambda x: x, "x", arity=1)
    loss = gg.sum(without(gg.input("x", 3), name="side"))
    with pytest.raises(DeclarationError, match="'side': the operation without has no") as caught:
        derive(Graph(loss), loss)
    assert __file__ in caught.value.where and "stop_gradient" in caught.value.fix


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda delta, y, x: (), "gives 0 contributions for 1 heads"),
        (lambda delta, y, x: (gg.concatenate([delta, delta]),), r"gives float32\[6\] for a head"),
        (lambda delta, y, x: (gg.cast(delta, "float64"),), "gives float64"),
        (lambda delta, y, x: delta, "gives Node and not a tuple of contributions"),
        (lambda delta, y, x: 1.0, "gives float and not a tuple"),
        (lambda delta, y, x: None, "gives NoneType and not a tuple"),
        (lambda delta, y, x: (1.0,), "gives float as a contribution"),
        (lambda delta, y, x: (np.ones(3),), "gives ndarray as a contribution"),
    ],
)
def test_a_wrong_rule_is_named(rule, reason):
    wrong = gg.Operation("wrong", lambda x: x, "x", delta=rule)
    loss = gg.sum(wrong(gg.input("x", 3)))
    with pytest.raises(DeclarationError, match=reason):
        derive(Graph(loss), loss)


# ---------------------------------------------------------------- cutting and replacing


def test_stop_gradient_cuts():
    x = gg.input("x", 3, "float64")
    y = gg.stop_gradient(gg.exp(x)) * x
    graph = derive(Graph({"loss": gg.sum(y)}), "loss")
    v = np.array([0.0, 1.0, -2.0])
    np.testing.assert_allclose(evaluate(graph, {"x": v})[graph.delta("x")], np.exp(v))


def test_a_loss_of_constants_only_has_zeros_everywhere():
    x = gg.input("x", 3)
    graph = derive(Graph({"loss": gg.sum(gg.stop_gradient(x))}), "loss")
    assert evaluate(graph, {"x": np.ones(3)})[graph.delta("x")].tolist() == [0, 0, 0]


def test_with_delta_keeps_the_value_and_replaces_what_is_sent_back():
    x, w = gg.input("x", 3, "float64"), gg.input("w", 3, "float64")
    hard = gg.cast(x > 0, "float64")
    y = gg.with_delta(hard, (x, w), lambda delta, y, x, w: (delta * w, None), name="straight")
    graph = derive(Graph({"loss": gg.sum(y * 3.0), "y": y}), "loss", [x, w])
    feeds = {"x": np.array([-1.0, 2, 3]), "w": np.array([5.0, 6, 7])}
    values = evaluate(graph, feeds)
    assert values[graph["straight"]].tolist() == [0, 1, 1]
    assert values[graph.delta("x")].tolist() == [15, 18, 21]
    assert values[graph.delta("w")].tolist() == [0, 0, 0]
    program = gg.compile(graph, ["x.delta"])
    found = program(**feeds)
    assert found["y"].tolist() == [0, 1, 1] and found["x.delta"].tolist() == [15, 18, 21]


# ---------------------------------------------------------------- again


def test_second_derivatives_by_another_label():
    x = gg.input("x", 3, "float64")
    first = derive(Graph({"loss": gg.sum(gg.sin(x) * x)}), "loss")
    first = first.with_outputs({"slope": gg.sum(first.delta("x"))})
    second = derive(first, "slope", ["x"], label="delta2")
    third = derive(second.with_outputs({"s": gg.sum(second["x.delta2"])}), "s", "x", label="d3")
    v = np.array([0.3, -1.0, 2.0])
    values = evaluate(third, {"x": v})
    np.testing.assert_allclose(values[third["x.delta"]], np.sin(v) + v * np.cos(v))
    np.testing.assert_allclose(values[third["x.delta2"]], 2 * np.cos(v) - v * np.sin(v))
    np.testing.assert_allclose(values[third["x.d3"]], -3 * np.sin(v) - v * np.cos(v))
    assert deltas_of(third, [x], "delta2") == [third["x.delta2"]]
    assert third["x.delta"] is first.delta("x")


def test_deriving_twice_under_one_label_is_refused():
    """The deltas of the first loss must not silently become those of the second."""
    w = gg.parameter("w", 3)
    graph = Graph({"one": gg.sum(w * w, name="one"), "two": gg.sum(w, name="two")})
    derived = derive(graph, "one")
    for target in ("one", "two"):
        with pytest.raises(DeclarationError, match="already has a delta of") as caught:
            derive(derived, target)
        assert 'label="delta2"' in caught.value.fix
    both = derive(derived, "two", label="delta_of_two")
    values = evaluate(both, {}, {"w": np.array([1.0, 2, 3])})
    assert values[both["w.delta"]].tolist() == [2, 4, 6]
    assert values[both["w.delta_of_two"]].tolist() == [1, 1, 1]


def test_deltas_by_name_before_and_after_optimisation():
    x, w = gg.input("x", ("batch", 3), "float64"), gg.parameter("w", (3, 2), dtype="float64")
    logits = gg.matmul(x, w, name="logits")
    p = gg.log(gg.softmax(logits, name="p"), name="log_p")
    graph = derive(Graph({"loss": gg.mean(p * p, name="loss")}), "loss")
    names = ["logits.delta", "log_p.delta", "w.delta", "p.delta<-log_p"]
    compiled = gg.compile(graph, names)
    generator = np.random.default_rng(0)
    feeds, state = {"x": generator.normal(size=(4, 3))}, {"w": generator.normal(size=(3, 2))}
    known = specialise(graph, {"batch": 4})
    before, after = evaluate(known, feeds, state), compiled(state, **feeds)
    for name in names:
        np.testing.assert_allclose(after[name], before[known[name]], 1e-12, err_msg=name)
    optimised = compiled.program(batch=4).graph
    assert optimised.delta("w") is optimised["w.delta"]
    assert optimised.delta("logits").shape == (4, 2)
    assert isinstance(compiled.graph.delta("log_p"), Node)


def test_deltas_of_named_dimensions():
    """A sum over a named axis: the delta of a bias is summed over the batch."""
    x, b = gg.input("x", ("batch", 3), "float64"), gg.parameter("b", 3, dtype="float64")
    graph = derive(Graph({"loss": gg.mean(gg.tanh(x + b))}), "loss")
    for batch in (1, 2, 5):
        value = np.random.default_rng(batch).normal(size=(batch, 3))
        bias = np.array([0.1, -0.2, 0.3])
        found = gg.compile(graph, ["b.delta"])({"b": bias}, x=value)["b.delta"]
        expected = numerical_gradient(lambda b, v=value: float(np.tanh(v + b).mean()), bias)
        np.testing.assert_allclose(found, expected, 1e-8)
