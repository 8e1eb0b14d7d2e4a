"""The compiled programs of a decodable model: one that encodes, and one a step for each size.

Sizes grow by doubling, so a few programs serve all lengths. A step's graph is the model's own
declaration with the choice of tokens behind it: only a few candidates of each row leave the
program, not the logits of the whole vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphgrad import ops
from graphgrad.compile import Compiled, compile
from graphgrad.decoding.decodable import Decodable
from graphgrad.graph import Graph, Node, constant, input, leaf_name
from graphgrad.layers.cache import Step, StepSizes
from graphgrad.ops import (
    add,
    argmax,
    exp,
    expand_dims,
    log1p,
    subtract,
    take_along_axis,
    top,
    where,
)

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """What of a step's logits is wanted."""

    candidates: int = 1
    """The most probable tokens of each row, the best first; 0: the logits of all."""
    scores: bool = False
    """Their log-probabilities, rather than their logits."""
    banned: bool = False
    """Whether some tokens are excluded in a step: the input `banned` [batch, row, vocabulary]."""


@dataclass(frozen=True)
class StepProgram:
    """A compiled step, and what of its state is kept keys and values."""

    compiled: Compiled
    caches: Mapping[str, tuple[tuple[int, ...], np.dtype]]
    """Shape and dtype of each by the name of its state."""
    parameters: tuple[str, ...]
    inputs: frozenset[str]
    """What the model reads of a step; one without positions does not ask for them."""
    vocabulary: int


class Programs:
    """Programs of one model, compiled when they are first needed and then kept."""

    def __init__(self, decodable: Decodable) -> None:
        self.decodable = decodable
        self._steps: dict[tuple[StepSizes, Wanted], StepProgram] = {}

    @cached_property
    def encoding(self) -> Compiled | None:
        """The encoder."""
        graph = self.decodable.encoding
        return None if graph is None else compile(graph, fuse=True)

    def encoded(self, state: State, source: np.ndarray) -> dict[str, np.ndarray]:
        """What each step is given of the sources [batch, source]."""
        if self.encoding is None:
            return {}
        known = {name: state[name] for name in self.encoding.graph.states}
        return {"source": source, **self.encoding(known, source=source)}

    def step(self, sizes: StepSizes, wanted: Wanted) -> StepProgram:
        """The program of a step of these sizes."""
        key = sizes, wanted
        if key not in self._steps:
            self._steps[key] = self._compiled(sizes, wanted)
        return self._steps[key]

    def _compiled(self, sizes: StepSizes, wanted: Wanted) -> StepProgram:
        step = Step(sizes)
        logits = self.decodable.step(step)
        graph = Graph(self._outputs(logits, wanted), step.updates)
        caches = {leaf_name(leaf): (leaf.type.sizes, leaf.dtype) for leaf in step.updates}
        parameters = tuple(name for name in graph.states if name not in caches)
        vocabulary = logits.shape[-1]
        assert isinstance(vocabulary, int)
        inputs = frozenset(graph.inputs)
        return StepProgram(compile(graph, fuse=True), caches, parameters, inputs, vocabulary)

    def _outputs(self, logits: Node, wanted: Wanted) -> dict[str, Node]:
        allowed = logits
        vocabulary = logits.shape[-1]
        assert isinstance(vocabulary, int)
        if self.decodable.forbidden:
            mask = np.ones(vocabulary, bool)
            mask[list(self.decodable.forbidden)] = False
            allowed = where(constant(mask), allowed, -math.inf, name="allowed")
        if wanted.banned:
            banned = input("banned", logits.shape, "bool")
            allowed = where(banned, -math.inf, allowed, name="not_banned")
        if not wanted.candidates:
            return {"logits": allowed}
        if wanted.candidates == 1:
            token = expand_dims(argmax(allowed), 2, name="token")
        else:
            token = top(allowed, min(wanted.candidates, vocabulary), name="token")
        score = take_along_axis(allowed, token, name="candidate_logits")
        if wanted.scores:  # of the model's own distribution, whatever is excluded
            score = subtract(score, _log_sum(logits), name="log_probabilities")
        return {"token": token, "score": score}


def _log_sum(logits: Node) -> Node:
    """log Σ e^x of each row, in parts that one kernel computes. Beside the largest the sum is at
    least 1, so log1p loses nothing."""
    largest = ops.max(logits, -1, keepdims=True)
    total = ops.sum(exp(subtract(logits, largest)), -1, keepdims=True)
    return add(log1p(total - 1.0), largest, name="log_sum")


def rounded_up(length: int, least: int) -> int:
    """`least` doubled until it holds the length."""
    size = least
    while size < length:
        size *= 2
    return size


def width_for(length: int) -> int:
    """8, 16, 24, 32, 48, 64, 96, …: the next of these sizes, which wastes at most a third."""
    size = rounded_up(length, 8)
    return size * 3 // 4 if size >= 32 and length <= size * 3 // 4 else size
