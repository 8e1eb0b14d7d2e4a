"""Declares the task of masked language modelling: examples, evaluation and the filling of gaps.

An example is a window of the packed documents between <bos> and <eos>; half of them are two
segments, with an <eos> between. Of its known tokens 15 % are targets (Devlin et al. 2019): 8 of 10
of these are replaced by the mask, one by a random token, and one is not changed. The id of the mask
follows those of the vocabulary; it is never a target.

    ids        <bos> def [mask] ( self ) <eos>       targets   close, …
    places     2, …                                  segments  0 0 0 …

The batch of a step is a function of its number and the seed. Held-out text is always masked in the
same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from graphgrad.compile import Compiled, compile
from graphgrad.data.corpus import random_words
from graphgrad.data.text_tokens import TextTokens
from graphgrad.data.vocabulary import BOS, EOS, PAD, SPECIALS
from graphgrad.errors import DataError
from graphgrad.graph import Graph
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.language import TEXT_FILE, VOCABULARY_FILE, TextData, TextSettings
from graphgrad.training.prompts import Prompts, need_equal_lengths
from graphgrad.training.spread import ALONE, Spread
from graphgrad.training.task import Feeds, Gap, State, Task

MASK = "[MASK]"
"""Marks a gap in a text to be filled."""
SHARE = 0.15
_STREAM, _HELD_OUT_STREAM = 12, 13
_DRAWS = 5  # random numbers for each token of an example
_EVALUATED, _VALIDATED = 32, 16  # examples at a time; batches of them while training goes on
_SHOWN = 2


def masked_count(context: int) -> int:
    """The number of targets of an example."""
    return max(1, round(SHARE * (context - 3)))


def masked(windows: np.ndarray, size: int, seed: int, place: int, stream: int = _STREAM) -> Feeds:
    """Examples made of windows of tokens [batch, context - 3] from a vocabulary of `size`.

    Inputs: `ids` and `segments` [batch, position], `places` and `targets` [batch, asked]. A target
    that is <pad> does not count: the window has too few known tokens.
    """
    rows, length = windows.shape
    words = random_words(rows * (length + 1) * _DRAWS, seed, stream, place)
    drawn = (words >> np.uint64(11)) * 2.0**-53
    order, kinds, others, *_ = drawn[: rows * length * _DRAWS].reshape(_DRAWS, rows, length)
    ids, segments, own = _joined(windows, drawn[rows * length * _DRAWS :].reshape(_DRAWS, rows))
    unknown = windows < len(SPECIALS)
    first = np.argsort(np.where(unknown, 2.0, order), axis=1, kind="stable")
    chosen = np.sort(first[:, : masked_count(length + 3)], axis=1)
    answers = np.take_along_axis(windows, chosen, 1)
    targets = np.where(answers < len(SPECIALS), PAD, answers)
    kind = np.take_along_axis(kinds, chosen, 1)
    other = len(SPECIALS) + np.take_along_axis(others, chosen, 1) * (size - len(SPECIALS))
    shown = np.where(kind < 0.8, size, np.where(kind < 0.9, other.astype(np.int32), answers))
    places = np.take_along_axis(own, chosen, 1)
    hidden = np.where(targets == PAD, answers, shown)
    np.put_along_axis(ids, places, hidden, 1)
    parts = {"ids": ids, "segments": segments, "places": places, "targets": targets}
    return {name: part.astype(np.int32) for name, part in parts.items()}


def _joined(windows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows as one segment or two: ids, segments, and the position of each token of the window.

    A single segment ends with <eos> and one position of padding.
    """
    rows, length = windows.shape
    cut = (length * (0.25 + 0.5 * drawn[0])).astype(np.int64)
    cut = np.where(drawn[1] < 0.5, length, cut)[:, None]
    place = np.arange(length)[None]
    own = place + 1 + (place >= cut)
    ids = np.full((rows, length + 3), PAD, np.int64)
    ids[:, 0] = BOS
    np.put_along_axis(ids, own, windows, 1)
    np.put_along_axis(ids, cut + 1, EOS, 1)
    ids[(cut < length)[:, 0], -1] = EOS
    return ids, (np.arange(length + 3)[None] > cut + 1) & (cut < length), own


# ---------------------------------------------------------------- the task


