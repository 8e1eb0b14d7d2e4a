"""Times contenders that compute the same training step, under equal conditions.

    absent?  ->  check, peaks  ->  first step  ->  turns  A B C  A B C  …  ->  (beside load)  ->
    records

- Each contender runs in its own process, in one clean environment, on the same processors.
- The mathematics is equal: without dropout, from the same weights and on the same batch (with
  padding), the losses of the first three steps agree, and so do forward pass, deltas and updates.
- Contenders take turns, so that other load of the machine affects all of them. A turn is several
  steps long; during the pause before it the threads of the previous contender go to sleep.
- Each contender also measures the rate of a large product in its precision; the fastest of a
  precision is the peak that shares are of.
- With load, the turns are repeated while as many processes as threads keep the processors busy.
- A contender that is missing or fails is reported with the reason; only the first, which the others
  are compared to, has to work. A contender that computes something else is an error.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors.numpy import save_file

from graphgrad.errors import EnvironmentLimitError, GraphgradError
from graphgrad.performance.bench_busy import BusyProcesses, Meter, busy_processes
from graphgrad.performance.bench_process import (
    Worker,
    clean_environment,
)
from graphgrad.performance.bench_results import Bench, Record
from graphgrad.performance.bench_worker import CHECK, PARAMETER, TIMING, RecipeWorkload, Workload

TOLERANCES = (1e-5, 2e-5, 1e-4)
"""The largest relative difference of two contenders' losses at each checked step, in float32.

Every update increases the differences of rounding: at size base they are 1e-7, 2e-6 and 2e-5.
"""
SLACK: Mapping[str, float] = {"fp32": 1.0, "tf32": 100.0, "fp16": 100.0, "bf16": 1000.0}
"""The factor by which losses may differ more where a contender's products have fewer digits."""
TURN_SECONDS = 0.5
PAUSE_SECONDS = 0.05
WARM_STEPS = 2
"""Steps after the first that are not counted, while caches fill and allocators adapt."""
TIME_LIMIT = 600.0
"""Seconds that one answer of a worker may take, beside the time of the requested steps."""

Report = Callable[[str], None]


class UnequalError(GraphgradError):
    """Two contenders of a bench do not compute the same."""


@dataclass(frozen=True)
class Contender:
    """A library that takes part: its file and variant, and the module that it needs."""

    name: str
    file: str
    variant: str = ""
    requires: str = ""
    precision: str = "fp32"
    """What its matrix products read."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a bench; `time_limit` is in seconds, for one answer of a worker."""

    steps: int
    threads: int
    time_limit: float = TIME_LIMIT
    device: bool = False
    """Whether the contenders compute on the CUDA device."""
    load: bool = False
    """Whether the steps are timed beside busy processes as well."""


@dataclass
class Timing:
    """The measurements of one contender while it is being timed."""

    contender: Contender
    worker: Worker
    facts: dict[str, Any]
    first: float
    seconds: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    """The seconds beside busy processes."""
    processor_seconds: float = 0.0
    peak_bytes: int = 0


