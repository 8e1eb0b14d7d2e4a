"""Declares the task of language modelling: packed documents, evaluation, and generation.

Documents are packed: their tokens follow one another, with an <eos> after each document, and a
training example is a window of `context` tokens with the token that follows each of them. The
windows of a step are a function of its number and the seed, so a run resumes at any step without
any saved state.

In the evaluation every token of the held-out documents is predicted once, in adjacent windows.
`sampled_loss` is the mean over windows drawn at random, as other programs and the progress of a run
report it.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.corpus import random_words
from graphgrad.data.documents import Documents, read_documents, split_documents
from graphgrad.data.text_tokens import TextTokens
from graphgrad.data.vocabulary import EOS, PAD, Vocabulary
from graphgrad.decoding import Decodable, Decoder, Options
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.strict_json import format_json, parse_json
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.language_report import about_text
from graphgrad.training.prompts import Prompts, answered_rows
from graphgrad.training.spread import ALONE, Spread
from graphgrad.training.task import Feeds, State, Task
from graphgrad.training.writer import Writer

VOCABULARY_FILE, TEXT_FILE = "vocabulary-position.json", "text.json"
"""Named after the axis of the tokens, so that pictures label it with them."""
_WINDOW_STREAM, _SAMPLE_STREAM = 7, 8
_SAMPLED = 20  # random batches, as many as nanoGPT takes
_EVALUATED = 32  # windows of held-out text at a time
_SHOWN, _SHOWN_LINES = 120, 3
_MENDING = "restore it from a copy, or start a new run"


class TextSettings(Protocol):
    """The settings that the task reads."""

    @property
    def seed(self) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def separator(self) -> str: ...
    @property
    def tokens(self) -> str: ...
    @property
    def maximum_vocabulary(self) -> int: ...
    @property
    def held_out(self) -> float: ...


@dataclass(frozen=True)
class TextData:
    """The tokens of a text and its documents, which are read at their first use: a trained run
    generates without its text."""

    tokens: TextTokens
    whole: bool
    read: Callable[[], Documents]
    record: str
    """The contents of `TEXT_FILE`: the digest and the number of documents when the run was made."""
    notice: str = ""

    @cached_property
    def train(self) -> np.ndarray:
        """The ids of the training documents, int32."""
        return self.tokens.packed(self.read().train, self.whole)

    @cached_property
    def held_out(self) -> np.ndarray:
        """The ids of the held-out documents, preceded by the token before them."""
        before = [EOS] if self.whole else self.train[-1:]
        return np.concatenate([before, self.tokens.packed(self.read().held_out, self.whole)])

    def about(self, batch_size: int, length: int) -> list[str]:
        """What is said of it at the start; an example has `length` tokens."""
        return about_text(
            self.read(), self.tokens, self.train, self.held_out[1:], batch_size, length
        )


def load_text(
    settings: TextSettings, files: Mapping[str, str], builtin: Callable[[], list[str]]
) -> TextData:
    """The user's text, or the built-in one, with the vocabulary of an earlier run in `files`.

    Raises DataError for a text that is too short, and for one that differs from the run's.
    """

    @cache
    def read() -> Documents:
        given = settings.text
        texts = read_documents(given, settings.separator) if given else builtin()
        name = Path(given).name if given else "Python's own documents"
        documents = split_documents(texts, settings.held_out, settings.seed, name)
        if files and documents.digest() != _record(files)["sha256"]:
            raise DataError(
                "the text is not the one that the run was made with: its digest differs, and what "
                "is held out now may have been trained on",
                given or "the text that Python ships, which differs between its versions",
                "restore the text as it was (`--resume RUN --set text=FILE` where it has moved), "
                "or start a new run",
            )
        return documents

    if files:
        kept = Vocabulary.from_json(_kept(files, VOCABULARY_FILE), VOCABULARY_FILE)
        tokens, whole = TextTokens(settings.tokens, kept), bool(_record(files)["whole"])
        return TextData(tokens, whole, read, files[TEXT_FILE])
    tokens = TextTokens.build(settings.tokens, read().train, settings.maximum_vocabulary)
    data = TextData(tokens, read().whole, read, _record_of(read()), read().notice)
    if len(data.train) < settings.context + 2:
        raise DataError(
            f"the text to train on has {len(data.train)} tokens, and an example has "
            f"{settings.context + 1}",
            read().name,
            "give more text, or --set context=… of fewer",
        )
    return data


def _record_of(documents: Documents) -> str:
    record = {
        "train": len(documents.train),
        "held_out": len(documents.held_out),
        "whole": documents.whole,
        "sha256": documents.digest(),
    }
    return format_json(record, TEXT_FILE) + "\n"


def _kept(files: Mapping[str, str], name: str) -> str:
    if name not in files:
        raise DataError("the run does not list this file", name, _MENDING)
    return files[name]


def _record(files: Mapping[str, str]) -> Mapping[str, object]:
    """The contents of `TEXT_FILE`. Raises DataError where it is damaged."""
    try:
        record = parse_json(_kept(files, TEXT_FILE).encode())
    except ValueError:
        record = None
    match record:
        case {"sha256": str(), "whole": bool(), "train": int(), "held_out": int()}:
            return dict(record)
    raise DataError("the file does not describe a text", TEXT_FILE, _MENDING)


# ---------------------------------------------------------------- windows


def windows(
    ids: np.ndarray, rows: int, context: int, seed: int, place: int, stream: int = _WINDOW_STREAM
) -> Feeds:
    """`rows` windows of a text, drawn for a step: `ids` and `following`, [batch, position]."""
    starts = random_words(rows, seed, stream, place) % np.uint64(len(ids) - context)
    cut = ids[starts.astype(np.int64)[:, None] + np.arange(context + 1)]
    return {"ids": cut[:, :-1], "following": cut[:, 1:]}


def side_by_side(ids: np.ndarray, context: int, rows: int = _EVALUATED) -> Iterator[Feeds]:
    """The whole text in windows of `context` tokens, in batches of one size.

    Each token but the first is predicted once; the last batch is padded with <pad>.
    """
    count = -(-(len(ids) - 1) // context)
    rows = min(rows, count)
    padded = np.full(-(-count // rows) * rows * context + 1, PAD, np.int32)
    padded[: len(ids)] = ids
    inputs = padded[:-1].reshape(-1, rows, context)
    targets = padded[1:].reshape(-1, rows, context)
    for given, wanted in zip(inputs, targets, strict=True):
        yield {"ids": given, "following": wanted}


# ---------------------------------------------------------------- the task


def language_task(
    settings: TextSettings, data: TextData, training: Graph, evaluation: Graph, decodable: Decodable
) -> Task:
    """The task of a model that declares these graphs, and can be decoded."""
    score, writer = Score(evaluation, backend=settings.backend), _writer(settings, data, decodable)

    def sampled(state: State, spread: Spread) -> float:
        held_out = data.held_out
        context = min(settings.context, len(held_out) - 1)
        batches = (
            windows(held_out, settings.batch_size, context, settings.seed, n, _SAMPLE_STREAM)
            for n in range(_SAMPLED)
        )
        return score(state, batches, spread)[0]

    def validate(state: State, spread: Spread = ALONE) -> dict[str, float]:
        loss = sampled(state, spread)
        return {"loss": loss, "perplexity": _perplexity(loss)}

    def evaluate(state: State, spread: Spread = ALONE) -> dict[str, float]:
        loss, count = score(state, side_by_side(data.held_out, settings.context), spread)
        texts = "".join(data.read().held_out).encode()
        return {
            "loss": loss,
            "perplexity": _perplexity(loss),
            "bits_per_byte": loss * count / math.log(2) / len(texts),
            "lzma_bits_per_byte": 8 * _compressed_size(texts) / len(texts),
            "sampled_loss": sampled(state, spread),
            "examples": -(-count // settings.context),
        }

    return Task(
        graph=training,
        feeds=lambda step: windows(
            data.train, settings.batch_size, settings.context, settings.seed, step
        ),
        evaluate=evaluate,
        validate=validate,
        spread=lambda state, _, quick, over: (validate if quick else evaluate)(state, over),
        tokens=lambda feeds: feeds["following"].size,
        examples=lambda state: _samples(writer, state, settings.seed),
        generate=writer,
        prompts=_prompts(settings, data, writer, evaluation),
        decodable=decodable,
        files={VOCABULARY_FILE: data.tokens.vocabulary.to_json(), TEXT_FILE: data.record},
        notice=data.notice,
        step=step_that_decays_matrices,
        about=lambda: data.about(settings.batch_size, settings.context),
        knowing_nothing=math.log(len(data.tokens.vocabulary)),
    )


def _samples(writer: Writer, state: State, seed: int) -> list[str]:
    """The first lines of what the model writes without a prompt."""
    text = "".join(writer(state, "", Options(temperature=0.8, seed=seed), _SHOWN))
    return [line for line in text.splitlines() if line.strip()][:_SHOWN_LINES]


def _prompts(settings: TextSettings, data: TextData, writer: Writer, evaluation: Graph) -> Prompts:
    def feeds(texts: Sequence[str], answer: str) -> Feeds:
        ids = [data.tokens.encode(text).tolist() or [writer.start] for text in texts]
        wanted = data.tokens.encode(answer).tolist()
        if not wanted or len(ids[0]) + len(wanted) - 1 > settings.context:
            raise DataError(
                f"a text of {len(ids[0])} and an answer of {len(wanted)} tokens do not fit into a "
                f"context of {settings.context} with at least one token of the answer",
                fix="shorten the text, or train with --set context=…",
            )
        return answered_rows(ids, wanted, texts)

    return Prompts(
        evaluation,
        feeds,
        lambda state, text: "".join(writer(state, text, Options(), 1)),
        data.tokens.vocabulary.tokens.__getitem__,
    )


def _writer(settings: TextSettings, data: TextData, decodable: Decodable) -> Writer:
    return Writer(data.tokens, Decoder(decodable, backend=settings.backend), _start(data))


def _start(data: TextData) -> int:
    """The token that precedes a text without a prompt."""
    if data.whole:
        return EOS
    newline = data.tokens.encode("\n")
    return int(newline[0]) if len(newline) else EOS


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))


@cache
def _compressed_size(text: bytes) -> int:
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


class Score:
    """Computes the mean loss of a text's tokens, in nats, and their number."""

    def __init__(self, graph: Graph, targets: str = "following", backend: str = "numpy") -> None:
        self._graph, self._targets, self._backend = graph, targets, backend

    @cached_property
    def program(self) -> Compiled:
        return compile(self._graph, backend=self._backend)

    def __call__(
        self, state: State, batches: Iterator[Feeds], spread: Spread = ALONE
    ) -> tuple[float, int]:
        def scored(feeds: Feeds) -> tuple[float, int]:
            loss = float(self.program(state, **feeds)["loss"])
            return loss, int((feeds[self._targets] != PAD).sum())

        total, count = 0.0, 0
        for loss, tokens in spread(scored, batches):
            total += loss * tokens
            count += tokens
        return total / max(count, 1), count
