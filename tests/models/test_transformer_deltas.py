"""The Transformer: its deltas, dropout, use and learning."""

import math

import numpy as np
import pytest
from slopes import assert_deltas_are_slopes
from small_transformer import (
    BOTH_NORMS,
    TARGETS,
    batch,
    graph_of,
    parts_of,
    small,
    state_of,
    values,
)

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.graph import initial_state, leaf_name
from graphgrad.models import transformer
from graphgrad.models.transformer import Settings, training_graph
from graphgrad.ops import log_softmax
from graphgrad.training.optimisers import SEED, STEP, training_step
from graphgrad.training.settings import with_values

# ---------------------------------------------------------------- deltas


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "pre"}, {"tie": True, "activation": "tanh"}, {"layers": 2, "activation": "gelu"}],
    ids=["post", "pre", "tied tanh", "deep gelu"],
)
def test_the_delta_of_each_parameter_is_its_slope(changes):
    """Along a random direction of each parameter, with dropout and label smoothing on."""
    settings = with_values(Settings(dtype="float64"), {**transformer.CHECK, **changes})
    graph = derive(graph_of(settings), "loss")
    state, feeds = state_of(graph), batch([4, 2], [3, 2])
    state[SEED][...], state[STEP][...] = 5, 7
    assert_deltas_are_slopes(graph, state, feeds, 1e-6)


def test_the_delta_of_the_logits_is_probability_minus_truth():
    """δ = (p - y) / N: the smoothed y of label smoothing, over the N tokens that count."""
    smoothing = 0.1
    graph = derive(graph_of(small(label_smoothing=smoothing)), "loss")
    feeds = batch([5, 3], [4, 2])
    names = ["decoder.output.logits", "decoder.output.logits.delta"]
    logits, delta = (values(graph, names, feeds)[name] for name in names)
    probability = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    truth = np.eye(TARGETS)[feeds["target_output"]] * (1 - smoothing) + smoothing / TARGETS
    counted = (feeds["target_output"] != 0)[..., None]
    np.testing.assert_allclose(delta, (probability - truth) * counted / 6, rtol=1e-9, atol=1e-15)


# ---------------------------------------------------------------- dropout


def test_dropout_is_a_function_of_seed_and_step():
    graph = graph_of(small(dropout=0.3))
    run, state, feeds = compile(graph), state_of(graph), batch([5, 3], [4, 2])

    def loss(seed, step):
        state[SEED][...], state[STEP][...] = seed, step
        return float(run(state, **feeds)["loss"])

    assert loss(1, 1) == loss(1, 1)
    assert len({loss(1, 1), loss(1, 2), loss(2, 1)}) == 3


def test_dropout_masks_are_independent_and_have_mean_one():
    rate = 0.3
    graph = graph_of(small(dropout=rate, width=32))
    names = [name for name in graph.names if name.endswith("dropout.mask")]
    # embedding, attention and network of two layers; the decoder has cross-attention too
    assert len(names) == (1 + 2 * 2) + (1 + 2 * 3)
    found = values(graph, names, batch([20] * 16, [20] * 16))
    for name in names:
        mask = found[name]
        assert set(np.unique(mask)) == {0.0, 1 / (1 - rate)}
        assert mask.mean() == pytest.approx(1.0, abs=0.03)
    flat = np.stack([found[name].reshape(-1) for name in names])
    correlation = np.corrcoef(flat) - np.eye(len(names))
    assert np.abs(correlation).max() < 0.05


def test_without_dropout_there_is_no_randomness_in_the_graph():
    for graph in (
        graph_of(small()),
        graph_of(small(dropout=0.3), training=False),
        *parts_of(small(dropout=0.3)),
    ):
        kept = {leaf_name(leaf) for leaf in graph.updates}  # keys and values, in use
        assert graph.states.keys() - kept == graph.parameters.keys()
        assert not any(node.operation.name == "dropout_mask" for node in graph)


def test_evaluation_has_no_label_smoothing():
    plain, smooth = (graph_of(small(label_smoothing=rate), training=False) for rate in (0.0, 0.2))
    feeds, state = batch([5, 3], [4, 2]), state_of(plain)
    assert values(plain, [], feeds, state)["loss"] == values(smooth, [], feeds, state)["loss"]


# ---------------------------------------------------------------- use and learning


@BOTH_NORMS
def test_use_agrees_with_teacher_forcing_position_by_position(norm):
    settings = small(norm=norm)
    graph = graph_of(settings)
    state, feeds = state_of(graph), batch([5, 3], [6, 4], source=7, target=8)
    logits = values(graph, ["decoder.output.logits"], feeds, state)["decoder.output.logits"]
    encoding, step = parts_of(settings)
    kept = values(encoding, [], {"source": feeds["source"]}, state)
    log_probabilities = log_softmax(step["logits"], name="log_probabilities")
    decode = compile(step.with_outputs({"found": log_probabilities}))
    known = {name: state[name] for name in step.parameters}
    state = initial_state(step, given=known)
    for place in range(6):
        found = decode(
            state,
            kept,
            source=feeds["source"],
            token=feeds["target_input"][:, place : place + 1],
            position=np.full((2, 1), place, np.int32),
            slot=np.full((2, 1), place, np.int32),
            visible=np.tile(np.arange(16) <= place, (2, 1, 1)),
        )["found"][:, 0]
        rows = feeds["target_input"][:, place] != 0
        expected = logits[rows, place]
        log_sum = np.log(np.exp(expected).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(found[rows], expected - log_sum, rtol=1e-9)


@BOTH_NORMS
@pytest.mark.parametrize("tie", [False, True])
def test_a_fresh_model_knows_nothing(norm, tie):
    """Its loss is near ln(vocabulary), that of guessing; logits of variance 1 cost about ½ more,
    and a tied output layer favours the token that is read."""
    vocabulary = 1000
    graph = training_graph(Settings(layers=1, norm=norm, tie=tie), vocabulary, vocabulary)
    generator = np.random.default_rng(0)
    ids = {name: generator.integers(4, vocabulary, (4, 10), np.int32) for name in graph.inputs}
    loss = float(values(graph, [], ids, initial_state(graph, 1))["loss"])
    assert math.log(vocabulary) - 0.2 < loss < math.log(vocabulary) + (2.0 if tie else 1.0)


@BOTH_NORMS
def test_it_overfits_one_batch(norm):
    settings = small(
        norm=norm,
        layers=1,
        width=16,
        dtype="float32",
        steps=100,
        warmup=5,
        learning_rate=1e-2,
        schedule="constant",
    )
    compiled = compile(training_step(graph_of(settings), settings))
    state, feeds = initial_state(compiled.source_graph, 0), batch([5, 3, 4], [4, 2, 5])
    results = [compiled(state, **feeds) for _ in range(settings.steps)]
    assert float(results[0]["loss"]) > 1.5
    assert float(results[-1]["loss"]) < 0.05
    counted = feeds["target_output"] != 0
    np.testing.assert_array_equal(
        results[-1]["predicted"][counted], feeds["target_output"][counted]
    )
