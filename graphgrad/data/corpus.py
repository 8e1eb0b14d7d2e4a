"""A corpus of (source, target) pairs, and the stable shuffles that all of its users draw from.

Design: shuffles are sorted raw words of a Philox counter generator. NumPy promises that the raw
words of a bit generator never change between its versions, but not so for `Generator.permutation`
or `Generator.integers`; built on raw words, a split or a batch order means the same everywhere.

Laws: a `permutation` is a pure function of its arguments; different `stream` numbers give
independent draws under the same key.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import ConfigurationError

Pair = tuple[str, str]


@dataclass(frozen=True)
class Corpus:
    """Pairs of (source line, target line), split three ways; no source is on two sides.

    `notice` has a line of text for each thing that is odd about the pairs; empty for nothing.

    >>> import graphgrad as gg
    >>> pair = ("one", "eins")
    >>> corpus = gg.data.Corpus("numbers", train=[pair], validation=[], test=[])
    >>> corpus.digest()[:8]
    'af54f912'
    """

    name: str
    train: Sequence[Pair]
    validation: Sequence[Pair]
    test: Sequence[Pair]
    notice: str = ""

    def digest(self) -> str:
        """The sha256 of every pair, in order, and of the side that it is on."""
        whole = hashlib.sha256()
        for pairs in (self.train, self.validation, self.test):
            for side in (0, 1):
                whole.update(f"{len(pairs)}\n".encode())
                for pair in pairs:
                    whole.update(f"{pair[side]}\n".encode())
        return whole.hexdigest()


def random_words(count: int, seed: int, stream: int = 0, epoch: int = 0) -> np.ndarray:
    """`count` random words, uint64, keyed by `(seed, epoch)`; `stream` picks the counter.

    Raises `ConfigurationError` for a seed outside 0 .. 2**64 - 1.
    """
    if not 0 <= seed < 2**64:
        raise ConfigurationError(
            f"the seed {seed} is outside 0 .. 2**64 - 1", fix="give a seed that is not negative"
        )
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def permutation(count: int, seed: int, stream: int = 0, epoch: int = 0) -> np.ndarray:
    """A random order of 0 .. count - 1, int64; same arguments, same order, on every machine.

    Permutations of different `stream` or `epoch` are independent. Raises `ConfigurationError` for a
    seed outside 0 .. 2**64 - 1.

    >>> import graphgrad as gg
    >>> gg.data.permutation(5, seed=0)
    array([0, 2, 1, 4, 3])
    """
    return np.argsort(random_words(count, seed, stream, epoch), kind="stable")
