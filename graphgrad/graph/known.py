"""Shape rules, computation and samples of the operations with known values: constant and extent."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgrad.graph.arrays import Literal
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.samples import sample
from graphgrad.graph.types import FLOAT32, INT64, DType, TensorType

CONSTANT_SAMPLES = (
    sample(value=Literal(np.arange(6.0).reshape(2, 3))),
    sample(value=Literal(np.array(True))),
)
EXTENT_SAMPLES = (sample(size=7, dtype=FLOAT32), sample(size=0, dtype=INT64))


def infer_constant(value: Literal) -> TensorType:
    """The type of the array."""
    return TensorType(value.array.shape, value.array.dtype)


def infer_extent(size: int | Dimension, dtype: DType) -> TensorType:
    """A scalar of the dtype."""
    return TensorType((), dtype)


def compute_extent(xp: Any, out: Any, size: int, dtype: DType) -> None:
    """Writes the size into a scalar."""
    out.fill(size)
