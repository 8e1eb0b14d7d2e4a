"""Every pass keeps every value of every random graph, and coming again it finds nothing to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_graphs import QUICK, assert_same_values, cases, grow_case
from random_growth import GROWTHS

import graphgrad as gg
from graphgrad import verify
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import (
    FUSING_PASSES,
    PASSES,
    SPECIALISED_PASSES,
    decompose,
    fold_constants,
    join_frames,
    optimise,
    prune,
    simplify,
    stabilise,
)
from graphgrad.passes.rewrite import map_nodes

EVERY_PASS = [prune, stabilise, fold_constants, simplify, join_frames, decompose]


@pytest.mark.parametrize("run", EVERY_PASS, ids=lambda run: run.__name__)
@QUICK
@given(case=cases)
def test_a_pass_keeps_values_and_names_and_is_idempotent(run, case):
    after = run(case.graph)
    verify(after)
    assert_same_values(case.values(after), case.values(), run.__name__)
    assert list(after.outputs) == list(case.graph.outputs)
    if run is not prune:
        assert set(case.graph.names) <= set(after.names)
    assert str(run(after)) == str(after)


@QUICK
@given(case=cases)
def test_named_nodes_keep_their_values_through_all_passes(case):
    """Not the outputs alone: every name that is left still names the same value."""
    before = evaluate(case.graph, case.feeds, case.state)
    after, _ = optimise(case.graph, (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES))
    values = evaluate(after, case.feeds, case.state)
    shared = case.graph.names.keys() & after.names.keys()
    assert shared >= case.graph.inputs.keys()
    assert_same_values(
        {name: values[after[name]] for name in shared},
        {name: before[case.graph[name]] for name in shared},
    )


@QUICK
@given(case=cases)
def test_passes_in_any_order_keep_the_values(case):
    order = np.random.default_rng(len(case.graph)).permutation(len(EVERY_PASS))
    after, _ = optimise(case.graph, [EVERY_PASS[place] for place in order])
    assert_same_values(case.values(after), case.values())


@settings(QUICK, max_examples=60)
@given(case=cases)
def test_the_program_gives_the_reference_values(case):
    expected = case.values()
    compiled = gg.compile(case.graph)
    assert_same_values(case.ran(compiled), expected)
    assert_same_values(case.ran(compiled), expected, "the second time")


@QUICK
@given(case=cases)
def test_the_order_of_what_is_fetched_changes_nothing(case):
    outputs = list(case.graph.outputs.items())
    turned = case.graph.with_outputs(dict(outputs[::-1]))
    single = case.graph.with_outputs(dict(outputs[:1]))
    expected = case.ran(gg.compile(case.graph))
    assert_same_values(case.ran(gg.compile(turned)), expected)
    name = outputs[0][0]
    np.testing.assert_allclose(case.ran(gg.compile(single))[name], expected[name], 1e-10)


def test_the_random_graphs_are_worth_the_trouble():
    """They are not small, and every growth and many operations occur in them."""
    graphs = [grow_case(seed, 20).graph for seed in range(60)]
    assert np.mean([len(graph) for graph in graphs]) > 60
    operations = {node.operation.name for graph in graphs for node in graph}
    assert len(operations) > 40 and len(GROWTHS) > 60
    assert any(len(graph.tails(node)) > 4 for graph in graphs for node in graph)
    assert sum(bool(graph.updates) for graph in graphs) > 30


def test_a_mistake_in_a_pass_would_be_noticed():
    """The checks above can fail: a pass that replaces tanh by sigmoid does not go unseen."""
    for seed in range(10):
        case = grow_case(seed, 12)
        after = map_nodes(
            case.graph, lambda n: gg.sigmoid(n.heads[0]) if n.operation is gg.tanh else None
        )
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_same_values(case.values(after), case.values())
