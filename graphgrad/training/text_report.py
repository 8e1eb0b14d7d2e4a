"""What is said of text before a training: pairs, tokens, batches and programs, a line for each."""

from __future__ import annotations

from pathlib import Path

from graphgrad.data.encoded import encode_lines
from graphgrad.data.flat import side_of
from graphgrad.data.parallel import Place
from graphgrad.data.token_batches import TokenBatches
from graphgrad.decoding.sizes import width_for
from graphgrad.training.text_settings import TextSettings
from graphgrad.training.translation_data import TranslationData

MANY = 12
"""Programs of one run above which another way of batching is named."""
EVALUATED = 2
"""Shapes in which held-out pairs are evaluated, where batches have a budget of tokens."""


def about(settings: TextSettings, data: TranslationData) -> list[str]:
    """What the data are, a line for each thing that a person wants to know before the start."""
    corpus, batches = data.corpus, data.batches()
    training, validation, test = (len(p) for p in (corpus.train, corpus.validation, corpus.test))
    shapes = batches.shapes()
    unknown = [
        encode_lines(side_of(corpus.validation, side), tokens).unknown
        for side, tokens in enumerate((data.source_vocabulary, data.target_vocabulary))
    ]
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
        _programs(settings, len(shapes), 2 * _widths(settings, data)),
    ]


def _widths(settings: TextSettings, data: TranslationData) -> int:
    """How many widths the sources of validation have when they are decoded."""
    sources = side_of(data.corpus.validation, 0)
    lengths = encode_lines(sources, data.source_vocabulary).lengths + 1
    most = settings.maximum_length
    return len({width_for(int(each), most) for each in lengths[lengths <= most]})


def _programs(settings: TextSettings, count: int, decoding: int) -> str:
    """How many programs are compiled for training, and to measure and translate held-out pairs."""
    text = f"programs: {count} for training steps, one for each shape of a batch"
    if settings.batch_tokens:
        held_out = f"{min(count, EVALUATED)} for the loss of held-out pairs"
        return f"{text}; {held_out}, {decoding} to translate them"
    return f"{text}; --set batch_tokens=4096 needs 8" if count > MANY else text


def _from(place: Place | None) -> str:
    return f" ({_name(place)})" if place else ""


def _name(place: Place | None) -> str:
    """The names of the files, for people."""
    if place is None:
        return ""
    paths = place if isinstance(place, tuple) else (place,)
    return " and ".join(Path(path).name for path in paths)
