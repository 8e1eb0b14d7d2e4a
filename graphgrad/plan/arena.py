"""Allocates offsets in an arena: values whose lifetimes do not overlap share memory.

The allocator walks the schedule once, like a heap at run time: it takes the smallest free gap that
fits, and joins free neighbours. There are few gaps, so the walk is linear in the number of values,
and the arena does not grow with the depth of the graph faster than the live values do.
"""

from __future__ import annotations

from bisect import bisect_left, insort

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


class Arena:
    """Allocates and frees ranges of bytes; `peak` is the size of arena that they need."""

    def __init__(self) -> None:
        self.peak = 0
        self._gaps: list[tuple[int, int]] = []  # (offset, size), by offset, never adjacent

    def allocate(self, size: int) -> int:
        """Allocates `size` bytes; returns their offset."""
        size = aligned(size)
        best = min(
            (gap for gap in self._gaps if gap[1] >= size), key=lambda gap: gap[1], default=None
        )
        if best is not None:
            self._gaps.remove(best)
            if best[1] > size:
                insort(self._gaps, (best[0] + size, best[1] - size))
            return best[0]
        offset = self.peak
        if self._gaps and sum(self._gaps[-1]) == self.peak:  # the last gap grows
            offset = self._gaps.pop()[0]
        self.peak = offset + size
        return offset

    def release(self, offset: int, size: int) -> None:
        """Frees the range at `offset` of `size` bytes."""
        size = aligned(size)
        index = bisect_left(self._gaps, (offset, 0))
        if index < len(self._gaps) and self._gaps[index][0] == offset + size:
            size += self._gaps.pop(index)[1]
        if index and sum(self._gaps[index - 1]) == offset:
            offset, before = self._gaps.pop(index - 1)
            size += before
        insort(self._gaps, (offset, size))


def aligned(size: int) -> int:
    """`size` rounded up to whole cache lines, at least one."""
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
