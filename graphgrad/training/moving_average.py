"""Keeps a moving average of the parameters, as states of the graph: the setting `average_decay`.

    ā ← ā + (1 - d) (w - ā)        d = min(average_decay, (n - 1) / (n + 9))

where w is a parameter after step n. d rises from 0, so the first average is the first parameter and
early ones are forgotten soon; later an average reaches back about 1 / (1 - average_decay) steps. It
is part of the step and of its checkpoint, and changes nothing in the training itself.

What is measured, shown and written by a trained model uses the averages, unless `use_average` is
false; what is looked at of the training (`inspect`, `render`, `check`) does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from graphgrad.graph import Graph, Node, declared_at, leaf_name, state
from graphgrad.graph.initial import ZEROS
from graphgrad.ops import add, cast, maximum
from graphgrad.training.settings import TrainingSettings

AVERAGE = "average"
"""The scope of the averages: that of `encoder.w` is called `average.encoder.w`."""


def average_of(name: str) -> str:
    """What the average of a parameter is called."""
    return f"{AVERAGE}.{name}"


def averages(
    leaves: Iterable[Node], updates: Mapping[Node, Node], number: Node, settings: TrainingSettings
) -> dict[Node, Node]:
    """The next averages of parameters, by the states that hold them; none without the setting.

    `number` counts the steps from 1.
    """
    if not settings.average_decay:
        return {}
    share = maximum(1.0 - settings.average_decay, 10.0 / (number + 9.0), name="average_share")
    found = {}
    for leaf in leaves:
        with declared_at("", leaf.origin):
            average = state(average_of(leaf_name(leaf)), leaf.type.sizes, ZEROS, leaf.dtype)
            moved = (updates[leaf] - average) * cast(share, leaf.dtype)
            found[average] = add(average, moved, name=f"next_{average_of(leaf_name(leaf))}")
    return found


def with_averages(graph: Graph, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The state with the averages in the place of the parameters of the graph that have one."""
    pairs = {name: average_of(name) for name in graph.parameters}
    found = {name: state[average] for name, average in pairs.items() if average in state}
    return dict(state) | found if found else state
