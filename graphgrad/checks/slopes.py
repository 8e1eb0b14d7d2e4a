"""The slope of a function at 0, by differences, against the one that it is said to have.

The step grows where rounding drowns the difference and shrinks where a kink is near; a kink is
where the slopes to the two sides do not approach each other as the step shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

TOLERANCE = 1e-6
"""The largest relative error of a right delta."""
FACTORS = (1.0, 1 / 16, 1 / 256, 16.0, 256.0)
"""The steps that are tried, one after another, as multiples of the first."""
_GAP = 1e-3  # a relative distance of the slopes to the two sides that is worth a second look


@dataclass(frozen=True, slots=True)
class SlopeComparison:
    """One comparison: the two derivatives, their relative error, and what that means."""

    numeric: float
    symbolic: float
    error: float
    judgement: Literal["ok", "wrong", "kink"]


@dataclass(frozen=True, slots=True)
class SlopeTrial:
    """One step h: the slope it gives, the relative distance of the slopes to the two sides, the
    relative error beyond rounding, and the rounding relative to the slope."""

    factor: float
    numeric: float
    gap: float
    error: float
    blur: float


def compare_slopes(
    change: Callable[[float], float], symbolic: float, typical: float, step: float, noise: float
) -> SlopeComparison:
    """The slope of `change` at 0 against `symbolic`.

    `typical` is a size below which no difference of the two counts, and `noise` the rounding error
    of `change`. Steps are tried until one settles it; more than one where it is not plainly right.
    """
    trials: list[SlopeTrial] = []
    for factor in FACTORS:
        h = step * factor
        ahead, behind = change(h) / h, -change(-h) / h
        numeric, spread = (ahead + behind) / 2, noise / h
        difference, size = abs(numeric - symbolic), max(abs(numeric), abs(symbolic), typical)
        if size == 0.0:
            return SlopeComparison(0.0, 0.0, 0.0, "ok")
        if not np.isfinite(difference):
            continue
        error = max(difference - spread, 0.0) / size
        trials.append(SlopeTrial(factor, numeric, abs(ahead - behind) / size, error, spread / size))
        if error <= TOLERANCE and spread <= TOLERANCE * size and trials[-1].gap <= _GAP:
            return SlopeComparison(numeric, symbolic, difference / size, "ok")
    return _judged(trials, symbolic)


def _judged(trials: list[SlopeTrial], symbolic: float) -> SlopeComparison:
    """The judgement where no step was plainly right."""
    if not trials:  # L is not finite on one side at least: an edge of where it is defined
        return SlopeComparison(
            float("nan"), symbolic, float("inf"), "kink" if np.isfinite(symbolic) else "wrong"
        )
    sharp = [trial for trial in trials if trial.blur <= TOLERANCE]
    best = min(sharp or [min(trials, key=lambda t: t.blur)], key=lambda t: t.error)
    shrinking = sorted((t for t in sharp if t.factor <= 1), key=lambda t: t.factor)
    if len(shrinking) > 1:
        smallest, largest = shrinking[0], shrinking[-1]
        lasting = smallest.gap > max(_GAP, largest.gap / 4)
        if lasting and smallest.error <= 0.55 * smallest.gap + TOLERANCE:
            return SlopeComparison(smallest.numeric, symbolic, smallest.error, "kink")
    judgement: Literal["ok", "wrong"] = "ok" if best.error <= TOLERANCE else "wrong"
    return SlopeComparison(best.numeric, symbolic, best.error, judgement)
