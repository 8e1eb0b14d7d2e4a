"""Checks that a pass keeps values: the debug mode of `compile`."""

from __future__ import annotations

import numpy as np

from graphgrad.errors import PassError
from graphgrad.graph import Graph
from graphgrad.graph.interface import Feeds
from graphgrad.ops.evaluate import evaluate


class ValueCheck:
    """Compares outputs and next states before and after a pass on sample inputs."""

    def __init__(self, feeds: Feeds, state: Feeds) -> None:
        self.feeds, self.state = feeds, state

    def __call__(self, name: str, before: Graph, after: Graph) -> None:
        """PassError where the pass of this name changes a value."""
        old, new = (evaluate(graph, self.feeds, self.state) for graph in (before, after))
        pairs = [(key, before.outputs[key], after.outputs[key]) for key in before.outputs]
        pairs += [
            (before.name_of(leaf), node, after.updates[leaf])
            for leaf, node in before.updates.items()
        ]
        for label, a, b in pairs:
            tolerance = 1e-4 if a.dtype.itemsize == 4 else 1e-9
            if not np.allclose(old[a], new[b], tolerance, tolerance, equal_nan=True):
                with np.errstate(all="ignore"):
                    error = float(np.max(np.abs(np.subtract(old[a], new[b], dtype=float))))
                raise PassError(
                    f"pass {name!r} changes the value of {label!r} by up to {error:.3g}",
                    a.origin,
                    f"leave {name!r} out of `passes` and look at the rules it applied",
                )
