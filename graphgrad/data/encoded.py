"""Encoded pairs as flat arrays: ids without padding, and where each sequence starts.

A million pairs of twenty tokens take some 100 MB. A sequence holds its `<eos>`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from graphgrad.data.corpus import Pair
from graphgrad.data.flat import Pairs, side_of
from graphgrad.data.lines import Watch, unwatched
from graphgrad.data.tokens import Tokens
from graphgrad.data.vocabulary import BOS, EOS, PAD, UNK

_AT_ONCE = 1 << 13  # lines encoded at a time


@dataclass(frozen=True)
class Batch:
    """One batch of ids, int32.

    `source` is [batch, source], `target_input` and `target_output` are [batch, target].
    `rows` counts the real examples, which come first; a row that only fills up the shape has
    `<eos>` as its source and `<bos>` as its target input, so that attention never meets a row
    without a single token, and nothing but `<pad>` as its target output, so that it counts
    nowhere. `tokens` counts the target output's ids that are not `<pad>`.

    >>> import numpy as np
    >>> import graphgrad as gg
    >>> source, answer = np.array([[4, 5, 2]]), np.array([[6, 2]])
    >>> gg.data.Batch(source, np.array([[1, 6]]), answer, rows=1, tokens=2).shape
    (1, 3, 2)
    """

    source: np.ndarray
    target_input: np.ndarray
    target_output: np.ndarray
    rows: int
    tokens: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The lengths of the axes (batch, source, target)."""
        return (*self.source.shape, self.target_output.shape[1])


@dataclass(frozen=True)
class Sequences:
    """Sequences of ids behind one another; sequence n is `ids[starts[n] : starts[n + 1]]`."""

    ids: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """The length of each, int64."""
        return np.diff(self.starts)

    @cached_property
    def unknown(self) -> float:
        """The share of `<unk>` among the tokens of the text."""
        tokens = len(self.ids) - len(self)
        return int(np.count_nonzero(self.ids == UNK)) / max(tokens, 1)

    def padded(self, members: np.ndarray, rows: int, width: int) -> np.ndarray:
        """The members as rows, padded behind; int32 [rows, width]."""
        table = np.full((rows, width), PAD, np.int32)
        inside = np.arange(width) < self.lengths[members, None]
        places = self.starts[members, None] + np.arange(width)
        table[: len(members)][inside] = self.ids[places[inside]]
        return table

    def subset(self, kept: np.ndarray) -> "Sequences":
        """The sequences where a mask is true."""
        if kept.all():
            return self
        lengths = self.lengths[kept]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return Sequences(self.ids[np.repeat(kept, self.lengths)], starts)


@dataclass(frozen=True)
class Examples:
    """Encoded pairs, `<eos>` included; `numbers` are those of their lines, where there are."""

    sources: Sequences
    targets: Sequences
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def longer_than(self, maximum_length: int | None) -> np.ndarray:
        """Where one side is longer than that many tokens, `<eos>` included."""
        if maximum_length is None:
            return np.zeros(len(self), bool)
        longer: np.ndarray = np.maximum(self.sources.lengths, self.targets.lengths)
        return longer > maximum_length

    def subset(self, kept: np.ndarray) -> "Examples":
        """The examples where a mask is true."""
        numbers = None if self.numbers is None else self.numbers[kept]
        return Examples(self.sources.subset(kept), self.targets.subset(kept), numbers)

    def batch(
        self, members: Sequence[int] | np.ndarray, rows: int, width: int, target_width: int
    ) -> Batch:
        """The members as a batch of that shape; rows that are left over count nowhere."""
        members = np.asarray(members)
        source = self.sources.padded(members, rows, width)
        target_output = self.targets.padded(members, rows, target_width)
        target_input = np.full_like(target_output, PAD)
        target_input[:, 1:] = target_output[:, :-1]
        target_input[target_input == EOS] = PAD
        target_input[:, 0] = BOS
        source[len(members) :, 0] = EOS
        tokens = int(self.targets.lengths[members].sum())
        return Batch(source, target_input, target_output, len(members), tokens)


def encode_pairs(
    pairs: Sequence[Pair], source: Tokens, target: Tokens, watch: Watch = unwatched
) -> Examples:
    """Both sides of the pairs as ids, in order; `watch` is told the lines, some at a time."""
    sources, targets = (
        encode_lines(side_of(pairs, side), tokens, watch)
        for side, tokens in ((0, source), (1, target))
    )
    return Examples(sources, targets, pairs.numbers if isinstance(pairs, Pairs) else None)


def encode_lines(lines: Iterable[str], tokens: Tokens, watch: Watch = unwatched) -> Sequences:
    """The ids of the lines, each with `<eos>`."""
    dtype = np.uint16 if len(tokens) <= 1 << 16 else np.int32
    parts, lengths = [np.zeros(0, dtype)], [np.zeros(0, np.int64)]
    for some in _cut(iter(lines)):
        ids, counts = tokens.encode_all(some)
        parts.append(np.insert(ids, np.cumsum(counts), EOS).astype(dtype))
        lengths.append(counts + 1)
        watch(len(some))
    starts = np.concatenate([[0], *lengths]).cumsum()
    return Sequences(np.concatenate(parts), starts)


def _cut(lines: Iterator[str]) -> Iterator[list[str]]:
    while some := list(islice(lines, _AT_ONCE)):
        yield some
