"""Times the updates of a recipe's run, batch by batch at their real lengths.

An update is what a step of the run is: as many batches as the recipe accumulates, each in the shape
that it has in training. The contenders make the same updates from the same weights, in turns, and
go through all of them several times. As in `bench_runner`, the losses of the first updates without
dropout must agree.

The first pass, in which a compiler meets every shape, is not counted; its seconds are given. Other
programs on the machine make single updates slower and never faster, so beside the mean of all
timings stand the mean over the updates of the fastest timing of each, and the processor time, which
does not count what other programs take.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from graphgrad.performance.bench_process import clean_environment
from graphgrad.performance.bench_runner import (
    Conditions,
    Contender,
    Meter,
    Report,
    Runner,
    Timing,
)
from graphgrad.performance.bench_worker import CHECK, PARAMETER, TIMING, RecipeWorkload

PASSES = 3
"""How often every update is timed."""


@dataclass(frozen=True)
class RecipeRecord:
    """The measurements of one contender; the ratios are to the first contender."""

    version: str
    detail: str
    threads: int
    mean_ms: float
    best_ms: float
    """The mean over the updates of the fastest timing of each."""
    processor_ms: float
    """The processor time of an update, of all threads together."""
    first_pass_s: float
    """The seconds of the first pass, in which every shape is met for the first time."""
    peak_mb: float
    tokens_per_s: float
    ratio: float
    best_ratio: float
    processor_ratio: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class RecipeBench:
    """The measurements of one recipe."""

    workload: RecipeWorkload
    threads: int
    passes: int
    shapes: int
    """Shapes of the batches, for each of which a program is compiled."""
    records: Mapping[str, RecipeRecord]
    absent: Mapping[str, str]
    dropped: tuple[tuple[str, str], ...]
    busy_elsewhere: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with each contender's record under its name."""
        return {
            **self.workload.to_dict(),
            "threads": self.threads,
            "passes": self.passes,
            "shapes": self.shapes,
            "busy_elsewhere": self.busy_elsewhere,
            "dropped": dict(self.dropped),
            "absent": dict(self.absent),
            **{name: asdict(record) for name, record in self.records.items()},
        }


def bench_recipe(
    workload: RecipeWorkload,
    parameters: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Report = lambda line: None,
) -> RecipeBench:
    """Times the contenders; the first is the one that the others are compared to.

    `arrays` are the batches and the rates as `RecipeWorkload` names them. Raises
    EnvironmentLimitError if the first contender fails, and UnequalError if another computes
    something else.
    """
    environment, dropped = clean_environment(os.environ)
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="graphgrad-bench-") as folder:
        path = str(Path(folder) / "arrays.safetensors")
        named = {PARAMETER + name: array for name, array in parameters.items()}
        for prefix in (CHECK, TIMING):
            named |= {prefix + name: array for name, array in arrays.items()}
        save_file(named, path)
        runner = Runner(workload, path, conditions, environment, contenders[0], absent, report)
        present = [each for each in contenders if runner.is_present(each)]
        losses = runner.checked(present)
        with ExitStack() as stack:
            timings = runner.started([each for each in present if each.name in losses], stack)
            first = _first_pass(runner, timings, workload.updates)
            busy = _passes(runner, timings, workload.updates, report)
    shapes = {
        tuple(array.shape for name, array in arrays.items() if name.startswith(f"{number}."))
        for number in {name.partition(".")[0] for name in arrays if "." in name}
    }
    return RecipeBench(
        workload,
        conditions.threads,
        PASSES,
        len(shapes),
        _records(workload, timings, losses, first),
        absent,
        dropped,
        busy,
    )


def _first_pass(runner: Runner, timings: dict[str, Timing], updates: int) -> dict[str, float]:
    """The seconds in which each contender makes every update for the first time."""
    seconds = {}
    for name in list(timings):
        later = runner.turn(timings, name, updates - 1) if updates > 1 else []
        if name in timings:
            seconds[name] = timings[name].first + sum(later)
            timings[name].seconds.clear()
            timings[name].processor_seconds = 0.0
    return seconds


def _passes(
    runner: Runner, timings: dict[str, Timing], updates: int, report: Report
) -> float | None:
    """Times every update `PASSES` times; the contenders take turns of one update."""
    report(f"{', '.join(timings)}: take turns, {PASSES} passes of {updates} updates")
    meter = Meter(timings)
    for _ in range(PASSES * updates):
        for name in list(timings):
            runner.turn(timings, name, 1)
    return meter.elsewhere()


def _records(
    workload: RecipeWorkload,
    timings: Mapping[str, Timing],
    losses: Mapping[str, tuple[float, ...]],
    first: Mapping[str, float],
) -> dict[str, RecipeRecord]:
    by_update = {
        name: np.array(timing.seconds).reshape(PASSES, workload.updates)
        for name, timing in timings.items()
    }
    means = {name: float(seconds.mean()) for name, seconds in by_update.items()}
    bests = {name: float(seconds.min(axis=0).mean()) for name, seconds in by_update.items()}
    spent = {
        name: timing.processor_seconds / (PASSES * workload.updates)
        for name, timing in timings.items()
    }
    mean, best, own = (next(iter(each.values())) for each in (means, bests, spent))
    return {
        name: RecipeRecord(
            version=timing.facts["version"],
            detail=timing.facts["detail"],
            threads=timing.facts["threads"],
            mean_ms=round(means[name] * 1e3, 3),
            best_ms=round(bests[name] * 1e3, 3),
            processor_ms=round(spent[name] * 1e3, 3),
            first_pass_s=round(first[name], 3),
            peak_mb=round(timing.peak_bytes / 1e6, 1),
            tokens_per_s=round(workload.tokens / workload.updates / means[name], 1),
            ratio=round(means[name] / mean, 3),
            best_ratio=round(bests[name] / best, 3),
            processor_ratio=round(spent[name] / own, 3),
            losses=losses[name],
        )
        for name, timing in timings.items()
    }
