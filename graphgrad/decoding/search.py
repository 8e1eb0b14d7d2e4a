"""Decodes sentences in a batch of a fixed size, from the prompts to the ends, with any search.

A sentence that has ended gives its place to the next one (continuous batching, as of Orca, Yu et
al. 2022), so the batch is full until the last ones, however different their lengths are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from graphgrad.decoding.beam import BeamSearch
from graphgrad.decoding.decodable import Sentence
from graphgrad.decoding.hypothesis import Hypothesis
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Programs, State, Wanted
from graphgrad.decoding.session import Session
from graphgrad.decoding.single import SingleSearch
from graphgrad.decoding.sizes import Shared, multiple_of_eight, slots_for, width_for

PATIENCE = 64
"""Steps in which most of a batch is idle before it shrinks, for which programs are compiled."""


class Search(Protocol):
    """Chooses tokens: takes the outputs of a step and has the inputs of the next one."""

    going: np.ndarray
    """True at the places of the batch with a sentence that is not finished: [batch]."""
    count: np.ndarray
    """The number of tokens that each has so far: [batch]."""
    next_tokens: np.ndarray
    """The tokens that the next step reads: [batch, row]."""

    @property
    def wanted(self) -> Wanted: ...
    @property
    def parents(self) -> np.ndarray | None: ...
    def admit(self, places: np.ndarray, sentences: Sequence[Sentence]) -> None: ...
    def take(self, found: Mapping[str, np.ndarray]) -> list[tuple[int, list[Hypothesis]]]: ...
    def tokens_of(self, row: int) -> tuple[int, ...]: ...
    def banned(self, vocabulary: int) -> np.ndarray: ...
    def keep(self, rows: np.ndarray) -> None: ...


def search_for(options: Options) -> type[SingleSearch] | type[BeamSearch]:
    """The search for these options: beam search, or one sequence for each sentence."""
    return BeamSearch if options.beam > 1 else SingleSearch


class Batch:
    """Sentences of one width of source that are decoded, `batch` of them side by side.

    `search` is the class that chooses tokens; `advance` runs a step.
    """

    def __init__(
        self,
        programs: Programs,
        state: State,
        sentences: Sequence[Sentence],
        options: Options,
        batch: int,
        search: type[SingleSearch] | type[BeamSearch] | None = None,
        shared: Shared | None = None,
    ) -> None:
        decodable = programs.decodable
        self._programs, self._state, self._sentences = programs, state, sentences
        self._sources = _Sources(programs, state, sentences, batch, shared)
        self._waiting = deque(range(len(sentences)))
        longest = max(each.limit for each in sentences)
        self.search: Search = (search or search_for(options))(decodable, options, batch, longest)
        positions = max(len(each.prompt) + each.limit - 1 for each in sentences)
        slots = slots_for(self._sources.width, positions, options.beam, decodable.positions)
        self._shrinks = shared is None
        if shared is not None and options.beam == 1:
            slots = multiple_of_eight(positions)
        self._session = Session(programs, state, batch, options.beam, slots, decodable.positions)
        self._numbers = np.full(batch, -1)
        """The number of the sentence at each place."""
        self._refills = all(len(each.prompt) == 1 for each in sentences)
        self._idle = 0

    @property
    def going(self) -> bool:
        """Whether there is anything left to decode."""
        return bool(self._waiting) or bool(self.search.going.any())

    def tokens_of(self, number: int) -> tuple[int, ...]:
        """The tokens so far of a sentence that is not finished."""
        return self.search.tokens_of(int(np.flatnonzero(self._numbers == number)[0]))

    def advance(self) -> list[tuple[int, list[Hypothesis]]]:
        """One more token for each sentence; those that it ended, with their hypotheses."""
        search, session = self.search, self._session
        if self._waiting and (self._refills or not search.going.any()):
            self._admit()
        self._crop()
        wanted = search.wanted
        banned = search.banned(self._programs.vocabulary) if wanted.banned else None
        ended = search.take(session.step(search.next_tokens, search.going, wanted, banned))
        if search.parents is not None:
            session.reorder(search.parents)
        finished = [(int(self._numbers[place]), found) for place, found in ended]
        self._shrink()
        return finished

    def _admit(self) -> None:
        """Begins the next sentences at the free places."""
        free = np.flatnonzero(~self.search.going)[: len(self._waiting)]
        numbers = np.array([self._waiting.popleft() for _ in free])
        if not len(free):
            return
        chosen = [self._sentences[number] for number in numbers]
        self._numbers[free] = numbers
        self._sources.put_into(self._session, free, numbers)
        self.search.admit(free, chosen)
        if not self._refills:
            self._read()

    def _crop(self) -> None:
        """Reads the last positions again where a text has more than the model."""
        most = self._programs.decodable.positions
        if most is None or not (self._session.length[self.search.going] >= most).any():
            return
        self._read()

    def _read(self) -> None:
        """Reads all texts from their beginnings, or the last positions of those that are longer.

        All but the last token, which the next step reads.
        """
        most = self._programs.decodable.positions or 0
        texts: list[Sequence[int]] = [[] for _ in self._numbers]
        for place in np.flatnonzero(self.search.going):
            prompt = self._sentences[self._numbers[place]].prompt
            texts[place] = [*prompt, *self.search.tokens_of(int(place))][-most:-1]
        self._session.read(texts)

    def _shrink(self) -> None:
        """Makes the batch smaller where most of it has been idle for long."""
        left = np.flatnonzero(self.search.going)
        small = self._shrinks and not self._waiting and 0 < len(left) <= len(self._numbers) // 8
        self._idle = self._idle + 1 if small else 0
        if self._idle < PATIENCE:
            return
        self._session.keep(left)
        self.search.keep(left)
        self._numbers, self._idle = self._numbers[left], 0


class _Sources:
    """The sources of sentences, which are encoded in batches in their order."""

    def __init__(
        self,
        programs: Programs,
        state: State,
        sentences: Sequence[Sentence],
        batch: int,
        shared: Shared | None,
    ) -> None:
        self._programs, self._state, self._sentences = programs, state, sentences
        decodable = programs.decodable
        self.width = 0
        if decodable.encoding is not None:
            most = decodable.source_positions
            longest = max(len(each.source) for each in sentences)
            self.width = width_for(longest, most) if shared is None else shared.width(most)
        self._batch, self._start = batch, 0
        self._encoded: Mapping[str, np.ndarray] = {}

    def put_into(self, session: Session, places: np.ndarray, numbers: np.ndarray) -> None:
        """Admits the next sentences, whose numbers follow each other, to places of a session."""
        while len(numbers):
            if self.width and numbers[0] >= self._end:
                self._encode(int(numbers[0]))
            now = numbers < self._end if self.width else np.ones(len(numbers), bool)
            session.admit(places[now], self._encoded, numbers[now] - self._start)
            places, numbers = places[~now], numbers[~now]

    @property
    def _end(self) -> int:
        return self._start + self._batch if self._encoded else 0

    def _encode(self, start: int) -> None:
        padding = self._programs.decodable.padding
        source = np.full((self._batch, self.width), padding, np.int32)
        for row, sentence in enumerate(self._sentences[start : start + self._batch]):
            source[row, : len(sentence.source)] = sentence.source
        self._start, self._encoded = start, self._programs.encoded(self._state, source)
