"""Training steps of the built-in models in small, as programs of the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache

import numpy as np
from device_programs import device_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.models import attention, feedforward, transformer
from graphgrad.training.optimisers import SEED, training_step

GUARDS = ("loss", "gradient_norm")
SIZES: Mapping[str, Mapping[str, int]] = {
    "transformer": {"batch": 3, "source": 5, "target": 7},
    "attention": {"batch": 6},
    "feedforward": {"batch": 5},
}


@cache
def step_of(model: str, dtype: str = "float32") -> Graph:
    """The training step of a small model."""
    if model == "transformer":
        small = {"layers": 1, "width": 24, "heads": 3, "inner": 20, "label_smoothing": 0.1}
        settings = transformer.Settings(**small, dropout=0.1, steps=9, clip_norm=1.0, dtype=dtype)
        graph = transformer.training_graph(settings, 23, 19)
    elif model == "attention":
        settings = dataclasses.replace(attention.Settings(), dtype=dtype)
        graph = attention.network(settings)
    else:
        settings = dataclasses.replace(feedforward.Settings(), dtype=dtype)
        graph = feedforward.network(settings)
    return training_step(graph, settings)


@cache
def program_of(model: str, dtype: str = "float32", joined: bool = True) -> DeviceProgram:
    graph = step_of(model, dtype)
    guards = [name for name in GUARDS if name in graph.outputs]
    return device_program(graph, guards, joined, **SIZES[model])


def feeds_of(model: str, step: int) -> dict[str, np.ndarray]:
    """Inputs of a step: ids of the smallest vocabulary, numbers near 0."""
    generator, graph, sizes = np.random.default_rng(step), step_of(model), SIZES[model]
    feeds = {}
    for name, its in graph.inputs.items():
        shape = tuple(sizes.get(str(size), size) for size in its.shape)
        if its.type.is_float:
            feeds[name] = generator.normal(size=shape).astype(its.dtype)
        else:
            feeds[name] = generator.integers(0, 3 if model == "feedforward" else 19, shape, "int32")
    return feeds


def initial(graph: Graph) -> dict[str, np.ndarray]:
    state = gg.initial_state(graph, 1)
    if SEED in state:
        state[SEED][...] = 4
    return state
