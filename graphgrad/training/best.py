"""Finds the best steps of a run by a figure on held-out data, and when it no longer improves.

All of it follows from the metrics, which have the held-out figures of each validation: nothing else
is stored, so a run that is resumed knows what an uninterrupted one knows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.text import suggestion
from graphgrad.training.checkpoint import checkpoint_steps
from graphgrad.training.run_folder import RunFolder

HELD_OUT = "held_out_"
"""What the names of held-out figures begin with in the metrics."""
BEST, LAST = "best", "last"
"""The names by which a checkpoint can be asked for."""
_FALLING = ("loss", "perplexity", "error", "per_byte")


def lower_is_better(metric: str) -> bool:
    """Whether a figure of this name falls as a model becomes better."""
    return metric.endswith(_FALLING)


class Validations:
    """The held-out figures of a run by step.

    A tie is won by the earlier step; a figure that is not a number is worse than all others.
    Without `needed`, figures may lack the metric: then no step is the best.
    """

    def __init__(
        self, metric: str, records: Iterable[Mapping[str, Any]] = (), needed: bool = True
    ) -> None:
        self.metric, self._needed = metric, needed
        self._found: dict[int, float] = {}
        for record in records:
            if f"{HELD_OUT}{metric}" in record:
                self._found[int(record["step"])] = float(record[f"{HELD_OUT}{metric}"])

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, step: int) -> float:
        return self._found[step]

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds the figures of a step, which are empty where there are no held-out data.

        Raises ConfigurationError where the metric is not among them and is needed.
        """
        if self.metric not in figures:
            if not figures or not self._needed:
                return
            known = [name for name in figures if name != "examples"]
            raise ConfigurationError(
                f"best_metric is {self.metric!r}, and held-out data have no such figure",
                fix=suggestion(self.metric, known, "figures")
                + "; the step is saved: `graphgrad train --resume RUN --set best_metric=…`",
            )
        self._found[step] = float(figures[self.metric])

    def ranked(self, among: Iterable[int] | None = None) -> list[int]:
        """The steps, the best first; of `among` only, if given."""
        wanted = self._found.keys() if among is None else self._found.keys() & set(among)
        return sorted(wanted, key=self._rank)

    def best(self, count: int) -> frozenset[int]:
        """The `count` best steps."""
        return frozenset(self.ranked()[:count])

    def without_improvement(self) -> int:
        """How many validations there were since the best one."""
        if not self._found:
            return 0
        (best,) = self.best(1)
        return sum(step > best for step in self._found)

    def _rank(self, step: int) -> tuple[float, int]:
        value = self._found[step]
        if math.isnan(value):
            return math.inf, step
        return (value if lower_is_better(self.metric) else -value), step


def checkpoint_called(folder: RunFolder, name: str, metric: str) -> int | None:
    """The step of the checkpoint called `best` or by its number; None for `last`, the newest one.

    `best` is the best by the held-out figure `metric` of those that the run has kept.
    """
    if name in ("", LAST):
        return None
    kept = checkpoint_steps(folder.checkpoints)
    if name == BEST:
        ranked = Validations(metric, folder.metrics()).ranked(kept)
        if not ranked:
            raise UnknownNameError(
                f"no checkpoint of the run has a held-out {metric}, so none is the best",
                folder.path,
                "--checkpoint last, or train with keep_best=1; there are those of step "
                + ", ".join(map(str, kept)),
            )
        return ranked[0]
    if not name.isascii() or not name.isdigit():
        raise UnknownNameError(
            f"there is no checkpoint called {name!r}",
            folder.path,
            f"{BEST}, {LAST}, or a step: {', '.join(map(str, kept))}",
        )
    return int(name)
