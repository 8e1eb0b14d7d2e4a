"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; use needs one graph that encodes the source once and
one that gives the next token at every position of the target so far. Decoding is greedy: the most
probable token, until <eos> or the maximum length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.batches import Batch, Batches, evaluation_batches
from graphgrad.data.corpus import Corpus, Pair
from graphgrad.data.dates import EXAMPLE_DAY, dates_corpus, write_date
from graphgrad.data.text import read_parallel
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.strict_json import format_json, parse_json
from graphgrad.training.task import Feeds, State, Task

PADDING = PAD
SOURCE_FILE, TARGET_FILE = "vocabulary-source.json", "vocabulary-target.json"
LENGTH_FILE, CORPUS_FILE = "longest-target.json", "corpus.json"
GROUP = 200
"""How many texts are decoded, and how many pairs evaluated, at a time."""
VALIDATED = 200
"""How many held-out pairs are looked at while training goes on."""
SHOWN_LOCALES = ("de", "fr", "zh", "ru")
SHOWN_LINES = 4
_MENDING = "restore it from a copy, or start a new run"


class TranslationSettings(Protocol):
    """What is read of a model's settings here."""

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


@dataclass(frozen=True)
class TranslationData:
    """Two vocabularies, the tokens of the longest target, and the corpus that they come from.

    The corpus is read when it is first asked for: a trained run translates without its data.
    """

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    longest_target: int
    batches: Callable[[], Batches]
    read: Callable[[], Corpus]
    notice: str = ""
    record: str = ""
    """What the corpus was when the run was made, to be kept; empty in a run that is older."""

    @cached_property
    def corpus(self) -> Corpus:
        return self.read()

    def fitting(self, pairs: Sequence[Pair], maximum_length: int) -> list[Pair]:
        """The pairs that are not too long for the model."""
        return _fitting(self.source_vocabulary, self.target_vocabulary, pairs, maximum_length)


def load_data(settings: TranslationSettings, files: Mapping[str, str]) -> TranslationData:
    """`dates` or the user's line-aligned files; vocabularies of an earlier run are kept."""
    record = files.get(CORPUS_FILE, "")
    read = cache(partial(_read_corpus, settings, record))
    if files:
        source, target = (
            Vocabulary.from_json(_kept(files, name), name) for name in (SOURCE_FILE, TARGET_FILE)
        )
        batches = cache(lambda: _training_batches(settings, read(), source, target))
        longest = _length(_kept(files, LENGTH_FILE))
        return TranslationData(source, target, longest, batches, read, record=record)
    size = settings.maximum_vocabulary
    source, target = (
        Vocabulary.build((pair[side] for pair in read().train), settings.tokens, maximum_size=size)
        for side in (0, 1)
    )
    ready = _training_batches(settings, read(), source, target)
    _check_held_out(settings, read(), source, target)
    longest = max(width for _, _, width in ready.shapes())
    notices = [_of_pipes(settings), read().notice, ready.notice, _few(settings, ready)]
    return TranslationData(
        source,
        target,
        longest,
        lambda: ready,
        read,
        "; ".join(filter(None, notices)),
        _record_of(read()),
    )


def _read_corpus(settings: TranslationSettings, record: str = "") -> Corpus:
    """The corpus. DataError where a run was trained on another: what is held out now may have been
    trained on then."""
    corpus = (
        read_parallel(settings.source, settings.target, seed=settings.seed)
        if settings.source
        else dates_corpus(seed=settings.seed)
    )
    if record and _record_of(corpus) != record:
        raise DataError(
            f"the data are not those that the run was made with: their digest differs, and of the "
            f"{len(corpus.test)} test pairs of now some may have been trained on",
            corpus.name,
            "restore the files as they were (`--resume RUN --set source=FILE --set target=FILE` "
            "where they have moved), or start a new run",
        )
    return corpus


def _record_of(corpus: Corpus) -> str:
    """What tells a corpus and its split from others: sizes for people, and a digest."""
    sizes = {part: len(getattr(corpus, part)) for part in ("train", "validation", "test")}
    return format_json({**sizes, "sha256": corpus.digest()}, CORPUS_FILE) + "\n"


def _training_batches(
    settings: TranslationSettings, corpus: Corpus, source: Vocabulary, target: Vocabulary
) -> Batches:
    return Batches(
        corpus.train,
        source,
        target,
        min(settings.batch_size, len(corpus.train)),
        seed=settings.seed,
        maximum_length=settings.maximum_length,
    )


