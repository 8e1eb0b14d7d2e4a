"""The data of a run that translates: corpus, vocabularies, batches, and what is kept of them.

A run keeps its vocabularies, the length of its longest target, and the digest of its corpus: it
translates without its data, and goes on only with the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

from graphgrad.data.batches import Batches
from graphgrad.data.corpus import Corpus, Pair
from graphgrad.data.encoded import Examples, encode_pairs
from graphgrad.data.lines import Watch
from graphgrad.data.text import read_corpus
from graphgrad.data.token_batches import TokenBatches
from graphgrad.data.tokens import Tokens, build_tokens, tokens_from_json
from graphgrad.errors import DataError
from graphgrad.strict_json import format_json, parse_json
from graphgrad.training.data_progress import LEARNT, cutting, reading
from graphgrad.training.text_settings import FILES, PARTS, TextSettings
from graphgrad.training.waiting import Waiting

SOURCE_FILE, TARGET_FILE = "vocabulary-source.json", "vocabulary-target.json"
LENGTH_FILE, CORPUS_FILE = "longest-target.json", "corpus.json"
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of Thai, Lao, Burmese, Japanese and Chinese."""
_LOOKED_AT = 100
_MENDING = "restore it from a copy, or start a new run"


@dataclass(frozen=True)
class TranslationData:
    """Two vocabularies, the tokens of the longest target, and the corpus that they come from.

    The corpus is read when it is first asked for: a trained run translates without its data.
    """

    source_vocabulary: Tokens
    target_vocabulary: Tokens
    longest_target: int
    batches: Callable[[], Batches | TokenBatches]
    read: Callable[[], Corpus]
    held_out: Callable[[], tuple[Examples, Examples]]
    """The encoded pairs of validation and test, those that are too long among them."""
    notice: str = ""
    record: str = ""
    """What the corpus was when the run was made, to be kept; empty in a run that is older."""

    @cached_property
    def corpus(self) -> Corpus:
        return self.read()

    def fitting(self, pairs: Sequence[Pair], maximum_length: int) -> list[Pair]:
        """The pairs that are not too long for the model."""
        return _fitting(self.source_vocabulary, self.target_vocabulary, pairs, maximum_length)

    def files(self) -> dict[str, str]:
        """The texts that the run keeps."""
        return {
            SOURCE_FILE: self.source_vocabulary.to_json(),
            TARGET_FILE: self.target_vocabulary.to_json(),
            LENGTH_FILE: f"{self.longest_target}\n",
            **({CORPUS_FILE: self.record} if self.record else {}),
        }


def load_data(settings: TextSettings, files: Mapping[str, str]) -> TranslationData:
    """A built-in corpus or the user's files; vocabularies of an earlier run are kept."""
    record = files.get(CORPUS_FILE, "")
    read = cache(partial(_read_corpus, settings, record))
    if files:
        source, target = (
            tokens_from_json(_kept(files, name), name) for name in (SOURCE_FILE, TARGET_FILE)
        )
        batches = cache(lambda: _training_batches(settings, read(), source, target))
        held_out = cache(lambda: _held_out(read(), source, target))
        longest = _length(_kept(files, LENGTH_FILE))
        return TranslationData(source, target, longest, batches, read, held_out, record=record)
    with Waiting() as waiting:
        corpus = _read_corpus(settings, record, waiting)
        waiting(LEARNT, 0, 1)
        source, target = _tokens(settings, corpus)
        ready = _training_batches(settings, corpus, source, target, waiting)
    looked_at = _held_out(corpus, source, target)
    notices = [
        _of_pipes(settings),
        corpus.notice,
        ready.notice,
        *_check_held_out(settings, corpus, looked_at),
        _unspaced(settings, corpus),
        _few(settings, ready),
    ]
    return TranslationData(
        source,
        target,
        max(width for _, _, width in ready.shapes()),
        lambda: ready,
        lambda: corpus,
        lambda: looked_at,
        "\n".join(filter(None, notices)),
        _record_of(corpus),
    )


def _tokens(settings: TextSettings, corpus: Corpus) -> tuple[Tokens, Tokens]:
    return build_tokens(
        corpus.train,
        settings.tokens,
        settings.maximum_vocabulary,
        settings.tokenizer,
        settings.joint,
    )


