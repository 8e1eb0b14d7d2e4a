"""The Transformer: its names and shapes, what its masks hide, and that it learns."""

import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile, initial_state
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, leaf_name
from graphgrad.layers import Step, StepSizes
from graphgrad.models import transformer
from graphgrad.models.transformer import (
    Settings,
    decoding_step,
    encoding_graph,
    training_graph,
)
from graphgrad.ops import log_softmax
from graphgrad.training.optimisers import SEED, STEP, training_step
from graphgrad.training.settings import with_values

SOURCES, TARGETS = 11, 9
"""Sizes of the two vocabularies; ids 0 to 3 are <pad>, <bos>, <eos> and <unk>."""
BOTH_NORMS = pytest.mark.parametrize("norm", ["post", "pre"])


def small(**values):
    return Settings(
        **{"layers": 2, "width": 8, "heads": 2, "inner": 12, "dtype": "float64", **values}
    )


def graph_of(settings, training=True):
    return training_graph(settings, SOURCES, TARGETS, training)


def state_of(graph, seed=0):
    """A state in which nothing is 0 or 1 by default, so that every parameter matters."""
    generator = np.random.default_rng(seed)
    state = initial_state(graph, seed)
    for name in graph.parameters:
        state[name] += generator.normal(scale=0.2, size=state[name].shape)
    return state


def batch(source_lengths, target_lengths, source=None, target=None, seed=0):
    """Random sentences of these lengths (<eos> counted), padded to `source` and `target`."""
    generator = np.random.default_rng(seed)
    rows = len(source_lengths)
    feeds = {
        "source": np.zeros((rows, source or max(source_lengths)), np.int32),
        "target_input": np.zeros((rows, target or max(target_lengths)), np.int32),
        "target_output": np.zeros((rows, target or max(target_lengths)), np.int32),
    }
    for row, (length, answer) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        feeds["source"][row, :length] = [*generator.integers(4, SOURCES, length - 1), 2]
        words = generator.integers(4, TARGETS, answer - 1)
        feeds["target_input"][row, :answer] = [1, *words]
        feeds["target_output"][row, :answer] = [*words, 2]
    return feeds


def parts_of(settings):
    """The two graphs of use: what is encoded, and a step."""
    step = Step(StepSizes(2, 1, 16))
    logits = decoding_step(step, settings, TARGETS)
    return encoding_graph(settings, SOURCES, TARGETS), Graph({"logits": logits}, step.updates)


def values(graph, names, feeds, state=None):
    return compile(graph, fetch=names)(state_of(graph) if state is None else state, **feeds)


# ---------------------------------------------------------------- names and shapes


def attention_names(settings):
    blocks = [f"encoder.{n}.attention" for n in range(settings.layers)]
    blocks += [f"decoder.{n}.{kind}" for n in range(settings.layers)
               for kind in ("attention", "cross_attention")]  # fmt: skip
    return blocks


@BOTH_NORMS
def test_every_value_and_delta_of_attention_has_its_name_and_shape(norm):
    settings = small(norm=norm)
    graph = derive(graph_of(settings), "loss")
    names = [f"{block}.{what}{ending}" for block in attention_names(settings)
             for what in ("scores", "weights") for ending in ("", ".delta")]  # fmt: skip
    found = values(graph, names, batch([5, 3], [4, 2]))
    for name in names:
        queries = 5 if name.startswith("encoder") else 4
        keys = 4 if name.startswith("decoder") and ".attention" in name else 5
        assert found[name].shape == (2, settings.heads, queries, keys), name
        assert found[name].any(), name
    for block in attention_names(settings):
        np.testing.assert_allclose(found[f"{block}.weights"].sum(axis=-1), 1.0)
        # softmax does not see a constant added to a row, so a row's deltas sum to 0
        np.testing.assert_allclose(found[f"{block}.scores.delta"].sum(axis=-1), 0.0, atol=1e-15)
    assert found["loss"].shape == () and found["predicted"].shape == (2, 4)


def test_the_recipe_has_the_parameters_of_the_paper():
    settings = Settings()
    graph = training_graph(settings, 114, 15)
    width, inner, layers = settings.width, settings.inner, settings.layers
    attention = 4 * (width * width + width)
    network = 2 * width * inner + inner + width
    norm = 2 * width
    expected = layers * (attention + network + 2 * norm)  # encoder
    expected += layers * (2 * attention + network + 3 * norm)  # decoder
    expected += (114 + 15) * width + width * 15 + 15
    assert sum(math.prod(leaf.shape) for leaf in graph.parameters.values()) == expected


