"""Attributes and methods of nodes, as NumPy's arrays have them: `x.shape`, `x.sum(1)`, `x.T`.

Each method calls the public function of that name with the node as first argument. Nodes have the
methods that NumPy's arrays have with the same meaning; what is only a function in NumPy (`tanh`,
`where`, `concatenate`) is only a function here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from graphgrad.graph.dimension import Dimension
from graphgrad.graph.infix import OPERATORS
from graphgrad.graph.types import DType, Shape, TensorType

Axes = int | Iterable[int] | None


class Methods:
    """The attributes and methods of a node that arrays have too; a base class of `Node`."""

    __slots__ = ()

    type: TensorType

    @property
    def shape(self) -> Shape:
        """The sizes of the axes: integers and dimensions.

        >>> gg.input("x", ("batch", 3)).shape
        (batch, 3)
        """
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the elements, as NumPy's.

        >>> gg.input("x").dtype
        dtype('float32')
        """
        return self.type.dtype

    @property
    def rank(self) -> int:
        """The number of axes.

        >>> gg.input("x", (3, 4)).rank
        2
        """
        return len(self.type.shape)

    @property
    def ndim(self) -> int:
        """The number of axes, under NumPy's name.

        >>> gg.input("x", (3, 4)).ndim
        2
        """
        return len(self.type.shape)

    @property
    def size(self) -> int | Dimension:
        """The number of elements.

        >>> gg.input("x", ("batch", 3)).size
        3*batch
        """
        return self.type.size

    @property
    def T(self) -> Self:
        """The node with its axes in reverse order: of a matrix, its transpose.

        >>> gg.input("x", (3, 4)).T.shape
        (4, 3)
        """
        return OPERATORS["transpose"](self)

    def sum(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The sum over the axes; see `gg.sum`.

        >>> gg.input("x", (3, 4)).sum(1).shape
        (3,)
        """
        return OPERATORS["sum"](self, axis, keepdims, name)

    def mean(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The mean over the axes; see `gg.mean`.

        >>> gg.input("x", (3, 4)).mean(0, keepdims=True).shape
        (1, 4)
        """
        return OPERATORS["mean"](self, axis, keepdims, name)

    def var(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The variance over the axes, divided by n; see `gg.variance`.

        >>> gg.input("x", (3, 4)).var(-1).shape
        (3,)
        """
        return OPERATORS["variance"](self, axis, keepdims, name)

    def max(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The largest element over the axes; see `gg.max`.

        >>> gg.input("x", (3, 4)).max().shape
        ()
        """
        return OPERATORS["max"](self, axis, keepdims, name)

    def min(self, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Self:
        """The smallest element over the axes; see `gg.min`.

        >>> gg.input("x", (3, 4)).min(axis=1).shape
        (3,)
        """
        return OPERATORS["min"](self, axis, keepdims, name)

    def argmax(
        self, axis: int | None = -1, keepdims: bool = False, name: str | None = None
    ) -> Self:
        """The index of the largest element along one axis, the last by default; see `gg.argmax`.

        >>> gg.input("x", (3, 4)).argmax()
        <argmax = argmax : int32[3]>
        """
        return OPERATORS["argmax"](self, axis, keepdims, name=name)

    def reshape(self, *shape: Any, name: str | None = None) -> Self:
        """The elements in another shape, a tuple or several sizes; see `gg.reshape`.

        >>> gg.input("x", (3, 4)).reshape(2, -1).shape
        (2, 6)
        """
        return OPERATORS["reshape"](self, _together(shape), name)

    def transpose(self, *axes: Any, name: str | None = None) -> Self:
        """The axes in another order, by default in reverse; see `gg.transpose`.

        >>> gg.input("x", (2, 3, 4)).transpose(1, 0, 2).shape
        (3, 2, 4)
        """
        order: Sequence[int] | None = _together(axes) if axes else None
        return OPERATORS["transpose"](self, order, name)

    def squeeze(self, axis: int | Sequence[int] | None = None, name: str | None = None) -> Self:
        """The node without axes of size 1; see `gg.squeeze`.

        >>> gg.input("x", (3, 1)).squeeze().shape
        (3,)
        """
        return OPERATORS["squeeze"](self, axis, name)

    def clip(self, low: Any, high: Any, name: str | None = None) -> Self:
        """The node limited to a range; see `gg.clip`.

        >>> gg.input("x", 3).clip(0.0, 1.0)
        <clip = clip : float32[3]>
        """
        return OPERATORS["clip"](self, low, high, name=name)

    def astype(self, dtype: Any, name: str | None = None) -> Self:
        """The node as another dtype; see `gg.cast`.

        >>> gg.input("x", 3).astype("int32")
        <cast = cast : int32[3]>
        """
        return OPERATORS["cast"](self, dtype, name)


def _together(sizes: tuple[Any, ...]) -> Any:
    """`(2, 3)` for the arguments 2, 3 as for the one argument (2, 3)."""
    return sizes[0] if len(sizes) == 1 else sizes
