"""Passes in a row: verified, reported, and the guilty one named."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import PassError
from graphgrad.graph import declared_at
from graphgrad.passes import PASSES, fold_constants, optimise, prune, simplify
from graphgrad.passes.rewrite import map_nodes

X = gg.input("x", ("batch", 3), "float64")
W = gg.parameter("w", (3, 2), dtype="float64")


def model() -> Graph:
    loss = gg.mean(gg.tanh(X @ W, name="z") ** 2.0, name="loss")
    graph = gg.derive(Graph({"loss": loss}), "loss")
    return graph.with_outputs(graph.outputs, {W: W - 0.1 * graph.delta("w")})


def tanh_to_sigmoid(graph: Graph) -> Graph:
    """A pass with a mistake."""
    return map_nodes(
        graph, lambda node: gg.sigmoid(node.heads[0]) if node.operation is gg.tanh else None
    )


FEEDS = {"x": np.random.default_rng(0).normal(size=(4, 3))}
STATE = {"w": np.random.default_rng(1).normal(size=(3, 2))}


def test_every_pass_reports_what_it_did():
    graph = model()
    after, reports = optimise(graph, PASSES)
    assert [report.name for report in reports] == [run.__name__ for run in PASSES]
    assert reports[0].nodes_before == len(graph) and reports[-1].nodes_after == len(after)
    for first, second in itertools.pairwise(reports):
        assert first.nodes_after == second.nodes_before
    assert reports[0].new_nodes == 0 and sum(report.new_nodes for report in reports) > 0
    line = str(reports[0])
    assert line.startswith("prune") and f"{len(graph)} ->" in line and line.endswith("ms")


def test_no_passes_give_the_graph_itself():
    graph = model()
    assert optimise(graph, ()) == (graph, ())


def test_the_debug_mode_names_the_guilty_pass():
    graph = model()
    gg.compile(graph, debug=FEEDS, state=STATE)  # nobody is guilty
    for place in range(3):
        passes = list(PASSES)
        passes.insert(place, tanh_to_sigmoid)
        with pytest.raises(PassError, match="pass 'tanh_to_sigmoid' changes the value of") as e:
            gg.compile(graph, passes=passes, debug=FEEDS, state=STATE)
        assert "leave 'tanh_to_sigmoid' out of" in e.value.fix and __file__ in e.value.where


def test_the_debug_mode_sees_updates_alone():
    graph = Graph({"x": X}, {W: gg.tanh(W)})
    with pytest.raises(PassError, match="'tanh_to_sigmoid' changes the value of 'w'"):
        gg.compile(graph, passes=[tanh_to_sigmoid], debug=FEEDS, state=STATE)


def test_the_debug_mode_watches_the_passes_after_specialising():
    guilty = gg.compile(model(), specialised_passes=[tanh_to_sigmoid], debug=FEEDS, state=STATE)
    with pytest.raises(PassError, match="'tanh_to_sigmoid' changes"):
        guilty(STATE, **FEEDS)


def test_without_debug_a_wrong_pass_goes_unseen():
    """So the test above can fail."""
    found = gg.compile(model(), passes=[tanh_to_sigmoid])(STATE | {"w": STATE["w"].copy()}, **FEEDS)
    assert found["loss"] != gg.compile(model())({"w": STATE["w"].copy()}, **FEEDS)["loss"]


def test_a_pass_that_loses_an_output_or_an_update_is_named():
    def forgetful(graph: Graph) -> Graph:
        return graph.with_outputs({}, graph.updates)

    def frozen(graph: Graph) -> Graph:
        return graph.with_outputs(graph.outputs, {})

    def inventive(graph: Graph) -> Graph:
        return graph.with_outputs({**graph.outputs, "more": graph["z"]})

    def narrow(graph: Graph) -> Graph:
        return graph.with_outputs({"loss": gg.cast(graph["loss"], "float32")})

    for run, what in (
        (forgetful, "output 'loss': it was float64"),
        (frozen, "update 'w'"),
        (inventive, "output 'more': it was missing"),
        (narrow, "now it is float32"),
    ):
        with pytest.raises(PassError, match=rf"pass '{run.__name__}' changes .*") as caught:
            optimise(model(), [run])
        assert what in str(caught.value)


def test_a_pass_that_breaks_the_graph_is_named():
    def disordered(graph: Graph) -> Graph:
        after = graph.with_outputs(graph.outputs)
        after.nodes = after.nodes[::-1]
        return after

    with pytest.raises(PassError, match="the graph after pass 'disordered' is not in order"):
        optimise(model(), [disordered])


def test_adding_a_pass_is_writing_a_function():
    def doubled(graph: Graph) -> Graph:
        def improve(node: gg.Node) -> gg.Node | None:
            with declared_at("mine", node.origin):
                return gg.add(node.heads[0], node.heads[0]) if is_twice(node) else None

        def is_twice(node: gg.Node) -> bool:
            return node.operation is gg.multiply and node.heads[1] is gg.constant(2.0, "float64")

        return map_nodes(graph, improve)

    graph = Graph({"y": X * 2.0})
    after, _ = optimise(graph, [fold_constants, doubled, simplify, prune])
    assert after.outputs["y"] is X + X
    np.testing.assert_array_equal(
        gg.compile(graph, passes=[doubled], debug=FEEDS)(**FEEDS)["y"], FEEDS["x"] * 2
    )
