"""Compensated summation: adds partial sums together with their rounding errors.

A running total of a million float32 loses a thousandth of its value. So a kernel sums at most a
thousand elements one after the other (fewer in each lane of a vector) and adds these partial sums
by `add_exactly`: the error then does not grow with the length. NumPy's pairwise sums are as
accurate.
"""

from __future__ import annotations

from graphgrad.loops.language import isfinite, loop_function, where


@loop_function()
def add_exactly(total, lost, value):
    """total + value, and `lost` plus the rounding error of that sum (Knuth's two-sum)."""
    new = total + value
    added = new - total
    return new, lost + ((total - (new - added)) + (value - added))


@loop_function()
def settled(total, lost):
    """The sum with its rounding errors added; if it is not finite, without them."""
    return where(isfinite(total), total + lost, total)
