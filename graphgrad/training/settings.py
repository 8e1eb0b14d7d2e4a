"""Settings: a frozen dataclass whose fields are the keys of `--set key=value`.

Every model's `Settings` extends `TrainingSettings`. A value is read as the type of its default. An
unknown key is an error that names the nearest one; a value that makes no sense is an error, too.
The text below a field explains it; `graphgrad train MODEL --settings` prints it (`meanings_of`).
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.options import BACKENDS, PRECISIONS
from graphgrad.text import suggestion
from graphgrad.training.setting_values import (
    at_least,
    below,
    below_one,
    one_of,
    out_of_range,
    read_value,
)

OPTIMISERS = ("sgd", "momentum", "adam", "adamw")
SCHEDULES = ("constant", "inverse_sqrt", "noam", "cosine", "linear", "wsd", "exponential")


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of every training run; a model's own extend them.

    Raises ConfigurationError for a value out of its range.

    >>> from dataclasses import dataclass
    >>> import graphgrad as gg
    >>> @dataclass(frozen=True)
    ... class Settings(gg.training.TrainingSettings):
    ...     width: int = 64
    >>> settings = Settings(steps=500, width=128)
    >>> settings.steps, settings.width, settings.optimiser
    (500, 128, 'adam')
    """

    seed: int = 0
    """What first weights, batches, dropout and the choice of held-out data follow from."""
    steps: int = 1000
    """The last step; a run that goes on with more of them trains further."""
    batch_size: int = 32
    """Examples in a batch."""
    accumulate: int = 1
    """Batches whose gradients are gathered for one step, which is that of one large batch; steps
    count updates."""
    local_steps: int = 1
    """Steps that each of several ranks does on its own before they join (`graphgrad guide ranks`);
    1: every step is one of all ranks."""
    outer_learning_rate: float = 0.7
    """local_steps: the share of the way that the ranks have gone, on average, that is kept."""
    outer_momentum: float = 0.9
    """local_steps: how much of its velocity the way of the rounds keeps (Nesterov)."""
    overfit_batches: int = 0
    """Train on the first so many batches again and again, which every sound model learns by heart;
    0: on all."""
    optimiser: str = "adam"
    """How a gradient moves a parameter: sgd, momentum, adam or adamw."""
    learning_rate: float = 1e-3
    """The largest η that the schedule reaches."""
    schedule: str = "linear"
    """How η goes on after the warm-up: constant; inverse_sqrt or noam (both 1/√step); cosine,
    linear or exponential down to `final_share` behind the last step; wsd (warm-up, stable, decay),
    which is constant and comes down at the end."""
    final_share: float = 0.0
    """cosine, linear, wsd, exponential: the share of `learning_rate` that they come down to."""
    decay_share: float = 0.2
    """wsd: the share of `steps` at the end in which η comes down."""
    warmup: int = 100
    """The steps in which η rises to `learning_rate`."""
    warmup_start: float = 0.0
    """The η from which it rises."""
    beta1: float = 0.9
    """adam, adamw: how much of the mean of gradients a step keeps."""
    beta2: float = 0.98
    """adam, adamw: how much of the mean of their squares a step keeps."""
    epsilon: float = 1e-8
    """adam, adamw: what is added to the root that a change is divided by."""
    momentum: float = 0.9
    """momentum: how much of its velocity a step keeps."""
    weight_decay: float = 0.0
    """adamw: the λ of w ← w - η λ w."""
    no_decay: str = ""
    """adamw: parameters without it, by names or patterns with * and ?, separated by commas: `*.b,
    *.bias, *.gain` are the biases and norms of the layers here."""
    frozen: str = ""
    """Parameters that stay as they are, by names or patterns with * and ?, separated by commas."""
    average_decay: float = 0.0
    """Keep a moving average of the parameters, of which a step keeps at most this share (0.999,
    say); 0: none."""
    use_average: bool = True
    """Measure and show the model with these averages, where there are any."""
    clip_norm: float = 1.0
    """The largest global norm of the gradient; 0 does not clip."""
    surgery: str = ""
    """Deltas to cut: `clip NODE LIMIT; scale HEAD<-TAIL FACTOR; stop NODE` (passes/surgery.py)."""
    dtype: str = "float32"
    """The type of all values: float32 or float64."""
    evaluate_every: int = 200
    """Look at held-out data after every so many steps."""
    checkpoint_every: int = 200
    """Save after every so many steps; the last step and an interrupt save too."""
    keep_last: int = 3
    """How many of the newest checkpoints stay on the disk."""
    keep_best: int = 1
    """How many of the best ones stay beside them, by `best_metric`; each is saved when it is found,
    whatever `checkpoint_every` says."""
    best_metric: str = "loss"
    """The figure on held-out data by which a checkpoint is the best. One whose name ends with loss,
    perplexity, error or per_byte is better when it is lower, any other when it is higher."""
    patience: int = 0
    """Stop after so many looks at held-out data without a better `best_metric`; 0: never."""
    tensorboard: bool = False
    """Write the figures of every step as event files for TensorBoard, too, into the run's folder
    `tensorboard`."""
    inspect_every: int = 0
    """Record figures of values and deltas at every step that this divides; 0 records none."""
    inspect: str = ""
    """Which nodes: names or patterns with * and ?, separated by commas; empty means all."""
    inspect_by: str = ""
    """An axis, such as head: values that have it are recorded at each index of it."""
    fuse: bool = True
    """Compile elementwise regions and row reductions into kernels: faster steps, after some seconds
    for compiling that a later run with the same shapes of layers does not need."""

    shard_states: bool = False
    """Several ranks: each keeps a share of what the optimiser keeps (moments, averages, accumulated
    gradients), and moves its share of the parameters; one rank keeps all."""
    sent_deltas: str = "fp32"
    """Several ranks: as what the deltas of parameters are sent, fp32 (as they are) or bf16, which
    is half of it; they are added up in float32."""
    backend: str = "numpy"
    """What runs the steps: numpy, or cupy for a CUDA device (`graphgrad guide gpu`); a run may go
    on with the other one."""
    precision: str = "fp32"
    """What matrix products read: fp32, tf32, bf16 or fp16 (`graphgrad guide precision`). Parameters
    stay float32, so a run may go on in another."""
    loss_scale: float = 65536.0
    """fp16: the scale of the loss to start with; it is halved where a gradient is not finite."""
    loss_scale_steps: int = 2000
    """fp16: after so many steps with finite gradients the scale is doubled."""

    def __post_init__(self) -> None:
        one_of("backend", self.backend, BACKENDS)
        one_of("optimiser", self.optimiser, OPTIMISERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("dtype", self.dtype, ("float32", "float64"))
        _check_precision(self)
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "evaluate_every",
            "checkpoint_every",
            "keep_last",
        ):
            at_least(name, getattr(self, name), 1)
        for name in ("batch_size", "accumulate"):
            below(name, getattr(self, name), 10**9)
        for name in (
            "warmup",
            "clip_norm",
            "weight_decay",
            "seed",
            "inspect_every",
            "keep_best",
            "overfit_batches",
            "patience",
            "warmup_start",
        ):
            at_least(name, getattr(self, name), 0)
        for name in ("steps", "keep_last", "keep_best", "patience"):
            below(name, getattr(self, name), 10**15)  # a checkpoint's name has 15 digits at most
        for name in (
            "beta1",
            "beta2",
            "momentum",
            "final_share",
            "average_decay",
            "outer_momentum",
        ):
            below_one(name, getattr(self, name))
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                raise out_of_range(name, "above 0", getattr(self, name), "1e-3")
        for check in (_check_schedule, _check_rounds, _check_rounded):
            check(self)
        below("seed", self.seed, 2**63)  # the state keeps it as int64
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise out_of_range(field.name, "a finite number", value, "1e-3")

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
            raise ConfigurationError(
                f"there is no setting {key!r}", where, suggestion(key, fields, "settings")
            )
        changed[key] = read_value(key, value, getattr(settings, key), where)
    return dataclasses.replace(settings, **changed)


