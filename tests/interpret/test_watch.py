"""Values and deltas by pattern, as arrays with axis names."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import SIZES, feeds_of, graph_of, reference, state_of

import graphgrad as gg
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.figures.axes import axes_of_graph
from graphgrad.interpret.named_array import NamedArray


@pytest.mark.parametrize(
    ("name", "node", "axes"),
    [
        ("transformer", "encoder.0.attention.scores", "batch head query key"),
        ("transformer", "decoder.1.cross_attention.weights", "batch head query key"),
        ("transformer", "decoder.1.cross_attention.values", "batch head query feature"),
        ("transformer", "decoder.output.logits", "batch target vocabulary"),
        ("transformer", "encoder.0.attention.query.a", "batch source feature"),
        ("transformer", "encoder.embedding", "vocabulary feature"),
        ("transformer", "decoder.causal_mask", "target target_2"),
        ("transformer", "losses", "batch target"),
        ("gpt", "decoder.0.attention.scores", "batch head query key"),
        ("gpt", "decoder.logits", "batch position vocabulary"),
        ("bert", "encoder.1.attention.weights", "batch head query key"),
        ("bert", "output.logits", "batch asked vocabulary"),
    ],
)
def test_axes_have_the_names_of_the_field(name: str, node: str, axes: str) -> None:
    graph = graph_of(name)
    assert axes_of_graph(graph)[graph[node]] == tuple(axes.split())


@pytest.mark.parametrize("name", ["transformer", "gpt", "bert"])
def test_every_axis_of_every_node_has_a_name_of_its_own(name: str) -> None:
    graph = gg.derive(graph_of(name), "loss")
    for node, axes in axes_of_graph(graph).items():
        assert len({*axes}) == len(axes) == node.rank


def test_a_single_attention_has_no_head() -> None:
    x = gg.input("x", ("query", 4))
    graph = gg.Graph({"y": gg.layers.attention(x, x, x)})
    axes = axes_of_graph(graph)
    assert axes[graph["weights"]] == ("query", "key")


def test_values_and_deltas_are_those_of_the_reference() -> None:
    graph = graph_of("transformer")
    feeds, state = feeds_of(graph), state_of(graph)
    derived = gg.derive(graph, "loss")
    watched = gg.watch(graph, "*.scores", "*.scores.delta", "decoder.0.attention.weights.delta<-*")
    found = watched(state, feeds)
    assert len(found) == 2 * 6 + 1
    expected = reference(derived, feeds, state, [name for name in found if "<-" not in name])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].array, values, rtol=1e-12, atol=1e-14)
        assert found[name].axes == ("batch", "head", "query", "key")
    sizes = {"batch": SIZES["batch"], "head": 2, "query": SIZES["source"], "key": SIZES["source"]}
    assert found["encoder.0.attention.scores"].sizes == sizes


def test_contributions_add_up_to_the_delta() -> None:
    graph = graph_of("transformer")
    found = gg.watch(
        graph, "encoder.1.feed_forward_norm.y.delta", "encoder.1.feed_forward_norm.y.delta<-*"
    )(state_of(graph), feeds_of(graph))
    total, *parts = (array.array for array in found.values())
    assert len(parts) == 4  # keys and values of two layers
    np.testing.assert_allclose(sum(parts), total, rtol=1e-12, atol=1e-15)


def test_a_delta_is_the_slope_of_the_loss() -> None:
    x = gg.input("x", 3, "float64")
    z = gg.tanh(gg.exp(x, name="a"), name="z")
    graph = gg.Graph({"loss": gg.sum(z * z, name="loss")})
    watched, point, step = gg.watch(graph, "x.delta", "loss"), np.array([0.1, -0.2, 0.3]), 1e-6
    delta = watched(x=point)["x.delta"].array
    for number in range(3):
        h = step * np.eye(3)[number]
        slope = (watched(x=point + h)["loss"].array - watched(x=point - h)["loss"].array) / (
            2 * step
        )
        assert delta[number] == pytest.approx(float(slope), rel=1e-8)


def test_deltas_of_a_second_derivation_are_watched_by_name() -> None:
    x = gg.input("x", (), "float64")
    first = gg.derive(gg.Graph({"loss": gg.multiply(x, x * x, name="loss")}), "loss")
    second = gg.derive(first.with_outputs({"slope": first.delta("x")}), "slope", label="second")
    found = gg.watch(second, "x.delta", "x.second")(x=2.0)
    assert float(found["x.delta"].array) == 12.0
    assert float(found["x.second"].array) == 12.0


def test_a_watch_changes_no_state() -> None:
    graph = gg.sgd(gg.Graph({"loss": gg.parameter("w", (), 3.0) ** 2.0}), 0.5)
    state = gg.initial_state(graph)
    assert float(gg.watch(graph, "w.delta")(state)["w.delta"].array) == 6.0
    assert float(state["w"]) == 3.0


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["*.score"], "no node has a name like"),
        (["encoder.0.attention.score"], "no node is called"),
        (["*.score.delta"], "no delta has a name like"),
        (["source.delta"], "no delta has a name like"),
        ([], "nothing is chosen"),
    ],
)
def test_a_pattern_without_a_match_is_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        gg.watch(graph_of("transformer"), *patterns)


def test_an_unknown_name_of_a_result_lists_near_ones() -> None:
    found = gg.watch(gg.Graph({"y": gg.tanh(gg.input("x"), name="y")}), "y")(x=1.0)
    with pytest.raises(UnknownNameError, match="not watched") as caught:
        found["yy"]
    assert "'y'" in str(caught.value)


def test_a_named_array_is_chosen_from_and_summed_by_axis() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    array = NamedArray("u", ("head", "query", "key"), values)
    np.testing.assert_array_equal(array.pick(query=1, head=slice(1)).array, values[:1, 1])
    assert array.pick(query=1).axes == ("head", "key")
    np.testing.assert_allclose(array.by("head").array, np.sqrt((values**2).sum((1, 2))))
    np.testing.assert_array_equal(array.by("key", "head", figure="sum").array, values.sum(1))
    np.testing.assert_array_equal(np.add(array, 1.0), values + 1.0)
    assert array[1, 2, 3] == 23.0
    with pytest.raises(UnknownNameError, match="no axis 'heads'"):
        array.pick(heads=1)
    with pytest.raises(UnknownNameError, match="no figure"):
        array.by("head", figure="median")
    with pytest.raises(DeclarationError, match="out of bounds"):
        array.pick(head=2)
    with pytest.raises(DeclarationError, match="axis names"):
        NamedArray("u", ("head", "head", "key"), values)
