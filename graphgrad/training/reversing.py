"""Declares an exercise of the UvA's course on deep learning: to reverse a sequence of digits.

    ids        7 0 4 … 1        targets    1 … 4 0 7

The target of each position is the digit at the same position from the end. An encoder computes all
of them in one step, if each query attends to the position that mirrors its own. There are 50,000
sequences of 16 digits to train on, in another order in each epoch, and 10,000 held out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Protocol

import numpy as np

from graphgrad.data.corpus import permutation, random_words
from graphgrad.data.text_tokens import TextTokens
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.language import VOCABULARY_FILE
from graphgrad.training.masking import MaskedScore
from graphgrad.training.task import Feeds, State, Task

LENGTH, KINDS = 16, 10
TRAINED, HELD_OUT, VALIDATED = 50_000, 10_000, 1_000
_DIGIT_STREAM, _ORDER_STREAM = 16, 17
_AT_A_TIME = 500


class ReversingSettings(Protocol):
    """The settings that the task reads."""

    @property
    def seed(self) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def context(self) -> int: ...


def reversing_task(settings: ReversingSettings, training: Callable[..., Graph]) -> Task:
    """The task of a model; `training` declares its graph for a vocabulary size.

    Raises ConfigurationError for a context that is too short and a batch that is too large.
    """
    if settings.context < LENGTH:
        raise ConfigurationError(
            f"context {settings.context} is too short to reverse in",
            fix=f"--set context={LENGTH}",
        )
    if settings.batch_size > TRAINED:
        raise ConfigurationError(
            f"a batch of {settings.batch_size} is more than the {TRAINED} examples",
            fix="--set batch_size=128",
        )
    tokens = TextTokens.build("character", ["".join(map(str, range(KINDS)))])
    score = MaskedScore(training(len(tokens), training=False), settings.backend)
    digits = cache(lambda: _digits(settings.seed) + int(tokens.encode("0")[0]))
    order = cache(lambda epoch: permutation(TRAINED, settings.seed, _ORDER_STREAM, epoch))
    batches = TRAINED // settings.batch_size

    def feeds(step: int) -> Feeds:
        epoch, number = divmod(step, batches)
        start = number * settings.batch_size
        return _feeds(digits()[order(epoch)[start : start + settings.batch_size]])

    def held_out(count: int) -> Iterator[Feeds]:
        for start in range(TRAINED, TRAINED + count, _AT_A_TIME):
            yield _feeds(digits()[start : start + _AT_A_TIME])

    def figures(state: State, count: int) -> dict[str, float]:
        found = score(state, held_out(count))
        return {
            "loss": found["loss"],
            "accuracy": found["masked_accuracy"],
            "examples": found["examples"],
        }

    return Task(
        graph=training(len(tokens)),
        feeds=feeds,
        evaluate=lambda state: figures(state, HELD_OUT),
        validate=lambda state: figures(state, VALIDATED),
        tokens=lambda feeds: feeds["targets"].size,
        files={VOCABULARY_FILE: tokens.vocabulary.to_json()},
        step=step_that_decays_matrices,
    )


def _digits(seed: int) -> np.ndarray:
    """All sequences, int32 [sequence, position]: those to train on, then those held out."""
    words = random_words((TRAINED + HELD_OUT) * LENGTH, seed, _DIGIT_STREAM)
    return (words % np.uint64(KINDS)).astype(np.int32).reshape(-1, LENGTH)


def _feeds(sequences: np.ndarray) -> Feeds:
    places = np.tile(np.arange(LENGTH, dtype=np.int32), (len(sequences), 1))
    return {
        "ids": sequences,
        "segments": np.zeros_like(sequences),
        "places": places,
        "targets": np.ascontiguousarray(sequences[:, ::-1]),
    }
