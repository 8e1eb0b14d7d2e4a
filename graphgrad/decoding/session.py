"""Stores the keys and values of a batch of sentences while they are decoded.

Every sentence has numbered slots for keys and values. A new position takes the next free slot, and
`visible` masks for each row the slots of its past. The rows of a beam share the slots of their
common past, so reordering rows reorders `visible`: keys and values are not moved. When all slots
are taken, those that no row attends to are freed; if that is not enough, their number is doubled.
The place of a sentence that has ended is given to the next one (`admit`).

On a device, keys and values and what was encoded stay there from step to step; they are fetched,
and placed anew, where slots are added, the batch shrinks, or a sentence is admitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backends import joined, resident
from graphgrad.decoding.programs import Programs, State, Wanted
from graphgrad.decoding.sizes import rounded_up
from graphgrad.layers.cache import StepSizes

_SHORTEST = 8  # positions of a program that reads prompts


class Session:
    """A batch that is being decoded: `batch` sentences of `rows` rows, with `slots` at the start.

    `most` is the number of positions of the model, if it has a last one.
    """

    def __init__(
        self,
        programs: Programs,
        state: State,
        batch: int,
        rows: int,
        slots: int,
        most: int | None = None,
    ) -> None:
        self._programs, self._state, self._most = programs, state, most
        self._own: dict[str, np.ndarray] = {}
        """What was encoded, before it is placed."""
        self._encoded, self._caches = programs.placed({}), programs.placed({})
        self._whole: State | None = None
        """State, caches and what was encoded, as one."""
        self.batch, self.rows, self.slots = batch, rows, slots
        self.filled = np.zeros(batch, np.int64)
        """The number of taken slots of each sentence: [batch]."""
        self.length = np.zeros(batch, np.int64)
        """The position of the next token of each sentence: [batch]."""
        self.visible = np.zeros((batch, rows, slots), bool)

    def admit(
        self, places: np.ndarray, encoded: Mapping[str, np.ndarray], numbers: np.ndarray
    ) -> None:
        """Gives these places of the batch to new sentences, number `numbers` of those encoded."""
        for name, array in encoded.items():
            if name not in self._own:
                self._own[name] = np.zeros((self.batch, *array.shape[1:]), array.dtype)
            self._own[name][places] = array[numbers]
        if encoded:
            self._encoded, self._whole = self._programs.placed(self._own), None
        self.filled[places] = self.length[places] = 0
        self.visible[places] = False

    def read(self, texts: Sequence[Sequence[int]]) -> None:
        """Reads a text for each sentence, all at once, in place of what it has read before."""
        lengths = np.array([len(text) for text in texts])
        width = rounded_up(int(lengths.max()), _SHORTEST)
        if self._most is not None:
            width = max(min(width, self._most - 1), 1)
        if width + self.rows > self.slots:
            self._resize(self._slots_for(width), np.ones(self.batch, bool))
        tokens = np.zeros((self.batch, width), np.int32)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
        slots, order = np.arange(self.slots), np.arange(width, dtype=np.int32)
        known = slots < lengths[:, None]
        feeds = {
            "token": tokens,
            "position": np.broadcast_to(order, tokens.shape),
            "slot": np.broadcast_to(order, tokens.shape),
            "visible": (slots <= order[:, None]) & (known[:, None] | (slots == order[:, None])),
        }
        self.filled[:] = self.length[:] = lengths
        self.visible[:] = known[:, None]
        self._run(StepSizes(self.batch, width, self.slots), None, feeds)

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
        self._make_room(~going)
        # a finished sentence may have no free slot: it writes into one that is never read
        start = np.minimum(self.filled, self.slots - self.rows)
        slot = start[:, None] + np.arange(self.rows)
        self.visible[np.arange(self.batch)[:, None], np.arange(self.rows), slot] = True
        position = np.where(going, self.length, 0)[:, None]
        feeds = {
            "token": tokens,
            "position": np.broadcast_to(position, tokens.shape).astype(np.int32),
            "slot": slot.astype(np.int32),
            "visible": self.visible,
        }
        if banned is not None:
            feeds["banned"] = banned
        self.filled[going] += self.rows
        self.length[going] += 1
        return self._run(StepSizes(self.batch, self.rows, self.slots), wanted, feeds)

    def reorder(self, parents: np.ndarray) -> None:
        """Makes row j of sentence b a continuation of its row `parents[b, j]`."""
        self.visible = np.take_along_axis(self.visible, parents[:, :, None], axis=1)

    def keep(self, sentences: np.ndarray) -> None:
        """Reduces the batch to these sentences."""
        self._own = {name: array[sentences] for name, array in self._own.items()}
        self._encoded = self._programs.placed(self._own)
        caches = {}
        for name, array in self._caches.items():
            by_sentence = array.reshape(self.batch, -1, *array.shape[1:])
            caches[name] = by_sentence[sentences].reshape(-1, *array.shape[1:])
        self._set_caches(caches)
        self.visible, self.filled, self.length = (
            array[sentences] for array in (self.visible, self.filled, self.length)
        )
        self.batch = len(sentences)

    def _run(
        self, sizes: StepSizes, wanted: Wanted | None, feeds: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        program = self._programs.step(sizes, wanted)
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
        with self._programs.threads(program.small):
            return program.compiled(self._whole, inputs)

    def _set_caches(self, caches: Mapping[str, np.ndarray]) -> None:
        self._caches, self._whole = self._programs.placed(caches), None

    def _make_room(self, resting: np.ndarray) -> None:
        """Frees or adds slots until each sentence that is not `resting` has one for each row."""
        taken = np.where(resting, 0, self.filled)
        if int(taken.max(initial=0)) + self.rows <= self.slots:
            return
        used = self.visible.any(axis=1) & ~resting[:, None]
        most = int(used.sum(axis=1).max(initial=0))
        self._resize(self._slots_for(most), resting)

    def _slots_for(self, used: int) -> int:
        """Enough for some more steps than one, so that slots are not freed in each step."""
        slots = rounded_up(used + max(self.rows, min(4 * self.rows, 64)), self.slots)
        if self._most is None or self.rows > 1:
            return slots
        return max(min(slots, self._most), used + 1)

    def _resize(self, slots: int, resting: np.ndarray) -> None:
        """Moves the slots that are used to the front, and changes their number."""
        used = self.visible.any(axis=1) & ~resting[:, None]  # [batch, slot]
        counts = used.sum(axis=1)
        most = int(counts.max(initial=0))
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
