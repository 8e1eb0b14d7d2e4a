"""Optimisers by name: `gg.adam(graph, 1e-3)` is the graph with the updates that train it.

They are called what PyTorch and Optax call them, and unlike there nothing is an object: what Adam
remembers are states of the graph, so a step is one program and `initial_state` knows all of it.

    step = gg.adam(graph, 1e-3)                        # derives, adds the updates
    train = gg.compile(step, guards=["loss", "gradient_norm"])
    state = gg.initial_state(step, seed=0)

Every optimiser takes, beside its own arguments:

- `loss`: the output (or node) whose deltas it follows. Deltas that the graph has of it already are
  used, so what was cut by `surgery` stays cut.
- `parameters`: those that it moves, and `frozen`: those among them that it does not, as names or
  patterns with * and ?. Applied again, with other parameters and perhaps another loss, a graph has
  several optimisers; all of them read the values before the step.

      step = gg.adam(graph, 2e-4, loss="generator_loss", parameters="generator.*")
      step = gg.adam(step, 1e-4, loss="critic_loss", parameters="critic.*", name="critic")

- `clip_norm`: the largest global norm of its gradients; 0 does not clip.
- `schedule` of the learning rate: constant, noam, or linear and cosine, which come down to 0 behind
  the last of `steps`; `warmup` steps in which it rises.
- `name`: the scope of the states and outputs that it adds.

The default rates are PyTorch's and Keras's. `adamw` spares biases and gains from decay where it is
told to: `no_decay=("*.b", "*.bias", "*.gain")` are those of the layers here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.graph import Graph, Node
from graphgrad.graph.front import front
from graphgrad.graph.scope import current_origin
from graphgrad.graph.verify import need_graph
from graphgrad.training.optimisers import Patterns, optimised
from graphgrad.training.settings import TrainingSettings


@front
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
    name: str = "",
) -> Graph:
    """The graph with w ← w - η g for each parameter.

    Further arguments are those of every optimiser; see this module.
    """
    given = _settings(
        optimiser="sgd",
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@front
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
    name: str = "",
) -> Graph:
    """The graph with v ← μ v + g; w ← w - η v for each parameter.

    Further arguments are those of every optimiser; see this module.
    """
    given = _settings(
        optimiser="momentum",
        learning_rate=learning_rate,
        momentum=momentum,
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        steps=steps,
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@front
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
    name: str = "",
) -> Graph:
    """The graph with the updates of Adam (Kingma and Ba 2015, algorithm 1).

    Further arguments are those of every optimiser; see this module.
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
    )
    return _optimised(graph, given, loss, parameters, frozen, "", name)


@front
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
    name: str = "",
) -> Graph:
    """Adam with w ← w - η λ w beside it, λ the `weight_decay` (Loshchilov and Hutter 2019).

    Parameters that match `no_decay` have none.

    Further arguments are those of every optimiser; see this module.
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
    )
    return _optimised(graph, given, loss, parameters, frozen, no_decay, name)


def _settings(**values: Any) -> TrainingSettings:
    """The settings of a run that mean the same. Raises DeclarationError for one that makes no
    sense."""
    if values["steps"] is None:
        if values["schedule"] in ("linear", "cosine"):
            raise ValueError(f"the schedule {values['schedule']} ends at a step; fix: give steps=…")
        del values["steps"]
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
