"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; in use the model is decoded (`graphgrad.decoding`).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import itemgetter

from graphgrad.compile import Compiled, compile
from graphgrad.data.batches import evaluation_batches
from graphgrad.data.buckets import choose_shapes
from graphgrad.data.builtin import Baselines
from graphgrad.data.corpus import Pair
from graphgrad.data.encoded import Batch, encode_pairs
from graphgrad.data.token_batches import scored_batches
from graphgrad.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from graphgrad.decoding import Decodable, Options, Stopped
from graphgrad.decoding.sizes import Shared
from graphgrad.graph import Graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.doubts import given_figures
from graphgrad.training.held_out import EVALUATED, evaluated_shapes, shared_sizes
from graphgrad.training.looked import Looked, beside, by_language, counts_of, graded
from graphgrad.training.prompts import Prompts, translated_rows
from graphgrad.training.scores import Scorer
from graphgrad.training.spread import ALONE, Spread
from graphgrad.training.task import Feeds, Figures, Stages, State, Task, quietly
from graphgrad.training.text_report import about
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData
from graphgrad.training.translator import Languages, Translator

PADDING, BEGIN, END = PAD, BOS, EOS
GROUP = 200
"""How many pairs are evaluated at a time."""
SHOWN_LINES = 3


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
    sizes = cache(lambda: shared_sizes(settings, data))
    looks = _Looks(settings, data, translator, scored, scorer, sizes)

    return Task(
        graph=training,
        feeds=lambda step: feeds_of(data.batches().at(step)),
        evaluate=lambda state: looks.measure(state, Options(), quietly, False),
        validate=lambda state: looks.measure(state, Options(), quietly, True),
        measure=looks.measure,
        spread=lambda state, stages, quick, over: replace(looks, spread=over).measure(
            state, Options(), stages, quick
        ),
        by_language=None if settings.reads_files else looks.measured,
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=looks.examples,
        translate=translator,
        translations=translator.finished,
        prompts=_prompts(data, translator, evaluation),
        decodable=decodable,
        files=data.files(),
        notice=data.notice,
        about=lambda: about(settings, data),
        sizes=lambda: _largest(data),
        signatures=looks.signatures,
        step=step_that_decays_matrices,
        knowing_nothing=math.log(len(data.target_vocabulary)),
        measure_pairs=lambda state, pairs, options, stages: looks.figures(
            looks.looked(state, pairs, options, stages, given=True)
        ),
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
    held_out_sizes: Callable[[], Shared]
    spread: Spread = ALONE

    def measure(self, state: State, options: Options, stages: Stages, quick: bool) -> Figures:
        """The figures of the test, or of some pairs of the validation."""
        if not quick:
            return self.measured(state, options, stages)[0]
        held_out = self.data.corpus.validation[: self.settings.validation_size or None]
        return self.figures(self.looked(state, held_out, options, stages))

    def looked(
        self,
        state: State,
        held_out: Sequence[Pair],
        options: Options,
        stages: Stages,
        given: bool = False,
    ) -> Looked:
        """The loss of the pairs, and their translations; those too long are left out.

        `given` are pairs beside the data of the run, which are not read then.
        Where `stages` ends it, the translations are those that are done, of the shortest.
        """
        pairs = self.data.fitting(held_out, self.settings.maximum_length)
        looked = Looked(pairs)
        with suppress(Stopped):
            batches = _batches(self.settings, self.data, pairs, given)
            for counts in self.spread(
                lambda batch: counts_of(batch, self.scored()(state, **feeds_of(batch))), batches
            ):
                looked.foretold.add(*counts)
                stages("loss", looked.foretold.pairs, len(pairs))
            watch = partial(stages, "translated")
            sources = [source for source, _ in pairs]
            sizes = None if given else self.sizes(sources)

            def translated(places: range) -> list[tuple[int, str]]:
                some = [sources[place] for place in places]
                done = self.translator.finished(state, some, options, watch, shared=sizes)
                for number, renderings in done:
                    looked.found[places[number]] = renderings[0].text
                return [(place, looked.found[place]) for place in places]

            parts = self.spread.parts
            for part in self.spread(
                translated, [range(first, len(sources), parts) for first in range(parts)]
            ):
                looked.found.update((place, text) for place, text in part)
        return looked

    def sizes(self, sources: Sequence[str]) -> Shared | None:
        """The sizes in which sources of the run's data are decoded; None where one is not of them.

        They are those of all held-out pairs that the run looks at."""
        held_out = self.held_out_sizes()
        most = max((len(self.translator.encoded(each)) for each in sources), default=0)
        return held_out if most <= held_out.source else None

    def figures(self, looked: Looked) -> Figures:
        """How well the pairs are foretold and translated."""
        normal = self.data.target_vocabulary.normal_form
        builtin = self.settings.builtin
        if builtin is not None and not builtin.graded:
            return {"loss": looked.foretold.loss, **looked.exact(normal)}
        if builtin is not None:
            return {**looked.foretold.figures(), **graded(looked, normal, self.scorer)}
        references = [
            _readable(self.settings, self.data, looked.pairs[place][1]) for place in looked.found
        ]
        texts, vocabulary = list(looked.found.values()), self.data.target_vocabulary
        scores = self.scorer.score(texts, references)
        given = given_figures(texts, lambda text: len(vocabulary.encode(text)), SPECIALS[UNK])
        return {**looked.foretold.figures(), **scores, **given, **looked.exact(normal)}

    def measured(
        self, state: State, options: Options, stages: Stages
    ) -> tuple[Figures, dict[str, Figures]]:
        """The figures of the test, and for built-in data those of each language."""
        test, builtin = self.data.corpus.test, self.settings.builtin
        if builtin is None:
            return self.figures(self.looked(state, test, options, stages)), {}
        apart = [pair for pair in test if builtin.apart(pair[0])]
        usual = [pair for pair in test if not builtin.apart(pair[0])] if apart else test
        looked = self.looked(state, usual, options, stages)
        baselines = builtin.baselines(self.data.corpus.train)
        languages = {
            language: self._of_group(some, baselines)
            for language, some in by_language(looked).items()
        }
        figures = self.figures(looked) | beside(looked, baselines, self.scorer)
        if apart and len(looked.found) == len(looked.pairs):
            unseen = self._of_group(self.looked(state, apart, options, stages), baselines)
            figures |= {f"new_{name}": value for name, value in unseen.items()}
        return figures, languages

    def _of_group(self, looked: Looked, baselines: Baselines) -> Figures:
        """The figures of some translations, without those of the loss."""
        normal, builtin = self.data.target_vocabulary.normal_form, self.settings.builtin
        assert builtin is not None
        if not builtin.graded:
            return looked.exact(normal)
        return graded(looked, normal, self.scorer) | beside(looked, baselines, self.scorer)

    def signatures(self) -> dict[str, str]:
        """How the figures are computed that have several definitions."""
        builtin = self.settings.builtin
        if builtin is not None and not builtin.graded:
            return {}
        found = self.scorer.signatures()
        return {name: text for name, text in found.items() if builtin is None or name == "chrf"}

    def examples(self, state: State) -> list[str]:
        """Some sources with their translations, and with the references where there are any."""
        shown = _shown(self.settings, self.data)
        sources = [each for each, _ in shown]
        few = self.settings.reads_files or self.settings.batch_tokens  # else it needs no corpus
        shared = self.sizes(sources) if few else None
        found = self.translator.finished(state, sources, shared=shared)
        translated = [renderings[0].text for _, renderings in sorted(found, key=itemgetter(0))]
        readable = [_readable(self.settings, self.data, source) for source in sources]
        return [
            f"{source}  →  {result}" + (f"  (reference: {reference})" if reference else "")
            for source, result, (_, reference) in zip(readable, translated, shown, strict=True)
        ]


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
    settings: TextSettings, data: TranslationData, pairs: Sequence[Pair], given: bool
) -> Iterator[Batch]:
    """The pairs in batches; in two of the shapes of training, where there are only so many.

    Those of pairs that are given are chosen by their own lengths.
    """
    source, target = data.source_vocabulary, data.target_vocabulary
    if settings.batch_tokens and given and pairs:
        encoded = encode_pairs(pairs, source, target)
        widths = choose_shapes(encoded.sources.lengths, encoded.targets.lengths, EVALUATED)
        rows = [max(1, settings.batch_tokens // max(width)) for width in widths]
        own = [(row, *width) for row, width in zip(rows, widths, strict=True)]
        return scored_batches(encoded, own)
    if settings.batch_tokens and not given:
        return scored_batches(encode_pairs(pairs, source, target), evaluated_shapes(data))
    return evaluation_batches(pairs, source, target, min(GROUP, max(len(pairs), 1)))


def _shown(settings: TextSettings, data: TranslationData) -> list[tuple[str, str]]:
    """The sources whose translations are shown while training, with their references."""
    if settings.builtin is not None:
        return settings.builtin.shown(lambda: data.corpus)
    fitting = data.fitting(data.corpus.validation[:GROUP], settings.maximum_length)
    return [(source, _readable(settings, data, target)) for source, target in fitting[:SHOWN_LINES]]
