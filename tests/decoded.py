"""Models to decode, and the plain way to decode them: all positions computed anew for every token.

The plain way shares no line with the package: it declares the decoder of training over all
positions, takes the last, and searches with lists of Python.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.decoding import Decodable, Sentence
from graphgrad.graph import Graph, initial_state, input
from graphgrad.models.transformer import (
    Parts,
    Settings,
    decoder,
    decoding_step,
    encoder,
    encoding_graph,
    shared_table,
)

SOURCES, TARGETS = 11, 9
BEGIN, END = 1, 2
FORBIDDEN = (0, 1)


def settings_of(**values: Any) -> Settings:
    small = {"layers": 2, "width": 8, "heads": 2, "inner": 12, "dtype": "float64"}
    return Settings(**{**small, **values})


def whole_graph(settings: Settings) -> Graph:
    """The decoder over all positions, as in training: logits [batch, target, vocabulary]."""
    source = input("source", ("batch", "source"), "int32")
    target = input("target", ("batch", "target"), "int32")
    sources, targets = vocabularies_of(settings)
    parts, shared = Parts(settings), shared_table(sources, settings)
    memory = encoder(source, sources, parts, shared)
    return Graph({"logits": decoder(target, memory, source, targets, parts, shared)})


def vocabularies_of(settings: Settings) -> tuple[int, int]:
    """The sizes of the vocabularies of source and target, equal where they are one."""
    return SOURCES, SOURCES if settings.share_embeddings else TARGETS


class Plain:
    """A transformer, and its logits by the plain way."""

    def __init__(self, settings: Settings, seed: int = 0, spread: float = 0.3) -> None:
        graph = whole_graph(settings)
        sizes = vocabularies_of(settings)
        self.decodable = Decodable(
            partial(decoding_step, settings=settings, target_vocabulary=sizes[1]),
            encoding_graph(settings, *sizes),
            END,
            FORBIDDEN,
        )
        generator = np.random.default_rng(seed)
        self.state = initial_state(graph, seed)
        for array in self.state.values():  # nothing is 0 or 1 by default
            array += generator.normal(scale=spread, size=array.shape).astype(array.dtype)
        self._whole = compile(graph)
        self.next_of = cache(self._next_of)

    def logits(self, source: Any, target: Any) -> np.ndarray:
        """[target, vocabulary], the forbidden tokens left in. Padding, which the masks hide, makes
        do with few programs."""
        feeds = {
            name: np.array([[*ids, *[0] * (-len(ids) % 64)]], np.int32)
            for name, ids in (("source", source), ("target", target))
        }
        return self._whole(self.state, **feeds)["logits"][0, : len(target)]

    def _next_of(self, source: tuple[int, ...], target: tuple[int, ...]) -> list[float]:
        """Log-probabilities of the token after the target, -∞ of those that are forbidden."""
        last = self.logits(source, target)[-1]
        log_probabilities = last - last.max() - math.log(np.exp(last - last.max()).sum())
        log_probabilities[list(FORBIDDEN)] = -math.inf
        return log_probabilities.tolist()

    def greedy(self, sentence: Sentence) -> tuple[int, ...]:
        """The most probable token, again and again."""
        found: list[int] = []
        while len(found) < sentence.limit and found[-1:] != [END]:
            after = self.next_of(tuple(sentence.source), (*sentence.prompt, *found))
            found.append(after.index(max(after)))
        return tuple(found)

    def probability_of(self, sentence: Sentence, tokens: tuple[int, ...]) -> float:
        """log p of the tokens, by one look at all of them."""
        target = (*sentence.prompt, *tokens)
        logits = self.logits(sentence.source, target[:-1])[len(sentence.prompt) - 1 :]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        whole = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return float(sum(row[token] for row, token in zip(whole, tokens, strict=True)))

    def beam(self, sentence: Sentence, beam: int, penalty: float) -> list[tuple[int, ...]]:
        """The finished sequences of a beam search, the best first."""
        rows: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        finished: list[tuple[float, tuple[int, ...]]] = []
        unfinished: list[tuple[float, tuple[int, ...]]] = []
        for step in range(1, sentence.limit + 1):
            candidates = [
                (total + gained, (*tokens, token))
                for total, tokens in rows
                for token, gained in enumerate(
                    self.next_of(tuple(sentence.source), (*sentence.prompt, *tokens))
                )
                if gained > -math.inf
            ]
            candidates.sort(key=lambda each: -each[0])
            for total, tokens in candidates[:beam]:
                if tokens[-1] == END and len(finished) < beam:
                    finished.append((total / step**penalty, tokens))
            rows = [each for each in candidates if each[1][-1] != END][:beam]
            if len(finished) >= beam or not rows:
                break
            if step == sentence.limit:
                room = beam - len(finished)
                unfinished = [(total / step**penalty, tokens) for total, tokens in rows[:room]]
        best = [sorted(part, key=lambda each: -each[0]) for part in (finished, unfinished)]
        return [tokens for part in best for _, tokens in part]


def sentences_of(count: int, longest: int = 12, limit: int = 12, seed: int = 0) -> list[Sentence]:
    """Sources of all lengths, that of nothing but the end among them."""
    generator = np.random.default_rng(seed)
    return [
        Sentence(
            [BEGIN],
            int(generator.integers(1, limit + 1)),
            [*generator.integers(4, SOURCES, int(generator.integers(0, longest))).tolist(), END],
            number,
        )
        for number in range(count)
    ]


def chain(following: dict[int, dict[int, float]], vocabulary: int, **values: Any) -> Decodable:
    """A model whose next token depends on the last one alone: p(b | a) = following[a][b]."""
    table = np.full((vocabulary, vocabulary), -np.inf)
    for before, row in following.items():
        for after, probability in row.items():
            table[before, after] = math.log(probability)

    def step(step: gg.layers.Step) -> gg.Node:
        return gg.gather(gg.constant(table), step.token)

    return Decodable(step, **{"end": END, **values})