def _check_schedule(settings: TrainingSettings) -> None:
    """ConfigurationError where the numbers of a schedule contradict each other."""
    if settings.warmup_start > settings.learning_rate:
        raise ConfigurationError(
            f"the warm-up starts at {settings.warmup_start} and rises to {settings.learning_rate}",
            fix="set warmup_start below learning_rate",
        )
    if not 0 < settings.decay_share <= 1:
        raise out_of_range("decay_share", "above 0 and at most 1", settings.decay_share, "0.2")
    if settings.schedule == "exponential" and not settings.final_share:
        raise ConfigurationError(
            "the schedule exponential falls to the share final_share, and no power falls to 0",
            fix="for example --set final_share=0.01",
        )


def _check_precision(settings: TrainingSettings) -> None:
    """ConfigurationError for a precision that the dtype has not, or an impossible loss scale."""
    one_of("precision", settings.precision, PRECISIONS)
    one_of("sent_deltas", settings.sent_deltas, ("fp32", "bf16"))
    if settings.sent_deltas != "fp32" and settings.dtype != "float32":
        raise ConfigurationError(
            f"deltas of {settings.dtype} are not sent as {settings.sent_deltas}",
            fix="--set dtype=float32, or --set sent_deltas=fp32",
        )
    if settings.precision != "fp32" and settings.dtype != "float32":
        raise ConfigurationError(
            f"the precision {settings.precision} is one of models in float32, and dtype is "
            f"{settings.dtype}",
            fix="--set dtype=float32, or --precision fp32",
        )
    for name in ("loss_scale", "loss_scale_steps"):
        at_least(name, getattr(settings, name), 1)
    if math.frexp(settings.loss_scale)[0] != 0.5:
        raise out_of_range("loss_scale", "a power of two", settings.loss_scale, "1024")


