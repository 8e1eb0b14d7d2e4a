"""Translation: the data and the uses of any encoder–decoder, whatever graphs it declares.

Teacher forcing needs the graph of the loss; in use the model is decoded (`graphgrad.decoding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Protocol

from graphgrad.compile import Compiled, compile
from graphgrad.data.batches import Batch, Batches, evaluation_batches
from graphgrad.data.corpus import Corpus, Pair
from graphgrad.data.dates import EXAMPLE_DAY, dates_corpus, write_date
from graphgrad.data.text import read_parallel
from graphgrad.data.vocabulary import BOS, EOS, PAD, Vocabulary
from graphgrad.decoding import Decodable, Options, Stopped
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.strict_json import format_json, parse_json
from graphgrad.training.task import Feeds, Figures, Stages, State, Task
from graphgrad.training.translator import Languages, Translator

PADDING, BEGIN, END = PAD, BOS, EOS
SOURCE_FILE, TARGET_FILE = "vocabulary-source.json", "vocabulary-target.json"
LENGTH_FILE, CORPUS_FILE = "longest-target.json", "corpus.json"
GROUP = 200
"""How many pairs are evaluated at a time."""
VALIDATED = 200
"""How many held-out pairs are looked at while training goes on."""
SHOWN_LOCALES = ("de", "fr", "zh", "ru")
SHOWN_LINES = 4
_MENDING = "restore it from a copy, or start a new run"


def quietly(stage: str, done: int, total: int) -> None:
    """Nobody looks on."""


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
    decodable: Decodable,
) -> Task:
    """The task of a model that declares these two graphs, and can be decoded."""
    languages = Languages(
        data.source_vocabulary,
        data.target_vocabulary,
        data.longest_target,
        settings.maximum_length,
    )
    translator = Translator(languages, decodable)
    scorer = _Scorer(settings, data, translator, cache(lambda: compile(evaluation)))

    def measure(state: State, options: Options, stages: Stages, quick: bool) -> Figures:
        corpus = data.corpus
        held_out = corpus.validation[:VALIDATED] if quick else corpus.test
        return scorer(state, held_out, options, stages)

    def examples(state: State) -> list[str]:
        sources = _shown(settings, data)
        pairs = zip(sources, translator(state, sources), strict=True)
        return [f"{source}  →  {target}" for source, target in pairs]

    return Task(
        graph=training,
        feeds=lambda step: feeds_of(data.batches().at(step)),
        evaluate=lambda state: measure(state, Options(), quietly, False),
        validate=lambda state: measure(state, Options(), quietly, True),
        measure=measure,
        tokens=lambda feeds: int((feeds["target_output"] != PAD).sum()),
        examples=examples,
        translate=translator,
        translations=translator.finished,
        files={
            SOURCE_FILE: data.source_vocabulary.to_json(),
            TARGET_FILE: data.target_vocabulary.to_json(),
            LENGTH_FILE: f"{data.longest_target}\n",
            **({CORPUS_FILE: data.record} if data.record else {}),
        },
        notice=data.notice,
    )


@dataclass(frozen=True)
class _Scorer:
    """Figures on held-out pairs: the loss of each next token, and whole translations."""

    settings: TranslationSettings
    data: TranslationData
    translator: Translator
    losses: Callable[[], Compiled]

    def __call__(
        self,
        state: State,
        held_out: Sequence[Pair],
        options: Options,
        stages: Stages,
    ) -> Figures:
        """The figures. Where `stages` ends it, they are of the pairs that are translated by then,
        which are the shortest."""
        pairs = self.data.fitting(held_out, self.settings.maximum_length)
        total, tokens, done = 0.0, 0, 0
        sources = [source for source, _ in pairs]
        wanted = [self.data.target_vocabulary.normal_form(target) for _, target in pairs]
        found: dict[int, str] = {}
        with suppress(Stopped):
            for batch in _batches(self.data, pairs):
                total += float(self.losses()(state, **feeds_of(batch))["loss"]) * batch.tokens
                tokens += batch.tokens
                done += batch.rows
                stages("loss", done, len(pairs))
            watch = partial(stages, "translated")
            for place, renderings in self.translator.finished(state, sources, options, watch):
                found[place] = renderings[0].text
        right = sum(wanted[place] == text for place, text in found.items())
        return {
            "loss": total / max(tokens, 1),
            "exact_match": right / max(len(found), 1),
            "examples": len(found),
        }


def feeds_of(batch: Batch) -> Feeds:
    """A batch under the names of the graph's inputs."""
    return {
        "source": batch.source,
        "target_input": batch.target_input,
        "target_output": batch.target_output,
    }


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
