"""Which of the caller's arrays share memory with a state that a run writes to.

All arrays are contiguous when they come here, so each is one range of addresses.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class _Known:
    """The states as they were seen last, and the ranges that are written to, in order."""

    arrays: tuple[weakref.ref[np.ndarray], ...]
    starts: list[int]
    ends: list[int]


class StateRanges:
    """The ranges of a program's states; looked at again where the caller brings other arrays."""

    def __init__(self, names: Sequence[str], updated: Collection[str]) -> None:
        self._names = names
        self._updated = [name in updated for name in names]
        self._any = bool(updated)
        self._known = _Known((), [], [])

    def apart(self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inputs, copied where a state that is updated overlaps them.

        DeclarationError where such a state overlaps another state.
        """
        if not self._any:
            return list(inputs)
        known = self._known
        if len(known.arrays) != len(states) or any(
            seen() is not array for seen, array in zip(known.arrays, states, strict=True)
        ):
            known = self._known = self._examined(states)
        return [array.copy() if _overlaps(array, known) else array for array in inputs]

    def _examined(self, states: Sequence[np.ndarray]) -> _Known:
        ranges = sorted(
            (*_range(array), updated, name)
            for array, updated, name in zip(states, self._updated, self._names, strict=True)
            if array.nbytes
        )
        furthest, written = (0, ""), (0, "")  # where the ranges so far end, and whose that is
        for start, end, updated, name in ranges:
            before, other = furthest if updated else written
            if start < before:
                raise DeclarationError(
                    f"the states {other!r} and {name!r} share memory, and a run writes to it",
                    fix=f"give each state an array of its own, for example {name!r} a copy",
                )
            furthest = max(furthest, (end, name))
            if updated:
                written = max(written, (end, name))
        return _Known(
            tuple(map(weakref.ref, states)),
            [start for start, _, updated, _ in ranges if updated],
            [end for _, end, updated, _ in ranges if updated],
        )


def _overlaps(array: np.ndarray, known: _Known) -> bool:
    start, end = _range(array)
    place = bisect_right(known.starts, end - 1)  # the ranges before it start below the end
    return start < end and place > 0 and known.ends[place - 1] > start


def _range(array: np.ndarray) -> tuple[int, int]:
    start = array.__array_interface__["data"][0]
    return start, start + array.nbytes