def masking_task(
    settings: TextSettings, data: TextData, training: Graph, evaluation: Graph, filling: Graph
) -> Task:
    """The task of a model with these graphs; `filling` computes probabilities at some positions."""
    size, length = len(data.tokens), settings.context - 3
    score = MaskedScore(evaluation, settings.backend)
    filler = Filler(data.tokens, filling, settings.context, settings.backend)

    def feeds(step: int) -> Feeds:
        words = random_words(settings.batch_size, settings.seed, _STREAM + 2, step)
        starts = (words % np.uint64(len(data.train) - length)).astype(np.int64)
        return masked(data.train[starts[:, None] + np.arange(length)], size, settings.seed, step)

    def held_out() -> Iterator[Feeds]:
        count = len(data.held_out) // length
        windows = data.held_out[: count * length].reshape(count, length)
        for number, start in enumerate(range(0, count, _EVALUATED)):
            part = windows[start : start + _EVALUATED]
            yield masked(part, size, settings.seed, number, _HELD_OUT_STREAM)

    def validate(state: State, spread: Spread = ALONE) -> dict[str, float]:
        batches = (batch for batch, _ in zip(held_out(), range(_VALIDATED), strict=False))
        return score(state, batches, spread)

    def evaluate(state: State, spread: Spread = ALONE) -> dict[str, float]:
        figures = score(state, held_out(), spread)
        return figures | unigram(data.train, held_out(), size)

    def examples(state: State) -> list[str]:
        batch = next(held_out())
        rows = np.linspace(0, len(batch["ids"]) - 1, _SHOWN + 2).astype(int)[1:-1]
        return [_shown(data.tokens, filler, state, batch, row) for row in rows.tolist()]

    return Task(
        graph=training,
        feeds=feeds,
        evaluate=evaluate,
        validate=validate,
        spread=lambda state, _, quick, over: (validate if quick else evaluate)(state, over),
        tokens=lambda feeds: int((feeds["ids"] != PAD).sum()),
        examples=examples,
        fill=filler,
        prompts=_prompts(data.tokens, filler, evaluation),
        files={VOCABULARY_FILE: data.tokens.vocabulary.to_json(), TEXT_FILE: data.record},
        notice=data.notice,
        about=lambda: data.about(settings.batch_size, length),
        knowing_nothing=math.log(size),
        step=step_that_decays_matrices,
        labels={"ids": _names(data.tokens), "segments": ("first", "second")},
    )


def _names(tokens: TextTokens) -> tuple[str, ...]:
    """The token of each id; the gap is the one behind the vocabulary."""
    return (*tokens.vocabulary.tokens, MASK)


def _prompts(tokens: TextTokens, filler: Filler, evaluation: Graph) -> Prompts:
    def feeds(texts: Sequence[str], answer: str) -> Feeds:
        found = [filler.encoded(text) for text in texts]
        words = tokens.encode(answer).tolist()
        for text, (_, places) in zip(texts, found, strict=True):
            if len(places) != len(words):
                raise DataError(
                    f"{text[:40]!r} has {len(places)} gaps, and the answer has {len(words)} tokens",
                    fix="one token for each gap",
                )
        need_equal_lengths([ids for ids, _ in found], texts)
        ids = np.array([ids for ids, _ in found], np.int32)
        return {
            "ids": ids,
            "segments": np.zeros_like(ids),
            "places": np.array([places for _, places in found], np.int32),
            "targets": np.tile(np.array(words, np.int32), (len(texts), 1)),
        }

    def answer(state: State, text: str) -> str:
        return tokens.gap.join(words[0][0] for words in filler(state, text, 1))

    return Prompts(evaluation, feeds, answer, _names(tokens).__getitem__)


def unigram(train: np.ndarray, batches: Iterator[Feeds], size: int) -> dict[str, float]:
    """The baseline without context: the accuracy of the most frequent token of the training text,
    and the loss of the frequencies of its tokens."""
    counts = np.bincount(train, minlength=size).astype(np.float64)
    counts[: len(SPECIALS)] = 0.0
    # half a token is added to each count, so that an unseen token has a probability
    losses = -np.log((counts + 0.5) / (counts + 0.5).sum())
    targets = np.concatenate([feeds["targets"].ravel() for feeds in batches])
    targets = targets[targets != PAD]
    return {
        "unigram_loss": float(losses[targets].mean()),
        "unigram_accuracy": float((targets == counts.argmax()).mean()),
    }


