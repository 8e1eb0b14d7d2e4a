"""Text into ids and back."""

import numpy as np
import pytest

from graphgrad.data.text_tokens import KINDS, TextTokens
from graphgrad.data.vocabulary import EOS, SPECIALS, UNK, Vocabulary
from graphgrad.errors import ConfigurationError, DataError

BYTES = TextTokens.build("byte", [])


@pytest.mark.parametrize(
    "text", ["", "a\r\n\0", "é\u0301", "汉字", "\U0001f600", "\x80\xff", "<pad>"]
)
def test_every_text_has_bytes(text):
    ids = BYTES.encode(text)
    assert ids.dtype == np.int32 and (ids - len(SPECIALS)).tolist() == list(text.encode())
    assert BYTES.decode(ids.tolist()) == text


def test_characters_are_those_of_the_vocabulary():
    tokens = TextTokens.build("character", ["abé\n", "a"])
    vocabulary = Vocabulary.build(["abé\n", "a"], "character")
    text = "aé\nzb\U0001f600e\u0301"
    assert tokens.encode(text).tolist() == vocabulary.encode(text)
    assert tokens.decode(tokens.encode("bé\na").tolist()) == "bé\na"
    assert tokens.encode("").tolist() == []


def test_words_and_signs_are_told_apart():
    tokens = TextTokens.build("word", ["if a_1 == b: return a_1.", "if"], maximum_size=7)
    assert tokens.vocabulary.tokens[4:] == ("=", "a_1", "if")
    assert tokens.encode("if  a_1=x").tolist() == [6, 5, 4, UNK]
    assert tokens.decode([6, 5, EOS, 4]) == "if a_1"


def test_documents_are_packed_with_an_end_behind_each():
    tokens = TextTokens.build("character", ["ab"])
    a, b = tokens.encode("ab").tolist()
    assert tokens.packed(["ab", "b"]).tolist() == [a, b, EOS, b, EOS]
    assert tokens.packed(["ab"], ends=False).tolist() == [a, b]


def test_bytes_that_are_no_character_are_replaced():
    assert BYTES.decode([4 + 0xC3]) == "\ufffd"
    assert BYTES.decode([1, 4 + 0xC3, 4 + 0xA9, EOS, 4 + 65]) == "é"


def test_unknown_kinds_and_vocabularies_of_another_kind_are_refused():
    with pytest.raises(ConfigurationError, match="did you mean 'word'"):
        TextTokens.build("words", [])
    for kind in KINDS:
        other = "character" if kind == "word" else "whitespace"
        with pytest.raises(DataError, match=kind):
            TextTokens(kind, Vocabulary.build([], other))
