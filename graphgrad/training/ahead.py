"""Makes the batch of the next step, and has it copied to the device, while a step runs.

On the processor nothing is gained by it, and batches are made one by one. A batch that cannot be
made is an error of its own step: the one before ends first.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from graphgrad.backends import Prepared
from graphgrad.compile import Compiled
from graphgrad.training.team import Team

Feeds = dict[str, np.ndarray]
State = Mapping[str, np.ndarray]


class Ahead:
    """The batches of a training step: `feeds(number)`, and `run` for the step.

    `make` gives the batch of a number below `end`. A `team` shares the batches.
    """

    def __init__(
        self, compiled: Compiled, make: Callable[[int], Feeds], end: int, team: Team | None = None
    ) -> None:
        self._compiled, self._make, self._end, self._team = compiled, make, end, team
        self._ahead = compiled.options.backend != "numpy"
        self._number = -1
        """The number of the batch that was asked for last, or is made ahead."""
        self._feeds: Feeds | None = None
        self._prepared: Prepared | None = None
        self._problem: Exception | None = None

    @property
    def whole(self) -> bool:
        """Whether the state is that of all ranks; it is not in the middle of a round."""
        return self._team is None or self._team.whole

    def feeds(self, number: int) -> Feeds:
        """The batch of this number. Raises what its making raises."""
        if number != self._number or (self._feeds is None and self._problem is None):
            self._number, self._prepared, self._problem = number, None, None
            self._feeds = self._make(number)
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem
        assert self._feeds is not None
        return self._feeds

    def run(self, state: State, feeds: Feeds) -> dict[str, np.ndarray]:
        """The results of a step with a batch; meanwhile the next one is made."""
        if self._team is not None:
            return self._team.run(state, feeds)
        if not self._ahead:
            return self._compiled(state, **feeds)
        prepared = self._prepared if feeds is self._feeds else None
        started = self._compiled.start(state, prepared or self._compiled.prepare(**feeds))
        self._make_next()
        return started.results()

    def _make_next(self) -> None:
        self._number += 1
        self._feeds = self._prepared = self._problem = None
        if self._number >= self._end:
            return
        try:
            self._feeds = self._make(self._number)
            self._prepared = self._compiled.prepare(**self._feeds)
        except Exception as problem:  # of the next step, which raises it
            self._problem = problem


def results_of(
    compiled: Compiled, state: State, batches: Iterable[Feeds]
) -> Iterator[dict[str, np.ndarray]]:
    """The results of one step after another, one for each batch."""
    made = iter(batches)
    ahead = Ahead(compiled, lambda number: next(made), sys.maxsize)
    for number in itertools.count():
        try:
            feeds = ahead.feeds(number)
        except StopIteration:
            return
        yield ahead.run(state, feeds)