T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What the workers have answered, and what the timing itself returned."""

    timings: Mapping[str, Timing]
    losses: Mapping[str, tuple[float, ...]]
    peaks: Mapping[str, float]
    absent: Mapping[str, str]
    dropped: tuple[tuple[str, str], ...]
    found: T


def run_contenders(
    workload: Workload | RecipeWorkload,
    parameters: Mapping[str, np.ndarray],
    batches: Mapping[str, np.ndarray],
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Report,
    timed: Callable[[Runner, dict[str, Timing]], T],
) -> Outcome[T]:
    """Checks that all compute the same, runs the first steps and then `timed`."""
    environment, dropped = clean_environment(os.environ, conditions.device)
    with tempfile.TemporaryDirectory(prefix="graphgrad-bench-") as folder:
        path = str(Path(folder) / "arrays.safetensors")
        named = {PARAMETER + name: array for name, array in parameters.items()}
        save_file({**named, **batches}, path)
        runner = Runner(workload, path, conditions, environment, contenders[0], report)
        present = [each for each in contenders if runner.is_present(each)]
        losses = runner.checked(present)
        with ExitStack() as stack:
            timings = runner.started([each for each in present if each.name in losses], stack)
            found = timed(runner, timings)
            runner.measure_peak(contenders[0], timings[contenders[0].name].worker)
    return Outcome(timings, losses, runner.peaks, runner.absent, dropped, found)


def bench(
    workload: Workload,
    parameters: Mapping[str, np.ndarray],
    flops: int,
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Report = lambda line: None,
) -> Bench:
    """Times the contenders; the first is the one that the others are compared to.

    `parameters` are the first weights by name and `flops` the operations of a step. `report` is
    called with a line before every long part. Raises EnvironmentLimitError if the first contender
    fails and UnequalError if another computes something else.
    """
    outcome = run_contenders(
        *(workload, parameters, batches_of(workload), contenders, conditions, report, _turns)
    )
    return Bench(
        workload=workload,
        threads=conditions.threads,
        device=conditions.device,
        records=_records(workload, outcome, flops / 1e9),
        absent=outcome.absent,
        dropped=outcome.dropped,
        busy_elsewhere=outcome.found,
        steps=conditions.steps,
        gflop=flops / 1e9,
        peaks=outcome.peaks,
        busy_processes=conditions.threads if conditions.load else 0,
    )


def _turns(runner: Runner, timings: dict[str, Timing]) -> float | None:
    """Times the steps, and beside busy processes again; how many processors others kept busy."""
    elsewhere = runner.take_turns(timings)
    if not runner.conditions.load:
        return elsewhere
    quiet = {name: list(timing.seconds) for name, timing in timings.items()}
    with busy_processes(runner.conditions.threads) as busy:
        also = runner.take_turns(timings, busy)
    for name, timing in timings.items():
        timing.seconds, timing.loaded = quiet[name], timing.seconds
    return None if elsewhere is None or also is None else max(elsewhere, also)


class Runner:
    """Sends requests to the workers; a contender that fails becomes absent."""

    def __init__(
        self,
        workload: Workload | RecipeWorkload,
        arrays: str,
        conditions: Conditions,
        environment: Mapping[str, str],
        first: Contender,
        report: Report,
    ) -> None:
        self.workload, self.arrays, self.conditions = workload, arrays, conditions
        self.environment, self.first, self.report = environment, first, report
        self.limit = conditions.time_limit
        self.absent: dict[str, str] = {}
        self.peaks: dict[str, float] = {}
        """The best rate of a matrix product so far, in GFLOP/s, by precision."""

    def is_present(self, contender: Contender) -> bool:
        if contender.requires and importlib.util.find_spec(contender.requires) is None:
            self.absent[contender.name] = f"{contender.requires} is not installed"
            return False
        return True

    @contextmanager
    def forgiving(self, name: str) -> Iterator[None]:
        """Makes a contender that fails inside absent; a failure of the first is raised."""
        try:
            yield
        except EnvironmentLimitError as problem:
            if name == self.first.name:
                raise
            self.absent[name] = problem.problem

    def worker(self, contender: Contender) -> Worker:
        return Worker(
            contender.name,
            contender.file,
            contender.variant,
            self.environment,
            self.conditions.threads,
        )

    def prepare(self, worker: Worker) -> dict[str, Any]:
        return worker.ask(
            "prepare",
            self.limit,
            workload=self.workload.to_dict(),
            arrays=self.arrays,
            threads=self.conditions.threads,
        )

    def checked(self, contenders: Sequence[Contender]) -> dict[str, tuple[float, ...]]:
        """Checks that the losses of the first steps agree, and returns those of each contender."""
        losses: dict[str, tuple[float, ...]] = {}
        measured: set[tuple[str, str]] = set()
        for contender in contenders:
            self.report(f"{contender.name}: checks that it computes the same")
            with self.forgiving(contender.name), self.worker(contender) as worker:
                self.prepare(worker)
                answer = worker.ask("check", self.limit, steps=len(TOLERANCES))
                losses[contender.name] = tuple(answer["losses"])
                compare(
                    self.first.name,
                    losses[self.first.name],
                    contender.name,
                    losses[contender.name],
                    max(SLACK[self.first.precision], SLACK[contender.precision]),
                )
                kind = (contender.file, contender.precision)
                if kind not in measured:
                    self.measure_peak(contender, worker)
                measured.add(kind)
        return losses

    def measure_peak(self, contender: Contender, worker: Worker) -> None:
        """Measures the peak rate in a contender's precision, of which shares of a step are.

        That of the first is measured before and after the turns, as the machine may be busy once.
        """
        if isinstance(self.workload, Workload):
            found = worker.ask("peak", self.limit)["gflops"]
            self.peaks[contender.precision] = max(self.peaks.get(contender.precision, 0.0), found)

    def started(self, contenders: Sequence[Contender], stack: ExitStack) -> dict[str, Timing]:
        """Starts the workers and runs their first step."""
        timings: dict[str, Timing] = {}
        for contender in contenders:
            self.report(f"{contender.name}: builds, compiles and runs the first step")
            with self.forgiving(contender.name):
                worker = stack.enter_context(self.worker(contender))
                facts = self.prepare(worker)
                first = worker.ask("first", self.limit)["seconds"]
                timings[contender.name] = Timing(contender, worker, facts, first)
        return timings

    def take_turns(
        self, timings: dict[str, Timing], busy: BusyProcesses | None = None
    ) -> float | None:
        """Times all steps; returns how many processors programs beside `busy` used meanwhile."""
        warm = [self.turn(timings, name, WARM_STEPS) for name in list(timings)]
        for timing in timings.values():
            timing.seconds = []
        slowest = max((max(seconds) for seconds in warm if seconds), default=TURN_SECONDS)
        length = max(1, min(self.conditions.steps, int(TURN_SECONDS / slowest)))
        beside = "" if busy is None else f" beside {len(busy.processes)} busy processes"
        self.report(f"{', '.join(timings)}: take turns of {length} steps{beside}")
        own = [timing.worker for timing in timings.values()]
        meter = Meter([*own, busy] if busy else own)
        for start in range(0, self.conditions.steps, length):
            count = min(length, self.conditions.steps - start)
            for name in list(timings):
                self.turn(timings, name, count)
        return meter.elsewhere()

    def turn(self, timings: dict[str, Timing], name: str, count: int) -> list[float]:
        """Times the next steps of one contender; removes it if it fails."""
        time.sleep(PAUSE_SECONDS)
        with self.forgiving(name):
            answer = self.ask(timings, name, "steps", count=count)
            timings[name].seconds += answer["seconds"]
            timings[name].processor_seconds += answer["processor_seconds"]
            timings[name].peak_bytes = answer["peak_bytes"]
            return list(answer["seconds"])
        del timings[name]
        return []

    def ask(
        self, timings: Mapping[str, Timing], name: str, request: str, **arguments: Any
    ) -> dict[str, Any]:
        return timings[name].worker.ask(request, self.limit, **arguments)


def batches_of(workload: Workload) -> dict[str, np.ndarray]:
    """Two batches of random tokens: one with padding for the check, one without for timing."""
    random = np.random.default_rng(workload.seed)
    gpt = workload.model == "gpt"
    halves = 1 if gpt else 2
    given, wanted = ("ids", "following") if gpt else ("target_input", "target_output")
    batches = {}
    for prefix in (CHECK, TIMING):
        drawn = [
            random.integers(1, workload.vocabulary, (workload.batch, length), np.int32)
            for length in (workload.source, workload.target + 1)[-halves:]
        ]
        for ids in drawn if prefix == CHECK else ():
            ends = random.integers(ids.shape[1] // 2, ids.shape[1], (workload.batch, 1))
            ids[np.arange(ids.shape[1]) > ends] = 0
        inputs = {"source": drawn[0], given: drawn[-1][:, :-1], wanted: drawn[-1][:, 1:]}
        for name in (given, wanted) if gpt else inputs:
            batches[prefix + name] = np.ascontiguousarray(inputs[name])
    return batches


def compare(
    name: str, losses: Sequence[float], other: str, others: Sequence[float], slack: float = 1.0
) -> None:
    """Raises UnequalError unless the losses of each step agree, to `slack` times the tolerances."""
    pairs = zip(losses, others, TOLERANCES, strict=True)
    for step, (first, second, tolerance) in enumerate(pairs, 1):
        if not abs(first - second) <= slack * tolerance * abs(first):
            raise UnequalError(
                f"{other} computes something else than {name}: without dropout, from the same "
                f"weights, its loss at step {step} is {second:.7g} and not {first:.7g}",
                fix="step 1 differs: look at the forward pass; later: at deltas and optimiser",
            )


def _records(workload: Workload, outcome: Outcome[Any], gflop: float) -> dict[str, Record]:
    """The records; `gflop` is what the matrix products of a step compute."""
    timings = outcome.timings
    medians = {name: statistics.median(timing.seconds) for name, timing in timings.items()}
    loaded = {
        name: statistics.median(timing.loaded) if timing.loaded else None
        for name, timing in timings.items()
    }
    first, *_ = timings
    return {
        name: Record(
            **common_figures(name, outcome, workload.tokens / medians[name]),
            ratio=round(medians[name] / medians[first], 3),
            median_ms=round(medians[name] * 1e3, 3),
            min_ms=round(min(timing.seconds) * 1e3, 3),
            first_step_s=round(timing.first, 3),
            mfu=round(gflop / outcome.peaks[timing.contender.precision] / medians[name], 4),
            loaded_ms=_rounded(loaded[name], 1e3),
            loaded_ratio=_rounded(loaded[name], 1 / (loaded[first] or 1.0)),
        )
        for name, timing in timings.items()
    }


def _rounded(seconds: float | None, factor: float) -> float | None:
    return None if seconds is None else round(seconds * factor, 3)


def common_figures(name: str, outcome: Outcome[Any], tokens_per_s: float) -> dict[str, Any]:
    """What the records of all benches hold of a contender."""
    timing = outcome.timings[name]
    return {
        "version": timing.facts["version"],
        "detail": timing.facts["detail"],
        "threads": timing.facts["threads"],
        "precision": timing.contender.precision,
        "peak_mb": round(timing.peak_bytes / 1e6, 1),
        "tokens_per_s": round(tokens_per_s, 1),
        "losses": outcome.losses[name],
    }
