"""Decodes one batch of sentences, from the prompts to the ends, with any search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from graphgrad.decoding.beam import BeamSearch
from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.hypothesis import Hypothesis
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Programs, State, Wanted, rounded_up, width_for
from graphgrad.decoding.session import SMALLEST_ROWS, Session
from graphgrad.decoding.single import SingleSearch


class Search(Protocol):
    """Chooses tokens: takes the outputs of a step and returns the inputs of the next one."""

    going: np.ndarray
    """True at the sentences of the batch that are not finished: [batch]."""

    @property
    def wanted(self) -> Wanted: ...
    @property
    def next_tokens(self) -> np.ndarray: ...
    @property
    def parents(self) -> np.ndarray | None: ...
    def take(self, found: Mapping[str, np.ndarray]) -> None: ...
    def banned(self, vocabulary: int) -> np.ndarray: ...
    def moved(self, rows: np.ndarray, count: int) -> None: ...
    def open_sentences(self) -> set[int]: ...
    def results(self) -> list[list[Hypothesis]]: ...


def search_for(options: Options) -> type[SingleSearch] | type[BeamSearch]:
    """The search for these options: beam search, or one sequence for each sentence."""
    return BeamSearch if options.beam > 1 else SingleSearch


def decode_batch(
    programs: Programs,
    state: State,
    sentences: Sequence[Sentence],
    search: Search,
    batch: int,
    going: Callable[[int], None],
) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence; calls `going` after each step with the number unfinished."""
    decodable = programs.decodable
    session = Session(programs, state, _sources(decodable, sentences, batch), batch)
    wanted = search.wanted
    found = session.prompt(*_prompts(sentences, batch), replace(wanted, banned=False))
    while True:
        search.take(found)
        left = np.flatnonzero(search.going)
        if not len(left):
            return search.results()
        going(len(left))
        if search.parents is not None:
            session.reorder(search.parents)
        fewest = max(SMALLEST_ROWS // search.next_tokens.shape[1], 1)
        smaller = max(rounded_up(len(left), 1), fewest)
        if 4 * smaller <= 3 * session.batch:
            search.moved(session.keep(left, smaller), len(left))
        banned = search.banned(session.vocabulary) if wanted.banned else None
        found = session.step(search.next_tokens, search.going, wanted, banned)


def _sources(decodable: Decodable, sentences: Sequence[Sentence], batch: int) -> np.ndarray | None:
    """The tokens to encode, padded; copies of the first sentence fill the batch up."""
    if decodable.encoding is None:
        return None
    longest = max(len(each.source) for each in sentences)
    width = max(longest, min(width_for(longest), decodable.source_positions or width_for(longest)))
    source = np.full((batch, width), decodable.padding, np.int32)
    for row in range(batch):
        tokens = sentences[row if row < len(sentences) else 0].source
        source[row, : len(tokens)] = tokens
    return source


def _prompts(sentences: Sequence[Sentence], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The prompts, padded at the end by zeros that are masked, and their lengths."""
    longest = max(len(each.prompt) for each in sentences)
    prompts = np.zeros((batch, 1 if longest == 1 else width_for(longest)), np.int32)
    lengths = np.ones(batch, np.int64)
    for row in range(batch):
        tokens = sentences[row if row < len(sentences) else 0].prompt
        prompts[row, : len(tokens)] = tokens
        lengths[row] = len(tokens)
    return prompts, lengths
