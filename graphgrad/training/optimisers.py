"""Optimisers as graph: the next value of every parameter and moment is a node like any other.

A training step is therefore one program: forward, deltas, updates. The step count is a state, so
schedules, bias corrections and dropout are functions of it and a resumed run continues exactly.

    sgd        w ← w - η g                                  (the lecture's update)
    momentum   v ← μ v + g;  w ← w - η v
    adam       Kingma and Ba 2015, algorithm 1
    adamw      adam, with w ← w - η λ w beside it           (Loshchilov and Hutter 2019)

Updates that the model declares itself (running statistics, averages of weights, target networks)
are part of the step like the optimiser's: they read the values before it, and happen where loss and
gradient are finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from graphgrad.backprop import derive
from graphgrad.errors import DeclarationError
from graphgrad.graph import PARAMETER, ZEROS, Graph, Node, leaf_name, placed, state
from graphgrad.graph.collector import collector_rests
from graphgrad.graph.scope import scoped
from graphgrad.layers import Randomness
from graphgrad.ops import (
    add,
    cast,
    cos,
    divide,
    maximum,
    minimum,
    multiply,
    power,
    sqrt,
    subtract,
    sum,
)
from graphgrad.passes.surgery import parse_surgery, surgery
from graphgrad.training.settings import TrainingSettings

STEP, SEED = "run.step", "run.seed"
"""The states that count the steps done and hold the seed of dropout."""


OPTIMISER = "optimiser"
"""The scope of what a training step adds to a model."""
GRADIENT_NORM, LEARNING_RATE = "gradient_norm", "learning_rate"
"""The outputs that it adds."""


def randomness_of_run() -> Randomness:
    """Dropout driven by the run's seed and step count, which the state keeps."""
    with placed("", None):
        return Randomness(state(SEED, (), dtype="int64"), state(STEP, (), dtype="int64"))


def derived_graph(
    graph: Graph, settings: TrainingSettings, wrt: Iterable[Node] | None = None
) -> Graph:
    """The forward graph with the deltas of a run: derived, and cut as its settings say."""
    return surgery(derive(graph, "loss", wrt), parse_surgery(settings.surgery))


@collector_rests
def training_step(graph: Graph, settings: TrainingSettings) -> Graph:
    """The forward graph with deltas, gradient norm, learning rate and all updates added.

    Outputs: those of `graph`, `gradient_norm` (before clipping) and `learning_rate`. Updates: those
    of `graph`, and those of the optimiser.
    """
    _need_room(graph)
    derived = derived_graph(graph, settings, graph.parameters.values())
    step = graph.states.get(STEP)
    if step is None:
        with placed("", None):
            step = state(STEP, (), dtype="int64")
    dtype = graph.outputs["loss"].dtype
    gradients = {leaf: derived.delta(derived.name_of(leaf))
                 for leaf in graph.parameters.values()}  # fmt: skip
    updates = dict(graph.updates)
    with placed(scoped(OPTIMISER), graph.outputs["loss"].origin):
        count = add(step, 1, name="count")
        updates[step] = count
        number = cast(count, dtype, name="number")
        rate = learning_rate(number, settings)
        norm = global_norm(list(gradients.values()))
        factor = None
        if settings.clip_norm:
            # the epsilon is PyTorch's; it keeps a gradient of zeros from dividing 0 by 0
            factor = minimum(divide(settings.clip_norm, norm + 1e-6), 1.0, name="clip_factor")
        for leaf, gradient in gradients.items():
            with placed(scoped(leaf_name(leaf)), leaf.origin):
                clipped = gradient
                if factor is not None:
                    clipped = multiply(gradient, cast(factor, leaf.dtype), name="clipped")
                own = cast(rate, leaf.dtype), cast(number, leaf.dtype)
                updates.update(_update(leaf, clipped, *own, settings))
    outputs = {**derived.outputs, GRADIENT_NORM: norm, LEARNING_RATE: rate}
    names = {**derived.names, leaf_name(step): step}
    complete = Graph(outputs, updates, names, derived.nodes)
    return complete


def _need_room(graph: Graph) -> None:
    """DeclarationError where there is nothing to train, or where the model does itself, or calls by
    its name, what the step adds."""
    if not graph.parameters:
        raise DeclarationError("the model has no parameter to train",
                               str(graph.outputs["loss"].origin or ""),
                               "declare what is learned by parameter(name, shape)")  # fmt: skip
    for leaf in graph.updates:
        name, where = leaf_name(leaf), str(leaf.origin or "")
        if leaf.operation is PARAMETER:
            raise DeclarationError(
                f"the model gives the parameter {name!r} its next value, and so does the optimiser",
                where, f"declare it by state({name!r}, …): a state is not trained",
            )  # fmt: skip
        if name in (STEP, SEED):
            raise DeclarationError(f"the model gives {name!r} a next value, and so does the run",
                                   where, "count in a state of another name")  # fmt: skip
    for name, node in graph.states.items():
        if name.startswith(f"{OPTIMISER}."):
            raise DeclarationError(
                f"the model calls a state {name!r}, as the optimiser calls its own",
                str(node.origin or ""), f"declare it in another scope than {OPTIMISER!r}",
            )  # fmt: skip
    for name in (GRADIENT_NORM, LEARNING_RATE):
        if name in graph.outputs:
            raise DeclarationError(
                f"the model has an output {name!r}, as the training step has",
                str(graph.outputs[name].origin or ""), "call it something else",
            )  # fmt: skip


def global_norm(gradients: list[Node]) -> Node:
    """√ Σ g² over all elements of all gradients, in the widest of their dtypes."""
    dtype = max((gradient.dtype for gradient in gradients), key=lambda each: each.itemsize)
    total, *squares = [cast(sum(gradient * gradient), dtype) for gradient in gradients]
    for square in squares:
        total = total + square
    return sqrt(total, name="gradient_norm")


def learning_rate(number: Node, settings: TrainingSettings) -> Node:
    """The rate of step `number` (from 1). Every schedule but noam warms up linearly.

    noam: rises linearly for `warmup` steps to the learning rate, then falls as 1/√step
    (Vaswani et al. 2017, equation 3, up to the factor); linear and cosine fall to 0 at the step
    after `steps`, so that the last one still moves something.
    """
    warmup, peak = max(settings.warmup, 1), settings.learning_rate
    rising = minimum(number / float(warmup), 1.0)
    left = float(max(settings.steps + 1 - settings.warmup, 1))
    progress = minimum(maximum((number - float(settings.warmup)) / left, 0.0), 1.0)
    if settings.schedule == "noam":
        shape = minimum(rising, (number / float(warmup)) ** -0.5)
    elif settings.schedule == "cosine":
        shape = rising * (0.5 * (1.0 + cos(progress * math.pi)))
    elif settings.schedule == "linear":
        shape = rising * (1.0 - progress)
    else:
        shape = rising
    return multiply(shape, peak, name="learning_rate")


def _update(
    leaf: Node, gradient: Node, rate: Node, number: Node, settings: TrainingSettings
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
    if settings.optimiser == "adamw" and settings.weight_decay:
        start = leaf * (1.0 - rate * settings.weight_decay)
    return {first: mean, second: square,
            leaf: subtract(start, step_size * change, name="next")}  # fmt: skip


def _shape(leaf: Node) -> tuple[int, ...]:
    return tuple(size for size in leaf.shape if isinstance(size, int))
