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

    def __init__(
        self, decodable: Decodable, sentences: Sequence[Sentence], options: Options, batch: int
    ) -> None:
        self._end, self._options, self._beam = decodable.end, options, options.beam
        self._finished: list[list[Hypothesis]] = [[] for _ in sentences]
        whole = np.arange(batch) % len(sentences)
        self.going = np.arange(batch) < len(sentences)
        self._sentence = whole
        self._limit = np.array([each.limit for each in sentences])[whole]
        shape = (batch, self._beam)
        self._tokens = np.zeros((*shape, int(self._limit.max())), np.int32)
        self._score = np.full((batch, 1), 0.0)  # one row until the first tokens are chosen
        self._parents = np.zeros(shape, np.int64)
        self._step = 0

    @property
    def wanted(self) -> Wanted:
        """Twice as many candidates as rows, since each of the best may be an end."""
        return Wanted(2 * self._beam, scores=True, banned=self._options.no_repeat > 0)

    @property
    def next_tokens(self) -> np.ndarray:
        """The input of the next step: [batch, row]."""
        return self._tokens[:, :, self._step - 1]

    @property
    def parents(self) -> np.ndarray | None:
        """The row of the previous step that each row extends: [batch, row]."""
        return self._parents

    def take(self, found: Mapping[str, np.ndarray]) -> None:
        """Keeps the best sequences, and finishes those that reached their end."""
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
        last = self._limit <= self._step + 1
        self._finish_ends(at_end, totals, parents)
        # the best that did not end, in their order; then those without probability
        going_on = np.argsort(at_end, axis=1, kind="stable")[:, : self._beam]
        missing = self._beam - going_on.shape[1]
        if missing:
            going_on = np.pad(going_on, ((0, 0), (0, missing)), mode="edge")
        self._parents = np.take_along_axis(parents, going_on, axis=1)
        self._score = np.take_along_axis(totals, going_on, axis=1)
        dead = np.take_along_axis(at_end, going_on, axis=1)
        dead[:, self._beam - missing :] = True
        self._score[dead] = -np.inf
        self._tokens = np.take_along_axis(self._tokens, self._parents[:, :, None], axis=1)
        self._tokens[:, :, self._step] = np.take_along_axis(tokens, going_on, axis=1)
        self._step += 1
        over = np.array([len(self._finished[each]) >= self._beam for each in self._sentence])
        dead_end = np.isneginf(self._score).all(axis=1) & self.going
        if not all(self._finished[each] for each in self._sentence[dead_end]):
            raise nothing_left()
        over |= dead_end
        for row in np.flatnonzero(self.going & last & ~over):
            self._stop(int(row))
        self.going &= ~(over | last)

    def _finish_ends(self, at_end: np.ndarray, totals: np.ndarray, parents: np.ndarray) -> None:
        best = at_end & (np.arange(at_end.shape[1]) < self._beam) & np.isfinite(totals)
        best &= self.going[:, None]
        end = -1 if self._end is None else self._end
        for row, place in zip(*np.nonzero(best), strict=True):
            finished = self._finished[self._sentence[row]]
            if len(finished) < self._beam:
                before = self._tokens[row, parents[row, place], : self._step].tolist()
                finished.append(self._hypothesis([*before, end], totals[row, place], True))

    def _stop(self, row: int) -> None:
        """Adds the unfinished sequences of a sentence at its limit behind the finished ones."""
        finished = self._finished[self._sentence[row]]
        for place in range(self._beam):
            if len(finished) < self._beam and np.isfinite(self._score[row, place]):
                tokens = self._tokens[row, place, : self._step].tolist()
                finished.append(self._hypothesis(tokens, self._score[row, place], False))

    def _hypothesis(self, tokens: Sequence[int], total: float, ended: bool) -> Hypothesis:
        score = normalised(float(total), len(tokens), self._options.length_penalty)
        return Hypothesis(tuple(tokens), float(total), score, ended)

    def banned(self, vocabulary: int) -> np.ndarray:
        """True at tokens that would repeat a sequence: [batch, row, vocabulary]."""
        size = self._options.no_repeat
        return repeating(self._tokens, self._step, size, vocabulary, self._end)

    def moved(self, rows: np.ndarray, count: int) -> None:
        """Reduces the batch to these rows, of which the first `count` are sentences."""
        self.going = np.arange(len(rows)) < count
        self._sentence, self._limit, self._tokens, self._score, self._parents = (
            array[rows]
            for array in (self._sentence, self._limit, self._tokens, self._score, self._parents)
        )

    def open_sentences(self) -> set[int]:
        """The numbers of the sentences that are not finished."""
        return set(self._sentence[self.going].tolist())

    def results(self) -> list[list[Hypothesis]]:
        """The best hypotheses of each sentence; complete when no sentence is open."""
        return [
            sorted(found, key=lambda each: (not each.ended, -each.score))[: self._options.n_best]
            for found in self._finished
        ]