def test_all_four_graphs_share_their_parameters_by_name():
    settings = small(dropout=0.1)
    complete = graph_of(settings).parameters
    evaluation = graph_of(settings, training=False)
    parts = {name: leaf for graph in parts_of(settings) for name, leaf in graph.parameters.items()}
    assert complete.keys() == parts.keys() == evaluation.states.keys()
    assert all(complete[name].type == leaf.type for name, leaf in parts.items())


@pytest.mark.parametrize("lengths", [([1], [1]), ([1], [3]), ([3], [1]), ([1, 1], [1, 1])])
def test_single_tokens_and_single_rows_are_sizes_like_any_other(lengths):
    """The graph is declared for every size; nothing may broadcast where a size happens to be 1."""
    graph = derive(graph_of(small()), "loss")
    names = ["decoder.output.logits", *(f"{name}.delta" for name in graph.parameters)]
    alone = values(graph, names, batch(*lengths))
    padded = values(graph, names, batch(*lengths, source=4, target=4))
    rows, target = len(lengths[1]), max(lengths[1])
    assert alone["decoder.output.logits"].shape == (rows, target, TARGETS)
    np.testing.assert_allclose(alone["decoder.output.logits"],
                               padded["decoder.output.logits"][:, :target], rtol=1e-10)  # fmt: skip
    for name in names[1:]:
        np.testing.assert_allclose(alone[name], padded[name], rtol=1e-9, atol=1e-12, err_msg=name)


# ---------------------------------------------------------------- masks


@BOTH_NORMS
def test_no_delta_reaches_padding(norm):
    """Exactly 0, at every node with a position: padding is no part of the loss."""
    feeds = batch([5, 3, 1], [4, 2, 1], source=7, target=6)
    graph = derive(graph_of(small(norm=norm)), "loss")
    lead = {axis: graph[name].shape[:2] for axis, name in
            (("source", "source"), ("target", "target_output"))}  # fmt: skip
    checked = {"source": 0, "target": 0}
    nodes = {name: node for name, node in graph.names.items()
             if name.endswith(".delta") and len(node.shape) == 3}  # fmt: skip
    found = values(graph, list(nodes), feeds)
    for name, node in nodes.items():
        for axis, ids in (("source", feeds["source"]), ("target", feeds["target_output"])):
            if node.shape[:2] == lead[axis]:
                assert not found[name][ids == 0].any(), name
                assert found[name][ids != 0].any(), name
                checked[axis] += 1
    assert min(checked.values()) > 20


@BOTH_NORMS
def test_a_forbidden_key_has_weight_and_delta_exactly_zero(norm):
    feeds = batch([5, 3], [4, 2], source=6, target=5)
    settings = small(norm=norm)
    graph = derive(graph_of(settings), "loss")
    blocks = attention_names(settings)
    names = [f"{block}.{what}" for block in blocks for what in ("weights", "scores.delta")]
    found = values(graph, names, feeds)
    in_source = (feeds["source"] != 0)[:, None, None, :]
    in_target = (feeds["target_input"] != 0)[:, None, None, :] & np.tri(5, dtype=bool)
    for block in blocks:
        decoder_self = block.startswith("decoder") and ".attention" in block
        allowed = np.broadcast_to(in_target if decoder_self else in_source,
                                  found[f"{block}.weights"].shape)  # fmt: skip
        assert not found[f"{block}.weights"][~allowed].any(), block
        assert not found[f"{block}.scores.delta"][~allowed].any(), block
        assert (found[f"{block}.weights"][allowed] > 0).all(), block


@BOTH_NORMS
def test_the_future_has_no_influence(norm):
    graph, logits = graph_of(small(norm=norm)), "decoder.output.logits"
    run, state, feeds = compile(graph, fetch=[logits]), state_of(graph), batch([4, 4], [6, 6])
    before = run(state, **feeds)[logits]
    feeds["target_input"][0, 3] = 4 + (feeds["target_input"][0, 3] - 3) % (TARGETS - 4)
    after = run(state, **feeds)[logits]
    np.testing.assert_array_equal(after[0, :3], before[0, :3])
    np.testing.assert_array_equal(after[1], before[1])
    assert (np.abs(after[0, 3:] - before[0, 3:]).max(axis=-1) > 1e-6).all()


def test_every_source_token_has_influence_on_every_logit():
    graph, logits = graph_of(small()), "decoder.output.logits"
    run, state, feeds = compile(graph, fetch=[logits]), state_of(graph), batch([4], [3])
    before = run(state, **feeds)[logits]
    for place in range(4):
        changed = {**feeds, "source": feeds["source"].copy()}
        changed["source"][0, place] = 3
        after = run(state, **changed)[logits]
        assert (np.abs(after - before).max(axis=-1) > 1e-9).all()


