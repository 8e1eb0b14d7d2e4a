"""The history of a run: figures of values and deltas at the steps that were recorded.

`graphgrad train --inspect-every N` records them; see `recording` for what is measured and
`graphgrad.training.history_file` for how it lies on disk.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.text import did_you_mean
from graphgrad.training.history_file import read_records
from graphgrad.training.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class History:
    """What a run has recorded.

    `steps` are counted from 1 as in the metrics and ascend; figures of a step are those of its
    batch, with the parameters as they were before its update. `names` are those of nodes and of
    deltas; `deltas` says which are those, and of which nodes. `statistics` are those of
    `recording.STATISTICS`. `values` is float64 [steps, names, statistics], NaN where a figure was
    not recorded or does not exist.
    """

    steps: tuple[int, ...]
    names: tuple[str, ...]
    statistics: tuple[str, ...]
    values: np.ndarray
    deltas: Mapping[str, str] = field(default_factory=dict)

    def node_of(self, name: str) -> str:
        """The name of the node that a recorded name is the value or the delta of."""
        return self.deltas.get(name, name)

    def of(self, name: str, statistic: str) -> np.ndarray:
        """One figure of one node over the steps, float64 [steps]."""
        return self.values[:, self.names.index(name), self.column(statistic)]

    def column(self, statistic: str) -> int:
        """The place of a statistic; ConfigurationError that lists those there are."""
        if statistic not in self.statistics:
            raise ConfigurationError(
                f"{statistic!r} is not recorded", fix=f"choose one of {', '.join(self.statistics)}"
            )
        return self.statistics.index(statistic)

    def chosen(self, patterns: Iterable[str]) -> History:
        """The same of the nodes (with their deltas) whose names fit; of all without a pattern.

        Raises UnknownNameError for a name or pattern that fits nothing that was recorded.
        """
        return self.of_names(self._matching(tuple(patterns)))

    def of_names(self, names: Sequence[str]) -> History:
        """The same of these names, in this order."""
        places = [self.names.index(name) for name in names]
        deltas = {name: self.deltas[name] for name in names if name in self.deltas}
        values = self.values[:, places]
        return History(self.steps, tuple(names), self.statistics, values, deltas)

    def _matching(self, patterns: tuple[str, ...]) -> tuple[str, ...]:
        fits: set[str] = set()
        for pattern in patterns or ("*",):
            found = {
                name
                for name in self.names
                for asked in (name, self.node_of(name))
                if pattern == asked or fnmatch.fnmatchcase(asked, pattern)
            }
            if not found:
                raise UnknownNameError(
                    f"nothing is recorded of a node with a name like {pattern!r}",
                    fix=did_you_mean(pattern, self.names, "* stands for any text"),
                )
            fits |= found
        return tuple(name for name in self.names if name in fits)


def read_history(run_folder: RunFolder) -> History:
    """The history of a run. Reading changes nothing and may go on while the run is training.

    Raises UnknownNameError where the run has recorded nothing, DataError for a damaged file.
    """
    records = read_records(run_folder.history, run_folder.identity)
    if not records.steps.size:
        raise UnknownNameError(
            f"the run {run_folder.path.name} has recorded no figures",
            str(run_folder.path),
            "train with --inspect-every 100; without it, `graphgrad inspect` shows one batch",
        )
    steps = tuple(int(step) for step in records.steps)
    return History(steps, records.names, records.statistics, records.values, records.deltas)