def _read_corpus(settings: TextSettings, record: str, waiting: Waiting | None = None) -> Corpus:
    """The corpus. DataError where a run was trained on another: what is held out now may have been
    trained on then."""
    if settings.builtin is not None:
        corpus = settings.builtin.corpus(settings.seed)
    else:
        places = [settings.place(part) for part in PARTS]
        _, validation, test = places
        with waiting or Waiting() as stages:
            corpus = read_corpus(
                places[0] or "",
                settings.held_out,
                settings.seed,
                validation,
                test,
                reading(stages, places),
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
    settings: TextSettings,
    corpus: Corpus,
    source: Tokens,
    target: Tokens,
    waiting: Waiting | None = None,
) -> Batches | TokenBatches:
    with waiting or Waiting() as stages:
        return _batches(settings, corpus, source, target, cutting(stages, 2 * len(corpus.train)))


def _batches(
    settings: TextSettings, corpus: Corpus, source: Tokens, target: Tokens, watch: Watch
) -> Batches | TokenBatches:
    if settings.batch_tokens:
        return TokenBatches(
            corpus.train,
            source,
            target,
            settings.batch_tokens,
            settings.buckets,
            settings.seed,
            settings.maximum_length,
            watch,
        )
    return Batches(
        corpus.train,
        source,
        target,
        min(settings.batch_size, len(corpus.train)),
        seed=settings.seed,
        maximum_length=settings.maximum_length,
        watch=watch,
    )


def _held_out(corpus: Corpus, source: Tokens, target: Tokens) -> tuple[Examples, Examples]:
    """The encoded pairs of validation and test."""
    validation, test = (
        encode_pairs(pairs, source, target) for pairs in (corpus.validation, corpus.test)
    )
    return validation, test


def _check_held_out(
    settings: TextSettings, corpus: Corpus, held_out: tuple[Examples, Examples]
) -> list[str]:
    """A word about held-out pairs that are too long to be evaluated.

    DataError, before anything is trained, where none would be left.
    """
    notices = []
    for name, pairs in zip(("validation", "test"), held_out, strict=True):
        long = int(pairs.longer_than(settings.maximum_length).sum())
        if long == len(pairs):
            raise DataError(
                f"each of the {len(pairs)} pairs held out for {name} is longer than "
                f"{settings.maximum_length - 1} tokens",
                corpus.name,
                "train with a larger maximum_length, or on shorter or more lines",
            )
        if long:
            notices.append(
                f"{long} of {len(pairs)} pairs for {name} are longer than "
                f"{settings.maximum_length} tokens and left out of its figures"
            )
    return notices


def _unspaced(settings: TextSettings, corpus: Corpus) -> str:
    """A word about BLEU of a text without spaces between its words."""
    letters = "".join(target for _, target in corpus.validation[:_LOOKED_AT])
    if settings.builtin is not None or settings.bleu or settings.tokens == "presplit":
        return ""
    if 2 * len(_UNSPACED.findall(letters)) < sum(map(str.isalpha, letters)):
        return ""
    return (
        "the target lines have no spaces between their words, and BLEU cuts words at spaces: "
        "--set bleu=zh for Chinese, or char; chrf looks at characters in any case"
    )


def _of_pipes(settings: TextSettings) -> str:
    """A word about data that cannot be read a second time."""
    paths = [(name, getattr(settings, name)) for name in FILES]
    pipes = {name: path for name, path in paths if path and not Path(path).is_file()}
    if not pipes:
        return ""
    return (
        f"{' and '.join(pipes.values())} cannot be read a second time: keep the lines in files; to "
        "evaluate the run or to go on with it, name them with "
        f"`graphgrad train --resume RUN {' '.join(f'--set {name}=FILE' for name in pipes)}`"
    )


def _few(settings: TextSettings, batches: Batches | TokenBatches) -> str:
    """A word about a corpus that is smaller than a batch."""
    if isinstance(batches, TokenBatches) or batches.batch_size == settings.batch_size:
        return ""
    count = batches.batch_size
    there = "there is 1 training pair" if count == 1 else f"there are {count} training pairs"
    return f"{there}, so a batch holds no more and not {settings.batch_size}"


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


def _fitting(
    source: Tokens, target: Tokens, pairs: Sequence[Pair], maximum_length: int
) -> list[Pair]:
    kept = ~encode_pairs(pairs, source, target).longer_than(maximum_length)
    return [pair for pair, fits in zip(pairs, kept, strict=True) if fits]
