"""Our greedy decoding beside PyTorch's with a cache of its own, on the same weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from graphgrad.decoding import Decodable, Decoder
from graphgrad.graph import initial_state
from graphgrad.models.transformer import Settings, decoding_step, encoding_graph, training_graph
from graphgrad.performance.bench_worker import Workload

torch = pytest.importorskip("torch", reason="the oracle of these tests is PyTorch (pip: torch)")
race = pytest.importorskip("graphgrad.tools.peers.decoding_race")
peer = pytest.importorskip("graphgrad.tools.peers.torch_decoding")

BEGIN, END, WORDS = race.BEGIN, race.END, 40


def test_the_peer_gives_the_same_tokens():
    settings = Settings(layers=2, width=16, heads=2, inner=24)
    state = initial_state(training_graph(settings, WORDS, WORDS, training=False), 3)
    generator = np.random.default_rng(3)
    for array in state.values():
        array += generator.normal(scale=0.3, size=array.shape).astype(array.dtype)
    state["decoder.output.dense.b"][[0, BEGIN]] = -1e9  # what is never given
    sizes = Workload(
        layers=2,
        width=16,
        heads=2,
        inner=24,
        vocabulary=WORDS,
        source=64,
        target=64,
        label_smoothing=0.0,
    )
    sentences = [
        race.Sentence(
            [BEGIN],
            int(generator.integers(2, 30)),
            [*generator.integers(4, WORDS, int(generator.integers(1, 20))).tolist(), END],
        )
        for _ in range(12)
    ]
    greedy = peer.Greedy(sizes, state, 64)
    theirs = greedy(
        [each.source for each in sentences], [each.limit for each in sentences], BEGIN, END
    )
    decodable = Decodable(
        partial(decoding_step, settings=settings, target_vocabulary=WORDS),
        encoding_graph(settings, WORDS, WORDS),
        END,
    )
    ours = Decoder(decodable)(state, sentences)
    assert [list(each.tokens) for (each,) in ours] == theirs
    assert len({tuple(tokens) for tokens in theirs}) > 6


def test_the_sentences_of_the_race_are_as_long_as_those_of_multi30k():
    sentences = race.sentences_of(1000)
    lengths = np.array([len(each.source) - 1 for each in sentences])
    limits = np.array([each.limit for each in sentences])
    assert 13 <= np.median(lengths) <= 15 and lengths.min() >= 5 and lengths.max() <= 40
    assert np.abs(limits / lengths - 1).mean() < 0.2
