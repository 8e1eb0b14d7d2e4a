"""A user's model file: a generator and a critic, each with an optimiser and a loss of its own."""

from dataclasses import dataclass

import numpy as np

import graphgrad as gg
from graphgrad.training import Task, TrainingSettings, optimised


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Adam for both players; `--set` changes both."""

    steps: int = 12
    batch_size: int = 16
    learning_rate: float = 0.01
    schedule: str = "constant"
    warmup: int = 0
    beta1: float = 0.5
    checkpoint_every: int = 5
    evaluate_every: int = 6
    fuse: bool = False


def judge(v):
    return gg.layers.dense(gg.tanh(gg.layers.dense(v, 8, "hidden")), 1, "output")


def losses():
    """Both losses; the critic, declared once, judges what is made and what is real."""
    noise, real = gg.input("noise", ("batch", 2)), gg.input("real", ("batch", 1))
    with gg.scope("generator"):
        fake = gg.layers.dense(noise, 1, "output")
    with gg.scope("critic"):
        critic = gg.layers.shared(judge)
    fooled = gg.softplus(-critic(fake)).mean(name="loss")
    told = gg.softplus(critic(gg.stop_gradient(fake))) + gg.softplus(-critic(real))
    return gg.Graph({"loss": fooled, "critic_loss": told.mean(name="critic_loss")})


def batch(step, size):
    generator = np.random.default_rng(step)
    noise = generator.normal(size=(size, 2)).astype("float32")
    return {"noise": noise, "real": generator.normal(3.0, 0.5, (size, 1)).astype("float32")}


def step(graph, settings):
    graph = optimised(graph, settings, parameters="generator.*")
    return optimised(graph, settings, "critic_loss", "critic.*", name="critic_optimiser")


def task(settings, files):
    with gg.default_dtype(settings.dtype):
        graph = losses()
    scored = gg.compile(graph)

    def evaluate(state):
        return {"loss": float(scored(state, batch(10**6, 64))["loss"]), "examples": 64}

    return Task(graph, lambda number: batch(number, settings.batch_size), evaluate, step=step)
