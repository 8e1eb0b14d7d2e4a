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

    def __init__(
        self, decodable: Decodable, sentences: Sequence[Sentence], options: Options, batch: int
    ) -> None:
        self._end, self._options = decodable.end, options
        self._hypotheses: list[list[Hypothesis]] = [[] for _ in sentences]
        whole = np.arange(batch) % len(
            sentences
        )  # the batch is filled up with copies, which are not decoded
        self.going = np.arange(batch) < len(sentences)
        self._sentence = whole
        self._limit = np.array([each.limit for each in sentences])[whole]
        self._number = np.array([each.number for each in sentences], np.uint64)[whole]
        self._tokens = np.zeros((batch, int(self._limit.max())), np.int32)
        self._score = np.zeros(batch)
        self._step = 0

    @property
    def wanted(self) -> Wanted:
        """The outputs of a step. Without top-k, tokens are drawn from the logits of all."""
        options = self._options
        if options.draws:
            return Wanted(options.top_k, banned=options.no_repeat > 0)
        return Wanted(1, scores=options.scores, banned=options.no_repeat > 0)

    def take(self, found: Mapping[str, np.ndarray]) -> None:
        """Chooses the next token of each sequence."""
        options, rows = self._options, np.arange(len(self.going))
        logits = found["score" if "score" in found else "logits"][:, 0]
        best = logits[self.going].max(axis=1)
        need_numbers(best)
        if np.isneginf(best).any():
            raise nothing_left()
        if options.draws:
            place = drawn(logits, uniform(options.seed, self._number, self._step), options)
            token = place if not options.top_k else found["token"][rows, 0, place]
        else:
            token = found["token"][:, 0, 0]
            self._score += logits[:, 0]
        self._tokens[:, self._step] = token
        self._step += 1
        at_end = np.zeros(len(rows), bool) if self._end is None else token == self._end
        for row in np.flatnonzero(self.going & (at_end | (self._limit <= self._step))):
            self._finish(int(row), bool(at_end[row]))

    def _finish(self, row: int, ended: bool) -> None:
        self.going[row] = False
        tokens = tuple(self._tokens[row, : self._step].tolist())
        if self._options.scores and not self._options.draws:
            total = float(self._score[row])
            score = normalised(total, self._step, self._options.length_penalty)
            hypothesis = Hypothesis(tokens, total, score, ended)
        else:
            hypothesis = Hypothesis(tokens, ended=ended)
        self._hypotheses[self._sentence[row]].append(hypothesis)

    @property
    def next_tokens(self) -> np.ndarray:
        """The input of the next step: [batch, row]."""
        return self._tokens[:, self._step - 1 : self._step]

    @property
    def parents(self) -> np.ndarray | None:
        """None: a sentence has a single row."""
        return None

    def banned(self, vocabulary: int) -> np.ndarray:
        """True at tokens that would repeat a sequence: [batch, row, vocabulary]."""
        size = self._options.no_repeat
        return repeating(self._tokens[:, None], self._step, size, vocabulary, self._end)

    def moved(self, rows: np.ndarray, count: int) -> None:
        """Reduces the batch to these rows, of which the first `count` are sentences."""
        self.going = np.arange(len(rows)) < count
        self._sentence, self._limit, self._number, self._tokens, self._score = (
            array[rows]
            for array in (self._sentence, self._limit, self._number, self._tokens, self._score)
        )

    def open_sentences(self) -> set[int]:
        """The numbers of the sentences that are not finished."""
        return set(self._sentence[self.going].tolist())

    def results(self) -> list[list[Hypothesis]]:
        """The hypothesis of each sentence, as a list of one; complete when none is open."""
        return self._hypotheses