def _check_rounds(settings: TrainingSettings) -> None:
    """ConfigurationError where something would be due in the middle of a round of local steps."""
    length = settings.local_steps
    at_least("local_steps", length, 1)
    below_one("outer_momentum", settings.outer_momentum)
    if not settings.outer_learning_rate > 0:
        raise out_of_range("outer_learning_rate", "above 0", settings.outer_learning_rate, "0.7")
    for name in ("steps", "evaluate_every", "checkpoint_every"):
        value = getattr(settings, name)
        if value % length:
            raise ConfigurationError(
                f"{name} {value} is not a multiple of local_steps {length}: the ranks have the "
                "same state at the end of a round only",
                fix=f"--set {name}={(value // length + 1) * length}",
            )
    if length > 1 and (settings.shard_states or settings.sent_deltas != "fp32"):
        raise ConfigurationError(
            "ranks that train apart send no deltas, and each has a state of its own",
            fix="leave shard_states and sent_deltas out, or --set local_steps=1",
        )
    if length > 1 and settings.inspect_every:
        raise ConfigurationError(
            "figures of values are recorded of steps that are one on all ranks",
            fix="--set inspect_every=0, or --set local_steps=1",
        )


def _check_rounded(settings: TrainingSettings) -> None:
    """ConfigurationError for a rate that is another thing in the run's own precision: 0, 1 or
    infinite, so that the first step would divide by 0 or overflow."""
    for name in ("learning_rate", "epsilon", "weight_decay", "clip_norm"):
        value = getattr(settings, name)
        rounded = _rounded(value, settings.dtype)
        if math.isinf(rounded) != math.isinf(value) or (rounded == 0) != (value == 0):
            raise out_of_range(name, f"within the range of {settings.dtype}", value, "1e-3")
    for name in ("beta1", "beta2", "momentum", "average_decay"):
        value = getattr(settings, name)
        if _rounded(value, settings.dtype) == 1:
            raise out_of_range(name, f"below 1 in {settings.dtype}", value, "0.99")


def _rounded(value: float, dtype: str) -> float:
    with np.errstate(all="ignore"):
        return float(np.array(value).astype(dtype))


def meanings_of(settings: TrainingSettings) -> dict[str, str]:
    """What each field means: the text below it in the class that declares it last; "" for none.

    Read from the source of the classes, so it is empty where there is none.
    """
    found = {field.name: "" for field in dataclasses.fields(settings)}
    for declared in reversed(type(settings).__mro__):
        if issubclass(declared, TrainingSettings):
            found |= texts_below(declared)
    return found


def texts_below(declared: type) -> dict[str, str]:
    """The texts that stand right below the fields of one class, each on one line."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(declared))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    found = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, next_one in itertools.pairwise(statements):
        match field, next_one:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found
