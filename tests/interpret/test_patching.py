"""Substitution, attribution and activation patching against brute force."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from small_models import feeds_of, graph_of, reference, state_of

import graphgrad as gg
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import LEAVES, constant, input, leaf_name
from graphgrad.interpret.activation import activation_patching
from graphgrad.interpret.attribution import attribution, chosen_names
from graphgrad.interpret.substitution import substituted
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.passes import sizes_of, specialise

MODELS = [
    ("transformer", {}),
    ("transformer", {"norm": "pre", "tie": True}),
    ("gpt", {}),
    ("bert", {}),
]


def brute_force(
    graph: gg.Graph,
    feeds: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    changed: Mapping[str, np.ndarray],
) -> float:
    """The loss where nodes have the given values, evaluated node by node."""
    known = specialise(graph, sizes_of(graph, feeds))
    given = {known[name]: value for name, value in changed.items()}
    values: dict[gg.Node, np.ndarray] = {}
    for node in known.nodes:
        if node in given:
            values[node] = given[node]
        elif node.operation is constant:
            values[node] = node.attributes["value"].array
        elif node.operation in LEAVES:
            source = feeds if node.operation is input else state
            values[node] = np.asarray(source[leaf_name(node)], node.dtype)
        else:
            values[node] = evaluate_node(node, [values[head] for head in node.heads])
    return float(values[known.outputs["loss"]])


def two_inputs(graph: gg.Graph) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs that differ in what the model reads, not in what it should say."""
    clean, corrupt = feeds_of(graph, 1), feeds_of(graph, 1)
    read = "source" if "source" in clean else "ids"
    corrupt[read] = feeds_of(graph, 2)[read]
    return clean, corrupt


@pytest.mark.parametrize(("name", "values"), MODELS)
def test_activation_patching_is_brute_force_at_every_node(
    name: str, values: dict[str, object]
) -> None:
    graph = graph_of(name, **values)
    state, (clean, corrupt) = state_of(graph), two_inputs(graph)
    found = activation_patching(graph, clean, corrupt, state)
    forward = graph.with_outputs({"loss": graph["loss"]}, {})
    names = chosen_names(forward, ["*"])
    assert [run.name for run in found.runs] == names and len(names) > 40
    of_clean = reference(graph, clean, state, names)
    assert found.clean == pytest.approx(brute_force(graph, clean, state, {}), rel=1e-12)
    assert found.corrupt == pytest.approx(brute_force(graph, corrupt, state, {}), rel=1e-12)
    for run in found.runs:
        expected = brute_force(graph, corrupt, state, {run.name: of_clean[run.name]})
        assert run.loss == pytest.approx(expected, rel=1e-10), run.name
        assert run.effect == run.loss - found.corrupt
        assert run.recovered == run.effect / (found.clean - found.corrupt)


def test_one_head_is_patched_at_a_time() -> None:
    graph = graph_of("transformer")
    state, (clean, corrupt) = state_of(graph), two_inputs(graph)
    node = "decoder.1.cross_attention.values"
    found = activation_patching(graph, clean, corrupt, state, [node], by=["head", "query"])
    assert len(found.runs) == 2 * 4
    of_clean = reference(graph, clean, state, [node])[node]
    of_corrupt = reference(graph, corrupt, state, [node])[node]
    for run in found.runs:
        mixed = of_corrupt.copy()
        place = (slice(None), run.place["head"], run.place["query"])
        mixed[place] = of_clean[place]
        expected = brute_force(graph, corrupt, state, {node: mixed})
        assert run.loss == pytest.approx(expected, rel=1e-10)
    assert len({round(run.effect, 12) for run in found.runs}) > 4


@pytest.mark.parametrize(("name", "values"), MODELS)
def test_attribution_is_the_slope_towards_the_clean_value(
    name: str, values: dict[str, object]
) -> None:
    graph = graph_of(name, **values)
    state, (clean, corrupt) = state_of(graph), two_inputs(graph)
    found = attribution(graph, clean, corrupt, state, ["*.weights", "*_norm.*", "*.logits", "*.a"])
    names = [effect.name for effect in found.effects]
    assert len(names) > 10
    good, bad = (reference(graph, feeds, state, names) for feeds in (clean, corrupt))
    step = 1e-5
    for effect in found.effects[::3]:
        difference = good[effect.name] - bad[effect.name]
        ahead, behind = (
            brute_force(graph, corrupt, state, {effect.name: bad[effect.name] + h * difference})
            for h in (step, -step)
        )
        slope = (ahead - behind) / (2 * step)
        assert effect.estimate == pytest.approx(slope, rel=1e-5, abs=1e-8), effect.name
        assert effect.elements.array.sum() == pytest.approx(effect.estimate)


