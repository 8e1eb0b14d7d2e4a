"""Byte pairs: nothing is lost, nothing is unknown, and no text is taken for a special token."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from graphgrad.data.byte_pairs import SMALLEST, BytePairs, read_byte_pairs, train_byte_pairs
from graphgrad.data.tokens import tokens_from_json
from graphgrad.data.vocabulary import EOS, SPECIALS, UNK
from graphgrad.errors import ConfigurationError, DataError

LINES = [f"the {w} cat's {w}ing, {n}½ 中文{w}" for n, w in enumerate(["jump", "walk", "sing"] * 9)]
ODD = [
    " a",
    "a  b",
    "a\tb",
    "a\u00a0b",
    "",
    "  ",
    "'s it's 's",
    "e\u0301 \u0301x",
    "a\x1cb",
    "\u3000中",
    "x ",
    "<eos> <pad>",
    "👍🏽 🇩🇪",
    "\ud7a3 \u1100\u1161",
    "\ufeffx",
    "a\u2028b",
    "12,5 don't",
]
TRAINED = train_byte_pairs(LINES, 320)


def by_line(tokens: BytePairs, lines: list[str]) -> list[list[int]]:
    """The ids of each line, out of those of all."""
    ids, lengths = tokens.encode_all(lines)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths))[:-1]]


def test_the_size_is_kept_and_training_is_reproducible() -> None:
    assert len(TRAINED) == len(TRAINED.tokens) == 320
    assert TRAINED.tokens[:4] == SPECIALS
    assert train_byte_pairs(LINES, 320).to_json() == TRAINED.to_json()
    ids = [number for line in LINES for number in TRAINED.encode(line)]
    assert len(ids) < sum(len(line.encode()) for line in LINES) / 2
    with pytest.raises(ConfigurationError, match="no room for 256 bytes"):
        train_byte_pairs(LINES, SMALLEST - 1)


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_what_is_decoded_is_what_was_encoded(line: str) -> None:
    line = line.encode("utf-8", "ignore").decode()
    ids = TRAINED.encode(line)
    assert min(ids, default=len(SPECIALS)) >= len(SPECIALS)
    assert TRAINED.decode([*ids, EOS, 5]) == TRAINED.normal_form(line)
    assert TRAINED.normal_form(line).split() == unicodedata.normalize("NFC", line).split()


def test_words_looked_up_have_the_ids_of_whole_lines() -> None:
    """The library on whole lines is the reference."""
    lines = [*LINES, *ODD, *(f"{a} {b}" for a in ODD for b in ODD)]
    fresh = train_byte_pairs(LINES, 320)
    assert by_line(fresh, lines) == fresh._encoded(lines) == by_line(fresh, lines)


def test_a_full_memory_of_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphgrad.data.byte_pairs._WORDS", 5)
    fresh = train_byte_pairs(LINES, 320)
    for some in (LINES[:3], ODD, LINES[3:6]):
        assert by_line(fresh, some) == fresh._encoded(some)


def test_it_travels_as_text_and_damage_is_named() -> None:
    again = tokens_from_json(TRAINED.to_json(), "vocabulary-source.json")
    assert isinstance(again, BytePairs) and again.to_json() == TRAINED.to_json()
    assert by_line(again, ODD) == by_line(TRAINED, ODD)
    body = json.loads(TRAINED.to_json())
    for damaged in (body | {"more": 1}, body | {"tokenizer": {}}, body | {"tokenizer": None}):
        with pytest.raises(DataError) as error:
            tokens_from_json(json.dumps(damaged), "vocabulary-source.json")
        assert error.value.where == "vocabulary-source.json"
    with pytest.raises(DataError, match="outside the vocabulary of 320"):
        TRAINED.decode([320])


def test_a_tokenizer_of_another_library_is_read_with_its_own_rules(tmp_path: Path) -> None:
    """Words in lower case, an unknown token, and a length of its own that must not cut."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(["the cat sat", "a cat"], trainer)
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = read_byte_pairs(tmp_path / "tokenizer.json")
    ids = found.encode("The CAT sat ξ")
    assert len(ids) == 4 and ids[-1] == UNK and UNK not in ids[:-1]
    assert [found.tokens[number] for number in ids[:3]] == ["the", "cat", "sat"]
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_byte_pairs(path)
    (tmp_path / "other").write_text("{}")
    with pytest.raises(DataError, match="this is no tokenizer"):
        read_byte_pairs(tmp_path / "other")
