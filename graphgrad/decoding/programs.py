"""Compiles the programs of a decodable model: its encoder, and a step for each size.

The graph of a step is the model's declaration followed by the choice of candidates: a program
returns a few candidates of each row, not the logits of the whole vocabulary. A program that only
reads a prompt has no outputs, so nothing after the last layer's keys and values is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphgrad import ops
from graphgrad.backends import backend_called
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
from graphgrad.performance.blas_threads import BlasThreads, has_small_products

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """The outputs of a step."""

    candidates: int = 1
    """The most probable tokens of each row, the best first; 0: the logits of all."""
    scores: bool = False
    """Their log-probabilities, rather than their logits."""
    banned: bool = False
    """Whether some tokens are excluded in a step: the input `banned` [batch, row, vocabulary]."""


@dataclass(frozen=True)
class StepProgram:
    """A compiled step, and which of its states store keys and values."""

    compiled: Compiled
    caches: Mapping[str, tuple[tuple[int, ...], np.dtype]]
    """Shape and dtype of each by the name of its state."""
    inputs: frozenset[str]
    """The inputs of a step that the model uses; some models have no positions."""
    small: bool = False
    """Whether its matrix products are small, so that one thread computes them."""


class Programs:
    """Programs of one model, compiled at their first use and kept."""

    def __init__(self, decodable: Decodable, backend: str = "numpy") -> None:
        self.decodable, self.backend = decodable, backend
        self._steps: dict[tuple[StepSizes, Wanted | None], StepProgram] = {}
        self._blas = BlasThreads()

    @property
    def count(self) -> int:
        """How many programs are compiled."""
        steps = sum(step.compiled.program_count for step in self._steps.values())
        encoding = self.__dict__.get("encoding")
        return steps + (encoding.program_count if encoding is not None else 0)

    @cached_property
    def vocabulary(self) -> int:
        """The number of tokens that can be chosen."""
        size = self.decodable.step(Step(StepSizes(1, 1, 2))).shape[-1]
        assert isinstance(size, int)
        return size

    @cached_property
    def encoding(self) -> Compiled | None:
        """The compiled encoder; None for a model without one."""
        graph = self.decodable.encoding
        return None if graph is None else compile(graph, fuse=True, backend=self.backend)

    def encoded(self, state: State, source: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of each step that are computed from the sources [batch, source]."""
        if self.encoding is None:
            return {}
        with self.threads(self._encodes_little):
            return {"source": source, **self.encoding(state, source=source)}

    @cached_property
    def _encodes_little(self) -> bool:
        return self.encoding is not None and has_small_products(self.encoding.graph)

    def threads(self, small: bool) -> AbstractContextManager[None]:
        """The threads of a program's products: one, where they are small and a processor's."""
        return self._blas.one() if small and self.backend == "numpy" else nullcontext()

    def placed(self, arrays: State) -> State:
        """The arrays where the programs need no copy of them."""
        return backend_called(self.backend).placed(arrays)

    def step(self, sizes: StepSizes, wanted: Wanted | None) -> StepProgram:
        """The program of a step of these sizes; without outputs where none are wanted."""
        key = sizes, wanted
        if key not in self._steps:
            self._steps[key] = self._compiled(sizes, wanted)
        return self._steps[key]

    def _compiled(self, sizes: StepSizes, wanted: Wanted | None) -> StepProgram:
        step = Step(sizes)
        logits = self.decodable.step(step)
        outputs = {} if wanted is None else self._outputs(logits, wanted)
        graph = Graph(outputs, step.updates)
        caches = {leaf_name(leaf): (leaf.type.sizes, leaf.dtype) for leaf in step.updates}
        inputs = frozenset(graph.inputs)
        compiled = compile(graph, fuse=True, backend=self.backend)
        return StepProgram(compiled, caches, inputs, has_small_products(compiled.graph))

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
        if wanted.scores:  # of the whole distribution, including excluded tokens
            score = subtract(score, _log_sum(logits), name="log_probabilities")
        return {"token": token, "score": score}


def _log_sum(logits: Node) -> Node:
    """log Σ e^x of each row, from operations that one kernel computes.

    After the largest is subtracted the sum is at least 1, so log1p loses no precision.
    """
    largest = ops.max(logits, -1, keepdims=True)
    total = ops.sum(exp(subtract(logits, largest)), -1, keepdims=True)
    return add(log1p(total - 1.0), largest, name="log_sum")
