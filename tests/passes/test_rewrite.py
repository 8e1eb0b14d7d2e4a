"""Patterns and the driver: what matches, what binds, and that rewriting always comes to rest."""

from __future__ import annotations

import time

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import PassError
from graphgrad.passes.pattern import any_node, any_number, number, number_of, pattern
from graphgrad.passes.rewrite import Rule, by_operation, map_nodes, rewrite

X, Y = gg.input("x", 3), gg.input("y", 3)
A, B = any_node("a"), any_node("b")


# ---------------------------------------------------------------- patterns


def test_a_pattern_binds_what_it_names():
    found = pattern(gg.subtract, A, pattern(gg.exp, B, bind="e")).match(X - gg.exp(Y), {})
    assert found == {"a": X, "b": Y, "e": gg.exp(Y)}
    assert pattern(gg.subtract, A, B).match(X + Y, {}) is None


def test_a_commutative_operation_is_tried_both_ways():
    sought = pattern(gg.add, pattern(gg.exp, A), B)
    assert sought.match(gg.exp(X) + Y, {}) == sought.match(Y + gg.exp(X), {}) == {"a": X, "b": Y}
    assert pattern(gg.subtract, pattern(gg.exp, A), B).match(Y - gg.exp(X), {}) is None


def test_one_name_is_one_node():
    sought = pattern(gg.multiply, A, A)
    assert sought.match(X * X, {}) == {"a": X} and sought.match(X * Y, {}) is None


def test_numbers_match_by_value():
    for one in (gg.constant(1.0), gg.constant(1), gg.constant(np.ones((2, 2)))):
        assert number(1).match(one, {}) == {}
        assert number(0).match(one, {}) is None
    assert number(1).match(X, {}) is None
    assert any_number("c").match(gg.constant([[5.0]]), {}) is not None
    assert any_number("c").match(gg.constant([1.0, 1.0]), {}) is None
    assert number_of(gg.constant([[5.0]])) == 5.0


def test_conditions_and_whole_operations():
    floats = any_node("f", lambda node: node.type.is_float)
    assert floats.match(X, {}) and floats.match(gg.argmax(X), {}) is None
    assert pattern(gg.exp).match(gg.exp(X), {}) == {}  # no heads: whatever they are


# ---------------------------------------------------------------- the driver


def rule(name, sought, result):
    return by_operation([Rule(name, sought, result)])


def test_rules_apply_until_none_matches():
    squares = rule("exp exp → exp", pattern(gg.exp, pattern(gg.exp, A)), lambda a: gg.exp(a))
    y = X
    for _ in range(5):
        y = gg.exp(y)
    graph = rewrite(Graph({"y": y}), squares, "here")
    assert graph.outputs["y"] is gg.exp(X)


def test_tails_are_rebuilt_on_new_heads():
    doubled = rule("sin → cos", pattern(gg.sin, A), lambda a: gg.cos(a))
    graph = rewrite(Graph({"y": gg.tanh(gg.sin(X) * Y, name="z")}), doubled, "here")
    assert graph.outputs["y"] is gg.tanh(gg.cos(X) * Y) is graph["z"]


def test_names_lines_and_scopes_are_inherited():
    with gg.scope("layer"):
        y = gg.sin(X, name="wave")
    graph = rewrite(Graph({"y": y}), rule("r", pattern(gg.sin, A), lambda a: gg.cos(a * 2.0)), "h")
    new = graph["layer.wave"]
    assert new.operation is gg.cos and new.origin == y.origin
    assert new.heads[0].names == ("layer.wave.multiply",) and new.heads[0].origin == y.origin


def test_a_result_of_another_type_does_not_apply():
    wrong = rule("r", pattern(gg.sin, A), lambda a: gg.cos(gg.cast(a, "float64")))
    graph = Graph({"y": gg.sin(X)})
    assert rewrite(graph, wrong, "here").outputs["y"] is gg.sin(X)


def test_a_result_of_none_does_not_apply():
    graph = Graph({"y": gg.sin(X)})
    assert rewrite(graph, rule("r", pattern(gg.sin, A), lambda a: None), "here") is graph


@pytest.mark.parametrize(
    "restless",
    [
        rule("turns around", pattern(gg.add, A, B), lambda a, b: gg.add(b, a)),
        rule("turns around", pattern(gg.sin, A), lambda a: gg.sin(gg.cos(a))),
    ],
    ids=["two results for ever", "ever longer"],
)
def test_a_rule_that_never_rests_is_stopped_and_named(restless):
    started = time.process_time()
    with pytest.raises(PassError, match="here: rewriting did not reach a fixed point") as caught:
        rewrite(Graph({"y": gg.sin(X) + Y}), restless, "here")
    assert "'turns around' fired" in caught.value.fix
    assert time.process_time() - started < 5


def test_a_pattern_starts_with_an_operation():
    with pytest.raises(ValueError, match="'loose': a pattern starts with an operation"):
        by_operation([Rule("loose", A, lambda a: a)])


def test_updates_are_rewritten_too():
    w = gg.parameter("w", 3)
    graph = Graph({"y": X}, {w: gg.sin(w)})
    after = rewrite(graph, rule("r", pattern(gg.sin, A), lambda a: gg.cos(a)), "here")
    assert after.updates == {w: gg.cos(w)}


def test_map_nodes_without_a_change_is_the_same_graph():
    graph = Graph({"y": gg.sin(X)})
    assert map_nodes(graph, lambda node: None) is graph
