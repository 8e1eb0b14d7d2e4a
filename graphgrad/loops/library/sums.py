"""Long sums that keep their digits: partial sums are added with what rounding takes from them.

A running total of a million float32 loses a thousandth of its value. So a kernel sums at most a
thousand elements as they come (the lanes of a vector make that fewer) and adds these partial sums
by `add_exactly`; the error then no longer grows with the length. NumPy's pairwise sums do as well.
"""

from __future__ import annotations

from graphgrad.loops.language import isfinite, loop_function, where


@loop_function()
def add_exactly(total, lost, value):
    """total + value, and `lost` with what rounding took from it (Knuth's two-sum)."""
    new = total + value
    added = new - total
    return new, lost + ((total - (new - added)) + (value - added))


@loop_function()
def settled(total, lost):
    """The sum; one that is not finite has lost nothing that could be put back."""
    return where(isfinite(total), total + lost, total)
