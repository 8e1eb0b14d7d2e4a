"""The program that a profile is of, with a state and a batch to run it on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgrad.backends import Program
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.passes import sizes_of
from graphgrad.ranks import Communicator
from graphgrad.tools.opening import is_run, model_of, run_of
from graphgrad.tools.profile_decoding import program_in_use
from graphgrad.training.settings import assigned, with_assignments
from graphgrad.training.shared_state import graph_of_ranks
from graphgrad.training.task import Feeds
from graphgrad.training.team import GUARDS, axes_of, part_of


def profiled(
    name: str,
    assignments: list[str],
    what: str = "training",
    communicator: Communicator | None = None,
    without: Sequence[str] = (),
) -> tuple[Program, dict[str, np.ndarray], Feeds]:
    """The program that `graphgrad train` runs for this model or run, its first state and a batch
    (of one rank with a `communicator`); or one that runs when the model is used."""
    state: dict[str, np.ndarray] | None = None
    if is_run(name):
        run = run_of(name, assigned(assignments), told=False)
        settings, task, graph = run.settings, run.task, run.graph
        state, number = dict(run.state), run.next_batch
    else:
        model = model_of(name)
        settings = with_assignments(model.settings, assignments)
        task, number = model.task(settings, {}), 0
        graph = task.step(task.graph, settings)
    if what != "training":
        return program_in_use(task, what, settings, name)
    feeds = task.feeds(number)  # the same batch for all steps: a program has one set of sizes
    if communicator is not None:
        if settings.backend != "numpy":
            raise ConfigurationError(
                "several ranks train on processors only", fix="--backend numpy, or one rank"
            )
        feeds = part_of(feeds, axes_of(graph), communicator.rank, communicator.size)
        shards = graph_of_ranks(graph, settings, communicator.size)
        state = shards.cut(state or initial_state(graph, settings.seed), communicator.rank)
        graph = shards.graph
    compiled = compile(
        graph,
        guards=GUARDS,
        fuse=settings.fuse,
        precision=settings.precision,
        backend=settings.backend,
        communicator=communicator,
        without=without,
    )
    program = compiled.program(**sizes_of(graph, feeds))
    return program, state or initial_state(graph, settings.seed), feeds
