"""Pairs of lines into padded arrays of ids, for training and for evaluation.

Design: the batch of training step `s` is a pure function of (pairs, settings, seed, s), so a run
resumes at any step with no saved state. An epoch is a shuffle of the examples keyed by (seed,
epoch). It is cut into chunks of 64 batches; within a chunk the examples are ordered by padded
length, so that a batch holds lengths that are alike, and the batches of the epoch are then shuffled
in turn. What does not fill a batch is left out of that epoch; another epoch leaves out others.

Lengths are padded up to a multiple of `round_to`, but never beyond the longest example of all:
a program is compiled once per (batch, source, target) shape, and so few shapes arise without
padding for its own sake. Within such a length examples keep their random order, which mixes a batch
as far as its shape allows. (Batches of about equally many tokens are in `token_batches.py`.)

Laws: a source sequence ends with `<eos>`, as does `target_output`; `target_input` starts with
`<bos>`; all three are padded with `<pad>` = 0 behind. `target_input[:, 1:]` equals
`target_output[:, :-1]` wherever that is not `<eos>`. No sequence is ever truncated.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from graphgrad.data.corpus import Pair, permutation
from graphgrad.data.encoded import Batch, Examples, encode_pairs
from graphgrad.data.lines import Watch, unwatched
from graphgrad.data.parallel import lines_text
from graphgrad.data.tokens import Tokens
from graphgrad.errors import ConfigurationError, DataError

ROUND_TO = 8
CHUNK_BATCHES = 64
EXAMPLE_STREAM, BATCH_STREAM = 3, 4


class Batches:
    """The endless, reproducible sequence of training batches.

    `maximum_length` bounds both sides of a pair in tokens, `<eos>` included; longer pairs are
    left out, `dropped` counts them and `notice` says so in words (empty if there are none).
    `watch` is told the lines that are encoded. Raises `ConfigurationError` for settings that make
    no sense, and where fewer pairs remain than fill one batch: the size of a batch is part of a
    recipe, so it is never changed silently.

    >>> import graphgrad as gg
    >>> pairs = [("a b", "x"), ("b", "x y")]
    >>> source, target = (
    ...     gg.data.Vocabulary.build(lines, "whitespace") for lines in zip(*pairs)
    ... )
    >>> batches = gg.data.Batches(pairs, source, target, batch_size=2)
    >>> len(batches), batches.at(0).shape
    (1, (2, 3, 3))
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        source_vocabulary: Tokens,
        target_vocabulary: Tokens,
        batch_size: int,
        seed: int = 0,
        maximum_length: int | None = None,
        round_to: int = ROUND_TO,
        watch: Watch = unwatched,
    ) -> None:
        _check_sizes(batch_size, round_to)
        encoded = encode_pairs(pairs, source_vocabulary, target_vocabulary, watch)
        self.examples, self.notice = fitting(encoded, maximum_length)
        self.dropped = len(encoded) - len(self.examples)
        self.batch_size, self.seed = batch_size, seed
        self._source_widths = _widths(self.examples.sources.lengths, round_to)
        self._target_widths = _widths(self.examples.targets.lengths, round_to)
        remaining = len(self.examples)
        if remaining < batch_size:
            dropped = f" ({self.notice})" if self.notice else ""
            raise ConfigurationError(
                f"{remaining} training pairs do not fill one batch of {batch_size}{dropped}",
                fix="use a smaller batch size or more training pairs",
            )
        self._order = (0, self._epoch_order(0))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.examples) // self.batch_size

    def at(self, step: int) -> Batch:
        """The batch of training step `step` = 0, 1, 2, ..."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        epoch, place = divmod(step, len(self))
        members = self._members(epoch)[place]
        source, target = self._widths_of(members)
        return self.examples.batch(members, self.batch_size, int(source), int(target))

    def shapes(self, epoch: int = 0) -> tuple[tuple[int, int, int], ...]:
        """The distinct (batch, source, target) shapes of one epoch, in ascending order."""
        sources, targets = self._widths_of(self._members(epoch))
        widths = set(zip(sources.tolist(), targets.tolist(), strict=True))
        return tuple((self.batch_size, *pair) for pair in sorted(widths))

    def padding(self, epoch: int = 0) -> float:
        """The share of `<pad>` among the ids of one epoch, source and target together."""
        members = self._members(epoch)
        cells = self.batch_size * sum(int(widths.sum()) for widths in self._widths_of(members))
        return padding_share(self.examples, members, cells)

    def _widths_of(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The padded lengths of the batches whose examples stand along the last axis."""
        sources, targets = self._source_widths[members], self._target_widths[members]
        return sources.max(axis=-1), targets.max(axis=-1)

    def _members(self, epoch: int) -> np.ndarray:
        # one epoch is remembered: a pure function's value, kept only to save time
        known, order = self._order
        if known != epoch:
            order = self._epoch_order(epoch)
            self._order = (epoch, order)
        return order

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The examples of each batch of an epoch, int64 [batches per epoch, batch]."""
        count = len(self)
        order = permutation(len(self.examples), self.seed, EXAMPLE_STREAM, epoch)
        order = order[: count * self.batch_size]
        chunk = np.arange(len(order)) // (CHUNK_BATCHES * self.batch_size)
        keys = (self._target_widths[order], self._source_widths[order], chunk)
        alike: np.ndarray = order[np.lexsort(keys)].reshape(count, self.batch_size)
        shuffled: np.ndarray = alike[permutation(count, self.seed, BATCH_STREAM, epoch)]
        return shuffled


def fitting(examples: Examples, maximum_length: int | None) -> tuple[Examples, str]:
    """The examples that are not too long, and a word about the others."""
    long = examples.longer_than(maximum_length)
    count = int(long.sum())
    if not count:
        return examples, ""
    numbers = [] if examples.numbers is None else examples.numbers[long].tolist()
    notice = (
        f"{count} of {len(examples)} pairs are longer than {maximum_length} tokens "
        f"and left out of training{f' ({lines_text(numbers)})' if numbers else ''}"
    )
    return examples.subset(~long), notice


def padding_share(examples: Examples, members: np.ndarray, cells: int) -> float:
    """The share of `<pad>` where these examples stand in so many cells."""
    sides = (examples.sources, examples.targets)
    return 1 - sum(int(side.lengths[members].sum()) for side in sides) / cells


def evaluation_batches(
    pairs: Sequence[Pair],
    source_vocabulary: Tokens,
    target_vocabulary: Tokens,
    batch_size: int,
    maximum_length: int | None = None,
    round_to: int = ROUND_TO,
) -> Iterator[Batch]:
    """All pairs in their order, as batches of one size; `rows` of the last may be fewer.

    No pair is left out, since a score over the others would mislead: raises `DataError` where one
    is longer than `maximum_length` tokens, and where there are no pairs.

    >>> import graphgrad as gg
    >>> pairs = [("a b", "x"), ("b", "x y")]
    >>> source, target = (
    ...     gg.data.Vocabulary.build(lines, "whitespace") for lines in zip(*pairs)
    ... )
    >>> batches = gg.data.evaluation_batches(pairs, source, target, batch_size=1)
    >>> [batch.target_output.tolist() for batch in batches]
    [[[4, 2, 0]], [[4, 5, 2]]]
    """
    _check_sizes(batch_size, round_to)
    if not len(pairs):
        raise DataError("there are no pairs to evaluate", fix="give at least one")
    examples = encode_pairs(pairs, source_vocabulary, target_vocabulary)
    long = np.flatnonzero(examples.longer_than(maximum_length))
    if len(long):
        first = int(long[0])
        raise DataError(
            f"{len(long)} of {len(pairs)} pairs are longer than {maximum_length} tokens",
            f"pair {first + 1}: {pairs[first][0]!r:.80}",
            "raise the maximum length or shorten the text",
        )
    sources = _widths(examples.sources.lengths, round_to)
    targets = _widths(examples.targets.lengths, round_to)
    cuts = (slice(start, start + batch_size) for start in range(0, len(pairs), batch_size))
    return (
        examples.batch(
            np.arange(len(pairs))[cut], batch_size, int(sources[cut].max()), int(targets[cut].max())
        )
        for cut in cuts
    )


def _check_sizes(batch_size: int, round_to: int) -> None:
    for name, value in (("batch_size", batch_size), ("round_to", round_to)):
        if value < 1:
            raise ConfigurationError(f"{name} is {value}", fix="use 1 or more")


def _widths(lengths: np.ndarray, round_to: int) -> np.ndarray:
    """Lengths rounded up to a multiple of `round_to`, but not beyond the longest of all."""
    widths: np.ndarray = np.minimum(-(-lengths // round_to) * round_to, lengths.max(initial=0))
    return widths
