"""Attention as one operation, with its deltas recomputed from what is small (Dao 2022).

    scores s = scale · Q Kᵀ, -∞ where hidden     weights p = softmax(s)     o = (p · dropout) V

`layers.attention` declares these as operations with names of their own; the pass `join_attention`
replaces them by the operations of this file where nobody asks for scores or weights. A backend that
has a kernel for them never stores an array [..., query, key]: the statistics L = log Σ eˢ, one
number for each query, suffice to compute any weight again, p = exp(s - L), in the backward pass.

Heads of all three: floats, then optionally a mask, then optionally a seed and a step of dropout.
The delta operation is a function of all its heads, L and o included, so its own deltas are exact.
"""

from __future__ import annotations

import math
from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.leaves import iota
from graphgrad.graph.node import Node, Operation, constant
from graphgrad.graph.samples import boolean, integer, real, sample
from graphgrad.graph.types import TensorType, real_number, truth, whole_number
from graphgrad.ops.arithmetic import less_equal, logical_and, multiply, where
from graphgrad.ops.attention_arrays import (
    Options,
    drop,
    fill_hidden,
    fill_scores,
    fill_softmax,
    options_of,
    scratch_of,
    turned,
    wide,
)
from graphgrad.ops.attention_shapes import PLACES, infer_delta, infer_statistics, infer_values
from graphgrad.ops.contraction import matmul
from graphgrad.ops.functions import exp
from graphgrad.ops.movement import expand_dims
from graphgrad.ops.random import dropout_mask
from graphgrad.ops.reduction import sum

# ---------------------------------------------------------------- computations


def _values_scratch(
    query: TensorType, key: TensorType, value: TensorType, *rest: TensorType, causal: bool, **_: Any
) -> tuple[TensorType, ...]:
    return scratch_of(query, key, rest, causal, 1)


def _compute_values(
    xp: Any,
    out: Any,
    query: Any,
    key: Any,
    value: Any,
    *rest: Any,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
    scratch: Any,
) -> None:
    scores, hidden, row, *dropped = scratch
    options = options_of(rest)
    fill_scores(xp, scores, query, key, options.mask, hidden, scale, causal)
    fill_softmax(xp, scores, row)
    drop(scores, dropped, options, stream, rate)
    if out.dtype == scores.dtype:
        xp.matmul(scores, value, out=out)
    else:
        out[...] = xp.matmul(scores, wide(value))


def _statistics_scratch(
    query: TensorType, key: TensorType, *rest: TensorType, causal: bool, **_: Any
) -> tuple[TensorType, ...]:
    return scratch_of(query, key, rest, causal, 1)


def _compute_statistics(
    xp: Any, out: Any, query: Any, key: Any, *rest: Any, scale: float, causal: bool, scratch: Any
) -> None:
    scores, hidden, largest = scratch
    fill_scores(xp, scores, query, key, options_of(rest).mask, hidden, scale, causal)
    xp.amax(scores, axis=-1, keepdims=True, out=largest)
    empty = largest == -xp.inf
    xp.maximum(largest, xp.finfo(largest.dtype).min, out=largest)
    xp.subtract(scores, largest, out=scores)
    xp.exp(scores, out=scores)
    xp.sum(scores, axis=-1, keepdims=True, out=out)
    xp.maximum(out, xp.finfo(out.dtype).tiny, out=out)
    xp.log(out, out=out)
    xp.add(out, largest, out=out)
    xp.copyto(out, xp.inf, where=empty)


def _delta_scratch(
    query: TensorType, key: TensorType, *rest: TensorType, causal: bool, **_: Any
) -> tuple[TensorType, ...]:
    return scratch_of(query, key, rest[4:], causal, 2)


def _compute_delta(
    xp: Any,
    out: Any,
    query: Any,
    key: Any,
    value: Any,
    values: Any,
    statistics: Any,
    delta: Any,
    *rest: Any,
    to: str,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
    scratch: Any,
) -> None:
    weights, sent, hidden, row, *dropped = scratch
    options = options_of(rest)
    fill_scores(xp, weights, query, key, options.mask, hidden, scale, causal)
    xp.subtract(weights, statistics, out=weights)
    xp.exp(weights, out=weights)
    if to == "value":
        drop(weights, dropped, options, stream, rate)
        out[...] = xp.matmul(turned(weights), wide(delta))
        return
    xp.matmul(wide(delta), turned(wide(value)), out=sent)
    drop(sent, dropped, options, stream, rate)
    row[...] = (wide(delta) * wide(values)).sum(-1, keepdims=True)
    xp.subtract(sent, row, out=sent)
    xp.multiply(sent, weights, out=sent)
    if fill_hidden(xp, hidden, sent.shape[-2:], options.mask, causal):
        xp.copyto(sent, 0, where=hidden)  # as in the composed form, whatever the weight
    xp.multiply(sent, scale, out=sent)
    out[...] = xp.matmul(*((sent, wide(key)) if to == "query" else (turned(sent), wide(query))))