def _check_held_out(
    settings: TranslationSettings, corpus: Corpus, source: Vocabulary, target: Vocabulary
) -> None:
    """DataError, before anything is trained, where nothing would be left to evaluate."""
    for name, pairs in (("validation", corpus.validation), ("test", corpus.test)):
        if not _fitting(source, target, pairs, settings.maximum_length):
            raise DataError(
                f"each of the {len(pairs)} pairs held out for {name} is longer than "
                f"{settings.maximum_length - 1} tokens",
                corpus.name,
                "train with a larger maximum_length, or on shorter or more lines",
            )


def _of_pipes(settings: TranslationSettings) -> str:
    """A word about data that cannot be read a second time."""
    pipes = [
        name for name in (settings.source, settings.target) if name and not Path(name).is_file()
    ]
    if not pipes:
        return ""
    return (
        f"{' and '.join(pipes)} cannot be read a second time: keep the lines in files; to "
        "evaluate the run or to go on with it, name them with "
        "`graphgrad train --resume RUN --set source=FILE --set target=FILE`"
    )


def _few(settings: TranslationSettings, batches: Batches) -> str:
    """A word about a corpus that is smaller than a batch."""
    if batches.batch_size == settings.batch_size:
        return ""
    return (
        f"there are {batches.batch_size} training pairs, so a batch holds all of them and not "
        f"{settings.batch_size}"
    )


def _kept(files: Mapping[str, str], name: str) -> str:
    """The text of a file that every run of a translating model keeps."""
    if name not in files:
        raise DataError("the run does not list this file", name, _MENDING)
    return files[name]


def _length(text: str) -> int:
    """The number that `LENGTH_FILE` holds."""
    try:
        length = parse_json(text.encode())
    except ValueError:
        length = None
    if type(length) is not int or length < 1:
        raise DataError("the file holds no length", LENGTH_FILE, _MENDING)
    return length


def translation_task(
    settings: TranslationSettings,
    data: TranslationData,
    training: Graph,
    evaluation: Graph,
    encoding: Graph,
    decoding: Graph,
) -> Task:
    """The task of a model that declares these four graphs."""
    translator = Translator(data, encoding, decoding, settings.maximum_length)
    scored = cache(lambda: compile(evaluation))

    def evaluate(state: State) -> dict[str, float]:
        return score(state, data.corpus.test)

    def validate(state: State) -> dict[str, float]:
        return score(state, data.corpus.validation[:VALIDATED])

    def score(state: State, held_out: Sequence[Pair]) -> dict[str, float]:
        pairs = data.fitting(held_out, settings.maximum_length)
        total = tokens = 0.0
        for batch in _batches(data, pairs):
            count = int((batch.target_output != PAD).sum())
            total += float(scored()(state, **feeds_of(batch))["loss"]) * count
            tokens += count
        translated = translator(state, [source for source, _ in pairs])
        wanted = [data.target_vocabulary.normal_form(target) for _, target in pairs]
        right = sum(a == b for a, b in zip(translated, wanted, strict=True))
        return {
            "loss": total / max(tokens, 1),
            "exact_match": right / max(len(pairs), 1),
            "examples": len(pairs),
        }

    def examples(state: State) -> list[str]:
        sources = _shown(settings, data)
        pairs = zip(sources, translator(state, sources), strict=True)
        return [f"{source}  →  {target}" for source, target in pairs]

    return Task(
        graph=training,
        feeds=lambda step: feeds_of(data.batches().at(step)),
        evaluate=evaluate,
        validate=validate,
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=examples,
        translate=translator,
        files={
            SOURCE_FILE: data.source_vocabulary.to_json(),
            TARGET_FILE: data.target_vocabulary.to_json(),
            LENGTH_FILE: f"{data.longest_target}\n",
            **({CORPUS_FILE: data.record} if data.record else {}),
        },
        notice=data.notice,
    )


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


def _fitting(
    source: Vocabulary, target: Vocabulary, pairs: Sequence[Pair], maximum_length: int
) -> list[Pair]:
    return [
        (a, b)
        for a, b in pairs
        if len(source.encode(a)) < maximum_length and len(target.encode(b)) < maximum_length
    ]


def _batches(data: TranslationData, pairs: Sequence[Pair]) -> Iterator[Batch]:
    return evaluation_batches(
        pairs, data.source_vocabulary, data.target_vocabulary, min(GROUP, max(len(pairs), 1))
    )


def _shown(settings: TranslationSettings, data: TranslationData) -> list[str]:
    """The sources whose translations are shown while training."""
    if not settings.source:
        return [write_date(EXAMPLE_DAY, locale, "full") for locale in SHOWN_LOCALES]
    fitting = data.fitting(data.corpus.validation, settings.maximum_length)
    return [source for source, _ in fitting[:SHOWN_LINES]]
