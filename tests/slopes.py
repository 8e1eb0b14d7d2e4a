"""The delta of a parameter next to the slope of the loss along a random direction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.graph import Graph


def assert_deltas_are_slopes(
    graph: Graph,
    state: dict[str, np.ndarray],
    feeds: Mapping[str, np.ndarray],
    tolerance: float = 1e-5,
) -> None:
    """Asserts it for every parameter of a derived graph in float64, by central differences."""
    compiled = compile(graph, [f"{name}.delta" for name in graph.parameters])
    deltas, generator, step = compiled(state, **feeds), np.random.default_rng(1), 1e-5
    for name in graph.parameters:
        kept, direction = state[name], generator.normal(size=state[name].shape)
        losses = []
        for sign in (1, -1):
            state[name] = kept + sign * step * direction
            losses.append(float(compiled(state, **feeds)["loss"]))
        state[name] = kept
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = float(np.sum(deltas[f"{name}.delta"] * direction))
        assert slope == pytest.approx(expected, rel=tolerance, abs=1e-9), name
