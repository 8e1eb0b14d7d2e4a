"""Turns texts of a user into inputs of a model's loss: what a task offers to look at a sentence.

`inspect` and recording look at batches of the data. Patching, lenses and pictures of attention look
at a sentence that a user types: several texts, and one answer whose loss is computed for each of
them. Only the tokens of the answer count in the loss, and there is neither dropout nor smoothing.

    translation     source: the text       target: the answer, which is a translation
    GPT             ids: text and answer   the loss of the answer's tokens
    BERT            ids: text with gaps    the loss of the words in the gaps
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.data.tokens import Tokens
from graphgrad.data.vocabulary import BOS, EOS, PAD
from graphgrad.errors import DataError
from graphgrad.graph import Graph

Feeds = dict[str, np.ndarray]
State = Mapping[str, np.ndarray]
_SHOWN = 40


@dataclass(frozen=True)
class Prompts:
    """What a model makes of texts that a user types."""

    graph: Graph
    """Forward only, without dropout and smoothing, with the scalar output `loss`."""
    feeds: Callable[[Sequence[str], str], Feeds]
    """The inputs for texts with one answer: a row for each text, all of one length."""
    answer: Callable[[State, str], str]
    """What the model itself answers to a text."""
    token: Callable[[int], str]
    """The text of a token of the vocabulary of the logits."""


def answered_rows(
    ids: Sequence[Sequence[int]], answer: Sequence[int], texts: Sequence[str]
) -> Feeds:
    """The inputs `ids` and `following` of a language model for texts with one answer.

    Raises DataError where the texts differ in length: their positions would not correspond.
    """
    need_equal_lengths(ids, texts)
    rows = np.array([[*row, *answer] for row in ids], np.int32)
    following = np.full_like(rows[:, 1:], PAD)
    following[:, -len(answer) :] = answer
    return {"ids": rows[:, :-1], "following": following}


def need_equal_lengths(ids: Sequence[Sequence[int]], texts: Sequence[str]) -> None:
    """Raises DataError where texts have different numbers of tokens."""
    for row, text in zip(ids, texts, strict=True):
        if len(row) != len(ids[0]):
            raise DataError(
                f"{texts[0][:_SHOWN]!r} has {len(ids[0])} tokens and {text[:_SHOWN]!r} has "
                f"{len(row)}: their positions do not correspond",
                fix="change a word for one with as many tokens",
            )


def padded_sources(ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids, padded behind to the longest; int32 [text, source]."""
    table = np.full((len(ids), max(map(len, ids))), PAD, np.int32)
    for row, numbers in zip(table, ids, strict=True):
        row[: len(numbers)] = numbers
    return table


def translated_rows(
    sources: Sequence[Sequence[int]], answer: str, target: Tokens, most: int
) -> Feeds:
    """The inputs of a translator for sources that end with <eos> and one translation of all."""
    tokens = list(target.encode(answer))
    if len(tokens) + 1 > most:
        raise DataError(
            f"the target has {len(tokens)} tokens, the model takes {most - 1}: {answer[:_SHOWN]!r}",
            fix="shorten it",
        )
    rows = (len(sources), 1)
    return {
        "source": padded_sources(sources),
        "target_input": np.tile(np.array([BOS, *tokens], np.int32), rows),
        "target_output": np.tile(np.array([*tokens, EOS], np.int32), rows),
    }
