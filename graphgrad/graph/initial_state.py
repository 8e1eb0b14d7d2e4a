"""Computes the initial state of a graph: the initial values of its parameters and states."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError, EnvironmentLimitError, UnknownNameError
from graphgrad.graph.arrays import given_array
from graphgrad.graph.graph import Graph
from graphgrad.graph.initial import Initial
from graphgrad.graph.types import shape_text
from graphgrad.graph.verify import need_graph
from graphgrad.memory import need_memory
from graphgrad.text import did_you_mean

_THREADS = 8
"""The largest number of threads; values depend on name and seed only, so the order is free."""


def initial_state(
    graph: Graph, seed: int = 0, given: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The initial value of every parameter and state of a graph, by name, drawn from the seed.

    Values `given` by name are copied instead of drawn; they must have the declared shape and are
    converted to the declared dtype. Raises UnknownNameError for a name that is not in the graph,
    DeclarationError for a value that does not fit, and EnvironmentLimitError if there is not enough
    memory.

    >>> w = gg.parameter("w", (2,), gg.normal(1.0))
    >>> gg.initial_state(gg.Graph({"w": w}), given={"w": [1, 2]})
    {'w': array([1., 2.], dtype=float32)}
    """
    need_graph(graph, "initial_state")
    known = _given_state(graph, given or {})
    state = _memory_of(graph, known)

    def draw(name: str) -> None:
        _initial_of(graph, name).draw_into(state[name], seed, name)

    missing = [name for name in state if name not in known and not _is_zero(graph, name)]
    missing.sort(key=lambda name: -state[name].size)  # a large one last would keep one thread busy
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        list(threads.map(draw, missing))
    return state


def _initial_of(graph: Graph, name: str) -> Initial:
    initial: Initial = graph.states[name].attributes["initial"]
    return initial


def _is_zero(graph: Graph, name: str) -> bool:
    """Whether every bit is 0: the system gives memory so, and needs no time for it until it is
    used. Moments of an optimiser are two thirds of a state."""
    initial = _initial_of(graph, name)
    return initial.kind == "constant" and not np.float64(initial.scale).view(np.uint64)


def _memory_of(graph: Graph, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The given arrays; arrays of zeros for what starts so, and uninitialised ones for all else."""
    size = sum(node.type.nbytes for node in graph.states.values())
    need_memory(size, f"the state of {len(graph.states)} arrays", "a smaller model")
    try:
        return {
            name: known[name]
            if name in known
            else (np.zeros if _is_zero(graph, name) else np.empty)(node.type.sizes, node.dtype)
            for name, node in graph.states.items()
        }
    except MemoryError as problem:
        raise EnvironmentLimitError(
            f"there is not enough memory for the state: {problem}", fix="a smaller model"
        ) from None


def _given_state(graph: Graph, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Copies of the given values, with the shape and dtype that are declared for their names."""
    found: dict[str, np.ndarray] = {}
    for name, value in given.items():
        if name not in graph.states:
            listed = f"it has {', '.join(graph.states) or 'none'}"
            raise UnknownNameError(
                f"the graph has no parameter or state {name!r}",
                fix=did_you_mean(name, graph.states, listed, 3),
            )
        node = graph.states[name]
        array = given_array(f"the value of {name!r}", value, node.dtype)
        if array.shape != node.shape:
            raise DeclarationError(
                f"the value of {name!r} has shape {shape_text(array.shape)}, declared is "
                f"{node.type}",
                node.origin,
            )
        found[name] = np.array(array, order="C")
    return found
