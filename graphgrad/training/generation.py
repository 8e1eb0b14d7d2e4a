"""Autoregressive generation: the next token is drawn from what a model says of it, and read.

What a model says is a row of logits. `draw` picks a token from them; where the logits come from is
a `Reader`, which is given a prompt and then token after token. `Recomputed` is the plain one: it
computes all positions again for each token. One that keeps keys and values has the same methods.

Law: the same logits and `Sampling` give the same tokens.
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
    """Gives the logits [batch, vocabulary] of the token that follows what it has read."""

    def begin(self, state: State, ids: np.ndarray) -> np.ndarray:
        """Reads prompts [batch, position], all of one length."""
        ...

    def extend(self, ids: np.ndarray) -> np.ndarray:
        """Reads one token more of each row, [batch]."""
        ...


class Recomputed:
    """A reader that computes all positions anew for every token, at most `context` of them.

    `graph` has the inputs `ids` [batch, position] and `last` [batch], the place of the last token,
    and the output `logits`. Sequences are padded behind, which a causal mask hides, so a few
    programs serve all lengths; of longer ones the last `context` tokens are read.
    """

    def __init__(self, graph: Graph, context: int) -> None:
        self._graph, self._context = graph, context
        self._state: State = {}
        self._ids = np.zeros((1, 0), np.int32)

    @cached_property
    def _program(self) -> Compiled:
        """Compiled when it is first used: training may never generate."""
        return compile(self._graph)

    def begin(self, state: State, ids: np.ndarray) -> np.ndarray:
        self._state = {name: state[name] for name in self._graph.states}
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
    """Up to `length` further tokens of prompts [batch, position], one [batch] after another.

    Tokens that are `never` drawn are those that stand for no text.
    """
    forbidden = list(never)
    logits = reader.begin(state, prompts)
    for place in range(length):
        logits[:, forbidden] = -np.inf
        tokens = draw(logits, sampling, place)
        yield tokens
        if place + 1 < length:
            logits = reader.extend(tokens)
