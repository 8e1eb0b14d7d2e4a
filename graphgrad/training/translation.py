"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; in use the model is decoded (`graphgrad.decoding`).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.batches import evaluation_batches
from graphgrad.data.corpus import Pair
from graphgrad.data.dates import EXAMPLE_DAY, write_date
from graphgrad.data.encoded import Batch, encode_pairs
from graphgrad.data.token_batches import scored_batches
from graphgrad.data.vocabulary import BOS, EOS, PAD
from graphgrad.decoding import Decodable, Options, Stopped
from graphgrad.graph import Graph
from graphgrad.training.prompts import Prompts, translated_rows
from graphgrad.training.scores import Scorer
from graphgrad.training.task import Feeds, Figures, Stages, State, Task
from graphgrad.training.text_report import about
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData
from graphgrad.training.translator import Languages, Translator

PADDING, BEGIN, END = PAD, BOS, EOS
GROUP = 200
"""How many pairs are evaluated at a time."""
SHOWN_LOCALES = ("de", "fr", "zh", "ru")
SHOWN_LINES = 3
_LARGEST_EXPONENT = 700  # of a perplexity that a float holds


def quietly(stage: str, done: int, total: int) -> None:
    """Nobody looks on."""


def translation_task(
    settings: TextSettings,
    data: TranslationData,
    training: Graph,
    evaluation: Graph,
    decodable: Decodable,
) -> Task:
    """The task of a model that declares these two graphs, and can be decoded."""
    languages = Languages(
        data.source_vocabulary,
        data.target_vocabulary,
        data.longest_target,
        settings.maximum_length,
    )
    translator = Translator(languages, decodable, settings.backend)
    split = "none" if settings.tokens == "presplit" else "13a"
    scorer = Scorer(settings.bleu or split)
    scored = cache(lambda: compile(evaluation, backend=settings.backend))
    looks = _Looks(settings, data, translator, scored, scorer)

    def measure(state: State, options: Options, stages: Stages, quick: bool) -> Figures:
        corpus, most = data.corpus, settings.validation_size or None
        held_out = corpus.validation[:most] if quick else corpus.test
        return looks.figures(state, held_out, options, stages)

    return Task(
        graph=training,
        feeds=lambda step: feeds_of(data.batches().at(step)),
        evaluate=lambda state: measure(state, Options(), quietly, False),
        validate=lambda state: measure(state, Options(), quietly, True),
        measure=measure,
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=looks.examples,
        translate=translator,
        translations=translator.finished,
        prompts=_prompts(data, translator, evaluation),
        files=data.files(),
        notice=data.notice,
        about=lambda: about(settings, data),
        sizes=lambda: _largest(data),
        signatures=scorer.signatures if settings.reads_files else dict,
    )


def _prompts(data: TranslationData, translator: Translator, evaluation: Graph) -> Prompts:
    def feeds(texts: Sequence[str], answer: str) -> Feeds:
        sources = [translator.encoded(text) for text in texts]
        most = translator.languages.maximum_length
        return translated_rows(sources, answer, data.target_vocabulary, most)

    return Prompts(
        evaluation,
        feeds,
        lambda state, text: translator(state, [text])[0],
        data.target_vocabulary.tokens.__getitem__,
    )


