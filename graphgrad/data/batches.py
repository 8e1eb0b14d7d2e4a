"""Pairs of lines into padded arrays of ids, for training and for evaluation.

Design: the batch of training step ``s`` is a pure function of (pairs, settings, seed, s), so a run
resumes at any step with no saved state. An epoch is a shuffle of the examples keyed by (seed,
epoch). It is cut into chunks of 64 batches; within a chunk the examples are ordered by padded
length, so that a batch holds lengths that are alike, and the batches of the epoch are then shuffled
in turn. What does not fill a batch is left out of that epoch; another epoch leaves out others.

Lengths are padded up to a multiple of ``round_to``, but never beyond the longest example of all:
a program is compiled once per (batch, source, target) shape, and so few shapes arise without
padding for its own sake. Within such a length examples keep their random order, which mixes a batch
as far as its shape allows.

Laws: a source sequence ends with ``<eos>``, as does ``target_output``; ``target_input`` starts with
``<bos>``; all three are padded with ``<pad>`` = 0 behind. ``target_input[:, 1:]`` equals
``target_output[:, :-1]`` wherever that is not ``<eos>``. No sequence is ever truncated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.data.corpus import Pair, permutation
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.errors import ConfigurationError, DataError

ROUND_TO = 8
CHUNK_BATCHES = 64
_EXAMPLE_STREAM, _BATCH_STREAM = 3, 4


@dataclass(frozen=True)
class Batch:
    """One batch of ids, int32.

    ``source`` is [batch, source], ``target_input`` and ``target_output`` are [batch, target].
    ``rows`` counts the real examples, which come first; a row that only fills up the shape has
    ``<eos>`` as its source and ``<bos>`` as its target input, so that attention never meets a row
    without a single token, and nothing but ``<pad>`` as its target output, so that it counts
    nowhere. ``tokens`` counts the target output's ids that are not ``<pad>``.
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
class _Examples:
    """Encoded pairs, ``<eos>`` included; the widths are their padded lengths, int64 [examples]."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]
    source_widths: np.ndarray
    target_widths: np.ndarray

    def batch(self, members: Sequence[int] | np.ndarray, batch_size: int) -> Batch:
        width = int(self.source_widths[members].max())
        target_width = int(self.target_widths[members].max())
        source = np.full((batch_size, width), PAD, np.int32)
        target_input = np.full((batch_size, target_width), PAD, np.int32)
        target_output = np.full((batch_size, target_width), PAD, np.int32)
        source[:, 0] = EOS
        target_input[:, 0] = BOS
        tokens = 0
        for row, number in enumerate(members):
            ids, answer = self.sources[number], self.targets[number]
            source[row, : len(ids)] = ids
            target_input[row, 1 : len(answer)] = answer[:-1]
            target_output[row, : len(answer)] = answer
            tokens += len(answer)
        return Batch(source, target_input, target_output, len(members), tokens)


class Batches:
    """The endless, reproducible sequence of training batches.

    ``maximum_length`` bounds both sides of a pair in tokens, ``<eos>`` included; longer pairs are
    left out, ``dropped`` counts them and ``notice`` says so in words (empty if there are none).
    Raises `ConfigurationError` for settings that make no sense, and where fewer pairs remain than
    fill one batch: the size of a batch is part of a recipe, so it is never changed silently.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        source_vocabulary: Vocabulary,
        target_vocabulary: Vocabulary,
        batch_size: int,
        seed: int = 0,
        maximum_length: int | None = None,
        round_to: int = ROUND_TO,
    ) -> None:
        _check_sizes(batch_size, round_to)
        sources, targets = _encode(pairs, source_vocabulary, target_vocabulary)
        long = _too_long(sources, targets, maximum_length)
        self._examples = _examples(sources, targets, ~long, round_to)
        self.dropped = int(long.sum())
        self.batch_size, self.seed = batch_size, seed
        self.notice = ""
        if self.dropped:
            self.notice = (
                f"{self.dropped} of {len(pairs)} pairs are longer than {maximum_length} tokens "
                "and left out of training"
            )
        remaining = len(self._examples.sources)
        if remaining < batch_size:
            dropped = f" ({self.notice})" if self.notice else ""
            raise ConfigurationError(
                f"{remaining} training pairs do not fill one batch of {batch_size}{dropped}",
                fix="use a smaller batch size or more training pairs",
            )
        self._order = (0, self._epoch_order(0))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._examples.sources) // self.batch_size

    def at(self, step: int) -> Batch:
        """The batch of training step ``step`` = 0, 1, 2, ..."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        epoch, place = divmod(step, len(self))
        return self._examples.batch(self._members(epoch)[place], self.batch_size)

    def shapes(self, epoch: int = 0) -> tuple[tuple[int, int, int], ...]:
        """The distinct (batch, source, target) shapes of one epoch, in ascending order."""
        members, examples = self._members(epoch), self._examples
        sources = examples.source_widths[members].max(axis=1)
        targets = examples.target_widths[members].max(axis=1)
        widths = set(zip(sources.tolist(), targets.tolist(), strict=True))
        return tuple((self.batch_size, *pair) for pair in sorted(widths))

    def _members(self, epoch: int) -> np.ndarray:
        # one epoch is remembered: a pure function's value, kept only to save time
        known, order = self._order
        if known != epoch:
            order = self._epoch_order(epoch)
            self._order = (epoch, order)
        return order

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The examples of each batch of an epoch, int64 [batches per epoch, batch]."""
        examples, count = self._examples, len(self)
        order = permutation(len(examples.sources), self.seed, _EXAMPLE_STREAM, epoch)
        order = order[: count * self.batch_size]
        chunk = np.arange(len(order)) // (CHUNK_BATCHES * self.batch_size)
        keys = (examples.target_widths[order], examples.source_widths[order], chunk)
        alike: np.ndarray = order[np.lexsort(keys)].reshape(count, self.batch_size)
        shuffled: np.ndarray = alike[permutation(count, self.seed, _BATCH_STREAM, epoch)]
        return shuffled


