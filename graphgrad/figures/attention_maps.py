"""Computes the attention weights of one example of a batch, by head, with their tokens.

Which nodes are attention is decided in `attention`. An axis that belongs to an input of ids has
its tokens (see `token_labels`), or the ids themselves as `#7`. Any other axis is numbered. Padding
at the end, where no query looks, is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.figures.attention import by_example, find_attentions
from graphgrad.figures.evaluation import Arrays, values_of
from graphgrad.figures.token_labels import Tokens, tokens_text
from graphgrad.graph import Graph


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The weights of one attention, float [head, query, key], and the labels of both axes."""

    name: str
    weights: np.ndarray
    queries: tuple[str, ...]
    keys: tuple[str, ...]


def attention_maps(
    graph: Graph, feeds: Arrays, state: Arrays, tokens: Tokens, example: int = 0
) -> tuple[AttentionMap, ...]:
    """The attentions of a forward graph for one example of a batch, in the order of the graph.

    `tokens` are those of the inputs of ids, as `token_labels` gives them. Weights without a batch
    axis are those of example 0. Raises UnknownNameError for a graph without attention,
    ConfigurationError for an example that the batch does not have.
    """
    found = list(find_attentions(graph))
    if not found:
        raise UnknownNameError("the model has no attention", fix="plot --what loss, or flow")
    values = values_of(graph, [item.weights for item in found], feeds, state)
    maps = []
    for item in found:
        weights = by_example(values[item.weights])
        if not 0 <= example < len(weights):
            raise ConfigurationError(
                f"the batch has no example {example}",
                fix=f"choose one from 0 to {len(weights) - 1}",
            )
        axes = [
            None if name is None else tokens_text(feeds[name][example].tolist(), tokens.get(name))
            for name in (item.query, item.key)
        ]
        maps.append(_without_padding(graph.name_of(item.weights), weights[example], *axes))
    return tuple(maps)


def _without_padding(
    name: str, weights: np.ndarray, queries: tuple[str, ...] | None, keys: tuple[str, ...] | None
) -> AttentionMap:
    """Cuts off the keys at the end that no query looks at, and padding among the queries."""
    seen = np.flatnonzero((weights != 0).any(axis=(0, 1)))
    last = int(seen[-1]) + 1 if seen.size else weights.shape[2]
    rows = last if queries == keys else _length(queries, weights.shape[1])
    queries = queries or tuple(map(str, range(weights.shape[1])))
    keys = keys or tuple(map(str, range(weights.shape[2])))
    return AttentionMap(name, weights[:, :rows, :last], queries[:rows], keys[:last])


def _length(tokens: tuple[str, ...] | None, count: int) -> int:
    """The number of tokens up to the last that is not padding (id 0 if there is no vocabulary)."""
    while tokens and count > 1 and tokens[count - 1] in ("<pad>", "#0"):
        count -= 1
    return count
