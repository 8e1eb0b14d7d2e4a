"""Byte-pair encoding: pieces of words, learnt from a corpus or read from a `tokenizer.json`.

Design: Hugging Face's `tokenizers` does the work. What is learnt here starts from the 256 bytes, so
no text is unknown, and what is decoded is what was encoded, up to Unicode's normal form C and the
spaces around the line. Ids 0..3 are the four specials, as in a `Vocabulary`; the tokenizer's own
follow. The tokenizer is never told of the specials, so that a line which holds `<eos>` is text
like any other. The pieces of a word that stands between single spaces do not depend on its
neighbours, so its ids are looked up once: many times as fast as whole lines.

Laws: the same lines and size give the same tokenizer; `decode(encode(line)) ==
normal_form(line)`; what `to_json` writes is text, and reading it runs nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from graphgrad.data.vocabulary import EOS, SPECIALS, UNK, Encoded
from graphgrad.data.word_ids import WordIds
from graphgrad.errors import ConfigurationError, DataError

LEVEL = "bpe"
SMALLEST = len(SPECIALS) + 256
_FIRST = len(SPECIALS)
_ODD = re.compile(r"[^\S ]|  |^ | $")  # white space that does more than to part two words
_WORDS = 1 << 18  # words whose ids are remembered
_PIPELINE = ("normalizer", "pre_tokenizer", "decoder", "post_processor", "added_tokens")
_LIMIT = 1 << 26  # bytes: a larger file is no tokenizer


class BytePairs:
    """Lines to ids and back by a trained tokenizer; used as a `Vocabulary` is."""

    level = LEVEL

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        parts, ours = (json.loads(each.to_str()) for each in (tokenizer, _untrained()))
        self._by_words = all(parts[name] == ours[name] for name in _PIPELINE)
        self._words = WordIds(self._encoded, _WORDS)
        ids = tokenizer.get_vocab(with_added_tokens=True).values()
        self._size = _FIRST + max(ids, default=-1) + 1

    def __len__(self) -> int:
        return self._size

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The pieces as text, for people; one that is part of a character is shown in code."""
        return (*SPECIALS, *map(self._shown, range(self._size - _FIRST)))

    def _shown(self, number: int) -> str:
        text: str = self._tokenizer.decode([number], skip_special_tokens=False)
        return text if text and "\ufffd" not in text else self._tokenizer.id_to_token(number) or "?"

    def encode(self, line: str) -> list[int]:
        """The ids of one line, without `<bos>` and `<eos>`."""
        return list(self._encoded([line])[0])

    def encode_all(self, lines: Iterable[str]) -> Encoded:
        """`encode` of each line, behind one another."""
        cut = [
            line.split(" ") if self._by_words and not _ODD.search(line) else [line]
            for line in lines
        ]
        ids, lengths = self._words.of(list(chain.from_iterable(cut)))
        if not cut:
            return ids, lengths
        first = np.cumsum([0, *map(len, cut)])[:-1]
        return ids, np.add.reduceat(lengths, first)

    def _encoded(self, lines: list[str]) -> list[list[int]]:
        """The ids of texts, by the library."""
        unknown = self._unknown
        return [
            [UNK if number == unknown else number + _FIRST for number in encoded.ids]
            for encoded in self._tokenizer.encode_batch_fast(lines, add_special_tokens=False)
        ]

    @cached_property
    def _unknown(self) -> int | None:
        """The id that a tokenizer read from a file has for what it does not know."""
        name = getattr(self._tokenizer.model, "unk_token", None)
        return None if name is None else self._tokenizer.token_to_id(name)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first `<eos>`; all specials are left out.

        Raises `DataError` for an id outside the vocabulary.
        """
        return str(self._tokenizer.decode(list(self._own(ids)))).strip()

    def _own(self, ids: Iterable[int]) -> Iterator[int]:
        for number in ids:
            if not 0 <= number < self._size:
                raise DataError(
                    f"id {number} is outside the vocabulary of {self._size} tokens",
                    fix="decode with the vocabulary that the model was trained with",
                )
            if number == EOS:
                return
            if number >= _FIRST:
                yield number - _FIRST

    def normal_form(self, line: str) -> str:
        """The line as `decode` writes it where its tokens are right."""
        return self.decode(self.encode(line))

    def to_json(self) -> str:
        """One JSON object, `{"level": "bpe", "tokenizer": ...}`; ends with a newline."""
        body = {"level": LEVEL, "tokenizer": json.loads(self._tokenizer.to_str())}
        return json.dumps(body) + "\n"


def train_byte_pairs(lines: Iterable[str], size: int) -> BytePairs:
    """The byte pairs that shorten `lines` most; `size` counts specials and bytes too.

    Raises `ConfigurationError` for a size that has no room for them.
    """
    if size < SMALLEST:
        raise ConfigurationError(
            f"a vocabulary of {size} tokens has no room for 256 bytes and 4 specials",
            fix=f"--set maximum_vocabulary=8000, say; {SMALLEST} is the least",
        )
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return BytePairs(tokenizer)


def _untrained() -> Tokenizer:
    """What is trained here: no piece reaches across the space between two words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def read_byte_pairs(path: str | Path) -> BytePairs:
    """The tokenizer of a `tokenizer.json` as Hugging Face's libraries write it.

    Raises `DataError` where there is none.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LIMIT)
        return _from_text(text.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the tokenizer cannot be read: {reason}", str(path), "name a tokenizer.json"
        ) from None


def byte_pairs_from(value: object, where: str) -> BytePairs:
    """What `to_json` wrote, read as JSON. Raises `DataError` where it is something else."""
    if not isinstance(value, dict) or value.keys() != {"level", "tokenizer"}:
        raise DataError("a vocabulary of byte pairs has the keys 'level' and 'tokenizer'", where)
    return _from_text(json.dumps(value["tokenizer"]), where)


def _from_text(text: str, where: str) -> BytePairs:
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise DataError(
            f"this is no tokenizer: {error}", where, "give a tokenizer.json, or train another"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()  # a length of its own would cut lines without a word
    return BytePairs(tokenizer)
