"""The bench: engines that compute the same training step, timed under equal conditions.

    absent?  ->  check  ->  first step  ->  turns  A B C  A B C  …  ->  records

- Each engine runs in its own process, in one clean environment, on the same processors.
- The mathematics is equal: without dropout, from the same weights and on the same batch (with
  padding), the losses of the first three steps agree, so forward, deltas and updates do.
- Engines take turns, so that what else the machine does meets all of them. A turn is some steps
  long, and a pause before it lets the threads of the one before fall asleep.
- An engine that is missing or fails is named with the reason; only the first, to which the others
  are compared, has to work. One that computes something else is an error.
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
from graphgrad.performance.bench_worker import CHECK, PARAMETER, TIMING, Workload

TOLERANCES = (1e-5, 2e-5, 1e-4)
"""How far two engines' losses may be apart at each checked step, relative to the loss, in float32.

Every update makes the differences of rounding larger: at size base 1e-7, 2e-6 and 2e-5 were seen.
"""
TURN_SECONDS = 0.5
PAUSE_SECONDS = 0.05
WARM_STEPS = 2
"""Steps after the first that are not counted: caches fill, and allocators learn the sizes."""
TIME_LIMIT = 600.0
"""Seconds that one answer of a worker may take, beside the steps that it was asked for."""

Report = Callable[[str], None]


class UnequalError(GraphgradError):
    """Two engines of a bench do not compute the same."""


@dataclass(frozen=True)
class Contender:
    """An engine that takes part: its file and variant, and the module that it needs."""

    name: str
    file: str
    variant: str = ""
    requires: str = ""
    slack: float = 1.0
    """How many times further its losses may be apart than those of float32."""


@dataclass(frozen=True)
class Conditions:
    """How the engines are timed; `time_limit` in seconds for one answer of a worker."""

    steps: int
    threads: int
    time_limit: float = TIME_LIMIT


@dataclass(frozen=True)
class Record:
    """What was measured of one engine.

    `first_step_s` is building, compiling and one step; `peak_mb` the most memory (10⁶ bytes) that
    its process held; `tokens_per_s` target tokens; `mfu` the share of the peak that the matrix
    products of the median step reach; `ratio` its median over that of the first engine.
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
    """Everything that was measured of one workload."""

    workload: Workload
    threads: int
    steps: int
    gflop: float
    """Floating-point operations of the matrix products of a step, in 10⁹."""
    peak_gflops: float
    """What `mfu` is a share of: NumPy's float32 matrix product in the first engine's process."""
    records: Mapping[str, Record]
    absent: Mapping[str, str]
    """Why an engine that was asked for has no record."""
    dropped: tuple[tuple[str, str], ...]
    """Variables that the workers did not get."""
    busy_elsewhere: float | None
    """How many processors other programs kept busy meanwhile; None where that is unknown."""

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types; each engine's record under its name."""
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
class _Timing:
    """What is known of one engine while it is being timed."""

    worker: Worker
    facts: dict[str, Any]
    first: float
    seconds: list[float] = field(default_factory=list)
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
    given a line when something long begins. Raises EnvironmentLimitError where the first contender
    fails and UnequalError where another computes something else.
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
        runner = _Runner(workload, arrays, conditions, environment, contenders[0], absent, report)
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


class _Runner:
    """Asks the workers; a peer that fails becomes absent."""

    def __init__(
        self,
        workload: Workload,
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
        """A failure inside makes the engine absent; the first engine's is raised."""
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
        """The losses of the first steps, which agree, of each engine that works."""
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
        """Before and after the turns: a busy machine may spoil one measurement."""
        self.peak = max(self.peak, worker.ask("peak", self.limit)["gflops"])

    def started(self, contenders: Sequence[Contender], stack: ExitStack) -> dict[str, _Timing]:
        """The workers after their first step and the steps that are not counted."""
        timings: dict[str, _Timing] = {}
        for contender in contenders:
            self.report(f"{contender.name}: builds, compiles and runs the first step")
            with self.forgiving(contender.name):
                worker = stack.enter_context(self.worker(contender))
                facts = self.prepare(worker)
                first = worker.ask("first", self.limit)["seconds"]
                timings[contender.name] = _Timing(worker, facts, first)
        return timings

    def take_turns(self, timings: dict[str, _Timing]) -> float | None:
        """Fills the timings; how many processors other programs kept busy meanwhile."""
        warm = [self.turn(timings, name, WARM_STEPS) for name in list(timings)]
        for timing in timings.values():
            timing.seconds.clear()
        slowest = max((max(seconds) for seconds in warm if seconds), default=TURN_SECONDS)
        length = max(1, min(self.conditions.steps, int(TURN_SECONDS / slowest)))
        self.report(f"{', '.join(timings)}: take turns of {length} steps")
        meter = _Meter(timings)
        for start in range(0, self.conditions.steps, length):
            count = min(length, self.conditions.steps - start)
            for name in list(timings):
                self.turn(timings, name, count)
        return meter.elsewhere()

    def turn(self, timings: dict[str, _Timing], name: str, count: int) -> list[float]:
        """The next steps of one engine; it is taken out where it fails."""
        time.sleep(PAUSE_SECONDS)
        with self.forgiving(name):
            answer = self.ask(timings, name, "steps", count=count)
            timings[name].seconds += answer["seconds"]
            timings[name].peak_bytes = answer["peak_bytes"]
            return list(answer["seconds"])
        del timings[name]
        return []

    def ask(
        self, timings: Mapping[str, _Timing], name: str, request: str, **arguments: Any
    ) -> dict[str, Any]:
        return timings[name].worker.ask(request, self.limit, **arguments)


class _Meter:
    """How busy other programs keep the machine while the workers run."""

    def __init__(self, timings: Mapping[str, _Timing]) -> None:
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
    """Two batches of random tokens: one with padding to check with, one without to time with."""
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
    """UnequalError unless the losses of each step agree, to `slack` times the tolerances."""
    pairs = zip(losses, others, TOLERANCES, strict=True)
    for step, (a, b, tolerance) in enumerate(pairs, 1):
        if not abs(a - b) <= slack * tolerance * abs(a):
            raise UnequalError(
                f"{other} computes something else than {name}: without dropout, from the same "
                f"weights, its loss at step {step} is {b:.7g} and not {a:.7g}",
                fix="step 1 differs: look at the forward pass; later: at deltas and optimiser",
            )


def _records(
    workload: Workload,
    timings: Mapping[str, _Timing],
    losses: Mapping[str, tuple[float, ...]],
    peak_seconds: float,
) -> dict[str, Record]:
    """`peak_seconds` is what the matrix products of a step take at the peak."""
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
