"""Declares the task of minGPT's demo: to continue digits with the same digits in order.

    ids         2 0 1 1 0 2 0 0 1 1 2
    following   – – – – – 0 0 1 1 2 2

A decoder reads six digits of three kinds and then its own answer so far; only the answer is in the
loss. A quarter of the 729 sequences, chosen by the seed, is held out; the batches are drawn from
the others. For evaluation 5,000 sequences are drawn from each of the two parts, and the model
answers them greedily.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from graphgrad.data.corpus import permutation, random_words
from graphgrad.data.text_tokens import TextTokens
from graphgrad.data.vocabulary import EOS, PAD
from graphgrad.decoding import Decodable, Decoder, Sentence
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.language import VOCABULARY_FILE, Score
from graphgrad.training.task import Feeds, State, Task
from graphgrad.training.writer import SILENT, Writer

LENGTH, KINDS = 6, 3
EXAMINED, VALIDATED = 5000, 500
_SPLIT_STREAM, _TRAIN_STREAM, _TEST_STREAM = 9, 10, 11


class SortingSettings(Protocol):
    """The settings that the task reads."""

    @property
    def seed(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def backend(self) -> str: ...


def sorting_task(
    settings: SortingSettings,
    training: Callable[..., Graph],
    decodable: Callable[[int, tuple[int, ...]], Decodable],
) -> Task:
    """The task of a model that declares these for a vocabulary size; `decodable` also takes the
    tokens that are never an answer.

    Raises ConfigurationError for a context that is too short.
    """
    if settings.context < 2 * LENGTH - 1:
        raise ConfigurationError(
            f"context {settings.context} is too short to sort in",
            fix=f"--set context={2 * LENGTH - 1}",
        )
    tokens = TextTokens.build("character", ["".join(map(str, range(KINDS)))])
    size, offset = len(tokens), int(tokens.encode("0")[0])
    train, held_out = (part + offset for part in _parts(settings.seed))
    decoder = Decoder(decodable(size, (*SILENT, EOS)), backend=settings.backend)
    score = Score(training(size, training=False), backend=settings.backend)

    def right(state: State, sequences: np.ndarray) -> float:
        found = _answers(decoder, state, sequences)
        return float((found == np.sort(sequences, axis=1)).all(axis=1).mean())

    def drawn(part: np.ndarray, count: int, number: int, stream: int = _TEST_STREAM) -> np.ndarray:
        words = random_words(count, settings.seed, stream, number) % np.uint64(len(part))
        return part[words.astype(np.int64)]

    def examined(state: State, count: int) -> dict[str, float]:
        sequences = drawn(held_out, count, 0)
        loss, _ = score(state, iter([_feeds(sequences)]))
        return {"loss": loss, "exact_match": right(state, sequences)}

    def evaluate(state: State) -> dict[str, float]:
        trained = right(state, drawn(train, EXAMINED, 1))
        return examined(state, EXAMINED) | {"trained_exact_match": trained, "examples": EXAMINED}

    def examples(state: State) -> list[str]:
        shown = drawn(held_out, 2, 2)
        pairs = zip(shown, _answers(decoder, state, shown), strict=True)
        return [f"{tokens.decode(a.tolist())}  →  {tokens.decode(b.tolist())}" for a, b in pairs]

    return Task(
        graph=training(size),
        feeds=lambda step: _feeds(drawn(train, settings.batch_size, step, _TRAIN_STREAM)),
        evaluate=evaluate,
        validate=lambda state: examined(state, VALIDATED) | {"examples": VALIDATED},
        tokens=lambda feeds: int((feeds["following"] != PAD).sum()),
        examples=examples,
        generate=Writer(tokens, decoder, offset, LENGTH),
        decodable=decoder.programs.decodable,
        files={VOCABULARY_FILE: tokens.vocabulary.to_json()},
        step=step_that_decays_matrices,
    )


def _answers(decoder: Decoder, state: State, sequences: np.ndarray) -> np.ndarray:
    """The most probable answers to sequences [sequence, digit], in the same shape."""
    sentences = [Sentence(digits, LENGTH) for digits in sequences.tolist()]
    return np.array([answer.tokens for (answer,) in decoder(state, sentences)])


def _parts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of digits, int32 [sequence, digit]: those to train on, and those held out."""
    count = KINDS**LENGTH
    digits = np.arange(count)[:, None] // KINDS ** np.arange(LENGTH) % KINDS
    order = permutation(count, seed, _SPLIT_STREAM)
    parts = np.split(digits[order].astype(np.int32), [count - count // 4])
    return parts[0], parts[1]


def _feeds(sequences: np.ndarray) -> Feeds:
    """Inputs and targets of sequences; the targets before the last digit is read are padding."""
    whole = np.concatenate([sequences, np.sort(sequences, axis=1)], axis=1).astype(np.int32)
    following = whole[:, 1:].copy()
    following[:, : LENGTH - 1] = PAD
    return {"ids": whole[:, :-1], "following": following}
