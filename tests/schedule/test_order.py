"""The order in which nodes are computed, and the layouts of products."""

from __future__ import annotations

import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.options import Options
from graphgrad.schedule import make_schedule


def test_updates_come_after_the_guards_and_outputs_before() -> None:
    x, w = gg.input("x", 3), gg.parameter("w", 3)
    loss = gg.sum(x * w, name="loss")
    graph = Graph({"loss": loss}, {w: gg.tanh(w, name="next")})
    schedule = make_schedule(graph, [loss])
    names = [graph.name_of(node) for node in schedule.order]
    assert names == ["multiply", "loss", "next"]
    assert schedule.before_guards == set(schedule.order[:2]) and schedule.guards == (loss,)


@pytest.mark.parametrize("eager", [True, False])
def test_heads_come_before_what_reads_them(eager: bool) -> None:
    x, w = gg.input("x", (4, 4)), gg.parameter("w", (4, 4))
    loss = gg.sum(gg.tanh(x @ w) * gg.softmax(x), name="loss")
    graph = gg.derive(Graph({"loss": loss}), "loss")
    graph = Graph({"loss": loss}, {w: w - 0.1 * graph.delta("w")})
    schedule = make_schedule(graph, [loss], Options(eager_updates=eager))
    place = {node: number for number, node in enumerate(schedule.order)}
    assert all(place.get(head, -1) < place[node] for node in place for head in node.heads)
    assert set(place) == set(graph.nodes) - {x, w} - {n for n in graph.nodes if not n.heads}


def test_a_state_that_is_returned_is_copied_first() -> None:
    w = gg.parameter("w", 3)
    schedule = make_schedule(Graph({"old": w}, {w: w * 0.5}))
    assert [node.operation.name for node in schedule.order] == ["copy", "multiply"]
    assert schedule.graph.outputs["old"].heads == (w,)
    assert make_schedule(Graph({"old": w})).order == ()  # nothing changes it


def test_an_open_shape_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="not known yet"):
        make_schedule(Graph(gg.exp(gg.input("x", "n"))))
