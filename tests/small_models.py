"""Small models in float64 for the tests of interpretation, with inputs and a state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import graphgrad as gg
from graphgrad.figures.evaluation import values_in_order
from graphgrad.models import bert, gpt, transformer
from graphgrad.passes import sizes_of, specialise

Feeds = dict[str, np.ndarray]
SIZES = {"batch": 2, "source": 5, "target": 4, "position": 6, "asked": 2}
VOCABULARY = 9


def graph_of(name: str, **values: Any) -> gg.Graph:
    """The evaluation graph of a built-in model."""
    small = {"width": 8, "heads": 2, "layers": 2, "inner": 12, "dtype": "float64"}
    if name == "transformer":
        settings = transformer.Settings(**{**small, **values})
        return transformer.training_graph(settings, VOCABULARY, VOCABULARY, training=False)
    module = {"gpt": gpt, "bert": bert}[name]
    settings = module.Settings(**{**small, "context": 8, **values})
    graph: gg.Graph = module.training_graph(settings, VOCABULARY, training=False)
    return graph


def state_of(graph: gg.Graph, seed: int = 0) -> Feeds:
    """Random parameters, biases included."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0.0, 0.4, node.type.sizes).astype(node.dtype)
        for name, node in graph.states.items()
    }


def feeds_of(graph: gg.Graph, seed: int = 0) -> Feeds:
    """Random ids; the last one of each sequence is padding."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, node in graph.inputs.items():
        shape = [SIZES[str(size)] for size in node.shape]
        feeds[name] = rng.integers(4, VOCABULARY, shape).astype(np.int32)
    for name in ("source", "target_output"):
        if name in feeds:
            feeds[name][:, -1] = 0
    if "segments" in feeds:
        feeds["segments"][:] = 0
    if "places" in feeds:
        feeds["places"] = np.array([[1, 3], [0, 5]], np.int32)
    return feeds


def reference(
    graph: gg.Graph,
    feeds: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    names: Iterable[str],
) -> dict[str, np.ndarray]:
    """Values by name, node by node, of the graph as it is: no pass, no program."""
    known = specialise(graph, sizes_of(graph, feeds))
    wanted: dict[gg.Node, list[str]] = {}
    for name in names:
        wanted.setdefault(known[name], []).append(name)
    return {
        name: np.array(value)
        for node, value in values_in_order(known, feeds, state)
        for name in wanted.get(node, ())
    }
