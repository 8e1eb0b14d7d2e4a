"""The tokens that a model knows, and the way from a line of text to ids and back.

Design: a vocabulary is data (a tuple of tokens and the level at which lines are cut), fully checked
when it is made, so that one read from a damaged file cannot half work. Lines are brought to Unicode
normal form C before they are cut: `é` typed as one code point or as `e` + accent is the same
token. Decoded text is therefore NFC as well.

Laws: ids 0..3 are `<pad>`, `<bos>`, `<eos>`, `<unk>` and never stand for text. At character
level a text that contains `<pad>` is five ordinary characters; at whitespace level the word
`<pad>` is unknown (`<unk>`). `decode(encode(line)) == line` for every NFC line whose tokens
are all known, at whitespace level up to the spaces between words.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from graphgrad.errors import ConfigurationError, DataError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
LEVELS = ("character", "whitespace", "presplit")
JOINT = "@@"
"""What ends a piece of a word that goes on, in text that was split beforehand."""
Encoded = tuple[np.ndarray, np.ndarray]
"""The ids of several lines behind one another, int32, and how many each line has, int64."""
_AT_ONCE = 1000  # lines counted at a time
_SEPARATOR = {"character": "", "whitespace": " ", "presplit": " "}


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of tokens; the id of a token is its place in `tokens`.

    `level` is `"character"` (each Unicode code point of the NFC line is a token),
    `"whitespace"` (each word between white space is one) or `"presplit"` (the words of the line
    are pieces already, `jump@@ ing`; decoding joins them). Raises `DataError` where the tokens
    are not text, not distinct, do not start with the four specials, or could not come from a line.

    >>> import graphgrad as gg
    >>> vocabulary = gg.data.Vocabulary.build(["a b", "b"], "whitespace")
    >>> vocabulary.tokens
    ('<pad>', '<bos>', '<eos>', '<unk>', 'b', 'a')
    >>> vocabulary.encode("a c b"), vocabulary.decode([5, 4])
    ([5, 3, 4], 'a b')
    """

    tokens: tuple[str, ...]
    level: str
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.tokens, self.level)
        ordinary = enumerate(self.tokens[len(SPECIALS) :], start=len(SPECIALS))
        object.__setattr__(self, "ids", {token: number for number, token in ordinary})

    @classmethod
    def build(
        cls,
        lines: Iterable[str],
        level: str,
        minimum_count: int = 1,
        maximum_size: int | None = None,
    ) -> "Vocabulary":
        """The vocabulary of `lines`: most frequent token first, ties in code point order.

        Tokens seen fewer than `minimum_count` times are left out, and only as many are kept as
        `maximum_size` allows, which counts the four specials too. Raises `ConfigurationError`
        for an unknown level and limits that leave no room.
        """
        if level not in LEVELS:
            raise ConfigurationError(f"unknown level {level!r}", fix=f"use one of {LEVELS}")
        if minimum_count < 1:
            raise ConfigurationError(f"minimum_count is {minimum_count}", fix="use 1 or more")
        if maximum_size is not None and maximum_size <= len(SPECIALS):
            raise ConfigurationError(
                f"maximum_size {maximum_size} leaves no room beside the {len(SPECIALS)} specials",
                fix=f"use at least {len(SPECIALS) + 1}",
            )
        counts: Counter[str] = Counter()
        rest = iter(lines)
        while some := [unicodedata.normalize("NFC", line) for line in islice(rest, _AT_ONCE)]:
            counts.update("".join(some) if level == "character" else " ".join(some).split())
        for special in SPECIALS:
            counts.pop(special, None)
        frequent = [token for token, count in counts.items() if count >= minimum_count]
        frequent.sort(key=lambda token: (-counts[token], token))
        return cls((SPECIALS + tuple(frequent))[:maximum_size], level)

    def __len__(self) -> int:
        return len(self.tokens)

    def tokenize(self, line: str) -> list[str]:
        """The tokens of one line, known or not, after NFC normalisation."""
        return _cut(line, self.level)

    def normal_form(self, line: str) -> str:
        """The line as `decode` would write it if all of its tokens were known."""
        return normal_form(line, self.level)

    def encode(self, line: str) -> list[int]:
        """The ids of one line's tokens, without `<bos>` and `<eos>`; unknown: `<unk>`."""
        known = self.ids
        return [known.get(token, UNK) for token in _cut(line, self.level)]

    def encode_all(self, lines: Iterable[str]) -> Encoded:
        """`encode` of each line, behind one another."""
        cut = [_cut(line, self.level) for line in lines]
        lengths = np.fromiter(map(len, cut), np.int64, len(cut))
        ids = map(self.ids.get, chain.from_iterable(cut), repeat(UNK))
        return np.fromiter(ids, np.int32, lengths.sum()), lengths

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first `<eos>`; all specials are left out.

        Raises `DataError` for an id outside the vocabulary.
        """
        words: list[str] = []
        for number in ids:
            if not 0 <= number < len(self.tokens):
                raise DataError(
                    f"id {number} is outside the vocabulary of {len(self.tokens)} tokens",
                    fix="decode with the vocabulary that the model was trained with",
                )
            if number == EOS:
                break
            if number >= len(SPECIALS):
                words.append(self.tokens[number])
        return _joined(words, self.level)

    def to_json(self) -> str:
        """One JSON object, `{"level": ..., "tokens": [...]}`; ASCII, ends with a newline."""
        return json.dumps({"level": self.level, "tokens": list(self.tokens)}) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Vocabulary":
        """Read what `to_json` wrote; `where` names the file in messages.

        Raises `DataError` for text that is not JSON, repeated, missing or unknown keys, values of a
        wrong type, and tokens that make no vocabulary.
        """
        try:
            pairs = json.loads(text, object_pairs_hook=_Members)
        except (ValueError, RecursionError) as error:
            raise _damaged(f"the vocabulary is not JSON: {error}", where) from None
        if not isinstance(pairs, _Members):
            raise _damaged("the vocabulary is not a JSON object", where)
        if sorted(key for key, _ in pairs) != ["level", "tokens"]:
            found = ", ".join(repr(key)[:60] for key, _ in pairs[:8]) or "none"
            problem = f"a vocabulary has the keys 'level' and 'tokens', once each; found: {found}"
            raise _damaged(problem, where)
        values = dict(pairs)
        if not isinstance(values["tokens"], list) or isinstance(values["tokens"], _Members):
            raise _damaged("the vocabulary's 'tokens' is not a list", where)
        try:
            return cls(tuple(values["tokens"]), values["level"])
        except DataError as error:
            raise _damaged(error.problem, where) from None


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object in order, so that a key given twice is seen."""


