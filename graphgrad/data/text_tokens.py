"""Converts text to ids and back, for models that read one text: bytes, characters or words.

    byte        the bytes of UTF-8; none is unknown
    character   the code points of the text in Unicode normal form C
    word        words and signs, separated by a pattern; white space is lost

Ids 0 to 3 are the special tokens of `Vocabulary`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphgrad.data.vocabulary import EOS, SPECIALS, UNK, Vocabulary
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.text import suggestion

KINDS = ("byte", "character", "word")
_WORD = re.compile(r"\w+|[^\w\s]")
_BYTES = 256


@dataclass(frozen=True)
class TextTokens:
    """A tokenizer of one kind. The vocabulary of bytes has the 256 code points of their values."""

    kind: str
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        level = "whitespace" if self.kind == "word" else "character"
        if self.vocabulary.level != level:
            raise DataError(
                f"the vocabulary is one of level {self.vocabulary.level}, and tokens are of kind "
                f"{self.kind}",
                fix="restore the file, or start a new run",
            )

    @classmethod
    def build(cls, kind: str, texts: Iterable[str], maximum_size: int | None = None) -> TextTokens:
        """The tokens of these texts; of words and characters the `maximum_size` most frequent.

        Raises ConfigurationError for an unknown kind.
        """
        if kind not in KINDS:
            raise ConfigurationError(
                f"there are no tokens of kind {kind!r}", fix=suggestion(kind, KINDS, "kinds")
            )
        if kind == "byte":
            signs = tuple(map(chr, range(_BYTES)))
            return cls(kind, Vocabulary((*SPECIALS, *signs), "character"))
        if kind == "word":
            lines = (" ".join(_WORD.findall(text)) for text in texts)
            return cls(kind, Vocabulary.build(lines, "whitespace", maximum_size=maximum_size))
        return cls(kind, Vocabulary.build(texts, "character", maximum_size=maximum_size))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32; <unk> is the only special token among them."""
        if self.kind == "byte":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + len(SPECIALS)
        if self.kind == "word":
            return np.array(self.vocabulary.encode(" ".join(_WORD.findall(text))), np.int32)
        text = unicodedata.normalize("NFC", text)
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        return self._id_of_point[np.minimum(points, len(self._id_of_point) - 1)]

    @cached_property
    def _id_of_point(self) -> np.ndarray:
        """The id of each code point up to the largest known one, then <unk>."""
        known = self.vocabulary.tokens[len(SPECIALS) :]
        table = np.full(max(map(ord, known), default=0) + 2, UNK, np.int32)
        for number, sign in enumerate(known, len(SPECIALS)):
            table[ord(sign)] = number
        return table

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids up to the first <eos>."""
        if self.kind != "byte":
            return self.vocabulary.decode(ids)
        ids = list(ids)
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        signs = bytes(number - len(SPECIALS) for number in ids if number >= len(SPECIALS))
        return signs.decode("utf-8", "replace")

    @property
    def gap(self) -> str:
        """The separator of two tokens in a text."""
        return " " if self.kind == "word" else ""

    def packed(self, documents: Sequence[str], ends: bool = True) -> np.ndarray:
        """The ids of the documents one after another, with an <eos> after each if `ends`."""
        end = np.array([EOS] if ends else [], np.int32)
        return np.concatenate([part for text in documents for part in (self.encode(text), end)])
