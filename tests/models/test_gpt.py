"""GPT: its names and shapes, what its mask hides, its options, and that it learns."""

import math

import numpy as np
import pytest
from slopes import assert_deltas_are_slopes

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.models.gpt import Settings, training_graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.optimisers import SEED, STEP

VOCABULARY = 11
OPTIONS = {
    "gpt-2": {},
    "rms": {"norm": "rms"},
    "rotary": {"positions": "rotary"},
    "swiglu": {"activation": "swiglu", "bias": False},
    "grouped": {"key_heads": 1},
    "untied": {"tie": False, "activation": "gelu"},
    "modern": {
        "norm": "rms",
        "positions": "rotary",
        "activation": "swiglu",
        "key_heads": 2,
        "bias": False,
        "tie": False,
    },
}
EACH = pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)


def small(**values):
    default = {"layers": 2, "width": 16, "heads": 4, "inner": 12, "context": 8, "dtype": "float64"}
    return Settings(**{**default, **values})


def state_of(graph, seed=0):
    """A state in which nothing is 0 or 1 by default, so that every parameter matters."""
    generator = np.random.default_rng(seed)
    state = initial_state(graph, seed)
    for name in graph.parameters:
        state[name] += generator.normal(scale=0.3, size=state[name].shape)
    return state


def batch(rows=2, length=6, seed=0):
    text = np.random.default_rng(seed).integers(4, VOCABULARY, (rows, length + 1), np.int32)
    return {"ids": text[:, :-1], "following": text[:, 1:].copy()}


def logits_of(settings, state, feeds):
    graph = training_graph(settings, VOCABULARY, training=False)
    return compile(graph, ["decoder.logits"])(state, **feeds)["decoder.logits"]


@EACH
def test_no_position_sees_what_comes_after(changes):
    settings = small(**changes)
    state, feeds = state_of(training_graph(settings, VOCABULARY)), batch()
    before = logits_of(settings, state, feeds)
    feeds["ids"][:, 4] = (feeds["ids"][:, 4] - 3) % 7 + 4  # another token
    after = logits_of(settings, state, feeds)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (np.abs(after[:, 4:] - before[:, 4:]).max(axis=-1) > 1e-6).all()


@EACH
def test_every_position_sees_all_that_came_before(changes):
    settings = small(**changes)
    state, feeds = state_of(training_graph(settings, VOCABULARY)), batch()
    before = logits_of(settings, state, feeds)
    feeds["ids"][:, 0] = (feeds["ids"][:, 0] - 3) % 7 + 4
    changed = np.abs(logits_of(settings, state, feeds) - before).max(axis=-1)
    assert (changed > 1e-9).all()


@EACH
def test_the_delta_of_each_parameter_is_its_slope(changes):
    """Along a random direction of each parameter, with dropout on."""
    settings = small(layers=1, dropout=0.1, attention_dropout=0.2, **changes)
    graph = derive(training_graph(settings, VOCABULARY), "loss")
    state, feeds = state_of(graph), batch()
    feeds["following"][0, :2] = 0
    state[SEED][...], state[STEP][...] = 5, 7
    assert_deltas_are_slopes(graph, state, feeds)


@pytest.mark.parametrize(
    ("option", "ends"),
    [
        ("dropout", {"dropout", "attention_dropout", "feed_forward_dropout"}),
        ("attention_dropout", {"weights_dropout"}),
    ],
)
def test_each_dropout_has_its_places_in_training_only(option, ends):
    settings = small(**{option: 0.3})
    masks = [name for name in training_graph(settings, VOCABULARY).names if name.endswith(".mask")]
    assert {name.split(".")[-2] for name in masks if "dropout" in name} == ends
    evaluation = training_graph(settings, VOCABULARY, training=False)
    assert not any(node.operation.name == "dropout_mask" for node in evaluation)


def test_the_tied_embedding_gets_a_delta_from_both_ends():
    graph = derive(training_graph(small(), VOCABULARY), "loss")
    assert set(graph.contributions("decoder.embedding")) == {"decoder.words", "decoder.logits"}


