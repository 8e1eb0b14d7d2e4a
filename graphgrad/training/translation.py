"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; use needs one graph that encodes the source once and
one that gives the next token at every position of the target so far. Decoding is greedy: the most
probable token, until <eos> or the maximum length.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.batches import evaluation_batches
from graphgrad.data.corpus import Pair
from graphgrad.data.dates import EXAMPLE_DAY, write_date
from graphgrad.data.encoded import Batch, encode_pairs
from graphgrad.data.token_batches import scored_batches
from graphgrad.data.vocabulary import BOS, EOS, PAD
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.training.scores import Scorer
from graphgrad.training.task import Feeds, State, Task
from graphgrad.training.text_report import about
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData

PADDING = PAD
GROUP = 200
"""How many texts are decoded, and how many pairs evaluated, at a time."""
SHOWN_LOCALES = ("de", "fr", "zh", "ru")
SHOWN_LINES = 3


def translation_task(
    settings: TextSettings,
    data: TranslationData,
    training: Graph,
    evaluation: Graph,
    encoding: Graph,
    decoding: Graph,
) -> Task:
    """The task of a model that declares these four graphs."""
    translator = Translator(data, encoding, decoding, settings.maximum_length)
    split = "none" if settings.tokens == "presplit" else "13a"
    scorer = Scorer(settings.bleu or split)
    looks = _Looks(settings, data, translator, cache(lambda: compile(evaluation)), scorer)
    looked_at = settings.validation_size or None
    return Task(
        graph=training,
        feeds=lambda step: feeds_of(data.batches().at(step)),
        evaluate=lambda state: looks.figures(state, data.corpus.test),
        validate=lambda state: looks.figures(state, data.corpus.validation[:looked_at]),
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=looks.examples,
        translate=translator,
        files=data.files(),
        notice=data.notice,
        about=lambda: about(settings, data),
        sizes=lambda: _largest(data),
        signatures=scorer.signatures if settings.reads_files else dict,
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

    def figures(self, state: State, held_out: Sequence[Pair]) -> dict[str, float]:
        """How well the pairs are foretold and translated; those too long are left out."""
        settings, data = self.settings, self.data
        pairs = data.fitting(held_out, settings.maximum_length)
        figures = _teacher_forced(self.scored(), state, _batches(settings, data, pairs))
        translated = self.translator(state, [source for source, _ in pairs])
        wanted = [data.target_vocabulary.normal_form(target) for _, target in pairs]
        right = sum(a == b for a, b in zip(translated, wanted, strict=True))
        exact = {"exact_match": right / max(len(pairs), 1), "examples": len(pairs)}
        if not settings.reads_files:
            return {"loss": figures["loss"], **exact}
        references = [_readable(settings, data, target) for _, target in pairs]
        return {**figures, **self.scorer.score(translated, references), **exact}

    def examples(self, state: State) -> list[str]:
        """Some sources with their translations, and with the references where there are any."""
        shown = _shown(self.settings, self.data)
        translated = self.translator(state, [source for source, _ in shown])
        sources = [_readable(self.settings, self.data, source) for source, _ in shown]
        return [
            f"{source}  →  {result}" + (f"  (reference: {reference})" if reference else "")
            for source, result, (_, reference) in zip(sources, translated, shown, strict=True)
        ]


def _readable(settings: TextSettings, data: TranslationData, line: str) -> str:
    """A line as people read it and as it is scored against: as in its file, but pieces joined."""
    if settings.tokens == "presplit":
        return data.target_vocabulary.normal_form(line)
    return unicodedata.normalize("NFC", line).strip()


def _teacher_forced(scored: Compiled, state: State, batches: Iterator[Batch]) -> dict[str, float]:
    """Loss, perplexity and accuracy of the next token, each given the true ones before it."""
    total = right = tokens = 0.0
    for batch in batches:
        results = scored(state, **feeds_of(batch))
        counted = batch.target_output != PAD
        count = int(counted.sum())
        total += float(results["loss"]) * count
        if "predicted" in results:
            right += int((results["predicted"] == batch.target_output)[counted].sum())
        tokens += count
    loss = total / max(tokens, 1)
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return {"loss": loss, "perplexity": perplexity, "token_accuracy": right / max(tokens, 1)}


def _largest(data: TranslationData) -> list[dict[str, int]]:
    """The sizes of the batches that need the most memory: most target tokens, longest rows."""
    shapes = data.batches().shapes()
    most = {max(shapes, key=lambda shape: shape[0] * shape[2]), max(shapes, key=lambda s: s[1:])}
    names = ("batch", "source", "target")
    return [dict(zip(names, shape, strict=True)) for shape in sorted(most)]


class Translator:
    """Greedy autoregressive decoding: `translator(state, texts)`."""

    def __init__(
        self, data: TranslationData, encoding: Graph, decoding: Graph, maximum_length: int
    ) -> None:
        self.data, self.maximum_length = data, maximum_length
        longest = data.longest_target
        # a quarter more than was ever seen; a model that does not stop is stopped there
        self.target_length = min(maximum_length, longest + longest // 4 + 2)
        self._graphs = encoding, decoding

    @cached_property
    def encode(self) -> Compiled:
        """The encoder, compiled when it is first used: training may never translate."""
        return compile(self._graphs[0])

    @cached_property
    def decode(self) -> Compiled:
        """The decoder, likewise."""
        return compile(self._graphs[1])

    def __call__(self, state: State, texts: Sequence[str], group: int = GROUP) -> list[str]:
        """One translation for each text, in order; similar lengths are decoded together.

        What is blank stays blank: no model is trained on it.
        """
        ids = [self._encoded(text) for text in texts]
        told = [place for place, text in enumerate(texts) if text.strip()]
        order = sorted(told, key=lambda place: len(ids[place]))
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
    return {
        "source": batch.source,
        "target_input": batch.target_input,
        "target_output": batch.target_output,
    }


def _of(graph: Graph, state: State) -> State:
    """The part of a training state that another graph of the same model needs."""
    return {name: state[name] for name in graph.states}


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
