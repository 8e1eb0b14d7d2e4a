"""Composites: softmax, layer normalisation, cross-entropy, losses.

Softmax, log-softmax, standardisation, cross-entropy and the squared error are operations of their
own although they could be written with smaller ones: so their deltas stay short enough to read, and
no rewriting is needed to make them stable. The rest is written with operations, so that each step
has a name.
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.front import operation, with_example
from graphgrad.graph.node import Node, Operand, Operation, extent
from graphgrad.graph.samples import integer, real, sample
from graphgrad.graph.types import TensorType, normal_axis, real_number, whole_number
from graphgrad.ops.arithmetic import cast, divide, not_equal, where
from graphgrad.ops.functions import exp, rsqrt
from graphgrad.ops.indexing import check_indices, checked, is_at
from graphgrad.ops.movement import expand_dims
from graphgrad.ops.reduction import mean, sum, variance
from graphgrad.ops.rules import infer_float, need_floats, need_integers

# ---------------------------------------------------------------- softmax


def _infer_softmax(x: TensorType, axis: int) -> TensorType:
    need_floats(x)
    normal_axis(axis, len(x.shape))
    if x.shape[axis] == 0:
        raise ValueError("softmax over an axis of size 0")
    return x


def _row_scratch(x: TensorType, axis: int) -> tuple[TensorType, ...]:
    row = TensorType((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    return (row,)


def _shift(xp: Any, out: Any, x: Any, axis: int, row: Any) -> None:
    """out = x - max x; a row that is all -∞ stays -∞ instead of NaN."""
    xp.amax(x, axis=axis, keepdims=True, out=row)
    xp.maximum(row, xp.finfo(row.dtype).min, out=row)
    xp.subtract(x, row, out=out)


def _compute_softmax(xp: Any, out: Any, x: Any, axis: int, scratch: Any) -> None:
    (row,) = scratch
    _shift(xp, out, x, axis, row)
    xp.exp(out, out=out)
    xp.sum(out, axis=axis, keepdims=True, out=row)
    xp.maximum(row, xp.finfo(row.dtype).tiny, out=row)  # all masked: 0 / tiny = 0
    xp.divide(out, row, out=out)


def _delta_softmax(delta: Node, y: Node, x: Node) -> tuple[Node]:
    return (y * (delta - sum(delta * y, y.attributes["axis"], keepdims=True)),)


@operation(
    infer=_infer_softmax,
    formula="eˣ / Σ eˣ",
    compute=_compute_softmax,
    arity=1,
    delta=_delta_softmax,
    delta_formula="y · (δ - Σ δ · y)",
    scratch=_row_scratch,
    in_place=True,
    samples=(sample(real(3, 4), axis=1), sample(real(2, 3, 4), axis=0)),
    example=("gg.softmax(x)", "float32[3, 4]"),
)
def softmax(x: Node, axis: int = -1, name: str | None = None) -> Node:
    """eˣ / Σ eˣ along `axis`. -∞ gives exactly 0; a row of nothing but -∞ gives zeros."""
    return softmax.node(x, axis=normal_axis(axis, x.rank), name=name)


def _log_scratch(x: TensorType, axis: int) -> tuple[TensorType, ...]:
    return (*_row_scratch(x, axis), x)


def _compute_log_softmax(xp: Any, out: Any, x: Any, axis: int, scratch: Any) -> None:
    row, exponentials = scratch
    _shift(xp, out, x, axis, row)
    xp.exp(out, out=exponentials)
    xp.sum(exponentials, axis=axis, keepdims=True, out=row)
    xp.maximum(row, xp.finfo(row.dtype).tiny, out=row)  # all masked: -∞ and no NaN
    xp.log(row, out=row)
    # (x - max) - log Σ and not x - (max + log Σ): a large max would swallow the logarithm
    xp.subtract(out, row, out=out)


def _delta_log_softmax(delta: Node, y: Node, x: Node) -> tuple[Node]:
    return (delta - exp(y) * sum(delta, y.attributes["axis"], keepdims=True),)


@operation(
    infer=_infer_softmax,
    formula="x - log Σ eˣ",
    compute=_compute_log_softmax,
    arity=1,
    delta=_delta_log_softmax,
    delta_formula="δ - eʸ · Σ δ",
    scratch=_log_scratch,
    in_place=True,
    samples=(sample(real(3, 4), axis=1), sample(real(2, 3, 4), axis=0)),
    example=("gg.log_softmax(x, axis=0)", "float32[3, 4]"),
)
def log_softmax(x: Node, axis: int = -1, name: str | None = None) -> Node:
    """log of softmax along `axis`, computed without taking the log of a small number."""
    return log_softmax.node(x, axis=normal_axis(axis, x.rank), name=name)


# ---------------------------------------------------------------- layer normalisation


def _infer_standardise(x: TensorType, epsilon: float) -> TensorType:
    need_floats(x)
    if not x.shape or x.shape[-1] == 0:
        raise ValueError("needs a last axis with at least one element")
    return x


def _standardise_scratch(x: TensorType, epsilon: float) -> tuple[TensorType, ...]:
    return (TensorType((*x.shape[:-1], 1), x.dtype), x)


def _compute_standardise(xp: Any, out: Any, x: Any, epsilon: float, scratch: Any) -> None:
    row, square = scratch
    size = x.shape[-1]
    xp.sum(x, axis=-1, keepdims=True, out=row)
    xp.divide(row, size, out=row)
    xp.subtract(x, row, out=out)
    # the mean was rounded; what it leaves has a mean of its own, which makes constant rows 0
    xp.sum(out, axis=-1, keepdims=True, out=row)
    xp.divide(row, size, out=row)
    xp.subtract(out, row, out=out)
    xp.multiply(out, out, out=square)
    xp.sum(square, axis=-1, keepdims=True, out=row)
    xp.divide(row, size, out=row)
    xp.add(row, epsilon, out=row)
    xp.sqrt(row, out=row)
    xp.divide(out, row, out=out)


def _delta_standardise(delta: Node, y: Node, x: Node) -> tuple[Node]:
    inverse = rsqrt(variance(x, -1, keepdims=True) + y.attributes["epsilon"])
    centred = delta - mean(delta, -1, keepdims=True)
    return ((centred - y * mean(delta * y, -1, keepdims=True)) * inverse,)


@operation(
    infer=_infer_standardise,
    formula="(x - μ) / √(σ² + ε)",
    compute=_compute_standardise,
    arity=1,
    delta=_delta_standardise,
    delta_formula="(δ - mean δ - y · mean(δ · y)) / √(σ² + ε)",
    scratch=_standardise_scratch,
    in_place=True,
    samples=(sample(real(3, 4), epsilon=1e-5), sample(real(2, 3, 5), epsilon=0.1)),
    example=("gg.standardise(x)", "float32[3, 4]"),
)
def standardise(x: Node, epsilon: float = 1e-5, name: str | None = None) -> Node:
    """x with mean 0 and variance 1 along the last axis (σ² is the mean of squares, over n)."""
    return standardise.node(x, epsilon=real_number(epsilon, "epsilon"), name=name)


# ---------------------------------------------------------------- cross-entropy


def _infer_cross_entropy(
    logits: TensorType, targets: TensorType, smoothing: float, ignored: int
) -> TensorType:
    need_floats(logits)
    need_integers(targets)
    if logits.shape[:-1] != targets.shape or not logits.shape or logits.shape[-1] == 0:
        raise ValueError("there must be one row of logits for every target")
    if not 0 <= smoothing < 1:
        raise ValueError(f"label smoothing must be in [0, 1), not {smoothing}")
    return TensorType(targets.shape, logits.dtype)


def _cross_entropy_scratch(
    logits: TensorType, targets: TensorType, smoothing: float, ignored: int
) -> tuple[TensorType, ...]:
    row = TensorType((*targets.shape, 1), logits.dtype)
    return row, logits, TensorType(targets.shape, logits.dtype)


def _compute_cross_entropy(
    xp: Any, out: Any, logits: Any, targets: Any, smoothing: float, ignored: int, scratch: Any
) -> None:
    row, shifted, part = scratch
    counted = targets != ignored
    wanted = xp.where(counted, targets, 0)
    check_indices(wanted, logits.shape[-1], "cross_entropy")
    _shift(xp, shifted, logits, -1, row)
    part[...] = xp.take_along_axis(shifted, wanted[..., None], -1)[..., 0]
    xp.multiply(part, 1.0 - smoothing, out=part)
    if smoothing:
        xp.sum(shifted, axis=-1, out=out)
        xp.multiply(out, smoothing / logits.shape[-1], out=out)
        xp.add(part, out, out=part)
    xp.exp(shifted, out=shifted)
    xp.sum(shifted, axis=-1, out=out)
    xp.maximum(out, xp.finfo(out.dtype).tiny, out=out)  # as in log_softmax
    xp.log(out, out=out)
    xp.subtract(out, part, out=out)
    xp.copyto(out, 0, where=~counted)


def _delta_cross_entropy(delta: Node, y: Node, logits: Node, targets: Node) -> tuple[Node, None]:
    smoothing, ignored = y.attributes["smoothing"], y.attributes["ignored"]
    counted = not_equal(targets, ignored)
    weight = expand_dims(where(counted, delta, 0.0), y.rank)
    size = logits.shape[-1]
    # the target distribution: 1 - ε on the target and ε spread evenly over all tokens
    goal = cast(is_at(checked(targets, size, "cross_entropy", ignored), size), logits.dtype)
    if smoothing:
        goal = goal * (1.0 - smoothing) + smoothing / extent(size, logits.dtype)
    return (softmax(logits) - goal) * weight, None


@operation(
    infer=_infer_cross_entropy,
    formula="-Σ q · log softmax(x₁), q the smoothed x₂",
    compute=_compute_cross_entropy,
    arity=2,
    delta=_delta_cross_entropy,
    delta_formula="δ₁ = δ · (softmax(x₁) - q), 0 where x₂ is ignored",
    scratch=_cross_entropy_scratch,
    samples=(
        sample(real(3, 4), integer(3, below=4), smoothing=0.0, ignored=-1),
        sample(real(2, 3, 4), integer(2, 3, below=4), smoothing=0.1, ignored=0),
    ),
    example=("gg.cross_entropy(x, gg.constant([0, 3, 1]))", "float32[3]"),
)
def cross_entropy(
    logits: Node,
    targets: Node,
    smoothing: float = 0.0,
    ignored: int = -1,
    name: str | None = None,
) -> Node:
    """The cross-entropy of each target, from logits [..., vocabulary] and targets [...].

    With label smoothing ε the target distribution is (1 - ε) on the target plus ε / vocabulary on
    every token (Szegedy et al. 2016, section 7). Where the target is `ignored` the loss and its
    delta are exactly 0. The result keeps one loss a target: sum or average it as you need. The
    vocabulary may be a named dimension, as where each example of a batch is told from all others.
    """
    return cross_entropy.node(
        logits,
        targets,
        smoothing=real_number(smoothing, "label smoothing"),
        ignored=whole_number(ignored, "the ignored target"),
        name=name,
    )


@with_example("gg.mean_over_targets(gg.cross_entropy(x, x.argmax()), x.argmax())", "float32[]")
def mean_over_targets(
    losses: Node, targets: Node, ignored: int = -1, name: str | None = None
) -> Node:
    """The mean of the losses over the targets that are not ignored."""
    count = sum(cast(not_equal(targets, ignored), losses.dtype), name="tokens")
    return divide(sum(losses, name="total"), count, name=name)


# ---------------------------------------------------------------- squared error


def _infer_half_squared_error(y: TensorType, truth: TensorType) -> TensorType:
    return TensorType((), infer_float(y, truth).dtype)


def _squared_error_scratch(y: TensorType, truth: TensorType) -> tuple[TensorType, ...]:
    return (infer_float(y, truth),)


def _compute_half_squared_error(xp: Any, out: Any, y: Any, truth: Any, scratch: Any) -> None:
    (square,) = scratch
    xp.subtract(y, truth, out=square)
    xp.multiply(square, square, out=square)
    xp.sum(square, out=out)
    xp.multiply(out, 0.5, out=out)


def _delta_half_squared_error(delta: Node, y: Node, x: Node, truth: Node) -> tuple[Node, Node]:
    sent = delta * (x - truth)
    return sent, -sent


@operation(
    infer=_infer_half_squared_error,
    formula="½ Σ (x₁ - x₂)²",
    compute=_compute_half_squared_error,
    arity=2,
    delta=_delta_half_squared_error,
    delta_formula="δ₁ = δ · (x₁ - x₂), δ₂ = -δ · (x₁ - x₂)",
    scratch=_squared_error_scratch,
    samples=(
        sample(real(3, 4), real(3, 4)),
        sample(real(2, 3, 4), real(3, 1)),
        sample(real(), real(5)),
        sample(real(3, 0), real(3, 0)),
    ),
    example=("gg.half_squared_error(x, 1.0)", "float32[]"),
)
def half_squared_error(y: Operand, truth: Operand, name: str | None = None) -> Node:
    """½ Σ (x₁ - x₂)² over all elements: the lecture's loss, whose delta is x₁ - x₂."""
    return half_squared_error.node(y, truth, name=name)


OPERATIONS: tuple[Operation, ...] = (
    softmax,
    log_softmax,
    standardise,
    cross_entropy,
    half_squared_error,
)
