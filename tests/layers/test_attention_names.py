"""The nodes and parameters of attention have the names of the lecture."""

from graphgrad.graph import Graph, input
from graphgrad.layers import multi_head_attention


def test_the_nodes_of_attention_have_the_names_of_the_lecture():
    x = input("x", ("batch", "query", 8))
    graph = Graph(multi_head_attention(x, x, None, 2))
    names = ("Q", "K", "V", "matches", "scores", "weights", "values", "concat")
    assert all(f"attention.{name}" in graph.names for name in names)
    stored = {"W_Q": "query.w", "W_K": "key.w", "W_V": "value.w", "W_O": "output.w"}
    for symbol, name in stored.items():
        scope = name.partition(".")[0]
        assert graph[f"attention.{scope}.{symbol}"] is graph.parameters[f"attention.{name}"]
    unnamed = [n for n in graph.names if n.rpartition(".")[2].startswith(("transpose", "reshape"))]
    assert not unnamed
