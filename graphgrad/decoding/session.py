"""Stores the keys and values of a batch of sentences while they are decoded.

Every sentence has numbered slots for keys and values. A new position takes the next free slot, and
`visible` masks for each row the slots of its past. The rows of a beam share the slots of their
common past, so reordering rows reorders `visible`: keys and values are not moved. When all slots
are taken, those that no row attends to are freed; if that is not enough, their number is doubled.

On a device, keys and values and what was encoded stay there from step to step; they are fetched,
and placed anew, where slots are added or the batch shrinks.

Sentences that have ended are still computed until the others fit a batch of half the size (or of
the next smaller power of two); then the batch shrinks to these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backends import joined, resident
from graphgrad.decoding.programs import Programs, State, Wanted, rounded_up
from graphgrad.layers.cache import StepSizes

FEWEST_SLOTS = 32
SMALLEST_ROWS = 32
"""A batch does not shrink below this number of rows; it may have fewer from the start."""


class Session:
    """A batch that is being decoded."""

    def __init__(
        self, programs: Programs, state: State, source: np.ndarray | None, batch: int
    ) -> None:
        self._programs, self._state = programs, state
        encoded = {} if source is None else programs.encoded(state, source)
        self._encoded, self._caches = programs.placed(encoded), programs.placed({})
        self._whole: State | None = None
        """State, caches and what was encoded, as one."""
        self.batch, self.slots, self.vocabulary = batch, 0, 0
        self.filled = np.zeros(batch, np.int64)
        """The number of taken slots of each sentence: [batch]."""
        self.length = np.zeros(batch, np.int64)
        """The position of the next token of each sentence: [batch]."""
        self.visible = np.zeros((batch, 1, 0), bool)

    def prompt(
        self, tokens: np.ndarray, lengths: np.ndarray, wanted: Wanted
    ) -> dict[str, np.ndarray]:
        """Runs the prompts [batch, position], padded at the end; the outputs at each last token."""
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
        """Runs one more token of each row [batch, row]; the outputs for the token after it.

        Sentences that are not `going` are computed, without any effect.
        """
        rows = tokens.shape[1]
        self._make_room(rows, ~going)
        # a finished sentence may have no free slot: it writes into one that is never read
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
        """Makes row j of sentence b a continuation of its row `parents[b, j]`."""
        self.visible = np.take_along_axis(self.visible, parents[:, :, None], axis=1)

    def keep(self, sentences: Sequence[int] | np.ndarray, batch: int) -> np.ndarray:
        """Reduces the batch to these sentences; the old row of each new row: [batch]."""
        rows = np.zeros(batch, np.int64)  # copies of row 0 fill the batch up
        rows[: len(sentences)] = sentences
        self._encoded = self._programs.placed(
            {name: array[rows] for name, array in self._encoded.items()}
        )
        self._set_caches(
            {
                name: self._by_sentence(array)[rows].reshape(-1, *array.shape[1:])
                for name, array in self._caches.items()
            }
        )
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
        missing = {
            name: np.zeros(*its)  # not np.empty: a weight of 0 times NaN is NaN
            for name, its in program.caches.items()
            if name not in self._caches
        }
        if missing:
            self._set_caches({**self._caches, **missing})
        if self._whole is None:
            self._whole = joined(self._state, self._encoded, self._caches)
        there = resident(self._whole, program.inputs)
        given = {**self._encoded, **feeds} if not there else feeds
        inputs = {name: given[name] for name in program.inputs - there.keys()}
        return program.compiled(self._whole, inputs)

    def _set_caches(self, caches: Mapping[str, np.ndarray]) -> None:
        self._caches, self._whole = self._programs.placed(caches), None

    def _make_room(self, rows: int, resting: np.ndarray) -> None:
        """Frees or adds slots until each sentence that is not `resting` has `rows` free ones."""
        taken = np.where(resting, 0, self.filled)
        if self.slots and int(taken.max(initial=0)) + rows <= self.slots:
            return
        used = self.visible.any(axis=1)  # [batch, slot]
        used &= ~resting[:, None]
        counts = used.sum(axis=1)
        most = int(counts.max(initial=0))
        # enough for some more steps, so that slots are not added in each step
        slots = rounded_up(most + max(rows, min(4 * rows, 64)), max(self.slots, FEWEST_SLOTS))
        order = np.argsort(~used, axis=1, kind="stable")[:, :most]
        caches = {}
        for name, array in self._caches.items():
            larger = np.zeros((len(array), slots, array.shape[2]), array.dtype)
            heads = len(array) // self.batch
            index = np.repeat(order, heads, axis=0)[:, :, None]
            larger[:, :most] = np.take_along_axis(array, index, axis=1)
            caches[name] = larger
        self._set_caches(caches)
        visible = np.zeros((*self.visible.shape[:2], slots), bool)
        visible[:, :, :most] = np.take_along_axis(self.visible, order[:, None], axis=2)
        visible[resting] = False
        self.visible, self.slots = visible, slots
        self.filled = counts.astype(np.int64)
