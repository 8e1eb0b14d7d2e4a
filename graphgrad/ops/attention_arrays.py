"""Computes attention and its deltas with arrays: the reference that kernels are compared with.

The scores of all heads are one working array, so it takes as much memory as the composed form.
16-bit floats are computed in float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graphgrad.graph.types import BOOL, FLOAT32, DType, TensorType, broadcast
from graphgrad.philox import fill_dropout_mask


class Options(NamedTuple):
    """The optional heads of an operation of attention; None where there is none."""

    mask: Any = None
    seed: Any = None
    step: Any = None


def options_of(rest: tuple[Any, ...]) -> Options:
    """The heads after the floats: a mask, a seed and step, or a mask, a seed and step."""
    return Options(None, *rest) if len(rest) == 2 else Options(*rest)


def working_dtype(dtype: DType) -> DType:
    """The dtype of scores, weights and statistics: at least float32."""
    return dtype if dtype.itemsize >= 4 else FLOAT32


def scores_type(query: TensorType, key: TensorType) -> TensorType:
    """The type of the scores [..., query, key]."""
    return TensorType((*query.shape[:-1], key.shape[-2]), working_dtype(query.dtype))


def scratch_of(
    query: TensorType, key: TensorType, rest: tuple[TensorType, ...], causal: bool, arrays: int
) -> tuple[TensorType, ...]:
    """The working arrays: `arrays` of the size of the scores, what is hidden, a number a row, and
    a dropout mask."""
    scores, options = scores_type(query, key), options_of(rest)
    hidden = [] if options.mask is None else [options.mask.shape]
    hidden += [scores.shape[-2:]] if causal else []
    row = TensorType((*query.shape[:-1], 1), scores.dtype)
    drops = [] if options.seed is None else [scores]
    return (*[scores] * arrays, TensorType(broadcast(hidden), BOOL), row, *drops)


def wide(x: Any) -> Any:
    """x with at least 32 bits a number."""
    return x if x.dtype.itemsize >= 4 else x.astype("float32")


def turned(x: Any) -> Any:
    """x with its last two axes exchanged."""
    return x.swapaxes(-1, -2)


def fill_scores(
    xp: Any, out: Any, query: Any, key: Any, mask: Any, hidden: Any, scale: float, causal: bool
) -> None:
    """out = scale · Q Kᵀ, and -∞ where a query may not attend to a key."""
    xp.matmul(wide(query), turned(wide(key)), out=out)
    xp.multiply(out, scale, out=out)
    if not fill_hidden(xp, hidden, out.shape[-2:], mask, causal):
        return
    xp.copyto(out, -xp.inf, where=hidden)


def fill_hidden(xp: Any, hidden: Any, sizes: tuple[int, int], mask: Any, causal: bool) -> bool:
    """Marks the keys that a query may not attend to; whether there are any."""
    if mask is not None:
        xp.logical_not(mask, out=hidden)
    if causal:
        queries, keys = sizes
        later = xp.arange(keys) > xp.arange(queries)[:, None]
        if mask is None:
            hidden[...] = later
        else:
            xp.logical_or(hidden, later, out=hidden)
    return mask is not None or causal


def fill_softmax(xp: Any, scores: Any, row: Any) -> None:
    """Scores become weights, as softmax computes them: 0 where a query has no key."""
    xp.amax(scores, axis=-1, keepdims=True, out=row)
    xp.maximum(row, xp.finfo(row.dtype).min, out=row)
    xp.subtract(scores, row, out=scores)
    xp.exp(scores, out=scores)
    xp.sum(scores, axis=-1, keepdims=True, out=row)
    xp.maximum(row, xp.finfo(row.dtype).tiny, out=row)
    xp.divide(scores, row, out=scores)


def drop(scores: Any, dropped: list[Any], options: Options, stream: int, rate: float) -> None:
    """scores · dropout mask, in place, if there is a `dropped` for the mask to be generated in."""
    for mask in dropped:
        fill_dropout_mask(mask, int(options.seed), int(options.step), stream, rate)
        scores *= mask
