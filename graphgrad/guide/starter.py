"""A model of my own: is a point inside the ring?

    graphgrad train FILE                                  trains it
    graphgrad train FILE --settings                       lists what --set can change
    graphgrad train FILE --set hidden=64 --set steps=600
    graphgrad check FILE                                  compares its deltas with differences
    graphgrad render FILE --output model.html             draws it

From here on it is yours to change; `graphgrad guide model` says what else there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import graphgrad as gg
from graphgrad.layers import dense
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Every field can be changed by `--set name=value`; the text below it says what it means."""

    layers: int = 2
    """Hidden layers."""
    hidden: int = 32
    """Neurons in each of them."""
    steps: int = 400
    learning_rate: float = 0.02
    warmup: int = 20
    batch_size: int = 64


CHECK = {"dtype": "float64", "hidden": 3, "batch_size": 4}
"""Settings for `graphgrad check`, which compares every delta with finite differences."""


def network(settings: Settings) -> gg.Graph:
    """The graph, declared once, before any data is read. Its output must be called `loss`."""
    point = gg.input("point", ("batch", 2), settings.dtype)
    inside = gg.input("inside", ("batch",), "int32")
    z = point
    for number in range(settings.layers):
        with gg.scope(f"hidden.{number}"):
            z = gg.relu(dense(z, settings.hidden), name="z")
    logits = dense(z, 2, "output")
    loss = gg.mean(gg.cross_entropy(logits, inside), name="loss")
    return gg.Graph({"loss": loss, "answer": gg.argmax(logits, name="answer")})


def draw(settings: Settings, count: int, number: int) -> dict[str, np.ndarray]:
    """`count` examples, which depend only on the seed and the number."""
    generator = np.random.default_rng([settings.seed, number])
    point = generator.uniform(-1.0, 1.0, (count, 2))
    radius = np.sqrt((point**2).sum(axis=1))
    return {"point": point, "inside": ((radius > 0.35) & (radius < 0.8)).astype(np.int32)}


def task(settings: Settings, files: Mapping[str, str]) -> Task:
    """The task on which the commands work: the graph and the functions that make its inputs."""
    graph = network(settings)
    compiled = gg.compile(graph)
    held_out = draw(settings, 500, 0)

    def feeds(step: int) -> dict[str, np.ndarray]:
        return draw(settings, settings.batch_size, step + 1)

    def evaluate(state: Mapping[str, np.ndarray]) -> dict[str, float]:
        found = compiled(state, **held_out)
        right = found["answer"] == held_out["inside"]
        return {"loss": float(found["loss"]), "examples": 500, "accuracy": float(right.mean())}

    def examples(state: Mapping[str, np.ndarray]) -> list[str]:
        found = compiled(state, **held_out)
        return [
            f"({x:+.2f}, {y:+.2f}): {('outside', 'inside')[answer]}"
            for (x, y), answer in zip(held_out["point"][:4], found["answer"][:4], strict=True)
        ]

    return Task(graph, feeds, evaluate, validate=evaluate, examples=examples)
