"""The results of a bench: one record for each contender, and the conditions of all.

`Record` and `Bench` are those of a training step, `RecipeRecord` and `RecipeBench` those of the
updates of a recipe; what they share is in `Measured` and `Results`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Generic, TypeVar

from graphgrad.performance.bench_worker import RecipeWorkload, Workload


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements of one contender that every bench makes."""

    version: str
    detail: str
    threads: int
    precision: str
    """What its matrix products read."""
    peak_mb: float
    """The most memory that its process had on the processor, in 10⁶ bytes."""
    tokens_per_s: float
    """Target tokens; padding of a recipe's batches is not counted."""
    ratio: float
    """Its time divided by that of the first contender."""
    losses: tuple[float, ...]
    """Of the first steps without dropout."""


@dataclass(frozen=True, kw_only=True)
class Record(Measured):
    """The measurements of one contender's training step."""

    median_ms: float
    min_ms: float
    first_step_s: float
    """Of building, compiling and one step."""
    mfu: float
    """The share of the peak rate in its precision that the products of the median step reach."""
    loaded_ms: float | None = None
    """The median beside busy processes; None where it was not measured."""
    loaded_ratio: float | None = None
    """That median divided by the first contender's."""

    @property
    def slowdown(self) -> float | None:
        """How many times as long a step takes beside busy processes."""
        return None if self.loaded_ms is None else self.loaded_ms / self.median_ms


@dataclass(frozen=True, kw_only=True)
class RecipeRecord(Measured):
    """The measurements of one contender's updates; the ratios are to the first contender."""

    mean_ms: float
    best_ms: float
    """The mean over the updates of the fastest timing of each."""
    processor_ms: float
    """The processor time of an update, of all threads together."""
    first_pass_s: float
    """The seconds of the first pass, in which every shape is met for the first time."""
    best_ratio: float
    processor_ratio: float


R = TypeVar("R", bound=Measured)
W = TypeVar("W", Workload, RecipeWorkload)


@dataclass(frozen=True, kw_only=True)
class Results(Generic[W, R]):
    """The measurements of one workload."""

    workload: W
    threads: int
    device: bool
    """Whether the contenders computed on the CUDA device."""
    records: Mapping[str, R]
    absent: Mapping[str, str]
    """The reason for each contender without a record."""
    dropped: tuple[tuple[str, str], ...]
    """Environment variables that were removed for the workers."""
    busy_elsewhere: float | None
    """How many processors other programs kept busy meanwhile; None if unknown."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with each contender's record under its name."""
        own = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("workload", "records")
        }
        plain = {name: dict(own[name]) for name in ("absent", "dropped")}
        records = {name: asdict(record) for name, record in self.records.items()}
        return {**self.workload.to_dict(), **own, **plain, **records}


@dataclass(frozen=True, kw_only=True)
class Bench(Results[Workload, Record]):
    """The measurements of a training step."""

    steps: int
    gflop: float
    """Floating-point operations of the matrix products of a step, in 10⁹."""
    peaks: Mapping[str, float] = field(default_factory=dict)
    """The GFLOP/s of the fastest matrix product that was measured in each precision."""
    busy_processes: int = 0
    """How many busy processes ran beside the steps that `loaded_ms` is of."""


@dataclass(frozen=True, kw_only=True)
class RecipeBench(Results[RecipeWorkload, RecipeRecord]):
    """The measurements of the updates of a recipe."""

    passes: int
    """How often every update was timed."""
    shapes: int
    """Shapes of the batches, for each of which a program is compiled."""
