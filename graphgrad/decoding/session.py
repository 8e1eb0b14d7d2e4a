"""The memory of a batch of sentences while they are decoded.

Every sentence has numbered slots for keys and values. A new position takes the next free slot, and
`visible` says for each row which slots are its past. The rows of a beam share what they have in
common, so to reorder them is to reorder their rows of `visible`: keys and values stay where they
are. Where the room is full, slots that no row looks at any more are given up, and only where that
is not enough the room is doubled.

Sentences that have ended go on being computed until the others fit a batch of half the size (or of
the next smaller power of two); then these move together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgrad.decoding.programs import Programs, State, Wanted, rounded_up
from graphgrad.layers.cache import StepSizes

FEWEST_SLOTS = 32
SMALLEST_ROWS = 32
"""Batches of fewer rows are not made of larger ones; one of a single sentence is one from the
start."""


class Session:
    """A batch that is being decoded; its first `count` rows are sentences, the others fill up."""

    def __init__(
        self, programs: Programs, state: State, source: np.ndarray | None, batch: int
    ) -> None:
        self._programs, self._state = programs, state
        self._encoded = {} if source is None else programs.encoded(state, source)
        self._caches: dict[str, np.ndarray] = {}
        self.batch, self.slots, self.vocabulary = batch, 0, 0
        self.filled = np.zeros(batch, np.int64)
        """Slots that are taken."""
        self.length = np.zeros(batch, np.int64)
        """Positions so far, which is where the next one stands."""
        self.visible = np.zeros((batch, 1, 0), bool)

    def prompt(
        self, tokens: np.ndarray, lengths: np.ndarray, wanted: Wanted
    ) -> dict[str, np.ndarray]:
        """Takes the prompts [batch, position], padded behind; what the last token of each gives."""
        width = tokens.shape[1]
        self._make_room(width + 1, self.filled < 0)
        places = np.arange(width)
        self.visible[:, 0, :width] = places < lengths[:, None]
        sizes = StepSizes(self.batch, width, self.slots, prompt=width > 1)
        causal = (places[:, None] >= np.arange(self.slots)) & self.visible
        feeds = {
            "token": tokens,
            "position": np.broadcast_to(places.astype(np.int32), tokens.shape),
            "slot": np.broadcast_to(places.astype(np.int32), tokens.shape),
            "visible": causal,
        }
        if width > 1:
            feeds["last"] = (lengths - 1).astype(np.int32)
        self.filled[:] = self.length[:] = lengths
        return self._run(sizes, wanted, feeds)

    def step(
        self,
        tokens: np.ndarray,
        going: np.ndarray,
        wanted: Wanted,
        banned: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Takes one more token for each row [batch, row]; what follows on it.

        Sentences that are not `going` on are computed and change nothing.
        """
        rows = tokens.shape[1]
        self._make_room(rows, ~going)
        # what does not go on may have no room left: it writes where nobody will look
        start = np.minimum(self.filled, self.slots - rows)
        slot = start[:, None] + np.arange(rows)
        np.put_along_axis(self.visible, slot[:, :, None], True, axis=2)
        position = np.where(going, self.length, 0)[:, None]
        feeds = {
            "token": tokens,
            "position": np.broadcast_to(position, tokens.shape).astype(np.int32),
            "slot": slot.astype(np.int32),
            "visible": self.visible,
        }
        if banned is not None:
            feeds["banned"] = banned
        self.filled[going] += rows
        self.length[going] += 1
        return self._run(StepSizes(self.batch, rows, self.slots), wanted, feeds)

    def reorder(self, parents: np.ndarray) -> None:
        """Row j of sentence b goes on from what was row `parents[b, j]`."""
        self.visible = np.take_along_axis(self.visible, parents[:, :, None], axis=1)

    def keep(self, sentences: Sequence[int] | np.ndarray, batch: int) -> np.ndarray:
        """Goes on with these sentences in a batch of that size; where its rows come from."""
        rows = np.zeros(batch, np.int64)  # what fills up is a copy of some sentence
        rows[: len(sentences)] = sentences
        for name, array in self._encoded.items():
            self._encoded[name] = array[rows]
        for name, array in self._caches.items():
            self._caches[name] = self._by_sentence(array)[rows].reshape(-1, *array.shape[1:])
        self.visible, self.filled, self.length = (
            array[rows] for array in (self.visible, self.filled, self.length)
        )
        self.batch = batch
        return rows

    def _by_sentence(self, array: np.ndarray) -> np.ndarray:
        """Keys or values [batch · head, slot, feature] with an axis for the sentences."""
        return array.reshape(self.batch, -1, *array.shape[1:])

    def _run(
        self, sizes: StepSizes, wanted: Wanted, feeds: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        program = self._programs.step(sizes, wanted)
        self.vocabulary = program.vocabulary
        for name, (shape, dtype) in program.caches.items():
            if name not in self._caches:  # not empty(): a weight of 0 times NaN is NaN
                self._caches[name] = np.zeros(shape, dtype)
        state = {name: self._state[name] for name in program.parameters}
        given = {**feeds, **self._encoded}
        inputs = {name: given[name] for name in program.inputs}
        return program.compiled({**state, **self._caches}, inputs)

    def _make_room(self, rows: int, resting: np.ndarray) -> None:
        """Sees to it that so many more slots are free in each sentence that is not resting."""
        taken = np.where(resting, 0, self.filled)
        if self.slots and int(taken.max(initial=0)) + rows <= self.slots:
            return
        used = self.visible.any(axis=1)  # [batch, slot]
        used &= ~resting[:, None]
        counts = used.sum(axis=1)
        most = int(counts.max(initial=0))
        # room for some more steps, so that it is not made again at once
        slots = rounded_up(most + max(rows, min(4 * rows, 64)), max(self.slots, FEWEST_SLOTS))
        order = np.argsort(~used, axis=1, kind="stable")[:, :most]
        for name, array in self._caches.items():
            larger = np.zeros((len(array), slots, array.shape[2]), array.dtype)
            heads = len(array) // self.batch
            index = np.repeat(order, heads, axis=0)[:, :, None]
            larger[:, :most] = np.take_along_axis(array, index, axis=1)
            self._caches[name] = larger
        visible = np.zeros((*self.visible.shape[:2], slots), bool)
        visible[:, :, :most] = np.take_along_axis(self.visible, order[:, None], axis=2)
        visible[resting] = False
        self.visible, self.slots = visible, slots
        self.filled = counts.astype(np.int64)
