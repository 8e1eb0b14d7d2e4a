"""Decodes any number of sentences: sorts them by length and decodes them in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.hypothesis import Hypothesis
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Programs, State, rounded_up
from graphgrad.decoding.search import decode_batch, search_for
from graphgrad.decoding.watch import Stopped, Watch, nobody
from graphgrad.errors import DataError

ROWS = 256
"""Maximum number of rows of a batch: its sentences times the rows of a beam."""


class Decoder:
    """Decodes with one model; programs are compiled at their first use and kept."""

    def __init__(self, decodable: Decodable, rows: int = ROWS, backend: str = "numpy") -> None:
        self.programs, self._rows = Programs(decodable, backend), rows

    def __call__(
        self,
        state: State,
        sentences: Sequence[Sentence],
        options: Options | None = None,
        watch: Watch = nobody,
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each sentence, in the order of the sentences.

        Raises DataError for a sentence that the model cannot take, before any is decoded.
        """
        found: list[list[Hypothesis]] = [[] for _ in sentences]
        for place, hypotheses in self.finished(state, sentences, options, watch):
            found[place] = hypotheses
        return found

    def finished(
        self,
        state: State,
        sentences: Sequence[Sentence],
        options: Options | None = None,
        watch: Watch = nobody,
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """The index of a sentence and its hypotheses, as soon as its batch is decoded."""
        options = options or Options()
        for sentence in sentences:
            self._check(sentence)
        state = self.programs.placed(state)
        order = sorted(range(len(sentences)), key=lambda place: _length(sentences[place]))
        most = max(self._rows // options.beam, 1)
        for start in range(0, len(order), most):
            places = order[start : start + most]
            chosen = [sentences[place] for place in places]
            batch = min(rounded_up(len(places), 1), most)
            search = search_for(options)(self.programs.decodable, chosen, options, batch)

            def going(count: int, done: int = start + len(places)) -> None:
                watch(done - count, len(sentences))

            stopped = None
            try:
                decode_batch(self.programs, state, chosen, search, batch, going)
            except Stopped as wish:
                stopped = wish
            left = search.open_sentences()
            for number, hypotheses in enumerate(search.results()):
                if number not in left:
                    yield places[number], hypotheses
            if stopped is not None:
                raise stopped
            watch(start + len(places), len(sentences))

    def _check(self, sentence: Sentence) -> None:
        """Raises DataError for a sentence that the model cannot take."""
        positions = self.programs.decodable.positions
        if not sentence.prompt or sentence.limit < 1:
            raise DataError(
                f"there is nothing to decode from: {len(sentence.prompt)} tokens of a prompt, and "
                f"{sentence.limit} to give",
                fix="give at least one token to begin with, and a limit of at least 1",
            )
        whole = len(sentence.prompt) + sentence.limit - 1
        if positions is not None and whole > positions:
            raise DataError(
                f"a prompt of {len(sentence.prompt)} tokens and {sentence.limit} more need {whole} "
                f"positions, and the model has {positions}",
                fix="shorten the prompt or the limit",
            )


def _length(sentence: Sentence) -> tuple[int, int, int]:
    return len(sentence.source), len(sentence.prompt), sentence.limit
