"""A user's model file: a regression with batch norm, whose running statistics evaluation uses."""

from dataclasses import dataclass

import numpy as np

import graphgrad as gg
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

KEPT = 0.9
EPSILON = 1e-5


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Plain gradient descent, so that another library does the same."""

    steps: int = 12
    batch_size: int = 8
    optimiser: str = "sgd"
    learning_rate: float = 0.05
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float = 0.0
    dtype: str = "float64"
    checkpoint_every: int = 5
    evaluate_every: int = 4


def graphs(dtype):
    """The graph to train, with the updates of its statistics, and the one to evaluate."""
    x, truth = gg.input("x", ("batch", 3), dtype), gg.input("truth", ("batch", 2), dtype)
    w = gg.parameter("w", (3, 2), gg.normal(1.0), dtype)
    scale, offset = (
        gg.parameter("scale", 2, gg.full(1.0), dtype),
        gg.parameter("offset", 2, dtype=dtype),
    )
    mean, variance = gg.state("mean", 2, dtype=dtype), gg.state("variance", 2, gg.full(1.0), dtype)
    a = x @ w

    def loss(m, v):
        y = scale * (a - m) / gg.sqrt(v + EPSILON) + offset
        return gg.mean((y - truth) ** 2.0, name="loss")

    seen_mean, seen = gg.mean(a, 0), gg.variance(a, 0)
    count = gg.cast(gg.extent("batch"), dtype)
    updates = {
        mean: KEPT * mean + (1 - KEPT) * seen_mean,
        variance: KEPT * variance + (1 - KEPT) * (seen * count / (count - 1.0)),
    }
    return (
        gg.Graph({"loss": loss(seen_mean, seen)}, updates),
        gg.Graph({"loss": loss(mean, variance)}),
    )


def batch(step, size):
    """Inputs that lie far from 0, so that statistics that stay at their start are far off."""
    generator = np.random.default_rng(step)
    x = generator.normal(3.0, 2.0, size=(size, 3))
    return {"x": x, "truth": np.sin(x[:, :2])}


def task(settings, files):
    """A fresh batch a step; evaluation on one of its own."""
    training, evaluation = graphs(settings.dtype)
    scored = gg.compile(evaluation)

    def evaluate(state):
        return {"loss": float(scored(state, **batch(10**6, 64))["loss"]), "examples": 64}

    return Task(training, lambda step: batch(step, settings.batch_size), evaluate, evaluate)
