"""Measurements: operations whose result is the figures of their heads, which no loss depends on.

What is measured, and how, is declared where the figures are (graphgrad/figures). A backend knows a
measurement by its class, and may have a kernel of its own for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphgrad.graph import Operation

FIGURES_OF_VALUE = 7
"""Mean, deviation, norm, minimum, maximum, share of zeros, number of elements that are not finite:
the figures of one head, float64, one head after the other."""


@dataclass(frozen=True, eq=False, repr=False)
class Measurement(Operation):
    """An operation that gives `FIGURES_OF_VALUE` figures for each head, float64."""
