"""Builds tokenizers of words, characters, byte pairs, or words that were split beforehand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from graphgrad.data.byte_pairs import (
    LEVEL,
    BytePairs,
    byte_pairs_from,
    read_byte_pairs,
    train_byte_pairs,
)
from graphgrad.data.corpus import Pair
from graphgrad.data.flat import Pairs, side_of
from graphgrad.data.vocabulary import Encoded, Vocabulary

KINDS: Mapping[str, str] = {
    "characters": "character",
    "words": "whitespace",
    "bpe": LEVEL,
    "presplit": "presplit",
    "character": "character",
    "whitespace": "whitespace",
}
"""The names of `--set tokens=…` and the levels that they stand for; the last two are older names.
"""


SAMPLE = 200_000


class Tokens(Protocol):
    """Converts lines to ids and back; `Vocabulary` describes each method."""

    @property
    def level(self) -> str: ...
    @property
    def tokens(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def encode(self, line: str) -> list[int]: ...
    def encode_all(self, lines: Iterable[str]) -> Encoded: ...
    def decode(self, ids: Iterable[int]) -> str: ...
    def normal_form(self, line: str) -> str: ...
    def to_json(self) -> str: ...


def build_tokens(
    pairs: Sequence[Pair], kind: str, size: int, file: str = "", joint: bool = False
) -> tuple[Tokens, Tokens]:
    """The tokens of both sides, learnt from the pairs or, for byte pairs, read from a file.

    `joint` learns one vocabulary from both sides. Byte pairs are learnt from at most `SAMPLE`
    pairs, taken at equal distances.
    """
    level = KINDS[kind]
    if file:
        known = read_byte_pairs(file)
        return known, known
    if level == LEVEL and isinstance(pairs, Pairs) and len(pairs) > SAMPLE:
        pairs = pairs.subset(np.linspace(0, len(pairs) - 1, SAMPLE).astype(np.int64))
    if joint:
        one = _build(chain(side_of(pairs, 0), side_of(pairs, 1)), level, size)
        return one, one
    source, target = (_build(side_of(pairs, side), level, size) for side in (0, 1))
    return source, target


def _build(lines: Iterable[str], level: str, size: int) -> Tokens:
    if level == LEVEL:
        return train_byte_pairs(lines, size)
    return Vocabulary.build(lines, level, maximum_size=size)


def tokens_from_json(text: str, where: str) -> Tokens:
    """Reads what `to_json` wrote; `where` names the file. Raises `DataError` for damaged text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None  # the vocabulary says what is wrong
    if isinstance(value, dict) and value.get("level") == LEVEL:
        return byte_pairs_from(value, where)
    return Vocabulary.from_json(text, where)


__all__ = ["KINDS", "BytePairs", "Tokens", "build_tokens", "tokens_from_json"]
