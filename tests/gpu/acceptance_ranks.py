"""The section of acceptance.py on ranks: the collectives of NCCL on this device, by one rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from acceptance import Row
from acceptance_checks import SIZES, distance, memory_of
from device_steps import GUARDS, feeds_of, initial, step_of

import graphgrad as gg
from graphgrad.backends.choice import DeviceBackend
from graphgrad.compile import Compiled
from graphgrad.errors import EnvironmentLimitError
from graphgrad.graph import Graph
from graphgrad.options import Options
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise
from graphgrad.ranks import threads


def of_one_rank(device: Any, graph: Graph) -> Compiled:
    """The graph as one of several ranks compiles it, whose group is of this device alone."""
    options = Options(backend="cupy", fuse=True, smallest_kernel=1)
    optimised, reports = optimise(graph, PASSES)
    (host,) = threads(1)
    backend = DeviceBackend(memory_of(device), host)
    return Compiled(graph, optimised, GUARDS, reports, SPECIALISED_PASSES, options, backend)


def ranks(device: Any, steps: int = 5) -> Iterator[Row]:
    """Steps of the small Transformer, whose sums over ranks go through NCCL."""
    graph = step_of("transformer", "float32")
    try:
        compiled = of_one_rank(device, gg.split_batch(graph))
    except EnvironmentLimitError as problem:
        yield Row("ranks", "left out", problem.problem)
        return
    state = compiled.on_device(initial(graph))
    wanted, on_cpu = initial(graph), gg.compile(graph, guards=GUARDS)
    for step in range(steps):
        compiled(state, **feeds_of("transformer", step))
        on_cpu(wanted, **feeds_of("transformer", step))
    far = distance({name: np.asarray(state[name]) for name in wanted}, wanted)
    yield Row("ranks", f"{steps} steps of one rank, distance", f"{far:.2e}", far < 1e-4)
    sums = sum(node.operation.collective for node in compiled.program(**SIZES).graph)
    yield Row("ranks", "starts and waits of sums a step", str(sums), sums > 0)