# ---------------------------------------------------------------- delta rules


def _scores(y: Node, query: Node, key: Node, rest: tuple[Node, ...]) -> Node:
    """scale · Q Kᵀ, -∞ where hidden, as operations."""
    scores = matmul(query, key, transpose_b=True) * y.attributes["scale"]
    allowed = options_of(rest).mask
    if y.attributes["causal"]:
        queries, keys = iota(query.shape[-2]), iota(key.shape[-2])
        earlier = less_equal(expand_dims(keys, 0), expand_dims(queries, 1))
        allowed = earlier if allowed is None else logical_and(allowed, earlier)
    return scores if allowed is None else where(allowed, scores, -math.inf)


def _dropped(y: Node, weights: Node, options: Options) -> Node:
    if options.seed is None:
        return weights
    attributes = {name: y.attributes[name] for name in ("rate", "stream")}
    mask = dropout_mask(
        options.seed, options.step, weights.shape, **attributes, dtype=weights.dtype
    )
    return multiply(weights, mask)


def _delta_values(
    delta: Node, y: Node, query: Node, key: Node, value: Node, *rest: Node
) -> tuple[Node | None, ...]:
    common = {name: y.attributes[name] for name in ("scale", "causal")}
    mask = options_of(rest).mask
    statistics = attention_statistics.node(query, key, *([] if mask is None else [mask]), **common)
    heads = (query, key, value, y, statistics, delta, *rest)
    sent = [attention_delta.node(*heads, to=to, **y.attributes) for to in PLACES]
    return (*sent, *[None] * len(rest))


def _delta_statistics(
    delta: Node, y: Node, query: Node, key: Node, *rest: Node
) -> tuple[Node | None, ...]:
    sent = delta * exp(_scores(y, query, key, rest) - y) * y.attributes["scale"]
    to_key = matmul(sent, query, transpose_a=True)
    return (matmul(sent, key), to_key, *[None] * len(rest))


def _delta_delta(
    delta: Node,
    y: Node,
    query: Node,
    key: Node,
    value: Node,
    values: Node,
    statistics: Node,
    sent: Node,
    *rest: Node,
) -> tuple[Node | None, ...]:
    """The deltas of a delta, in the composed form, since nobody trains on them: `sent` is δ of the
    values, and p, r and g are the weights, Σ δ · o and the delta of what reaches the scores."""
    options, scale, to = options_of(rest), y.attributes["scale"], y.attributes["to"]
    weights = exp(_scores(y, query, key, rest) - statistics)
    nothing: list[Node | None] = [None] * len(rest)
    if to == "value":
        kept = _dropped(y, weights, options)
        to_scores = weights * _dropped(y, matmul(sent, delta, transpose_b=True), options)
        found = _to_scores(to_scores, query, key, scale)
        return (*found, None, None, -sum(to_scores, -1, True), matmul(kept, delta), *nothing)
    row = sum(values * sent, -1, keepdims=True)
    rest_sent = _dropped(y, matmul(sent, value, transpose_b=True), options) - row
    core = weights * rest_sent
    reached = core * scale
    if to == "query":
        g = matmul(delta, key, transpose_b=True) * scale
    else:
        g = matmul(query, delta, transpose_b=True) * scale
    to_scores = g * core
    to_query, to_key = _to_scores(to_scores, query, key, scale)
    if to == "query":
        to_key = to_key + matmul(reached, delta, transpose_a=True)
    else:
        to_query = to_query + matmul(reached, delta)
    to_row = -sum(g * weights, -1, keepdims=True)
    back = _dropped(y, g * weights, options)
    to_sent = matmul(back, value) + to_row * values
    to_value = matmul(back, sent, transpose_a=True)
    to_statistics = -sum(to_scores, -1, keepdims=True)
    return (to_query, to_key, to_value, to_row * sent, to_statistics, to_sent, *nothing)


def _to_scores(to_scores: Node, query: Node, key: Node, scale: float) -> tuple[Node, Node]:
    """What the scores' delta sends to queries and keys."""
    scaled = to_scores * scale
    return matmul(scaled, key), matmul(scaled, query, transpose_a=True)


# ---------------------------------------------------------------- operations


def _plain(**changes: Any) -> dict[str, Any]:
    return {"scale": 0.5, "causal": False, "rate": 0.0, "stream": 0} | changes


_QKV = (real(2, 2, 4, 4), real(2, 2, 5, 4), real(2, 2, 5, 3))
_ONE = (real(1, 1), real(1, 1), real(1, 1))
_SQUARE = (real(2, 5, 3),) * 3
_SEEDS = (integer(below=9), integer(below=9))
_DROPPED = {"rate": 0.4, "stream": 3}


