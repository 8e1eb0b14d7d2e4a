"""Settings: a frozen dataclass whose fields are the keys of `--set key=value`.

Every model's `Settings` extends `TrainingSettings`. A value is read as the type of its default; an
unknown key is an error that names the nearest one, and so is a value that makes no sense.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from graphgrad.errors import ConfigurationError

OPTIMISERS = ("sgd", "momentum", "adam", "adamw")
SCHEDULES = ("constant", "noam", "cosine", "linear")


@dataclass(frozen=True)
class TrainingSettings:
    """What every training run has."""

    seed: int = 0
    steps: int = 1000
    batch_size: int = 32
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """The largest global norm of the gradient; 0 does not clip."""
    surgery: str = ""
    """Deltas to cut: `clip NODE LIMIT; scale HEAD<-TAIL FACTOR; stop NODE` (passes/surgery.py)."""
    dtype: str = "float32"
    evaluate_every: int = 200
    checkpoint_every: int = 200
    keep_checkpoints: int = 3
    inspect_every: int = 0
    """Record figures of values and deltas at every step that this divides; 0 records none."""
    inspect: str = ""
    """Which nodes: names or patterns with * and ?, separated by commas; empty means all."""
    fuse: bool = True
    """Compile elementwise regions and row reductions into kernels: faster steps, after some seconds
    for compiling that a later run with the same shapes of layers does not need."""

    def __post_init__(self) -> None:
        one_of("optimiser", self.optimiser, OPTIMISERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("dtype", self.dtype, ("float32", "float64"))
        for name in ("steps", "batch_size", "evaluate_every", "checkpoint_every",
                     "keep_checkpoints"):  # fmt: skip
            at_least(name, getattr(self, name), 1)
        for name in ("warmup", "clip_norm", "weight_decay", "seed", "inspect_every"):
            at_least(name, getattr(self, name), 0)
        for name in ("steps", "keep_checkpoints"):
            below(name, getattr(self, name), 10**15)  # a checkpoint's name has 15 digits at most
        for name in ("beta1", "beta2", "momentum"):
            below_one(name, getattr(self, name))
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                raise _out_of_range(name, "above 0", getattr(self, name), "1e-3")
        below("seed", self.seed, 2**63)  # the state keeps it as int64
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise _out_of_range(field.name, "a finite number", value, "1e-3")

    @property
    def inspect_patterns(self) -> tuple[str, ...]:
        """The names and patterns of `inspect`."""
        return tuple(text.strip() for text in self.inspect.split(",") if text.strip())


S = TypeVar("S", bound=TrainingSettings)


def with_assignments(settings: S, assignments: Iterable[str]) -> S:
    """The settings with `key=value` texts applied."""
    return with_values(settings, assigned(assignments))


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """The values that `key=value` texts give, by key, as texts."""
    values: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--set {text!r} has no value", fix=f"--set {text}=VALUE")
        values[key.strip()] = value.strip()
    return values


def with_values(settings: S, values: Mapping[str, Any], where: str = "") -> S:
    """The settings with these values, texts or JSON values, read as the types of the fields."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    changed = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1, 0.4)
            raise ConfigurationError(
                f"there is no setting {key!r}", where,
                f"did you mean {near[0]!r}?" if near else f"settings: {', '.join(fields)}",
            )  # fmt: skip
        changed[key] = _read(key, value, getattr(settings, key), where)
    return dataclasses.replace(settings, **changed)


def _read(key: str, value: Any, default: Any, where: str) -> Any:
    wanted = type(default)
    try:
        if wanted is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "yes": True, "1": True,
                    "false": False, "no": False, "0": False}[str(value).lower()]  # fmt: skip
        if wanted is int and isinstance(value, float) and value != int(value):
            raise ValueError
        if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
            raise ValueError
        return wanted(value)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise ConfigurationError(
            f"setting {key}: {value!r} is not {_article(wanted)}", where,
            f"the default is {default!r}",
        ) from None  # fmt: skip


def _article(wanted: type) -> str:
    return {int: "an integer", float: "a number", bool: "true or false"}.get(wanted, "a text")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ConfigurationError unless the value is one of the choices."""
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1, 0.3)
        raise ConfigurationError(
            f"{name} must be one of {', '.join(choices)}, not {value!r}",
            fix=f"did you mean {near[0]!r}?" if near else "",
        )


def at_least(name: str, value: float, least: float) -> None:
    """ConfigurationError unless value >= least (NaN is not)."""
    if not value >= least:
        raise _out_of_range(name, f"at least {least}", value, str(least))


def below(name: str, value: float, limit: int) -> None:
    """ConfigurationError unless value < limit."""
    if not value < limit:
        raise _out_of_range(name, f"below {limit:,}", value, "3")


def below_one(name: str, value: float) -> None:
    """ConfigurationError unless 0 <= value < 1, as rates of decay and of dropout are."""
    if not 0 <= value < 1:
        raise _out_of_range(name, "at least 0 and below 1", value, "0.1")


def _out_of_range(name: str, wanted: str, value: float, example: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {wanted}, not {value}",
                              fix=f"for example --set {name}={example}")  # fmt: skip
