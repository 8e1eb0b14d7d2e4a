"""What a node answers to by dot, as arrays of NumPy and tensors of PyTorch do: `x.sum(1)`, `x.T`.

Each is the public function of that name, called with the node first, so nothing about an operation
is said here. A method is here where NumPy's arrays have it and its meaning is the same; what NumPy
has as functions only (`tanh`, `where`, `concatenate`) is a function here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from graphgrad.graph.infix import OPERATORS

Axes = int | Iterable[int] | None


class Methods:
    """The methods of a node; `Node` is what has them."""

    __slots__ = ()

    @property
    def T(self) -> Self:
        """The node with its axes in reverse order: of a matrix, its transpose."""
        return OPERATORS["transpose"](self)

    def sum(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """Σ over the axes; see `gg.sum`."""
        return OPERATORS["sum"](self, axis, keepdims, name)

    def mean(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The mean over the axes; see `gg.mean`."""
        return OPERATORS["mean"](self, axis, keepdims, name)

    def var(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The variance over the axes, divided by n; see `gg.variance`."""
        return OPERATORS["variance"](self, axis, keepdims, name)

    def max(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The largest element over the axes; see `gg.max`."""
        return OPERATORS["max"](self, axis, keepdims, name)

    def min(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The smallest element over the axes; see `gg.min`."""
        return OPERATORS["min"](self, axis, keepdims, name)

    def argmax(
        self, axis: int | None = -1, keepdims: bool = False, name: str | None = None
    ) -> Self:
        """The index of the largest element along one axis, the last by default; see `gg.argmax`."""
        return OPERATORS["argmax"](self, axis, keepdims, name=name)

    def reshape(self, *shape: Any, name: str | None = None) -> Self:
        """The elements in another shape, given as one tuple or size by size; see `gg.reshape`."""
        return OPERATORS["reshape"](self, _together(shape), name)

    def transpose(self, *axes: Any, name: str | None = None) -> Self:
        """The axes in another order, by default in reverse; see `gg.transpose`."""
        order: Sequence[int] | None = _together(axes) if axes else None
        return OPERATORS["transpose"](self, order, name)

    def squeeze(self, axis: int | Sequence[int] | None = None, name: str | None = None) -> Self:
        """The node without axes of size 1; see `gg.squeeze`."""
        return OPERATORS["squeeze"](self, axis, name)

    def clip(self, low: Any, high: Any, name: str | None = None) -> Self:
        """The node held between two bounds; see `gg.clip`."""
        return OPERATORS["clip"](self, low, high, name=name)

    def astype(self, dtype: Any, name: str | None = None) -> Self:
        """The node as another dtype; see `gg.cast`."""
        return OPERATORS["cast"](self, dtype, name)


def _together(sizes: tuple[Any, ...]) -> Any:
    """`(2, 3)` for the arguments 2, 3 as for the one argument (2, 3)."""
    return sizes[0] if len(sizes) == 1 else sizes
