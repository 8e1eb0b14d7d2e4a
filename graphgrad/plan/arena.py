"""Offsets in one arena: values whose lives do not overlap share memory.

The allocator walks the schedule once, as a heap would at run time: the smallest free gap that fits
is taken, neighbours that are free are joined. The gaps are few, so the walk is linear in the number
of values and the arena does not grow with depth faster than what is alive at once.
"""

from __future__ import annotations

from bisect import bisect_left, insort

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


class Arena:
    """Hands out and takes back stretches of bytes; `peak` is how many were ever needed."""

    def __init__(self) -> None:
        self.peak = 0
        self._gaps: list[tuple[int, int]] = []  # (offset, size), by offset, never adjacent

    def allocate(self, size: int) -> int:
        """The offset of a stretch of `size` bytes."""
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
        """Takes a stretch back."""
        size = aligned(size)
        place = bisect_left(self._gaps, (offset, 0))
        if place < len(self._gaps) and self._gaps[place][0] == offset + size:
            size += self._gaps.pop(place)[1]
        if place and sum(self._gaps[place - 1]) == offset:
            offset, before = self._gaps.pop(place - 1)
            size += before
        insort(self._gaps, (offset, size))


def aligned(size: int) -> int:
    """`size`, up to a whole number of cache lines; an empty value still gets one."""
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