@operation(
    infer=infer_values,
    formula="(softmax(scale · x₁ x₂ᵀ) · dropout) x₃",
    compute=_compute_values,
    delta=_delta_values,
    delta_formula="attention_delta to x₁, x₂ and x₃",
    scratch=_values_scratch,
    one_dtype=False,
    takes_halves=True,
    samples=(
        sample(*_QKV, **_plain()),
        sample(*_QKV, boolean(2, 1, 1, 5), **_plain(scale=0.3)),
        sample(*_SQUARE, **_plain(causal=True)),
        sample(*_SQUARE, boolean(2, 5, 5), *_SEEDS, **_plain(causal=True, **_DROPPED)),
        sample(*_ONE, *_SEEDS, **_plain(scale=1.0, **_DROPPED)),
    ),
    example=("gg.dot_product_attention(x, x, x, causal=True)", "float32[3, 4]"),
)
def dot_product_attention(
    query: Node,
    key: Node,
    value: Node,
    mask: Node | None = None,
    scale: float | None = None,
    causal: bool = False,
    dropout: tuple[Node | int, Node | int, float, int] | None = None,
    name: str | None = None,
) -> Node:
    """softmax(scale · Q Kᵀ) V over the last two axes (Vaswani et al. 2017, equation 1), in one
    operation: [..., query, D_k], [..., key, D_k], [..., key, D_v] -> [..., query, D_v].

    `scale` is 1 / √D_k unless given. Where `mask`, which broadcasts to [..., query, key], is False,
    the weight is 0; `causal` hides the keys later than the query as well. A query that may attend
    to no key gets zeros. `dropout` is (seed, step, rate, stream) of a `dropout_mask` of the
    weights. The weights have no node: `layers.attention` is the form whose parts can be
    looked at, and compiles to this one where a backend has a kernel for it.
    """
    if scale is None:
        width = query.type.shape[-1] if query.rank else 1
        if not isinstance(width, int):
            raise ValueError(f"the width {width} of the queries is not known; fix: give scale")
        scale = 1.0 / math.sqrt(max(width, 1))
    seed, step, rate, stream = dropout or (None, None, 0.0, 0)
    options = [
        each if isinstance(each, Node) else constant(each)
        for each in (mask, seed, step)
        if each is not None
    ]
    return dot_product_attention.node(
        *(query, key, value, *options),
        scale=real_number(scale, "a scale"),
        causal=truth(causal, "causal"),
        rate=real_number(rate, "a rate"),
        stream=whole_number(stream, "a stream"),
        name=name,
    )


attention_statistics = Operation(
    "attention_statistics",
    infer_statistics,
    "log Σ exp(scale · x₁ x₂ᵀ), ∞ for a query without keys",
    _compute_statistics,
    _delta_statistics,
    "δ₁ = δ p x₂ · scale, δ₂ = (δ p)ᵀ x₁ · scale",
    (
        sample(*_QKV[:2], scale=0.5, causal=False),
        sample(*_SQUARE[:2], scale=0.7, causal=True),
        sample(real(6, 3), real(8, 3), boolean(1, 8), scale=0.5, causal=False),
    ),
    scratch=_statistics_scratch,
    one_dtype=False,
    takes_halves=True,
)

_SENT = (real(2, 2, 4, 3), real(2, 2, 4, 1, low=1.0, high=3.0), real(2, 2, 4, 3))
_SQUARE_SENT = (real(2, 5, 3), real(2, 5, 1, low=1.0, high=3.0), real(2, 5, 3))
_ALL = [
    sample(*_QKV, *_SENT, to="query", **_plain()),
    sample(*_QKV, *_SENT, boolean(2, 1, 1, 5), to="key", **_plain()),
    sample(*_QKV, *_SENT, to="value", **_plain()),
    *(
        sample(
            *_SQUARE,
            *_SQUARE_SENT,
            *(boolean(2, 5, 5), *_SEEDS),
            to=to,
            **_plain(causal=True, **_DROPPED),
        )
        for to in PLACES
    ),
]
attention_delta = Operation(
    "attention_delta",
    infer_delta,
    "what x₆, the delta of x₄ = attention, sends to x₁, x₂ or x₃",
    _compute_delta,
    _delta_delta,
    "the deltas of p (δ x₃ᵀ - Σ δ x₄) x₂ and the like, in operations",
    tuple(_ALL),
    scratch=_delta_scratch,
    one_dtype=False,
    takes_halves=True,
)

OPERATIONS: tuple[Operation, ...] = (
    dot_product_attention,
    attention_statistics,
    attention_delta,
)