def test_an_infinite_score_contributes_nothing_where_it_is_masked_in_both_runs() -> None:
    graph = graph_of("transformer")
    clean, corrupt = two_inputs(graph)
    found = attribution(graph, clean, corrupt, state_of(graph), ["*masked_scores"])
    assert len(found.effects) == 6
    assert all(np.isfinite(effect.elements.array).all() for effect in found.effects)


def test_a_score_that_is_masked_in_one_run_only_has_no_estimate() -> None:
    graph = graph_of("transformer")
    clean, corrupt = two_inputs(graph)
    clean["source"][:, -2] = 0
    found = attribution(graph, clean, corrupt, state_of(graph), ["encoder.0.*masked_scores"])
    assert not np.isfinite(found.effects[0].estimate)
    exact = activation_patching(
        graph, clean, corrupt, state_of(graph), ["encoder.0.*masked_scores"]
    )
    assert np.isfinite(exact.runs[0].effect)


def test_largest_effects_come_first() -> None:
    graph = graph_of("gpt")
    state, (clean, corrupt) = state_of(graph), two_inputs(graph)
    sizes = [abs(effect.estimate) for effect in attribution(graph, clean, corrupt, state).largest]
    assert sizes == sorted(sizes, reverse=True)
    runs = activation_patching(graph, clean, corrupt, state, ["*.a"]).largest
    assert [abs(run.effect) for run in runs] == sorted(
        (abs(run.effect) for run in runs), reverse=True
    )


def test_several_values_are_replaced_at_once() -> None:
    x = gg.input("x", 3, "float64")
    a = gg.tanh(x, name="a")
    b = gg.exp(a, name="b")
    graph = gg.Graph({"y": gg.multiply(b, a, name="y"), "b": b})
    changed = substituted(graph, {"a": lambda a: 2.0 * a, "b": lambda b: b + 1.0})
    values = np.array([0.1, -0.5, 2.0])
    found = gg.compile(changed, fetch=["a", "b"])(x=values)
    of_a = 2.0 * np.tanh(values)
    np.testing.assert_allclose(found["y"], (np.exp(of_a) + 1.0) * of_a)
    np.testing.assert_allclose(found["a"], np.tanh(values))


@pytest.mark.parametrize(
    ("replacements", "message"),
    [
        ({"a": gg.input("v", 4, "float64")}, "what replaces it is"),
        ({"c": gg.input("v", 3, "float64")}, "no node is called"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(
    replacements: dict[str, gg.Node], message: str
) -> None:
    graph = gg.Graph({"y": gg.exp(gg.tanh(gg.input("x", 3, "float64"), name="a"), name="b")})
    with pytest.raises(gg.GraphgradError, match=message):
        substituted(graph, replacements)


def test_a_replacement_from_before_another_is_refused() -> None:
    x = gg.input("x", 3, "float64")
    a = gg.tanh(x, name="a")
    b = gg.exp(a, name="b")
    graph = gg.Graph({"y": gg.multiply(b, a, name="y")})
    with pytest.raises(DeclarationError, match="which a replacement changes"):
        substituted(graph, {"a": gg.sin(x), "b": 2.0 * b})
    with pytest.raises(DeclarationError, match="deltas or updates"):
        substituted(gg.derive(gg.Graph({"y": gg.sum(b)}), "y"), {"a": gg.sin(x)})


@pytest.mark.parametrize(
    ("patterns", "by", "message"),
    [
        (["encoder.embedding"], (), "cannot be patched"),
        (["loss"], (), "cannot be patched"),
        (["*.nothing"], (), "no node has a name like"),
        (["encoder.0.attention.output.a"], ("head",), "has no axis 'head'"),
    ],
)
def test_what_cannot_be_patched_is_refused(
    patterns: list[str], by: tuple[str, ...], message: str
) -> None:
    graph = graph_of("transformer")
    clean, corrupt = two_inputs(graph)
    with pytest.raises(UnknownNameError, match=message):
        activation_patching(graph, clean, corrupt, state_of(graph), patterns, by)


def test_inputs_of_different_sizes_are_refused() -> None:
    graph = graph_of("transformer")
    clean, corrupt = two_inputs(graph)
    corrupt["source"] = corrupt["source"][:, :-1]
    for function in (attribution, activation_patching):
        with pytest.raises(DeclarationError, match=r"input 'source' is \[2, 5\]"):
            function(graph, clean, corrupt, state_of(graph))
