"""Work that can be divided among processes: the batches and sentences of an evaluation.

    results = spread(work, items)

gives the result of every item, in order. Alone, a process does one after the other. Ranks each do
every N-th item, and tell each other the results, so that all of them have all results and compute
the same from them: figures are those of one process, as every sum is made in the same order.

A result is plain values, which are exchanged as JSON: a float has the same bits after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from graphgrad.ranks import Communicator

PIECE = 2**19
"""The bytes of a message."""


class Spread(Protocol):
    """What divides work: `parts` is into how many parts large items should be cut."""

    parts: int

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results of the items, in order."""


class Alone:
    """One process, which does everything."""

    parts = 1

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(work, items)


ALONE = Alone()


class OverRanks:
    """The ranks of a communicator; `number` is that of its messages."""

    def __init__(self, communicator: Communicator, number: int) -> None:
        self._communicator, self._number = communicator, number
        self.parts = communicator.size

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        rank, size = self._communicator.rank, self._communicator.size
        own = [work(item) for place, item in enumerate(items) if place % size == rank]
        found = [json.loads(text) for text in self._joined(json.dumps(own).encode())]
        for place in range(sum(map(len, found))):
            yield found[place % size][place // size]

    def _joined(self, own: bytes) -> list[bytes]:
        """What each rank has, exchanged in pieces."""
        gather, number = self._communicator.gather, self._number
        lengths = [int(each) for each in gather(str(len(own)).encode(), number, patient=True)]
        texts = [b""] * len(lengths)
        for start in range(0, max(lengths), PIECE):
            pieces = gather(own[start : start + PIECE], number, patient=True)
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts
