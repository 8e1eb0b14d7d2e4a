"""What a model file gives for its model to be decoded, and what one sentence to decode is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphgrad.graph import Graph, Node
from graphgrad.layers.cache import Step


@dataclass(frozen=True)
class Decodable:
    """A model that gives one token after another.

    `step(step)` declares the logits [batch, row, vocabulary] of the tokens that follow
    `step.token`, from the same layers and under the same names as training does. An encoder–decoder
    also has `encoding`: a graph with one input, `source` [batch, source], whose outputs are given
    to every step as inputs of their names, and so is `source` itself.
    """

    step: Callable[[Step], Node]
    encoding: Graph | None = None
    end: int | None = None
    """The token after which nothing follows."""
    forbidden: tuple[int, ...] = ()
    """Tokens that are never given: padding, the begin."""
    padding: int = 0
    """The token that fills a source up."""
    positions: int | None = None
    """The most positions that the model has, where they are limited."""


@dataclass(frozen=True)
class Sentence:
    """What to decode from."""

    prompt: Sequence[int]
    """The tokens that are there already, at least one: the begin, or a text to go on with."""
    limit: int
    """The most tokens to give, the end counted."""
    source: Sequence[int] = ()
    """The tokens to encode, where the model encodes."""
    number: int = 0
    """Tells the random numbers of one sentence from those of others."""
