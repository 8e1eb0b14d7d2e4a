"""Decodes any number of sentences: sorts them by length and decodes them in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphgrad.decoding.decodable import Decodable, Sentence
from graphgrad.decoding.hypothesis import Hypothesis
from graphgrad.decoding.options import Options
from graphgrad.decoding.programs import Programs, State
from graphgrad.decoding.search import Batch
from graphgrad.decoding.sizes import ROWS, Shared, batch_for, width_for
from graphgrad.decoding.watch import Watch, nobody
from graphgrad.errors import ConfigurationError, DataError


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
        shared: Shared | None = None,
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """The index of a sentence and its hypotheses, as soon as it is decoded.

        With `shared` sizes the programs are those of all other calls with the same sizes and
        limits: without a beam, one that encodes and one that steps.
        """
        options, done = options or Options(), 0
        for sentence in sentences:
            self._check(sentence, options)
        state = self.programs.placed(state)
        count = len(sentences) if shared is None else shared.sentences
        size = batch_for(count, options.beam, self._rows)
        for places in self._groups(sentences, size, shared):
            chosen = [sentences[place] for place in places]
            batch = Batch(self.programs, state, chosen, options, size, shared=shared)
            while batch.going:
                ended = batch.advance()
                for number, hypotheses in ended:
                    yield places[number], hypotheses
                done += len(ended)
                watch(done, len(sentences))

    def stream(
        self, state: State, sentence: Sentence, options: Options | None = None
    ) -> Iterator[int]:
        """The tokens that follow a prompt, each as soon as it is chosen.

        Raises DataError for a sentence that the model cannot take, and ConfigurationError for a
        beam, whose tokens are known only at its end.
        """
        options = options or Options()
        if options.beam > 1:
            raise ConfigurationError(
                f"a beam of {options.beam} has no token before its end", fix="leave the beam out"
            )
        self._check(sentence, options)
        batch = Batch(self.programs, self.programs.placed(state), [sentence], options, 1)
        while batch.going:
            ended = batch.advance()
            yield ended[0][1][0].tokens[-1] if ended else batch.tokens_of(0)[-1]

    def _groups(
        self, sentences: Sequence[Sentence], size: int, shared: Shared | None
    ) -> Iterator[list[int]]:
        """The indices of sentences that are decoded together, the longest of each group first.

        Sources of one width are one group. Prompts of several tokens are read together, so a group
        with such has one batch at most.
        """
        most = self.programs.decodable.source_positions
        widths: dict[int, list[int]] = {}
        for place in sorted(range(len(sentences)), key=lambda place: _length(sentences[place])):
            length = len(sentences[place].source)
            width = width_for(length, most) if shared is None else shared.width(most)
            widths.setdefault(width, []).insert(0, place)
        for places in widths.values():
            alone = all(len(sentences[place].prompt) == 1 for place in places)
            step = len(places) if alone else size
            for start in range(0, len(places), step):
                yield places[start : start + step]

    def _check(self, sentence: Sentence, options: Options) -> None:
        """Raises DataError for a sentence that the model cannot take."""
        decodable = self.programs.decodable
        if not sentence.prompt or sentence.limit < 1:
            raise DataError(
                f"there is nothing to decode from: {len(sentence.prompt)} tokens of a prompt, and "
                f"{sentence.limit} to give",
                fix="give at least one token to begin with, and a limit of at least 1",
            )
        whole = len(sentence.prompt) + sentence.limit - 1
        if decodable.positions is None or whole <= decodable.positions:
            return
        if not decodable.crops or options.beam > 1:
            raise DataError(
                f"a prompt of {len(sentence.prompt)} tokens and {sentence.limit} more need {whole} "
                f"positions, and the model has {decodable.positions}",
                fix="shorten the prompt or the limit",
            )


def _length(sentence: Sentence) -> tuple[int, int, int]:
    return len(sentence.source), len(sentence.prompt), sentence.limit
