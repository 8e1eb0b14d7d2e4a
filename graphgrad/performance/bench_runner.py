"""Times contenders that compute the same training step, under equal conditions.

    absent?  ->  check  ->  first step  ->  turns  A B C  A B C  …  ->  records

- Each contender runs in its own process, in one clean environment, on the same processors.
- The mathematics is equal: without dropout, from the same weights and on the same batch (with
  padding), the losses of the first three steps agree, and so do forward pass, deltas and updates.
- Contenders take turns, so that other load of the machine affects all of them. A turn is several
  steps long; during the pause before it the threads of the previous contender go to sleep.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from graphgrad.errors import EnvironmentLimitError, GraphgradError
from graphgrad.performance.bench_process import (
    Worker,
    busy_seconds,
    clean_environment,
    processor_seconds_of,
)
from graphgrad.performance.bench_worker import CHECK, PARAMETER, TIMING, RecipeWorkload, Workload

TOLERANCES = (1e-5, 2e-5, 1e-4)
"""The largest relative difference of two contenders' losses at each checked step, in float32.

Every update increases the differences of rounding: at size base they are 1e-7, 2e-6 and 2e-5.
"""
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
    slack: float = 1.0
    """The factor by which its losses may differ more than those of float32."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a bench; `time_limit` is in seconds, for one answer of a worker."""

    steps: int
    threads: int
    time_limit: float = TIME_LIMIT


@dataclass(frozen=True)
class Record:
    """The measurements of one contender.

    `first_step_s` is the time of building, compiling and one step; `peak_mb` the most memory that
    its process had (10⁶ bytes); `tokens_per_s` counts target tokens; `mfu` is the share of the peak
    rate that the matrix products of the median step reach; `ratio` is its median divided by that of
    the first contender.
    """

    version: str
    detail: str
    threads: int
    median_ms: float
    min_ms: float
    first_step_s: float
    peak_mb: float
    tokens_per_s: float
    mfu: float
    ratio: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """The measurements of one workload."""

    workload: Workload
    threads: int
    steps: int
    gflop: float
    """Floating-point operations of the matrix products of a step, in 10⁹."""
    peak_gflops: float
    """The peak rate: NumPy's float32 matrix product in the first contender's process."""
    records: Mapping[str, Record]
    absent: Mapping[str, str]
    """The reason for each contender without a record."""
    dropped: tuple[tuple[str, str], ...]
    """Environment variables that were removed for the workers."""
    busy_elsewhere: float | None
    """How many processors other programs kept busy meanwhile; None if unknown."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with each contender's record under its name."""
        return {
            **self.workload.to_dict(),
            "threads": self.threads,
            "steps": self.steps,
            "gflop": self.gflop,
            "peak_gflops": self.peak_gflops,
            "busy_elsewhere": self.busy_elsewhere,
            "dropped": dict(self.dropped),
            "absent": dict(self.absent),
            **{name: asdict(record) for name, record in self.records.items()},
        }


@dataclass
class Timing:
    """The measurements of one contender while it is being timed."""

    worker: Worker
    facts: dict[str, Any]
    first: float
    seconds: list[float] = field(default_factory=list)
    processor_seconds: float = 0.0
    peak_bytes: int = 0


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
    environment, dropped = clean_environment(os.environ)
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="graphgrad-bench-") as folder:
        arrays = str(Path(folder) / "arrays.safetensors")
        save_file(
            {
                **{PARAMETER + name: array for name, array in parameters.items()},
                **batches_of(workload),
            },
            arrays,
        )
        runner = Runner(workload, arrays, conditions, environment, contenders[0], absent, report)
        present = [each for each in contenders if runner.is_present(each)]
        losses = runner.checked(present)
        with ExitStack() as stack:
            timings = runner.started([each for each in present if each.name in losses], stack)
            busy = runner.take_turns(timings)
            runner.measure_peak(timings[contenders[0].name].worker)
    peak = runner.peak
    records = _records(workload, timings, losses, flops / 1e9 / peak)
    return Bench(
        workload,
        conditions.threads,
        conditions.steps,
        flops / 1e9,
        peak,
        records,
        absent,
        dropped,
        busy,
    )