@dataclass(frozen=True)
class _Looks:
    """What is looked at while a model is trained, and when it is."""

    settings: TextSettings
    data: TranslationData
    translator: Translator
    scored: Callable[[], Compiled]
    """The program of the loss, compiled when it is first used."""
    scorer: Scorer

    def figures(
        self, state: State, held_out: Sequence[Pair], options: Options, stages: Stages
    ) -> Figures:
        """How well the pairs are foretold and translated; those too long are left out.

        Where `stages` ends it, the figures are of the pairs that are translated by then, which are
        the shortest.
        """
        settings, data = self.settings, self.data
        pairs = data.fitting(held_out, settings.maximum_length)
        foretold, found = _Foretold(), dict[int, str]()
        with suppress(Stopped):
            for batch in _batches(settings, data, pairs):
                foretold.add(batch, self.scored()(state, **feeds_of(batch)))
                stages("loss", foretold.pairs, len(pairs))
            watch = partial(stages, "translated")
            sources = [source for source, _ in pairs]
            for place, renderings in self.translator.finished(state, sources, options, watch):
                found[place] = renderings[0].text
        normal = data.target_vocabulary.normal_form
        right = sum(normal(pairs[place][1]) == text for place, text in found.items())
        exact = {"exact_match": right / max(len(found), 1), "examples": len(found)}
        if not settings.reads_files:
            return {"loss": foretold.loss, **exact}
        references = [_readable(settings, data, pairs[place][1]) for place in found]
        scores = self.scorer.score(list(found.values()), references)
        return {**foretold.figures(), **scores, **exact}

    def examples(self, state: State) -> list[str]:
        """Some sources with their translations, and with the references where there are any."""
        shown = _shown(self.settings, self.data)
        translated = self.translator(state, [source for source, _ in shown])
        sources = [_readable(self.settings, self.data, source) for source, _ in shown]
        return [
            f"{source}  →  {result}" + (f"  (reference: {reference})" if reference else "")
            for source, result, (_, reference) in zip(sources, translated, shown, strict=True)
        ]


@dataclass
class _Foretold:
    """Sums over tokens, each foretold from the true ones before it."""

    pairs: int = 0
    tokens: int = 0
    right: int = 0
    total: float = 0.0

    def add(self, batch: Batch, results: Mapping[str, np.ndarray]) -> None:
        """One more batch, and what the program of the loss says of it."""
        self.pairs, self.tokens = self.pairs + batch.rows, self.tokens + batch.tokens
        self.total += float(results["loss"]) * batch.tokens
        counted = batch.target_output != PAD
        self.right += int((results["predicted"] == batch.target_output)[counted].sum())

    @property
    def loss(self) -> float:
        """The mean loss of a token."""
        return self.total / max(self.tokens, 1)

    def figures(self) -> dict[str, float]:
        """Loss, perplexity and the share of tokens that are right."""
        perplexity = math.exp(self.loss) if self.loss < _LARGEST_EXPONENT else math.inf
        accuracy = self.right / max(self.tokens, 1)
        return {"loss": self.loss, "perplexity": perplexity, "token_accuracy": accuracy}


def _readable(settings: TextSettings, data: TranslationData, line: str) -> str:
    """A line as people read it and as it is scored against: as in its file, but pieces joined."""
    if settings.tokens == "presplit":
        return data.target_vocabulary.normal_form(line)
    return unicodedata.normalize("NFC", line).strip()


def _largest(data: TranslationData) -> list[dict[str, int]]:
    """The sizes of the batches that need the most memory: most target tokens, longest rows."""
    shapes = data.batches().shapes()
    most = {max(shapes, key=lambda shape: shape[0] * shape[2]), max(shapes, key=lambda s: s[1:])}
    names = ("batch", "source", "target")
    return [dict(zip(names, shape, strict=True)) for shape in sorted(most)]


def feeds_of(batch: Batch) -> Feeds:
    """A batch under the names of the graph's inputs."""
    return {
        "source": batch.source,
        "target_input": batch.target_input,
        "target_output": batch.target_output,
    }


def _batches(
    settings: TextSettings, data: TranslationData, pairs: Sequence[Pair]
) -> Iterator[Batch]:
    """The pairs in batches; in two of the shapes of training, where there are only so many."""
    source, target = data.source_vocabulary, data.target_vocabulary
    if settings.batch_tokens:
        shapes = data.batches().shapes()
        chosen = dict.fromkeys((shapes[len(shapes) // 2], shapes[-1]))  # `EVALUATED` of them
        return scored_batches(encode_pairs(pairs, source, target), list(chosen))
    return evaluation_batches(pairs, source, target, min(GROUP, max(len(pairs), 1)))


def _shown(settings: TextSettings, data: TranslationData) -> list[tuple[str, str]]:
    """The sources whose translations are shown while training, with their references."""
    if not settings.reads_files:
        return [(write_date(EXAMPLE_DAY, locale, "full"), "") for locale in SHOWN_LOCALES]
    fitting = data.fitting(data.corpus.validation[:GROUP], settings.maximum_length)
    return [(source, _readable(settings, data, target)) for source, target in fitting[:SHOWN_LINES]]