def _damaged(problem: str, where: str) -> DataError:
    return DataError(problem, where, "restore the file, or build the vocabulary anew")


def normal_form(line: str, level: str) -> str:
    """NFC, with one space between words and none around them where words are cut; pieces joined."""
    return _joined(_cut(line, level), level)


def _joined(tokens: Sequence[str], level: str) -> str:
    text = _SEPARATOR[level].join(tokens)
    return text.replace(f"{JOINT} ", "").removesuffix(JOINT) if level == "presplit" else text


def _cut(line: str, level: str) -> list[str]:
    line = unicodedata.normalize("NFC", line)
    return list(line) if level == "character" else line.split()


def _check(tokens: Sequence[Any], level: Any) -> None:
    if level not in LEVELS:
        raise DataError(f"the vocabulary's level is {level!r}, not one of {LEVELS}")
    if tuple(tokens[: len(SPECIALS)]) != SPECIALS:
        raise DataError(f"the vocabulary does not start with {', '.join(SPECIALS)}")
    seen: set[str] = set()
    for number, token in enumerate(tokens):
        if not isinstance(token, str):
            raise DataError(f"token {number} of the vocabulary is {token!r:.40}, not text")
        if token in seen:
            raise DataError(f"token {token!r:.40} is twice in the vocabulary")
        seen.add(token)
        if number >= len(SPECIALS) and not _can_occur(token, level):
            raise DataError(f"token {number}, {token!r:.40}, cannot occur at {level} level")


def _can_occur(token: str, level: str) -> bool:
    if any("\ud800" <= character <= "\udfff" for character in token):
        return False  # half of a surrogate pair: no UTF-8 text has one
    if level == "character":
        return len(token) == 1
    return token.split() == [token]
