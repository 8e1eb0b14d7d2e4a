"""What is decoded with kept keys and values is what the plain way decodes, token for token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decoded import BEGIN, END, Plain, sentences_of, settings_of

from graphgrad.decoding import Decoder, Options, Sentence
from graphgrad.decoding.beam import BeamSearch
from graphgrad.decoding.programs import Programs, Wanted
from graphgrad.decoding.search import Batch
from graphgrad.decoding.session import Session
from graphgrad.decoding.sizes import Shared

VARIANTS = pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "pre", "tie": True, "activation": "gelu"},
        {"positions": "learned", "bias": False, "output_bias": False, "maximum_length": 64},
        {"joint": True, "share_embeddings": True, "tie": True, "initial": "xavier"},
    ],
    ids=["post", "pre tied gelu", "learned without bias", "one table"],
)


@VARIANTS
def test_the_logits_of_each_position_are_those_of_all_at_once(values):
    """To 1e-12 in float64, beyond the first doubling of the room."""
    plain = Plain(settings_of(**values))
    generator = np.random.default_rng(1)
    sources = [[4, 5, 6, 7, END], [8, END]]
    targets = np.concatenate([np.full((2, 1), BEGIN), generator.integers(3, 9, (2, 39))], axis=1)
    source = np.array([sources[0], [*sources[1], 0, 0, 0]], np.int32)
    programs = Programs(plain.decodable)
    session = Session(programs, plain.state, batch=2, rows=1, slots=32)
    session.admit(np.arange(2), programs.encoded(plain.state, source), np.arange(2))
    going, wanted, found = np.array([True, True]), Wanted(0), []
    for place in range(targets.shape[1]):
        tokens = targets[:, place : place + 1].astype(np.int32)
        found.append(session.step(tokens, going, wanted))
    assert session.slots == 64
    for row in range(2):
        expected = plain.logits(sources[row], targets[row])
        expected[:, :2] = -np.inf  # padding and the begin are never given
        cached = np.stack([each["logits"][row, 0] for each in found])
        np.testing.assert_allclose(cached, expected, rtol=0, atol=1e-12)


@VARIANTS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_greedy_decoding_is_that_of_the_plain_way(values, dtype):
    plain = Plain(settings_of(dtype=dtype, **values), seed=2)
    sentences = sentences_of(12, limit=40)
    found = Decoder(plain.decodable)(plain.state, sentences)
    for sentence, (hypothesis,) in zip(sentences, found, strict=True):
        assert hypothesis.tokens == plain.greedy(sentence)
        assert hypothesis.ended == (hypothesis.tokens[-1] == END)
    assert len({hypothesis.tokens for (hypothesis,) in found}) > 6


@pytest.fixture(scope="module")
def lively():
    """A model that says many things, and ends where it is time."""
    return Plain(settings_of(), seed=9, spread=0.8)


@pytest.mark.parametrize("beam", [2, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_finds_what_the_plain_way_finds(lively, beam, penalty):
    sentences = sentences_of(8, limit=12, seed=3)
    options = Options(beam=beam, length_penalty=penalty, n_best=beam)
    found = Decoder(lively.decodable)(lively.state, sentences, options)
    for sentence, hypotheses in zip(sentences, found, strict=True):
        expected = lively.beam(sentence, beam, penalty)[:beam]
        assert [each.tokens for each in hypotheses] == expected
        for each in hypotheses:
            total = lively.probability_of(sentence, each.tokens)
            assert each.log_probability == pytest.approx(total, abs=1e-11)
            assert each.score == pytest.approx(total / len(each.tokens) ** penalty, abs=1e-11)


def test_the_scores_of_long_beams_are_true_where_slots_are_given_up(lively):
    """Over a hundred tokens the room is filled, cleared and doubled many times."""
    sentence = Sentence([BEGIN], 100, [5, 6, 7, END])
    endless = Plain(settings_of(), seed=9, spread=0.8)
    object.__setattr__(endless.decodable, "end", None)
    found = Decoder(endless.decodable)(endless.state, [sentence], Options(beam=4, n_best=4))
    assert [len(each.tokens) for each in found[0]] == [100] * 4
    for each in found[0]:
        total = endless.probability_of(sentence, each.tokens)
        assert each.log_probability == pytest.approx(total, abs=1e-9)


def test_a_beam_of_one_is_greedy(lively):
    sentences = sentences_of(16, limit=20, seed=4)
    programs, options = Programs(lively.decodable), Options(scores=True)
    greedy = Decoder(lively.decodable)(lively.state, sentences, options)
    batch = Batch(programs, lively.state, sentences, options, 8, BeamSearch)
    beams = {}
    while batch.going:
        beams.update(batch.advance())
    for (alone,), (beam,) in zip(greedy, (beams[n] for n in range(16)), strict=True):
        assert alone.tokens == beam.tokens and alone.ended == beam.ended
        assert alone.score == pytest.approx(beam.score, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [Options(), Options(beam=3), Options(temperature=1.5, top_p=0.95), Options(no_repeat=2)],
    ids=["greedy", "beam", "drawn", "no repetition"],
)
def test_a_batch_gives_what_its_sentences_give_alone(lively, options):
    """However they are cut into batches and padded, and in their order."""
    sentences = sentences_of(9, longest=20, limit=16, seed=6)
    together = Decoder(lively.decodable)(lively.state, sentences, options)
    cut = Decoder(lively.decodable, rows=4)(lively.state, sentences, options)
    one_by_one = Decoder(lively.decodable)
    alone = [one_by_one(lively.state, [sentence], options)[0] for sentence in sentences[::2]]
    for some, whole in ((cut, together), (alone, together[::2])):
        assert [[each.tokens for each in found] for found in some] == [
            [each.tokens for each in found] for found in whole
        ]
    assert len({found[0].tokens for found in together}) > 4


def test_what_was_done_is_not_done_again(lively):
    """The keys and values are written where they are kept, and no parameter is copied."""
    programs = Programs(lively.decodable)
    source = np.array([[4, 5, END]], np.int32)
    session = Session(programs, lively.state, batch=1, rows=1, slots=32)
    session.admit(np.array([0]), programs.encoded(lively.state, source), np.array([0]))
    session.step(np.array([[BEGIN]], np.int32), np.array([True]), Wanted(1))
    kept = dict(session._caches)
    session.step(np.array([[5]], np.int32), np.array([True]), Wanted(1))
    assert all(session._caches[name] is array for name, array in kept.items())
    (((sizes, _), program),) = programs._steps.items()
    plan = program.compiled.program(source=3).plan
    assert not plan.copies and sizes.rows == 1
    assert {plan.places[node].kind for node in plan.graph.updates.values()} == {"state"}
    logits = [node for node in plan.graph if node.shape[-1:] == (9,) and node.rank == 3]
    assert logits and all(node.shape == (1, 1, 9) for node in logits)


def test_few_programs_decode_sentences_of_all_lengths(lively):
    """One that encodes and one that steps for each width of the sources, whatever comes."""

    def of(count, longest, seed):
        return [replace(each, limit=20) for each in sentences_of(count, longest, seed=seed)]

    decoder = Decoder(lively.decodable)
    short = of(70, 20, 1)
    decoder(lively.state, short)
    assert decoder.programs.count == 2
    decoder(lively.state, [*short[:30], *of(9, 40, 2)])
    assert decoder.programs.count == 4
    for count in (9, 33, 70):
        decoder(lively.state, of(count, 40, count))
    assert decoder.programs.count == 4
    decoder(lively.state, short[:3], Options())
    assert decoder.programs.count == 6


def test_calls_with_shared_sizes_have_two_programs_and_the_same_sentences(lively):
    sentences = [replace(each, limit=20) for each in sentences_of(30, 40, seed=3)]
    decoder, shared = Decoder(lively.decodable), Shared(30, 45)
    expected = Decoder(lively.decodable)(lively.state, sentences)
    for some in (slice(0, 30), slice(4, 7), slice(7, 8)):
        found = dict(decoder.finished(lively.state, sentences[some], shared=shared))
        tokens = [found[place][0].tokens for place in range(len(found))]
        assert tokens == [hypotheses[0].tokens for hypotheses in expected[some]]
        assert decoder.programs.count == 2


def test_a_long_sentence_beside_finished_ones_is_decoded_in_a_smaller_batch(lively):
    """After many steps with idle places; the tokens are those of the sentence alone."""
    endless = Plain(settings_of(), seed=9, spread=0.8)
    object.__setattr__(endless.decodable, "end", None)
    sentences = [Sentence([BEGIN], 3, [5, END])] * 8 + [Sentence([BEGIN], 90, [6, 7, END])]
    together = Decoder(endless.decodable)(endless.state, sentences)
    alone = Decoder(endless.decodable)(endless.state, sentences[-1:])
    assert together[-1][0].tokens == alone[0][0].tokens
    batch = Batch(Programs(endless.decodable), endless.state, sentences, Options(), 64)
    while batch.going:
        batch.advance()
    assert len(batch.search.going) == 1
