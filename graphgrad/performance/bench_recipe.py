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

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.performance.bench_busy import Meter
from graphgrad.performance.bench_results import RecipeBench, RecipeRecord
from graphgrad.performance.bench_runner import (
    Conditions,
    Contender,
    Outcome,
    Report,
    Runner,
    Timing,
    common_figures,
    run_contenders,
)
from graphgrad.performance.bench_worker import CHECK, TIMING, RecipeWorkload

PASSES = 3
"""How often every update is timed."""


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
    batches = {prefix + name: array for prefix in (CHECK, TIMING) for name, array in arrays.items()}
    outcome = run_contenders(
        *(workload, parameters, batches, contenders, conditions, report, _timed)
    )
    shapes = {
        tuple(array.shape for name, array in arrays.items() if name.startswith(f"{number}."))
        for number in {name.partition(".")[0] for name in arrays if "." in name}
    }
    return RecipeBench(
        workload=workload,
        threads=conditions.threads,
        device=conditions.device,
        records=_records(workload, outcome),
        absent=outcome.absent,
        dropped=outcome.dropped,
        busy_elsewhere=outcome.found[1],
        passes=PASSES,
        shapes=len(shapes),
    )


def _timed(runner: Runner, timings: dict[str, Timing]) -> tuple[dict[str, float], float | None]:
    """The seconds of each first pass, and how many processors others kept busy in the others."""
    assert isinstance(runner.workload, RecipeWorkload)
    updates = runner.workload.updates
    first = _first_pass(runner, timings, updates)
    return first, _passes(runner, timings, updates)


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


def _passes(runner: Runner, timings: dict[str, Timing], updates: int) -> float | None:
    """Times every update `PASSES` times; the contenders take turns of one update."""
    runner.report(f"{', '.join(timings)}: take turns, {PASSES} passes of {updates} updates")
    meter = Meter([timing.worker for timing in timings.values()])
    for _ in range(PASSES * updates):
        for name in list(timings):
            runner.turn(timings, name, 1)
    return meter.elsewhere()


def _records(
    workload: RecipeWorkload, outcome: Outcome[tuple[dict[str, float], float | None]]
) -> dict[str, RecipeRecord]:
    timings = outcome.timings
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
            **common_figures(name, outcome, workload.tokens / workload.updates / means[name]),
            ratio=round(means[name] / mean, 3),
            mean_ms=round(means[name] * 1e3, 3),
            best_ms=round(bests[name] * 1e3, 3),
            processor_ms=round(spent[name] * 1e3, 3),
            first_pass_s=round(outcome.found[0][name], 3),
            best_ratio=round(bests[name] / best, 3),
            processor_ratio=round(spent[name] / own, 3),
        )
        for name in timings
    }
