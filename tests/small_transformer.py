"""A small Transformer in float64, its state and batches of random sentences."""

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.graph import Graph, initial_state
from graphgrad.layers import Step, StepSizes
from graphgrad.models.transformer import (
    Settings,
    decoding_step,
    encoding_graph,
    training_graph,
)

SOURCES, TARGETS = 11, 9
"""Sizes of the two vocabularies; ids 0 to 3 are <pad>, <bos>, <eos> and <unk>."""
BOTH_NORMS = pytest.mark.parametrize("norm", ["post", "pre"])


def small(**values):
    return Settings(
        **{"layers": 2, "width": 8, "heads": 2, "inner": 12, "dtype": "float64", **values}
    )


def graph_of(settings, training=True):
    return training_graph(settings, SOURCES, TARGETS, training)


def state_of(graph, seed=0):
    """A state in which nothing is 0 or 1 by default, so that every parameter matters."""
    generator = np.random.default_rng(seed)
    state = initial_state(graph, seed)
    for name in graph.parameters:
        state[name] += generator.normal(scale=0.2, size=state[name].shape)
    return state


def batch(source_lengths, target_lengths, source=None, target=None, seed=0):
    """Random sentences of these lengths (<eos> counted), padded to `source` and `target`."""
    generator = np.random.default_rng(seed)
    rows = len(source_lengths)
    feeds = {
        "source": np.zeros((rows, source or max(source_lengths)), np.int32),
        "target_input": np.zeros((rows, target or max(target_lengths)), np.int32),
        "target_output": np.zeros((rows, target or max(target_lengths)), np.int32),
    }
    for row, (length, answer) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        feeds["source"][row, :length] = [*generator.integers(4, SOURCES, length - 1), 2]
        words = generator.integers(4, TARGETS, answer - 1)
        feeds["target_input"][row, :answer] = [1, *words]
        feeds["target_output"][row, :answer] = [*words, 2]
    return feeds


def parts_of(settings):
    """The two graphs of use: what is encoded, and a step."""
    step = Step(StepSizes(2, 1, 16))
    logits = decoding_step(step, settings, TARGETS)
    return encoding_graph(settings, SOURCES, TARGETS), Graph({"logits": logits}, step.updates)


def values(graph, names, feeds, state=None):
    return compile(graph, fetch=names)(state_of(graph) if state is None else state, **feeds)
