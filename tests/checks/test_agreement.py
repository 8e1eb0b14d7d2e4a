"""The program against the reference: what is wrong is named, what is rounding is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from random_graphs import grow_case

import graphgrad as gg
from graphgrad import Graph
from graphgrad.checks.agreement import compare_program
from graphgrad.errors import NonFiniteError
from graphgrad.ops.rules import elementwise
from graphgrad.passes import PASSES

ROWS, WIDTH = 64, 128
"""Above what a kernel is made for."""

half = elementwise(
    "half",
    "x / 2",
    "{0} * 0.5001",  # not what `compute` says
    compute=lambda xp, out, x: xp.multiply(x, 0.5, out=out),
    delta=lambda delta, y, x: (delta * 0.5,),
    delta_formula="δ / 2",
)
double = elementwise(
    "double",
    "2 x",
    "{0} * 2.0",
    compute=lambda xp, out, x: xp.multiply(x, 2.0, out=out),
    delta=lambda delta, y, x: (doubled_wrongly(delta),),
    delta_formula="2 δ",
)
doubled_wrongly = elementwise(
    "doubled_wrongly",
    "2 x",
    "{0} * 2.001",
    compute=lambda xp, out, x: xp.multiply(x, 2.0, out=out),
)


def step_of(loss, *more):
    graph = gg.derive(Graph({"loss": loss}), "loss")
    outputs = {"loss": loss, **{node.name: node for node in more}}
    updates = {w: w - 0.1 * graph.delta(w) for w in graph.parameters.values()}
    return graph.with_outputs(outputs, updates)


def case(operation=gg.tanh):
    """A network with one layer, an elementwise operation and a row reduction."""
    x = gg.input("x", ("batch", WIDTH))
    w = gg.parameter("w", (WIDTH, WIDTH), gg.normal(0.1))
    z = operation(gg.matmul(x, w, name="a"), name="z")
    p = gg.softmax(gg.exp(z * 0.5, name="e"), name="p")
    graph = step_of(gg.mean(p * p * z, name="loss"))
    feeds = {"x": np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype("f4")}
    return graph, feeds, gg.initial_state(graph, 1)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_right_program_agrees(fuse):
    graph, feeds, state = case()
    before = {name: array.copy() for name, array in state.items()}
    found = compare_program(gg.compile(graph, guards="loss", fuse=fuse), feeds, state)
    assert found.difference is None
    assert found.steps > 5 and (found.kernels > 0) == fuse
    assert 0 < found.values <= found.nodes
    assert found.to_dict()["difference"] is None
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)


def test_a_wrong_kernel_expression_is_named_with_both_figures_and_its_line():
    graph, feeds, state = case(half)
    assert compare_program(gg.compile(graph), feeds, state).difference is None
    found = compare_program(gg.compile(graph, fuse=True), feeds, state).difference
    assert found is not None
    assert found.step.startswith("kernel_") and __file__ in found.origin
    assert found.program != found.reference and 1e-5 < found.error < 1e-1
    assert f"{found.program:.7g}" in str(found) and f"{found.reference:.7g}" in str(found)
    assert found.to_dict()["node"] == found.node


def test_a_wrong_kernel_of_a_delta_is_found_where_the_loss_is_right():
    graph, feeds, state = case(double)
    compiled = gg.compile(graph, fuse=True)
    found = compare_program(compiled, feeds, state).difference
    assert found is not None and "delta" in found.node
    right = gg.compile(graph)({**state, "w": state["w"].copy()}, **feeds)["loss"]
    wrong = compiled({**state, "w": state["w"].copy()}, **feeds)["loss"]
    np.testing.assert_allclose(wrong, right, 1e-6)


def test_a_pass_that_changes_a_value_is_found():
    def doubles(graph):
        loss = graph.outputs["loss"]
        return graph.replaced({loss: loss * 1.01})

    def by_name(graph):
        changed = doubles(graph)
        return Graph(
            changed.outputs,
            changed.updates,
            {**changed.names, "loss": changed.outputs["loss"]},
            changed.nodes,
        )

    graph, feeds, state = case()
    compiled = gg.compile(graph, passes=(*PASSES, by_name))
    found = compare_program(compiled, feeds, state).difference
    assert found is not None and found.node == "loss" and found.step == ""
    assert found.program == pytest.approx(1.01 * found.reference, rel=1e-5)


def test_a_plan_that_lets_a_value_be_overwritten_is_found():
    graph, feeds, state = case()
    compiled = gg.compile(graph)
    program = compiled.program(batch=ROWS)
    places = {place.offset for place in program.plan.places.values() if place.kind == "arena"}
    assert len(places) > 2
    found = []
    for node, place in program.plan.places.items():
        if place.kind != "arena" or node.shape != (ROWS, WIDTH):
            continue
        broken = {**program.plan.places, node: dataclasses.replace(place, offset=0)}
        plan = dataclasses.replace(program.plan, places=broken)
        compiled._programs[(ROWS,)] = gg.backends.lower(plan)
        found.append(compare_program(compiled, feeds, state).difference)
    assert any(found)
    for difference in filter(None, found):
        assert difference.step and difference.error > 1e-3


def test_values_that_only_rounding_tells_apart_agree():
    """Differences of equal numbers, sums that cancel and rows that are constant."""
    x = gg.input("x", (ROWS, 4096))
    loss = gg.sum(gg.sum(x - gg.mean(x, -1, keepdims=True), 0) * 1e-3, name="loss")
    drawn = np.random.default_rng(0).normal(1e3, 1.0, size=(ROWS, 4096)).astype("f4")
    for value in (np.full((ROWS, 4096), 3.3, "f4"), drawn):
        compiled = gg.compile(Graph({"loss": loss}), fuse=True)
        assert compare_program(compiled, {"x": value}, {}).difference is None


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_agree(seed):
    case = grow_case(seed, 12)
    for fuse in (False, True):
        compiled = gg.compile(case.graph, fuse=fuse)
        try:
            found = compare_program(compiled, case.feeds, case.state)
        except NonFiniteError:
            continue
        assert found.difference is None, str(found.difference)


def test_a_guard_that_stops_the_program_rightly_stops_the_comparison():
    graph, feeds, state = case()
    feeds["x"][3, 4] = np.nan
    with pytest.raises(NonFiniteError, match="loss is"):
        compare_program(gg.compile(graph, guards="loss", fuse=True), feeds, state)


def test_a_kernel_that_makes_a_guard_stop_the_program_is_named():
    broken = elementwise(
        "broken",
        "x",
        "{0} / 0.0",
        compute=lambda xp, out, x: xp.copyto(out, x),
        delta=lambda delta, y, x: (delta,),
    )
    graph, feeds, state = case(broken)
    found = compare_program(gg.compile(graph, guards="loss", fuse=True), feeds, state).difference
    assert found is not None and found.step.startswith("kernel_")
    assert not np.isfinite(found.program) and np.isfinite(found.reference)
    assert found.to_dict()["program"] is None