def evaluation_batches(
    pairs: Sequence[Pair],
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    batch_size: int,
    maximum_length: int | None = None,
    round_to: int = ROUND_TO,
) -> Iterator[Batch]:
    """All pairs in their order, as batches of one size; ``rows`` of the last may be fewer.

    No pair is left out, since a score over the others would mislead: raises `DataError` where one
    is longer than ``maximum_length`` tokens, and where there are no pairs.
    """
    _check_sizes(batch_size, round_to)
    if not len(pairs):
        raise DataError("there are no pairs to evaluate", fix="give at least one")
    sources, targets = _encode(pairs, source_vocabulary, target_vocabulary)
    long = np.flatnonzero(_too_long(sources, targets, maximum_length))
    if len(long):
        first = int(long[0])
        raise DataError(
            f"{len(long)} of {len(pairs)} pairs are longer than {maximum_length} tokens",
            f"pair {first + 1}: {pairs[first][0]!r:.80}",
            "raise the maximum length or shorten the text",
        )
    examples = _examples(sources, targets, np.ones(len(pairs), bool), round_to)
    starts = range(0, len(pairs), batch_size)
    return (
        examples.batch(range(start, min(start + batch_size, len(pairs))), batch_size)
        for start in starts
    )


def _check_sizes(batch_size: int, round_to: int) -> None:
    for name, value in (("batch_size", batch_size), ("round_to", round_to)):
        if value < 1:
            raise ConfigurationError(f"{name} is {value}", fix="use 1 or more")


def _encode(
    pairs: Sequence[Pair], source_vocabulary: Vocabulary, target_vocabulary: Vocabulary
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    sources = [np.array([*source_vocabulary.encode(line), EOS], np.int32) for line, _ in pairs]
    targets = [np.array([*target_vocabulary.encode(line), EOS], np.int32) for _, line in pairs]
    return sources, targets


def _too_long(
    sources: list[np.ndarray], targets: list[np.ndarray], maximum_length: int | None
) -> np.ndarray:
    if maximum_length is None:
        return np.zeros(len(sources), bool)
    longest: np.ndarray = np.maximum(_lengths(sources), _lengths(targets))
    return longest > maximum_length


def _lengths(sequences: list[np.ndarray]) -> np.ndarray:
    return np.array([len(sequence) for sequence in sequences], np.int64)


def _examples(
    sources: list[np.ndarray], targets: list[np.ndarray], kept: np.ndarray, round_to: int
) -> _Examples:
    members = np.flatnonzero(kept).tolist()
    sources, targets = [sources[m] for m in members], [targets[m] for m in members]
    return _Examples(sources, targets, _widths(sources, round_to), _widths(targets, round_to))


def _widths(sequences: list[np.ndarray], round_to: int) -> np.ndarray:
    """Lengths rounded up to a multiple of ``round_to``, but not beyond the longest of all."""
    lengths = _lengths(sequences)
    widths: np.ndarray = np.minimum(-(-lengths // round_to) * round_to, lengths.max(initial=0))
    return widths
