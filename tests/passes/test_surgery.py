"""Surgery on deltas: values against NumPy and PyTorch's hooks, names, pictures, errors."""

from dataclasses import replace as changed

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.backprop.formula import delta_formula
from graphgrad.backprop.selection import parts_of
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError, DeclarationError, UnknownNameError
from graphgrad.graph import Graph, constant, initial_state, input, normal, parameter, scope, verify
from graphgrad.ops import add, matmul, multiply, sum, tanh
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import PASSES, optimise
from graphgrad.passes.surgery import (
    KINDS,
    clip,
    clip_norm,
    parse_surgery,
    replace,
    scale,
    stop,
    surgery,
)
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings

X = np.random.default_rng(0).standard_normal((5, 3))


def network():
    """x -> hidden.z, used twice (by `left` and `right`), and two deltas that are one node."""
    x = input("x", (5, 3), "float64")
    with scope("hidden"):
        w = parameter("w", (3, 4), normal(1.0), "float64")
        b = parameter("b", (5, 4), normal(1.0), "float64")
        z = tanh(add(matmul(x, w, name="product"), b, name="a"), name="z")
    left = multiply(z, z, name="left")
    right = tanh(z, name="right")
    return Graph({"loss": sum(left + right, name="loss")})


def values(cuts):
    """The derived and operated graph, its state, and a function from names to arrays."""
    graph = surgery(derive(network(), "loss"), cuts)
    verify(graph)
    state = initial_state(graph, 3)
    found = evaluate(graph, {"x": X}, state)
    return graph, state, lambda name: found[graph[name]]


def by_hand(cut=lambda d: d, left=lambda d: d):
    """δ of z before and after the cut, of a, w and b: the same network in NumPy."""
    state = initial_state(network(), 3)
    z = np.tanh(X @ state["hidden.w"] + state["hidden.b"])
    before = left(2 * z) + (1 - np.tanh(z) ** 2)
    after = cut(before)
    a = after * (1 - z * z)
    return {"before": before, "z": after, "a": a, "w": X.T @ a, "b": a}


CASES = {
    "clip": (clip("hidden.z", 0.7), lambda d: np.clip(d, -0.7, 0.7)),
    "clip_norm": (
        clip_norm("hidden.z", 0.5),
        lambda d: d * min(0.5 / (np.linalg.norm(d) + 1e-6), 1.0),
    ),
    "scale": (scale("hidden.z", -0.5), lambda d: -0.5 * d),
    "stop": (stop("hidden.z"), lambda d: 0 * d),
    "replace": (replace("hidden.z", lambda d: d * d), lambda d: d * d),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_nodes_delta_is_cut_and_what_lies_behind_follows(kind):
    cut, function = CASES[kind]
    graph, _, value = values([cut])
    wanted = by_hand(function)
    for name in ("z", "a", "w", "b"):
        np.testing.assert_allclose(value(f"hidden.{name}.delta"), wanted[name], atol=1e-14)
    np.testing.assert_allclose(value("hidden.z.delta.before"), wanted["before"], atol=1e-14)
    assert graph[f"hidden.z.delta.{kind}"] is graph["hidden.z.delta"]


def test_an_edge_is_cut_before_the_sum():
    graph, _, value = values([scale("hidden.z<-left", 3.0)])
    wanted = by_hand(left=lambda d: 3 * d)
    for name in ("z", "w", "b"):
        np.testing.assert_allclose(value(f"hidden.{name}.delta"), wanted[name], atol=1e-13)
    contributions = graph.contributions("hidden.z")
    assert set(contributions) == {"left", "left#2", "right"}
    sent = sum_of(value(f"hidden.z.delta<-{name}") for name in contributions)
    np.testing.assert_allclose(sent, wanted["z"], atol=1e-13)


def sum_of(arrays):
    return np.sum(list(arrays), axis=0)


def test_equal_deltas_of_other_nodes_are_left_alone():
    plain = derive(network(), "loss")
    assert plain["hidden.a.delta"] is plain["hidden.b.delta"], "an addition hands δ on"
    _, _, value = values([stop("hidden.product")])
    wanted = by_hand()
    assert not value("hidden.w.delta").any() and not value("hidden.product.delta").any()
    np.testing.assert_allclose(value("hidden.b.delta"), wanted["b"], atol=1e-14)
    np.testing.assert_allclose(value("hidden.a.delta"), wanted["a"], atol=1e-14)


def test_several_cuts_are_made_in_order():
    _, _, value = values([scale("hidden.z", 10.0), clip("hidden.z", 1.0), scale("hidden.a", 2.0)])
    wanted = by_hand(lambda d: np.clip(10 * d, -1, 1))
    np.testing.assert_allclose(value("hidden.w.delta"), 2 * wanted["w"], atol=1e-13)


def test_a_scope_means_the_node_by_which_values_leave_it():
    graph, _, _ = values([stop("hidden")])
    assert "hidden.z.delta.stop" in graph.names
    x = input("x", 3, "float64")
    with scope("two"):
        first, second = tanh(x, name="first"), tanh(-x, name="second")
    derived = derive(Graph({"loss": sum(first * second, name="loss")}), "loss")
    with pytest.raises(UnknownNameError, match=r"several results[^$]*two\.first, two\.second"):
        surgery(derived, [stop("two")])


def test_a_stop_holds_back_what_is_not_finite():
    x = input("x", 2, "float64")
    root = x ** constant(0.5, "float64")
    derived = derive(Graph({"loss": sum(root, name="loss")}), "loss")
    assert not np.isfinite(evaluate(derived, {"x": np.zeros(2)})[derived.delta("x")]).all()
    graph = surgery(derived, [stop("x")])
    assert not evaluate(graph, {"x": np.zeros(2)})[graph.delta("x")].any()


def test_cut_deltas_survive_the_passes_and_compile():
    graph, state, value = values([clip("hidden.z", 0.7), scale("hidden.z<-left", 0.5)])
    compiled = compile(graph, fetch=["hidden.w.delta", "hidden.z.delta.clip"])
    results = compiled(state, x=X)
    np.testing.assert_allclose(results["hidden.w.delta"], value("hidden.w.delta"), atol=1e-13)
    assert np.abs(results["hidden.z.delta.clip"]).max() <= 0.7
    optimised, _ = optimise(graph.with_outputs({"d": graph.delta("hidden.w")}), PASSES)
    assert "hidden.z.delta.clip" in optimised.names


def test_formulas_show_what_was_cut():
    graph, _, _ = values([clip("hidden.z", 0.7), scale("hidden.z<-right", 0.5), stop("hidden.a")])
    formula = delta_formula(graph, graph["hidden.z"])
    assert formula.startswith("clip 0.7 (δ[left]") and "scale 0.5 (δ[right] ·" in formula
    assert delta_formula(graph, graph["hidden.a"]).startswith("stop (")
    assert parts_of(graph)[graph["hidden.z.delta.clip"]] == "delta"
    deltas = [node for name, node in graph.names.items() if ".delta" in name]
    assert set(graph.nodes) == graph.ancestors([*deltas, graph["loss"]]), "old rules are swept"


def test_nothing_to_cut_changes_nothing():
    derived = derive(network(), "loss")
    assert surgery(derived, []) is derived


def test_outputs_that_are_deltas_follow():
    derived = derive(network(), "loss")
    asked = derived.with_outputs({"loss": derived["loss"], "w.delta": derived["hidden.w.delta"]})
    graph = surgery(asked, [scale("hidden.z", 2.0)])
    assert graph.outputs["w.delta"] is graph["hidden.w.delta"] is not derived["hidden.w.delta"]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (stop("hiden.z"), "did you mean 'hidden.z'"),
        (stop("hidden.z<-lft"), "did you mean 'left'"),
        (stop("hidden.z<-loss"), "its delta comes from 'left' and 'right'"),
        (
            replace("hidden.z", constant(np.zeros(4))),
            r"float64\[5, 4\], its replacement float64\[4\]",
        ),
    ],
)
def test_mistakes_are_named(cut, message):
    with pytest.raises((UnknownNameError, DeclarationError), match=message):
        surgery(derive(network(), "loss"), [cut])


