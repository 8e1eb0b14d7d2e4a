"""Attention weights of one example, with their tokens."""

import numpy as np
import pytest

from graphgrad.data.vocabulary import Vocabulary
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.figures.attention_maps import attention_maps
from graphgrad.figures.token_labels import token_labels
from graphgrad.graph import Graph, initial_state, input, parameter, scope
from graphgrad.layers import attention, embed, embedding_table
from graphgrad.ops import expand_dims, matmul, mean, not_equal, softmax


def padding(ids):
    """True at keys that are not padding: [batch, 1, key]."""
    return expand_dims(not_equal(ids, 0), 1)


def model(whole=True):
    """One head in which the positions of `target` look at those of `source`."""
    source, target = (input(name, ("batch", name), "int32") for name in ("source", "target"))
    table = embedding_table(8, 4, "float32")
    with scope("cross"):
        keys, queries = embed(source, table), embed(target, table)
        found = attention(queries, keys, keys, None if whole else padding(source))
    return Graph({"loss": mean(found)})


FEEDS = {
    "source": np.array([[4, 5, 6, 0], [4, 5, 0, 0]], np.int32),
    "target": np.array([[5, 5, 0], [6, 4, 7]], np.int32),
}
FILES = {"vocabulary-source.json": Vocabulary.build(["abcd"], "character").to_json()}


def maps(example=0, files=FILES, whole=True):
    graph = model(whole)
    return attention_maps(graph, FEEDS, initial_state(graph), token_labels(graph, files), example)


def test_weights_are_those_of_the_example():
    (found,) = maps(1)
    assert found.name == "cross.weights" and found.weights.shape == (1, 3, 4)
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-6)


def test_tokens_come_from_the_vocabulary_of_that_dimension():
    (found,) = maps()
    tokens = Vocabulary.from_json(FILES["vocabulary-source.json"], "").tokens
    assert found.keys == tuple(tokens[number] for number in (4, 5, 6, 0))
    assert found.queries == ("#5", "#5")  # no vocabulary: the ids, without padding at the end


def test_keys_that_nobody_looks_at_are_cut_off():
    (found,) = maps(1, whole=False)
    assert found.weights.shape == (1, 3, 2) and len(found.keys) == 2 and len(found.queries) == 3
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-6)


def test_an_example_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match=r"no example 2[\s\S]*from 0 to 1"):
        maps(2)


def test_a_model_without_attention_says_so():
    x = input("x", ("batch", 2))
    with pytest.raises(UnknownNameError, match="no attention"):
        attention_maps(Graph({"loss": mean(x)}), {"x": np.zeros((1, 2), np.float32)}, {}, {})


def test_weights_without_a_batch_axis_are_those_of_example_0():
    queries, table = input("queries", ("n", 2)), parameter("table", (5, 2))
    weights = softmax(matmul(queries, table, transpose_b=True), name="weights")
    graph = Graph({"out": mean(matmul(weights, table))})
    feeds = {"queries": np.eye(3, 2, dtype=np.float32)}
    (found,) = attention_maps(graph, feeds, initial_state(graph), {})
    assert found.weights.shape == (1, 3, 5) and found.keys == ("0", "1", "2", "3", "4")
    with pytest.raises(ConfigurationError, match=r"no example 1[\s\S]*from 0 to 0"):
        attention_maps(graph, feeds, initial_state(graph), {}, 1)


def test_a_softmax_that_weighs_nothing_is_not_attention():
    x = input("x", ("batch", "position", 4))
    graph = Graph({"loss": mean(softmax(x))})
    with pytest.raises(UnknownNameError, match="no attention"):
        attention_maps(graph, {"x": np.zeros((1, 2, 4), np.float32)}, {}, {})
