"""The Transformer: its names and shapes, what its masks hide, and its options."""

import math

import numpy as np
import pytest
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
from graphgrad.errors import ConfigurationError
from graphgrad.models.transformer import Settings, training_graph

# ---------------------------------------------------------------- names and shapes


def attention_names(settings):
    blocks = [f"encoder.{n}.attention" for n in range(settings.layers)]
    blocks += [
        f"decoder.{n}.{kind}"
        for n in range(settings.layers)
        for kind in ("attention", "cross_attention")
    ]
    return blocks


@BOTH_NORMS
def test_every_value_and_delta_of_attention_has_its_name_and_shape(norm):
    settings = small(norm=norm)
    graph = derive(graph_of(settings), "loss")
    names = [
        f"{block}.{what}{ending}"
        for block in attention_names(settings)
        for what in ("scores", "weights")
        for ending in ("", ".delta")
    ]
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
    np.testing.assert_allclose(
        alone["decoder.output.logits"], padded["decoder.output.logits"][:, :target], rtol=1e-10
    )
    for name in names[1:]:
        np.testing.assert_allclose(alone[name], padded[name], rtol=1e-9, atol=1e-12, err_msg=name)


# ---------------------------------------------------------------- masks


@BOTH_NORMS
def test_no_delta_reaches_padding(norm):
    """Exactly 0, at every node with a position: padding is no part of the loss."""
    feeds = batch([5, 3, 1], [4, 2, 1], source=7, target=6)
    graph = derive(graph_of(small(norm=norm)), "loss")
    lead = {
        axis: graph[name].shape[:2]
        for axis, name in (("source", "source"), ("target", "target_output"))
    }
    checked = {"source": 0, "target": 0}
    nodes = {
        name: node
        for name, node in graph.names.items()
        if name.endswith(".delta") and len(node.shape) == 3
    }
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
        allowed = np.broadcast_to(
            in_target if decoder_self else in_source, found[f"{block}.weights"].shape
        )
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
    names = [
        "encoder.with_positions",
        "encoder.0.attention.output.a",
        "encoder.0.attention_residual",
    ]
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
        ({"tokens": "syllables"}, "tokens"),
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