def test_a_node_without_a_delta_is_refused():
    with pytest.raises(UnknownNameError, match="has no delta"):
        surgery(network(), [stop("hidden.z")])
    with pytest.raises(ConfigurationError, match="must be above 0"):
        clip("hidden.z", 0.0)
    with pytest.raises(ConfigurationError, match="not finite"):
        scale("hidden.z", float("inf"))


def test_cuts_come_before_updates():
    complete = training_step(network(), TrainingSettings(dtype="float64"))
    with pytest.raises(DeclarationError, match="made of the deltas already"):
        surgery(complete, [stop("hidden.z")])


def test_surgery_is_a_setting_of_training():
    settings = TrainingSettings(
        dtype="float64",
        optimiser="sgd",
        clip_norm=0.0,
        schedule="constant",
        warmup=0,
        learning_rate=0.1,
        surgery="clip hidden.z 0.7; stop hidden.b",
    )
    step = training_step(network(), settings)
    state = initial_state(step, 3)
    before = {name: array.copy() for name, array in state.items()}
    compile(step)(state, x=X)
    wanted = by_hand(CASES["clip"][1])
    np.testing.assert_allclose(before["hidden.w"] - state["hidden.w"], 0.1 * wanted["w"])
    assert np.array_equal(before["hidden.b"], state["hidden.b"])
    with pytest.raises(UnknownNameError, match=r"did you mean 'hidden\.z'"):
        training_step(network(), changed(settings, surgery="stop hiden.z"))


def test_the_text_of_settings_is_read_strictly():
    cuts = parse_surgery(" clip a 1; clip_norm b 2.5 ;scale c<-d -1; stop e; ")
    assert [str(cut) for cut in cuts] == ["clip a", "clip_norm b", "scale c<-d", "stop e"]
    for text in ("clip a", "clip a b", "stop a 1", "replace a b", "cut a"):
        with pytest.raises(ConfigurationError, match="not understood"):
            parse_surgery(text)


@pytest.mark.parametrize("kind", ["clip", "scale", "stop", "replace"])
def test_values_are_those_of_hooks_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    cut, _ = CASES[kind]
    _, state, value = values([cut])
    hooks = {
        "clip": lambda d: d.clamp(-0.7, 0.7),
        "scale": lambda d: -0.5 * d,
        "stop": torch.zeros_like,
        "replace": lambda d: d * d,
    }
    w, b = (torch.tensor(state[f"hidden.{name}"], requires_grad=True) for name in "wb")
    z = torch.tanh(torch.tensor(X) @ w + b)
    z.register_hook(hooks[kind])
    (z * z + torch.tanh(z)).sum().backward()
    np.testing.assert_allclose(value("hidden.w.delta"), w.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(value("hidden.b.delta"), b.grad.numpy(), atol=1e-13)
