"""An array whose axes have names: values and deltas as they are looked at in research."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.text import did_you_mean

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "norm": lambda array, axis: np.sqrt(np.sum(np.square(array, dtype=np.float64), axis=axis)),
    "mean": lambda array, axis: np.mean(array, axis=axis, dtype=np.float64),
    "sum": lambda array, axis: np.sum(array, axis=axis, dtype=np.float64),
    "max": lambda array, axis: np.max(array, axis=axis),
    "min": lambda array, axis: np.min(array, axis=axis),
}
"""The figures along an axis, by name; sums are computed in float64."""


@dataclass(frozen=True, eq=False)
class NamedArray:
    """The value of a node or of a delta: `array`, with the name of each axis in `axes`.

    NumPy's functions take it as an array. `pick` chooses along axes by name, `by` computes one
    figure for each position of an axis.

    >>> import numpy as np
    >>> weights = NamedArray("weights", ("head", "query", "key"), np.arange(8.0).reshape(2, 2, 2))
    >>> weights.pick(head=1, query=0)
    NamedArray('weights', key=2)
    >>> weights.by("head", figure="max").array
    array([3., 7.])
    """

    name: str
    axes: tuple[str, ...]
    array: np.ndarray

    def __post_init__(self) -> None:
        if len(self.axes) != self.array.ndim or len({*self.axes}) != len(self.axes):
            raise DeclarationError(
                f"{self.name}: {len(self.axes)} axis names {self.axes} for an array of shape "
                f"{self.array.shape}",
                fix="give each axis a name of its own",
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.array.shape

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each axis by its name."""
        return dict(zip(self.axes, self.array.shape, strict=True))

    def pick(self, **places: int | slice) -> NamedArray:
        """The part at one index (the axis is then gone) or a slice of each named axis.

        Raises UnknownNameError for an axis that the array does not have, DeclarationError for an
        index outside of one.
        """
        for axis in places:
            self._position(axis)
        index = tuple(places.get(axis, slice(None)) for axis in self.axes)
        kept = tuple(
            axis for axis, place in zip(self.axes, index, strict=True) if isinstance(place, slice)
        )
        try:
            return NamedArray(self.name, kept, np.asarray(self.array[index]))
        except IndexError as problem:
            raise DeclarationError(f"{self.name}: {problem}", fix=f"sizes: {self.sizes}") from None

    def by(self, *axes: str, figure: str = "norm") -> NamedArray:
        """One figure for each position of the named axes: norm, mean, sum, max or min of the rest.

        Raises UnknownNameError for an axis or a figure that does not exist.
        """
        kept = {self._position(axis) for axis in axes}
        if figure not in REDUCTIONS:
            raise UnknownNameError(
                f"there is no figure {figure!r}", fix=did_you_mean(figure, REDUCTIONS, "", 5)
            )
        others = tuple(number for number in range(self.array.ndim) if number not in kept)
        names = tuple(self.axes[number] for number in sorted(kept))
        return NamedArray(self.name, names, np.asarray(REDUCTIONS[figure](self.array, others)))

    def _position(self, axis: str) -> int:
        if axis not in self.axes:
            raise UnknownNameError(
                f"{self.name} has no axis {axis!r}",
                fix=f"its axes: {', '.join(self.axes) or 'none, it is one number'}",
            )
        return self.axes.index(axis)

    def __repr__(self) -> str:
        sizes = "".join(f", {axis}={size}" for axis, size in self.sizes.items())
        return f"NamedArray({self.name!r}{sizes})"
