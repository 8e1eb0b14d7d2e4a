"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; use needs one graph that encodes the source once and
one that gives the next token at every position of the target so far. Decoding is greedy: the most
probable token, until <eos> or the maximum length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphgrad.compile import compile
from graphgrad.data.batches import Batch, Batches, evaluation_batches
from graphgrad.data.corpus import Corpus, Pair
from graphgrad.data.dates import EXAMPLE_DAY, dates_corpus, write_date
from graphgrad.data.text import read_parallel
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.training.task import Feeds, State, Task

PADDING = PAD
SOURCE_FILE, TARGET_FILE = "vocabulary-source.json", "vocabulary-target.json"
VALIDATED = 200
"""How many held-out pairs are looked at while training goes on."""
SHOWN_LOCALES = ("de", "fr", "zh", "ru")


class TranslationSettings(Protocol):
    """What is read of a model's settings here."""

    # fmt: off
    @property
    def seed(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def tokens(self) -> str: ...
    @property
    def maximum_length(self) -> int: ...
    @property
    def maximum_vocabulary(self) -> int: ...
    # fmt: on


@dataclass(frozen=True)
class TranslationData:
    """A corpus and its two vocabularies."""

    corpus: Corpus
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary


def load_data(settings: TranslationSettings, files: Mapping[str, str]) -> TranslationData:
    """`dates` or the user's line-aligned files; vocabularies of an earlier run are kept."""
    if settings.source:
        corpus = read_parallel(settings.source, settings.target, seed=settings.seed)
    else:
        corpus = dates_corpus(seed=settings.seed)
    if files:
        source, target = (Vocabulary.from_json(files[name], name)
                          for name in (SOURCE_FILE, TARGET_FILE))  # fmt: skip
    else:
        size = settings.maximum_vocabulary
        source, target = (
            Vocabulary.build((pair[side] for pair in corpus.train), settings.tokens,
                             maximum_size=size)
            for side in (0, 1)
        )  # fmt: skip
    return TranslationData(corpus, source, target)


def translation_task(
    settings: TranslationSettings,
    data: TranslationData,
    training: Graph,
    evaluation: Graph,
    encoding: Graph,
    decoding: Graph,
) -> Task:
    """The task of a model that declares these four graphs."""
    batches = Batches(data.corpus.train, data.source_vocabulary, data.target_vocabulary,
                      min(settings.batch_size, len(data.corpus.train)), seed=settings.seed,
                      maximum_length=settings.maximum_length)  # fmt: skip
    translator = Translator(data, encoding, decoding, settings.maximum_length)
    scored = compile(evaluation)

    def evaluate(state: State) -> dict[str, float]:
        return score(state, data.corpus.test or data.corpus.validation)

    def validate(state: State) -> dict[str, float]:
        return score(state, (data.corpus.validation or data.corpus.test)[:VALIDATED])

    def score(state: State, held_out: Sequence[Pair]) -> dict[str, float]:
        pairs = _fitting(data, held_out, settings.maximum_length)
        total = tokens = 0.0
        for batch in _batches(data, pairs):
            count = int((batch.target_output != PAD).sum())
            total += float(scored(state, **feeds_of(batch))["loss"]) * count
            tokens += count
        translated = translator(state, [source for source, _ in pairs])
        right = sum(a == b for a, (_, b) in zip(translated, pairs, strict=True))
        return {"loss": total / max(tokens, 1), "exact_match": right / max(len(pairs), 1),
                "examples": len(pairs)}  # fmt: skip

    def examples(state: State) -> list[str]:
        sources = _shown(settings, data)
        return [f"{source}  →  {target}"
                for source, target in zip(sources, translator(state, sources), strict=True)]  # fmt: skip

    return Task(
        graph=training,
        feeds=lambda step: feeds_of(batches.at(step)),
        evaluate=evaluate,
        validate=validate,
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=examples,
        translate=translator,
        files={SOURCE_FILE: data.source_vocabulary.to_json(),
               TARGET_FILE: data.target_vocabulary.to_json()},
        notice=batches.notice,
    )  # fmt: skip


class Translator:
    """Greedy autoregressive decoding: `translator(state, texts)`."""

    def __init__(
        self, data: TranslationData, encoding: Graph, decoding: Graph, maximum_length: int
    ) -> None:
        self.data, self.maximum_length = data, maximum_length
        longest = max((len(data.target_vocabulary.encode(t)) for _, t in data.corpus.train[:2000]),
                      default=maximum_length)  # fmt: skip
        self.target_length = min(maximum_length, longest + longest // 4 + 2)
        self.encode, self.decode = compile(encoding), compile(decoding)

    def __call__(self, state: State, texts: Sequence[str], group: int = 200) -> list[str]:
        """One translation for each text, in order; similar lengths are decoded together."""
        ids = [self._encoded(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: len(ids[place]))
        translated = [""] * len(texts)
        for start in range(0, len(order), group):
            places = order[start : start + group]
            results = self._decoded(state, [ids[place] for place in places])
            for place, result in zip(places, results, strict=True):
                translated[place] = self.data.target_vocabulary.decode(result)
        return translated

    def _encoded(self, text: str) -> list[int]:
        ids = [*self.data.source_vocabulary.encode(text), EOS]
        if len(ids) > self.maximum_length:
            raise DataError(
                f"the text has {len(ids) - 1} tokens, the model takes {self.maximum_length - 1}: "
                f"{text[:60]!r}",
                fix="split it, or train with --set maximum_length=…",
            )
        return ids

    def _decoded(self, state: State, ids: list[list[int]]) -> list[list[int]]:
        width = -(-max(map(len, ids)) // 8) * 8
        source = np.full((len(ids), width), PAD, np.int32)
        for row, tokens in zip(source, ids, strict=True):
            row[: len(tokens)] = tokens
        memory = self.encode(_of(self.encode.graph, state), source=source)["memory"]
        target = np.full((len(ids), self.target_length), PAD, np.int32)
        target[:, 0] = BOS
        done = np.zeros(len(ids), bool)
        decoder_state = _of(self.decode.graph, state)
        for place in range(1, self.target_length):
            # the causal mask hides what is not written yet, so one program serves every length
            following = self.decode(
                decoder_state, source=source, target_input=target, memory=memory
            )["next"]
            target[:, place] = np.where(done, PAD, following[:, place - 1])
            done |= target[:, place] == EOS
            if done.all():
                break
        return [row[1:].tolist() for row in target]


def feeds_of(batch: Batch) -> Feeds:
    """A batch under the names of the graph's inputs."""
    return {"source": batch.source, "target_input": batch.target_input,
            "target_output": batch.target_output}  # fmt: skip


def _of(graph: Graph, state: State) -> State:
    """The part of a training state that another graph of the same model needs."""
    return {name: state[name] for name in graph.states}


def _fitting(data: TranslationData, pairs: Sequence[Pair], longest: int) -> list[Pair]:
    """The pairs that are not too long for the model."""
    return [(a, b) for a, b in pairs
            if len(data.source_vocabulary.encode(a)) < longest
            and len(data.target_vocabulary.encode(b)) < longest]  # fmt: skip


def _batches(data: TranslationData, pairs: Sequence[Pair]) -> Iterator[Batch]:
    return evaluation_batches(pairs, data.source_vocabulary, data.target_vocabulary,
                              min(200, max(len(pairs), 1)))  # fmt: skip


def _shown(settings: TranslationSettings, data: TranslationData) -> list[str]:
    """The sources whose translations are shown while training."""
    if not settings.source:
        return [write_date(EXAMPLE_DAY, locale, "full") for locale in SHOWN_LOCALES]
    held_out = data.corpus.validation or data.corpus.test
    return [source for source, _ in _fitting(data, held_out, settings.maximum_length)[:4]]


