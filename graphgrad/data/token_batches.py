"""Batches of about equally many tokens, in a few shapes.

Design: `choose_shapes` cuts the pairs into buckets by length. A batch of a bucket has as many rows
as its budget of tokens holds at the bucket's width, so a program is compiled once per bucket and no
other shape ever comes. An epoch is a shuffle of the examples keyed by (seed, epoch), ordered by
bucket from the longest to the shortest, and cut into batches; where the examples of a bucket do not
fill its last batch, shorter ones of the next bucket do. So the long ones, which are few, are seen
in every epoch, and what is left out of it are a few of the shortest: others in another epoch. The
batches are then shuffled in turn.

Laws: the batch of a step is a pure function of (pairs, settings, seed, step); an epoch has the same
number of batches of each shape as any other, and shows no example twice; rows × the longer side of
a shape is never above the budget.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.data.batches import BATCH_STREAM, EXAMPLE_STREAM, fitting, padding_share
from graphgrad.data.buckets import Shape, choose_shapes, shape_of
from graphgrad.data.corpus import Pair, permutation
from graphgrad.data.encoded import Batch, Examples, encode_pairs
from graphgrad.data.lines import Watch, unwatched
from graphgrad.data.tokens import Tokens
from graphgrad.errors import ConfigurationError


@dataclass(frozen=True)
class _Layout:
    """The cuts of an epoch, batch by batch: which shape, how many rows, from which place on."""

    shape: np.ndarray
    rows: np.ndarray
    start: np.ndarray


class TokenBatches:
    """The endless, reproducible sequence of training batches.

    `batch_tokens` bounds rows × the longer side of a batch, `buckets` the number of shapes, and
    `maximum_length` both sides of a pair in tokens, `<eos>` included; longer pairs are left out,
    and `notice` says so. `watch` is told the lines that are encoded. Raises `ConfigurationError`
    where no pair remains, and where the longest one does not fit a batch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        source_vocabulary: Tokens,
        target_vocabulary: Tokens,
        batch_tokens: int,
        buckets: int,
        seed: int = 0,
        maximum_length: int | None = None,
        watch: Watch = unwatched,
    ) -> None:
        encoded = encode_pairs(pairs, source_vocabulary, target_vocabulary, watch)
        self.examples, self.notice = fitting(encoded, maximum_length)
        self.batch_tokens, self.seed = batch_tokens, seed
        if not len(self.examples):
            raise ConfigurationError(
                f"no training pair has at most {maximum_length} tokens",
                fix="set a larger maximum_length",
            )
        lengths = self.examples.sources.lengths, self.examples.targets.lengths
        self._widths = choose_shapes(*lengths, buckets)
        longest = max(self._widths[-1])
        if longest > batch_tokens:
            raise ConfigurationError(
                f"the longest pair has {longest} tokens, and a batch holds {batch_tokens}",
                fix=f"set batch_tokens to {longest} or more, or a smaller maximum_length",
            )
        self._bucket = shape_of(*lengths, self._widths).astype(np.int16)
        self._layout = _laid_out(np.bincount(self._bucket), self._widths, batch_tokens)
        self._known: tuple[int, np.ndarray, np.ndarray] = (0, *self._epoch(0))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._layout.start)

    def at(self, step: int) -> Batch:
        """The batch of training step `step` = 0, 1, 2, ..."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        epoch, place = divmod(step, len(self))
        if self._known[0] != epoch:  # a pure function's value, kept only to save time
            self._known = (epoch, *self._epoch(epoch))
        _, order, turns = self._known
        number, layout = turns[place], self._layout
        start, rows = int(layout.start[number]), int(layout.rows[number])
        members = order[start : start + rows]
        return self.examples.batch(members, rows, *self._widths[layout.shape[number]])

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The (batch, source, target) shapes that there are, in ascending order of lengths."""
        found = dict(zip(self._layout.shape.tolist(), self._layout.rows.tolist(), strict=True))
        return tuple((found[number], *self._widths[number]) for number in sorted(found))

    def padding(self) -> float:
        """The share of `<pad>` among the ids of the first epoch, both sides together."""
        widths = np.array([sum(shape) for shape in self._widths])
        cells = int((self._layout.rows * widths[self._layout.shape]).sum())
        order, _ = self._epoch(0)
        shown = order[: int(self._layout.rows.sum())]
        return padding_share(self.examples, shown, cells)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples of an epoch, the longest bucket first, and the turns of the batches."""
        order = permutation(len(self.examples), self.seed, EXAMPLE_STREAM, epoch)
        alike = np.argsort(-self._bucket[order], kind="stable")
        return order[alike], permutation(len(self), self.seed, BATCH_STREAM, epoch)


def _laid_out(counts: np.ndarray, widths: Sequence[Shape], batch_tokens: int) -> _Layout:
    """The cuts of every epoch, from the longest bucket to the shortest."""
    total, place, end = int(counts.sum()), 0, 0
    shape: list[int] = []
    rows: list[int] = []
    for number in range(len(counts) - 1, -1, -1):
        end += int(counts[number])
        need = end - place
        if need <= 0:
            continue  # longer buckets were filled up with all of it
        size = batch_tokens // max(widths[number])
        batches = -(-need // size)
        size = min(size, (total - place) // batches)  # where nothing shorter is left to fill up
        shape += [number] * batches
        rows += [size] * batches
        place += batches * size
    starts = np.concatenate([[0], np.cumsum(rows)[:-1]])
    return _Layout(np.array(shape), np.array(rows), starts.astype(np.int64))


def scored_batches(examples: Examples, shapes: Sequence[tuple[int, int, int]]) -> Iterator[Batch]:
    """All examples once, in these (batch, source, target) shapes, for figures that are sums.

    What is longer than the last of them comes in one more shape, which holds them all.
    """
    for (count, *widths), members in _scored(examples, shapes):
        for start in range(0, len(members), count):
            yield examples.batch(members[start : start + count], count, *widths)


def scored_shapes(
    examples: Examples, shapes: Sequence[tuple[int, int, int]]
) -> set[tuple[int, int, int]]:
    """The shapes in which `scored_batches` has these examples."""
    return {shape for shape, members in _scored(examples, shapes) if len(members)}


def _scored(
    examples: Examples, shapes: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Each shape, and the examples that have it."""
    widths = [(source, target) for _, source, target in shapes]
    rows = [count for count, _, _ in shapes]
    lengths = examples.sources.lengths, examples.targets.lengths
    number_of = shape_of(*lengths, widths)
    beyond = number_of == len(widths)
    if beyond.any():
        longest = tuple(int(side[beyond].max()) for side in lengths)
        last = max(longest[0], widths[-1][0]), max(longest[1], widths[-1][1])
        rows.append(max(1, rows[-1] * max(widths[-1]) // max(last)))
        widths.append(last)
    for number, (width, count) in enumerate(zip(widths, rows, strict=True)):
        yield (count, *width), np.flatnonzero(number_of == number)
