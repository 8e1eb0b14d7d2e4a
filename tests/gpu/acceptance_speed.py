"""Times of a training step on the device, beside PyTorch and JAX on the same card."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from acceptance import ROOT, Row

import graphgrad as gg
from graphgrad.backends.cupy.launches import Product
from graphgrad.backends.cupy.observation import action_seconds
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import TIMING, Workload, load_contender
from graphgrad.performance.cost import flops_of_graph
from graphgrad.tools.peers import graphgrad_peer

SIZES = {
    "tiny": Workload(64, 256, 4, 2, 1000, 16, 16),
    "small": Workload(256, 1024, 8, 3, 8000, 32, 32),
    "base": Workload(512, 2048, 8, 6, 32000, 128, 128, batch=64),
}
STEPS = 30
WARM = 5
Arrays = dict[str, np.ndarray]
Step = Callable[[], float]


PRECISION = {"base": "bf16"}
TARGETS = {"base": {"compile": 1.0, "jax": 1.0}}
"""How many times as fast as a peer a step has to be; the sizes not named: `SMALLER`."""
SMALLER = {"eager": 2.0, "compile": 1.2}
SHARE_OF_PEAK = 0.35
"""Of the matrix products of the step at base, of the measured peak."""


def timed(size: str, workload: Workload | None = None) -> Callable[[Any], Iterator[Row]]:
    """The section of a size."""

    def section(device: Any) -> Iterator[Row]:
        its, name = workload or SIZES[size], f"speed {size}"
        precision = PRECISION.get(size, "fp32")
        graph = graphgrad_peer.training_graph(its, its.dropout)
        state = gg.initial_state(graph, its.seed)
        parameters = {key: state[key].copy() for key in graph.parameters}
        batch = {
            key.removeprefix(TIMING): value
            for key, value in batches_of(its).items()
            if key.startswith(TIMING)
        }
        own: list[float] = []
        yield _row(
            name, f"graphgrad {precision}", lambda: _own(graph, state, batch, precision), own
        )
        if own and size == "base":
            yield from _share(name, graph, its, own[0], precision)
        suffix = "-bf16" if precision == "bf16" else ""
        for peer, file, variant in (
            ("compile", "torch_peer.py", f"cuda:compile{suffix}"),
            ("jax", "jax_peer.py", "cuda"),
            ("eager", "torch_peer.py", f"cuda:eager{suffix}"),
        ):
            theirs: list[float] = []
            step = _peer(
                ROOT / "tools" / "peers" / file, variant, its, parameters, batch, precision
            )
            yield _row(name, f"{peer} {precision}", step, theirs)
            wanted = TARGETS.get(size, SMALLER).get(peer)
            if own and theirs:
                ratio = theirs[0] / own[0]
                target = f" (target {wanted})" if wanted else ""
                good = wanted is None or ratio >= wanted
                yield Row(name, f"times as fast as {peer}", f"{ratio:.2f}{target}", good)

    return section


def _share(
    name: str, graph: gg.Graph, workload: Workload, seconds: float, precision: str
) -> Iterator[Row]:
    """The measured peak of a matrix product, and the share of it that the step reaches."""
    sizes = {"batch": workload.batch, "source": workload.source, "target": workload.target}
    rate = flops_of_graph(graph, sizes) / seconds / 1e9
    peak = peak_of(precision)
    yield Row(name, f"matrix peak {precision}", f"{peak / 1000:.1f} TFLOP/s")
    share = rate / peak
    shown = f"{share:.1%} (target {SHARE_OF_PEAK:.0%})"
    yield Row(name, "share of the peak", shown, share >= SHARE_OF_PEAK)


def peak_of(precision: str, size: int = 8192) -> float:
    """The best GFLOP/s of a product of two square matrices on the device."""
    left, right = gg.input("left", (size, size)), gg.input("right", (size, size))
    product = gg.Graph({"largest": gg.max(left @ right)})
    program: Any = gg.compile(product, backend="cupy", precision=precision).program()
    ones = np.ones((size, size), np.float32)
    seconds, _ = action_seconds(program, {}, {"left": ones, "right": ones}, 5)
    actions = zip(program.device_program.actions, seconds, strict=True)
    return max(2 * size**3 / its / 1e9 for action, its in actions if isinstance(action, Product))


def _own(graph: gg.Graph, state: Arrays, batch: Arrays, precision: str) -> Step:
    compiled = gg.compile(graph, backend="cupy", precision=precision)
    placed = compiled.on_device(state)
    return lambda: float(compiled(placed, **batch)["loss"])


def _peer(
    path: Path, variant: str, workload: Workload, parameters: Arrays, batch: Arrays, precision: str
) -> Callable[[], Step]:
    """What makes the step of a peer, with its arrays on the card."""

    def made() -> Step:
        if path.stem.startswith("torch"):
            import torch

            torch.backends.cuda.matmul.allow_tf32 = False
        else:
            import jax

            how = "bfloat16" if precision == "bf16" else "highest"
            jax.config.update("jax_default_matmul_precision", how)
        contender = load_contender(str(path))
        return contender.build(variant, workload, parameters, batch, workload.dropout)

    return made


def _row(section: str, what: str, made: Callable[[], Step], found: list[float]) -> Row:
    """One time, which is added to `found`; what fails is a row as well."""
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
        return Row(section, what, f"{type(problem).__name__}: {reason}", False)
    found.append(statistics.median(seconds))
    milliseconds = 1000 * found[0]
    return Row(section, what, f"{milliseconds:.2f} ms a step, first {first:.1f} s, loss {loss:.4f}")
