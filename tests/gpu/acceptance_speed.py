"""Times of a training step on the device, beside PyTorch and JAX on the same card, and whether all
of them compute the same loss."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from acceptance import ROOT, Row

import graphgrad as gg
from graphgrad.backends.cupy.launches import Product
from graphgrad.backends.cupy.observation import action_seconds
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import CHECK, TIMING, Workload, load_contender
from graphgrad.performance.cost import flops_of_graph
from graphgrad.tools.peers import graphgrad_peer

SIZES = {
    "tiny": Workload(64, 256, 4, 2, 1000, 16, 16),
    "small": Workload(256, 1024, 8, 3, 8000, 32, 32),
    "base": Workload(512, 2048, 8, 6, 32000, 128, 128, batch=64),
}
SMALL = Workload(16, 16, 2, 1, 30, 4, 4, batch=2)
"""In place of all sizes where the command itself is tested."""
OWN = (("base", "bf16"), ("base", "tf32"), ("small", "fp32"), ("tiny", "fp32"))
PEERS = (
    *((size, precision, "eager") for size, precision in OWN),
    ("base", "bf16", "jax"),
    ("base", "bf16", "compile"),
    ("small", "fp32", "compile"),
    ("tiny", "fp32", "compile"),
    ("base", "tf32", "compile"),
)
"""In the order of the table. JAX needs a minute to compile base, torch.compile a little more."""
LOSSES = {
    "eager": (("tiny", "fp32"), ("small", "fp32"), ("base", "bf16")),
    "jax": (("tiny", "fp32"),),
}
"""What each peer's first loss is compared at."""
SAME = {"fp32": 1e-4, "tf32": 2e-3, "bf16": 5e-3}
"""How far the losses of a step may lie apart, of their size: rounding to 8 digits, or to 3."""
FILES = {"eager": "torch_peer.py", "compile": "torch_peer.py", "jax": "jax_peer.py"}
STEPS = 30
WARM = 5
Arrays = dict[str, np.ndarray]
Step = Callable[[], float]
Section = Callable[[Any], Iterator[Row]]

TARGETS = {"base bf16": {"compile": 1.0, "jax": 1.0}, "base tf32": {}}
"""How many times as fast as a peer a step has to be; what is not named: `SMALLER`."""
SMALLER = {"eager": 2.0, "compile": 1.2}
SHARE_OF_PEAK = 0.35
"""Of the matrix products of the step at base in bf16, of the measured peak."""
_MEASURED = "a step"


def name_of(size: str, precision: str) -> str:
    """The section of a size."""
    return f"{size} {precision}"


def own(size: str, precision: str, small: bool = False) -> Section:
    """The section of graphgrad's own time; at base, of the share of the peak as well."""

    def section(device: Any) -> Iterator[Row]:
        workload, name = SMALL if small else SIZES[size], name_of(size, precision)
        row = _timed(name, _own(workload, precision, TIMING, workload.dropout))
        yield row
        if size == "base" and row.milliseconds is not None:
            peak = peak_of(precision, 64 if small else 8192)
            yield from _share(name, workload, row.milliseconds, precision, peak)

    return section


def peer(size: str, precision: str, which: str, small: bool = False) -> Section:
    """The section of a peer's time."""

    def section(device: Any) -> Iterator[Row]:
        workload = SMALL if small else SIZES[size]
        step = _peer(which, workload, precision, TIMING, workload.dropout)
        yield _timed(f"{name_of(size, precision)} {which}", step)

    return section


def same_loss(which: str, small: bool = False) -> Section:
    """The section that compares the losses of first steps, without dropout and with padding."""

    def section(device: Any) -> Iterator[Row]:
        for size, precision in LOSSES[which]:
            workload = SMALL if small else SIZES[size]
            ours = _own(workload, precision, CHECK, 0.0)()()
            theirs = _peer(which, workload, precision, CHECK, 0.0)()()
            good = abs(ours - theirs) <= SAME[precision] * abs(ours)
            value = f"{ours:.5f} beside {theirs:.5f}"
            yield Row(f"same loss {which}", name_of(size, precision), value, good)

    return section