@BOTH_NORMS
def test_padding_changes_no_result(norm):
    lengths = ([5, 3], [4, 2])
    graph = derive(graph_of(small(norm=norm, label_smoothing=0.1)), "loss")
    names = [f"{name}.delta" for name in graph.parameters]
    tight, wide = (values(graph, names, batch(*lengths, *sizes)) for sizes in ((5, 4), (9, 7)))
    np.testing.assert_allclose(wide["loss"], tight["loss"], rtol=1e-12)
    for name in names:
        np.testing.assert_allclose(wide[name], tight[name], rtol=1e-9, atol=1e-13, err_msg=name)


def test_the_loss_is_the_mean_over_the_tokens_of_the_batch():
    """Not the mean of the means of its rows: short sentences count less."""
    graph = graph_of(small())
    run, state = compile(graph), state_of(graph)
    both = batch([5, 3], [4, 2])
    one, two = ({name: array[row : row + 1] for name, array in both.items()} for row in (0, 1))
    losses = [float(run(state, **feeds)["loss"]) for feeds in (both, one, two)]
    assert losses[0] == pytest.approx((4 * losses[1] + 2 * losses[2]) / 6, rel=1e-12)


# ---------------------------------------------------------------- options


def test_post_norm_normalises_the_sum_and_pre_norm_the_input():
    feeds = batch([5, 3], [4, 2])
    ends = [f"encoder.1.{sub}_norm.standard" for sub in ("attention", "feed_forward")]
    post = values(graph_of(small(norm="post")), ends, feeds)
    for name in ends:
        np.testing.assert_allclose(post[name].mean(axis=-1), 0.0, atol=1e-12)
        np.testing.assert_allclose(post[name].std(axis=-1), 1.0, rtol=1e-3)
    graph = graph_of(small(norm="pre"))
    names = ["encoder.with_positions", "encoder.0.attention.output.a",
             "encoder.0.attention_residual"]  # fmt: skip
    before, change, after = (values(graph, names, feeds)[name] for name in names)
    np.testing.assert_allclose(after, before + change, rtol=1e-12)
    assert "encoder.final_norm.gain" in graph.parameters
    assert "decoder.final_norm.gain" in graph.parameters
    assert "decoder.final_norm.gain" not in graph_of(small(norm="post")).parameters


def test_tied_the_output_layer_uses_the_embedding():
    graph = derive(graph_of(small(tie=True)), "loss")
    assert "decoder.output.dense.w" not in graph.parameters
    sent = graph.contributions("decoder.embedding")
    assert set(sent) == {"decoder.gather", "decoder.output.product"}
    names = ["decoder.1.feed_forward_norm.y", "decoder.output.logits"]
    state = state_of(graph)
    hidden, logits = (values(graph, names, batch([3], [3]), state)[name] for name in names)
    expected = hidden @ state["decoder.embedding"].T + state["decoder.output.b"]
    np.testing.assert_allclose(logits, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"width": 7, "heads": 1}, "width"),
        ({"width": 8, "heads": 3}, "heads"),
        ({"norm": "both"}, "norm"),
        ({"tokens": "words"}, "tokens"),
        ({"activation": "reluu"}, "relu"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"layers": 0}, "layers"),
        ({"source": "train.en"}, "source and target"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ConfigurationError, match=named):
        Settings(**values)


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
    compiled = compile(graph, [f"{name}.delta" for name in graph.parameters])
    state, feeds = state_of(graph), batch([4, 2], [3, 2])
    state[SEED][...], state[STEP][...] = 5, 7
    deltas, generator, step = compiled(state, **feeds), np.random.default_rng(1), 1e-5
    for name in graph.parameters:
        kept, direction = state[name], generator.normal(size=state[name].shape)
        losses = []
        for sign in (1, -1):
            state[name] = kept + sign * step * direction
            losses.append(float(compiled(state, **feeds)["loss"]))
        state[name] = kept
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = float(np.sum(deltas[f"{name}.delta"] * direction))
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-9), name


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
    state = {**state, **initial_state(step, given={
        name: state[name] for name in step.parameters})}  # fmt: skip
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
    settings = small(norm=norm, layers=1, width=16, dtype="float32", steps=100, warmup=5,
                     learning_rate=1e-2, schedule="constant")  # fmt: skip
    compiled = compile(training_step(graph_of(settings), settings))
    state, feeds = initial_state(compiled.source_graph, 0), batch([5, 3, 4], [4, 2, 5])
    results = [compiled(state, **feeds) for _ in range(settings.steps)]
    assert float(results[0]["loss"]) > 1.5
    assert float(results[-1]["loss"]) < 0.05
    counted = feeds["target_output"] != 0
    np.testing.assert_array_equal(
        results[-1]["predicted"][counted], feeds["target_output"][counted]
    )
