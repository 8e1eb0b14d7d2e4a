"""Finite differences at every node: right deltas pass, wrong rules are found and named."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from graphgrad.checks.finite_differences import Verdict, check
from graphgrad.checks.slopes import TOLERANCE
from graphgrad.errors import DeclarationError, NonFiniteError, UnknownNameError
from graphgrad.graph import (
    Graph,
    Node,
    Operation,
    initial_state,
    input,
    normal,
    parameter,
    scope,
    state,
)
from graphgrad.layers import causal_mask, feed_forward, layer_norm, multi_head_attention
from graphgrad.models import transformer
from graphgrad.ops import (
    cast,
    dropout_mask,
    matmul,
    max,
    multiply,
    relu,
    softmax,
    sqrt,
    stop_gradient,
    sum,
    tanh,
    where,
    with_delta,
)

X = np.array([0.4, -1.2, 2.0])


def chain(activation: Operation) -> Graph:
    """x · w -> first -> activation -> last -> loss."""
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    first = tanh(multiply(x, w, name="a"), name="first")
    last = tanh(activation(first, name="middle"), name="last")
    return Graph({"loss": sum(last * last, name="loss")})


def judged(graph: Graph, x: np.ndarray = X, **keywords: object) -> dict[str, Verdict]:
    weights = {"w": np.array([0.7, -0.3, 0.5])}
    return {v.name: v for v in check(graph, "loss", {"x": x}, weights, **keywords)}  # type: ignore[arg-type]


def small_transformer() -> tuple[Graph, dict[str, np.ndarray]]:
    """A decoder-like layer with a mask, dropout and layer normalisation, batch left open."""
    x = input("x", ("batch", "target", 8), "float64")
    seed, step = (state(name, (), dtype="int32") for name in ("seed", "step"))
    with scope("layer"):
        y = multi_head_attention(x, x, causal_mask(x.shape[1]), 2)
        y = y * dropout_mask(seed, step, x.shape, 0.2, 0, "float64", name="mask")
        y = layer_norm(x + y)
        y = feed_forward(y, 16)
    loss = sum(y * y * y, name="loss")
    return Graph({"loss": loss}), {"x": np.random.default_rng(0).standard_normal((2, 5, 8))}


def test_every_delta_of_a_layer_is_right() -> None:
    graph, feeds = small_transformer()
    first = initial_state(graph, 3)
    kept = {name: array.copy() for name, array in first.items()}
    verdicts = check(graph, graph.outputs["loss"], feeds, first)
    assert {v.verdict for v in verdicts} == {"ok", "no delta"}
    names = {v.name: v for v in verdicts}
    assert names["layer.attention.masked_scores"].verdict == "ok", "−∞ is left alone"
    assert names["layer.attention.weights"].shape == (2, 2, 5, 5)
    assert names["layer.mask"].verdict == "no delta"
    assert all(v.relative_error is None or v.relative_error < TOLERANCE for v in verdicts)
    assert all(np.array_equal(first[name], kept[name]) for name in kept)


def test_the_built_in_transformer_passes_quickly() -> None:
    settings = replace(transformer.Settings(), **{**transformer.CHECK, "dtype": "float64"})
    graph = transformer.training_graph(settings, 11, 9)
    generator = np.random.default_rng(0)
    feeds = {name: generator.integers(1, 9, (2, 5), dtype=np.int32) for name in graph.inputs}
    verdicts = check(graph, "loss", feeds, initial_state(graph, 0))
    assert not [v for v in verdicts if v.verdict == "wrong"]
    assert sum_of(verdicts, "ok") > 100


def sum_of(verdicts: tuple[Verdict, ...], judgement: str) -> int:
    return len([v for v in verdicts if v.verdict == judgement])


def test_a_wrong_rule_shows_before_it_and_is_named() -> None:
    wrong = replace(tanh, name="bad", delta=lambda delta, y, x: (delta * (1.0 - y),))
    found = judged(chain(wrong))
    assert [name for name, v in found.items() if v.verdict == "wrong"] == ["x", "w", "a", "first"]
    assert {found[name].verdict for name in ("middle", "last", "loss")} == {"ok"}
    blamed = found["w"]
    assert blamed.suspect == "middle" and blamed.suspect_rule == "bad: δ · (1 - y²)"
    assert blamed.relative_error is not None and blamed.relative_error > 1e-3
    assert __file__ in blamed.origin
    assert found["first"].formula == "δ[middle] · (1 - middle²)"


def test_of_two_wrong_rules_the_one_nearest_to_the_loss_is_named() -> None:
    bad = replace(tanh, name="bad", delta=lambda delta, y, x: (delta,))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    late = bad(bad(x * w, name="early"), name="late")
    found = judged(Graph({"loss": sum(late, name="loss")}))
    assert found["early"].suspect == "late" and found["w"].suspect == "late"


def test_a_wrong_rule_for_one_head_leaves_the_other_alone() -> None:
    def half(delta: Node, y: Node, a: Node, b: Node) -> tuple[Node, Node]:
        return matmul(delta, b, transpose_b=True), 0.5 * matmul(a, delta, transpose_a=True)

    bad = replace(matmul, name="bad", delta=half)
    x, w = input("x", (2, 3), "float64"), parameter("w", (3, 4), normal(1.0), "float64")
    early = parameter("early", (3, 3), normal(1.0), "float64")
    a = tanh(matmul(x, early), name="z")
    y = bad.node(a, tanh(w, name="v"), transpose_a=False, transpose_b=False, name="y")
    graph = Graph({"loss": sum(y * y, name="loss")})
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3))}
    found = {v.name: v for v in check(graph, "loss", feeds, initial_state(graph, 0))}
    assert {name for name, v in found.items() if v.verdict == "wrong"} == {"v", "w"}
    assert found["w"].suspect == "y" and found["z"].verdict == "ok"


def test_a_wrong_rule_beside_the_way_is_not_blamed() -> None:
    def off(delta: Node, y: Node, a: Node, b: Node) -> tuple[Node, Node]:
        return delta * b, delta * a * 2.0

    aside = replace(multiply, name="aside", delta=off)
    early = replace(tanh, name="bad", delta=lambda delta, y, x: (delta,))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    product = aside(early(x, name="early"), w, name="late")
    found = judged(Graph({"loss": sum(product, name="loss")}))
    assert found["x"].suspect == "early" and found["w"].suspect == "late"


def test_a_missing_contribution_is_a_wrong_rule() -> None:
    silent = replace(tanh, name="silent", delta=lambda delta, y, x: (None,))
    found = judged(chain(silent))
    assert found["w"].verdict == "wrong" and found["w"].symbolic == 0.0
    assert found["w"].suspect == "middle"
    assert found["first"].verdict == "no delta"


def test_a_softmax_without_its_sum_is_found() -> None:
    bad = replace(softmax, delta=lambda delta, y, x: (y * delta,))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    weights = bad.node(x * w, axis=0, name="weights")
    found = judged(Graph({"loss": sum(weights * weights, name="loss")}))
    assert found["w"].verdict == "wrong" and found["w"].suspect == "weights"


def test_kinks_are_warned_of() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    at_zero = judged(Graph({"loss": sum(relu(a), name="loss")}), np.array([0.0, 1.0, 2.0]))
    assert at_zero["a"].verdict == "kink" and at_zero["relu"].verdict == "ok"
    tie = np.array([5.0, 1.0, 5.0]) / np.array([0.7, -0.3, 0.5])
    tied = judged(Graph({"loss": max(a, name="loss")}), tie)
    assert tied["a"].verdict == "kink"
    away = judged(Graph({"loss": sum(relu(a), name="loss")}))
    assert {v.verdict for v in away.values()} == {"ok"}


def test_a_kink_does_not_excuse_a_wrong_rule() -> None:
    bad = replace(relu, name="bad", delta=lambda delta, y, x: (3.0 * where(y > 0, delta, 0.0),))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    graph = Graph({"loss": sum(bad(multiply(x, w, name="a")), name="loss")})
    assert judged(graph, np.array([0.0, 10.0, 20.0]))["a"].verdict == "wrong"


def test_the_edge_of_a_domain_is_a_kink() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    graph = Graph({"loss": sum(sqrt(multiply(x, w, name="a") + 1e-30), name="loss")})
    assert judged(graph, np.zeros(3))["a"].verdict == "kink"


def test_what_counts_as_constant_is_not_moved_through() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    found = judged(Graph({"loss": sum(stop_gradient(a, name="held") * a, name="loss")}))
    assert {v.verdict for v in found.values()} == {"ok"}


def test_a_rule_of_the_users_own_is_replaced_not_wrong() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    rounded = with_delta(cast(cast(a, "int32"), "float64"), (a,), lambda d, y, x: (d,), name="r")
    found = judged(Graph({"loss": sum(tanh(rounded), name="loss")}), 1.1 * X)
    assert found["w"].verdict == found["a"].verdict == "replaced" and found["w"].suspect == "r"
    right = with_delta(tanh(a), (a,), lambda d, y, x: (d * (1.0 - y * y),), name="own")
    found = judged(Graph({"loss": sum(right * right, name="loss")}))
    assert {v.verdict for v in found.values()} <= {"ok", "no delta"} and found["w"].verdict == "ok"


def test_tiny_and_vanishing_deltas_are_judged_right() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    shift = parameter("shift", 1, normal(1.0), "float64")
    blind = sum(softmax(a + shift, 0) * x, name="loss")  # softmax does not see the shift
    state = {"w": np.array([0.7, -0.3, 0.5]), "shift": np.array([0.3])}
    found = {v.name: v for v in check(Graph({"loss": blind}), "loss", {"x": X}, state)}
    assert {v.verdict for v in found.values()} == {"ok"}
    found = judged(Graph({"loss": sum(a * a, name="loss")}), X * 1e-9)
    assert {v.verdict for v in found.values()} == {"ok"}
    assert found["w"].symbolic != 0.0


def test_a_wrong_delta_of_tiny_size_is_still_wrong() -> None:
    bad = replace(tanh, name="bad", delta=lambda delta, y, x: (2.0 * delta,))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    graph = Graph({"loss": sum(bad(multiply(x, w, name="a")), name="loss")})
    assert judged(graph, X * 1e-9)["a"].verdict == "wrong"


def test_nodes_are_chosen_by_name_and_pattern() -> None:
    assert list(judged(chain(tanh), nodes=["a", "*iddle"])) == ["a", "middle"]
    with pytest.raises(UnknownNameError, match=r"like 'hidden\.\*'"):
        judged(chain(tanh), nodes=["hidden.*"])
    with pytest.raises(UnknownNameError, match="did you mean 'middle'"):
        judged(chain(tanh), nodes=["midle"])


def test_what_else_is_checked_changes_no_verdict() -> None:
    assert judged(chain(tanh), nodes=["middle"])["middle"] == judged(chain(tanh))["middle"]
    assert judged(chain(tanh), seed=1)["w"] != judged(chain(tanh), seed=2)["w"]


def test_single_precision_and_infinite_losses_are_refused() -> None:
    x = input("x", 3)
    with pytest.raises(DeclarationError, match=r"float32\[\].*need float64"):
        check(Graph({"loss": sum(x, name="loss")}), "loss", {"x": X})
    with pytest.raises(NonFiniteError, match="loss is nan"):
        judged(chain(tanh), np.array([math.nan, 1.0, 1.0]))


def test_empty_values_are_right() -> None:
    x = input("x", ("n", 3), "float64")
    graph = Graph({"loss": sum(tanh(x, name="z"), name="loss")})
    verdicts = check(graph, "loss", {"x": np.zeros((0, 3))})
    assert {v.verdict for v in verdicts} == {"ok"}


def test_a_verdict_is_strict_json() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    graph = Graph({"loss": sum(sqrt(multiply(x, w, name="a") + 1e-30), name="loss")})
    for verdict in judged(graph, np.zeros(3)).values():
        assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["name"] == verdict.name


def test_a_wrong_rule_is_named_with_its_lines_wherever_the_graph_is_cut() -> None:
    def crooked(delta: Node, y: Node, x: Node) -> tuple[Node]:
        return (delta * (1.0 - y),)

    graph = chain(replace(tanh, name="bad", delta=crooked))
    (line,) = {node.origin.line for node in graph.nodes if graph.name_of(node) == "middle"}
    for name in ("w", "a", "first"):
        found = judged(graph, nodes=[name])[name]
        assert (found.suspect, found.suspect_head) == ("middle", "first")
        assert found.suspect_origin == f"{__file__}:{line}"
        assert found.rule_origin == f"{__file__}:{crooked.__code__.co_firstlineno}"
    assert judged(graph, nodes=["middle"])["middle"].suspect_origin == ""


def test_each_tail_of_a_chosen_node_has_a_verdict_of_its_own() -> None:
    bad = replace(tanh, name="bad", delta=lambda delta, y, x: (delta,))
    x, w = input("x", 3, "float64"), parameter("w", 3, normal(1.0), "float64")
    a = multiply(x, w, name="a")
    own = with_delta(relu(a), (a,), lambda d, y, x: (d,), name="own")
    graph = Graph({"loss": sum(bad(a, name="left") + tanh(a, name="right") + own, name="loss")})
    found = judged(graph, nodes=["a"])["a"]
    assert {tail.tail: tail.verdict for tail in found.tails} == {
        "left": "wrong",
        "right": "ok",
        "own": "replaced",
    }
    rules = {tail.tail: tail.rule for tail in found.tails}
    assert found.suspect == "left" and rules["left"] == "bad: δ · (1 - y²)"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["tails"][0]["tail"]


def wide(activation: Operation) -> tuple[Graph, dict[str, np.ndarray]]:
    """20,000 neurons, some of which always lie within a step of 0."""
    x, w = input("x", (20, 1000), "float64"), parameter("w", (1000,), normal(1.0), "float64")
    a = multiply(x, w, name="a")
    z = activation(a, name="z")
    graph = Graph({"loss": sum(z * z * z + z, name="loss")})
    feeds = {"x": np.random.default_rng(3).standard_normal((20, 1000))}
    feeds["x"][0, :40] *= 1e-6
    return graph, feeds


def test_neurons_near_their_kink_are_no_wrong_rule() -> None:
    graph, feeds = wide(relu)
    for verdict in check(graph, "loss", feeds, initial_state(graph, 0)):
        assert verdict.verdict in ("ok", "kink"), verdict
        assert all(tail.verdict in ("ok", "kink") for tail in verdict.tails)


def test_neurons_near_their_kink_hide_no_wrong_rule() -> None:
    bad = replace(relu, name="bad", delta=lambda delta, y, x: (1.001 * where(y > 0, delta, 0.0),))
    graph, feeds = wide(bad)
    found = {v.name: v for v in check(graph, "loss", feeds, initial_state(graph, 0))}
    assert found["a"].verdict == "wrong" and found["a"].suspect == "z"
    assert found["w"].verdict == "wrong" and found["z"].verdict == "ok"
