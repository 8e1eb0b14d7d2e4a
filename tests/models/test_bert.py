"""BERT: what it looks at, its deltas, and that it learns."""

import math

import numpy as np
import pytest
from slopes import assert_deltas_are_slopes

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.models.bert import Settings, filling_graph, training_graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.optimisers import SEED, STEP

VOCABULARY, CONTEXT = 11, 8


def small(**values):
    default = {"layers": 2, "width": 16, "heads": 4, "inner": 12, "context": 8, "dtype": "float64"}
    return Settings(**{**default, **values})


def state_of(graph, seed=0):
    generator = np.random.default_rng(seed)
    state = initial_state(graph, seed)
    for name in graph.parameters:
        state[name] += generator.normal(scale=0.3, size=state[name].shape)
    return state


def batch(seed=0):
    """Two examples, of 8 and 6 tokens; two and one of them are asked for."""
    ids = np.random.default_rng(seed).integers(4, VOCABULARY, (2, CONTEXT), np.int32)
    ids[1, 6:] = 0
    return {
        "ids": ids,
        "segments": (np.arange(CONTEXT) > np.array([[4], [2]])).astype(np.int32),
        "places": np.array([[1, 5], [3, 3]], np.int32),
        "targets": np.array([[5, 9], [7, 0]], np.int32),
    }


def logits_of(settings, state, feeds):
    run = compile(training_graph(settings, VOCABULARY, training=False), ["output.logits"])
    return run(state, **feeds)["output.logits"]


def test_every_answer_depends_on_every_token_and_on_no_padding():
    settings = small()
    state, feeds = state_of(training_graph(settings, VOCABULARY)), batch()
    before = logits_of(settings, state, feeds)
    for place in range(CONTEXT):
        changed = {name: array.copy() for name, array in feeds.items()}
        changed["ids"][:, place] = (changed["ids"][:, place] - 3) % 7 + 4
        after = np.abs(logits_of(settings, state, changed) - before).max(axis=-1)
        assert (after[0] > 1e-9).all()
        assert (after[1] > 1e-9).all() or place > 5
    changed = {**feeds, "segments": feeds["segments"] * [[1], [0]]}
    changed["segments"][1, 6:] = 1  # what is padding there counts for nothing
    after = logits_of(settings, state, {**changed, "segments": changed["segments"].astype("int32")})
    assert (after[0] == before[0]).all() and (
        np.abs(after[1] - before[1]).max(axis=-1) > 1e-9
    ).all()


def test_segments_and_places_are_looked_up():
    settings = small(layers=1)
    state, feeds = state_of(training_graph(settings, VOCABULARY)), batch()
    graph = training_graph(settings, VOCABULARY, training=False)
    found = compile(graph, ["encoder.with_positions"])(state, **feeds)["encoder.with_positions"]
    for row, place in np.ndindex(2, CONTEXT):
        token, segment = feeds["ids"][row, place], feeds["segments"][row, place]
        expected = state["encoder.embedding"][token] + state["encoder.segments"][segment]
        expected = expected + state["encoder.positions"][place]
        np.testing.assert_allclose(found[row, place], expected, rtol=1e-12)


def test_only_what_is_asked_for_counts():
    settings = small()
    graph = training_graph(settings, VOCABULARY, training=False)
    state, feeds = state_of(graph), batch()
    logits = logits_of(settings, state, feeds)
    losses = -(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))
    asked = [losses[0, 0, 5], losses[0, 1, 9], losses[1, 0, 7]]
    found = compile(graph)(state, **feeds)
    assert float(found["loss"]) == pytest.approx(np.mean(asked), rel=1e-12)
    np.testing.assert_array_equal(found["predicted"], logits.argmax(axis=-1))


def test_filling_gives_the_probabilities_of_training():
    settings = small()
    state, feeds = state_of(training_graph(settings, VOCABULARY)), batch()
    logits = logits_of(settings, state, feeds)
    del feeds["targets"]
    found = compile(filling_graph(settings, VOCABULARY))(state, **feeds)["probabilities"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_delta_of_each_parameter_is_its_slope():
    settings = small(layers=1, dropout=0.1, attention_dropout=0.2)
    graph = derive(training_graph(settings, VOCABULARY), "loss")
    state, feeds = state_of(graph), batch()
    state[SEED][...], state[STEP][...] = 5, 7
    assert_deltas_are_slopes(graph, state, feeds)


def test_no_delta_reaches_padding():
    graph = derive(training_graph(small(), VOCABULARY), "loss")
    lead = graph["ids"].shape[:2]
    names = [
        name
        for name, node in graph.names.items()
        if name.endswith(".delta") and len(node.shape) == 3 and node.shape[:2] == lead
    ]
    feeds = batch()
    found = compile(graph, names)(state_of(graph), **feeds)
    assert len(names) > 20
    for name in names:
        assert not found[name][feeds["ids"] == 0].any(), name
        assert found[name][feeds["ids"] != 0].any(), name


def test_a_fresh_model_knows_nothing():
    graph = training_graph(Settings(layers=2, context=16), 1000)
    ids = np.random.default_rng(0).integers(4, 1000, (4, 16), np.int32)
    places = np.tile(np.arange(16, dtype=np.int32), (4, 1))
    feeds = {"ids": ids, "segments": ids * 0, "places": places, "targets": ids}
    loss = float(compile(graph)(initial_state(graph, 1), **feeds)["loss"])
    assert abs(loss - math.log(1000)) < 0.3


def test_it_overfits_one_batch():
    settings = small(
        layers=1,
        steps=60,
        warmup=5,
        learning_rate=2e-2,
        schedule="constant",
        weight_decay=0.0,
        dtype="float32",
    )
    compiled = compile(step_that_decays_matrices(training_graph(settings, VOCABULARY), settings))
    state, feeds = initial_state(compiled.source_graph, 0), batch()
    losses = [float(compiled(state, **feeds)["loss"]) for _ in range(settings.steps)]
    assert losses[0] > 2 and losses[-1] < 0.05


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"width": 10, "heads": 4}, "10 does not split into 4 heads"),
        ({"activation": "swiglu"}, "activation"),
        ({"data": "revers"}, "did you mean 'reverse'"),
        ({"tokens": "words"}, "did you mean 'word'"),
        ({"context": 7}, "context"),
        ({"held_out": 1.0}, "held_out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ConfigurationError, match=named):
        Settings(**values)
