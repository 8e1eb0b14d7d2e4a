"""Decodes one sequence for each sentence: greedily, or by sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.drawing import drawn, uniform
from graphgrad.decoding.hypothesis import Hypothesis, need_numbers, normalised, nothing_left
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Wanted
from graphgrad.decoding.repetition import repeating


class SingleSearch:
    """A batch in which each sentence has one sequence; see `search.py` for how it is used."""

    def __init__(self, decodable: Decodable, options: Options, batch: int, longest: int) -> None:
        self._end, self._options = decodable.end, options
        self.going = np.zeros(batch, bool)
        self.count = np.zeros(batch, np.int64)
        self._limit, self._number = np.zeros(batch, np.int64), np.zeros(batch, np.uint64)
        self._tokens = np.zeros((batch, longest), np.int32)
        self.next_tokens = np.zeros((batch, 1), np.int32)
        self._score = np.zeros(batch)

    @property
    def wanted(self) -> Wanted:
        """The outputs of a step. Without top-k, tokens are drawn from the logits of all."""
        options = self._options
        if options.draws:
            return Wanted(options.top_k, banned=options.no_repeat > 0)
        return Wanted(1, scores=options.scores, banned=options.no_repeat > 0)

    @property
    def parents(self) -> np.ndarray | None:
        """None: a sentence has a single row."""
        return None

    def admit(self, places: np.ndarray, sentences: Sequence[Sentence]) -> None:
        """Begins these sentences at these places of the batch."""
        self.going[places] = True
        self.count[places] = self._score[places] = 0
        self._limit[places] = [each.limit for each in sentences]
        self._number[places] = np.array([each.number for each in sentences], np.uint64)
        self.next_tokens[places, 0] = [each.prompt[-1] for each in sentences]

    def take(self, found: Mapping[str, np.ndarray]) -> list[tuple[int, list[Hypothesis]]]:
        """Chooses the next token of each sequence; the places of those that ended, with them."""
        rows, options = np.flatnonzero(self.going), self._options
        logits = found["score" if "score" in found else "logits"][rows, 0]
        best = logits.max(axis=1)
        need_numbers(best)
        if np.isneginf(best).any():
            raise nothing_left()
        if options.draws:
            place = drawn(
                logits, uniform(options.seed, self._number[rows], self.count[rows]), options
            )
            token = found["token"][rows, 0, place] if options.top_k else place
        else:
            token = found["token"][rows, 0, 0]
            self._score[rows] += logits[:, 0]
        self._tokens[rows, self.count[rows]] = self.next_tokens[rows, 0] = token
        self.count[rows] += 1
        over = self._limit[rows] <= self.count[rows]
        if self._end is not None:
            over |= token == self._end
        return [(int(row), [self._finished(int(row))]) for row in rows[over]]

    def _finished(self, row: int) -> Hypothesis:
        self.going[row] = False
        tokens = self.tokens_of(row)
        ended = tokens[-1] == self._end
        if not self._options.scores or self._options.draws:
            return Hypothesis(tokens, ended=ended)
        total = float(self._score[row])
        score = normalised(total, len(tokens), self._options.length_penalty)
        return Hypothesis(tokens, total, score, ended)

    def tokens_of(self, row: int) -> tuple[int, ...]:
        """The tokens of a sentence so far."""
        return tuple(self._tokens[row, : self.count[row]].tolist())

    def banned(self, vocabulary: int) -> np.ndarray:
        """True at tokens that would repeat a sequence: [batch, row, vocabulary]."""
        size = self._options.no_repeat
        return repeating(self._tokens[:, None], self.count, size, vocabulary, self._end)

    def keep(self, rows: np.ndarray) -> None:
        """Reduces the batch to these sentences."""
        (
            self.going,
            self.count,
            self._limit,
            self._number,
            self._tokens,
            self.next_tokens,
            self._score,
        ) = (
            array[rows]
            for array in (
                self.going,
                self.count,
                self._limit,
                self._number,
                self._tokens,
                self.next_tokens,
                self._score,
            )
        )
