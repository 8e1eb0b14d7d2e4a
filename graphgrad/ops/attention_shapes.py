"""The shape rules of attention: which heads belong together, and the types of the results."""

from __future__ import annotations

from graphgrad.graph.types import BOOL, TensorType, broadcast
from graphgrad.ops.attention_arrays import options_of, scores_type, working_dtype
from graphgrad.ops.rules import need_floats, need_integers


def _need_options(
    scores: TensorType, rest: tuple[TensorType, ...], rate: float, stream: int
) -> None:
    """Raises ValueError unless the optional heads fit the scores."""
    mask, seed, step = options_of(rest)
    if mask is not None:
        if mask.dtype != BOOL:
            raise ValueError(f"a mask is bool, True where a query may attend, not {mask.dtype}")
        if broadcast([mask.shape, scores.shape]) != scores.shape:
            raise ValueError(f"the mask {mask} does not broadcast to the scores {scores}")
    for number in (seed, step):
        if number is not None:
            need_integers(number)
            if number.shape:
                raise ValueError("seed and step must be scalars")
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be in [0, 1), not {rate}")
    if rate and seed is None:
        raise ValueError("dropout needs a seed and a step")
    if not 0 <= stream < 2**32:
        raise ValueError(f"a stream is a number from 0 to 2³² - 1, not {stream}")


def _need_pair(query: TensorType, key: TensorType) -> None:
    need_floats(query, key)
    if query.dtype != key.dtype:
        raise ValueError(f"dtypes {query.dtype} and {key.dtype} do not mix; fix: cast one of them")
    if len(query.shape) < 2 or query.shape[:-2] != key.shape[:-2]:
        raise ValueError(f"{query} and {key}: needs the same axes before the last two")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"queries have {query.shape[-1]} features and keys {key.shape[-1]}; fix: project both "
            "to one width"
        )
    if key.shape[-2] == 0:
        raise ValueError("attention to 0 keys")


def infer_values(
    query: TensorType,
    key: TensorType,
    value: TensorType,
    *rest: TensorType,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
) -> TensorType:
    _need_pair(query, key)
    need_floats(value)
    if value.dtype != key.dtype or value.shape[:-1] != key.shape[:-1]:
        raise ValueError(f"keys {key} and values {value}: needs one value for each key")
    _need_options(scores_type(query, key), rest, rate, stream)
    return TensorType((*query.shape[:-1], value.shape[-1]), query.dtype)


def infer_statistics(
    query: TensorType, key: TensorType, *rest: TensorType, scale: float, causal: bool
) -> TensorType:
    _need_pair(query, key)
    _need_options(scores_type(query, key), rest, 0.0, 0)
    return TensorType((*query.shape[:-1], 1), working_dtype(query.dtype))


PLACES = {"query": 0, "key": 1, "value": 2}
"""The heads that attention sends deltas to."""


def infer_delta(
    query: TensorType,
    key: TensorType,
    value: TensorType,
    values: TensorType,
    statistics: TensorType,
    delta: TensorType,
    *rest: TensorType,
    to: str,
    scale: float,
    causal: bool,
    rate: float,
    stream: int,
) -> TensorType:
    result = infer_values(
        query, key, value, *rest, scale=scale, causal=causal, rate=rate, stream=stream
    )
    if values != result or delta != result:
        raise ValueError(f"values {values} and their delta {delta} must be {result}")
    if statistics != infer_statistics(query, key, scale=scale, causal=causal):
        raise ValueError(f"statistics are one number for each query, not {statistics}")
    if to not in PLACES:
        raise ValueError(f"a delta goes to {', '.join(PLACES)}, not {to!r}")
    return (query, key, value)[PLACES[to]]
