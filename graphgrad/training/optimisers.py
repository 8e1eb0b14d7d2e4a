"""Adds a training step to a graph: derives, cuts, clips and updates, all as nodes.

The next value of every parameter and moment is a node like any other, so a training step is one
program: forward, deltas, updates. The step count is a state; schedules, bias corrections and
dropout are functions of it, and a resumed run continues exactly.

Updates that the model declares itself (running statistics, averages of weights, target networks)
are part of the step as the optimiser's are: they read the values before it, and are applied only
where loss and gradient are finite.

A graph may have several optimisers, each for a part of the parameters and with a loss of its own:
`optimised` is applied once for each. All read the values before the step, and count the same steps.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from graphgrad.backprop import deltas_of, derive, has_deltas, is_derived_from
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.garbage import gc_paused
from graphgrad.graph import DELTA, Graph, Node, declared_at, leaf_name, parameter, state
from graphgrad.graph.scope import scoped
from graphgrad.layers import Randomness
from graphgrad.ops import add, cast, divide, minimum, multiply, sqrt
from graphgrad.passes.surgery import parse_surgery
from graphgrad.text import suggestion
from graphgrad.training.accumulation import PART, counting_batches, gathered, part_of
from graphgrad.training.loss_scale import LossScale, loss_scale, settled
from graphgrad.training.moving_average import AVERAGE, averages
from graphgrad.training.schedules import learning_rate
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.updates import global_norm, next_values

Patterns = str | Iterable[str]
"""Names of parameters, or patterns with * and ?; in one text they are separated by commas."""

STEP, SEED = "run.step", "run.seed"
"""The states that count the steps done and hold the seed of dropout."""


OPTIMISER = "optimiser"
"""The scope of what a training step adds to a model."""
GRADIENT_NORM, LEARNING_RATE = "gradient_norm", "learning_rate"
"""The outputs that it adds."""


def randomness_of_run() -> Randomness:
    """Dropout driven by the seed and step count of a run, which its state keeps.

    Returns the `Randomness` for `gg.layers.dropout`; the states are `run.seed` and `run.step`.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 4))
    >>> y = gg.layers.dropout(x, 0.5, gg.training.randomness_of_run())
    >>> list(gg.Graph({"y": y}).states)
    ['run.seed', 'run.step']
    """
    with declared_at("", None):
        return Randomness(state(SEED, (), dtype="int64"), state(STEP, (), dtype="int64"))


def derived_graph(
    graph: Graph, settings: TrainingSettings, wrt: Iterable[Node] | None = None
) -> Graph:
    """The forward graph with the deltas of a run: derived, and cut as its settings say."""
    if settings.accumulate > 1 and (step := graph.states.get(STEP)) is not None:
        graph = counting_batches(graph, step, part_of(graph), settings.accumulate)
    return derive(graph, "loss", wrt, cuts=parse_surgery(settings.surgery))


def training_step(graph: Graph, settings: TrainingSettings) -> Graph:
    """The forward graph with deltas, gradient norm, learning rate and all updates added.

    Outputs: those of `graph`, `gradient_norm` (before clipping) and `learning_rate`. Updates: those
    of `graph`, and those of the optimiser that the settings name. A model with several optimisers
    has a function of its own in place of this one (`Task.step`). Raises DeclarationError for a
    graph without parameters, or with names or updates that the step adds itself.

    >>> import graphgrad as gg
    >>> loss = gg.mean(gg.layers.dense(gg.input("x", ("batch", 2)), 3) ** 2.0, name="loss")
    >>> settings = gg.training.TrainingSettings(optimiser="momentum", steps=100)
    >>> step = gg.training.training_step(gg.Graph(loss), settings)
    >>> sorted(step.outputs)
    ['gradient_norm', 'learning_rate', 'loss']
    """
    return optimised(graph, settings)


def has_optimiser(graph: Graph) -> bool:
    """Whether the graph has an optimiser already: one that counts the steps as `optimised` does."""
    step = graph.states.get(STEP)
    if step is None or step not in graph.updates:
        return False
    counts = add(step, 1) in (graph.updates[step], *graph.updates[step].heads)
    return counts and {GRADIENT_NORM, LEARNING_RATE} <= graph.outputs.keys()


@gc_paused
def optimised(
    graph: Graph,
    settings: TrainingSettings,
    loss: str | Node = "loss",
    parameters: Patterns = "*",
    name: str = "",
) -> Graph:
    """The graph with the updates that change some of its parameters down the gradient of one loss.

    `loss` is the output or node to reduce. `parameters` are names or patterns with * and ?; those
    that match `settings.frozen` do not change. Deltas of this loss that the graph has already are
    used as they are, cut or not. `name` is the scope of the added nodes ("optimiser", and numbered
    from the second one on). The outputs `gradient_norm` and `learning_rate` are the norm of the
    gradients of all optimisers together and the rate of the first; those of each further one are
    under its name. Raises what `training_step` raises, and ConfigurationError for a pattern that
    matches no parameter.

    >>> import graphgrad as gg
    >>> a, b = gg.parameter("a", (), gg.full(1.0)), gg.parameter("b", (), gg.full(1.0))
    >>> graph = gg.Graph({"first": a * a, "second": b * b})
    >>> settings = gg.training.TrainingSettings(optimiser="sgd")
    >>> step = gg.training.optimised(graph, settings, "first", parameters="a")
    >>> step = gg.training.optimised(step, settings, "second", parameters="b", name="other")
    >>> sorted(step.outputs.keys() - graph.outputs.keys())
    ['gradient_norm', 'learning_rate', 'other.gradient_norm', 'other.learning_rate']
    """
    leaves = chosen(graph, parameters, settings.frozen)
    again = has_optimiser(graph)
    name = name or _free_scope(graph, again)
    _need_room(graph, leaves, name, again)
    step, part, batches = _step_count(graph), part_of(graph), settings.accumulate
    if isinstance(loss, Node):
        loss = graph.name_of(graph[loss])  # the node may become another one
    graph = counting_batches(graph, step, part, batches)
    with declared_at(scoped(name), graph[loss].origin):
        scaling = loss_scale(settings)
    derived, label = _with_deltas(graph, settings, loss, scaling)
    target = derived[loss]
    found = dict(zip(leaves, deltas_of(derived, leaves, label), strict=True))
    updates: dict[Node, Node] = {}
    with declared_at(scoped(name), target.origin):
        if scaling is not None:
            found = scaling.unscaled(found)
        together = gathered(derived, target, found, part, batches, first=not again)
        gradients = together.gradients
        count = add(step, 1, name="count")
        number = cast(count, target.dtype, name="number")
        rate = learning_rate(number, settings)
        norm = global_norm(list(gradients.values()))
        if scaling is not None:
            number = scaling.update_number(target)
        without_decay = chosen(graph, settings.no_decay) if settings.no_decay else []
        for leaf, gradient in _clipped(gradients, norm, settings.clip_norm).items():
            with declared_at(scoped(leaf_name(leaf)), leaf.origin):
                own = cast(rate, leaf.dtype), cast(number, leaf.dtype)
                decays = leaf not in without_decay
                updates.update(next_values(leaf, gradient, *own, settings, decays))
        updates |= averages(gradients, updates, number, settings)
        done = settled(scaling, norm, updates, graph.updates, {step: count})
        updates = {**done.others, **together.at_the_end(done.updates), **together.updates}
        added = {**done.outputs, LEARNING_RATE: rate}
        if again:
            added = _added_again(graph, added, name)
    return derived.with_outputs({**derived.outputs, **added, **together.outputs}, updates)


def _added_again(graph: Graph, added: Mapping[str, Node], name: str) -> dict[str, Node]:
    """The outputs of a further optimiser, under its name, and the norm of all gradients."""
    norm = added[GRADIENT_NORM]
    before = cast(graph.outputs[GRADIENT_NORM], norm.dtype)
    together = sqrt(before * before + norm * norm, name="gradient_norm_of_all")
    return {**{f"{name}.{key}": node for key, node in added.items()}, GRADIENT_NORM: together}


def _clipped(gradients: Mapping[Node, Node], norm: Node, limit: float) -> Mapping[Node, Node]:
    """The gradients, shortened together if their norm exceeds the limit; 0 is no limit."""
    if not limit:
        return gradients
    # the epsilon is PyTorch's; it keeps a gradient of zeros from dividing 0 by 0
    factor = minimum(divide(limit, norm + 1e-6), 1.0, name="clip_factor")
    clipped = {}
    for leaf, gradient in gradients.items():
        with declared_at(scoped(leaf_name(leaf)), leaf.origin):
            clipped[leaf] = multiply(gradient, cast(factor, leaf.dtype), name="clipped")
    return clipped


def chosen(graph: Graph, patterns: Patterns, frozen: Patterns = "") -> list[Node]:
    """The parameters that match one of the patterns and are not frozen.

    Raises ConfigurationError for a pattern that matches no parameter, and where none is left.
    """
    wanted, left_out = _matching(graph, patterns), _matching(graph, frozen)
    leaves = [leaf for name, leaf in graph.parameters.items() if name in wanted - left_out]
    if not leaves and graph.parameters:
        raise ConfigurationError(
            "there is no parameter left to train",
            fix=f"leave some unfrozen of {', '.join(graph.parameters)}",
        )
    return leaves


def _matching(graph: Graph, patterns: Patterns) -> set[str]:
    listed = patterns.split(",") if isinstance(patterns, str) else patterns
    found: set[str] = set()
    for pattern in filter(None, (text.strip() for text in listed)):
        matching = fnmatch.filter(graph.parameters, pattern)
        if not matching and graph.parameters:
            raise ConfigurationError(
                f"no parameter is called {pattern!r}",
                fix=suggestion(pattern, graph.parameters, "parameters"),
            )
        found.update(matching)
    return found


def _with_deltas(
    graph: Graph, settings: TrainingSettings, loss: str | Node, scaling: LossScale | None
) -> tuple[Graph, str]:
    """The graph with the deltas of this loss, scaled or not, and their label: "delta" for the first
    loss."""
    target = graph[loss]
    seed = None if scaling is None else scaling.scale
    own = "_".join([DELTA, *graph.name_of(target).split(".")])
    for label in (DELTA, own):
        if is_derived_from(graph, target, label):
            if seed is not None:
                raise DeclarationError(
                    f"the deltas of {graph.name_of(target)!r} were derived without a loss scale, "
                    "and fp16 needs one",
                    target.origin,
                    "leave the derivation to the optimiser, or train in bf16",
                )
            return graph, label
        if not has_deltas(graph, label):
            cuts = parse_surgery(settings.surgery) if label == DELTA else ()
            return derive(graph, target, graph.parameters.values(), seed, label, cuts), label
    raise DeclarationError(
        f"the deltas called {own!r} are not those of {graph.name_of(target)!r}",
        target.origin,
        "derive with another label",
    )


def _step_count(graph: Graph) -> Node:
    """The state that counts the steps done."""
    known = graph.states.get(STEP)
    if known is not None:
        return known
    with declared_at("", None):
        return state(STEP, (), dtype="int64")


def _free_scope(graph: Graph, again: bool) -> str:
    """A scope that no earlier optimiser uses."""
    name, number = OPTIMISER, 0
    while again and any(each.startswith(f"{name}.") for each in graph.names):
        number += 1
        name = f"{OPTIMISER}_{number}"
    return name


def _need_room(graph: Graph, leaves: Iterable[Node], scope: str, again: bool) -> None:
    """Raises DeclarationError where the optimiser cannot be added.

    There is nothing to train, or the graph has itself an update or a name that would be added.
    """
    if not graph.parameters:
        raise DeclarationError(
            "the model has no parameter to train",
            next(iter(graph.outputs.values())).origin,
            "declare what is learned by parameter(name, shape)",
        )
    wanted = set(leaves)
    for leaf in graph.updates:
        name, where = leaf_name(leaf), leaf.origin
        if leaf in wanted or (leaf.operation is parameter and not again):
            raise DeclarationError(
                f"the model gives the parameter {name!r} its next value, and so does the optimiser",
                where,
                f"leave {name!r} out of the optimiser's parameters"
                if again
                else f"declare it by state({name!r}, …): a state is not trained",
            )
        if name == SEED or (name in (STEP, PART) and not again):
            raise DeclarationError(
                f"the model gives {name!r} a next value, and so does the run",
                where,
                "count in a state of another name",
            )
    for name, node in graph.states.items():
        if name.startswith((f"{scope}.", *([] if again else [f"{AVERAGE}."]))):
            raise DeclarationError(
                f"the model calls a state {name!r}, as the optimiser calls its own",
                node.origin,
                f"declare it in another scope than {scope!r}",
            )
    for name in (GRADIENT_NORM, LEARNING_RATE):
        if name in graph.outputs and not again:
            raise DeclarationError(
                f"the model has an output {name!r}, as the training step has",
                graph.outputs[name].origin,
                "call it something else",
            )