def compared(rows: Sequence[Row], row: Row) -> Iterator[Row]:
    """How many times as fast as a peer graphgrad is, once a peer's row is there."""
    size, _, which = row.section.rpartition(" ")
    if row.milliseconds is None or which not in FILES:
        return
    ours = [each.milliseconds for each in rows if each.section == size and each.milliseconds]
    if ours:
        ratio = row.milliseconds / ours[0]
        wanted = TARGETS.get(size, SMALLER).get(which)
        shown = f"{ratio:.2f}" + (f" (target {wanted})" if wanted else "")
        yield Row(row.section, "graphgrad is as fast, times", shown, not wanted or ratio >= wanted)


def _share(
    name: str, workload: Workload, milliseconds: float, precision: str, peak: float
) -> Iterator[Row]:
    """The measured peak of a matrix product, and the share of it that the step reaches."""
    sizes = {"batch": workload.batch, "source": workload.source, "target": workload.target}
    graph = graphgrad_peer.training_graph(workload, workload.dropout)
    rate = flops_of_graph(graph, sizes) / milliseconds / 1e6
    yield Row(name, "matrix peak", f"{peak / 1000:.1f} TFLOP/s")
    share, wanted = rate / peak, SHARE_OF_PEAK if precision == "bf16" else None
    shown = f"{share:.1%}" + (f" (target {wanted:.0%})" if wanted else "")
    yield Row(name, "share of the peak", shown, not wanted or share >= wanted)


def peak_of(precision: str, size: int) -> float:
    """The best GFLOP/s of a product of two square matrices on the device."""
    left, right = gg.input("left", (size, size)), gg.input("right", (size, size))
    product = gg.Graph({"largest": gg.max(left @ right)})
    program: Any = gg.compile(product, backend="cupy", precision=precision).program()
    ones = np.ones((size, size), np.float32)
    seconds, _ = action_seconds(program, {}, {"left": ones, "right": ones}, 5)
    actions = zip(program.device_program.actions, seconds, strict=True)
    return max(2 * size**3 / its / 1e9 for action, its in actions if isinstance(action, Product))


def _batch(workload: Workload, which: str) -> Arrays:
    return {
        name.removeprefix(which): value
        for name, value in batches_of(workload).items()
        if name.startswith(which)
    }


def _own(workload: Workload, precision: str, which: str, dropout: float) -> Callable[[], Step]:
    """What makes graphgrad's step, with its state on the card."""

    def made() -> Step:
        graph = graphgrad_peer.training_graph(workload, dropout)
        compiled = gg.compile(graph, backend="cupy", precision=precision)
        placed = compiled.on_device(gg.initial_state(graph, workload.seed))
        batch = _batch(workload, which)
        return lambda: float(compiled(placed, **batch)["loss"])

    return made


def _peer(
    which: str, workload: Workload, precision: str, batch: str, dropout: float
) -> Callable[[], Step]:
    """What makes the step of a peer, from the same weights, with its arrays on the card."""

    def made() -> Step:
        graph = graphgrad_peer.training_graph(workload, dropout)
        state = gg.initial_state(graph, workload.seed)
        parameters = {name: state[name] for name in graph.parameters}
        variant = "cuda"
        if which == "jax":
            import jax

            how = {"bf16": "bfloat16", "tf32": "tensorfloat32"}.get(precision, "highest")
            jax.config.update("jax_default_matmul_precision", how)
        else:
            import torch

            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            variant = f"cuda:{which}" + ("-bf16" if precision == "bf16" else "")
        path: Path = ROOT / "tools" / "peers" / FILES[which]
        contender = load_contender(str(path))
        arrays = _batch(workload, batch)
        step: Step = contender.build(
            variant, replace(workload, dropout=dropout), parameters, arrays, dropout
        )
        return step

    return made


def _timed(section: str, made: Callable[[], Step]) -> Row:
    """The row of the median time of a step, and what the first one took with all that it needs."""
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
    milliseconds = 1000 * statistics.median(seconds)
    value = f"{milliseconds:.2f} ms, first {first:.1f} s, loss {loss:.4f}"
    return Row(section, _MEASURED, value, milliseconds=milliseconds)
