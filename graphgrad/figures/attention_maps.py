"""The attention weights of one example: every softmax over keys, by head, with its tokens.

Attention is found in the graph, not by name: a softmax over the last axis of a value
[batch, …, query, key]. An axis has tokens where an input of ids has the same named dimension and
the run keeps a vocabulary of that name (`vocabulary-source.json` for `source`); else its places are
numbered. Padding at the end, where no query looks, is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.data.tokens import tokens_from_json
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.figures.evaluation import values_of
from graphgrad.graph import Dimension, Graph, Node
from graphgrad.ops.composite import softmax

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The weights of one attention: float [head, query, key], and what stands at each place."""

    name: str
    weights: np.ndarray
    queries: tuple[str, ...]
    keys: tuple[str, ...]


def attention_maps(
    graph: Graph, feeds: Arrays, state: Arrays, files: Mapping[str, str], example: int = 0
) -> tuple[AttentionMap, ...]:
    """The attentions of a forward graph for one example of a batch, in the order of the graph.

    Raises UnknownNameError where the graph has no attention, ConfigurationError for an example that
    the batch does not have.
    """
    found = _softmaxes(graph)
    if not found:
        raise UnknownNameError("the model has no attention", fix="plot --what loss, or flow")
    values = values_of(graph, found, feeds, state)
    maps = []
    for node in found:
        value = values[node]
        if not 0 <= example < len(value):
            raise ConfigurationError(
                f"the batch has no example {example}", fix=f"choose one from 0 to {len(value) - 1}"
            )
        weights = value[example].reshape(-1, *value.shape[-2:])
        axes = [_tokens(graph, size, feeds, files, example) for size in node.shape[-2:]]
        maps.append((node, weights, *axes))
    return tuple(_cut(graph.name_of(node), *rest) for node, *rest in maps)


def _softmaxes(graph: Graph) -> list[Node]:
    parts = parts_of(graph)
    return [
        node
        for node in graph.nodes
        if node.operation is softmax
        and node.rank >= 3
        and node.attributes["axis"] == node.rank - 1
        and parts[node] == "forward"
    ]


def _tokens(
    graph: Graph, size: int | Dimension, feeds: Arrays, files: Mapping[str, str], example: int
) -> tuple[str, ...] | None:
    """What stands along an axis of this size; None where nothing says so."""
    vocabulary = files.get(f"vocabulary-{size}.json")
    for name, node in graph.inputs.items():
        if node.rank == 2 and node.dtype.kind == "i" and node.shape[1] == size:
            ids = feeds[name][example].tolist()
            if vocabulary is None:
                return tuple(str(number) for number in ids)
            tokens = tokens_from_json(vocabulary, f"vocabulary-{size}.json").tokens
            return tuple(tokens[number] if number < len(tokens) else "?" for number in ids)
    return None


def _cut(
    name: str, weights: np.ndarray, queries: tuple[str, ...] | None, keys: tuple[str, ...] | None
) -> AttentionMap:
    """Without the keys at the end that nobody looks at, and without as many queries of the same."""
    seen = np.flatnonzero((weights != 0).any(axis=(0, 1)))
    last = int(seen[-1]) + 1 if seen.size else weights.shape[2]
    rows = last if queries == keys else _without_padding(queries, weights.shape[1])
    queries = queries or tuple(map(str, range(weights.shape[1])))
    keys = keys or tuple(map(str, range(weights.shape[2])))
    return AttentionMap(name, weights[:, :rows, :last], queries[:rows], keys[:last])


def _without_padding(tokens: tuple[str, ...] | None, count: int) -> int:
    """Up to the last token that is no padding (id 0, where there is no vocabulary)."""
    while tokens and count > 1 and tokens[count - 1] in ("<pad>", "0"):
        count -= 1
    return count
