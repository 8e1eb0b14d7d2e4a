"""Small runs to train in tests: a regression with dropout whose steps a test can disturb."""

import io
import os
import signal
from dataclasses import dataclass
from functools import partial

import numpy as np

from graphgrad.compile import compile
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.layers import dropout
from graphgrad.ops import half_squared_error, matmul
from graphgrad.training.optimisers import randomness_of_run
from graphgrad.training.progress import Progress
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task, load_model

STEPS = 12
QUIET = partial(Progress, STEPS, stream=io.StringIO())


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """A small regression with dropout, so that seed and step count matter."""

    steps: int = STEPS
    batch_size: int = 4
    size: int = 3
    checkpoint_every: int = 5
    evaluate_every: int = 4
    warmup: int = 3
    keep_best: int = 0


def forward(settings, training):
    x = input("x", ("batch", settings.size), settings.dtype)
    truth = input("truth", ("batch", 2), settings.dtype)
    weight = parameter("weight", (settings.size, 2), normal(1.0), settings.dtype)
    randomness = randomness_of_run() if training else None
    y = matmul(dropout(x, 0.5, randomness), weight, name="y")
    return Graph({"loss": half_squared_error(y, truth, name="loss")})


def examples(settings, step):
    generator = np.random.default_rng([settings.seed, step])
    x = generator.normal(size=(settings.batch_size, settings.size)).astype(settings.dtype)
    return {"x": x, "truth": (x[:, :2] * 2).astype(settings.dtype)}


class Model:
    """The module of the small model; `before_step` and `figures` are what a test plants."""

    Settings = Settings

    def __init__(self):
        self.before_step = lambda step, feeds: None
        self.figures = {}

    def task(self, settings, files):
        scored = compile(forward(settings, training=False))

        def feeds(step):
            made = examples(settings, step)
            self.before_step(step, made)
            return made

        def evaluate(state):
            loss = float(scored(state, **examples(settings, 10**6))["loss"])
            return {"loss": loss, "examples": 4, **self.figures}

        return Task(
            forward(settings, training=True),
            feeds,
            evaluate,
            validate=evaluate,
            examples=lambda state: ["an example"],
            files={"note.txt": "kept"},
        )


def new(model, path, **values):
    return create_run(load_model("small", {"small": model}), Settings(**values), path)


def again(model, path, step=None, **values):
    return open_run(path, {"small": model}, values, step)


def state_bytes(state):
    return {name: array.tobytes() for name, array in state.items()}


def losses(folder):
    """The lines of metrics without the one figure that is a time."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.metrics()]


def at_step(number, action):
    """Does something in the middle of a step; the loop's look at its first data is no step."""
    calls = []

    def before(step, feeds):
        calls.append(step)
        if step == number and len(calls) > 1:
            action()

    return before


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def crash():
    raise ZeroDivisionError("planted")
