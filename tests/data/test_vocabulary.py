import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from graphgrad.errors import ConfigurationError, DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_specials_come_first_and_the_rest_by_frequency_then_text() -> None:
    vocabulary = Vocabulary.build(["cab", "bc", "c"], "character")
    assert vocabulary.tokens == (*SPECIALS, "c", "b", "a")
    assert vocabulary == Vocabulary.build(["c", "bc", "cab"], "character")
    tied = Vocabulary.build(["z y x"], "whitespace")
    assert tied.tokens[4:] == ("x", "y", "z")


def test_limits_of_count_and_size() -> None:
    lines = ["a a a", "b b", "c"]
    assert Vocabulary.build(lines, "whitespace", minimum_count=2).tokens[4:] == ("a", "b")
    assert Vocabulary.build(lines, "whitespace", maximum_size=5).tokens[4:] == ("a",)
    with pytest.raises(ConfigurationError, match="leaves no room"):
        Vocabulary.build(lines, "whitespace", maximum_size=4)
    with pytest.raises(ConfigurationError, match="minimum_count"):
        Vocabulary.build(lines, "whitespace", minimum_count=0)
    with pytest.raises(ConfigurationError, match="unknown level"):
        Vocabulary.build(lines, "bytes")


@given(TEXT)
@settings(max_examples=100, deadline=None)
def test_character_round_trip(line: str) -> None:
    vocabulary = Vocabulary.build([line], "character")
    ids = vocabulary.encode(line)
    assert all(number >= len(SPECIALS) for number in ids)
    assert vocabulary.decode([BOS, *ids, EOS, 4]) == unicodedata.normalize("NFC", line)


@given(TEXT)
@settings(max_examples=100, deadline=None)
def test_whitespace_round_trip_and_json(line: str) -> None:
    vocabulary = Vocabulary.build([line], "whitespace")
    words = unicodedata.normalize("NFC", line).split()
    assert vocabulary.tokenize(line) == words
    assert vocabulary.decode(vocabulary.encode(line)) == " ".join(
        word for word in words if word not in SPECIALS
    )
    assert Vocabulary.from_json(vocabulary.to_json(), "here") == vocabulary


def test_composed_and_decomposed_letters_are_one_token() -> None:
    vocabulary = Vocabulary.build(["é"], "character")
    assert len(vocabulary) == 5
    assert vocabulary.encode("e\u0301") == vocabulary.encode("é") == [4]


def test_text_is_never_taken_for_a_special() -> None:
    characters = Vocabulary.build(["<pad>"], "character")
    assert characters.decode(characters.encode("<pad>")) == "<pad>"
    assert min(characters.encode("<pad>")) > UNK
    words = Vocabulary.build(["a <pad> <eos> b"], "whitespace")
    assert words.tokens == (*SPECIALS, "a", "b")
    assert words.encode("a <pad> <eos> b") == [4, UNK, UNK, 5]


def test_decode_stops_at_eos_drops_specials_and_takes_arrays() -> None:
    vocabulary = Vocabulary.build(["ab"], "character")
    ids = np.array([BOS, 4, PAD, UNK, 5, EOS, 4], np.int32)
    assert vocabulary.decode(ids) == "ab"


@pytest.mark.parametrize("number", [-1, 6])
def test_decode_refuses_ids_outside(number: int) -> None:
    with pytest.raises(DataError, match="outside the vocabulary of 6"):
        Vocabulary.build(["ab"], "character").decode([number])


DAMAGED = {
    "not JSON": "{",
    "not a JSON object": "[]",
    "once each; found: 'level'$": '{"level": "character"}',
    "found: 'level', 'tokens', 'more'": '{"level": "character", "tokens": [], "more": 1}',
    "'level', 'level'": '{"level": "character", "level": "character", "tokens": []}',
    "not a list": '{"level": "character", "tokens": {}}',
    "level is 3": json.dumps({"level": 3, "tokens": list(SPECIALS)}),
    "level is \\[\\]": json.dumps({"level": [], "tokens": list(SPECIALS)}),
    "does not start": json.dumps({"level": "character", "tokens": ["a"]}),
    "token 4 of the vocabulary is 7": json.dumps({"level": "character", "tokens": [*SPECIALS, 7]}),
    "is twice": json.dumps({"level": "character", "tokens": [*SPECIALS, "a", "a"]}),
    "'ab', cannot occur": json.dumps({"level": "character", "tokens": [*SPECIALS, "ab"]}),
    "'a b', cannot occur": json.dumps({"level": "whitespace", "tokens": [*SPECIALS, "a b"]}),
    "'', cannot occur": json.dumps({"level": "whitespace", "tokens": [*SPECIALS, ""]}),
    "cannot occur at character": json.dumps(
        {"level": "character", "tokens": [*SPECIALS, "\ud800"]}
    ),
    "recursion": "[" * 200_000,
}


@pytest.mark.parametrize("problem", DAMAGED)
def test_damaged_json_is_one_clear_error(problem: str) -> None:
    with pytest.raises(DataError, match=f"(?m){problem}") as caught:
        Vocabulary.from_json(DAMAGED[problem], "vocabulary.json")
    assert caught.value.where == "vocabulary.json"
    assert caught.value.fix
