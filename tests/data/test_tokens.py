"""What a line is cut into, by the names of `--set tokens=…`."""

import numpy as np
import pytest

from graphgrad.data import tokens
from graphgrad.data.flat import LineWriter, Pairs
from graphgrad.data.tokens import KINDS, build_tokens, tokens_from_json
from graphgrad.data.vocabulary import UNK

PAIRS = [("jump@@ ing high", "hoch sprin@@ gend"), ("a man", "ein Mann")] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joint", [False, True])
def test_every_kind_gives_its_own_lines_back(kind: str, joint: bool) -> None:
    sides = build_tokens(PAIRS, kind, 400, joint=joint)
    assert (sides[0] is sides[1]) == joint
    for side, found in enumerate(sides):
        again = tokens_from_json(found.to_json(), "file")
        for pair in PAIRS:
            ids = found.encode(pair[side])
            assert UNK not in ids and again.encode(pair[side]) == ids
            assert (
                found.decode(ids) == again.normal_form(pair[side]) == found.normal_form(pair[side])
            )


def test_pieces_are_joined_on_output() -> None:
    source, _ = build_tokens(PAIRS, "presplit", 100)
    assert source.decode(source.encode("jump@@ ing jump@@ ing high")) == "jumping jumping high"
    assert source.decode(source.encode("high jump@@")) == "high jump", "the rest never came"
    assert source.encode("jump@@ ing")[0] != source.encode("jump")[0] == UNK


def test_byte_pairs_of_a_large_corpus_are_learnt_from_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "SAMPLE", 3)
    writer = LineWriter()
    for line in (b"aaaa aaaa", b"bbbb", b"cccc cccc", b"dddd", b"eeee eeee"):
        writer.add(line)
    lines, numbers = writer.finish(), np.arange(5)
    pairs = Pairs(lines, lines, numbers, numbers + 1)
    found, _ = build_tokens(pairs, "bpe", 280)
    pieces = set(found.tokens[260:])
    assert {" aaaa", " cccc", " eeee"} <= pieces and not {" bbbb", " dddd"} & pieces
