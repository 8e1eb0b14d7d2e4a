"""What is said of text before a training: pairs, tokens, batches and programs, a line for each."""

from __future__ import annotations

from pathlib import Path

from graphgrad.data.parallel import Place
from graphgrad.data.token_batches import TokenBatches
from graphgrad.training.held_out import DECODING, loss_programs
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData

MANY = 12
"""Programs of one run above which another way of batching is named."""


def about(settings: TextSettings, data: TranslationData) -> list[str]:
    """What the data are, a line for each thing that a person wants to know before the start."""
    corpus, batches = data.corpus, data.batches()
    training, validation, test = (len(p) for p in (corpus.train, corpus.validation, corpus.test))
    shapes = batches.shapes()
    looked_at, _ = data.held_out()
    unknown = looked_at.sources.unknown, looked_at.targets.unknown
    sizes = f"{len(data.source_vocabulary):,} source and {len(data.target_vocabulary):,} target"
    kind = f"{settings.tokens}{', joint' if settings.joint else ''}"
    bound = (
        f"at most {settings.batch_tokens:,} tokens"
        if isinstance(batches, TokenBatches)
        else f"{batches.batch_size} examples"
    )
    return [
        f"data: {training:,} pairs of {_name(settings.place()) or corpus.name} to train on",
        f"held out: {validation:,} pairs for validation{_from(settings.place('validation_'))}, "
        f"{test:,} for test{_from(settings.place('test_'))}",
        f"vocabulary: {sizes} tokens ({kind}); "
        f"unknown in validation: {unknown[0]:.2%} and {unknown[1]:.2%}",
        f"batches: {len(batches):,} an epoch, of {bound}; {batches.padding():.1%} is padding",
        _programs(settings, data, len(shapes)),
    ]


def _programs(settings: TextSettings, data: TranslationData, count: int) -> str:
    """How many programs are compiled for training, and to measure and translate held-out pairs."""
    training = f"{count} for training steps, one for each shape of a batch"
    if settings.batch_tokens:
        held_out = loss_programs(settings, data)
        return (
            f"programs: {count + held_out + DECODING} in the whole run: {training}; {held_out} for "
            f"the loss of held-out pairs, {DECODING} to translate them"
        )
    text = f"programs: {training}"
    return f"{text}; --set batch_tokens=4096 needs 8" if count > MANY else text


def _from(place: Place | None) -> str:
    return f" ({_name(place)})" if place else ""


def _name(place: Place | None) -> str:
    """The names of the files, for people."""
    if place is None:
        return ""
    paths = place if isinstance(place, tuple) else (place,)
    return " and ".join(Path(path).name for path in paths)
