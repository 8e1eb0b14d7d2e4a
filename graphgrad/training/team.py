"""Several ranks that train one run: each has a part of every batch, and all have the same state.

The leader, rank 0, does what a run on one rank does: it saves, measures and reports. A follower has
opened the same run, and waits for the number of a batch, of which it computes its part, or for word
that held-out data are evaluated, of which it does its part, too; it writes nothing. As sums over
ranks have the same bits everywhere, so have the states, and a checkpoint of the leader is that of
all. Nothing in it depends on the number of ranks: a run goes on with any.

With `shard_states` each rank has a share of what the optimiser keeps (`shared_state.py`). Then all
write a checkpoint together, each its share, and the leader completes it; and averages of parameters
are gathered when the model is measured.

No update is made before all sums over ranks are: the norm of the gradient, which a program looks at
before it writes the state, needs them. So when a rank is lost in the middle of a step, the others
have the state of the step before: all of it, unless it was in shares.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from graphgrad.backends import read_only
from graphgrad.compile import Compiled, compile
from graphgrad.decoding import Options
from graphgrad.errors import (
    ConfigurationError,
    EnvironmentLimitError,
    GraphgradError,
    RanksError,
)
from graphgrad.graph import Dimension, Graph
from graphgrad.graph.digest import graph_digest
from graphgrad.graph.dimension import named
from graphgrad.passes.shard_states import Shards
from graphgrad.passes.split_batch import BATCH
from graphgrad.performance.traffic import traffic_of
from graphgrad.ranks import Communicator
from graphgrad.training.checkpoint import save_pieces
from graphgrad.training.kept_rates import KeptRates
from graphgrad.training.moving_average import AVERAGE
from graphgrad.training.runs import OpenRun
from graphgrad.training.shard_files import manifest_of, write_share
from graphgrad.training.shared_state import graph_of_ranks, keep_share
from graphgrad.training.spread import OverRanks
from graphgrad.training.task import Figures, Stages, quietly

GUARDS = ("loss", "gradient_norm")
"""The outputs of a step that have to be finite."""
END, SAVE, AVERAGES = b"end", b"save ", b"averages"
"""What a leader says beside the number of a batch."""
_AGREE, NEXT, _LOOK, _WRITTEN = -1, -2, -4, -6
"""The numbers of the messages between leader and followers."""
_LOOKS = {True: b"look", False: b"look at all"}
"""What the leader says to have held-out data evaluated: some of them, or all."""
Arrays = Mapping[str, np.ndarray]


def need_ranks(run: OpenRun, size: int) -> None:
    """Raises ConfigurationError for what so many ranks cannot do, and DeclarationError for a graph
    whose batch cannot be split."""
    need_parts(run, size)
    settings = run.settings
    if settings.backend != "numpy" and (settings.shard_states or settings.sent_deltas != "fp32"):
        raise ConfigurationError(
            "states are in shares, and deltas of 16 bits are sent, on processors only",
            fix="--backend numpy, or leave shard_states and sent_deltas out",
        )
    graph_of_ranks(run.graph, run.settings, size)


def need_parts(run: OpenRun, size: int) -> None:
    """Raises ConfigurationError where a run or its batches have no part for each rank."""
    if run.settings.inspect_every:
        raise ConfigurationError(
            "figures of values are recorded by one rank only",
            fix="--set inspect_every=0, or train on one rank",
        )
    part_of(run.task.feeds(run.next_batch), axes_of(run.graph), 0, size)


class Team:
    """One rank's part in the training of a run. Raises RanksError where another one has opened
    another run, or uses another version of graphgrad."""

    shards: Shards | None = None
    """What the ranks keep of the state, where they train together."""
    _looking = False
    _averages: Mapping[str, np.ndarray] = MappingProxyType({})
    """The averages that a follower needs for the evaluation that comes."""

    def __init__(self, run: OpenRun, communicator: Communicator) -> None:
        self.communicator, self._number = communicator, run.next_batch
        rank, size = communicator.rank, communicator.size
        shards = run.shards or graph_of_ranks(run.graph, run.settings, size)
        if run.shards is None and shards.rows:
            assert isinstance(run.state, dict)
            keep_share(run.state, shards, rank)
        self.shards, self._axes = shards, axes_of(run.graph)
        self.compiled = self._compiled(run, shards.graph, communicator)
        self._agree(run)

    @property
    def whole(self) -> bool:
        """Whether all ranks have the same state now; if not, it cannot be saved."""
        return True

    def about(self) -> list[str]:
        """What the ranks do, for the announcement of a run."""
        return [f"{self.communicator.size} ranks: {traffic_of(self.compiled.graph)}"]

    @staticmethod
    def _compiled(run: OpenRun, graph: Graph, communicator: Communicator) -> Compiled:
        settings = run.settings
        return compile(
            graph,
            guards=GUARDS,
            fuse=settings.fuse,
            backend=settings.backend,
            precision=settings.precision,
            communicator=communicator,
            product_rates=KeptRates.read(run.folder).rates,
        )

    def _agree(self, run: OpenRun) -> None:
        """Makes sure that all ranks are about to do the same."""
        own = json.dumps(_described(run, self.shards)).encode()
        seen = self.communicator.gather(own, _AGREE, patient=True)  # reading data takes its time
        first, *others = (json.loads(each) for each in seen)
        for rank, other in enumerate(others, 1):
            for what, value in first.items():
                if other[what] != value:
                    raise RanksError(
                        f"rank {rank} has another {what} than rank 0: {other[what]} and {value}",
                        fix="start all ranks with the same program, settings and data",
                    )

    def others_of(self, run: OpenRun) -> Team | None:
        """This, where the ranks have shares of the state of a run."""
        return self if run.settings.shard_states else None

    def sharing(self, run: OpenRun) -> OpenRun:
        """The leader's run, whose evaluations all ranks do together, where its task knows how."""
        run = dataclasses.replace(run, shards=self.shards, others=self.others_of(run))
        spread = run.task.spread
        if spread is None:
            return run

        def measure(state: Arrays, options: Options, stages: Stages, quick: bool) -> Figures:
            self._looking = True
            self.communicator.gather(_LOOKS[quick], NEXT, patient=True)
            figures = spread(state, stages, quick, OverRanks(self.communicator, _LOOK))
            self._looking = False
            return figures

        return dataclasses.replace(run, task=dataclasses.replace(run.task, measure=measure))

    def _ends(self, run: OpenRun, word: bytes) -> bool:
        """Whether the leader has said that it is the end; a follower does its part of a look."""
        if word in _LOOKS.values() and run.task.spread is not None:
            over = OverRanks(self.communicator, _LOOK)
            run.task.spread(read_only(run.weights), quietly, word == _LOOKS[True], over)
        return word == END

    def run(self, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
        """The leader's results of the next batch, whose parts all ranks compute."""
        self.communicator.gather(str(self._number).encode(), NEXT, patient=True)
        self._number += 1
        return self._computed(state, feeds)

    def end(self) -> None:
        """Lets the followers go."""
        if self._looking:  # it has ended in the middle of an evaluation, where they wait for it
            self.communicator.fail("interrupted")
        else:
            self.communicator.gather(END, NEXT, patient=True)

    def follow(self, run: OpenRun) -> int:
        """Computes parts of batches until the leader ends; returns their number."""
        done = 0
        state, others = self.compiled.on_device(run.state), self.others_of(run)
        run = dataclasses.replace(run, state=state, others=others)
        while True:
            word = self.communicator.gather(b"", NEXT, patient=True)[0]
            if self._ends(run, word):
                return done
            if word.startswith(SAVE):
                self._write(run, Path(os.fsdecode(word.removeprefix(SAVE))))
            if word == AVERAGES:
                self._averages = self._gathered(run)
            if word.isdigit():
                self._averages = {}
                self._computed(run.state, run.task.feeds(int(word)))
                done += 1

    def save(
        self, run: OpenRun, step: int, details: Mapping[str, Any], keep: int, best: Collection[int]
    ) -> None:
        """Saves a checkpoint of the leader, to which each rank writes its share."""

        def write(folder: Path) -> dict[str, Any]:
            self.communicator.gather(SAVE + os.fsencode(folder.absolute()), NEXT, patient=True)
            return manifest_of(run.graph.states, self._write(run, folder))

        size = sum(node.type.nbytes for node in run.graph.states.values())
        save_pieces(run.folder.checkpoints, step, write, size, details, keep, best)

    def _write(self, run: OpenRun, folder: Path) -> list[dict[str, Any]]:
        """Writes this rank's share; what all have written. Raises EnvironmentLimitError where one
        of them could not."""
        try:
            assert self.shards is not None
            own = write_share(folder, self.shards, self.communicator.rank, run.state)
        except (OSError, GraphgradError) as problem:
            own = {"problem": getattr(problem, "strerror", None) or str(problem)}
        seen = self.communicator.gather(json.dumps(own).encode(), _WRITTEN, patient=True)
        written = [json.loads(each) for each in seen]
        for rank, each in enumerate(written):
            if "problem" in each and self.communicator.rank == 0:
                raise EnvironmentLimitError(
                    f"rank {rank} cannot write its share of the checkpoint: {each['problem']}",
                    folder.parent,
                    "make room on its disk; the run goes on from the last checkpoint",
                )
        return written

    def averages(self, run: OpenRun) -> Mapping[str, np.ndarray]:
        """The moving averages that are in shares, whole: the leader has all ranks gather them, and
        the others have what they have gathered last."""
        if self.communicator.rank:
            return self._averages
        self.communicator.gather(AVERAGES, NEXT, patient=True)
        return self._gathered(run)

    def _gathered(self, run: OpenRun) -> dict[str, np.ndarray]:
        assert self.shards is not None
        found: dict[str, np.ndarray] = {}
        for number, (name, row) in enumerate(self.shards.rows.items()):
            if not row[0].name.startswith(f"{AVERAGE}."):
                continue
            own, start = run.state[name], 0
            flat = np.empty(sum(whole.size for whole in row), own.dtype)
            self.communicator.all_gather(flat, own, number)
            for whole in row:
                found[whole.name] = flat[start : start + whole.size].reshape(whole.shape)
                start += whole.size
        return found

    def _computed(self, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
        try:
            return self.compiled(state, self._given(feeds))
        except RanksError:
            raise
        except GraphgradError as error:
            self.communicator.fail(error.problem)
            raise

    def part(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """This rank's part of a batch."""
        return part_of(feeds, self._axes, self.communicator.rank, self.communicator.size)

    def _given(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """The inputs of this rank's program."""
        return self.part(feeds)


def _described(run: OpenRun, shards: Shards | None) -> dict[str, str]:
    """What has to be equal on all ranks."""
    state = hashlib.sha256()
    own = shards.rows if shards is not None else {}
    for name in sorted(run.state.keys() - own.keys()):
        state.update(np.ascontiguousarray(run.state[name]).tobytes())
    batch = hashlib.sha256()
    for _, value in sorted(run.task.feeds(run.next_batch).items()):
        batch.update(np.ascontiguousarray(value).tobytes())
    return {
        "version of graphgrad": str(version("graphgrad")),
        "version of NumPy": np.__version__,
        "step": str(run.step),
        "model": graph_digest(run.graph),
        "way to train": graph_digest(shards.graph) if shards is not None else "apart",
        "state": state.hexdigest(),
        "batch": batch.hexdigest(),
    }


def axes_of(graph: Graph, dimension: str = BATCH) -> dict[str, int]:
    """The axis of each input that counts examples, where it has one."""
    found: dict[str, int] = {}
    for name, node in graph.inputs.items():
        for axis, size in enumerate(node.shape):
            if not isinstance(size, Dimension) or dimension not in str(size).split("*"):
                continue
            if size != named(dimension):
                raise ConfigurationError(
                    f"input {name!r} has an axis of {size}, which cannot be cut between examples",
                    node.origin,
                    f"an axis of {dimension} alone",
                )
            found[name] = axis
    return found


def part_of(feeds: Arrays, axes: Mapping[str, int], rank: int, size: int) -> dict[str, np.ndarray]:
    """The examples of a batch that are a rank's: as equal parts as there can be, in order.

    Raises ConfigurationError for a batch of fewer examples than ranks.
    """
    part: dict[str, np.ndarray] = {}
    for name, value in feeds.items():
        if name not in axes:
            part[name] = value
            continue
        count = value.shape[axes[name]]
        if count < size:
            raise ConfigurationError(
                f"a batch of {count} examples has no part for each of {size} ranks",
                fix="larger batches, or fewer ranks",
            )
        rows = slice(_first(count, rank, size), _first(count, rank + 1, size))
        part[name] = value[(slice(None),) * axes[name] + (rows,)]
    return part


def first_of(feeds: Arrays, axes: Mapping[str, int], rank: int, size: int) -> int:
    """The number of the first example of a rank's part of a batch."""
    name, axis = next(iter(axes.items()))
    return _first(feeds[name].shape[axis], rank, size)


def _first(count: int, rank: int, size: int) -> int:
    return rank * count // size
