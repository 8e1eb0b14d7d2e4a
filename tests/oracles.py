"""Independent formulas of the operations, in NumPy and SciPy: what the suite compares with.

`ORACLES` has one entry for every operation. None of them shares a line with the operation's own
block; where the block is a NumPy call itself, the formula here is another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from attention_oracle import oracles as attention_oracles
from scipy import special, stats

from graphgrad import Operation
from graphgrad.graph import constant, extent, iota
from graphgrad.ops import arithmetic as a
from graphgrad.ops import (
    attention,
    collectives,
    contraction,
    frames,
    random,
    ranking,
    shares,
    writing,
)
from graphgrad.ops import composite as c
from graphgrad.ops import functions as f
from graphgrad.ops import indexing as i
from graphgrad.ops import movement as m
from graphgrad.ops import reduction as r
from graphgrad.ops import slices as s


def matmul(x: Any, y: Any, transpose_a: bool, transpose_b: bool) -> Any:
    left, right = ("...ki" if transpose_a else "...ik"), ("...jk" if transpose_b else "...kj")
    return np.einsum(f"{left},{right}->...ij", x, y)


def unslice(x: Any, shape: Any, starts: Any, steps: Any) -> Any:
    out = np.zeros(shape, x.dtype)
    for place in np.ndindex(x.shape):
        out[tuple(s + p * step for s, p, step in zip(starts, place, steps, strict=True))] = x[place]
    return out


def unslice_all(*xs: Any, shape: Any, starts: Any, steps: Any) -> Any:
    return sum(unslice(x, shape, *place) for x, *place in zip(xs, starts, steps, strict=True))


def scatter_add(indices: Any, rows: Any, size: int) -> Any:
    return np.tensordot(one_hot(indices, size), rows, [range(indices.ndim)] * 2)


def one_hot(indices: Any, size: int) -> Any:
    return np.eye(size)[indices]


def put_along_axis(indices: Any, values: Any, axis: int, size: int) -> Any:
    hot = np.moveaxis(np.eye(size)[indices] * values[..., None], axis, -1)
    return np.moveaxis(hot.sum(-1), -1, axis)


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    out = np.empty_like(x, shape=(*x.shape[:axis], indices.shape[axis], *x.shape[axis + 1 :]))
    for place in np.ndindex(out.shape):
        source = list(place)
        source[axis] = np.broadcast_to(indices, out.shape)[place]
        out[place] = x[tuple(source)]
    return out


def top(x: Any, k: int) -> Any:
    earlier = np.tri(x.shape[-1], k=-1, dtype=bool)
    above = (x[..., None, :] > x[..., None]) | ((x[..., None, :] == x[..., None]) & earlier)
    return np.argmax(above.sum(-1)[..., None, :] == np.arange(k)[:, None], -1)


def write_rows(x: Any, rows: Any, places: Any) -> Any:
    hot = one_hot(places, x.shape[1])
    kept = (1 - hot.sum(1)).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    return x * kept + np.einsum("bns,bn...->bs...", hot, rows)


def cross_entropy(logits: Any, targets: Any, smoothing: float, ignored: int) -> Any:
    size = logits.shape[-1]
    goal = np.eye(size)[np.where(targets == ignored, 0, targets)] * (1 - smoothing)
    losses = -np.sum((goal + smoothing / size) * special.log_softmax(logits, axis=-1), axis=-1)
    return np.where(targets == ignored, 0, losses)


def standardise(x: Any, epsilon: float) -> Any:
    mean = np.mean(x, -1, keepdims=True)
    return (x - mean) / np.sqrt(np.mean(x * x, -1, keepdims=True) - mean**2 + epsilon)


def dropout_mask(seed: Any, step: Any, shape: Any, rate: float, stream: int, dtype: Any) -> Any:
    kept = [
        philox_word(n, int(seed), int(step), stream) >= int(rate * 2**32)
        for n in range(int(np.prod(shape)))
    ]
    return np.where(np.reshape(np.array(kept, bool), shape), 1 / (1 - rate), 0).astype(dtype)


def share(number, *xs, parts):
    """One row of a table of all elements."""
    row = np.concatenate([np.ravel(x) for x in xs])
    table = np.zeros((parts, -(-row.size // parts)), row.dtype)
    table.flat[: row.size] = row
    return table[number]


def share_sums(number, x, sizes, parts):
    """The sums of a row in which all but the share is 0."""
    row = np.zeros((parts, x.size), x.dtype)
    row[number] = x
    return np.add.reduceat(row.ravel(), np.cumsum([0, *sizes[:-1]])) if 0 not in sizes else None


def dropout_mask_of_part(
    seed: Any, step: Any, first: Any, shape: Any, rate: float, stream: int, dtype: Any, each: int
) -> Any:
    rows = int(np.prod(shape)) // each
    whole = dropout_mask(seed, step, (int(first) + rows, each), rate, stream, dtype)
    return whole[int(first) :].reshape(shape)


def philox_word(number: int, seed: int, step: int, stream: int) -> int:
    """Word `number` of a Philox4x32-10 stream, in plain integers."""
    words = [number // 4, stream, step % 2**32, step >> 32]
    key = [seed % 2**32, seed >> 32]
    for _ in range(10):
        first, second = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [
            (second >> 32) ^ words[1] ^ key[0],
            second % 2**32,
            (first >> 32) ^ words[3] ^ key[1],
            first % 2**32,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return words[number % 4]


def reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes, keepdims: function(x, axis=axes, keepdims=keepdims)


ORACLES: dict[Operation, Callable[..., Any]] = {
    constant: lambda value: value.array,
    iota: lambda shape, dtype: np.cumsum(np.ones(shape)) - 1,
    extent: lambda size, dtype: size,
    a.add: lambda x, y: x - (-y),
    a.subtract: lambda x, y: -(y - x),
    a.multiply: lambda x, y: ((x + y) ** 2 - (x - y) ** 2) / 4,
    a.divide: lambda x, y: x * y**-1.0,
    a.negative: lambda x: 0 - x,
    a.reciprocal: lambda x: x**-1.0,
    a.absolute: lambda x: np.sqrt(x * x),
    a.sign: lambda x: (x > 0) * 1.0 - (x < 0),
    a.maximum: lambda x, y: (x + y + np.abs(x - y)) / 2,
    a.minimum: lambda x, y: (x + y - np.abs(x - y)) / 2,
    a.equal: lambda x, y: x - y == 0,
    a.not_equal: lambda x, y: x - y != 0,
    a.less: lambda x, y: y - x > 0,
    a.less_equal: lambda x, y: ~(x - y > 0),
    a.logical_and: lambda x, y: x * y,
    a.logical_or: lambda x, y: x + y,
    a.logical_not: lambda x: x ^ True,
    a.is_finite: lambda x: x - x == 0,
    a.clip: lambda x, low, high: np.sort(
        np.stack(np.broadcast_arrays(x, low, np.maximum(low, high))), 0
    )[1],
    a.where: lambda condition, x, y: np.choose(condition, [y, x]),
    a.cast: lambda x, dtype: x.astype(dtype),
    a.stop_gradient: lambda x: x,
    f.identity: lambda x: x,
    f.exp: lambda x: np.e**x,
    f.expm1: lambda x: 2 * np.exp(x / 2) * np.sinh(x / 2),
    f.log: lambda x: np.log2(x) * np.log(2),
    f.log1p: lambda x: np.log(1 + x),
    f.sqrt: lambda x: x**0.5,
    f.rsqrt: lambda x: x**-0.5,
    f.power: lambda x, y: np.exp(y * np.log(x)),
    f.sin: lambda x: np.imag(np.exp(1j * x)),
    f.cos: lambda x: np.real(np.exp(1j * x)),
    f.erf: lambda x: 2 * stats.norm.cdf(x * np.sqrt(2)) - 1,
    f.tanh: lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    f.sigmoid: special.expit,
    f.softplus: lambda x: np.log(1 + np.exp(x)),
    f.relu: lambda x: x * (x > 0),
    f.gelu: lambda x: x * stats.norm.cdf(x),
    f.gelu_tanh: lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    f.silu: lambda x: x * special.expit(x),
    r.sum: reduced(
        lambda x, axis, keepdims: (
            np.mean(x, axis, keepdims=keepdims) * np.prod([x.shape[n] for n in axis])
            if x.size
            else np.zeros(x.shape[1:])
        )
    ),
    r.mean: reduced(np.mean),
    r.variance: reduced(np.var),
    r.max: reduced(lambda x, axis, keepdims: -np.min(-x, axis, keepdims=keepdims)),
    r.min: reduced(lambda x, axis, keepdims: -np.max(-x, axis, keepdims=keepdims)),
    r.argmax: lambda x, axis, dtype: np.argsort(-x, axis=axis, kind="stable").take(0, axis=axis),
    r.logsumexp: reduced(special.logsumexp),
    contraction.matmul: matmul,
    ranking.top: top,
    writing.write_rows: write_rows,
    m.reshape: lambda x, shape: np.array(x.ravel().tolist()).reshape(shape),
    m.transpose: lambda x, axes: np.einsum(x, list(range(x.ndim)), list(axes)),
    m.broadcast_to: lambda x, shape: x + np.zeros(shape),
    s.slice: lambda x, starts, stops, steps: x[
        np.ix_(*(range(*window) for window in zip(starts, stops, steps, strict=True)))
    ],
    s.unslice: unslice,
    frames.unslice_all: unslice_all,
    s.concatenate: lambda *xs, axis: np.stack(
        [row for x in xs for row in np.moveaxis(x, axis, 0)], axis
    ),
    m.copy: lambda x: x,
    i.checked: lambda x, size, ignored, what: x,
    i.gather: lambda table, indices: np.tensordot(one_hot(indices, len(table)), table, 1),
    i.scatter_add: scatter_add,
    i.take_along_axis: take_along_axis,
    i.put_along_axis: put_along_axis,
    random.dropout_mask: dropout_mask,
    random.dropout_mask_of_part: dropout_mask_of_part,
    collectives.all_reduce: lambda x, *before, kind, number: x,
    collectives.sum_of_lower_ranks: lambda x, *before, number: 0,
    collectives.all_reduce_start: lambda x, *before, kind, number: x,
    collectives.wait: lambda started, *kept, number: started,
    shares.reduce_scatter: lambda x, *before, ranks, number: np.ravel(x),
    shares.all_gather: lambda x, *before, size, ranks, number: x,
    shares.reduce_scatter_start: lambda x, *before, ranks, number: np.ravel(x),
    shares.all_gather_start: lambda x, *before, size, ranks, number: x,
    shares.broadcast: lambda x, *before, root, number: x,
    shares.rank_number: lambda: 0,
    shares.share: share,
    shares.share_sums: share_sums,
    c.softmax: special.softmax,
    c.log_softmax: special.log_softmax,
    c.standardise: standardise,
    c.cross_entropy: cross_entropy,
    c.half_squared_error: lambda x, y: np.linalg.norm(np.ravel(x - y)) ** 2 / 2,
    **dict(zip(attention.OPERATIONS, attention_oracles(dropout_mask), strict=True)),
}
