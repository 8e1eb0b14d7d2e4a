"""Weight decay on matrices only, as GPT and BERT are trained."""

from __future__ import annotations

import dataclasses

from graphgrad.graph import Graph
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings


def step_that_decays_matrices(graph: Graph, settings: TrainingSettings) -> Graph:
    """The training step, in which biases and gains do not decay unless `no_decay` says what does
    not. They shift and scale; only what is multiplied with becomes simpler when it is small."""
    if not settings.no_decay:
        spared = [name for name, leaf in graph.parameters.items() if leaf.rank < 2]
        settings = dataclasses.replace(settings, no_decay=",".join(spared))
    return training_step(graph, settings)
