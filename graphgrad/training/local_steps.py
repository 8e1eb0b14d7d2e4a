"""Lets ranks train apart for some steps and then joins what they have learned: `local_steps`.

A round begins with the same parameters w on all ranks. Each does `local_steps` steps of its own, on
its parts of the batches and with its own moments, and comes to w_r. What is exchanged is exchanged
once in a round (Douillard et al. 2023, "DiLoCo: distributed low-communication training of language
models"):

    Δ = w - mean over ranks of w_r          how far they went, as a gradient
    v ← outer_momentum · v + Δ
    w ← w - outer_learning_rate · (outer_momentum · v + Δ)              a step of Nesterov's

The states of the optimiser, and other states of the model that are floats, become their mean over
the ranks: the paper keeps them apart, but then a checkpoint would have to hold those of every rank
and could only be gone on with by as many. As it is, all ranks have the same state between two
rounds, and what is saved, looked at and reported is of such a moment: the settings that say when
have to be multiples of `local_steps`, and an interrupt waits for the end of the round.

v is a state of the run, in its checkpoints as `outer.velocity.w`; the start of a round is not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph import ZEROS, Dimension, Graph, Node, declared_at, input, state
from graphgrad.graph.dimension import named, product, quotient
from graphgrad.graph.types import INT64
from graphgrad.ops import add, all_reduce, dropout_mask, subtract
from graphgrad.ops.random import dropout_mask_of_part
from graphgrad.passes.order_collectives import in_order
from graphgrad.passes.rewrite import map_nodes
from graphgrad.passes.split_batch import BATCH
from graphgrad.training.settings import TrainingSettings

OUTER, START = "outer.velocity", "round_start"
FIRST = "rank.first_example"
"""The input that says which example of the batch is the first one of a rank."""


def outer_state(graph: Graph, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """The velocities of a run that has not begun: zeros, for each parameter that is trained."""
    if settings.local_steps == 1:
        return {}
    return {
        f"{OUTER}.{name}": np.zeros(node.type.sizes, node.dtype)
        for name, node in _trained(graph).items()
    }


def _trained(graph: Graph) -> dict[str, Node]:
    return {name: node for name, node in graph.parameters.items() if node in graph.updates}


def need_equal_counts(graph: Graph) -> None:
    """Raises DeclarationError for a state that is no float and depends on the examples: ranks that
    train apart would have different ones, and no mean of them means anything."""
    inputs = set(graph.inputs.values())
    for name, node in graph.states.items():
        update = graph.updates.get(node)
        if update is None or node.dtype.kind == "f" or inputs.isdisjoint(graph.ancestors([update])):
            continue
        raise DeclarationError(
            f"the state {name!r} of {node.dtype} depends on the batch, and ranks that train apart "
            "would not agree on it",
            node.origin,
            "a state of floats, which become their mean; or --set local_steps=1",
        )


def local_graph(graph: Graph) -> Graph:
    """The training step of one rank on its own: its dropout masks are those of its examples."""
    batch = named(BATCH)

    def draws(node: Node) -> bool:
        return node.operation is dropout_mask and _has(node.shape[:1], batch)

    if not any(map(draws, graph.nodes)):
        return graph
    with declared_at("", None):
        first = input(FIRST, (), INT64)

    def of_part(node: Node) -> Node | None:
        if not draws(node):
            return None
        each = quotient(product(node.shape), batch)
        return dropout_mask_of_part.node(*node.heads, first, each=each, **node.attributes)

    return map_nodes(graph, of_part, draws)


def _has(shape: Iterable[int | Dimension], size: Dimension) -> bool:
    return any(isinstance(each, Dimension) and each == size for each in shape)


def joined_graph(graph: Graph, ranks: int, settings: TrainingSettings) -> Graph:
    """What the ranks compute together at the end of a round. The inputs `round_start.w` are the
    parameters with which it began."""
    updates: dict[Node, Node] = {}
    trained = set(_trained(graph).values())
    share, momentum = settings.outer_learning_rate, settings.outer_momentum
    for name, leaf in graph.states.items():
        if leaf.dtype.kind != "f" or leaf not in graph.updates:
            continue
        with declared_at("", leaf.origin):
            average = all_reduce(leaf) * (1.0 / ranks)
            if leaf not in trained:
                updates[leaf] = average
                continue
            start = input(f"{START}.{name}", leaf.type.sizes, leaf.dtype)
            velocity = state(f"{OUTER}.{name}", leaf.type.sizes, ZEROS, leaf.dtype)
            moved = subtract(start, average, name=f"outer.moved.{name}")
            updates[velocity] = add(velocity * momentum, moved, name=f"outer.next_velocity.{name}")
            updates[leaf] = start - (updates[velocity] * momentum + moved) * share
    return in_order(Graph({}, updates))
