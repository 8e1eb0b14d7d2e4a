"""Continues texts by a language model that is decoded, and gives their text as it is chosen."""

from __future__ import annotations

from collections.abc import Iterator

from graphgrad.data.text_tokens import TextTokens
from graphgrad.data.vocabulary import BOS, EOS, PAD, UNK
from graphgrad.decoding import Decoder, Options, Sentence
from graphgrad.training.task import State

SILENT = (PAD, BOS, UNK)
"""Tokens without text."""
LENGTH = 200
"""The default number of generated tokens."""


class Writer:
    """Continues a text, piece by piece: `writer(state, prompt, options, length)`.

    A piece is the text of a token or, where a character has several tokens, of these. The text ends
    when the model ends its document, or after `length` tokens.
    """

    def __init__(
        self, tokens: TextTokens, decoder: Decoder, start: int, length: int = LENGTH
    ) -> None:
        self.tokens, self.decoder, self.start, self.length = tokens, decoder, start, length

    def __call__(
        self, state: State, prompt: str, options: Options, length: int | None = None
    ) -> Iterator[str]:
        ids = self.tokens.encode(prompt).tolist() or [self.start]
        sentence = Sentence(ids, self.length if length is None else length)
        pending: list[int] = []
        for number in self.decoder.stream(state, sentence, options):
            if number == EOS:
                break
            pending.append(number)
            text = self.tokens.decode(pending)
            if not text.endswith("\ufffd") or len(pending) == 4:
                yield self.tokens.gap + text
                pending = []
        if pending:
            yield self.tokens.gap + self.tokens.decode(pending)
