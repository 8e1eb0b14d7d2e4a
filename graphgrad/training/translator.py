"""Texts to texts, by a model that is decoded: the way from a line to ids and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphgrad.data.tokens import Tokens
from graphgrad.data.vocabulary import BOS, EOS
from graphgrad.decoding import Decodable, Decoder, Options, Sentence, Watch, nobody
from graphgrad.decoding.sizes import Shared
from graphgrad.errors import DataError
from graphgrad.training.task import Rendering, State


@dataclass(frozen=True)
class Languages:
    """What a translator knows of its data."""

    source: Tokens
    target: Tokens
    longest_target: int
    """Tokens of the longest target that the model was trained on, the end counted."""
    maximum_length: int
    """The most tokens of either side, the end counted."""


class Translator:
    """Autoregressive decoding of texts: `translator(state, texts)`, greedy unless options say
    otherwise."""

    def __init__(self, languages: Languages, decodable: Decodable, backend: str = "numpy") -> None:
        self.languages, self._decodable, self._backend = languages, decodable, backend
        longest = languages.longest_target
        # a quarter more than was ever seen; a model that does not stop is stopped there
        self.target_length = min(languages.maximum_length, longest + longest // 4 + 2)

    @cached_property
    def decoder(self) -> Decoder:
        """The compiled model, made when it is first used: training may never translate."""
        return Decoder(self._decodable, backend=self._backend)

    def __call__(
        self,
        state: State,
        texts: Sequence[str],
        options: Options | None = None,
        watch: Watch = nobody,
    ) -> list[str]:
        """One translation for each text, in order: the best."""
        translated = [""] * len(texts)
        for place, renderings in self.finished(state, texts, options, watch):
            translated[place] = renderings[0].text
        return translated

    def finished(
        self,
        state: State,
        texts: Sequence[str],
        options: Options | None = None,
        watch: Watch = nobody,
        first: int = 0,
        shared: Shared | None = None,
    ) -> Iterator[tuple[int, list[Rendering]]]:
        """The place of a text and its translations, the best first, as soon as they are done.

        What is blank stays blank: no model is trained on it. `first` is the number of the first
        text among those that are drawn for with one seed. Calls with the same `shared` sizes have
        the same programs.
        """
        ids = [self.encoded(text) for text in texts]
        for place, text in enumerate(texts):
            if not text.strip():
                yield place, [Rendering("")]
        # without a token for its begin, a target has one position less than tokens
        limit = max(self.target_length - 1, 1)
        places = [place for place, text in enumerate(texts) if text.strip()]
        sentences = [Sentence([BOS], limit, ids[place], first + place) for place in places]
        for number, hypotheses in self.decoder.finished(state, sentences, options, watch, shared):
            decode = self.languages.target.decode
            yield (
                places[number],
                [
                    Rendering(decode(each.tokens), each.score, each.log_probability)
                    for each in hypotheses
                ],
            )

    def encoded(self, text: str) -> list[int]:
        """The ids of a source. Raises DataError where it has more tokens than the model takes."""
        ids = [*self.languages.source.encode(text), EOS]
        longest = self.languages.maximum_length
        if len(ids) > longest:
            raise DataError(
                f"the text has {len(ids) - 1} tokens, the model takes {longest - 1}: {text[:60]!r}",
                fix="split it, or train with --set maximum_length=…",
            )
        return ids
