"""Generates text autoregressively: draws the next token from a model's logits and appends it.

A `Reader` computes the logits: it reads a prompt and then one token after another. `Recomputed` is
the simplest one, which computes all positions again for each token. `draw` chooses a token; the
same logits and the same `Sampling` give the same tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Protocol

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.vocabulary import PAD
from graphgrad.graph import Graph
from graphgrad.training.sampling import Sampling, draw
from graphgrad.training.task import State

_SMALLEST = 16  # positions; shorter sequences share one program


class Reader(Protocol):
    """Computes the logits [batch, vocabulary] of the token that follows the text read so far."""

    def begin(self, state: State, ids: np.ndarray) -> np.ndarray:
        """Reads prompts [batch, position], all of one length."""
        ...

    def extend(self, ids: np.ndarray) -> np.ndarray:
        """Reads one more token of each row, [batch]."""
        ...


class Recomputed:
    """A reader that computes all positions, at most the last `context`, again for every token.

    `graph` has the inputs `ids` [batch, position] and `last` [batch], the position of the last
    token, and the output `logits`. Sequences are padded at the end, where the causal mask hides the
    padding, so a few programs serve all lengths.
    """

    def __init__(self, graph: Graph, context: int, backend: str = "numpy") -> None:
        self._graph, self._context, self._backend = graph, context, backend
        self._state: State = {}
        self._ids = np.zeros((1, 0), np.int32)

    @cached_property
    def _program(self) -> Compiled:
        """Compiled at its first use, as training may never generate."""
        return compile(self._graph, backend=self._backend)

    def begin(self, state: State, ids: np.ndarray) -> np.ndarray:
        self._state = state
        self._ids = np.asarray(ids, np.int32)
        return self._logits()

    def extend(self, ids: np.ndarray) -> np.ndarray:
        self._ids = np.concatenate([self._ids, np.asarray(ids, np.int32)[:, None]], axis=1)
        return self._logits()

    def _logits(self) -> np.ndarray:
        ids = self._ids[:, -self._context :]
        rows, length = ids.shape
        width = _SMALLEST
        while width < length:
            width *= 2
        padded = np.full((rows, min(width, self._context)), PAD, np.int32)
        padded[:, :length] = ids
        last = np.full(rows, length - 1, np.int32)
        return np.array(self._program(self._state, ids=padded, last=last)["logits"])


def generate(
    reader: Reader,
    state: State,
    prompts: np.ndarray,
    length: int,
    sampling: Sampling,
    never: Collection[int] = (),
) -> Iterator[np.ndarray]:
    """Yields `length` tokens [batch] that continue prompts [batch, position].

    `never` are the ids of tokens that are not drawn, such as padding.
    """
    forbidden = list(never)
    logits = reader.begin(state, prompts)
    for number in range(length):
        logits[:, forbidden] = -np.inf
        tokens = draw(logits, sampling, number)
        yield tokens
        if number + 1 < length:
            logits = reader.extend(tokens)
