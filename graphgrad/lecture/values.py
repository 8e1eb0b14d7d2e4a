"""Runs the graphs of lessons: every number that a lesson shows is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgrad.compile import compile
from graphgrad.graph import Graph, Node

Arrays = Mapping[str, np.ndarray]
State = dict[str, np.ndarray]


def computed(
    graph: Graph, asked: Mapping[str, Node | str], state: Mapping[str, Any], **feeds: Any
) -> dict[str, np.ndarray]:
    """The values of nodes of a graph by other names, for one run. The state is not changed."""
    outputs = {key: graph[node] if isinstance(node, str) else node for key, node in asked.items()}
    program = compile(graph.with_outputs(outputs, {}), fuse=False)
    return {name: np.array(value) for name, value in program(dict(state), **feeds).items()}


def drawn_state(graph: Graph, seed: int) -> State:
    """Parameters of a graph, drawn from N(0, 1/rows): the same for the same seed."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(0, (node.type.sizes or (1,))[0] ** -0.5, node.type.sizes)
        for name, node in graph.parameters.items()
    }


def run_steps(
    step: Graph, state: Mapping[str, Any], feeds: Mapping[str, Any], count: int
) -> tuple[list[dict[str, np.ndarray]], list[float]]:
    """Runs a graph with updates `count` times: the states and the losses before each step and
    after the last one."""
    program = compile(step, fuse=False)
    kept = {name: np.array(value) for name, value in state.items()}
    states, losses = [{name: np.array(value) for name, value in kept.items()}], []
    for _ in range(count):
        losses.append(float(program(kept, **feeds)["loss"]))
        states.append({name: np.array(value) for name, value in kept.items()})
    last = {name: np.array(value) for name, value in kept.items()}
    losses.append(float(program(last, **feeds)["loss"]))
    return states, losses