def test_every_attention_has_its_name_and_its_deltas_sum_to_0():
    settings = small(key_heads=2)
    graph = derive(training_graph(settings, VOCABULARY), "loss")
    names = [f"decoder.{n}.attention.{what}" for n in range(2) for what in ("weights", "scores")]
    found = compile(graph, [*names, *(f"{name}.delta" for name in names)])(
        state_of(graph), **batch()
    )
    forbidden = ~np.tri(6, dtype=bool)
    for name in names:
        assert found[name].shape == (2, 4, 6, 6)
        if name.endswith("weights"):
            np.testing.assert_allclose(found[name].sum(axis=-1), 1.0)
            assert not found[name][..., forbidden].any()
        else:
            np.testing.assert_allclose(found[f"{name}.delta"].sum(axis=-1), 0.0, atol=1e-15)
            assert not found[f"{name}.delta"][..., forbidden].any()


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        # nanoGPT counts 0.80M without positions: 65 tokens, 4 layers, no biases
        (
            {"bias": False, "width": 128, "context": 64},
            65 * 128 + 64 * 128 + 4 * 12 * 128**2 + 9 * 128,
        ),
        # GPT-2's own formula: 12 d² + 13 d a layer
        ({"width": 64, "context": 32}, 65 * 64 + 32 * 64 + 4 * (12 * 64**2 + 13 * 64) + 2 * 64),
        (
            {
                "width": 64,
                "key_heads": 1,
                "activation": "swiglu",
                "bias": False,
                "norm": "rms",
                "positions": "rotary",
                "tie": False,
            },
            2 * 65 * 64 + 4 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 170) + 9 * 64,
        ),
    ],
    ids=["nanoGPT", "GPT-2", "modern"],
)
def test_it_has_as_many_parameters_as_published(settings, count):
    graph = training_graph(Settings(layers=4, heads=4, **settings), 65)
    assert sum(math.prod(leaf.shape) for leaf in graph.parameters.values()) == count


def test_a_fresh_model_knows_nothing():
    graph = training_graph(Settings(layers=2), 1000)
    ids = np.random.default_rng(0).integers(4, 1000, (4, 65), np.int32)
    loss = compile(graph)(initial_state(graph, 1), ids=ids[:, :-1], following=ids[:, 1:])["loss"]
    assert abs(float(loss) - math.log(1000)) < 0.1


def test_what_is_added_along_the_residual_connections_starts_smaller():
    state = initial_state(training_graph(Settings(layers=8), 300), 0)
    for part in ("attention.output.w", "feed_forward.outer.w"):
        assert state[f"decoder.3.{part}"].std() == pytest.approx(0.02 / 4, rel=0.05)
    assert state["decoder.3.attention.query.w"].std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("changes", [OPTIONS["gpt-2"], OPTIONS["modern"]], ids=["gpt-2", "modern"])
def test_it_overfits_one_batch(changes):
    settings = small(
        layers=1,
        steps=60,
        warmup=5,
        learning_rate=2e-2,
        schedule="constant",
        weight_decay=0.0,
        dtype="float32",
        **changes,
    )
    compiled = compile(step_that_decays_matrices(training_graph(settings, VOCABULARY), settings))
    state, feeds = initial_state(compiled.source_graph, 0), batch()
    losses = [float(compiled(state, **feeds)["loss"]) for _ in range(settings.steps)]
    assert losses[0] > 2 and losses[-1] < 0.1


def test_only_matrices_decay():
    """A step with a rate of decay that halves what decays, and no gradient to speak of."""
    settings = small(
        optimiser="adamw", learning_rate=1e-12, weight_decay=5e11, warmup=0, schedule="constant"
    )
    graph = step_that_decays_matrices(training_graph(settings, VOCABULARY), settings)
    state = state_of(graph)
    before = {name: state[name].copy() for name in graph.parameters}
    compile(graph)(state, **batch())
    for name, value in before.items():
        factor = 0.5 if value.ndim > 1 else 1.0
        np.testing.assert_allclose(state[name], factor * value, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"width": 10, "heads": 4}, "10 does not split into 4 heads"),
        ({"heads": 4, "key_heads": 3}, "4 heads in 3 groups"),
        ({"width": 12, "heads": 4, "positions": "rotary"}, "even width"),
        ({"norm": "batch"}, "norm"),
        ({"positions": "rotory"}, "did you mean 'rotary'"),
        ({"activation": "swish"}, "activation"),
        ({"data": "sorted"}, "sort"),
        ({"tokens": "bytes"}, "byte"),
        ({"context": 0}, "context"),
        ({"dropout": 1.0}, "dropout"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ConfigurationError, match=named):
        Settings(**values)
