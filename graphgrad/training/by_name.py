"""Optimisers by name: `gg.adam(graph, 1e-3)` is the graph with the updates that train it.

The names are those of PyTorch and Optax; but an optimiser here is not an object. What Adam keeps
from one step to the next are states of the graph, so a step is one program and `initial_state`
makes all of it.

    step = gg.adam(graph, 1e-3)                        # derives, adds the updates
    train = gg.compile(step, guards=["loss", "gradient_norm"])
    state = gg.initial_state(step, seed=0)

Arguments of every optimiser, beside its own:

- `loss`: the output (or node) whose deltas it follows. Deltas that the graph has of it already are
  used, so what was cut by `surgery` stays cut.
- `parameters`: those that it updates, and `frozen`: those among them that it does not, as names or
  patterns with * and ?. Applied again, with other parameters and perhaps another loss, it gives a
  graph with several optimisers; all of them read the values before the step.

      step = gg.adam(graph, 2e-4, loss="generator_loss", parameters="generator.*")
      step = gg.adam(step, 1e-4, loss="critic_loss", parameters="critic.*", name="critic")

- `clip_norm`: the largest global norm of its gradients; 0 does not clip.
- `schedule` of the learning rate: constant, inverse_sqrt (noam), or linear, cosine and wsd, which
  fall to 0 at the step after the last of `steps` (`schedules.py`); `warmup`: the number of steps in
  which it rises.
- `loss_scale`: the first scale of the loss, for a graph that is compiled with `precision="fp16"`
  (training/loss_scale.py); 0 is none.
- `name`: the scope of the states and outputs that it adds.

The default rates are those of PyTorch and Keras. `adamw` leaves biases and gains without decay if
asked to: `no_decay=("*.b", "*.bias", "*.gain")` are those of the layers here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.graph import Graph, Node
from graphgrad.graph.decorators import declares
from graphgrad.graph.scope import current_origin
from graphgrad.graph.verify import need_graph
from graphgrad.training.optimisers import Patterns, optimised
from graphgrad.training.settings import TrainingSettings


@declares
def sgd(
    graph: Graph,
    learning_rate: float = 0.01,
    *,
    loss: str | Node = "loss",
    parameters: Patterns = "*",
    frozen: Patterns = "",
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    steps: int | None = None,
    loss_scale: float = 0.0,
    name: str = "",
) -> Graph:
    """Gradient descent: adds the update w ← w - η g for each parameter.

    Returns the graph with deltas, updates and the outputs `gradient_norm` and `learning_rate`. The
    further arguments are those of every optimiser (`graphgrad/training/by_name.py`). Raises
    DeclarationError for a value that makes no sense, UnknownNameError for a loss, and
    ConfigurationError for a pattern, that names nothing.

    >>> import graphgrad as gg
    >>> w = gg.parameter("w", (), gg.full(3.0))
    >>> step = gg.sgd(gg.Graph({"loss": w * w}), 0.25)
    >>> train, state = gg.compile(step), gg.initial_state(step)
    >>> for _ in range(3):
    ...     print(train(state)["loss"], state["w"])
    9.0 1.5
    2.25 0.75
    0.5625 0.375
    """
    given = _settings(
        optimiser="sgd",
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
        loss_scale=loss_scale,
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@declares
def momentum(
    graph: Graph,
    learning_rate: float = 0.01,
    *,
    loss: str | Node = "loss",
    parameters: Patterns = "*",
    frozen: Patterns = "",
    momentum: float = 0.9,
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    steps: int | None = None,
    loss_scale: float = 0.0,
    name: str = "",
) -> Graph:
    """Gradient descent with momentum: adds v ← μ v + g; w ← w - η v for each parameter.

    The velocities v are states of the graph and start at 0; μ is the argument `momentum` (Polyak
    1964). The further arguments, the result and the errors are those of `sgd`.

    >>> import graphgrad as gg
    >>> w = gg.parameter("w", (), gg.full(3.0))
    >>> step = gg.momentum(gg.Graph({"loss": w * w}), 0.125, momentum=0.5)
    >>> list(step.states)
    ['w', 'run.step', 'optimiser.w.velocity']
    >>> train, state = gg.compile(step), gg.initial_state(step)
    >>> [float(train(state)["loss"]) for _ in range(3)]
    [9.0, 5.0625, 1.72265625]
    """
    given = _settings(
        optimiser="momentum",
        learning_rate=learning_rate,
        momentum=momentum,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
        loss_scale=loss_scale,
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@declares
def adam(
    graph: Graph,
    learning_rate: float = 1e-3,
    *,
    loss: str | Node = "loss",
    parameters: Patterns = "*",
    frozen: Patterns = "",
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    steps: int | None = None,
    loss_scale: float = 0.0,
    name: str = "",
) -> Graph:
    """Adam: adds the updates of Kingma and Ba 2015, algorithm 1.

    The moments m and v are states of the graph, shaped like their parameters. The further
    arguments, the result and the errors are those of `sgd`.

    >>> import graphgrad as gg
    >>> x, label = gg.input("x", ("batch", 2)), gg.input("label", ("batch",), "int32")
    >>> logits = gg.layers.dense(x, 3)
    >>> loss = gg.mean(gg.cross_entropy(logits, label), name="loss")
    >>> step = gg.adam(gg.Graph(loss), 1e-3)
    >>> sorted(step.outputs)
    ['gradient_norm', 'learning_rate', 'loss']
    >>> [name for name in step.states if name.endswith("moment")][:2]
    ['optimiser.dense.w.first_moment', 'optimiser.dense.w.second_moment']
    """
    given = _settings(
        optimiser="adam",
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
        loss_scale=loss_scale,
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@declares
def adamw(
    graph: Graph,
    learning_rate: float = 1e-3,
    *,
    loss: str | Node = "loss",
    parameters: Patterns = "*",
    frozen: Patterns = "",
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    no_decay: Patterns = "",
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    steps: int | None = None,
    loss_scale: float = 0.0,
    name: str = "",
) -> Graph:
    """AdamW: Adam with w ← w - η λ w beside it, λ the `weight_decay` (Loshchilov and Hutter 2019).

    Parameters that match `no_decay`, names or patterns with * and ?, do not decay. The further
    arguments, the result and the errors are those of `sgd`.

    >>> import graphgrad as gg
    >>> loss = gg.mean(gg.layers.dense(gg.input("x", ("batch", 2)), 3) ** 2.0, name="loss")
    >>> step = gg.adamw(gg.Graph(loss), 1e-3, weight_decay=0.1, no_decay="*.b")
    >>> sorted(step.outputs)
    ['gradient_norm', 'learning_rate', 'loss']
    """
    given = _settings(
        optimiser="adamw",
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
        loss_scale=loss_scale,
    )
    return _optimised(graph, given, loss, parameters, frozen, no_decay, name)


def _settings(**values: Any) -> TrainingSettings:
    """The settings of a run with the same meaning.

    Raises DeclarationError for a value that makes no sense.
    """
    if values["steps"] is None:
        if values["schedule"] in ("linear", "cosine", "wsd"):
            raise ValueError(f"the schedule {values['schedule']} ends at a step; fix: give steps=…")
        del values["steps"]
    if values["loss_scale"]:
        values["precision"] = "fp16"
    else:
        del values["loss_scale"]
    try:
        return TrainingSettings(**values)
    except ConfigurationError as problem:
        fix = "" if "--set" in problem.fix else problem.fix
        raise DeclarationError(problem.problem, current_origin(), fix) from None
    except TypeError:
        odd = {
            key: value
            for key, value in values.items()
            if not isinstance(value, type(getattr(TrainingSettings, key)) | int)
        }
        raise ValueError(f"what is given is not a number: {odd}") from None


def _optimised(
    graph: Graph,
    settings: TrainingSettings,
    loss: str | Node,
    parameters: Patterns,
    frozen: Patterns,
    no_decay: Patterns,
    name: str,
) -> Graph:
    need_graph(graph, settings.optimiser)
    settings = dataclasses.replace(settings, frozen=_text(frozen), no_decay=_text(no_decay))
    return optimised(graph, settings, loss, parameters, name)


def _text(patterns: Patterns) -> str:
    return patterns if isinstance(patterns, str) else ",".join(patterns)
