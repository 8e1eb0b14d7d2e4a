"""The operation `summary`: the figures of a value as a node of the graph.

    s = summary(x)         float64[7]: mean, std, norm, minimum, maximum, zeros, non_finite
    s = summary(x, y, …)   float64[7 k]: those of x, then those of y, …

It is what recording appends to a training step. One pass over memory gives all figures at once,
where the value is still in cache: as vector code, or without llvmlite by NumPy.

- The figures mean what they mean in `statistics`: over the finite elements, a figure that does not
  exist is NaN (the None of a report).
- A value whose elements lie in another order, or are repeated along an axis, is measured where it
  lies: its elements are neither moved nor read twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphgrad.figures.statistics import FIGURES, statistics_of
from graphgrad.graph import Operation, TensorType

try:
    from graphgrad.loops.summary_compiled import measure_floats
except ImportError:  # without llvmlite
    COMPILED = False
else:
    COMPILED = True

_SIZE = len(FIGURES)


def _infer(*values: TensorType) -> TensorType:
    return TensorType((_SIZE * len(values),), np.dtype(np.float64))


def _compute(xp: Any, out: Any, *values: Any) -> None:
    for row, value in zip(out.reshape(len(values), _SIZE), values, strict=True):
        write_summary(row, value)


def write_summary(out: np.ndarray, x: np.ndarray) -> None:
    """Writes the figures of `x`, an array of numbers or booleans, into `out`, float64[7]."""
    if x.flags.c_contiguous:
        repeats = 1
    else:
        x, repeats = _in_order(x)
    if COMPILED and x.size:
        numbers = x if x.dtype.kind == "f" else x.astype(np.float64)
        measured = measure_floats(numbers, out)
    else:
        measured = False
    if not measured:
        _write_plainly(out, x)
    if repeats != 1:
        out[2] *= math.sqrt(repeats)
        out[6] *= repeats


def _in_order(x: np.ndarray) -> tuple[np.ndarray, int]:
    """The elements of x in the order in which they lie, each once, and how often each is in x."""
    repeats = 1
    for axis, (size, stride) in enumerate(zip(x.shape, x.strides, strict=True)):
        if stride == 0 and size > 1:
            repeats *= size
            x = x[(slice(None),) * axis + (slice(1),)]
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return np.ascontiguousarray(x.transpose(order)), repeats


def _write_plainly(out: np.ndarray, x: np.ndarray) -> None:
    found = statistics_of(x)
    figures = (getattr(found, name) for name in FIGURES)
    out[:] = [math.nan if figure is None else figure for figure in figures]


SUMMARY = Operation("summary", _infer, "mean, std, norm, min, max, zeros, non-finite", _compute)
"""No delta: nothing is learned from it."""
