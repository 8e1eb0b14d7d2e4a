"""The rules by which a gradient moves a parameter.

sgd        w ← w - η g                                  (the lecture's update)
momentum   v ← μ v + g;  w ← w - η v
adam       Kingma and Ba 2015, algorithm 1
adamw      adam, with w ← w - η λ w beside it           (Loshchilov and Hutter 2019)
"""

from __future__ import annotations

from graphgrad.graph import ZEROS, Node, state
from graphgrad.ops import (
    add,
    cast,
    divide,
    power,
    sqrt,
    subtract,
    sum,
)
from graphgrad.training.settings import TrainingSettings


def global_norm(gradients: list[Node]) -> Node:
    """√ Σ g² over all elements of all gradients, in the widest of their dtypes."""
    dtype = max((gradient.dtype for gradient in gradients), key=lambda each: each.itemsize)
    total, *squares = [cast(sum(gradient * gradient), dtype) for gradient in gradients]
    for square in squares:
        total = total + square
    return sqrt(total, name="gradient_norm")


def next_values(
    leaf: Node,
    gradient: Node,
    rate: Node,
    number: Node,
    settings: TrainingSettings,
    decays: bool,
) -> dict[Node, Node]:
    """The next value of a parameter and of the moments that its optimiser keeps."""
    if settings.optimiser == "sgd":
        return {leaf: subtract(leaf, rate * gradient, name="next")}
    if settings.optimiser == "momentum":
        velocity = state("velocity", _shape(leaf), ZEROS, leaf.dtype)
        moved = add(velocity * settings.momentum, gradient, name="next_velocity")
        return {velocity: moved, leaf: subtract(leaf, rate * moved, name="next")}
    first = state("first_moment", _shape(leaf), ZEROS, leaf.dtype)
    second = state("second_moment", _shape(leaf), ZEROS, leaf.dtype)
    beta1, beta2 = settings.beta1, settings.beta2
    mean = add(first * beta1, gradient * (1.0 - beta1), name="next_first_moment")
    square = add(second * beta2, (gradient * gradient) * (1.0 - beta2), name="next_second_moment")
    # the corrections are scalars: m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε), without a pass over the moments
    step_size = rate / (1.0 - power(beta1, number))
    root = sqrt(1.0 - power(beta2, number))
    change = divide(mean, divide(sqrt(square), root) + settings.epsilon)
    start = leaf
    if settings.optimiser == "adamw" and settings.weight_decay and decays:
        start = leaf * (1.0 - rate * settings.weight_decay)
    return {first: mean, second: square, leaf: subtract(start, step_size * change, name="next")}


def _shape(leaf: Node) -> tuple[int, ...]:
    return tuple(size for size in leaf.shape if isinstance(size, int))
