"""Times of a training step on the device, beside PyTorch and JAX on the same card."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from acceptance import ROOT, Row
from acceptance_checks import compiled_for

import graphgrad as gg
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import TIMING, Workload, load_contender

SIZES = {
    "tiny": Workload(64, 256, 4, 2, 1000, 16, 16),
    "small": Workload(256, 1024, 8, 3, 8000, 32, 32),
    "base": Workload(512, 2048, 8, 6, 32000, 128, 128, batch=64),
}
STEPS = 30
WARM = 5
Arrays = dict[str, np.ndarray]
Step = Callable[[], float]


def timed(size: str) -> Callable[[Any], Iterator[Row]]:
    """The section of a size."""

    def section(device: Any) -> Iterator[Row]:
        workload, name = SIZES[size], f"speed {size}"
        peer = load_contender(str(ROOT / "tools" / "peers" / "graphgrad_peer.py"))
        graph = peer.training_graph(workload, workload.dropout)
        state = gg.initial_state(graph, workload.seed)
        parameters = {key: state[key].copy() for key in graph.parameters}
        batch = {
            key.removeprefix(TIMING): value
            for key, value in batches_of(workload).items()
            if key.startswith(TIMING)
        }
        yield from _row(name, "graphgrad float32", lambda: _own(device, graph, state, batch))
        for what, file, variant in (
            ("torch eager float32", "torch_peer.py", "eager"),
            ("torch.compile float32", "torch_peer.py", "compile"),
            ("jax float32", "jax_peer.py", ""),
        ):
            path = ROOT / "tools" / "peers" / file
            step = _peer(path, variant, workload, parameters, batch)
            yield from _row(name, what, step)

    return section


def _own(device: Any, graph: gg.Graph, state: Arrays, batch: Arrays) -> Step:
    compiled = compiled_for(device, graph)
    placed = compiled.on_device(state)
    return lambda: float(compiled(placed, **batch)["loss"])


def _peer(
    path: Path, variant: str, workload: Workload, parameters: Arrays, batch: Arrays
) -> Callable[[], Step]:
    """What makes the step of a peer, with its arrays on the card."""

    def made() -> Step:
        if path.stem.startswith("torch"):
            import torch

            torch.set_default_device("cuda")
            torch.backends.cuda.matmul.allow_tf32 = False
            on_host = torch.from_numpy
            torch.from_numpy = lambda array: on_host(array).cuda()
            try:
                return load_contender(str(path)).build(variant, workload, parameters, batch, 0.1)
            finally:
                torch.from_numpy = on_host
        return load_contender(str(path)).build(variant, workload, parameters, batch, 0.1)

    return made


def _row(section: str, what: str, made: Callable[[], Step]) -> Iterator[Row]:
    """One time; what fails is a row as well."""
    try:
        started = time.perf_counter()
        step = made()
        loss = step()
        first = time.perf_counter() - started
        seconds = []
        for number in range(WARM + STEPS):
            started = time.perf_counter()
            loss = step()
            if number >= WARM:
                seconds.append(time.perf_counter() - started)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        yield Row(section, what, f"{type(problem).__name__}: {reason}", False)
        return
    middle = 1000 * statistics.median(seconds)
    yield Row(section, what, f"{middle:.2f} ms a step, first {first:.1f} s, loss {loss:.4f}")
