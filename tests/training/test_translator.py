"""Texts to texts, by a model whose answers are known."""

import dataclasses

import numpy as np
import pytest

from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.decoding import Decodable, Decoder
from graphgrad.errors import DataError
from graphgrad.graph import Graph, input
from graphgrad.ops import equal, less, multiply, one_hot, where
from graphgrad.training.translator import Languages, Translator

WORDS = ["a", "b", "c", "d", "e", "f"]


def alphabet(longest=6, maximum_length=12):
    """A translator that starts with the source's first word and says the alphabet from there:
    each token follows from the one before it, and after the last comes <eos>."""
    vocabulary = Vocabulary.build(WORDS, "whitespace")
    size = len(vocabulary)

    def step(step):
        first = input("first", (step.sizes.batch, 1), "int32")
        source = input("source", (step.sizes.batch, "source"), "int32")
        begin = where(equal(source[:, :1], EOS), EOS, first)
        after = where(less(step.token, size - 1), step.token + 1, EOS)
        return one_hot(where(equal(step.token, BOS), begin, after), size)

    source = input("source", ("batch", "source"), "int32")
    decodable = Decodable(step, Graph({"first": multiply(source[:, :1], 1)}), EOS)
    return Translator(Languages(vocabulary, vocabulary, longest, maximum_length), decodable)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a b c d e f"),
        ("d", "d e f"),
        ("f", "f"),
        ("e a a a", "e f"),
        ("", ""),
        ("  c ", "c d e f"),
    ],
)
def test_every_token_follows_from_the_one_before(text, expected):
    assert alphabet()({}, [text]) == [expected]


def test_each_text_gets_its_own_translation_in_order():
    texts = ["d a a", "a", "f f f f f", "", "c b", "a"]
    expected = ["d e f", "a b c d e f", "f", "", "c d e f", "a b c d e f"]
    for rows in (1, 2, 3, 200):
        translator = alphabet()
        translator.decoder = Decoder(translator._decodable, rows)
        assert translator({}, texts) == expected
    assert alphabet()({}, []) == []


def noted(translator, rows=200):
    """The sources that are encoded and the tokens that are read, from now on."""
    translator.decoder = Decoder(translator._decodable, rows)
    programs, sources, read = translator.decoder.programs, [], []
    encoded, step = programs.encoded, programs.step

    def noted_encoded(state, source):
        sources.append(source)
        return encoded(state, source)

    def noted_step(sizes, wanted):
        found = step(sizes, wanted)

        def run(state, feeds):
            read.append(feeds["token"].copy())
            return found.compiled(state, feeds)

        return dataclasses.replace(found, compiled=run)

    programs.encoded, programs.step = noted_encoded, noted_step
    return sources, read


def test_similar_lengths_are_decoded_together():
    translator = alphabet(maximum_length=40)
    sources, _ = noted(translator, rows=2)
    translator({}, [" ".join(["f"] * length) for length in (30, 1, 28, 2)])
    assert [source.shape for source in sources] == [(2, 24), (2, 48)]
    assert [(source != PAD).sum() for source in sources] == [2 + 3, 29 + 31]


def test_what_has_ended_gives_its_place_to_the_next_and_then_all_stops():
    translator = alphabet()
    _, read = noted(translator, rows=2)
    translator({}, ["e", "f", "f a"])
    e, f = (translator.languages.target.ids[word] for word in "ef")
    # f <eos>, then e f <eos> in its place; f <eos>, then nothing
    np.testing.assert_array_equal(np.hstack(read), [[BOS, f, BOS, e, f], [BOS, f, EOS, EOS, EOS]])


def test_a_model_that_does_not_stop_is_stopped():
    """At a quarter more tokens than any target had in training, never beyond the maximum."""
    assert alphabet(longest=2)({}, ["a"]) == ["a b c"]
    assert alphabet(longest=100, maximum_length=5)({}, ["a"]) == ["a b c d"]


def test_a_text_that_is_too_long_is_refused_with_its_length():
    translator = alphabet(maximum_length=5)
    assert translator({}, ["a b c d"])  # with <eos> five tokens
    with pytest.raises(DataError) as error:
        translator({}, ["a", "a b c d e"])
    assert "has 5 tokens" in error.value.problem and "takes 4" in error.value.problem
    assert "'a b c d e'" in error.value.problem
    assert "maximum_length" in error.value.fix
