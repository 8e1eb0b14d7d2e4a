"""Elementwise operations that kernels leave to NumPy, whose loops are faster at them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphgrad.graph import Node, Operation
from graphgrad.graph.types import DType
from graphgrad.ops.functions import power

_LEFT_TO_NUMPY: Mapping[Operation, Collection[str]] = {power: ("float32", "float64")}
"""By dtype. A power takes a logarithm of more digits than its result has. NumPy looks it up in
tables that lie in registers, where the processor has AVX-512, and the kernel would call the C
library for one number after the other: 5 times as long in float32, 2.5 times in float64. Without
AVX-512, NumPy does as the kernel would."""


def is_slow(operation: Operation, dtype: DType) -> bool:
    """Whether a kernel would take longer for the operation than NumPy does."""
    return dtype.name in _LEFT_TO_NUMPY.get(operation, ())


def fits_a_kernel(node: Node) -> bool:
    """Whether the node is an elementwise operation that kernels compute for every element; once a
    row they compute them all."""
    return bool(node.operation.kernel) and not is_slow(node.operation, node.dtype)
