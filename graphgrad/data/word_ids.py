"""The ids of words that come again and again, looked up in bulk.

A word is encoded when it is first seen. What is known is one flat array of ids and, for each word,
where its ids start; so the ids of a million words are gathered without a Python object for each.
"""

from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np

Encode = Callable[[list[str]], Sequence[Sequence[int]]]


class WordIds:
    """Remembers the ids of at most `limit` words; more are forgotten all at once."""

    def __init__(self, encode: Encode, limit: int) -> None:
        self._encode, self._limit = encode, limit
        self._known: dict[str, int] = {}
        self._ids: np.ndarray = np.zeros(0, np.int32)
        self._starts: np.ndarray = np.zeros(0, np.int64)
        self._lengths: np.ndarray = np.zeros(0, np.int64)

    def of(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the words behind one another, int32, and how many each has, int64."""
        places = self._places(words)
        if len(words) and places.min() < 0:
            fresh = list(dict.fromkeys(words[n] for n in np.flatnonzero(places < 0).tolist()))
            if len(self._known) + len(fresh) > self._limit:
                self._forget()
                fresh = list(dict.fromkeys(words))
            self._learn(fresh)
            places = self._places(words)
        lengths = self._lengths[places]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(words) else 0
        shifts = np.repeat(self._starts[places] - ends + lengths, lengths)
        return self._ids[shifts + np.arange(total)], lengths

    def _places(self, words: list[str]) -> np.ndarray:
        return np.fromiter(map(self._known.get, words, repeat(-1)), np.int64, len(words))

    def _learn(self, words: list[str]) -> None:
        encoded = self._encode(words)
        first = len(self._known)
        self._known.update(zip(words, range(first, first + len(words)), strict=True))
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        begin = len(self._ids)
        self._starts = np.concatenate([self._starts, begin + np.cumsum(lengths) - lengths])
        self._lengths = np.concatenate([self._lengths, lengths])
        flat = np.array([number for ids in encoded for number in ids], np.int32)
        self._ids = np.concatenate([self._ids, flat])

    def _forget(self) -> None:
        self._known.clear()
        self._ids, self._starts, self._lengths = self._ids[:0], self._starts[:0], self._lengths[:0]
