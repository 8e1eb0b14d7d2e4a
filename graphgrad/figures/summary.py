"""Declares the operation `summary`: the figures of a value as a node of the graph.

    s = summary(x)         float64[7]: mean, std, norm, minimum, maximum, zeros, non_finite
    s = summary(x, y, …)   float64[7 k]: the figures of x, then the figures of y, …

Recording appends it to a training step. All figures are computed in one pass over memory, while the
value is still in cache: by vector code, or by NumPy if llvmlite is not installed. On a CUDA device
kernels measure it (backends/cupy/summary.py).

- The figures are those of `array_figures`, over the finite elements; a figure that does not exist
  is NaN here (None in a report).
- A transposed value, or one that is repeated along an axis, is measured in memory order: its
  elements are not copied to another order, and none is read twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphgrad.figures.array_figures import FIGURES, figures_of
from graphgrad.graph import TensorType
from graphgrad.ops.measurement import FIGURES_OF_VALUE, Measurement

try:
    from graphgrad.loops.library.summary import measure_floats
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
        x, repeats = _in_memory_order(x)
    if COMPILED and x.size:
        numbers = x if x.dtype.kind == "f" else x.astype(np.float64)
        measured = measure_floats(numbers, out)
    else:
        measured = False
    if not measured:
        _write_with_numpy(out, x)
    if repeats != 1:
        out[2] *= math.sqrt(repeats)
        out[6] *= repeats


def _in_memory_order(x: np.ndarray) -> tuple[np.ndarray, int]:
    """The elements of x in the order of memory, each once, and how often x repeats each."""
    repeats = 1
    for axis, (size, stride) in enumerate(zip(x.shape, x.strides, strict=True)):
        if stride == 0 and size > 1:
            repeats *= size
            x = x[(slice(None),) * axis + (slice(1),)]
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return np.ascontiguousarray(x.transpose(order)), repeats


def _write_with_numpy(out: np.ndarray, x: np.ndarray) -> None:
    found = figures_of(x)
    figures = (getattr(found, name) for name in FIGURES)
    out[:] = [math.nan if figure is None else figure for figure in figures]


SUMMARY = Measurement("summary", _infer, "mean, std, norm, min, max, zeros, non-finite", _compute)
assert len(FIGURES) == FIGURES_OF_VALUE
"""It has no delta rule: no loss depends on it."""
