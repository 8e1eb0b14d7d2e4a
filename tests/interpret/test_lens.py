"""What values and deltas of layers say in the vocabulary, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import feeds_of, graph_of, reference, state_of

import graphgrad as gg
from graphgrad.errors import DeclarationError
from graphgrad.interpret.lens import backward_lens, layers_of, logit_lens


def normal(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    standard: np.ndarray = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return standard * gain + bias


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_logit_lens_is_the_output_layer_on_each_layer(norm: str) -> None:
    graph = graph_of("transformer", norm=norm)
    state, feeds = state_of(graph), feeds_of(graph)
    names = [graph.name_of(node) for node in layers_of(graph)]
    end = "feed_forward_norm.y" if norm == "post" else "feed_forward_residual"
    assert names == ["decoder.with_positions", f"decoder.0.{end}", f"decoder.1.{end}"]
    values = reference(graph, feeds, state, [*names, "decoder.output.logits"])
    readings = logit_lens(graph)(state, feeds)
    w, b = state["decoder.output.dense.w"], state["decoder.output.dense.b"]
    for reading in readings:
        h = values[reading.name]
        if norm == "pre":
            h = normal(h, state["decoder.final_norm.gain"], state["decoder.final_norm.bias"])
        np.testing.assert_allclose(reading.logits.array, h @ w + b, rtol=1e-9, atol=1e-12)
        assert reading.logits.axes == ("batch", "target", "vocabulary")
    np.testing.assert_allclose(
        readings[-1].logits.array, values["decoder.output.logits"], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "values", "matrix"),
    [
        ("transformer", {}, "decoder.output.dense.w"),
        ("transformer", {"tie": True}, "decoder.embedding"),
        ("gpt", {}, "decoder.embedding"),
        ("bert", {}, "encoder.embedding"),
    ],
)
def test_the_backward_lens_is_the_delta_in_the_vocabulary(
    name: str, values: dict[str, object], matrix: str
) -> None:
    graph = graph_of(name, **values)
    state, feeds = state_of(graph), feeds_of(graph)
    derived = gg.derive(graph, "loss")
    w = state[matrix]
    for reading in backward_lens(graph)(state, feeds):
        delta_name = derived.delta_name(reading.name)
        delta = reference(derived, feeds, state, [delta_name])[delta_name]
        expected = -delta @ (w if w.shape[0] == delta.shape[-1] else w.T)
        np.testing.assert_allclose(reading.directions.array, expected, rtol=1e-9, atol=1e-14)


def test_the_last_delta_says_the_true_token() -> None:
    x, w = gg.input("x", ("batch", 4), "float64"), gg.parameter("w", (4, 6), dtype="float64")
    h = gg.tanh(x, name="h")
    losses = gg.cross_entropy(h @ w, gg.input("truth", "batch", "int32"))
    graph = gg.Graph({"loss": gg.mean(losses, name="loss")})
    columns = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0]
    state = {"w": np.ascontiguousarray(columns.T)}
    (reading,) = backward_lens(graph, ["h"])(state, {"x": np.ones((3, 4)), "truth": [2, 0, 5]})
    assert [reading.top((row,), 1)[0].token for row in range(3)] == [2, 0, 5]
    assert reading.bottom((0,), 1)[0].value < 0


def test_probabilities_and_top_words() -> None:
    graph = graph_of("gpt")
    reading = logit_lens(graph)(state_of(graph), feeds_of(graph))[-1]
    np.testing.assert_allclose(reading.probabilities.array.sum(-1), 1.0)
    words = reading.top((0, 2), 3)
    row = reading.probabilities.array[0, 2]
    assert [word.value for word in words] == sorted(row, reverse=True)[:3]
    assert [row[word.token] for word in words] == [word.value for word in words]


def test_what_has_no_logits_or_layers_is_refused() -> None:
    x = gg.input("x", ("batch", 4))
    with pytest.raises(DeclarationError, match="0 of them"):
        logit_lens(gg.Graph({"loss": gg.sum(x)}))
    graph = graph_of("transformer")
    with pytest.raises(DeclarationError, match="one residual stream"):
        logit_lens(graph, ["encoder.0.feed_forward_norm.y", "decoder.0.feed_forward_norm.y"])
    losses = gg.cross_entropy(gg.tanh(x), gg.input("truth", "batch", "int32"))
    bare = gg.Graph({"loss": gg.mean(losses, name="loss")})
    with pytest.raises(gg.GraphgradError, match="no scope"):
        logit_lens(bare)
    with pytest.raises(DeclarationError, match="not a product"):
        backward_lens(bare, ["tanh"])
