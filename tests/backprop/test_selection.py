"""Which nodes are forward, which are deltas, and which a pattern means."""

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.errors import UnknownNameError
from graphgrad.graph import Graph, constant, input, parameter, scope, state
from graphgrad.ops import argmax, cast, matmul, sum, tanh, with_delta
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import PASSES, optimise
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings


def forward() -> Graph:
    x, w = input("x", (2, 3)), parameter("w", (3, 3))
    with scope("rule"):  # a user may call a scope so
        z = tanh(matmul(x, w, name="a"), name="z")
    return Graph({"loss": sum(z * z, name="loss"), "best": argmax(z, name="best")})


def test_parts_follow_from_the_deltas_not_from_words() -> None:
    before, graph = forward(), derive(forward(), "loss")
    parts = parts_of(graph)
    assert {parts[graph[name]] for name in ("x", "w", "rule.a", "rule.z", "loss", "best")} == {
        "forward"
    }
    assert parts[graph["rule.z.delta"]] == parts[graph["w.delta"]] == "delta"
    assert set(parts.values()) == {"forward", "delta"}
    assert set(parts_of(before).values()) == {"forward"}


def test_the_optimiser_is_the_update() -> None:
    graph = training_step(forward(), TrainingSettings(optimiser="adam", clip_norm=1.0))
    parts = parts_of(graph)
    assert parts[graph["loss"]] == parts[graph["best"]] == "forward"
    assert parts[graph["w.delta"]] == "delta"
    for leaf, value in graph.updates.items():
        assert parts[value] == "update", graph.name_of(leaf)
    assert parts[graph["w"]] == "forward"
    optimised, _ = optimise(graph, PASSES)
    after = parts_of(optimised)
    assert after[optimised.updates[optimised["w"]]] == "update"
    assert after[optimised["loss"]] == "forward"


def test_counters_of_updates_without_deltas() -> None:
    step = state("step", (), dtype="int32")
    graph = Graph({"y": cast(step, "float32", name="y")}, {step: step + constant(1)})
    parts = parts_of(graph)
    assert parts[graph["y"]] == "forward" and parts[graph.updates[graph["step"]]] == "update"


def test_contributions_add_up_to_the_delta() -> None:
    x, w = input("x", 3, "float64"), parameter("w", 3, dtype="float64")
    z = tanh(x * w, name="z")
    graph = derive(Graph({"loss": sum(z * z + 2.0 * z, name="loss")}), "loss")
    found = graph.sent_back("z")
    assert [item.place for item in found] == [0, 1, 1] or [i.place for i in found] == [1, 0, 1]
    values = evaluate(graph, {"x": np.arange(3.0)}, {"w": np.ones(3)})
    total = np.sum([values[item.value] for item in found], axis=0)
    assert np.allclose(total, values[graph.delta("z")])


def test_a_rule_of_the_users_own_sends_to_the_given_head() -> None:
    x = input("x", 2, "float64")
    y = with_delta(x, (x,), lambda delta, y, x: (delta * 3.0,), name="y")
    graph = derive(Graph({"loss": sum(y, name="loss")}), "loss")
    (sent,) = graph.sent_back("x")
    assert (graph.name_of(sent.tail), sent.place) == ("y", 1)


def test_patterns_choose_among_nodes_and_exact_names_anywhere() -> None:
    graph = derive(forward(), "loss")
    among = [graph["x"], graph["rule.a"], graph["rule.z"]]
    names = [graph.name_of(node) for node in matching(graph, ["rule.*"], among)]
    assert names == ["rule.a", "rule.z"]
    assert matching(graph, ["rule.z.delta"], among) == (graph["rule.z.delta"],)
    assert matching(graph, ["rule.?", "x"], among) == (graph["x"], graph["rule.a"], graph["rule.z"])
    with pytest.raises(UnknownNameError, match="like 'loss\\*'"):
        matching(graph, ["loss*"], among)


def test_a_name_with_wildcards_in_it_is_found_by_itself() -> None:
    odd, plain = input("a[1]*", 2), input("a1", 2)
    graph = Graph({"y": odd + plain})
    assert matching(graph, ["a[1]*"], [odd, plain]) == (odd,)
