"""The state that a run starts from: the first value of every parameter and state of a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError, EnvironmentLimitError, UnknownNameError
from graphgrad.graph.arrays import given_array
from graphgrad.graph.graph import Graph
from graphgrad.graph.types import shape_text
from graphgrad.graph.verify import need_graph
from graphgrad.memory import need_memory
from graphgrad.text import did_you_mean

_THREADS = 8
"""At most: a value depends on its name and the seed alone, so they can be drawn side by side."""


def initial_state(
    graph: Graph, seed: int = 0, given: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The first value of every parameter and state of a graph, drawn from the seed.

    What is `given` by name is copied, not drawn: it must have the declared shape, and takes the
    declared dtype as an input does. A name that the graph lacks is an error.
    """
    need_graph(graph, "initial_state")
    known = _given_state(graph, given or {})
    state = _memory_of(graph, known)

    def draw(names: Sequence[str]) -> None:
        for name in names:
            graph.states[name].attributes["initial"].draw_into(state[name], seed, name)

    missing = [name for name in state if name not in known]
    cores = min(_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(draw, [missing[first::cores] for first in range(cores)]))
    return state


def _memory_of(graph: Graph, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is known, and arrays without values for the rest."""
    size = sum(node.type.nbytes for node in graph.states.values())
    need_memory(size, f"the state of {len(graph.states)} arrays", "a smaller model")
    try:
        return {
            name: known[name] if name in known else np.empty(node.type.sizes, node.dtype)
            for name, node in graph.states.items()
        }
    except MemoryError as problem:
        raise EnvironmentLimitError(
            f"there is not enough memory for the state: {problem}", fix="a smaller model"
        ) from None


def _given_state(graph: Graph, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Copies of what is given, each as the parameter or state of its name is declared."""
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
