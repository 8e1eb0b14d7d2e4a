"""What a training loop needs of a recorder: a step that also gives figures of what it computed.

Recording stands above training, which knows nothing of graphs' parts and patterns; so a recorder is
given to `train`, ready made (`graphgrad.figures.recording.make_recorder`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Recorder:
    """`run(state, feeds)` does what the plain program of a step does, to the same result, and also
    returns figures: float64 [names, statistics], NaN where there is none."""

    names: tuple[str, ...]
    deltas: Mapping[str, str]
    """Of each name that is a delta's, the name of its node."""
    statistics: tuple[str, ...]
    run: Callable[[Arrays, Arrays], tuple[dict[str, np.ndarray], np.ndarray]]
