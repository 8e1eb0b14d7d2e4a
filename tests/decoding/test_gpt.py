"""GPT decoded with stored keys and values is GPT that computes all positions for every token.

For each of its options, and past the end of its context, where the last tokens are read as if the
text began with them (nanoGPT's crop).
"""

from __future__ import annotations

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.decoding import Decoder, Options, Sentence
from graphgrad.decoding.drawing import drawn, uniform
from graphgrad.decoding.programs import Programs
from graphgrad.decoding.search import Batch
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.graph import initial_state
from graphgrad.models import gpt

VOCABULARY, CONTEXT, FORBIDDEN = 17, 12, (0, 1, 3)
OPTIONS = {
    "gpt-2": {},
    "grouped": {"key_heads": 2},
    "one head of keys": {"key_heads": 1},
    "rotary": {"positions": "rotary"},
    "rms": {"norm": "rms"},
    "swiglu": {"activation": "swiglu"},
    "no bias": {"bias": False},
    "untied": {"tie": False},
    "modern": {
        "key_heads": 2,
        "positions": "rotary",
        "norm": "rms",
        "activation": "swiglu",
        "bias": False,
        "tie": False,
    },
}
EACH = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


class Plain:
    """A GPT with random weights, and its logits by the graph of training."""

    def __init__(self, **options):
        values = {"layers": 2, "width": 16, "heads": 4, "inner": 12, "context": CONTEXT}
        self.settings = gpt.Settings(dtype="float64", **{**values, **options})
        graph = gpt.training_graph(self.settings, VOCABULARY, training=False)
        self.state, generator = initial_state(graph, 1), np.random.default_rng(1)
        for array in self.state.values():
            array += generator.normal(scale=0.4, size=array.shape)
        self._run = compile(graph, fetch="decoder.logits")

    def decodable(self, end=None):
        return gpt.decodable(self.settings, VOCABULARY, FORBIDDEN, end)

    def logits(self, tokens):
        """Of the token after these, of which the last `context` count."""
        ids = np.zeros((1, self.settings.context), np.int32)
        window = tokens[-self.settings.context :]
        ids[0, : len(window)] = window
        found = self._run(self.state, ids=ids, following=ids)["decoder.logits"]
        last = found[0, len(window) - 1].copy()
        last[list(FORBIDDEN)] = -np.inf
        return last

    def written(self, sentence, options=None):
        """The most probable tokens, or those that are drawn with the options."""
        tokens, number = list(sentence.prompt), np.array([sentence.number], np.uint64)
        for place in range(sentence.limit):
            logits = self.logits(tokens)
            if options is None:
                tokens.append(int(logits.argmax()))
            else:
                chance = uniform(options.seed, number, np.array([place]))
                tokens.append(int(drawn(logits[None], chance, options)[0]))
        return tuple(tokens[len(sentence.prompt) :])


def prompts_of(*lengths, limit=8):
    generator = np.random.default_rng(2)
    return [
        Sentence(generator.integers(4, VOCABULARY, length).tolist(), limit, number=number)
        for number, length in enumerate(lengths)
    ]


@EACH
def test_each_option_gives_the_tokens_of_all_positions_at_once(options):
    """Within the context and past it: 1 + 30, 5 + 30 and 12 + 30 tokens in one of 12."""
    plain = Plain(**options)
    sentences = prompts_of(1, 5, CONTEXT, limit=30)
    decoder, warm = Decoder(plain.decodable()), Options(temperature=3.0, seed=4)
    found = decoder(plain.state, sentences, warm)
    for sentence, (hypothesis,) in zip(sentences, found, strict=True):
        assert hypothesis.tokens == plain.written(sentence, warm)
    assert len({token for (each,) in found for token in each.tokens}) > 8
    (greedy,) = decoder(plain.state, sentences[1:2])
    assert greedy[0].tokens == plain.written(sentences[1])
    assert tuple(decoder.stream(plain.state, sentences[1])) == greedy[0].tokens


@EACH
def test_each_option_has_the_probabilities_of_all_positions_at_once(options):
    plain = Plain(**options)
    sentences = prompts_of(1, 3, 4)
    found = Decoder(plain.decodable())(plain.state, sentences, Options(scores=True))
    for sentence, (hypothesis,) in zip(sentences, found, strict=True):
        total, tokens = 0.0, list(sentence.prompt)
        for token in hypothesis.tokens:
            ids = np.zeros((1, CONTEXT), np.int32)
            ids[0, : len(tokens)] = tokens
            row = plain._run(plain.state, ids=ids, following=ids)["decoder.logits"]
            row = row[0, len(tokens) - 1]
            total += row[token] - row.max() - np.log(np.exp(row - row.max()).sum())
            tokens.append(token)
        assert hypothesis.log_probability == pytest.approx(total, abs=1e-10)


def test_a_prompt_longer_than_the_context_is_read_from_its_end():
    plain = Plain()
    (long,) = prompts_of(3 * CONTEXT, limit=5)
    short = Sentence(long.prompt[-CONTEXT:], 5)
    first, second = (Decoder(plain.decodable())(plain.state, [each]) for each in (long, short))
    assert first[0][0].tokens == second[0][0].tokens == plain.written(long)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_the_smallest_contexts(context):
    plain = Plain(context=context)
    sentences = prompts_of(1, 4, limit=6)
    found = Decoder(plain.decodable())(plain.state, sentences)
    assert [each.tokens for (each,) in found] == [plain.written(each) for each in sentences]


def test_within_the_context_nothing_is_computed_twice():
    """A program reads the prompt, and another one adds a position for each token."""
    plain = Plain(context=64)
    programs = Programs(plain.decodable())
    read, step = [], programs.step

    def noted(sizes, wanted):
        read.append((sizes.rows, wanted is None))
        return step(sizes, wanted)

    programs.step = noted
    batch = Batch(programs, plain.state, prompts_of(9, limit=12), Options(), 1)
    while batch.going:
        batch.advance()
    assert read == [(8, True)] + [(1, False)] * 12
    assert programs.count == 2


def test_what_is_drawn_is_drawn_from_these_logits():
    plain = Plain()
    options = Options(temperature=0.7, top_k=3, seed=5)
    sentences = [Sentence(prompts_of(4)[0].prompt, 1, number=number) for number in range(400)]
    found = Decoder(plain.decodable())(plain.state, sentences, options)
    logits = plain.logits(list(sentences[0].prompt))
    best = np.argsort(-logits)[:3]
    expected = np.exp((logits[best] - logits[best[0]]) / 0.7)
    shares = [sum(each.tokens == (token,) for (each,) in found) / 400 for token in best]
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.09)
    assert sum(shares) == pytest.approx(1)


def test_a_beam_ends_with_the_context():
    plain = Plain()
    with pytest.raises(DataError, match="need 13 positions, and the model has 12"):
        Decoder(plain.decodable())(plain.state, prompts_of(4, limit=10), Options(beam=2))
    with pytest.raises(ConfigurationError, match="beam of 2"):
        next(Decoder(plain.decodable()).stream(plain.state, prompts_of(4)[0], Options(beam=2)))
