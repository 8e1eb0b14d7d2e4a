"""A model of a decoder alone: prompts of any length at once, then one token after another."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.decoding import Decodable, Decoder, Options, Sentence
from graphgrad.graph import Graph, initial_state
from graphgrad.layers import causal_mask, dense, embedding_table, feed_forward, layer_norm
from graphgrad.layers import multi_head_attention as attention

VOCABULARY, WIDTH, POSITIONS = 17, 8, 64


def decoder(ids, step=None):
    """Two layers, pre-norm, learned positions; in a step the past is remembered."""
    table = embedding_table(VOCABULARY, WIDTH, "float64")
    learned = gg.parameter("positions", (POSITIONS, WIDTH), gg.normal(1.0), "float64")
    positions = gg.iota(ids.shape[1]) if step is None else step.position
    mask = causal_mask(ids.shape[1]) if step is None else step.mask()
    x = gg.gather(table, ids) + gg.gather(learned, positions)
    for number in range(2):
        with gg.scope(str(number)):
            h = layer_norm(x, "attention_norm")
            x = x + attention(h, step.past(h) if step else h, mask, 2)
            x = x + feed_forward(layer_norm(x, "norm"), 12)
    return dense(layer_norm(x, "final_norm"), VOCABULARY, "output")


@pytest.fixture(scope="module")
def model():
    ids = gg.input("ids", ("batch", "position"), "int32")
    graph = Graph({"logits": decoder(ids)})
    state = initial_state(graph, 1)
    generator = np.random.default_rng(1)
    for array in state.values():
        array += generator.normal(scale=0.4, size=array.shape)
    run = compile(graph)

    def logits(tokens):
        padded = np.array([[*tokens, *[0] * (POSITIONS - len(tokens))]], np.int32)
        return run(state, ids=padded)["logits"][0, : len(tokens)]

    decodable = Decodable(lambda step: decoder(step.token, step), positions=POSITIONS)
    return decodable, state, logits


def prompts_of(lengths):
    generator = np.random.default_rng(2)
    return [
        Sentence(generator.integers(0, VOCABULARY, length).tolist(), 20, number=number)
        for number, length in enumerate(lengths)
    ]


def test_what_follows_a_prompt_is_what_all_positions_at_once_say(model):
    decodable, state, logits = model
    sentences = prompts_of([1, 7, 3, 30, 12, 1])
    found = Decoder(decodable)(state, sentences, Options(scores=True))
    for sentence, (hypothesis,) in zip(sentences, found, strict=True):
        tokens, total = list(sentence.prompt), 0.0
        for _ in range(sentence.limit):
            last = logits(tokens)[-1]
            tokens.append(int(last.argmax()))
            total += last.max() - np.log(np.exp(last).sum())
        assert list(hypothesis.tokens) == tokens[len(sentence.prompt) :]
        assert hypothesis.log_probability == pytest.approx(total, abs=1e-10)
        assert not hypothesis.ended
    alone = Decoder(decodable, rows=1)(state, sentences)
    assert [each[0].tokens for each in alone] == [each[0].tokens for each in found]


def test_the_scores_of_a_beam_behind_prompts_are_true(model):
    decodable, state, logits = model
    sentences = prompts_of([5, 2, 21])
    for sentence, hypotheses in zip(
        sentences, Decoder(decodable)(state, sentences, Options(beam=3, n_best=3)), strict=True
    ):
        assert len({each.tokens for each in hypotheses}) == 3
        for each in hypotheses:
            whole = [*sentence.prompt, *each.tokens]
            rows = logits(whole[:-1])[len(sentence.prompt) - 1 :]
            rows = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
            total = rows[np.arange(len(rows)), list(each.tokens)].sum()
            assert each.log_probability == pytest.approx(total, abs=1e-10)


def test_all_positions_of_the_model_are_used_and_none_beyond_them(model):
    """A sentence that has come to the last position rests beside others that go on."""
    decodable, state, _ = model
    long, short = prompts_of([POSITIONS - 1, 50])
    sentences = [
        Sentence(long.prompt, 2),
        Sentence(short.prompt, POSITIONS - 50 + 1),
    ]
    found = Decoder(decodable)(state, sentences)
    assert [len(each.tokens) for (each,) in found] == [2, POSITIONS - 49]
    alone = Decoder(decodable, rows=1)(state, sentences)
    assert [each[0].tokens for each in alone] == [each[0].tokens for each in found]
