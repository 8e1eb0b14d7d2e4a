"""Selects the elementwise operations that are left to NumPy, because its loops are faster."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphgrad.graph import Node, Operation
from graphgrad.graph.types import DType
from graphgrad.ops.functions import power

_LEFT_TO_NUMPY: Mapping[Operation, Collection[str]] = {power: ("float32", "float64")}
"""The dtypes of each. A power needs a logarithm with more digits than its result has. On a
processor with AVX-512, NumPy looks it up in tables held in registers, while a kernel calls the C
library for each number: 5 times as long in float32, 2.5 times in float64. Without AVX-512, NumPy
calls the C library, too."""


def is_slow(operation: Operation, dtype: DType) -> bool:
    """Whether a kernel takes longer for the operation than NumPy."""
    left = _LEFT_TO_NUMPY.get(operation)
    return left is not None and dtype.name in left  # NumPy takes long to name a dtype


def fits_a_kernel(node: Node) -> bool:
    """Whether the node is an elementwise operation that kernels compute for every element. (They
    compute all elementwise operations on values with one number a row.)"""
    return bool(node.operation.kernel) and not is_slow(node.operation, node.dtype)
