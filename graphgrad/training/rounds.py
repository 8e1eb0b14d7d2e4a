"""The ranks of a run with `local_steps`: each trains apart for a round, then they join.

The leader tells the followers the first batch of a round, not each one, so that nothing is sent
within a round.
"""

from __future__ import annotations

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.errors import ConfigurationError
from graphgrad.memory import size_text
from graphgrad.ranks import Communicator, Lone
from graphgrad.training.local_steps import (
    FIRST,
    START,
    joined_graph,
    local_graph,
    need_equal_counts,
)
from graphgrad.training.runs import OpenRun
from graphgrad.training.team import (
    NEXT,
    Arrays,
    Team,
    axes_of,
    first_of,
    need_parts,
    need_ranks,
)


def need_rounds(run: OpenRun, size: int) -> None:
    """Raises ConfigurationError for what ranks cannot do that train apart."""
    settings = run.settings
    if settings.precision == "fp16":
        raise ConfigurationError(
            "in fp16 each rank would have a loss scale of its own, and no mean of them means "
            "anything",
            fix="--precision bf16, or --set local_steps=1",
        )
    if settings.backend != "numpy":
        raise ConfigurationError(
            "ranks that train apart compute on processors",
            fix="--backend numpy, or --set local_steps=1",
        )
    need_parts(run, size)
    need_equal_counts(run.graph)


class Rounds(Team):
    """One rank's part in the rounds of a run."""

    def __init__(self, run: OpenRun, communicator: Communicator) -> None:
        settings = run.settings
        self.communicator, self._number = communicator, run.next_batch
        self._axes = axes_of(run.graph)
        self._length, self._done = settings.local_steps * settings.accumulate, 0
        graph = local_graph(run.graph)
        self._draws = FIRST in graph.inputs
        self.compiled = self._compiled(run, graph, Lone())
        joined = joined_graph(run.graph, communicator.size, settings)
        self._joined: Compiled = compile(joined, communicator=communicator)
        self._start: dict[str, np.ndarray] = {}
        self._agree(run)

    @property
    def whole(self) -> bool:
        """Whether all ranks have the same state now."""
        return not self._done

    def about(self) -> list[str]:
        """What is sent, for the announcement of a run."""
        sums = [node for node in self._joined.graph.nodes if node.operation.collective]
        sent = sum(node.type.nbytes for node in sums)
        return [
            f"ranks: each trains apart for {self._length} batches; then they add up "
            f"{size_text(sent)}"
        ]

    def run(self, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
        """The leader's own results of the next batch; after the last one of a round it joins."""
        if self.whole:
            self.communicator.gather(str(self._number).encode(), NEXT, patient=True)
            self._begin(state)
        results = self._computed(state, feeds)
        self._number += 1
        self._done += 1
        if self._done == self._length:
            self._join(state)
        return results

    def follow(self, run: OpenRun) -> int:
        """Computes rounds until the leader ends; returns the number of batches."""
        done = 0
        while True:
            word = self.communicator.gather(b"", NEXT, patient=True)[0]
            if self._ends(run, word):
                return done
            if not word.isdigit():
                continue
            self._begin(run.state)
            for number in range(int(word), int(word) + self._length):
                self._computed(run.state, run.task.feeds(number))
                done += 1
            self._join(run.state)

    def _begin(self, state: Arrays) -> None:
        started = (name for name in self._joined.graph.inputs if name.startswith(f"{START}."))
        self._start = {name: state[name.removeprefix(f"{START}.")].copy() for name in started}

    def _join(self, state: Arrays) -> None:
        self._joined(state, self._start)
        self._done = 0

    def _given(self, feeds: Arrays) -> dict[str, np.ndarray]:
        given = super()._given(feeds)
        if self._draws:
            rank, size = self.communicator.rank, self.communicator.size
            given[FIRST] = np.asarray(first_of(feeds, self._axes, rank, size), np.int64)
        return given


def team_for(run: OpenRun, communicator: Communicator) -> Team:
    """The part of a rank in the training of a run, by its settings."""
    kind = Rounds if run.settings.local_steps > 1 else Team
    return kind(run, communicator)


def need_team(run: OpenRun, size: int) -> None:
    """Raises ConfigurationError or DeclarationError for what the ranks of a run cannot do."""
    if size < 1:
        raise ConfigurationError(f"--ranks {size} are no processes", fix="--ranks 2, for example")
    if run.settings.local_steps > 1:
        need_rounds(run, size)
    elif size > 1:
        need_ranks(run, size)
