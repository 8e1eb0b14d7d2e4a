"""Reads the history of a run: figures of values and deltas at the recorded steps.

`graphgrad train --inspect-every N` records them. `figures.recording` computes the figures,
`training.history_file` defines the file.
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
    """The figures that a run has recorded.

    `steps` are counted from 1, as in the metrics, and ascend; the figures of a step are those of
    its batch, with the parameters before its update. `names` are the names of nodes and deltas;
    `deltas` maps each name of a delta to the name of its node. `figures` are names of
    `recording.RECORDED_FIGURES`. `values` is float64 [steps, names, figures]; NaN for a figure
    that was not recorded or does not exist.
    """

    steps: tuple[int, ...]
    names: tuple[str, ...]
    figures: tuple[str, ...]
    values: np.ndarray
    deltas: Mapping[str, str] = field(default_factory=dict)

    def node_of(self, name: str) -> str:
        """The name of the node whose value or delta has this recorded name."""
        return self.deltas.get(name, name)

    def of(self, name: str, figure: str) -> np.ndarray:
        """One figure of one node over the steps, float64 [steps]."""
        return self.values[:, self.names.index(name), self.column(figure)]

    def column(self, figure: str) -> int:
        """The column of a figure; raises ConfigurationError if it is not recorded."""
        if figure not in self.figures:
            raise ConfigurationError(
                f"{figure!r} is not recorded", fix=f"choose one of {', '.join(self.figures)}"
            )
        return self.figures.index(figure)

    def chosen(self, patterns: Iterable[str]) -> History:
        """The history of the nodes whose names match, with their deltas; of all without a pattern.

        Raises UnknownNameError for a name or pattern that matches nothing recorded.
        """
        return self.of_names(self._matching(tuple(patterns)))

    def of_names(self, names: Sequence[str]) -> History:
        """The history of these names, in this order."""
        columns = [self.names.index(name) for name in names]
        deltas = {name: self.deltas[name] for name in names if name in self.deltas}
        values = self.values[:, columns]
        return History(self.steps, tuple(names), self.figures, values, deltas)

    def _matching(self, patterns: tuple[str, ...]) -> tuple[str, ...]:
        matches: set[str] = set()
        for pattern in patterns or ("*",):
            found = {
                name
                for name in self.names
                for text in (name, self.node_of(name))
                if pattern == text or fnmatch.fnmatchcase(text, pattern)
            }
            if not found:
                raise UnknownNameError(
                    f"nothing is recorded of a node with a name like {pattern!r}",
                    fix=did_you_mean(pattern, self.names, "* stands for any text"),
                )
            matches |= found
        return tuple(name for name in self.names if name in matches)


def read_history(run_folder: RunFolder) -> History:
    """Reads the history of a run; also while the run is training.

    Raises UnknownNameError if the run has recorded nothing, DataError for a damaged file.
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
