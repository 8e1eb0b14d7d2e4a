"""Searches for the most probable sequences with a beam.

Each step extends the rows of a sentence by their most probable tokens and keeps the best of all
these. A sequence that reaches its end among the best `beam` is finished. A sentence ends when it
has as many finished sequences as rows, or at its limit (as in fairseq). Finished sequences are
ordered by log p / n^α; equal ones keep the order in which they were found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.hypothesis import Hypothesis, need_numbers, normalised, nothing_left
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Wanted
from graphgrad.decoding.repetition import repeating


class BeamSearch:
    """A batch in which each sentence has a beam; see `search.py` for how it is used."""

    def __init__(self, decodable: Decodable, options: Options, batch: int, longest: int) -> None:
        self._end, self._options, self._beam = decodable.end, options, options.beam
        shape = (batch, self._beam)
        self.going = np.zeros(batch, bool)
        self.count = np.zeros(batch, np.int64)
        self._limit = np.zeros(batch, np.int64)
        self._tokens = np.zeros((*shape, longest), np.int32)
        self.next_tokens = np.zeros(shape, np.int32)
        self._score = np.full(shape, -np.inf)
        self._parents = np.zeros(shape, np.int64)
        self._finished: list[list[Hypothesis]] = [[] for _ in range(batch)]

    @property
    def wanted(self) -> Wanted:
        """Twice as many candidates as rows, since each of the best may be an end."""
        return Wanted(2 * self._beam, scores=True, banned=self._options.no_repeat > 0)

    @property
    def parents(self) -> np.ndarray | None:
        """The row of the previous step that each row extends: [batch, row]."""
        return self._parents

    def admit(self, places: np.ndarray, sentences: Sequence[Sentence]) -> None:
        """Begins these sentences at these places; at first one of their rows is alive."""
        self.going[places] = True
        self.count[places] = 0
        self._limit[places] = [each.limit for each in sentences]
        self.next_tokens[places] = np.array([each.prompt[-1] for each in sentences])[:, None]
        self._score[places] = -np.inf
        self._score[places, 0] = 0.0
        for place in places:
            self._finished[place] = []

    def take(self, found: Mapping[str, np.ndarray]) -> list[tuple[int, list[Hypothesis]]]:
        """Keeps the best sequences; the places of sentences that ended, with their hypotheses."""
        batch, rows, width = found["token"].shape
        alive = np.isfinite(self._score) & self.going[:, None]
        need_numbers(found["score"][alive])
        gained = np.where(alive[:, :, None], found["score"], -np.inf)
        totals = (self._score[:, :, None] + gained).reshape(batch, rows * width)
        order = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * self._beam]
        totals = np.take_along_axis(totals, order, axis=1)
        tokens = np.take_along_axis(found["token"].reshape(batch, rows * width), order, axis=1)
        parents = order // width
        at_end = np.zeros(tokens.shape, bool) if self._end is None else tokens == self._end
        self._finish_ends(at_end, totals, parents)
        self._go_on(at_end, totals, parents, tokens)
        return self._stopped()

    def _finish_ends(self, at_end: np.ndarray, totals: np.ndarray, parents: np.ndarray) -> None:
        best = at_end & (np.arange(at_end.shape[1]) < self._beam) & np.isfinite(totals)
        best &= self.going[:, None]
        end = -1 if self._end is None else self._end
        for row, place in zip(*np.nonzero(best), strict=True):
            finished = self._finished[row]
            if len(finished) < self._beam:
                before = self._tokens[row, parents[row, place], : self.count[row]].tolist()
                finished.append(self._hypothesis([*before, end], totals[row, place], True))

    def _go_on(
        self, at_end: np.ndarray, totals: np.ndarray, parents: np.ndarray, tokens: np.ndarray
    ) -> None:
        """Extends the rows by the best that did not end, in their order."""
        chosen = np.argsort(at_end, axis=1, kind="stable")[:, : self._beam]
        missing = self._beam - chosen.shape[1]  # of a vocabulary that is smaller than the beam
        if missing:
            chosen = np.pad(chosen, ((0, 0), (0, missing)), mode="edge")
        self._parents = np.take_along_axis(parents, chosen, axis=1)
        self._score = np.take_along_axis(totals, chosen, axis=1)
        dead = np.take_along_axis(at_end, chosen, axis=1)
        dead[:, self._beam - missing :] = True
        self._score[dead] = -np.inf
        self._tokens = np.take_along_axis(self._tokens, self._parents[:, :, None], axis=1)
        self.next_tokens = np.take_along_axis(tokens, chosen, axis=1).astype(np.int32)
        going = np.flatnonzero(self.going)
        self._tokens[going, :, self.count[going]] = self.next_tokens[going]
        self.count[going] += 1

    def _stopped(self) -> list[tuple[int, list[Hypothesis]]]:
        """The sentences that are over: enough sequences have ended, or none can go on."""
        stopped = []
        nothing = set(np.flatnonzero(np.isneginf(self._score).all(axis=1)))
        for row in np.flatnonzero(self.going):
            finished = self._finished[row]
            if row in nothing and not finished:
                raise nothing_left()
            if len(finished) >= self._beam or row in nothing or self._limit[row] <= self.count[row]:
                self._add_unfinished(int(row))
                self.going[row] = False
                best = sorted(finished, key=lambda each: (not each.ended, -each.score))
                stopped.append((int(row), best[: self._options.n_best]))
        return stopped

    def _add_unfinished(self, row: int) -> None:
        """Adds the unfinished sequences of a sentence that is over behind the finished ones."""
        finished = self._finished[row]
        for place in range(self._beam):
            if len(finished) < self._beam and np.isfinite(self._score[row, place]):
                tokens = self._tokens[row, place, : self.count[row]].tolist()
                finished.append(self._hypothesis(tokens, self._score[row, place], False))

    def _hypothesis(self, tokens: Sequence[int], total: float, ended: bool) -> Hypothesis:
        score = normalised(float(total), len(tokens), self._options.length_penalty)
        return Hypothesis(tuple(tokens), float(total), score, ended)

    def tokens_of(self, row: int) -> tuple[int, ...]:
        """The tokens of the best unfinished sequence of a sentence so far."""
        return tuple(self._tokens[row, 0, : self.count[row]].tolist())

    def banned(self, vocabulary: int) -> np.ndarray:
        """True at tokens that would repeat a sequence: [batch, row, vocabulary]."""
        return repeating(self._tokens, self.count, self._options.no_repeat, vocabulary, self._end)

    def keep(self, rows: np.ndarray) -> None:
        """Reduces the batch to these sentences."""
        self._finished = [self._finished[row] for row in rows]
        (
            self.going,
            self.count,
            self._limit,
            self._tokens,
            self.next_tokens,
            self._score,
            self._parents,
        ) = (
            array[rows]
            for array in (
                self.going,
                self.count,
                self._limit,
                self._tokens,
                self.next_tokens,
                self._score,
                self._parents,
            )
        )
