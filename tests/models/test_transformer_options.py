"""The Transformer's options: one table for three uses, dropouts, positions, biases, first weights.

That the loss and every delta are right under each option is compared with PyTorch in
tests/training/test_against_torch.py; that decoding agrees with training, in tests/decoding.
"""

import math

import numpy as np
import pytest
from small_transformer import SOURCES, batch, graph_of, small, state_of, values

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.explain.explanation import explain
from graphgrad.explain.explanation_text import text_lines
from graphgrad.graph import initial_state
from graphgrad.models.transformer import Settings, training_graph

ONE_TABLE = {"joint": True, "share_embeddings": True, "tie": True}


def shared_graph(**options):
    return training_graph(small(**ONE_TABLE, **options), SOURCES, SOURCES)


def test_a_shared_table_has_three_contributions_that_sum_to_its_delta():
    graph = derive(shared_graph(), "loss")
    assert [name for name in graph.parameters if "embedding" in name] == ["embedding"]
    tails = {graph.name_of(each.tail): each for each in graph.sent_back("embedding")}
    assert list(tails) == ["encoder.gather", "decoder.gather", "decoder.output.product"]
    feeds = batch([5, 3], [4, 2])
    state, names = state_of(graph), [graph.name_of(each.value) for each in tails.values()]
    found = values(graph, ["embedding.delta", *names], feeds, state)
    first, second, third = (found[name] for name in names)
    np.testing.assert_allclose(found["embedding.delta"], first + second + third, rtol=1e-12)
    # a token that occurs on one side only gets nothing from the other side's look-up
    for part, used in ((first, feeds["source"]), (second, feeds["target_input"])):
        assert set(np.flatnonzero(part.any(axis=1))) == set(used[used != 0])
    assert third.any(axis=1).all()
    explained = explain(shared_graph(), "embedding", feeds, state)
    assert explained.agrees
    text = "\n".join(text_lines(explained))
    assert all(name in text for name in tails), text


def test_contributions_of_a_shared_table_are_the_deltas_of_separate_tables():
    """Three tables with the same values: each gets one of the three contributions."""
    shared = derive(shared_graph(output_bias=False), "loss")
    apart = derive(training_graph(small(output_bias=False), SOURCES, SOURCES), "loss")
    state, feeds = state_of(shared), batch([5, 3], [4, 2])
    table = state["embedding"]
    theirs = {name: state.get(name) for name in apart.parameters}
    theirs["encoder.embedding"] = theirs["decoder.embedding"] = table
    theirs["decoder.output.dense.w"] = table.T.copy()
    sent = [shared.name_of(each.value) for each in shared.sent_back("embedding")]
    one = values(shared, sent, feeds, state)
    names = ["encoder.embedding", "decoder.embedding", "decoder.output.dense.w"]
    three = values(apart, [f"{name}.delta" for name in names], feeds, theirs)
    expected = [three[f"{name}.delta"] for name in names]
    for name, delta in zip(sent, [*expected[:2], expected[2].T], strict=True):
        np.testing.assert_allclose(one[name], delta, rtol=1e-9, atol=1e-15, err_msg=name)


def test_multi30k_tiny_has_the_parameters_of_fairseqs_model():
    """Counted by hand for fairseq's transformer with these sizes and 9,712 tokens."""
    settings = Settings(
        layers=4, width=128, heads=4, inner=256, output_bias=False, initial="xavier", **ONE_TABLE
    )
    graph = training_graph(settings, 9712, 9712)
    assert sum(math.prod(leaf.shape) for leaf in graph.parameters.values()) == 2_568_192


def test_first_weights_are_those_of_fairseq():
    settings = Settings(width=64, heads=4, inner=256, layers=1, initial="xavier", **ONE_TABLE)
    state = initial_state(training_graph(settings, 500, 500), 3)
    table = state["embedding"]
    assert not table[0].any() and table[1:].all()
    assert table[1:].std() == pytest.approx(64**-0.5, rel=0.02)
    for name, inputs, outputs, share in (
        ("encoder.0.attention.query.w", 64, 64, 0.5),
        ("decoder.0.cross_attention.value.w", 64, 64, 0.5),
        ("decoder.0.attention.output.w", 64, 64, 1.0),
        ("encoder.0.feed_forward.inner.w", 64, 256, 1.0),
        ("decoder.0.feed_forward.outer.w", 256, 64, 1.0),
    ):
        limit = math.sqrt(6 * share / (inputs + outputs))
        assert np.abs(state[name]).max() == pytest.approx(limit, rel=0.02), name
        assert state[name].std() == pytest.approx(limit / math.sqrt(3), rel=0.05), name
    assert not any(state[name].any() for name in state if name.endswith(".b"))


def test_scaled_first_weights_stay_as_they_were():
    state = initial_state(training_graph(Settings(layers=1), 50, 50), 0)
    assert state["encoder.embedding"][0].all()
    assert state["encoder.0.feed_forward.outer.w"].std() == pytest.approx(384**-0.5, rel=0.05)


def test_without_bias_there_is_none():
    names = shared_graph(norm="pre", bias=False, output_bias=False).parameters
    assert not [name for name in names if name.endswith((".b", ".bias"))]
    names = shared_graph(norm="pre", bias=False).parameters
    assert [name for name in names if name.endswith((".b", ".bias"))] == ["decoder.output.b"]


@pytest.mark.parametrize(
    ("option", "ends"),
    [
        (
            "dropout",
            {"dropout", "attention_dropout", "cross_attention_dropout", "feed_forward_dropout"},
        ),
        ("attention_dropout", {"weights_dropout"}),
        ("activation_dropout", {"inner_dropout"}),
    ],
)
def test_each_dropout_has_its_places(option, ends):
    graph = graph_of(small(**{option: 0.3}))
    masks = [name for name in graph.names if name.endswith("dropout.mask")]
    assert {name.split(".")[-2] for name in masks} == ends
    evaluation = graph_of(small(**{option: 0.3}), training=False)
    assert not any(node.operation.name == "dropout_mask" for node in evaluation)


def test_learned_positions_end_at_the_maximum_length():
    graph = graph_of(small(positions="learned", maximum_length=6))
    assert graph.parameters["encoder.positions"].shape == (6, 8)
    assert graph.parameters["decoder.positions"].shape == (6, 8)
    values(graph, [], batch([6, 3], [4, 6]))
    with pytest.raises(DataError, match="6"):
        values(graph, [], batch([7, 3], [4, 6]))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"share_embeddings": True}, "one vocabulary"),
        ({"positions": "rotary"}, "sinusoidal, learned"),
        ({"initial": "glorot"}, "scaled, xavier"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"activation_dropout": -0.1}, "activation_dropout"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, named):
    with pytest.raises(ConfigurationError, match=named):
        Settings(**given)