class MaskedScore:
    """Computes mean loss and accuracy of the targets: `score(state, batches)`."""

    def __init__(self, graph: Graph, backend: str = "numpy") -> None:
        self._graph, self._backend = graph, backend

    @cached_property
    def program(self) -> Compiled:
        return compile(self._graph, backend=self._backend)

    def __call__(
        self, state: State, batches: Iterator[Feeds], spread: Spread = ALONE
    ) -> dict[str, float]:
        def scored(feeds: Feeds) -> tuple[float, int, int, int]:
            found, asked = self.program(state, **feeds), feeds["targets"] != PAD
            right = (found["predicted"] == feeds["targets"])[asked].sum()
            return float(found["loss"]), int(asked.sum()), int(right), len(asked)

        total = right = count = examples = 0.0
        for loss, asked, correct, rows in spread(scored, batches):
            total += loss * asked
            right += correct
            count += asked
            examples += rows
        return {
            "loss": float(total / max(count, 1)),
            "masked_accuracy": float(right / max(count, 1)),
            "examples": examples,
        }


class Filler:
    """Finds the most probable words for each gap of a text: `filler(state, text, count)`.

    `graph` has the inputs of the training without `targets`, and the output `probabilities`
    [batch, asked, vocabulary].
    """

    def __init__(
        self, tokens: TextTokens, graph: Graph, context: int, backend: str = "numpy"
    ) -> None:
        self._tokens, self._graph = tokens, graph
        self._context, self._backend = context, backend

    @cached_property
    def _program(self) -> Compiled:
        """Compiled at its first use."""
        return compile(self._graph, backend=self._backend)

    def __call__(self, state: State, text: str, count: int) -> list[Gap]:
        ids, places = self.encoded(text)
        return self.at(state, np.array([ids]), places, count)

    def encoded(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of a text, and the positions of its gaps. Raises DataError where it has none, or
        more tokens than the model takes."""
        parts = text.split(MASK)
        if len(parts) == 1:
            raise DataError("the text has no gap to fill", fix=f"put {MASK} where a word is wanted")
        ids, places = [BOS], []
        for number, part in enumerate(parts):
            if number:
                places.append(len(ids))
                ids.append(len(self._tokens))
            ids += self._tokens.encode(part).tolist()
        ids.append(EOS)
        if len(ids) > self._context:
            raise DataError(
                f"the text has {len(ids) - 2} tokens, the model takes {self._context - 2}",
                fix="shorten it, or train with --set context=…",
            )
        return ids, places

    def at(self, state: State, ids: np.ndarray, places: Sequence[int], count: int) -> list[Gap]:
        """The candidates at some positions of ids [1, position]."""
        padded = np.full((1, self._context), PAD, np.int32)
        padded[:, : ids.shape[1]] = ids
        feeds = {"ids": padded, "segments": np.zeros_like(padded)}
        gaps: list[Gap] = []
        for place in places:  # one at a time, so that one program serves any number of gaps
            found = self._program(state, **feeds, places=np.array([[place]], np.int32))
            row = np.array(found["probabilities"])[0, 0]
            row[: len(SPECIALS)] = row[len(self._tokens) :] = 0.0  # neither is a word
            best = np.argsort(-row, kind="stable")[:count].tolist()
            gaps.append([(self._tokens.decode([number]), float(row[number])) for number in best])
        return gaps


def _shown(tokens: TextTokens, filler: Filler, state: State, batch: Feeds, row: int) -> str:
    """A gap of an example with its context, the model's most probable word and the true one."""
    asked = np.flatnonzero(batch["targets"][row] != PAD)
    if not len(asked):
        return ""
    place, truth = int(batch["places"][row, asked[0]]), int(batch["targets"][row, asked[0]])
    ids = batch["ids"][row : row + 1].copy()
    ids[0, place] = len(tokens)
    ((word, probability), *_) = filler.at(state, ids, [place], 1)[0]
    around = [ids[0, max(place - 6, 1) : place], ids[0, place + 1 : place + 7]]
    before, after = (tokens.decode(part[part < len(tokens)].tolist()) for part in around)
    text = f"{before}{tokens.gap}{MASK}{tokens.gap}{after}".replace("\n", " ")
    return f"{text}  →  {word} {probability:.2f} (truth: {tokens.decode([truth])})"
