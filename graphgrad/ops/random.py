"""Draws dropout masks with counter-based random numbers.

A mask is a pure function of (seed, step, stream, element), by Philox4x32-10. So it is equal on all
backends and in any order of execution, it can be recomputed, and nothing needs to be saved. Each
use of dropout in a model has its own `stream`.
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.decorators import operation
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.samples import integer, sample
from graphgrad.graph.types import (
    FLOAT32,
    FLOAT64,
    DType,
    Shape,
    TensorType,
    as_shape,
    float_dtype,
    real_number,
    whole_number,
)
from graphgrad.ops.rules import need_integers
from graphgrad.philox import fill_dropout_mask


def _infer(
    seed: TensorType, step: TensorType, shape: Shape, rate: float, stream: int, dtype: DType
) -> TensorType:
    for head in (seed, step):
        need_integers(head)
        if head.shape:
            raise ValueError("seed and step must be scalars")
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be in [0, 1), not {rate}")
    if not 0 <= stream < 2**32:
        raise ValueError(f"a stream is a number from 0 to 2³² - 1, not {stream}")
    if dtype not in (FLOAT32, FLOAT64):
        raise ValueError(f"a dropout mask is float32 or float64, not {dtype}")
    return TensorType(shape, dtype)


def _compute(
    xp: Any, out: Any, seed: Any, step: Any, shape: Shape, rate: float, stream: int, dtype: DType
) -> None:
    fill_dropout_mask(out, int(seed), int(step), stream, rate)


@operation(
    infer=_infer,
    formula="1/(1-p) with probability 1-p, else 0",
    compute=_compute,
    arity=2,
    delta=lambda delta, y, seed, step: (None, None),
    delta_formula="0: a mask does not depend on any float",
    samples=(
        sample(integer(below=9), integer(below=9), shape=(5, 7), rate=0.3, stream=3, dtype=FLOAT32),
        sample(integer(below=9), integer(below=9), shape=(0,), rate=0.0, stream=3, dtype=FLOAT64),
    ),
    example=("gg.dropout_mask(7, 0, x.shape, rate=0.1, stream=0)", "float32[3, 4]"),
)
def dropout_mask(
    seed: Node,
    step: Node,
    shape: Sizes,
    rate: float,
    stream: int,
    dtype: Any = None,
    name: str | None = None,
) -> Node:
    """0 with probability `rate`, otherwise 1 / (1 - rate), so that the mean is 1 (Srivastava 2014).

    `seed` and `step` are integer scalars, which `layers.dropout` declares; `stream` is a number
    below 2³² that differs for each mask of a model.
    """
    return dropout_mask.node(
        seed,
        step,
        shape=as_shape(shape),
        rate=real_number(rate, "a rate"),
        stream=whole_number(stream, "a stream"),
        dtype=float_dtype(dtype),
        name=name,
    )


def _infer_part(
    seed: TensorType,
    step: TensorType,
    first: TensorType,
    shape: Shape,
    rate: float,
    stream: int,
    dtype: DType,
    each: int | Dimension,
) -> TensorType:
    need_integers(first)
    if first.shape:
        raise ValueError("the number of the first example must be a scalar")
    return _infer(seed, step, shape, rate, stream, dtype)


def _compute_part(
    xp: Any,
    out: Any,
    seed: Any,
    step: Any,
    first: Any,
    shape: Shape,
    rate: float,
    stream: int,
    dtype: DType,
    each: int,
) -> None:
    fill_dropout_mask(out, int(seed), int(step), stream, rate, start=int(first) * each)


dropout_mask_of_part = Operation(
    "dropout_mask_of_part",
    _infer_part,
    "the elements of a dropout mask from example x₃ on",
    _compute_part,
    lambda delta, y, seed, step, first: (None, None, None),
    "0: a mask does not depend on any float",
    samples=(
        sample(
            *(integer(below=9), integer(below=9), integer(below=9)),
            shape=(2, 5),
            rate=0.3,
            stream=3,
            dtype=FLOAT32,
            each=5,
        ),
    ),
    arity=3,
)
"""The mask of a batch that is one part of a larger one, whose first example has the number x₃: each
example has `each` elements. So a rank draws what the whole batch would have for its examples."""

OPERATIONS: tuple[Operation, ...] = (dropout_mask, dropout_mask_of_part)
