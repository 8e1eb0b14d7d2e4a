"""Describes a model that can be decoded, and a sentence to decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphgrad.graph import Graph, Node
from graphgrad.layers.cache import Step


@dataclass(frozen=True)
class Decodable:
    """A model that generates one token after another.

    `step(step)` declares the logits [batch, row, vocabulary] of the tokens that follow
    `step.token`, from the same layers and under the same names as training does. An encoder–decoder
    also has `encoding`: a graph with one input, `source` [batch, source]. Its outputs are inputs of
    every step, under the same names, and so is `source`.
    """

    step: Callable[[Step], Node]
    encoding: Graph | None = None
    end: int | None = None
    """The token that ends a sequence."""
    forbidden: tuple[int, ...] = ()
    """Tokens that are never generated: padding, the begin."""
    padding: int = 0
    """The token that pads a source."""
    positions: int | None = None
    """The number of positions that the model supports; None: no limit."""
    source_positions: int | None = None
    """The same for a source."""
    crops: bool = False
    """Whether a text may be longer than `positions`: then the last ones are read again for every
    token, as if the text began with them."""


@dataclass(frozen=True)
class Sentence:
    """The prompt, the limit and the source of one sequence."""

    prompt: Sequence[int]
    """The first tokens, at least one: the begin, or a text to continue."""
    limit: int
    """The maximum number of generated tokens, the end included."""
    source: Sequence[int] = ()
    """The tokens to encode, for an encoder–decoder."""
    number: int = 0
    """Selects the random numbers of this sentence."""