class Runner:
    """Sends requests to the workers; a contender that fails becomes absent."""

    def __init__(
        self,
        workload: Workload | RecipeWorkload,
        arrays: str,
        conditions: Conditions,
        environment: Mapping[str, str],
        first: Contender,
        absent: dict[str, str],
        report: Report,
    ) -> None:
        self.workload, self.arrays, self.conditions = workload, arrays, conditions
        self.environment, self.first = environment, first
        self.absent, self.report = absent, report
        self.limit = conditions.time_limit
        self.peak = 0.0
        """The best rate of NumPy's matrix product so far, in GFLOP/s."""

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
                    contender.slack,
                )
                if contender is self.first:
                    self.measure_peak(worker)
        return losses

    def measure_peak(self, worker: Worker) -> None:
        """Measures the peak rate, before and after the turns, as the machine may be busy once."""
        self.peak = max(self.peak, worker.ask("peak", self.limit)["gflops"])

    def started(self, contenders: Sequence[Contender], stack: ExitStack) -> dict[str, Timing]:
        """Starts the workers and runs their first step."""
        timings: dict[str, Timing] = {}
        for contender in contenders:
            self.report(f"{contender.name}: builds, compiles and runs the first step")
            with self.forgiving(contender.name):
                worker = stack.enter_context(self.worker(contender))
                facts = self.prepare(worker)
                first = worker.ask("first", self.limit)["seconds"]
                timings[contender.name] = Timing(worker, facts, first)
        return timings

    def take_turns(self, timings: dict[str, Timing]) -> float | None:
        """Times all steps; returns how many processors other programs kept busy meanwhile."""
        warm = [self.turn(timings, name, WARM_STEPS) for name in list(timings)]
        for timing in timings.values():
            timing.seconds.clear()
        slowest = max((max(seconds) for seconds in warm if seconds), default=TURN_SECONDS)
        length = max(1, min(self.conditions.steps, int(TURN_SECONDS / slowest)))
        self.report(f"{', '.join(timings)}: take turns of {length} steps")
        meter = Meter(timings)
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


class Meter:
    """Measures how busy other programs keep the machine while the workers run."""

    def __init__(self, timings: Mapping[str, Timing]) -> None:
        self.workers = [timing.worker for timing in timings.values()]
        self.started, self.busy, self.own = time.perf_counter(), busy_seconds(), self._own()

    def elsewhere(self) -> float | None:
        busy, seconds = busy_seconds(), time.perf_counter() - self.started
        if busy is None or self.busy is None:
            return None
        others = (busy - self.busy) - (self._own() - self.own)
        return round(max(0.0, others / seconds), 2)

    def _own(self) -> float:
        mine = processor_seconds_of(os.getpid())
        return mine + sum(worker.processor_seconds for worker in self.workers)


def batches_of(workload: Workload) -> dict[str, np.ndarray]:
    """Two batches of random tokens: one with padding for the check, one without for timing."""
    random = np.random.default_rng(workload.seed)
    batches = {}
    for prefix in (CHECK, TIMING):
        source, target = (
            random.integers(1, workload.vocabulary, (workload.batch, length), np.int32)
            for length in (workload.source, workload.target + 1)
        )
        if prefix == CHECK:
            for ids in (source, target):
                ends = random.integers(ids.shape[1] // 2, ids.shape[1], (workload.batch, 1))
                ids[np.arange(ids.shape[1]) > ends] = 0
        batches[prefix + "source"] = source
        batches[prefix + "target_input"] = np.ascontiguousarray(target[:, :-1])
        batches[prefix + "target_output"] = np.ascontiguousarray(target[:, 1:])
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


def _records(
    workload: Workload,
    timings: Mapping[str, Timing],
    losses: Mapping[str, tuple[float, ...]],
    peak_seconds: float,
) -> dict[str, Record]:
    """The records; `peak_seconds` is the time of a step's matrix products at the peak rate."""
    medians = {name: statistics.median(timing.seconds) for name, timing in timings.items()}
    reference = next(iter(medians.values()))
    return {
        name: Record(
            version=timing.facts["version"],
            detail=timing.facts["detail"],
            threads=timing.facts["threads"],
            median_ms=round(medians[name] * 1e3, 3),
            min_ms=round(min(timing.seconds) * 1e3, 3),
            first_step_s=round(timing.first, 3),
            peak_mb=round(timing.peak_bytes / 1e6, 1),
            tokens_per_s=round(workload.tokens / medians[name], 1),
            mfu=round(peak_seconds / medians[name], 4),
            ratio=round(medians[name] / reference, 3),
            losses=losses[name],
        )
        for name, timing in timings.items()
    }
