"""Attention query by query and key by key, with plain sums: what the operations are compared with.

Nothing here is a matrix product or a softmax: a hidden key is not looked at, a weight is one
exponential, and a delta is added up pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

Mask = Callable[..., Any]


def _pairs(
    query: Any, key: Any, rest: Any, scale: float, causal: bool
) -> Iterator[tuple[Any, int, dict[int, float]]]:
    """(head, query, scores of the keys that it may attend to)."""
    shape = (*query.shape[:-1], key.shape[-2])
    allowed = np.broadcast_to(rest[0] if len(rest) % 2 else True, shape)
    for head in np.ndindex(query.shape[:-2]):
        for q in range(shape[-2]):
            seen = [
                k for k in range(shape[-1]) if allowed[(*head, q, k)] and not (causal and k > q)
            ]
            yield head, q, {k: scale * float(query[head][q] @ key[head][k]) for k in seen}


def _kept(dropout_mask: Mask, shape: Any, rest: Any, rate: float, stream: int) -> Any:
    if len(rest) < 2:
        return np.ones(shape)
    return dropout_mask(*rest[-2:], shape=shape, rate=rate, stream=stream, dtype=np.float64)


def _values(
    dropout_mask: Mask,
    query: Any,
    key: Any,
    value: Any,
    *rest: Any,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
) -> Any:
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    shape = (*query.shape[:-1], key.shape[-2])
    kept = _kept(dropout_mask, shape, rest, rate, stream)
    for head, q, scores in _pairs(query, key, rest, scale, causal):
        total = sum(np.exp(s) for s in scores.values())
        for k, score in scores.items():
            out[(*head, q)] += np.exp(score) / total * kept[(*head, q, k)] * value[head][k]
    return out


def _statistics(query: Any, key: Any, *rest: Any, scale: float, causal: bool) -> Any:
    out = np.full((*query.shape[:-1], 1), np.inf)
    for head, q, scores in _pairs(query, key, rest, scale, causal):
        if scores:
            out[(*head, q)] = np.log(sum(np.exp(s) for s in scores.values()))
    return out


def _deltas(
    dropout_mask: Mask,
    query: Any,
    key: Any,
    value: Any,
    values: Any,
    logarithms: Any,
    delta: Any,
    *rest: Any,
    to: str,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
) -> Any:
    sent = [np.zeros(x.shape) for x in (query, key, value)]
    shape = (*query.shape[:-1], key.shape[-2])
    kept = _kept(dropout_mask, shape, rest, rate, stream)
    for head, q, scores in _pairs(query, key, rest, scale, causal):
        here = (*head, q)
        for k, score in scores.items():
            weight = np.exp(score - logarithms[here][0])
            through = kept[(*here, k)] * np.sum(delta[here] * value[head][k])
            reached = weight * (through - np.sum(delta[here] * values[here])) * scale
            sent[0][here] += reached * key[head][k]
            sent[1][head][k] += reached * query[here]
            sent[2][head][k] += weight * kept[(*here, k)] * delta[here]
    return sent[["query", "key", "value"].index(to)]


def oracles(dropout_mask: Mask) -> tuple[Callable[..., Any], ...]:
    """Values, statistics and deltas; `dropout_mask` is the oracle of the masks."""
    return partial(_values, dropout_mask), _statistics, partial(_deltas, dropout_mask)
