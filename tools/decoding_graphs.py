"""The graphs that run in use, for `render --graph encoding` and `render --graph decoding`."""

from __future__ import annotations

from graphgrad.decoding import Decodable
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.layers import Step, StepSizes
from graphgrad.ops import argmax, log_softmax
from graphgrad.training.task import Task

GRAPHS = ("training", "encoding", "decoding")
SLOTS = 32
"""Slots for keys and values in the picture of a step."""


def graph_in_use(task: Task, name: str, model: str) -> Graph:
    """The graph of the encoder (`encoding`), or that of one step of decoding (`decoding`).

    A step gives logits, log-probabilities and the most probable token of one sentence. Raises
    ConfigurationError for a model that is not decoded, or that has no encoder.
    """
    decodable = task.decodable
    if decodable is None:
        raise ConfigurationError(
            f"the model {model} is not decoded", fix="use transformer or gpt, or leave --graph out"
        )
    return _encoding(decodable, model) if name == "encoding" else _step(decodable)


def _encoding(decodable: Decodable, model: str) -> Graph:
    if decodable.encoding is None:
        raise ConfigurationError(f"the model {model} has no encoder", fix="--graph decoding")
    return decodable.encoding


def _step(decodable: Decodable) -> Graph:
    step = Step(StepSizes(batch=1, rows=1, slots=SLOTS))
    logits = decodable.step(step)
    outputs = {
        "logits": logits,
        "log_probabilities": log_softmax(logits, -1, name="log_probabilities"),
        "token": argmax(logits, name="token"),
    }
    return Graph(outputs, step.updates)
