"""Computes the section `attention` of a page: weights and ∂L/∂scores of a few examples of a batch.

    weights           [example, head, query, key]
    deltas (scores)   [example, head, query, key]

Attention is found by structure (see `figures.attention`). An axis has tokens if an input of ids
[batch, n] has the same dimension n. Values are packed as float32, so the page shows them exactly;
masked elements of both are exactly 0. An example is cut to its length plus `MARGIN` positions of
padding; examples, then positions, are left out until the section fits into `budget` bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.figures.attention import (
    Attention,
    attention_values,
    by_example,
    find_attentions,
    lengths_of,
)
from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.token_labels import Tokens, tokens_text
from graphgrad.graph import Graph, Node
from graphgrad.page.encoding import packed, packed_bits

EXAMPLES, SIDE = 4, 64
BUDGET = 6_000_000  # bytes of text in the page
MARGIN = 2  # positions of padding that are shown
LONGEST_TOKEN = 24  # characters
SIDES = (64, 48, 32, 24, 16, 12, 8)


def attention_section(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    tokens: Tokens | None = None,
    examples: int = EXAMPLES,
    side: int = SIDE,
    budget: int = BUDGET,
) -> dict[str, Any] | None:
    """The section for a derived graph and one batch of inputs; None for a graph without attention.

    The first `examples` of the batch are shown, with at most `side` queries and keys each.
    """
    found = list(find_attentions(graph))
    if not found:
        return None
    arrays = attention_values(graph, found, feeds, state)
    lengths = lengths_of(found, arrays)
    maps = [_split(graph, item, arrays, lengths) for item in found]
    count = min(examples, *(len(item["examples"]) for item in maps))
    side, count = _fitting(maps, count, min(side, SIDE), budget)
    shown = [
        {**item, "examples": [_encoded(example, side) for example in item["examples"][:count]]}
        for item in maps
    ]
    inputs = dict.fromkeys(name for item in found for name in (item.query, item.key) if name)
    return {
        "side": side,
        "maps": shown,
        "examples": [
            _texts(inputs, feeds, tokens or {}, number, side, lengths) for number in range(count)
        ],
    }


# ---------------------------------------------------------------- as much as fits


def _split(
    graph: Graph,
    item: Attention,
    arrays: Mapping[Node, np.ndarray],
    lengths: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """One attention with its arrays by example, cut to their lengths."""
    weights = by_example(arrays[item.weights])
    deltas = None if item.delta is None else by_example(arrays[item.delta])
    mask = None
    if item.mask is not None:
        whole = np.broadcast_to(arrays[item.mask], arrays[item.weights].shape)
        mask = by_example(whole)
    examples = []
    for number in range(len(weights)):
        cut = tuple(
            slice(int(lengths[name][number]) + MARGIN if name in lengths else None)
            for name in (item.query or "", item.key or "")
        )
        examples.append(
            {
                "weights": weights[number][:, *cut],
                "deltas": None if deltas is None else deltas[number][:, *cut],
                "mask": None if mask is None else mask[number][:, *cut],
            }
        )
    name = graph.name_of(item.weights)
    return {
        "name": name.rpartition(".")[0] or name,
        "weights": name,
        "scores": graph.name_of(item.scores),
        "query": item.query,
        "key": item.key,
        "heads": weights.shape[1],
        "examples": examples,
    }


def _fitting(
    maps: Sequence[Mapping[str, Any]], count: int, side: int, budget: int
) -> tuple[int, int]:
    """The side and the number of examples that fit: examples are left out before positions."""
    for smaller in (side, *(size for size in SIDES if size < side)):
        for fewer in range(count, 0, -1):
            size = sum(
                _bytes(example["weights"].shape, smaller, example["deltas"] is not None)
                for item in maps
                for example in item["examples"][:fewer]
            )
            if size <= budget:
                return smaller, fewer
    return min(SIDES[-1], side), 1


def _bytes(shape: tuple[int, ...], side: int, deltas: bool) -> int:
    heads, queries, keys = shape
    return heads * min(queries, side) * min(keys, side) * (11 if deltas else 6)


def _encoded(example: Mapping[str, np.ndarray | None], side: int) -> dict[str, Any]:
    weights, deltas, mask = (
        None if array is None else array[:, :side, :side]
        for array in (example["weights"], example["deltas"], example["mask"])
    )
    assert weights is not None
    return {
        "queries": weights.shape[1],
        "keys": weights.shape[2],
        "weights": packed(weights),
        "deltas": None if deltas is None else packed(deltas),
        "mask": None if mask is None else packed_bits(mask),
    }


def _texts(
    inputs: Sequence[str] | Mapping[str, None],
    feeds: Arrays,
    tokens: Tokens,
    number: int,
    side: int,
    lengths: Mapping[str, np.ndarray],
) -> dict[str, list[str]]:
    """The tokens of one example by input; ids if the tokens of an input are unknown."""
    texts = {}
    for name in inputs:
        ids = np.asarray(feeds[name])[number][:side]
        if name in lengths:
            ids = ids[: int(lengths[name][number]) + MARGIN]
        found = tokens_text(ids.tolist(), tokens.get(name))
        texts[name] = [token[:LONGEST_TOKEN] for token in found]
    return texts
