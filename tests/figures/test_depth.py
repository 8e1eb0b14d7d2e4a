"""What follows what in depth is read from the edges: branches, uses and neurons are not joined."""

from __future__ import annotations

import itertools
import random

import pytest

import graphgrad as gg
from graphgrad.figures.depth import following, in_order, visits
from graphgrad.models import BUILTIN
from graphgrad.training.task import load_model


def names(graph, pairs, groups):
    labels = [graph.name_of(group[0]) for group in groups]
    return {(labels[first], labels[second]) for first, second in pairs}


def test_it_is_the_cover_of_the_order_of_random_graphs():
    """Against all ways, counted by brute force: b follows a if a way leads there past no other."""
    for seed in range(20):
        draw = random.Random(seed)
        nodes = [gg.input("x", (2,))]
        for number in range(12):
            heads = draw.sample(nodes, min(len(nodes), draw.choice([1, 1, 2])))
            product = heads[0] if len(heads) == 1 else heads[0] * heads[1]
            nodes.append(gg.multiply(product, number + 2.0, name=f"n{number}"))
        graph = gg.Graph({str(n): node for n, node in enumerate(nodes)})
        chosen = sorted(draw.sample(range(len(nodes)), 8))
        below = {node: graph.ancestors([node]) for node in nodes}
        before = {
            (a, b)
            for a, b in itertools.permutations(range(8), 2)
            if nodes[chosen[a]] in below[nodes[chosen[b]]]
        }
        cover = {
            (a, b)
            for a, b in before
            if not any((a, c) in before and (c, b) in before for c in range(8))
        }
        assert set(following(graph, [[nodes[n]] for n in chosen])) == cover


def test_weights_that_two_uses_share_are_no_step_of_depth():
    x = gg.input("x", (4, 3))
    w = gg.parameter("w", (3, 3))
    first = gg.tanh(gg.matmul(x, w), name="first")
    second = gg.tanh(gg.matmul(first, w), name="second")
    groups = [[w], [second], [first]]
    graph = gg.Graph(second)
    assert names(graph, following(graph, groups), groups) == {("first", "second")}


def test_neurons_of_a_layer_are_followed_by_those_of_the_next():
    model = load_model("feedforward", BUILTIN)
    graph = model.task(model.settings, {}).graph
    groups = [
        [graph.names[f"{layer}{n}.z"]] for layer in ("hidden.h", "output.y") for n in (1, 2, 3)
    ]
    assert set(following(graph, groups)) == {(h, y) for h in range(3) for y in range(3, 6)}


def test_blocks_that_follow_each_other_both_ways_have_no_order():
    x = gg.input("x", (3,))
    a = gg.tanh(x)
    b = gg.exp(a)
    a2, b2 = gg.tanh(b), gg.exp(x)
    c = gg.sin(b2 * a2)
    graph = gg.Graph(c)
    groups = [[a, a2], [b, b2], [c]]
    assert set(following(graph, groups)) == {(0, 2), (1, 2)}
    entered = visits(graph, groups)
    assert [entered[node] for node in (a, a2, b, b2, c)] == [1, 2, 1, 1, 1]
    divided = [[a], [b, b2], [a2], [c]]
    assert set(following(graph, divided)) == {(0, 1), (1, 2), (2, 3)}


def test_a_parameter_belongs_to_the_visit_that_uses_it_first():
    x = gg.input("x", (2, 3))
    v, w = gg.parameter("v", (3, 3)), gg.parameter("w", (3, 3))
    first = gg.matmul(x, v)
    last = gg.matmul(gg.matmul(gg.exp(first), w), v)
    graph = gg.Graph(last)
    group = [v, w, first, last, last.heads[0]]
    entered = visits(graph, [group, [gg.exp(first)]])
    assert [entered[node] for node in group] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("pairs", [(), ((2, 0),), ((1, 0), (2, 1))])
def test_the_order_has_everything_after_what_it_follows(pairs):
    order = in_order(3, pairs)
    assert sorted(order) == [0, 1, 2]
    assert all(order.index(first) < order.index(second) for first, second in pairs)
